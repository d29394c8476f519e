//! Whoever met a lock ends the transaction that its coordinator may have abandoned (R8). Mirrors
//! `txn/src/recovery.rs`, except that a committed record says under which attempt: in the program the
//! same is found out by asking for the same change again.

use super::Mutant;
use super::scope::Scope;
use super::types::{
    Attempt, Body, Change, PARTITIONS, PartitionIndex, Record, Reply, Timestamp, TransactionIndex,
};

/// A recovery under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Recovery {
    /// The attempt that was met.
    pub met: Attempt,
    /// Where, if anywhere.
    pub met_at: Option<PartitionIndex>,
    /// What it waits for.
    pub step: Step,
}

/// What a recovery waits for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The record's answer.
    Record {
        /// The value that it must have.
        expected: Record,
        /// What is to become of it.
        change: Change,
    },
    /// The participants' answers.
    Checking {
        /// Is this prepared?
        attempt: Attempt,
        /// What the record said.
        limit: Timestamp,
        /// The timestamps at which it is; 0: no answer yet.
        prepared: [Timestamp; PARTITIONS],
    },
}

/// What a recovery does next: questions to partitions, and whether it has ended.
#[derive(Default)]
pub struct Doings {
    /// To whom, and what.
    pub asks: Vec<(PartitionIndex, Body)>,
    /// It has ended.
    pub is_over: bool,
}

/// One step of a recovery.
pub struct Recoverer<'a> {
    /// The rules.
    pub scope: &'a Scope,
    /// Whose.
    pub transaction: TransactionIndex,
    /// The recovery.
    pub recovery: &'a mut Recovery,
    /// What is to be done.
    pub doings: &'a mut Doings,
}

impl Recovery {
    /// Begins from the record.
    pub fn begin(met: Attempt, met_at: Option<PartitionIndex>) -> Recovery {
        let step = Step::Record {
            expected: Record::Missing,
            change: Change::Look,
        };
        Recovery { met, met_at, step }
    }
}

impl Recoverer<'_> {
    fn ask_anchor(&mut self, expected: Record, change: Change) {
        let expected = if change == Change::Look {
            Record::Missing
        } else {
            expected
        };
        self.recovery.step = Step::Record { expected, change };
        let anchor = self.scope.transactions[usize::from(self.transaction)].anchor_partition();
        self.doings
            .asks
            .push((anchor, Body::Change { expected, change }));
    }

    /// Sends the first question.
    pub fn start(&mut self) {
        self.ask_anchor(Record::Missing, Change::Look);
    }

    /// An answer to what it waits for.
    pub fn on_reply(&mut self, from: PartitionIndex, reply: Reply) {
        match (self.recovery.step, reply) {
            (Step::Record { expected, change }, Reply::Record(record, changed)) => {
                self.on_record(expected, change, record, changed);
            }
            (
                Step::Checking {
                    attempt,
                    limit,
                    prepared,
                },
                reply,
            ) => {
                self.on_checked(attempt, limit, prepared, from, reply);
            }
            (step, reply) => unreachable!("a leader answered {step:?} with {reply:?}"),
        }
    }

    fn on_record(&mut self, expected: Record, change: Change, record: Record, changed: bool) {
        match (change, expected, record) {
            (Change::Commit(at), Record::Staging { attempt, .. }, _) if changed => {
                self.resolve_all(attempt, Some(at));
            }
            (Change::Abort(dead), Record::Staging { .. }, Record::Aborted(now)) if now == dead => {
                self.resolve_all(dead, None);
                if dead.number < self.recovery.met.number {
                    return self.judge(record);
                }
            }
            _ => return self.judge(record),
        }
        self.doings.is_over = true;
    }

    fn judge(&mut self, record: Record) {
        let met = self.recovery.met;
        match record {
            Record::Missing => self.ask_anchor(record, Change::Abort(met)),
            Record::Aborted(dead) if dead.number < met.number => {
                self.ask_anchor(record, Change::Abort(met));
            }
            Record::Staging { attempt, .. } if attempt != met && attempt.number >= met.number => {
                self.resolve_met();
            }
            Record::Staging { attempt, limit } => self.check(attempt, limit),
            Record::Committed { attempt, at } => {
                self.resolve_all(attempt, Some(at));
                self.doings.is_over = true;
            }
            Record::Aborted(_) | Record::Closed => self.resolve_met(),
        }
    }

    fn check(&mut self, attempt: Attempt, limit: Timestamp) {
        let prepared = [0; PARTITIONS];
        self.recovery.step = Step::Checking {
            attempt,
            limit,
            prepared,
        };
        let spec = &self.scope.transactions[usize::from(self.transaction)];
        for partition in spec.writes.partitions() {
            self.doings.asks.push((partition, Body::Check { attempt }));
        }
    }

    fn on_checked(
        &mut self,
        attempt: Attempt,
        limit: Timestamp,
        mut prepared: [Timestamp; PARTITIONS],
        from: PartitionIndex,
        reply: Reply,
    ) {
        let expected = Record::Staging { attempt, limit };
        match reply {
            Reply::CheckedPrepared(at) => {
                prepared[usize::from(from)] = at;
                self.recovery.step = Step::Checking {
                    attempt,
                    limit,
                    prepared,
                };
                let spec = &self.scope.transactions[usize::from(self.transaction)];
                if spec
                    .writes
                    .partitions()
                    .any(|p| prepared[usize::from(p)] == 0)
                {
                    return;
                }
                let at = prepared.into_iter().max().unwrap_or_default();
                let is_within = at <= limit || self.scope.is(Mutant::RecoveryIgnoresLimit);
                self.end_by(expected, attempt, is_within.then_some(at));
            }
            Reply::CheckedRefused | Reply::CheckedEnded(None) => {
                self.end_by(expected, attempt, None);
            }
            Reply::CheckedEnded(Some(_)) => self.ask_anchor(Record::Missing, Change::Look),
            other => unreachable!("a leader answered a check with {other:?}"),
        }
    }

    fn end_by(&mut self, expected: Record, attempt: Attempt, committed: Option<Timestamp>) {
        if self.scope.is(Mutant::RecoveryWithoutRecord) {
            self.resolve_all(attempt, committed);
            self.doings.is_over = true;
            return;
        }
        let change = committed.map_or(Change::Abort(attempt), Change::Commit);
        self.ask_anchor(expected, change);
    }

    fn resolve_all(&mut self, attempt: Attempt, committed: Option<Timestamp>) {
        let spec = &self.scope.transactions[usize::from(self.transaction)];
        for partition in spec.writes.partitions() {
            self.doings
                .asks
                .push((partition, Body::Resolve { attempt, committed }));
        }
    }

    /// Where it was met, it is dead.
    fn resolve_met(&mut self) {
        if let Some(partition) = self.recovery.met_at {
            let attempt = self.recovery.met;
            self.doings.asks.push((
                partition,
                Body::Resolve {
                    attempt,
                    committed: None,
                },
            ));
        }
        self.doings.is_over = true;
    }
}
