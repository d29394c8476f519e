//! One partition: what its log has committed, what its leader keeps in memory, and how the leader
//! evaluates a question. Mirrors `partition/src/evaluation`, one function for each command.

use super::Mutant;
use super::scope::Scope;
use super::types::{
    Attempt, Body, Change, Effect, Entry, Keys, Marker, Message, PartitionIndex, Record, Reply,
    Saw, TRANSACTIONS_MAX, Timestamp, TransactionIndex,
};

/// What is replicated: any leader has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Replicated {
    /// Of each transaction.
    pub markers: [Marker; TRANSACTIONS_MAX],
    /// Of the transactions whose anchor is here.
    pub records: [Record; TRANSACTIONS_MAX],
    /// The timestamp of each transaction's committed versions; 0 if there are none.
    pub versions: [Timestamp; TRANSACTIONS_MAX],
}

/// What only the leader has: up to where each key was read by whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimestampCache {
    /// By key of this partition and reader.
    pub read: [[Timestamp; TRANSACTIONS_MAX]; 2],
    /// For everything and everybody.
    pub floor: Timestamp,
}

/// A leader that has not heard yet of its deposition.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Deposed {
    /// What it leads, as it knows it.
    pub leader: Leader,
    /// It answers up to here.
    pub promise: Timestamp,
}

/// A leader: the end of its log, and its memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Leader {
    /// What is committed.
    pub applied: Replicated,
    /// What is proposed and not committed yet.
    pub under_way: Vec<Entry>,
    /// In memory only.
    pub cache: TimestampCache,
}

/// What comes of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Later: a lock, or an entry under way.
    Wait,
    /// At once.
    Reply(Reply),
    /// Once this entry is committed.
    Propose(Effect),
}

impl Replicated {
    /// Nothing yet.
    pub const EMPTY: Replicated = Replicated {
        markers: [Marker::None; TRANSACTIONS_MAX],
        records: [Record::Missing; TRANSACTIONS_MAX],
        versions: [0; TRANSACTIONS_MAX],
    };

    /// Does what an entry says.
    pub fn apply(&mut self, scope: &Scope, transaction: TransactionIndex, effect: Effect) {
        let t = usize::from(transaction);
        match effect {
            Effect::Prepare {
                attempt,
                at,
                limit,
                saw,
            } => {
                self.markers[t] = Marker::Prepared { attempt, at, saw };
                if let Some(limit) = limit {
                    self.records[t] = Record::Staging { attempt, limit };
                }
            }
            Effect::Commit { attempt, at, .. } => {
                self.markers[t] = Marker::None;
                self.versions[t] = at;
                self.records[t] = Record::Committed { attempt, at };
            }
            Effect::Refuse(attempt) => self.markers[t] = Marker::Refused(attempt),
            Effect::Resolve(attempt, committed) => {
                self.markers[t] = match scope.is(Mutant::NoEndedMarker) {
                    true => Marker::None,
                    false => Marker::Ended(attempt, committed),
                };
                if let Some(at) = committed {
                    self.versions[t] = at;
                }
            }
            Effect::Set(record) => self.records[t] = record,
        }
    }
}

impl Leader {
    /// Of an empty partition.
    pub fn new() -> Leader {
        Leader {
            applied: Replicated::EMPTY,
            under_way: Vec::new(),
            cache: TimestampCache {
                read: [[0; TRANSACTIONS_MAX]; 2],
                floor: 0,
            },
        }
    }

    /// The state at the end of the log.
    fn end(&self, scope: &Scope) -> Replicated {
        let mut end = self.applied;
        for entry in self.under_way.iter().filter(|entry| !entry.is_hidden) {
            end.apply(scope, entry.asked.transaction, entry.effect);
        }
        end
    }
}

/// One evaluation: a leader, a question, and the rules.
pub struct Evaluation<'a> {
    scope: &'a Scope,
    applied: &'a Replicated,
    under_way: &'a [Entry],
    end: Replicated,
    cache: &'a mut TimestampCache,
    partition: PartitionIndex,
    /// Who asks.
    me: TransactionIndex,
}

impl<'a> Evaluation<'a> {
    /// Evaluates a question; raises the timestamp cache where the rules say so.
    pub fn of(scope: &'a Scope, leader: &'a mut Leader, message: &Message) -> Verdict {
        let end = leader.end(scope);
        Evaluation {
            scope,
            end,
            applied: &leader.applied,
            under_way: &leader.under_way,
            cache: &mut leader.cache,
            partition: message.to,
            me: message.transaction,
        }
        .evaluate(message)
    }

    fn evaluate(&mut self, message: &Message) -> Verdict {
        let is_settled = self
            .under_way
            .iter()
            .all(|e| e.asked.transaction != self.me);
        match message.body {
            Body::Read { at } => self.read(at),
            Body::Refresh { from, to } => self.refresh(from, to),
            _ if !is_settled => Verdict::Wait,
            Body::Prepare {
                attempt,
                snapshot,
                limit,
                saw,
            } => self.prepare(attempt, snapshot, limit, saw),
            Body::Change { expected, change } => self.change_record(expected, change),
            Body::Check { attempt } => self.check(attempt),
            Body::Resolve { attempt, committed } => self.resolve(attempt, committed),
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.scope.is(mutant)
    }

    fn keys(&self, of: impl Fn(&super::scope::Transaction) -> Keys, who: usize) -> Keys {
        of(&self.scope.transactions[who]).at(self.partition)
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let me = usize::from(self.me);
        (0..self.scope.transactions.len()).filter(move |other| *other != me)
    }

    /// The lowest lock that another holds on any of the keys.
    fn lock_of_other(&self, keys: Keys) -> Option<Timestamp> {
        let locks = self
            .others()
            .filter_map(|other| match self.end.markers[other] {
                Marker::Prepared { at, .. }
                    if !self.keys(|t| t.writes, other).and(keys).is_empty() =>
                {
                    Some(at)
                }
                _ => None,
            });
        locks.min()
    }

    /// Versions of any of the keys in `(after, to]`: whether the log has one, and whether one is committed.
    fn versions(&self, keys: Keys, after: Timestamp, to: Timestamp) -> (bool, bool) {
        let within = |state: &Replicated| {
            self.others().any(|other| {
                let at = state.versions[other];
                at > after && at <= to && !self.keys(|t| t.writes, other).and(keys).is_empty()
            })
        };
        (within(&self.end), within(self.applied))
    }

    /// The newest version of a key at or below a timestamp.
    fn newest(&self, state: &Replicated, key: usize, to: Timestamp) -> Option<(Timestamp, u8)> {
        let writers = (0..self.scope.transactions.len()).filter_map(|writer| {
            let at = state.versions[writer];
            let writes = self.scope.transactions[writer].writes.has(key);
            (writes && at > 0 && at <= to).then_some((at, writer as u8))
        });
        writers.max()
    }

    fn raise(&mut self, keys: Keys, to: Timestamp) {
        for key in keys.iter() {
            let read = &mut self.cache.read[key % 2][usize::from(self.me)];
            *read = to.max(*read);
        }
    }

    /// R2.
    fn read(&mut self, at: Timestamp) -> Verdict {
        let keys = self.keys(|t| t.reads, usize::from(self.me));
        let is_locked = self.lock_of_other(keys).is_some_and(|lock| lock <= at);
        if is_locked && !self.is(Mutant::ReadSkipsLock) {
            return Verdict::Wait;
        }
        let (in_log, _) = self.versions(keys, 0, at);
        if in_log && self.versions_differ(keys, at) {
            return Verdict::Wait;
        }
        self.raise(keys, at);
        let mut saw = Saw::default();
        for key in keys.iter() {
            saw.note(
                key,
                self.newest(self.applied, key, at).map(|(_, writer)| writer),
            );
        }
        Verdict::Reply(Reply::Read(saw))
    }

    /// Whether an entry under way changes what a read at this timestamp sees.
    fn versions_differ(&self, keys: Keys, at: Timestamp) -> bool {
        keys.iter()
            .any(|key| self.newest(&self.end, key, at) != self.newest(self.applied, key, at))
    }

    /// R5: a read at `to` whose answer is *changed?*. It never waits.
    fn refresh(&mut self, from: Timestamp, to: Timestamp) -> Verdict {
        let keys = self.keys(|t| t.unlocked_reads(), usize::from(self.me));
        if !self.is(Mutant::RefreshDoesNotRaise) {
            self.raise(keys, to);
        }
        let is_locked = self.lock_of_other(keys).is_some_and(|lock| lock <= to)
            && !self.is(Mutant::RefreshIgnoresLocks);
        let (in_log, _) = self.versions(keys, from, to);
        Verdict::Reply(Reply::Refreshed(is_locked || in_log))
    }

    /// R4, R5.
    fn prepare(
        &mut self,
        attempt: Attempt,
        snapshot: Timestamp,
        limit: Option<Timestamp>,
        saw: Saw,
    ) -> Verdict {
        if let Some(reply) = self
            .check_anchor(attempt)
            .or_else(|| self.check_marker(attempt, limit))
        {
            return Verdict::Reply(reply);
        }
        let (at, updated) = match self.place(snapshot) {
            Ok(placed) => placed,
            Err(verdict) => return verdict,
        };
        let saw = saw.and(updated);
        match self.scope.transactions[usize::from(self.me)].is_in_one_partition() {
            true => Verdict::Propose(Effect::Commit { attempt, at, saw }),
            false => Verdict::Propose(Effect::Prepare {
                attempt,
                at,
                limit,
                saw,
            }),
        }
    }

    /// What the record or an outcome here says to this attempt.
    fn check_anchor(&self, attempt: Attempt) -> Option<Reply> {
        let me = usize::from(self.me);
        match self.end.records[me] {
            Record::Closed => Some(Reply::Stale),
            Record::Committed { at, .. } => {
                let is_alone = self.scope.transactions[me].is_in_one_partition();
                Some(if is_alone {
                    Reply::Committed(at)
                } else {
                    Reply::Stale
                })
            }
            Record::Aborted(dead) if dead.number >= attempt.number => Some(Reply::Stale),
            Record::Staging {
                attempt: staged, ..
            } if staged != attempt => {
                if staged.number > attempt.number {
                    return Some(Reply::Stale);
                }
                if self.is(Mutant::NextAttemptBeforeAborted) && staged.number < attempt.number
                    || self.is(Mutant::AttemptOfTwoGateways) && staged.number == attempt.number
                {
                    return None;
                }
                Some(Reply::OtherCoordinator(staged))
            }
            _ => None,
        }
    }

    /// What the marker says to this attempt.
    fn check_marker(&self, attempt: Attempt, limit: Option<Timestamp>) -> Option<Reply> {
        let me = usize::from(self.me);
        match self.end.markers[me] {
            Marker::Prepared {
                attempt: known, at, ..
            } if known == attempt => {
                if self.is(Mutant::PreparedAnew) {
                    return None;
                }
                let limit = limit.and_then(|_| match self.end.records[me] {
                    Record::Staging {
                        attempt: staged,
                        limit,
                    } if staged == attempt => Some(limit),
                    _ => None,
                });
                Some(Reply::Prepared { at, limit })
            }
            Marker::Prepared {
                attempt: known, at, ..
            } if known.number == attempt.number => match self.is(Mutant::AttemptOfTwoGateways) {
                true => Some(Reply::Prepared { at, limit }),
                false => Some(Reply::OtherCoordinator(known)),
            },
            Marker::Ended(_, Some(_)) => Some(Reply::Stale),
            known if attempt.number > known.number() => None,
            _ => Some(Reply::Stale),
        }
    }

    /// Where the writes go, and what computed ones build on.
    fn place(&mut self, snapshot: Timestamp) -> Result<(Timestamp, Saw), Verdict> {
        let me = usize::from(self.me);
        let written = self.keys(|t| t.writes, me);
        let read = self.keys(|t| t.unlocked_reads(), me);
        let locked_reads = self.keys(|t| t.reads, me).and(written);
        if self.lock_of_other(written).is_some() {
            return Err(Verdict::Wait);
        }
        let at = self.choose_timestamp(written, snapshot);
        if !self.is(Mutant::PrepareIgnoresReads) {
            if self.lock_of_other(read).is_some_and(|lock| lock <= at) {
                return Err(Verdict::Wait);
            }
            self.raise(read, at);
        }
        self.check_unchanged(read, snapshot, at)?;
        self.check_unchanged(locked_reads, snapshot, Timestamp::MAX)?;
        let mut updated = Saw::default();
        for key in self.keys(|t| t.updates, me).iter() {
            let newest = self.newest(&self.end, key, Timestamp::MAX);
            updated.note(key, newest.map(|(_, writer)| writer));
        }
        Ok((at, updated))
    }

    fn choose_timestamp(&self, written: Keys, snapshot: Timestamp) -> Timestamp {
        let mut at = snapshot.max(self.cache.floor + 1);
        for key in written.iter() {
            let newest = self.newest(&self.end, key, Timestamp::MAX);
            at = at.max(newest.map_or(0, |(newest, _)| newest + 1));
            if self.is(Mutant::NoTimestampCache) {
                continue;
            }
            for other in self.others() {
                at = at.max(self.cache.read[key % 2][other] + 1);
            }
        }
        at
    }

    fn check_unchanged(&self, keys: Keys, from: Timestamp, to: Timestamp) -> Result<(), Verdict> {
        match self.versions(keys, from, to) {
            (_, true) => Err(Verdict::Reply(Reply::Conflict)),
            // A refusal rests on what is committed only.
            (true, false) => Err(Verdict::Wait),
            (false, false) => Ok(()),
        }
    }

    /// R5, R8: compare-and-set on the whole value.
    fn change_record(&self, expected: Record, change: Change) -> Verdict {
        let now = self.end.records[usize::from(self.me)];
        let target = match (change, expected) {
            (Change::Look, _) => None,
            (Change::Abort(attempt), _) => Some(Record::Aborted(attempt)),
            (Change::Close, _) => Some(Record::Closed),
            (Change::Commit(at), Record::Staging { attempt, .. }) => {
                Some(Record::Committed { attempt, at })
            }
            (Change::Commit(_), _) => None,
            (Change::RaiseLimit(limit), Record::Staging { attempt, .. }) => {
                Some(Record::Staging { attempt, limit })
            }
            (Change::RaiseLimit(_), _) => None,
        };
        let Some(target) = target.filter(|target| *target != now) else {
            // Made already, or nothing to make.
            return Verdict::Reply(Reply::Record(now, target.is_some()));
        };
        let is_expected = match (now, expected) {
            (Record::Staging { attempt, .. }, Record::Staging { attempt: other, .. })
                if self.is(Mutant::LimitNotCompared) =>
            {
                attempt == other
            }
            _ => now == expected,
        };
        match is_expected && is_allowed(now, target) {
            true => Verdict::Propose(Effect::Set(target)),
            false => Verdict::Reply(Reply::Record(now, false)),
        }
    }

    /// R8: "prepared" from any committed state, "not prepared" only through the log.
    fn check(&self, attempt: Attempt) -> Verdict {
        let marker = self.end.markers[usize::from(self.me)];
        let is_covered = marker.number() >= attempt.number;
        Verdict::Reply(match marker {
            Marker::Prepared {
                attempt: known, at, ..
            } if known == attempt => Reply::CheckedPrepared(at),
            Marker::Ended(_, committed @ Some(_)) => Reply::CheckedEnded(committed),
            Marker::Ended(_, None) if is_covered => Reply::CheckedEnded(None),
            _ if is_covered || self.is(Mutant::NoRefusalMarker) => Reply::CheckedRefused,
            _ => return Verdict::Propose(Effect::Refuse(attempt)),
        })
    }

    /// R7.
    fn resolve(&self, attempt: Attempt, committed: Option<Timestamp>) -> Verdict {
        let marker = self.end.markers[usize::from(self.me)];
        let is_later = attempt.number > marker.number();
        let changes = match (marker, committed) {
            (Marker::None, None) => true,
            (Marker::Prepared { attempt: known, .. }, None) => {
                known == attempt || is_later || self.is(Mutant::ResolvesAnyAttempt)
            }
            (Marker::Refused(_) | Marker::Ended(_, None), None) => is_later,
            (Marker::Ended(_, Some(_)), None) => false,
            (
                Marker::Prepared {
                    attempt: known, at, ..
                },
                Some(committed),
            ) => known == attempt && at <= committed,
            (Marker::None | Marker::Refused(_) | Marker::Ended(..), Some(_)) => false,
        };
        match changes {
            true => Verdict::Propose(Effect::Resolve(attempt, committed)),
            false => Verdict::Reply(Reply::Done),
        }
    }
}

fn is_allowed(now: Record, target: Record) -> bool {
    use Record::{Aborted, Closed, Committed, Missing, Staging};
    match (now, target) {
        (Committed { .. } | Closed, _) => false,
        (Missing, Aborted(_)) | (Missing | Staging { .. } | Aborted(_), Closed) => true,
        (Staging { attempt, .. }, Aborted(dead)) => attempt == dead,
        (Aborted(attempt), Aborted(dead)) => dead.number > attempt.number,
        (Staging { .. }, Committed { .. }) => true,
        (Staging { limit, .. }, Staging { limit: to, .. }) => to > limit,
        (_, _) => false,
    }
}

/// The answer that leaves once an entry is committed.
pub fn reply_after(effect: Effect) -> Reply {
    match effect {
        Effect::Prepare { at, limit, .. } => Reply::Prepared { at, limit },
        Effect::Commit { at, .. } => Reply::Committed(at),
        Effect::Refuse(_) => Reply::CheckedRefused,
        Effect::Resolve(..) => Reply::Done,
        Effect::Set(record) => Reply::Record(record, true),
    }
}
