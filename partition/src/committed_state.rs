//! What every replica of a partition keeps in memory of what is committed.
//!
//! Fed entry by entry when the high-water mark passes them; deterministic, so that all replicas agree
//! (protocol, invariant 1). What it keeps besides [`RecentWrites`]:
//!
//! - **markers** of participants: *prepared* (a share, whose keys are locked and whose provisional
//!   values wait), *refused*, *ended*;
//! - **records** at the anchor; **outcomes** by id until `closed` passes `expires`, then in the store
//!   only, until their retention is over;
//! - the **members**, once they have changed, with the promise that the change carried (R9);
//! - **closed**: nothing new is placed at or below it by any leader;
//! - the retention **horizon**: nobody reads below it. Tombstones at or below it are swept.
//!
//! Invariants
//! - The locks are exactly those of the prepared markers.
//! - An outcome never changes (protocol, invariant 4).
//! - The horizon only rises, and is never above `closed`.
//! - What is persisted by [`Changes`] is what a restart needs to rebuild this.

use crate::effects::{Effect, LockKind, Share};
use crate::lock_table::LockTable;
use crate::meta_rows::{self, MetaRow};
use crate::recent_writes::RecentWrites;
use crate::replication::ConfigurationEntry;
use crate::versions::{StoreError, VersionRow};
use bytes::Bytes;
use clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wire::ids::{Attempt, LogIndex, TransactionId};
use wire::keys::Key;
use wire::message::{Configured, Decision, LogPosition, RecordState, TransactionName};

/// What a participant remembers of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// Which, with `expires` and anchor, so that another identity is noticed.
    pub(crate) name: TransactionName,
    /// What became of it here.
    pub(crate) state: MarkerState,
}

/// What became of a transaction at a participant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum MarkerState {
    /// Its share is prepared.
    Prepared(Share),
    /// Attempts up to this one are refused.
    Refused(Attempt),
    /// This attempt ended so; it and earlier ones are refused.
    Ended(Attempt, Decision),
}

impl MarkerState {
    /// The attempt that it speaks of.
    pub(crate) fn attempt(&self) -> Attempt {
        match self {
            MarkerState::Prepared(share) => share.attempt,
            MarkerState::Refused(attempt) | MarkerState::Ended(attempt, _) => *attempt,
        }
    }
}

/// A transaction's record at its anchor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: TransactionName,
    pub(crate) state: RecordState,
    /// The attempt that was staged or aborted last.
    pub(crate) attempt: Option<Attempt>,
    pub(crate) keys: Vec<Key>,
}

impl Record {
    /// Committed without having been staged: it lists no keys, and does not say of which attempt.
    pub(crate) fn is_born_committed(&self) -> bool {
        matches!(self.state, RecordState::Committed { .. }) && self.keys.is_empty()
    }
}

/// Whether a change of a record commits what was not staged.
pub(crate) fn is_born_committed(before: RecordState, now: RecordState) -> bool {
    let was_staged = matches!(before, RecordState::Staging { .. });
    matches!(now, RecordState::Committed { .. }) && !was_staged
}

/// How a transaction ended, for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: TransactionName,
    /// When it committed; `None`: *closed*.
    pub(crate) committed: Option<Timestamp>,
}

impl Outcome {
    /// As the state of a record.
    pub(crate) fn state(&self) -> RecordState {
        match self.committed {
            Some(at) => RecordState::Committed { at },
            None => RecordState::Closed,
        }
    }
}

/// How far collection went.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Collected {
    /// Outcomes that expired below this have no rows any more.
    pub(crate) outcomes_kept_from: Timestamp,
    /// Nobody needed the log up to here when the leader said so.
    pub(crate) replicated: LogIndex,
    /// The highest timestamp that was ever given to anything.
    pub(crate) highest: Timestamp,
}

/// The members of the partition, since they were changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Members {
    /// Who, and by which entry.
    pub(crate) configured: Configured,
    /// The highest promise that any change up to that carried.
    pub(crate) promised: Timestamp,
}

/// What a run of entries changes in the store.
#[derive(Default, Debug)]
pub(crate) struct Changes {
    pub(crate) versions: Vec<VersionRow>,
    /// Keys of which every version up to here goes.
    pub(crate) swept: BTreeMap<Key, Timestamp>,
    pub(crate) meta: BTreeMap<Bytes, Option<Bytes>>,
}

/// What an entry sets free or settles; a leader wakes those who wait for it.
#[derive(Default, Debug)]
pub(crate) struct Released {
    /// Keys whose prepared lock is gone.
    pub(crate) keys: BTreeSet<Key>,
    /// Keys that were locked without a version, and the commit timestamp up to which they did not
    /// change.
    pub(crate) unchanged: Vec<(Key, Timestamp)>,
    /// Transactions of which something changed.
    pub(crate) ids: BTreeSet<TransactionId>,
}

/// The committed state of one replica.
#[derive(Debug)]
pub(crate) struct CommittedState {
    recent: RecentWrites,
    locks: LockTable,
    markers: BTreeMap<TransactionId, Marker>,
    records: BTreeMap<TransactionId, Record>,
    outcomes: BTreeMap<TransactionId, Outcome>,
    closed: Timestamp,
    horizon: Timestamp,
    /// When which transaction's markers, dead records and outcomes may go.
    expiries: BTreeSet<(Timestamp, TransactionId)>,
    collected: Collected,
    /// `None`: they are those that the partition was founded with.
    members: Option<Members>,
    /// The last entry that dropped an outcome from memory, so that only the store has it.
    forgot_outcomes_at: LogIndex,
    highest: Timestamp,
}

impl CommittedState {
    /// As the store remembers it: its small rows, its closed timestamp and its horizon, and an empty
    /// `recent` that begins at its newest version.
    pub(crate) fn rebuild(
        recent: RecentWrites,
        closed: Timestamp,
        horizon: Timestamp,
        rows: &[(Bytes, Bytes)],
    ) -> Result<CommittedState, StoreError> {
        let mut state = CommittedState {
            highest: recent.horizon(),
            recent,
            locks: LockTable::default(),
            markers: BTreeMap::new(),
            records: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            closed,
            horizon,
            expiries: BTreeSet::new(),
            collected: Collected::default(),
            members: None,
            forgot_outcomes_at: LogIndex(0),
        };
        for (key, value) in rows {
            state.read_row(meta_rows::read(key, value)?);
        }
        Ok(state)
    }

    fn read_row(&mut self, row: MetaRow) {
        match row {
            MetaRow::Marker(id, marker) => {
                match &marker.state {
                    MarkerState::Prepared(share) => {
                        self.locks.insert(&marker.name, share);
                        self.highest = self.highest.max(share.at);
                    }
                    MarkerState::Ended(_, Decision::Committed(at)) => {
                        self.highest = self.highest.max(*at);
                    }
                    MarkerState::Ended(_, Decision::Aborted) | MarkerState::Refused(_) => {}
                }
                self.expiries.insert((marker.name.expires, id));
                self.markers.insert(id, marker);
            }
            MetaRow::Record(id, record) => {
                self.expiries.insert((record.name.expires, id));
                self.records.insert(id, record);
            }
            MetaRow::Outcome(id, outcome) => {
                self.highest = self.highest.max(outcome.committed.unwrap_or_default());
                if outcome.name.expires > self.closed {
                    self.expiries.insert((outcome.name.expires, id));
                    self.outcomes.insert(id, outcome);
                }
            }
            MetaRow::Tombstone => {}
            MetaRow::Members(members) => self.members = Some(members),
            MetaRow::Collected(collected) => {
                self.collected = collected;
                self.highest = self.highest.max(collected.highest);
            }
        }
    }

    /// Versions of late.
    pub(crate) fn recent(&self) -> &RecentWrites {
        &self.recent
    }

    /// Whether a store snapshot that contains the entries up to `applied` and what is in memory
    /// together hold everything.
    pub(crate) fn completes(&self, applied: LogIndex) -> bool {
        self.recent.completes(applied) && applied >= self.forgot_outcomes_at
    }

    /// Whether something expired at or below a timestamp.
    pub(crate) fn has_expired(&self, closed: Timestamp) -> bool {
        let first = self.expiries.first();
        first.is_some_and(|(expires, _)| *expires <= closed)
    }

    /// The store holds everything up to `stored`.
    pub(crate) fn on_stored(&mut self, stored: LogIndex) {
        self.recent.evict(stored);
    }

    /// Locks of prepared transactions.
    pub(crate) fn locks(&self) -> &LockTable {
        &self.locks
    }

    /// What a participant remembers of a transaction.
    pub(crate) fn marker(&self, id: TransactionId) -> Option<&Marker> {
        self.markers.get(&id)
    }

    /// All markers.
    pub(crate) fn markers(&self) -> impl Iterator<Item = &Marker> {
        self.markers.values()
    }

    /// The record of a transaction.
    pub(crate) fn record(&self, id: TransactionId) -> Option<&Record> {
        self.records.get(&id)
    }

    /// All records.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// The outcome of a transaction, if it is in memory: always while `expires > closed`.
    pub(crate) fn outcome(&self, id: TransactionId) -> Option<&Outcome> {
        self.outcomes.get(&id)
    }

    /// Nothing new is placed at or below this.
    pub(crate) fn closed(&self) -> Timestamp {
        self.closed
    }

    /// Nobody reads below this any more.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.horizon
    }

    /// How far collection went.
    pub(crate) fn collected(&self) -> Collected {
        self.collected
    }

    /// The members, if they were ever changed.
    pub(crate) fn members(&self) -> Option<&Members> {
        self.members.as_ref()
    }

    /// A committed entry changes the members.
    pub(crate) fn configure(
        &mut self,
        at: LogPosition,
        entry: ConfigurationEntry,
        changes: &mut Changes,
    ) {
        let before = self.members.as_ref().map(|members| members.promised);
        let configuration = entry.configuration;
        let members = Members {
            configured: Configured { configuration, at },
            promised: entry.promised.max(before.unwrap_or_default()),
        };
        let row = meta_rows::encode(&members);
        changes.meta.insert(meta_rows::members_key(), Some(row));
        self.members = Some(members);
    }

    /// The highest timestamp in any committed entry.
    pub(crate) fn highest(&self) -> Timestamp {
        self.highest.max(self.closed)
    }

    /// Does what one effect of the committed entry at `index` says.
    pub(crate) fn apply(
        &mut self,
        index: LogIndex,
        effect: Effect,
        changes: &mut Changes,
        released: &mut Released,
    ) {
        released.ids.extend(effect.transaction());
        match effect {
            Effect::Commit {
                name, at, writes, ..
            } => {
                self.drop_marker(name.id, changes, released);
                for (key, value) in writes {
                    self.write(index, key, at, value, changes);
                }
                self.drop_record(name.id, changes);
                self.set_outcome(index, name, Some(at), changes);
            }
            Effect::Prepare {
                name,
                share,
                staging,
            } => self.prepare(name, share, staging, changes, released),
            Effect::Refuse { name, attempt } => {
                let state = MarkerState::Refused(attempt);
                self.set_marker(Marker { name, state }, changes, released);
            }
            Effect::Resolve {
                name,
                attempt,
                decision,
            } => self.resolve(index, name, attempt, decision, changes, released),
            Effect::SetRecord { name, state } => self.set_record(index, name, state, changes),
            Effect::ForgetRecord { name } => self.drop_record(name.id, changes),
            Effect::Collect {
                closed,
                outcomes,
                outcomes_kept_from,
                replicated,
                horizon,
                tombstones,
            } => {
                self.sweep(tombstones, changes);
                for (expires, id) in outcomes {
                    changes
                        .meta
                        .insert(meta_rows::outcome_key(expires, id), None);
                }
                self.collected = Collected {
                    outcomes_kept_from: self.collected.outcomes_kept_from.max(outcomes_kept_from),
                    replicated: self.collected.replicated.max(replicated),
                    // Not what is in memory: after a restart that lacks the timestamps of aborted shares,
                    // and replicas must write the same row. What goes here lay below `closed`.
                    highest: self.collected.highest.max(closed),
                };
                let row = meta_rows::encode(&self.collected);
                changes.meta.insert(meta_rows::collected_key(), Some(row));
                self.close(index, closed, changes);
                self.horizon = self.horizon.max(horizon);
            }
        }
    }

    fn sweep(&mut self, tombstones: Vec<(Key, Timestamp)>, changes: &mut Changes) {
        for (key, timestamp) in tombstones {
            assert!(
                timestamp <= self.horizon,
                "only below the horizon, {}, is a tombstone swept, not that of {key} at {timestamp}",
                self.horizon
            );
            let row = meta_rows::tombstone_key(timestamp, &key);
            changes.meta.insert(row, None);
            let up_to = changes.swept.entry(key).or_default();
            *up_to = timestamp.max(*up_to);
        }
    }

    fn write(
        &mut self,
        index: LogIndex,
        key: Key,
        timestamp: Timestamp,
        value: Option<Bytes>,
        changes: &mut Changes,
    ) {
        self.highest = self.highest.max(timestamp);
        self.recent.insert(index, &key, timestamp, value.clone());
        if value.is_none() {
            let row = meta_rows::tombstone_key(timestamp, &key);
            changes.meta.insert(row, Some(Bytes::new()));
        }
        changes.versions.push(VersionRow {
            key,
            timestamp,
            value,
        });
    }

    fn prepare(
        &mut self,
        name: TransactionName,
        share: Share,
        staging: Option<(Timestamp, Vec<Key>)>,
        changes: &mut Changes,
        released: &mut Released,
    ) {
        self.highest = self.highest.max(share.at);
        if let Some((limit, keys)) = staging {
            let state = RecordState::Staging {
                attempt: share.attempt,
                limit,
            };
            let record = Record {
                name: name.clone(),
                state,
                attempt: Some(share.attempt),
                keys,
            };
            self.insert_record(record, changes);
        }
        let state = MarkerState::Prepared(share);
        self.set_marker(Marker { name, state }, changes, released);
    }

    fn resolve(
        &mut self,
        index: LogIndex,
        name: TransactionName,
        attempt: Attempt,
        decision: Decision,
        changes: &mut Changes,
        released: &mut Released,
    ) {
        if let Decision::Committed(at) = decision {
            self.highest = self.highest.max(at);
            let marker = self.markers.get(&name.id);
            let share = match marker.map(|marker| &marker.state) {
                Some(MarkerState::Prepared(share)) if share.attempt == attempt => share.clone(),
                other => panic!(
                    "{} is committed under attempt {attempt}, but what is prepared here is {other:?}",
                    name.id
                ),
            };
            assert!(
                share.at <= at,
                "{} is committed at {at}, below the {} that this participant accepts",
                name.id,
                share.at
            );
            for (key, lock) in share.locks {
                match lock {
                    LockKind::Write(value) => self.write(index, key, at, value, changes),
                    LockKind::Unchanged => released.unchanged.push((key, at)),
                }
            }
        }
        let state = MarkerState::Ended(attempt, decision);
        self.set_marker(Marker { name, state }, changes, released);
    }

    /// Replaces the marker of a transaction; what it had locked before is released.
    fn set_marker(&mut self, marker: Marker, changes: &mut Changes, released: &mut Released) {
        let id = marker.name.id;
        self.drop_marker(id, changes, released);
        if let MarkerState::Prepared(share) = &marker.state {
            self.locks.insert(&marker.name, share);
        }
        self.expiries.insert((marker.name.expires, id));
        let row = meta_rows::encode(&marker);
        changes.meta.insert(meta_rows::marker_key(id), Some(row));
        self.markers.insert(id, marker);
    }

    fn drop_marker(&mut self, id: TransactionId, changes: &mut Changes, released: &mut Released) {
        let Some(marker) = self.markers.remove(&id) else {
            return;
        };
        changes.meta.insert(meta_rows::marker_key(id), None);
        if let MarkerState::Prepared(share) = marker.state {
            self.locks.remove(id, &share);
            released
                .keys
                .extend(share.locks.into_iter().map(|(key, _)| key));
        }
    }

    fn set_record(
        &mut self,
        index: LogIndex,
        name: TransactionName,
        state: RecordState,
        changes: &mut Changes,
    ) {
        match state {
            RecordState::Committed { at } => {
                self.set_outcome(index, name.clone(), Some(at), changes)
            }
            RecordState::Closed => self.set_outcome(index, name.clone(), None, changes),
            _ => {}
        }
        let (before, keys) = match self.records.get(&name.id) {
            // Born committed after a dead attempt: the keys were those of the dead one.
            Some(record) if is_born_committed(record.state, state) => (record.attempt, Vec::new()),
            Some(record) => (record.attempt, record.keys.clone()),
            // Nothing was staged, so nothing is to be resolved: the outcome alone is enough.
            None if state == RecordState::Closed => return,
            None => (None, Vec::new()),
        };
        let attempt = match state {
            RecordState::Staging { attempt, .. } | RecordState::Aborted { attempt } => {
                Some(attempt)
            }
            _ => before,
        };
        let record = Record {
            name,
            state,
            attempt,
            keys,
        };
        self.insert_record(record, changes);
    }

    fn insert_record(&mut self, record: Record, changes: &mut Changes) {
        let id = record.name.id;
        self.expiries.insert((record.name.expires, id));
        let row = meta_rows::encode(&record);
        changes.meta.insert(meta_rows::record_key(id), Some(row));
        self.records.insert(id, record);
    }

    fn drop_record(&mut self, id: TransactionId, changes: &mut Changes) {
        if self.records.remove(&id).is_some() {
            changes.meta.insert(meta_rows::record_key(id), None);
        }
    }

    fn set_outcome(
        &mut self,
        index: LogIndex,
        name: TransactionName,
        committed: Option<Timestamp>,
        changes: &mut Changes,
    ) {
        self.highest = self.highest.max(committed.unwrap_or_default());
        let id = name.id;
        let outcome = Outcome { name, committed };
        let key = meta_rows::outcome_key(outcome.name.expires, id);
        let row = meta_rows::encode(&outcome);
        changes.meta.insert(key, Some(row));
        if outcome.name.expires <= self.closed {
            // It would be collected from memory at once.
            self.forgot_outcomes_at = index;
            return;
        }
        self.expiries.insert((outcome.name.expires, id));
        if let Some(before) = self.outcomes.insert(id, outcome) {
            assert_eq!(
                before.committed, committed,
                "the outcome of {id} never changes: {before:?} became {committed:?}"
            );
        }
    }

    /// Forgets an *ended* marker that must stay.
    #[cfg(feature = "mutants")]
    pub(crate) fn forget_marker(&mut self, id: TransactionId, changes: &mut Changes) {
        self.drop_marker(id, changes, &mut Released::default());
    }

    /// Forgets an outcome that must be kept, in memory.
    #[cfg(feature = "mutants")]
    pub(crate) fn forget_outcome(&mut self, id: TransactionId) {
        self.outcomes.remove(&id);
    }

    /// Moves `closed` up and forgets what nothing can ask for any more.
    ///
    /// What is prepared, and records that staged or committed something, stay until they are resolved;
    /// each later change of them is looked at again.
    fn close(&mut self, index: LogIndex, closed: Timestamp, changes: &mut Changes) {
        self.closed = self.closed.max(closed);
        while self.has_expired(self.closed) {
            let (_, id) = self.expiries.pop_first().expect("there is a first");
            if self.outcomes.remove(&id).is_some() {
                self.forgot_outcomes_at = index;
            }
            let marker = self.markers.get(&id).map(|marker| &marker.state);
            if marker.is_some_and(|state| !matches!(state, MarkerState::Prepared(_))) {
                self.markers.remove(&id);
                changes.meta.insert(meta_rows::marker_key(id), None);
            }
            let record = self.records.get(&id).map(|record| record.state);
            if matches!(
                record,
                Some(RecordState::Aborted { .. } | RecordState::Closed)
            ) {
                self.drop_record(id, changes);
            }
        }
    }

    /// Asserts what must hold.
    pub(crate) fn invariants(&self) {
        self.recent.invariants();
        assert!(
            self.horizon <= self.closed,
            "the horizon {} is never above what is closed, {}",
            self.horizon,
            self.closed
        );
        let prepared = self
            .markers
            .values()
            .filter_map(|marker| match &marker.state {
                MarkerState::Prepared(share) => Some((marker, share)),
                _ => None,
            });
        let mut locked = 0;
        for (marker, share) in prepared {
            locked += share.locks.len();
            for (key, _) in &share.locks {
                let holder = self.locks.holder(key).map(|lock| lock.name.id);
                assert_eq!(
                    holder,
                    Some(marker.name.id),
                    "the lock on {key} is that of the prepared marker"
                );
            }
        }
        assert_eq!(
            locked,
            self.locks.len(),
            "the locks are exactly those of the prepared markers"
        );
    }
}
