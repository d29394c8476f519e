//! What a leader answers: one request evaluated in one turn, against the state at the end of its log.
//!
//! Evaluation either replies, proposes an entry (the reply leaves when it is committed), says what it
//! has to wait for, or what the store must be asked. A request that waited begins anew, from its first
//! check; nothing is remembered of the evaluation before but what the store said. So each function
//! reads as if nothing ever changed under it.
//!
//! Invariants
//! - Nothing is answered or evaluated above the promise (R9).
//! - A negative answer that rests on an entry under way leaves only once that is committed.
//! - Nothing is answered from below the retention horizon: also not if the horizon rose while the store
//!   was asked, since evaluation then begins anew.
//! - What the store says is used together with the recent writes, which hold everything that was
//!   committed since its snapshot.

mod change_record;
mod check_prepared;
mod commit;
mod forget_record;
mod lock;
mod outcome;
mod prepare;
mod read;
mod refresh;
mod resolve;
mod share;

use crate::admission::NoRoom;
use crate::committed_state::CommittedState;
use crate::effects::Effect;
use crate::lock_table::PreparedLock;
use crate::meta_rows;
use crate::overlay::Overlay;
use crate::recent_writes::Version;
use crate::request_waiting_list::WaitFor;
use crate::timestamp_cache::TimestampCache;
use crate::unreplicated_locks::UnreplicatedLocks;
use crate::versions::{StoreAnswer, StoreQuery, StoreResult, VersionRow};
use clock::{Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{Attempt, LogIndex, PartitionId, TransactionId};
use wire::keys::{Key, KeyRange, READ_BYTES_MAX};
use wire::message::{
    PartitionError, PartitionReply, PartitionRequest, RecordState, Refusal, TransactionName,
    VersionedValue,
};

/// How long outcomes are kept after their transaction expired.
pub const OUTCOME_RETENTION: Duration = Duration::from_secs(5 * 60);

/// What evaluation comes to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// This is the answer.
    Reply(PartitionReply),
    /// This is the answer once an entry that does this is committed.
    Propose {
        effect: Effect,
        reply: PartitionReply,
    },
    /// Begin anew when this has come about.
    Wait(WaitFor),
    /// Ask the store, and begin anew with what it says.
    Ask(Vec<StoreQuery>),
}

/// A value, or the reason why evaluation ends here.
type Evaluated<T> = Result<T, Box<Verdict>>;

impl From<PartitionError> for Box<Verdict> {
    fn from(error: PartitionError) -> Self {
        Box::new(Verdict::Reply(PartitionReply::Error(error)))
    }
}

impl From<WaitFor> for Box<Verdict> {
    fn from(reason: WaitFor) -> Self {
        Box::new(Verdict::Wait(reason))
    }
}

impl From<PartitionReply> for Box<Verdict> {
    fn from(reply: PartitionReply) -> Self {
        Box::new(Verdict::Reply(reply))
    }
}

/// What the store said to one request so far.
#[derive(Default, Debug)]
pub(crate) struct StoreAnswers {
    answers: BTreeMap<StoreQuery, (StoreResult, LogIndex)>,
    /// The size of the versions in it, bytes.
    bytes: usize,
}

impl StoreAnswers {
    /// Keeps an answer with its questions.
    pub(crate) fn add(&mut self, queries: Vec<StoreQuery>, answer: StoreAnswer) {
        let StoreAnswer {
            applied, results, ..
        } = answer;
        assert_eq!(
            queries.len(),
            results.len(),
            "the store answers every question"
        );
        let answers = queries.into_iter().zip(results);
        self.answers
            .extend(answers.map(|(query, result)| (query, (result, applied))));
        self.weigh();
    }

    /// Forgets answers from snapshots that memory no longer completes.
    pub(crate) fn retain_complete(&mut self, state: &CommittedState) {
        self.answers
            .retain(|_, (_, applied)| state.completes(*applied));
        self.weigh();
    }

    fn get(&self, query: &StoreQuery) -> Option<&StoreResult> {
        self.answers.get(query).map(|(result, _)| result)
    }

    fn weigh(&mut self) {
        let results = self.answers.values();
        self.bytes = results.map(|(result, _)| result.bytes()).sum();
    }

    /// The newest version in it: whoever is told of their size depends on that.
    fn newest(&self) -> Timestamp {
        let newest_of = |result: &StoreResult| match result {
            StoreResult::Version(row) => row.as_ref().map(|row| row.timestamp),
            StoreResult::Rows { rows, .. } => rows.iter().map(|row| row.timestamp).max(),
            _ => None,
        };
        let results = self.answers.values();
        let newest = results.filter_map(|(result, _)| newest_of(result)).max();
        newest.unwrap_or_default()
    }

    /// Whether nothing more may be asked for the request.
    fn is_full(&self) -> bool {
        self.bytes >= READ_BYTES_MAX
    }
}

/// The newest version of a key at the end of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Newest {
    /// `None`: the key never had one.
    version: Option<Version>,
    /// The entry under way that writes it.
    under_way: Option<LogIndex>,
}

impl Newest {
    /// When it was written; `ZERO` if never.
    fn timestamp(&self) -> Timestamp {
        let timestamp = self.version.as_ref().map(|version| version.timestamp);
        timestamp.unwrap_or_default()
    }

    /// Its value, unless it is a tombstone.
    fn value(&self) -> Option<VersionedValue> {
        self.version.clone().and_then(live)
    }
}

fn live(version: Version) -> Option<VersionedValue> {
    version.value.map(|value| VersionedValue {
        timestamp: version.timestamp,
        value,
    })
}

impl From<VersionRow> for Version {
    fn from(row: VersionRow) -> Version {
        Version {
            timestamp: row.timestamp,
            value: row.value,
        }
    }
}

/// What the anchor knows of a transaction.
struct Known {
    state: RecordState,
    keys: Vec<Key>,
    /// The attempt that the record staged or aborted last.
    attempt: Option<Attempt>,
    has_record: bool,
}

/// Evaluates one request.
pub(crate) struct Evaluator<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) now: &'a Now,
    pub(crate) drift_max: Duration,
    pub(crate) state: &'a CommittedState,
    pub(crate) overlay: &'a Overlay,
    pub(crate) cache: &'a mut TimestampCache,
    pub(crate) unreplicated: &'a mut UnreplicatedLocks,
    /// Nothing is answered or evaluated above it.
    pub(crate) promise: Timestamp,
    /// Nothing is placed at or below it.
    pub(crate) closed: Timestamp,
    /// The disk is nearly full: nothing is written.
    pub(crate) no_room: Option<NoRoom>,
    pub(crate) answers: &'a StoreAnswers,
    /// It had to leave the queue for a key, for which so many wait.
    pub(crate) crowded_out: Option<u32>,
    /// It has waited for locks as long as it may.
    pub(crate) out_of_patience: bool,
    /// What the store must be asked.
    pub(crate) wanted: BTreeSet<StoreQuery>,
    /// The key with which the request reads too much.
    pub(crate) too_much: Option<Key>,
    #[cfg(feature = "mutants")]
    pub(crate) mutant: Option<crate::Mutant>,
}

impl Evaluator<'_> {
    /// Evaluates a request.
    pub(crate) fn evaluate(&mut self, request: &PartitionRequest) -> Verdict {
        let verdict = match request {
            PartitionRequest::Read(read) => self.read(read),
            PartitionRequest::Lock(lock) => self.lock(lock),
            PartitionRequest::LockAll(lock) => self.lock_all(lock),
            PartitionRequest::KeepLocks { id, keys } => Ok(self.keep_locks(*id, keys)),
            PartitionRequest::Unlock { .. } => Ok(Verdict::Reply(PartitionReply::Unlocked)),
            PartitionRequest::Commit(commit) => self.commit(commit),
            PartitionRequest::Prepare(prepare) => self.prepare(prepare),
            PartitionRequest::Refresh(refresh) => self.refresh(refresh),
            PartitionRequest::ChangeRecord(change) => self.change_record(change),
            PartitionRequest::CheckPrepared(check) => self.check_prepared(check),
            PartitionRequest::Resolve(resolve) => self.resolve(resolve),
            PartitionRequest::ForgetRecord { name } => self.forget_record(name),
            PartitionRequest::Outcome { name } => self.outcome(name),
        };
        match verdict.unwrap_or_else(|end| *end) {
            Verdict::Wait(WaitFor::Lock { key, rival }) if self.out_of_patience => {
                let refusal = Refusal::Contention {
                    key: key.clone(),
                    rival,
                };
                let error = PartitionError::LockWait { key, rival };
                self.give_up(request, refusal, Timestamp::ZERO, error)
            }
            Verdict::Wait(WaitFor::Lock { key, rival }) => match self.crowded_out {
                Some(waiting) => {
                    let refusal = Refusal::HotKey {
                        key: key.clone(),
                        waiting,
                    };
                    let error = PartitionError::HotKey { key, waiting };
                    self.give_up(request, refusal, Timestamp::ZERO, error)
                }
                None => Verdict::Wait(WaitFor::Lock { key, rival }),
            },
            Verdict::Reply(PartitionReply::Error(PartitionError::ReadTooLarge { key })) => {
                let refusal = Refusal::Operation {
                    key: key.clone(),
                    why: format!(
                        "up to here the values that guards and operations depend on have more than \
                         {READ_BYTES_MAX} bytes (64 MiB): divide the transaction"
                    ),
                };
                let found = self.answers.newest();
                self.give_up(
                    request,
                    refusal,
                    found,
                    PartitionError::ReadTooLarge { key },
                )
            }
            verdict => verdict,
        }
    }

    /// Goes no further: a commit or prepare is refused, anything else was not served.
    fn give_up(
        &self,
        request: &PartitionRequest,
        refusal: Refusal,
        depends_on: Timestamp,
        error: PartitionError,
    ) -> Verdict {
        match request {
            PartitionRequest::Commit(commit) => self.refuse_commit(commit, refusal, depends_on),
            PartitionRequest::Prepare(_) => prepare::refused(refusal, depends_on),
            _ => Verdict::Reply(PartitionReply::Error(error)),
        }
    }

    #[cfg(feature = "mutants")]
    fn is(&self, mutant: crate::Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Refuses a timestamp too far ahead of what this node's clock can vouch for.
    fn check_not_ahead(&self, timestamp: Timestamp) -> Evaluated<()> {
        let latest = self.now.latest();
        if timestamp > latest.plus(self.drift_max) {
            return Err(PartitionError::TooFarAhead { timestamp, latest }.into());
        }
        Ok(())
    }

    /// Refuses a snapshot of which something may have been removed already.
    fn check_retained(&self, timestamp: Timestamp) -> Evaluated<()> {
        let horizon = self.state.horizon();
        if timestamp < horizon {
            return Err(PartitionError::BelowHorizon { timestamp, horizon }.into());
        }
        Ok(())
    }

    /// Waits for the promise.
    fn check_promised(&self, at: Timestamp) -> Evaluated<()> {
        if at > self.promise {
            return Err(WaitFor::Promise(at).into());
        }
        Ok(())
    }

    /// Waits for an entry under way that touches the same transaction.
    fn check_settled(&self, id: TransactionId) -> Evaluated<()> {
        match self.overlay.entry_of(id) {
            Some(index) => Err(WaitFor::Entry(index).into()),
            None => Ok(()),
        }
    }

    /// Waits for whoever else holds a key that is to be written.
    fn check_unlocked(&self, key: &Key, id: TransactionId) -> Evaluated<()> {
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::WritesPastLock) {
            return Ok(());
        }
        match self.rival_on(key, id) {
            Some(rival) => Err(lock_wait(key, rival)),
            None => Ok(()),
        }
    }

    /// Who else holds a key, by a prepare or in memory.
    fn rival_on(&self, key: &Key, id: TransactionId) -> Option<TransactionId> {
        let prepared = self.holder(key).map(|lock| lock.name.id);
        [prepared, self.unreplicated.holder(key)]
            .into_iter()
            .flatten()
            .find(|holder| *holder != id)
    }

    /// Who holds a key by a prepare, committed or under way.
    fn holder(&self, key: &Key) -> Option<&PreparedLock> {
        let committed = self.state.locks().holder(key);
        committed.or_else(|| self.overlay.holder(key))
    }

    /// The first lock of another transaction in a range, at or below a timestamp.
    fn lock_at_or_below(
        &self,
        range: &KeyRange,
        at: Timestamp,
        reader: Option<TransactionId>,
    ) -> Option<(&Key, &PreparedLock)> {
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::ReadSkipsLock) {
            return None;
        }
        let committed = self.state.locks().first_at_or_below(range, at, reader);
        committed.or_else(|| self.overlay.locks().first_at_or_below(range, at, reader))
    }

    /// Up to where others read a key.
    fn read_by_others(&self, key: &Key, id: TransactionId) -> Timestamp {
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::NoTimestampCache) {
            return Timestamp::ZERO;
        }
        self.cache.highest_of_others(key, id)
    }

    /// The newest version of a key, under way or committed. `None`: the store must be asked.
    fn newest(&mut self, key: &Key) -> Option<Newest> {
        if let Some(under_way) = self.overlay.newest(key) {
            return Some(Newest {
                version: Some(under_way.version),
                under_way: Some(under_way.index),
            });
        }
        let version = self.version_at(key, Timestamp::MAX)?;
        Some(Newest {
            version,
            under_way: None,
        })
    }

    /// The committed version of a key at a timestamp. `None`: the store must be asked.
    fn version_at(&mut self, key: &Key, at: Timestamp) -> Option<Option<Version>> {
        let recent = self.state.recent().at(key, at);
        if let Some(version) = &recent
            && version.timestamp > self.state.recent().horizon()
        {
            return Some(recent);
        }
        let stored = match self.store(StoreQuery::Get {
            key: key.clone(),
            at,
        })? {
            StoreResult::Version(row) => row.map(Version::from),
            StoreResult::TooMuch => {
                self.note_too_much(key);
                return None;
            }
            other => panic!("the store answers a get with a version, not with {other:?}"),
        };
        Some(
            [recent, stored]
                .into_iter()
                .flatten()
                .max_by_key(|version| version.timestamp),
        )
    }

    /// A timestamp at or above every committed version and every version under way of a key; the
    /// newest version's own if that is known without the store.
    fn newest_bound(&self, key: &Key) -> Timestamp {
        let under_way = self.overlay.newest(key);
        let under_way = under_way.map(|under_way| under_way.version.timestamp);
        let recent = self.state.recent().at(key, Timestamp::MAX);
        let recent = recent.map(|version| version.timestamp);
        let horizon = self.state.recent().horizon();
        horizon.max(recent.max(under_way).unwrap_or_default())
    }

    /// A key of a range with a committed version in `(above, up_to]`, and when; one above may be found
    /// too if the store must tell. `None`: the store must be asked.
    fn changed(
        &mut self,
        range: &KeyRange,
        above: Timestamp,
        up_to: Timestamp,
    ) -> Option<Option<(Key, Timestamp)>> {
        if above >= up_to {
            return Some(None);
        }
        if let Some((key, at)) = self.state.recent().changed(range, above, up_to) {
            return Some(Some((key.clone(), at)));
        }
        if above >= self.state.recent().horizon() {
            return Some(None);
        }
        // Asked without an upper bound: `up_to` may be another when evaluation begins anew.
        match self.store(StoreQuery::Changed {
            range: range.clone(),
            above,
            up_to: Timestamp::MAX,
        })? {
            StoreResult::Changed(found) => Some(found),
            other => panic!("the store answers what changed, not {other:?}"),
        }
    }

    fn store(&mut self, query: StoreQuery) -> Option<StoreResult> {
        let answer = self.answers.get(&query).cloned();
        if answer.is_none() {
            self.wanted.insert(query);
        }
        answer
    }

    fn note_too_much(&mut self, key: &Key) {
        self.too_much.get_or_insert_with(|| key.clone());
    }

    /// Ends here if the store must be asked something, or has told all that a request may read.
    fn check_answered(&mut self) -> Evaluated<()> {
        if let Some(key) = self.too_much.take() {
            return Err(PartitionError::ReadTooLarge { key }.into());
        }
        if self.wanted.is_empty() {
            return Ok(());
        }
        let wanted = std::mem::take(&mut self.wanted);
        Err(Box::new(Verdict::Ask(wanted.into_iter().collect())))
    }

    /// What the anchor knows of a transaction. Refuses another identity.
    fn known(&mut self, name: &TransactionName) -> Evaluated<Known> {
        self.check_settled(name.id)?;
        if let Some(record) = self.state.record(name.id) {
            check_identity(&record.name, name)?;
            return Ok(Known {
                state: record.state,
                keys: record.keys.clone(),
                attempt: record.attempt,
                has_record: true,
            });
        }
        let outcome = match self.state.outcome(name.id) {
            Some(outcome) => Some(outcome.clone()),
            None if name.expires > self.state.closed() => None,
            None => self.stored_outcome(name)?,
        };
        let state = match outcome {
            None => RecordState::Missing,
            Some(outcome) => {
                check_identity(&outcome.name, name)?;
                outcome.state()
            }
        };
        Ok(Known {
            state,
            keys: Vec::new(),
            attempt: None,
            has_record: false,
        })
    }

    fn stored_outcome(
        &mut self,
        name: &TransactionName,
    ) -> Evaluated<Option<crate::committed_state::Outcome>> {
        let key = meta_rows::outcome_key(name.expires, name.id);
        let answer = self.store(StoreQuery::Meta { key: key.clone() });
        self.check_answered()?;
        match answer {
            Some(StoreResult::Meta(row)) => Ok(row.map(|row| {
                meta_rows::decode(&key, &row).unwrap_or_else(|error| panic!("{error}"))
            })),
            other => panic!("the store answers a small row with one, not with {other:?}"),
        }
    }

    /// Whether an outcome may have been dropped for good.
    fn outcome_is_no_longer_kept(&self, name: &TransactionName) -> bool {
        name.expires.plus(OUTCOME_RETENTION) <= self.state.closed()
            || name.expires < self.state.collected().outcomes_kept_from
    }
}

fn lock_wait(key: &Key, rival: TransactionId) -> Box<Verdict> {
    let key = key.clone();
    WaitFor::Lock { key, rival }.into()
}

fn refusal(refusal: Refusal, durable: bool, depends_on: Timestamp) -> PartitionReply {
    PartitionReply::Refused {
        refusal,
        durable,
        depends_on,
    }
}

/// Refuses a transaction that is known here by the same id with another `expires` or anchor.
fn check_identity(known: &TransactionName, asked: &TransactionName) -> Evaluated<()> {
    if known == asked {
        return Ok(());
    }
    Err(refusal(Refusal::OtherIdentity, false, Timestamp::ZERO).into())
}
