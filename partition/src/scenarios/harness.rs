//! One replica with its disk and store, driven by hand.
//!
//! What it says is kept until a scenario looks. Its log is durable and its store applied only when the
//! scenario says so, or at once with [`World::settle`].

use crate::fixtures::{attempt, id, key, name, ts};
use crate::log::{LogRecord, RecoveredReplica};
use crate::replication::{ChangeRefused, Recollection};
use crate::versions::{MemoryStore, Store, StoreReport, StoreTask};
use crate::{
    Asker, Replica, ReplicaConfig, ReplicaContext, ReplicaEffect, ReplicaEvent, ReplicaTiming,
};
use bytes::Bytes;
use clock::{Now, Timestamp};
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;
use wire::ids::{Attempt, Generation, LogIndex, NodeId, PartitionId, Term};
use wire::keys::{Descriptor, Key, KeyRange};
use wire::message::{
    ChangeRecord, CheckPrepared, CommitOne, Condition, Decision, Entry, Guard, LogPosition,
    Operation, OperationKind, PartitionReply, PartitionRequest, Prepare, Prepared, Read,
    ReadAnswer, ReadRequest, ReadResult, RecordChange, RecordState, Refusal, ReplicationMessage,
    RequestNumber, Resolve, Rival, TransferFailure, VersionedValue,
};

pub(super) const ME: NodeId = NodeId(1);
pub(super) const PARTITION: PartitionId = PartitionId(7);

/// True time at the beginning of a scenario, and the first promise.
pub(super) const START_MS: u64 = 100_000;

pub(super) struct World {
    pub(super) replica: Replica,
    pub(super) store: MemoryStore,
    pub(super) now: Now,
    /// Entries that were logged and are durable.
    pub(super) log: Vec<Entry>,
    pub(super) term: Term,
    voted_for: Option<NodeId>,
    /// Logged, not yet durable.
    unsynced: VecDeque<LogRecord>,
    tasks: VecDeque<StoreTask>,
    /// Everything else that it wanted done.
    said: Vec<ReplicaEffect>,
    members: Vec<NodeId>,
    next_number: u64,
    /// Incarnation and base of the snapshot that was installed last.
    pub(super) installed: Option<(u32, LogPosition)>,
    /// What else was logged.
    pub(super) other_records: Vec<LogRecord>,
    /// The store makes no tables when it is asked to.
    pub(super) without_persisting: bool,
}

fn now_at(ms: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(ms),
        physical: Duration::from_millis(ms),
        bound: Some(Duration::ZERO),
    }
}

impl World {
    /// A replica of its own, elected and serving, with a promise 500 ms ahead.
    pub(super) fn serving() -> World {
        let mut world = World::of(vec![ME]);
        world.tick();
        world.sync();
        world.promise_by(ME, START_MS + 500);
        world.settle();
        assert_eq!(
            world.take_said(),
            vec![ReplicaEffect::BecameLeader { term: Term(1) }]
        );
        world
    }

    /// A replica that has just been founded.
    pub(super) fn of(members: Vec<NodeId>) -> World {
        let store = MemoryStore::new();
        let now = now_at(START_MS);
        World {
            replica: open(
                &store,
                &members,
                None,
                Term(0),
                None,
                vec![],
                &now,
                #[cfg(feature = "mutants")]
                None,
            ),
            store,
            now,
            log: vec![],
            term: Term(0),
            voted_for: None,
            unsynced: VecDeque::new(),
            tasks: VecDeque::new(),
            said: vec![],
            members,
            next_number: 0,
            installed: None,
            other_records: vec![],
            without_persisting: false,
        }
    }

    /// The process dies and starts again: what was not durable is gone.
    pub(super) fn restart(&mut self) {
        self.unsynced.clear();
        self.tasks.clear();
        self.said.clear();
        self.store.crash();
        self.replica = open(
            &self.store,
            &self.members,
            self.installed,
            self.term,
            self.voted_for,
            self.log.clone(),
            &self.now,
            #[cfg(feature = "mutants")]
            self.replica.mutant,
        );
    }

    /// Serves, and does not keep a rule from now on.
    #[cfg(feature = "mutants")]
    pub(super) fn without(mutant: crate::Mutant) -> World {
        let mut world = World::serving();
        world.replica.mutant = Some(mutant);
        world
    }

    pub(super) fn step(&mut self, event: ReplicaEvent) {
        let now = self.now;
        let cx = ReplicaContext {
            now: &now,
            promised: Timestamp::ZERO,
        };
        let mut out = vec![];
        self.replica.step(&cx, event, &mut out);
        self.replica.end_turn(&cx, &mut out);
        self.keep(out);
    }

    pub(super) fn tick(&mut self) {
        let now = self.now;
        let cx = ReplicaContext {
            now: &now,
            promised: Timestamp::ZERO,
        };
        let mut out = vec![];
        self.replica.tick(&cx, &mut out);
        self.replica.end_turn(&cx, &mut out);
        self.keep(out);
    }

    /// Begins to change the members.
    pub(super) fn change_members(&mut self, voters: &[u32]) -> Result<(), ChangeRefused> {
        let now = self.now;
        let cx = ReplicaContext {
            now: &now,
            promised: Timestamp::ZERO,
        };
        let voters = voters.iter().map(|node| NodeId(*node)).collect();
        self.replica.change_members(&cx, voters)
    }

    /// Begins to hand over the leadership.
    pub(super) fn transfer(&mut self, to: u32) -> Result<(), TransferFailure> {
        let now = self.now;
        let cx = ReplicaContext {
            now: &now,
            promised: Timestamp::ZERO,
        };
        let mut out = vec![];
        let begun = self.replica.begin_transfer(&cx, NodeId(to), &mut out);
        self.keep(out);
        begun
    }

    /// The target cannot be reached any more.
    pub(super) fn take_back_transfer(&mut self, target: u32) {
        let now = self.now;
        let cx = ReplicaContext {
            now: &now,
            promised: Timestamp::ZERO,
        };
        let mut out = vec![];
        let target = NodeId(target);
        let why = TransferFailure::Unreachable { target };
        self.replica.take_back_transfer(&cx, target, why, &mut out);
        self.replica.end_turn(&cx, &mut out);
        self.keep(out);
    }

    fn keep(&mut self, out: Vec<ReplicaEffect>) {
        self.replica.invariants();
        for effect in out {
            match effect {
                ReplicaEffect::Log(record) => self.unsynced.push_back(record),
                ReplicaEffect::Store(task) => self.tasks.push_back(task),
                other => self.said.push(other),
            }
        }
    }

    /// Elects a replica of its own anew, when its node had promised up to `promised`.
    pub(super) fn elect(&mut self, promised: Timestamp) {
        let now = self.now;
        let cx = ReplicaContext {
            now: &now,
            promised,
        };
        let mut out = vec![];
        self.replica.tick(&cx, &mut out);
        self.replica.end_turn(&cx, &mut out);
        self.keep(out);
        self.sync();
    }

    /// The locks that it said were dropped.
    pub(super) fn take_lost(&mut self) -> Vec<ReplicaEffect> {
        let said = std::mem::take(&mut self.said);
        let is_lost = |effect: &ReplicaEffect| matches!(effect, ReplicaEffect::LockLost { .. });
        let (lost, rest) = said.into_iter().partition(is_lost);
        self.said = rest;
        lost
    }

    /// Time passes.
    pub(super) fn pass(&mut self, ms: u64) {
        let passed = Duration::from_millis(ms);
        self.now.monotonic += passed;
        self.now.physical += passed;
        self.tick();
    }

    /// What was logged becomes durable.
    pub(super) fn sync(&mut self) {
        let mut last = None;
        for record in std::mem::take(&mut self.unsynced) {
            match record {
                LogRecord::Entry { entry, .. } => {
                    self.log.retain(|known| known.index < entry.index);
                    last = Some(entry.position());
                    self.log.push(entry);
                }
                LogRecord::HardState {
                    term, voted_for, ..
                } => {
                    self.term = term;
                    self.voted_for = voted_for;
                }
                LogRecord::ReplicaInstalled {
                    incarnation, base, ..
                } => {
                    self.log.clear();
                    last = None;
                    self.installed = Some((incarnation, base));
                }
                other => self.other_records.push(other),
            }
        }
        if let Some(position) = last {
            self.step(ReplicaEvent::LogDurable { position });
        }
    }

    /// The store does what it was asked.
    pub(super) fn work(&mut self) {
        while let Some(task) = self.tasks.pop_front() {
            let report = match task {
                StoreTask::Apply(batch) => {
                    let (incarnation, position) = (batch.incarnation, batch.applied);
                    self.store.apply(&[batch]).unwrap();
                    StoreReport::Applied {
                        partition: PARTITION,
                        incarnation,
                        position,
                    }
                }
                StoreTask::ReadSnapshot(read) => StoreReport::Snapshot {
                    partition: PARTITION,
                    view: read.view,
                    page: self.store.read_snapshot(&read),
                },
                StoreTask::CloseSnapshot { view, .. } => {
                    self.store.close_snapshot(PARTITION, view);
                    continue;
                }
                StoreTask::Persist => {
                    if !self.without_persisting {
                        self.persist();
                    }
                    continue;
                }
                StoreTask::Live(live) => {
                    self.store.set_live(live).unwrap();
                    continue;
                }
                StoreTask::Query {
                    incarnation,
                    ticket,
                    queries,
                    ..
                } => StoreReport::Answer {
                    partition: PARTITION,
                    ticket,
                    answer: self.store.query(PARTITION, incarnation, &queries).unwrap(),
                },
            };
            self.step(ReplicaEvent::Store(report));
        }
    }

    /// Disk and store do everything that there is to do.
    pub(super) fn settle(&mut self) {
        while !self.unsynced.is_empty() || !self.tasks.is_empty() {
            self.sync();
            self.work();
        }
    }

    /// The store's tables have everything that was applied.
    pub(super) fn persist(&mut self) {
        self.store.persist();
        for ((_, incarnation), position) in self.store.persisted().unwrap() {
            self.step(ReplicaEvent::Store(StoreReport::Persisted {
                partition: PARTITION,
                incarnation,
                position,
            }));
        }
    }

    pub(super) fn promise_by(&mut self, by: NodeId, ms: u64) {
        let term = self.replica.term();
        self.step(ReplicaEvent::PromiseAcknowledged {
            by,
            term,
            promise: ts(ms),
        });
    }

    /// Asks, and gives the number of the request.
    pub(super) fn ask(&mut self, request: PartitionRequest) -> u64 {
        self.next_number += 1;
        self.step(ReplicaEvent::Request {
            from: asker(self.next_number),
            generation: Generation(1),
            request,
        });
        self.next_number
    }

    /// Asks, lets everything settle, and gives the one answer.
    pub(super) fn answer(&mut self, request: PartitionRequest) -> PartitionReply {
        let number = self.ask(request);
        self.settle();
        let mut replies = self.take_replies();
        assert_eq!(replies.len(), 1, "one answer, not {replies:?}");
        let (to, reply) = replies.remove(0);
        assert_eq!(to, number);
        reply
    }

    pub(super) fn take_said(&mut self) -> Vec<ReplicaEffect> {
        std::mem::take(&mut self.said)
    }

    /// Everything that was said, which must be answers.
    pub(super) fn take_replies(&mut self) -> Vec<(u64, PartitionReply)> {
        let said = self.take_said().into_iter();
        said.map(|effect| match effect {
            ReplicaEffect::Reply { to, reply } => (to.number.0, reply),
            other => panic!("only answers are expected, not {other:?}"),
        })
        .collect()
    }

    pub(super) fn receive(&mut self, from: u32, message: ReplicationMessage) {
        self.step(ReplicaEvent::Replication {
            from: NodeId(from),
            message,
        });
    }

    pub(super) fn last(&self) -> LogIndex {
        self.replica.status().last
    }
}

fn open(
    store: &MemoryStore,
    members: &[NodeId],
    installed: Option<(u32, LogPosition)>,
    term: Term,
    voted_for: Option<NodeId>,
    entries: Vec<Entry>,
    now: &Now,
    #[cfg(feature = "mutants")] mutant: Option<crate::Mutant>,
) -> Replica {
    let config = ReplicaConfig {
        me: ME,
        timing: ReplicaTiming::default(),
        seed: 1,
        memory: Recollection::Whole,
        told: None,
        nodes: BTreeSet::new(),
        #[cfg(feature = "mutants")]
        mutant,
    };
    let (incarnation, base) = installed.unwrap_or((1, LogPosition::default()));
    let recovered = RecoveredReplica {
        incarnation,
        descriptor: Descriptor {
            partition: PARTITION,
            generation: Generation(1),
            range: KeyRange::new(key("a"), Some(key("n"))),
            members: members.to_vec(),
        },
        term,
        voted_for,
        base,
        entries,
    };
    Replica::new(config, recovered, store, now).unwrap()
}

pub(super) fn asker(number: u64) -> Asker {
    Asker {
        node: NodeId(9),
        number: RequestNumber(number),
    }
}

/// `START_MS` and so many milliseconds.
pub(super) fn at(ms: u64) -> Timestamp {
    ts(START_MS + ms)
}

pub(super) fn put(user: &str, value: &'static str) -> Operation {
    Operation {
        key: key(user),
        kind: OperationKind::Put(Bytes::from_static(value.as_bytes())),
    }
}

pub(super) fn add(user: &str, addend: i64) -> Operation {
    Operation {
        key: key(user),
        kind: OperationKind::Add(addend),
    }
}

pub(super) fn guard(user: &str, condition: Condition) -> Guard {
    Guard {
        key: key(user),
        condition,
    }
}

pub(super) fn point(user: &str) -> KeyRange {
    KeyRange::point(key(user))
}

pub(super) fn commit(n: u64, timestamp: Timestamp, operations: Vec<Operation>) -> CommitOne {
    CommitOne {
        name: name(n),
        attempt: attempt(1),
        age: id(n),
        timestamp,
        reads: vec![],
        guards: vec![],
        operations,
        resent: false,
    }
}

pub(super) fn prepare(n: u64, timestamp: Timestamp, operations: Vec<Operation>) -> Prepare {
    Prepare {
        name: name(n),
        attempt: attempt(1),
        age: id(n),
        timestamp,
        reads: vec![],
        guards: vec![],
        operations,
        locked_reads: vec![],
        staging: None,
    }
}

pub(super) fn get(timestamp: Timestamp, user: &str) -> PartitionRequest {
    PartitionRequest::Read(Read {
        reader: None,
        timestamp,
        requests: vec![ReadRequest::Get { key: key(user) }],
    })
}

pub(super) fn committed(at: Timestamp, results: Vec<Option<Bytes>>) -> PartitionReply {
    PartitionReply::Committed { at, results }
}

pub(super) fn refused(refusal: Refusal, durable: bool, depends_on: Timestamp) -> PartitionReply {
    PartitionReply::Refused {
        refusal,
        durable,
        depends_on,
    }
}

pub(super) fn prepared(timestamp: Timestamp, attempt: Attempt) -> PartitionReply {
    PartitionReply::Prepared(Prepared {
        timestamp,
        attempt,
        limit: None,
        results: vec![None],
    })
}

pub(super) fn version(timestamp: Timestamp, value: &'static str) -> VersionedValue {
    VersionedValue {
        timestamp,
        value: Bytes::from_static(value.as_bytes()),
    }
}

pub(super) fn value(found: Option<VersionedValue>, depends_on: Timestamp) -> PartitionReply {
    PartitionReply::Read(ReadAnswer {
        results: vec![ReadResult::Value(found)],
        depends_on,
    })
}

pub(super) fn resolve(n: u64, attempt: Attempt, decision: Decision) -> PartitionRequest {
    PartitionRequest::Resolve(Resolve {
        name: name(n),
        attempt,
        decision,
    })
}

pub(super) fn check(n: u64, attempt: Attempt, keys: &[&str]) -> PartitionRequest {
    PartitionRequest::CheckPrepared(CheckPrepared {
        name: name(n),
        attempt,
        keys: keys.iter().map(|user| key(user)).collect(),
    })
}

pub(super) fn change(n: u64, expected: RecordState, change: RecordChange) -> PartitionRequest {
    PartitionRequest::ChangeRecord(ChangeRecord {
        name: name(n),
        expected,
        change,
    })
}

pub(super) fn keys(users: &[&str]) -> Vec<Key> {
    users.iter().map(|user| key(user)).collect()
}

/// What was read there was changed by the version of this timestamp.
pub(super) fn changed(user: &str, at: Timestamp) -> Refusal {
    Refusal::Changed {
        key: key(user),
        rival: Rival::Version { at },
    }
}
