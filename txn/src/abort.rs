//! The record at the anchor, changed by compare-and-set until it says what is to be told (R5, R7).
//!
//! Problem: when an attempt fails, its coordinator does not know what else happened to the
//! transaction: a prepare may still be on its way, a recoverer may have ended it either way. So it
//! proposes a change against what it last heard, and goes on from what the record then says, whoever
//! wrote that.
//!
//! ```text
//!   record says        intent retry                       intent close
//!   missing            write aborted (n)                  write closed
//!   staging, mine      write aborted (n)                  write closed
//!   staging, other's   recover it, look again             recover it, look again
//!   aborted (m >= n)   go on with attempt m + 1           write closed
//!   aborted (m < n)    write aborted (n)                  write closed
//!   closed             tell "aborted"                     tell "aborted"
//!   committed at c     tell "committed at c"              tell "committed at c"
//! ```
//!
//! What the record says of somebody's commit is told, but not resolved from here: it does not say
//! under which attempt, and a resolve under the wrong one would discard the right one's locks.
//! Whoever wrote it resolves it.

use crate::coordinator::{Coordinator, Failure, Intent, Phase};
use crate::request_waiting_list::{Flow, Turn};
use clock::Timestamp;
use std::time::Duration;
use wire::ids::PartitionId;
use wire::message::{
    AbortReason, ChangeRecord, Decision, PartitionReply, PartitionRequest, RecordAnswer,
    RecordChange, RecordState, RequestNumber,
};

/// A change of the record that is under way, or waits for its next try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordStep {
    pub(crate) number: Option<RequestNumber>,
    pub(crate) change: RecordChange,
    pub(crate) intent: Intent,
    /// The client has been told "committed": only the record is missing.
    pub(crate) is_told: bool,
    /// Gives up at this time on the monotonic clock.
    pub(crate) until: Duration,
}

impl Coordinator {
    /// Ends the attempt under way through the record.
    pub(crate) fn settle(&mut self, turn: &mut Turn, intent: Intent) -> Flow {
        #[cfg(feature = "mutants")]
        if intent == Intent::Close && turn.is(crate::Mutant::AbortedBeforeDurable) {
            let failure = self.failure.take();
            let failure = failure.unwrap_or_else(|| Failure::new(AbortReason::Closed));
            return self.finish_aborted(turn, failure, true);
        }
        let change = match intent {
            Intent::Retry { .. } => RecordChange::Abort {
                attempt: self.attempt(),
            },
            Intent::Close => RecordChange::Close,
        };
        self.change_record(turn, change, intent)
    }

    /// Goes on from what the record says.
    pub(crate) fn look_at_record(&mut self, turn: &mut Turn, intent: Intent) -> Flow {
        self.change_record(turn, RecordChange::None, intent)
    }

    pub(crate) fn change_record(
        &mut self,
        turn: &mut Turn,
        change: RecordChange,
        intent: Intent,
    ) -> Flow {
        self.phase = Phase::Record(RecordStep {
            number: None,
            change,
            intent,
            is_told: false,
            until: self.give_up_at,
        });
        self.ask_record(turn)
    }

    /// After "committed at c" was told: the explicit record, before anything is resolved (R7).
    pub(crate) fn record_committed(&mut self, turn: &mut Turn, c: Timestamp) -> Flow {
        self.phase = Phase::Record(RecordStep {
            number: None,
            change: RecordChange::Commit { at: c },
            intent: Intent::Close,
            is_told: true,
            until: turn.monotonic() + turn.list.config.timing.resolve_max,
        });
        self.ask_record(turn)
    }

    pub(crate) fn ask_record(&mut self, turn: &mut Turn) -> Flow {
        let Phase::Record(step) = &mut self.phase else {
            return Flow::Waits;
        };
        let name = self.commit.name.clone();
        let partition = turn.map().locate(&name.anchor).partition;
        let body = PartitionRequest::ChangeRecord(ChangeRecord {
            name,
            expected: self.record,
            change: step.change,
        });
        let deadline = turn.request_deadline().min(step.until);
        step.number = Some(turn.ask(partition, body, deadline));
        Flow::Waits
    }

    pub(crate) fn on_record_reply(&mut self, turn: &mut Turn, reply: PartitionReply) -> Flow {
        let Phase::Record(step) = self.phase else {
            return Flow::Waits;
        };
        match reply {
            PartitionReply::Record(answer) => self.on_record(turn, step, answer),
            PartitionReply::Refused { .. } if !step.is_told => {
                // The anchor knows the id under another name: this one is nobody's.
                self.order_resolve(turn, Decision::Aborted, false);
                self.finish_aborted(turn, Failure::new(AbortReason::OtherIdentity), false)
            }
            PartitionReply::Error(_) => self.on_record_error(turn, step),
            other => unreachable!("a leader answered a change of a record with {other:?}"),
        }
    }

    fn on_record_error(&mut self, turn: &mut Turn, step: RecordStep) -> Flow {
        if turn.monotonic() >= step.until {
            let anchor = turn.map().locate(&self.commit.name.anchor).partition;
            let waited = turn.list.config.timing.after_expires_max;
            return self.on_record_unreachable(turn, anchor, waited);
        }
        self.phase = Phase::Record(RecordStep {
            number: None,
            ..step
        });
        turn.back_off(self.attempts.max(4));
        Flow::Waits
    }

    pub(crate) fn on_record_unreachable(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        let Phase::Record(step) = self.phase else {
            return Flow::Waits;
        };
        if turn.monotonic() < step.until {
            return self.ask_record(turn);
        }
        if step.is_told {
            // Recovery finds everything prepared within the limit, and writes the same record.
            return self.end(turn);
        }
        self.not_known(turn, partition, waited)
    }

    fn on_record(&mut self, turn: &mut Turn, step: RecordStep, answer: RecordAnswer) -> Flow {
        match step.change {
            RecordChange::Commit { at } if step.is_told => self.on_recorded(turn, step, at, answer),
            RecordChange::Commit { at } if answer.changed => {
                self.record = answer.state;
                self.tell_committed(turn, at);
                self.resolve_committed(turn, at)
            }
            RecordChange::RaiseLimit { to } => self.on_limit(turn, to, step.intent, answer.state),
            // Nothing is in the way, and yet it is not closed: its outcome may have been forgotten.
            // What is left of the attempt is for whoever meets it: it may have been committed.
            RecordChange::Close if !answer.changed && answer.state == self.record => {
                self.no_longer_kept(turn)
            }
            _ => self.judge(turn, answer.state, step.intent),
        }
    }

    /// The record after "committed at c" was told. In the end it can say nothing else (invariant 4).
    ///
    /// A leader that is deposed and has not heard of it answers from its part of the log: it may know of no
    /// record, of an earlier attempt that is dead, of a lower limit. Nothing is resolved before the record
    /// says so (R7), so whatever is not *committed* is asked again. *Taken for recorded and forgotten, it
    /// leaves a staged record over resolved participants, which a late recovery aborts.*
    fn on_recorded(
        &mut self,
        turn: &mut Turn,
        step: RecordStep,
        c: Timestamp,
        answer: RecordAnswer,
    ) -> Flow {
        match answer.state {
            RecordState::Committed { at } => {
                assert_eq!(
                    at, c,
                    "a transaction that was told committed is recorded at the same timestamp"
                );
                self.resolve_committed(turn, c)
            }
            RecordState::Aborted { attempt } if attempt.number < self.number => {
                self.on_record_error(turn, step)
            }
            RecordState::Missing | RecordState::Staging { .. } => self.on_record_error(turn, step),
            other => panic!(
                "{:?} was told committed at {c}, but its record says {other:?}",
                self.commit.name.id
            ),
        }
    }

    fn resolve_committed(&mut self, turn: &mut Turn, c: Timestamp) -> Flow {
        self.order_resolve(turn, Decision::Committed(c), true);
        self.end(turn)
    }

    /// The limit was raised, unless somebody else changed the record before.
    fn on_limit(
        &mut self,
        turn: &mut Turn,
        to: Timestamp,
        intent: Intent,
        state: RecordState,
    ) -> Flow {
        let raised = RecordState::Staging {
            attempt: self.attempt(),
            limit: to,
        };
        if state != raised {
            return self.judge(turn, state, intent);
        }
        self.record = state;
        self.limit = to;
        self.committed(turn, to)
    }

    /// Goes on from a state of the record; see the table at the head of this file.
    pub(crate) fn judge(&mut self, turn: &mut Turn, state: RecordState, intent: Intent) -> Flow {
        self.record = state;
        match state {
            RecordState::Committed { at } => {
                self.results.clear();
                // Perhaps another coordinator's prepares did it: they took over no lock of this one's.
                self.unlock(turn, true);
                self.finish_committed(turn, at)
            }
            RecordState::Closed => self.on_closed(turn),
            RecordState::Staging { attempt, .. } if attempt != self.attempt() => {
                self.recover_other(turn, attempt, intent)
            }
            RecordState::Aborted { attempt } if attempt.number >= self.number => match intent {
                Intent::Retry { with_locks } => {
                    self.on_attempt_dead(turn, attempt.number, with_locks)
                }
                Intent::Close => self.settle(turn, intent),
            },
            RecordState::Missing | RecordState::Staging { .. } | RecordState::Aborted { .. } => {
                self.settle(turn, intent)
            }
        }
    }

    fn on_closed(&mut self, turn: &mut Turn) -> Flow {
        self.order_resolve(turn, Decision::Aborted, true);
        let failure = self.failure.take();
        let failure = failure.unwrap_or_else(|| Failure::new(AbortReason::Closed));
        self.finish_aborted(turn, failure, true)
    }

    /// *Aborted (n)* is durable: the next attempt may be staged.
    fn on_attempt_dead(&mut self, turn: &mut Turn, dead: u32, with_locks: bool) -> Flow {
        self.order_resolve(turn, Decision::Aborted, false);
        self.next_attempt(turn, dead);
        if with_locks {
            return self.take_locks(turn);
        }
        self.back_off(turn)
    }
}
