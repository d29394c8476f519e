//! The coordinator of one transaction at one gateway (R5). Mirrors `txn/src/two_phase_commit.rs`,
//! `refresh.rs` and `abort.rs`.
//!
//! A crash is a step of its own where the coordinator could have told somebody something; anywhere else
//! it is the same as never taking the next step, which the model explores anyway.

use super::Mutant;
use super::recovery::{Doings, Recoverer, Recovery};
use super::scope::{Scope, Transaction};
use super::types::{
    Attempt, Body, Change, PARTITIONS, PartitionIndex, Record, Reply, Saw, Timestamp,
    TransactionIndex, UNBOUNDED,
};

/// What a coordinator wants once the attempt under way is dead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Intent {
    /// Another attempt.
    Retry,
    /// None.
    Close,
}

/// What a coordinator waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// To draw a snapshot and begin an attempt.
    Ready,
    /// What it reads.
    Reading {
        /// Partitions that have answered, a set of bits.
        answered: u8,
        /// What was seen so far.
        saw: Saw,
    },
    /// The participants' answers.
    Preparing {
        /// Where it is prepared; 0: no answer yet.
        prepared: [Timestamp; PARTITIONS],
    },
    /// Whether what was read holds at a later timestamp.
    Refreshing {
        /// At this one.
        to: Timestamp,
        /// Partitions that have answered, a set of bits.
        answered: u8,
    },
    /// The record's answer.
    Changing {
        /// To what.
        change: Change,
        /// And then.
        intent: Intent,
        /// The answers to the prepares, if they still come in; only a mutant looks at them.
        late: [Timestamp; PARTITIONS],
    },
    /// The end of another coordinator's attempt.
    Recovering(Recovery, Intent),
    /// It has ended.
    Over,
    /// So has its node.
    Crashed,
}

/// A coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Coordinator {
    /// What it waits for.
    pub phase: Phase,
    /// The number of its attempt.
    pub number: u8,
    /// The snapshot of the attempt.
    pub snapshot: Timestamp,
    /// The limit of the attempt.
    pub limit: Timestamp,
    /// The record as last heard of.
    pub record: Record,
    /// It only wants to know the outcome (R10).
    pub only_asks: bool,
}

impl Coordinator {
    /// One that has not begun.
    pub const NEW: Coordinator = Coordinator {
        phase: Phase::Ready,
        number: 1,
        snapshot: 0,
        limit: 0,
        record: Record::Missing,
        only_asks: false,
    };

    /// One that has ended: nothing else of it matters any more.
    pub fn ended(phase: Phase) -> Coordinator {
        Coordinator {
            phase,
            ..Coordinator::NEW
        }
    }
}

/// What it tells its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// The transaction is committed.
    Committed(Attempt, Timestamp),
    /// What was read at the snapshot.
    Read(Timestamp, Saw),
    /// It is not, and never will be.
    Aborted,
}

/// One step of a coordinator.
pub struct Turn<'a> {
    /// The rules.
    pub scope: &'a Scope,
    /// Whose.
    pub transaction: TransactionIndex,
    /// At which gateway.
    pub gateway: u8,
    /// The coordinator.
    pub it: &'a mut Coordinator,
    /// What is to be asked.
    pub doings: Doings,
    /// What is to be told.
    pub told: Option<Told>,
}

impl Turn<'_> {
    fn spec(&self) -> Transaction {
        self.scope.transactions[usize::from(self.transaction)]
    }

    fn attempts(&self) -> u8 {
        self.scope.attempts[usize::from(self.transaction)]
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            number: self.it.number,
            by: self.gateway,
        }
    }

    fn ask(&mut self, to: PartitionIndex, body: Body) {
        self.doings.asks.push((to, body));
    }

    /// Begins an attempt with a snapshot.
    pub fn begin(&mut self, snapshot: Timestamp) {
        self.it.snapshot = snapshot;
        let reads = self.spec().reads;
        if reads.is_empty() {
            return self.prepare(Saw::default());
        }
        self.it.phase = Phase::Reading {
            answered: 0,
            saw: Saw::default(),
        };
        for partition in reads.partitions() {
            self.ask(partition, Body::Read { at: snapshot });
        }
    }

    /// The client only wants to know how it ended: what has not, is closed.
    pub fn ask_outcome(&mut self) {
        self.it.only_asks = true;
        self.change(Change::Look, Intent::Close);
    }

    fn prepare(&mut self, saw: Saw) {
        let spec = self.spec();
        if spec.is_read_only() {
            self.told = Some(Told::Read(self.it.snapshot, saw));
            return self.end();
        }
        let is_locked = spec.unlocked_reads().is_empty();
        let is_unbounded = is_locked || self.scope.is(Mutant::UnboundedLimit);
        self.it.limit = if is_unbounded {
            UNBOUNDED
        } else {
            self.it.snapshot
        };
        self.it.phase = Phase::Preparing {
            prepared: [0; PARTITIONS],
        };
        for partition in spec.writes.partitions() {
            let is_anchor = partition == spec.anchor_partition() && !spec.is_in_one_partition();
            let body = Body::Prepare {
                attempt: self.attempt(),
                snapshot: self.it.snapshot,
                limit: is_anchor.then_some(self.it.limit),
                saw,
            };
            self.ask(partition, body);
        }
    }

    fn end(&mut self) {
        *self.it = Coordinator::ended(Phase::Over);
    }

    /// An answer to what it waits for.
    pub fn on_reply(&mut self, from: PartitionIndex, reply: Reply) {
        match (self.it.phase, reply) {
            (Phase::Reading { answered, saw }, Reply::Read(seen)) => {
                let answered = answered | 1 << from;
                let saw = saw.and(seen);
                self.it.phase = Phase::Reading { answered, saw };
                if self
                    .spec()
                    .reads
                    .partitions()
                    .all(|p| answered & (1 << p) != 0)
                {
                    self.prepare(saw);
                }
            }
            (Phase::Changing { .. }, Reply::Committed(_)) => {}
            (Phase::Preparing { prepared }, reply) => self.on_prepare_reply(prepared, from, reply),
            (Phase::Refreshing { to, answered }, Reply::Refreshed(changed)) => {
                self.on_refreshed(to, answered | 1 << from, changed);
            }
            (Phase::Changing { late, .. }, Reply::Prepared { at, .. }) => {
                self.on_late(late, from, at)
            }
            (
                Phase::Changing { .. },
                Reply::Conflict | Reply::Stale | Reply::OtherCoordinator(_),
            ) => {}
            (Phase::Changing { change, intent, .. }, Reply::Record(record, _)) => {
                self.on_record(change, intent, record);
            }
            (Phase::Recovering(mut recovery, intent), reply) => {
                self.recover(&mut recovery, intent, |recoverer| {
                    recoverer.on_reply(from, reply)
                });
            }
            (phase, reply) => unreachable!("a leader answered {phase:?} with {reply:?}"),
        }
    }

    fn on_prepare_reply(
        &mut self,
        mut prepared: [Timestamp; PARTITIONS],
        from: PartitionIndex,
        reply: Reply,
    ) {
        let spec = self.spec();
        match reply {
            Reply::Prepared { at, limit } => {
                let is_anchor = from == spec.anchor_partition();
                if limit != is_anchor.then_some(self.it.limit) {
                    return self.change(Change::Look, Intent::Retry);
                }
                if let Some(limit) = limit {
                    self.it.record = Record::Staging {
                        attempt: self.attempt(),
                        limit,
                    };
                }
                prepared[usize::from(from)] = at;
                self.it.phase = Phase::Preparing { prepared };
                if spec
                    .writes
                    .partitions()
                    .all(|p| prepared[usize::from(p)] != 0)
                {
                    self.decide(prepared.into_iter().max().unwrap_or_default());
                }
            }
            Reply::Committed(at) => {
                self.told = Some(Told::Committed(self.attempt(), at));
                self.end();
            }
            Reply::Conflict => self.settle_late(Intent::Retry, prepared),
            Reply::Stale => self.change(Change::Look, Intent::Retry),
            Reply::OtherCoordinator(other) => self.recover_other(other, Intent::Retry),
            other => unreachable!("a leader answered a prepare with {other:?}"),
        }
    }

    fn decide(&mut self, at: Timestamp) {
        if at <= self.it.limit {
            return self.committed(at);
        }
        self.it.phase = Phase::Refreshing {
            to: at,
            answered: 0,
        };
        let from = self.it.snapshot;
        for partition in self.spec().unlocked_reads().partitions() {
            self.ask(partition, Body::Refresh { from, to: at });
        }
    }

    fn on_refreshed(&mut self, to: Timestamp, answered: u8, changed: bool) {
        if changed {
            return self.settle(Intent::Retry);
        }
        self.it.phase = Phase::Refreshing { to, answered };
        let reads = self.spec().unlocked_reads();
        if reads.partitions().all(|p| answered & (1 << p) != 0) {
            self.change(Change::RaiseLimit(to), Intent::Retry);
        }
    }

    /// The decision holds: told at once, recorded afterwards.
    fn committed(&mut self, at: Timestamp) {
        let attempt = self.attempt();
        self.told = Some(Told::Committed(attempt, at));
        if self.scope.is(Mutant::ResolvedBeforeRecord) {
            self.resolve(attempt, Some(at));
        }
        self.change(Change::Commit(at), Intent::Close);
    }

    fn resolve(&mut self, attempt: Attempt, committed: Option<Timestamp>) {
        for partition in self.spec().writes.partitions() {
            self.ask(partition, Body::Resolve { attempt, committed });
        }
    }

    fn change(&mut self, change: Change, intent: Intent) {
        self.change_late(change, intent, [0; PARTITIONS]);
    }

    fn change_late(&mut self, change: Change, intent: Intent, late: [Timestamp; PARTITIONS]) {
        let late = match self.scope.is(Mutant::ToldAfterAbortSent) {
            true => late,
            false => [0; PARTITIONS],
        };
        self.it.phase = Phase::Changing {
            change,
            intent,
            late,
        };
        let expected = self.expected(change);
        let anchor = self.spec().anchor_partition();
        self.ask(anchor, Body::Change { expected, change });
    }

    fn expected(&self, change: Change) -> Record {
        match change {
            Change::Look => Record::Missing,
            _ => self.it.record,
        }
    }

    /// Loses patience.
    pub fn give_up(&mut self) {
        let prepared = match self.it.phase {
            Phase::Preparing { prepared } => prepared,
            _ => [0; PARTITIONS],
        };
        self.settle_late(Intent::Retry, prepared);
    }

    fn settle(&mut self, intent: Intent) {
        let late = match self.it.phase {
            Phase::Changing { late, .. } => late,
            _ => [0; PARTITIONS],
        };
        self.settle_late(intent, late);
    }

    /// Ends the attempt under way through the record.
    fn settle_late(&mut self, intent: Intent, prepared: [Timestamp; PARTITIONS]) {
        let is_last = self.it.number >= self.attempts() || self.it.only_asks;
        let intent = if is_last { Intent::Close } else { intent };
        if intent == Intent::Close && self.scope.is(Mutant::AbortedBeforeDurable) {
            self.told = Some(Told::Aborted);
        }
        if intent == Intent::Retry && self.scope.is(Mutant::NextAttemptBeforeAborted) {
            return self.next_attempt(self.it.number);
        }
        let change = match intent {
            Intent::Retry => Change::Abort(self.attempt()),
            Intent::Close => Change::Close,
        };
        self.change_late(change, intent, prepared);
    }

    /// A prepare is answered after the abort was sent: only a mutant acts on it.
    fn on_late(&mut self, mut late: [Timestamp; PARTITIONS], from: PartitionIndex, at: Timestamp) {
        let Phase::Changing { change, intent, .. } = self.it.phase else {
            return;
        };
        late[usize::from(from)] = at;
        self.it.phase = Phase::Changing {
            change,
            intent,
            late,
        };
        let max = late.into_iter().max().unwrap_or_default();
        let is_all = self
            .spec()
            .writes
            .partitions()
            .all(|p| late[usize::from(p)] != 0);
        if is_all && max <= self.it.limit {
            self.it.record = Record::Staging {
                attempt: self.attempt(),
                limit: self.it.limit,
            };
            self.committed(max);
        }
    }

    fn on_record(&mut self, change: Change, intent: Intent, record: Record) {
        match change {
            Change::Commit(at) => {
                // It was told already. A record that says anything else was read where not all of the log
                // is known: from a deposed leader. Whoever meets a lock will record it.
                let is_recorded = match record {
                    Record::Committed { attempt, at } => {
                        self.told = Some(Told::Committed(attempt, at));
                        true
                    }
                    Record::Missing => self.scope.is(Mutant::MissingTakenAsRecorded),
                    _ => false,
                };
                if is_recorded {
                    self.resolve(self.attempt(), Some(at));
                }
                self.end();
            }
            Change::RaiseLimit(to)
                if record
                    == (Record::Staging {
                        attempt: self.attempt(),
                        limit: to,
                    }) =>
            {
                self.it.record = record;
                self.it.limit = to;
                self.committed(to);
            }
            _ => self.judge(record, intent),
        }
    }

    /// Goes on from what the record says.
    fn judge(&mut self, record: Record, intent: Intent) {
        self.it.record = record;
        match record {
            Record::Committed { attempt, at } => {
                self.told = Some(Told::Committed(attempt, at));
                self.end();
            }
            Record::Closed => {
                self.resolve(self.attempt(), None);
                self.told = Some(Told::Aborted);
                self.end();
            }
            Record::Staging { attempt, .. } if attempt != self.attempt() => {
                self.recover_other(attempt, intent);
            }
            Record::Aborted(dead) if dead.number >= self.it.number && intent == Intent::Retry => {
                self.resolve(self.attempt(), None);
                match dead.number >= self.attempts() {
                    true => self.settle(Intent::Close),
                    false => self.next_attempt(dead.number),
                }
            }
            _ => self.settle(intent),
        }
    }

    fn next_attempt(&mut self, dead: u8) {
        self.it.number = dead + 1;
        self.it.snapshot = 0;
        self.it.limit = 0;
        self.it.phase = Phase::Ready;
    }

    fn recover_other(&mut self, other: Attempt, intent: Intent) {
        let mut recovery = Recovery::begin(other, None);
        self.recover(&mut recovery, intent, |recoverer| recoverer.start());
    }

    fn recover(
        &mut self,
        recovery: &mut Recovery,
        intent: Intent,
        step: impl FnOnce(&mut Recoverer),
    ) {
        step(&mut Recoverer {
            scope: self.scope,
            transaction: self.transaction,
            recovery,
            doings: &mut self.doings,
        });
        self.it.phase = Phase::Recovering(*recovery, intent);
        if std::mem::take(&mut self.doings.is_over) {
            self.change(Change::Look, intent);
        }
    }
}
