//! A partition in a few lines: R2, R4, R5, R7, R8 and R10 on a `BTreeMap`, each request one atomic and
//! at once durable step. It never waits: who would wait hears of contention, and pushes.
//!
//! It is what the gateway is held against, so it asserts what a gateway must never ask for.

use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeMap;
use wire::ids::{Attempt, TransactionId};
use wire::keys::{Key, KeyRange};
use wire::message::{
    Change, ChangeRecord, CheckPrepared, Checked, CommitOne, Decision, Guard, Operation,
    OperationKind, OutcomeAnswer, PartitionError, PartitionReply, PartitionRequest, Prepare,
    Prepared, Read, ReadAnswer, ReadRequest, ReadResult, RecordAnswer, RecordChange, RecordState,
    Refresh, Refusal, Resolve, Rival, TransactionName, VersionedValue,
};

#[derive(Clone, Debug)]
struct Share {
    at: Timestamp,
    /// `None`: locked without a version.
    locks: BTreeMap<Key, Option<i64>>,
    results: Vec<Option<Bytes>>,
}

#[derive(Clone, Debug)]
enum Marker {
    Prepared(Share),
    Refused,
    Ended(Decision),
}

/// A lock that is in the way.
#[derive(Clone, Debug)]
pub(super) struct InTheWay {
    pub(super) key: Key,
    pub(super) name: TransactionName,
    pub(super) attempt: Attempt,
}

#[derive(Default, Debug)]
pub(super) struct ModelPartition {
    versions: BTreeMap<Key, BTreeMap<Timestamp, i64>>,
    /// The highest read of a key, and by whom if by one alone.
    cache: BTreeMap<Key, (Timestamp, Option<TransactionId>)>,
    markers: BTreeMap<TransactionId, (TransactionName, Attempt, Marker)>,
    records: BTreeMap<TransactionId, (RecordState, Vec<Key>)>,
    outcomes: BTreeMap<TransactionId, RecordState>,
    /// What the record said before it said committed.
    committed_from: BTreeMap<TransactionId, RecordState>,
    /// `closed` of the log.
    closed: Timestamp,
    /// Outcomes of what expires below it are no longer kept.
    kept_from: Timestamp,
    pub(super) pushes: Vec<InTheWay>,
}

struct ToPlace<'a> {
    name: &'a TransactionName,
    r: Timestamp,
    reads: &'a [KeyRange],
    guards: &'a [Guard],
    operations: &'a [Operation],
    locked_reads: &'a [Key],
}

fn refuse(refusal: Refusal, durable: bool) -> PartitionReply {
    PartitionReply::Refused {
        refusal,
        durable,
        depends_on: Timestamp::ZERO,
    }
}

impl ModelPartition {
    pub(super) fn evaluate(&mut self, request: &PartitionRequest) -> PartitionReply {
        match request {
            PartitionRequest::Read(read) => self.read(read),
            PartitionRequest::Lock(lock) => PartitionReply::Locked(wire::message::Locked {
                value: self.at(&lock.key, Timestamp::MAX),
                newest: self.newest(&lock.key),
            }),
            PartitionRequest::LockAll(_) => PartitionReply::LockedAll,
            PartitionRequest::KeepLocks { .. } => PartitionReply::Kept { lost: vec![] },
            PartitionRequest::Unlock { .. } => PartitionReply::Unlocked,
            PartitionRequest::Commit(commit) => self.commit(commit),
            PartitionRequest::Prepare(prepare) => self.prepare(prepare),
            PartitionRequest::Refresh(refresh) => self.refresh(refresh),
            PartitionRequest::ChangeRecord(change) => self.change_record(change),
            PartitionRequest::CheckPrepared(check) => self.check_prepared(check),
            PartitionRequest::Resolve(resolve) => self.resolve(resolve),
            PartitionRequest::ForgetRecord { name } => self.forget(name),
            PartitionRequest::Outcome { name } => self.outcome(name),
        }
    }

    /// Markers, dead records, and outcomes of what expires below `kept_from` are forgotten, as when
    /// `closed` has passed `expires`.
    pub(super) fn collect(&mut self, closed: Timestamp, kept_from: Timestamp) {
        let markers = std::mem::take(&mut self.markers);
        self.markers = markers
            .into_iter()
            .filter(|(_, (name, _, marker))| {
                matches!(marker, Marker::Prepared(_)) || name.expires >= closed
            })
            .collect();
        let is_dead = |state: &RecordState| {
            matches!(state, RecordState::Aborted { .. } | RecordState::Closed)
        };
        self.records.retain(|_, (state, _)| !is_dead(state));
        if kept_from > Timestamp::ZERO {
            // The scenario's transactions all expire below it.
            self.outcomes.clear();
        }
        (self.closed, self.kept_from) = (closed, kept_from);
    }

    fn is_no_longer_kept(&self, name: &TransactionName) -> bool {
        name.expires < self.kept_from
    }

    /// Every lock that is left.
    pub(super) fn locks(&self) -> Vec<InTheWay> {
        let markers = self.markers.values();
        let locks = markers.flat_map(|(name, attempt, marker)| {
            let keys = match marker {
                Marker::Prepared(share) => share.locks.keys().cloned().collect(),
                _ => Vec::new(),
            };
            keys.into_iter().map(|key| InTheWay {
                key,
                name: name.clone(),
                attempt: *attempt,
            })
        });
        locks.collect()
    }

    pub(super) fn value_at(&self, key: &Key, at: Timestamp) -> Option<i64> {
        let versions = self.versions.get(key)?;
        versions.range(..=at).next_back().map(|(_, value)| *value)
    }

    pub(super) fn has_version(&self, key: &Key, at: Timestamp) -> bool {
        let versions = self.versions.get(key);
        versions.is_some_and(|versions| versions.contains_key(&at))
    }

    pub(super) fn state(&self, id: TransactionId) -> RecordState {
        let record = self.records.get(&id).map(|(state, _)| *state);
        let outcome = self.outcomes.get(&id).copied();
        record.or(outcome).unwrap_or(RecordState::Missing)
    }

    fn set_state(&mut self, id: TransactionId, state: RecordState) {
        let before = self.state(id);
        let is_final = |state| matches!(state, RecordState::Committed { .. } | RecordState::Closed);
        assert!(
            !is_final(before) || before == state,
            "an outcome never changes: {id} was {before:?} and becomes {state:?}"
        );
        if is_final(state) {
            self.outcomes.insert(id, state);
        }
        let keys = self.records.remove(&id).map(|(_, keys)| keys);
        self.records.insert(id, (state, keys.unwrap_or_default()));
    }

    fn at(&self, key: &Key, at: Timestamp) -> Option<VersionedValue> {
        let (timestamp, value) = self.versions.get(key)?.range(..=at).next_back()?;
        Some(VersionedValue {
            timestamp: *timestamp,
            value: value.to_string().into(),
        })
    }

    fn newest(&self, key: &Key) -> Timestamp {
        self.at(key, Timestamp::MAX)
            .map_or(Timestamp::ZERO, |found| found.timestamp)
    }

    /// Another's lock in a range at or below a timestamp; whoever meets one pushes.
    fn lock_in(
        &mut self,
        range: &KeyRange,
        up_to: Timestamp,
        id: TransactionId,
    ) -> Option<Refusal> {
        let found = self.markers.values().find_map(|(name, attempt, marker)| {
            let Marker::Prepared(share) = marker else {
                return None;
            };
            let key = share.locks.keys().find(|key| range.contains(key))?;
            (name.id != id && share.at <= up_to).then(|| InTheWay {
                key: key.clone(),
                name: name.clone(),
                attempt: *attempt,
            })
        })?;
        let (key, rival) = (found.key.clone(), found.name.id);
        self.pushes.push(found);
        Some(Refusal::Contention { key, rival })
    }

    fn raise_cache(&mut self, key: &Key, to: Timestamp, reader: Option<TransactionId>) {
        let (at, by) = self
            .cache
            .get(key)
            .copied()
            .unwrap_or((Timestamp::ZERO, reader));
        let raised = match to.cmp(&at) {
            std::cmp::Ordering::Greater => (to, reader),
            std::cmp::Ordering::Equal if by != reader => (at, None),
            _ => (at, by),
        };
        self.cache.insert(key.clone(), raised);
    }

    fn read(&mut self, read: &Read) -> PartitionReply {
        let nobody = TransactionId {
            time: Timestamp::ZERO,
            random: 0,
        };
        let reader = read.reader.unwrap_or(nobody);
        let keys: Vec<&Key> = read
            .requests
            .iter()
            .map(|request| match request {
                ReadRequest::Get { key } => key,
                ReadRequest::Scan { .. } => unreachable!("the workload does not scan"),
            })
            .collect();
        for key in &keys {
            let point = KeyRange::point((*key).clone());
            if let Some(Refusal::Contention { key, rival }) =
                self.lock_in(&point, read.timestamp, reader)
            {
                return PartitionReply::Error(PartitionError::LockWait { key, rival });
            }
        }
        let mut results = Vec::new();
        for key in keys {
            self.raise_cache(key, read.timestamp, read.reader);
            results.push(ReadResult::Value(self.at(key, read.timestamp)));
        }
        PartitionReply::Read(ReadAnswer {
            results,
            depends_on: Timestamp::ZERO,
        })
    }

    fn changed(&self, range: &KeyRange, above: Timestamp, up_to: Timestamp) -> Option<Change> {
        let changed = |versions: &BTreeMap<Timestamp, i64>| {
            let newest = versions.range(..=up_to).next_back();
            newest.map(|(at, _)| *at).filter(|at| *at > above)
        };
        let mut keys = self.versions.iter().filter(|(key, _)| range.contains(key));
        keys.find_map(|(key, versions)| {
            let at = changed(versions)?;
            Some(Change {
                key: key.clone(),
                rival: Rival::Version { at },
            })
        })
    }

    fn place(&mut self, share: &ToPlace) -> Result<Share, Refusal> {
        let id = share.name.id;
        let written = share.operations.iter().map(|operation| &operation.key);
        let guarded = share.guards.iter().map(|guard| &guard.key);
        let locked: Vec<Key> = written
            .chain(guarded)
            .chain(share.locked_reads)
            .cloned()
            .collect();
        let mut at = share.r.max(self.closed.next());
        for key in &locked {
            let point = KeyRange::point(key.clone());
            if let Some(refusal) = self.lock_in(&point, Timestamp::MAX, id) {
                return Err(refusal);
            }
            at = at.max(self.newest(key).next());
            match self.cache.get(key) {
                Some((_, Some(by))) if *by == id => {}
                Some((read, _)) => at = at.max(read.next()),
                None => {}
            }
        }
        if at >= share.name.expires {
            return Err(Refusal::Expired);
        }
        for range in share.reads {
            if let Some(refusal) = self.lock_in(range, at, id) {
                return Err(refusal);
            }
            if let Some(Change { key, rival }) = self.changed(range, share.r, at) {
                return Err(Refusal::Changed { key, rival });
            }
            let point = range.as_point().expect("the workload reads points");
            self.raise_cache(point, at, Some(id));
        }
        for key in share.locked_reads {
            let point = KeyRange::point(key.clone());
            if let Some(Change { key, rival }) = self.changed(&point, share.r, Timestamp::MAX) {
                return Err(Refusal::Changed { key, rival });
            }
        }
        for guard in share.guards {
            let found = self.at(&guard.key, Timestamp::MAX);
            if guard.condition.holds(found.as_ref()) != Ok(true) {
                let key = guard.key.clone();
                return Err(Refusal::Guard { key, found });
            }
        }
        let mut locks: BTreeMap<Key, Option<i64>> =
            locked.into_iter().map(|key| (key, None)).collect();
        let mut results = Vec::new();
        for operation in share.operations {
            let before = self.value_at(&operation.key, Timestamp::MAX).unwrap_or(0);
            let before = locks[&operation.key].unwrap_or(before);
            let OperationKind::Add(difference) = operation.kind else {
                unreachable!("the workload adds");
            };
            let after = before + difference;
            results.push(Some(after.to_string().into()));
            locks.insert(operation.key.clone(), Some(after));
        }
        Ok(Share { at, locks, results })
    }

    fn write(&mut self, share: &Share, at: Timestamp) {
        for (key, value) in &share.locks {
            let cached = self
                .cache
                .get(key)
                .map_or(Timestamp::ZERO, |(read, _)| *read);
            match value {
                Some(value) => {
                    let versions = self.versions.entry(key.clone()).or_default();
                    assert!(
                        versions.insert(at, *value).is_none(),
                        "one version a timestamp"
                    );
                }
                None => self.raise_cache(key, at.max(cached), None),
            }
        }
    }

    fn commit(&mut self, commit: &CommitOne) -> PartitionReply {
        let id = commit.name.id;
        match self.state(id) {
            RecordState::Committed { at } => {
                let results = Vec::new();
                return PartitionReply::Committed { at, results };
            }
            RecordState::Closed => return refuse(Refusal::Closed, true),
            RecordState::Staging { attempt, .. } => {
                return PartitionReply::OtherCoordinator { attempt };
            }
            RecordState::Aborted { attempt } if attempt.number >= commit.attempt.number => {
                return refuse(Refusal::StaleAttempt, false);
            }
            RecordState::Missing if self.is_no_longer_kept(&commit.name) => {
                return PartitionReply::Error(PartitionError::BelowHorizon {
                    timestamp: commit.name.expires,
                    horizon: self.kept_from,
                });
            }
            _ => {}
        }
        let placed = self.place(&ToPlace {
            name: &commit.name,
            r: commit.timestamp,
            reads: &commit.reads,
            guards: &commit.guards,
            operations: &commit.operations,
            locked_reads: &[],
        });
        match placed {
            Ok(share) => {
                self.write(&share, share.at);
                self.set_state(id, RecordState::Committed { at: share.at });
                PartitionReply::Committed {
                    at: share.at,
                    results: share.results,
                }
            }
            Err(refusal) => {
                if commit.resent {
                    self.set_state(id, RecordState::Closed);
                }
                refuse(refusal, commit.resent)
            }
        }
    }

    fn prepare(&mut self, prepare: &Prepare) -> PartitionReply {
        let id = prepare.name.id;
        let number = prepare.attempt.number;
        match self.state(id) {
            RecordState::Closed => return refuse(Refusal::Closed, false),
            RecordState::Committed { .. } => return refuse(Refusal::StaleAttempt, false),
            RecordState::Aborted { attempt } if attempt.number >= number => {
                return refuse(Refusal::StaleAttempt, false);
            }
            RecordState::Staging { attempt, .. } if attempt != prepare.attempt => {
                return match attempt.number > number {
                    true => refuse(Refusal::StaleAttempt, false),
                    false => PartitionReply::OtherCoordinator { attempt },
                };
            }
            _ => {}
        }
        if let Some((_, attempt, marker)) = self.markers.get(&id) {
            match marker {
                Marker::Prepared(share) if *attempt == prepare.attempt => {
                    let limit = match self.state(id) {
                        RecordState::Staging { attempt, limit } if attempt == prepare.attempt => {
                            prepare.staging.as_ref().map(|_| limit)
                        }
                        _ => None,
                    };
                    return prepared(share, prepare.attempt, limit);
                }
                Marker::Prepared(_) if attempt.number == number => {
                    return PartitionReply::OtherCoordinator { attempt: *attempt };
                }
                Marker::Ended(Decision::Committed(_)) => {
                    return refuse(Refusal::StaleAttempt, false);
                }
                _ if attempt.number >= number => return refuse(Refusal::StaleAttempt, false),
                _ => {}
            }
        }
        let placed = self.place(&ToPlace {
            name: &prepare.name,
            r: prepare.timestamp,
            reads: &prepare.reads,
            guards: &prepare.guards,
            operations: &prepare.operations,
            locked_reads: &prepare.locked_reads,
        });
        let share = match placed {
            Ok(share) => share,
            Err(refusal) => return refuse(refusal, false),
        };
        let mut limit = None;
        if let Some((to, keys)) = &prepare.staging {
            let (attempt, to) = (prepare.attempt, *to);
            let state = RecordState::Staging { attempt, limit: to };
            self.records.insert(id, (state, keys.clone()));
            limit = Some(to);
        }
        let reply = prepared(&share, prepare.attempt, limit);
        let marker = (
            prepare.name.clone(),
            prepare.attempt,
            Marker::Prepared(share),
        );
        self.markers.insert(id, marker);
        reply
    }

    fn refresh(&mut self, refresh: &Refresh) -> PartitionReply {
        let mut first = None;
        for range in &refresh.reads {
            let point = range.as_point().expect("the workload reads points").clone();
            self.raise_cache(&point, refresh.to, Some(refresh.reader));
            let locked = match self.lock_in(range, refresh.to, refresh.reader) {
                Some(Refusal::Contention { rival, .. }) => Some(Change {
                    key: point,
                    rival: Rival::Transaction {
                        id: rival,
                        at: refresh.to,
                    },
                }),
                _ => None,
            };
            let changed = self.changed(range, refresh.from, refresh.to);
            first = first.or(locked).or(changed);
        }
        PartitionReply::Refreshed { changed: first }
    }

    fn change_record(&mut self, change: &ChangeRecord) -> PartitionReply {
        let id = change.name.id;
        let now = self.state(id);
        let target = match (change.change, change.expected) {
            (RecordChange::None, _) => return self.record_answer(id, false),
            (RecordChange::Abort { attempt }, _) => RecordState::Aborted { attempt },
            (RecordChange::Close, _) => RecordState::Closed,
            (RecordChange::Commit { at }, _) => RecordState::Committed { at },
            (RecordChange::RaiseLimit { to }, RecordState::Staging { attempt, .. }) => {
                RecordState::Staging { attempt, limit: to }
            }
            (RecordChange::RaiseLimit { .. }, other) => {
                unreachable!("only a staged limit is raised, not {other:?}")
            }
        };
        if let (true, RecordState::Committed { .. }) = (now == target, now) {
            let is_made = self.committed_from.get(&id) == Some(&without_limit(change.expected));
            return self.record_answer(id, is_made);
        }
        if now != target {
            let is_lost = match (now, target) {
                (RecordState::Missing | RecordState::Aborted { .. }, RecordState::Closed) => {
                    self.is_no_longer_kept(&change.name)
                }
                (
                    RecordState::Missing | RecordState::Aborted { .. },
                    RecordState::Committed { .. },
                ) => change.name.expires <= self.closed,
                _ => false,
            };
            if now != change.expected || is_lost {
                return self.record_answer(id, false);
            }
            self.committed_from
                .insert(id, without_limit(change.expected));
            self.set_state(id, target);
        }
        self.record_answer(id, true)
    }

    fn record_answer(&self, id: TransactionId, changed: bool) -> PartitionReply {
        let keys = self.records.get(&id).map(|(_, keys)| keys.clone());
        PartitionReply::Record(RecordAnswer {
            state: self.state(id),
            keys: keys.unwrap_or_default(),
            changed,
        })
    }

    fn check_prepared(&mut self, check: &CheckPrepared) -> PartitionReply {
        let id = check.name.id;
        let checked = match self.markers.get(&id) {
            Some((_, attempt, Marker::Prepared(share)))
                if *attempt == check.attempt
                    && check.keys.iter().all(|key| share.locks.contains_key(key)) =>
            {
                Checked::Prepared(share.at)
            }
            Some((_, _, Marker::Ended(decision @ Decision::Committed(_)))) => {
                Checked::Ended(*decision)
            }
            Some((_, attempt, marker)) if attempt.number >= check.attempt.number => match marker {
                Marker::Ended(decision) => Checked::Ended(*decision),
                _ => Checked::Refused,
            },
            _ => {
                let marker = (check.name.clone(), check.attempt, Marker::Refused);
                self.markers.insert(id, marker);
                Checked::Refused
            }
        };
        PartitionReply::Checked(checked)
    }

    fn resolve(&mut self, resolve: &Resolve) -> PartitionReply {
        let id = resolve.name.id;
        let found = self.markers.get(&id).cloned();
        match (found, resolve.decision) {
            (Some((_, attempt, Marker::Prepared(share))), Decision::Committed(at)) => {
                assert_eq!(
                    attempt, resolve.attempt,
                    "resolved as committed under its own attempt"
                );
                self.write(&share, at);
            }
            (Some((_, _, Marker::Ended(before))), now @ Decision::Committed(_)) => {
                assert_eq!(before, now, "ended twice, with one outcome");
            }
            (found, Decision::Committed(_)) => {
                panic!("{resolve:?} where nothing is prepared: {found:?}")
            }
            (Some((_, attempt, Marker::Ended(Decision::Committed(_)))), Decision::Aborted) => {
                assert!(
                    attempt.number > resolve.attempt.number,
                    "a committed attempt is aborted"
                );
                return PartitionReply::Done;
            }
            (Some((_, attempt, _)), Decision::Aborted)
                if attempt.number > resolve.attempt.number =>
            {
                return PartitionReply::Done;
            }
            (_, Decision::Aborted) => {}
        }
        let marker = Marker::Ended(resolve.decision);
        self.markers
            .insert(id, (resolve.name.clone(), resolve.attempt, marker));
        PartitionReply::Done
    }

    fn forget(&mut self, name: &TransactionName) -> PartitionReply {
        if self.outcomes.contains_key(&name.id) {
            self.records.remove(&name.id);
            self.committed_from.remove(&name.id);
        }
        PartitionReply::Done
    }

    fn outcome(&mut self, name: &TransactionName) -> PartitionReply {
        PartitionReply::Outcome(match self.state(name.id) {
            RecordState::Committed { at } => OutcomeAnswer::Committed { at },
            RecordState::Staging { attempt, .. } => OutcomeAnswer::Staging {
                attempt,
                gateway: attempt.coordinator.node,
            },
            RecordState::Missing | RecordState::Aborted { .. } if self.is_no_longer_kept(name) => {
                OutcomeAnswer::NoLongerKept
            }
            _ => {
                self.set_state(name.id, RecordState::Closed);
                OutcomeAnswer::Aborted
            }
        })
    }
}

/// A record's state, for what no limit matters.
fn without_limit(state: RecordState) -> RecordState {
    match state {
        RecordState::Staging { attempt, .. } => RecordState::Staging {
            attempt,
            limit: Timestamp::MAX,
        },
        other => other,
    }
}

fn prepared(share: &Share, attempt: Attempt, limit: Option<Timestamp>) -> PartitionReply {
    PartitionReply::Prepared(Prepared {
        timestamp: share.at,
        attempt,
        limit,
        results: share.results.clone(),
    })
}
