//! Ends transactions that their coordinator abandoned (R8).
//!
//! ```text
//!   pushed on a lock --> its coordinator works on it? --yes--> it will end it, unless an older
//!                          |                                   transaction waits: then go on
//!                          | no, or not known
//!                          v
//!                  +--> read the record <------------------------------+
//!                  |      missing, aborted before --> write aborted    | somebody else
//!                  |      staging --> all keys prepared?               | changed it
//!                  |           all, max(p) <= limit --> write committed|
//!                  |           else                 --> write aborted -+
//!                  |      committed --> from the attempt that was met? --no--> what was met
//!                  |           | yes                                           is resolved
//!                  |           v                                               if prepared
//!                  |      all keys are resolved, and the record is forgotten
//!                  |      aborted, closed
//!                  |           v
//!                  |      resolve
//!                  +-- a participant has committed it: the record must say so
//! ```
//!
//! Invariants:
//! - one recovery an id at a time (in this gateway; several gateways may run at once);
//! - the record is changed by compare-and-set on the whole value that was read, and on failure all
//!   begins again from the record;
//! - nothing is resolved before the record says so durably;
//! - an attempt that is not the record's, and not above it, is dead: its number can never be staged
//!   again. It is resolved as aborted without touching the record.
//!
//! Source: CockroachDB's transaction status recovery (Taft et al., 2020, section 3.2).

use crate::plan;
use crate::request_waiting_list::{Flow, JobId, Order, RecoveryEnd, Turn};
use crate::resolution::ResolvePlan;
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::Attempt;
use wire::keys::Key;
use wire::message::{
    ChangeRecord, CheckPrepared, Checked, CoordinatorState, Decision, PartitionReply,
    PartitionRequest, RecordAnswer, RecordChange, RecordState, RequestNumber, TransactionName,
};

/// What a recovery waits for.
#[derive(Debug)]
enum Phase {
    AskingCoordinator,
    /// The timer, then the coordinator again.
    CoordinatorWorks,
    /// The timer, then the record again.
    BackingOff,
    Record {
        change: RecordChange,
    },
    Checking {
        outstanding: BTreeSet<RequestNumber>,
        staged: Staged,
        timestamp: Timestamp,
    },
    /// The record says committed, but not under which attempt: is what was met prepared still?
    Confirming {
        outstanding: BTreeMap<RequestNumber, Vec<Key>>,
        at: Timestamp,
        prepared: BTreeSet<Key>,
    },
}

/// The attempt that the record says is staged.
#[derive(Clone, Copy, Debug)]
struct Staged {
    attempt: Attempt,
    limit: Timestamp,
}

/// The recovery of one transaction.
#[derive(Debug)]
pub(crate) struct Recovery {
    name: TransactionName,
    /// The attempt that somebody met.
    attempt: Attempt,
    /// Where it was met.
    met: BTreeSet<Key>,
    waiters: Vec<JobId>,
    /// An older transaction waits for it (R11): it is ended even if its coordinator lives.
    wounds: bool,
    /// The record as last read, and the keys it lists.
    record: RecordState,
    keys: Vec<Key>,
    phase: Phase,
    tries: u32,
    began: Duration,
    until: Duration,
}

impl Recovery {
    pub(crate) fn begin(
        turn: &mut Turn,
        name: TransactionName,
        attempt: Attempt,
        met: Option<Key>,
        waiter: Option<JobId>,
        wounds: bool,
    ) -> (Recovery, Flow) {
        let began = turn.monotonic();
        let mut job = Recovery {
            name,
            attempt,
            met: met.into_iter().collect(),
            waiters: waiter.into_iter().collect(),
            wounds,
            record: RecordState::Missing,
            keys: Vec::new(),
            phase: Phase::AskingCoordinator,
            tries: 0,
            began,
            until: began + turn.list.config.timing.recovery_max,
        };
        let flow = match wounds {
            true => job.change_record(turn, RecordChange::None),
            false => job.ask_coordinator(turn),
        };
        (job, flow)
    }

    /// Who waits for its end.
    pub(crate) fn waiters(&self) -> &[JobId] {
        &self.waiters
    }

    pub(crate) fn id(&self) -> wire::ids::TransactionId {
        self.name.id
    }

    /// Somebody else met the same attempt. `false`: it is another attempt, ask again later.
    pub(crate) fn join(
        &mut self,
        attempt: Attempt,
        met: Option<Key>,
        waiter: Option<JobId>,
        wounds: bool,
    ) -> bool {
        if attempt != self.attempt {
            return false;
        }
        self.met.extend(met);
        self.waiters.extend(waiter);
        // If it still asks the coordinator, it goes on whatever the answer.
        self.wounds |= wounds;
        true
    }

    fn ask_coordinator(&mut self, turn: &mut Turn) -> Flow {
        if self.attempt.coordinator.node != turn.me() {
            self.phase = Phase::AskingCoordinator;
            turn.ask_coordinator(&self.name, self.attempt);
            return Flow::Waits;
        }
        let works = turn.list.works_on(&self.name, &self.attempt);
        let state = match works {
            true => CoordinatorState::Working,
            false => CoordinatorState::Unknown,
        };
        self.on_coordinator_state(turn, state)
    }

    /// The coordinator lives and will end it, or it has to be ended from here.
    pub(crate) fn on_coordinator_state(
        &mut self,
        turn: &mut Turn,
        state: CoordinatorState,
    ) -> Flow {
        match state {
            CoordinatorState::Unknown => self.change_record(turn, RecordChange::None),
            CoordinatorState::Working if self.wounds => {
                self.change_record(turn, RecordChange::None)
            }
            // Whoever only pushed will push again.
            CoordinatorState::Working if self.waiters.is_empty() => Flow::Over,
            CoordinatorState::Working => self.pause(turn, Phase::CoordinatorWorks),
        }
    }

    fn pause(&mut self, turn: &mut Turn, phase: Phase) -> Flow {
        if turn.monotonic() >= self.until {
            return self.give_up(turn);
        }
        self.phase = phase;
        self.tries += 1;
        turn.back_off(self.tries);
        Flow::Waits
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        match self.phase {
            Phase::CoordinatorWorks => self.ask_coordinator(turn),
            Phase::BackingOff => self.change_record(turn, RecordChange::None),
            _ => Flow::Waits,
        }
    }

    fn change_record(&mut self, turn: &mut Turn, change: RecordChange) -> Flow {
        let partition = turn.map().locate(&self.name.anchor).partition;
        let body = PartitionRequest::ChangeRecord(ChangeRecord {
            name: self.name.clone(),
            expected: self.record,
            change,
        });
        let deadline = turn.request_deadline().min(self.until);
        turn.ask(partition, body, deadline);
        self.phase = Phase::Record { change };
        Flow::Waits
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        reply: PartitionReply,
    ) -> Flow {
        match (&self.phase, reply) {
            (Phase::Record { change }, PartitionReply::Record(answer)) => {
                let change = *change;
                self.on_record(turn, change, answer)
            }
            (Phase::Checking { .. }, PartitionReply::Checked(checked)) => {
                self.on_checked(turn, number, checked)
            }
            (Phase::Confirming { .. }, PartitionReply::Checked(checked)) => {
                self.on_confirmed(turn, number, checked)
            }
            (_, PartitionReply::Error(_) | PartitionReply::Refused { .. }) => {
                self.begin_again(turn)
            }
            (phase, other) => unreachable!("a leader answered {phase:?} with {other:?}"),
        }
    }

    pub(crate) fn on_unreachable(&mut self, turn: &mut Turn) -> Flow {
        self.begin_again(turn)
    }

    /// From the record, after a little while.
    fn begin_again(&mut self, turn: &mut Turn) -> Flow {
        self.cancel_checks(turn);
        self.pause(turn, Phase::BackingOff)
    }

    fn on_record(&mut self, turn: &mut Turn, change: RecordChange, answer: RecordAnswer) -> Flow {
        let staged = match self.record {
            RecordState::Staging { attempt, limit } => Some(Staged { attempt, limit }),
            _ => None,
        };
        self.record = answer.state;
        match (change, answer.state, staged) {
            (RecordChange::Commit { at }, RecordState::Committed { at: now }, Some(staged))
                if at == now && answer.changed =>
            {
                self.resolve_all(turn, staged.attempt, Decision::Committed(at));
            }
            (RecordChange::Abort { .. }, RecordState::Aborted { attempt: dead }, Some(staged))
                if dead == staged.attempt =>
            {
                self.resolve_all(turn, dead, Decision::Aborted);
                if dead.number < self.attempt.number {
                    return self.judge(turn, answer);
                }
            }
            (RecordChange::Commit { .. }, RecordState::Committed { at }, _) => {
                return self.confirm(turn, at);
            }
            _ => return self.judge(turn, answer),
        }
        self.finish(turn)
    }

    /// Goes on from a record that was read, or that was not what it was expected to be.
    fn judge(&mut self, turn: &mut Turn, answer: RecordAnswer) -> Flow {
        match answer.state {
            RecordState::Missing => self.abort(turn, self.attempt),
            RecordState::Aborted { attempt } if attempt.number < self.attempt.number => {
                self.abort(turn, self.attempt)
            }
            RecordState::Staging { attempt, limit } => {
                if self.is_dead_beside(attempt) {
                    self.resolve_met(turn, Decision::Aborted);
                    return self.finish(turn);
                }
                self.keys = answer.keys;
                self.check(turn, Staged { attempt, limit })
            }
            RecordState::Committed { at } if answer.keys.is_empty() => self.confirm(turn, at),
            RecordState::Committed { at } => {
                self.keys = answer.keys;
                self.ask_whether_committed(turn, at)
            }
            RecordState::Aborted { .. } | RecordState::Closed => {
                self.resolve_met(turn, Decision::Aborted);
                self.finish(turn)
            }
        }
    }

    /// Whether the attempt that was met can never be staged, because this one is or was.
    fn is_dead_beside(&self, staged: Attempt) -> bool {
        staged != self.attempt && staged.number >= self.attempt.number
    }

    /// The record says committed, but not of which attempt. A commit that was made counts as made only
    /// if the attempt expected is its own, and a final record is never changed: so the same commit, from
    /// the attempt that was met, is a question. If it is, this recovery may end all of it.
    fn ask_whether_committed(&mut self, turn: &mut Turn, at: Timestamp) -> Flow {
        self.record = RecordState::Staging {
            attempt: self.attempt,
            limit: Timestamp::MAX,
        };
        self.change_record(turn, RecordChange::Commit { at })
    }

    fn abort(&mut self, turn: &mut Turn, attempt: Attempt) -> Flow {
        self.change_record(turn, RecordChange::Abort { attempt })
    }

    /// Asks for every key whether it is prepared under the staged attempt.
    fn check(&mut self, turn: &mut Turn, staged: Staged) -> Flow {
        assert!(
            !self.keys.is_empty(),
            "a staging record lists the keys of its transaction, {:?} lists none",
            self.name.id
        );
        let deadline = turn.request_deadline().min(self.until);
        let mut outstanding = BTreeSet::new();
        for (partition, keys) in plan::group(&self.keys, turn.map()) {
            let body = PartitionRequest::CheckPrepared(CheckPrepared {
                name: self.name.clone(),
                attempt: staged.attempt,
                keys,
            });
            outstanding.insert(turn.ask(partition, body, deadline));
        }
        self.phase = Phase::Checking {
            outstanding,
            staged,
            timestamp: Timestamp::ZERO,
        };
        Flow::Waits
    }

    fn on_checked(&mut self, turn: &mut Turn, number: RequestNumber, checked: Checked) -> Flow {
        let Phase::Checking {
            outstanding,
            staged,
            timestamp,
        } = &mut self.phase
        else {
            return Flow::Waits;
        };
        outstanding.remove(&number);
        let staged = *staged;
        match checked {
            Checked::Prepared(p) => {
                *timestamp = (*timestamp).max(p);
                let c = *timestamp;
                if !outstanding.is_empty() {
                    return Flow::Waits;
                }
                if c > staged.limit {
                    return self.abort(turn, staged.attempt);
                }
                self.change_record(turn, RecordChange::Commit { at: c })
            }
            // An ended marker refuses every attempt up to its number. It may be that of another
            // coordinator's attempt of the same number, so the record need not know of it.
            Checked::Refused | Checked::Ended(Decision::Aborted) => {
                self.cancel_checks(turn);
                self.abort(turn, staged.attempt)
            }
            Checked::Ended(Decision::Committed(_)) => self.begin_again(turn),
        }
    }

    /// Somebody else committed it, perhaps under a later attempt than the one that was met. What is
    /// still prepared now, after the record was final, was prepared under the attempt that committed,
    /// or holds a lock without a version, which may end either way.
    fn confirm(&mut self, turn: &mut Turn, at: Timestamp) -> Flow {
        if self.met.is_empty() {
            return self.finish(turn);
        }
        let deadline = turn.request_deadline().min(self.until);
        let mut outstanding = BTreeMap::new();
        for (partition, keys) in plan::group(&self.met, turn.map()) {
            let body = PartitionRequest::CheckPrepared(CheckPrepared {
                name: self.name.clone(),
                attempt: self.attempt,
                keys: keys.clone(),
            });
            outstanding.insert(turn.ask(partition, body, deadline), keys);
        }
        self.phase = Phase::Confirming {
            outstanding,
            at,
            prepared: BTreeSet::new(),
        };
        Flow::Waits
    }

    fn on_confirmed(&mut self, turn: &mut Turn, number: RequestNumber, checked: Checked) -> Flow {
        let Phase::Confirming {
            outstanding,
            at,
            prepared,
        } = &mut self.phase
        else {
            return Flow::Waits;
        };
        let keys = outstanding.remove(&number).unwrap_or_default();
        if let Checked::Prepared(_) = checked {
            prepared.extend(keys);
        }
        if !outstanding.is_empty() {
            return Flow::Waits;
        }
        let at = *at;
        self.met = std::mem::take(prepared);
        self.resolve_met(turn, Decision::Committed(at));
        self.finish(turn)
    }

    fn cancel_checks(&mut self, turn: &mut Turn) {
        let numbers: Vec<RequestNumber> = match &mut self.phase {
            Phase::Checking { outstanding, .. } => {
                std::mem::take(outstanding).into_iter().collect()
            }
            Phase::Confirming { outstanding, .. } => {
                std::mem::take(outstanding).into_keys().collect()
            }
            _ => return,
        };
        for number in numbers {
            turn.cancel(number);
        }
    }

    /// The record says how this attempt ended: all its keys are resolved, and what was met as well.
    fn resolve_all(&mut self, turn: &mut Turn, attempt: Attempt, decision: Decision) {
        let mut keys: BTreeSet<Key> = std::mem::take(&mut self.keys).into_iter().collect();
        if attempt == self.attempt {
            keys.append(&mut self.met);
        } else if attempt.number >= self.attempt.number {
            self.resolve_met(turn, Decision::Aborted);
        }
        turn.order(Order::Resolve(ResolvePlan {
            name: self.name.clone(),
            attempt,
            decision,
            keys,
            forget: matches!(decision, Decision::Committed(_)),
        }));
    }

    /// Resolves the attempt that was met, where it was met.
    fn resolve_met(&mut self, turn: &mut Turn, decision: Decision) {
        turn.order(Order::Resolve(ResolvePlan {
            name: self.name.clone(),
            attempt: self.attempt,
            decision,
            keys: std::mem::take(&mut self.met),
            forget: false,
        }));
    }

    fn finish(&mut self, turn: &mut Turn) -> Flow {
        let end = RecoveryEnd::Decided(self.record);
        self.tell_waiters(turn, end)
    }

    fn give_up(&mut self, turn: &mut Turn) -> Flow {
        let end = RecoveryEnd::GaveUp {
            partition: turn.map().locate(&self.name.anchor).partition,
            waited: turn.monotonic() - self.began,
        };
        self.tell_waiters(turn, end)
    }

    fn tell_waiters(&mut self, turn: &mut Turn, end: RecoveryEnd) -> Flow {
        for waiter in std::mem::take(&mut self.waiters) {
            turn.order(Order::TellRecovered { waiter, end });
        }
        Flow::Over
    }
}
