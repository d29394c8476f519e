//! A transaction that lies in one partition: one request, one log entry there (R4).
//!
//! The leader evaluates it in one turn, so there is nothing to coordinate. A refusal is an answer,
//! not a fact: it holds because the request was sent once. The node says `resent` on the way if it
//! was not, and then the leader makes *closed* durable before it refuses. An error ends one request and
//! says nothing of copies of it that went before: what is sent after it is sent again as well.

use crate::coordinator::{Coordinator, Failure, Intent, Phase};
use crate::request_waiting_list::{Flow, Turn};
use clock::Timestamp;
use std::time::Duration;
use wire::ids::PartitionId;
use wire::message::{
    AbortReason, CommitOne, OutcomeAnswer, PartitionError, PartitionReply, PartitionRequest,
    Refusal, RequestError,
};

/// What a refusal means for the client.
pub(crate) fn reason_of(refusal: Refusal) -> AbortReason {
    match refusal {
        Refusal::Guard { key, found } => AbortReason::Guard { key, found },
        Refusal::Operation { key, why } => AbortReason::Operation { key, why },
        Refusal::Changed { key, rival } => AbortReason::Changed { key, rival },
        Refusal::Contention { key, rival } => AbortReason::Contention { key, rival },
        Refusal::HotKey { key, waiting } => AbortReason::HotKey { key, waiting },
        Refusal::Expired => AbortReason::Expired,
        // A stale attempt is followed up at the record; that it is told at all means it was closed.
        Refusal::StaleAttempt | Refusal::Closed => AbortReason::Closed,
        Refusal::OtherIdentity => AbortReason::OtherIdentity,
        Refusal::DiskFull {
            node,
            free,
            reserve,
        } => AbortReason::DiskFull {
            node,
            free,
            reserve,
        },
    }
}

impl Coordinator {
    pub(crate) fn commit_in_one_partition(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
    ) -> Flow {
        self.attempts += 1;
        let commit = &self.commit;
        let body = PartitionRequest::Commit(CommitOne {
            name: commit.name.clone(),
            attempt: self.attempt(),
            age: commit.age,
            timestamp: self.r,
            reads: commit.reads.clone(),
            guards: commit.guards.clone(),
            operations: commit.operations.clone(),
            resent: commit.resent,
        });
        turn.ask(partition, body, self.expires_at);
        self.phase = Phase::OnePartition;
        Flow::Waits
    }

    pub(crate) fn on_one_partition_reply(
        &mut self,
        turn: &mut Turn,
        reply: PartitionReply,
    ) -> Flow {
        match reply {
            PartitionReply::Committed { at, results } => {
                self.results = results;
                self.finish_committed(turn, at)
            }
            PartitionReply::Unchanged { at } => self.finish_committed(turn, at),
            PartitionReply::OtherCoordinator { attempt } => {
                self.recover_other(turn, attempt, Intent::Retry { with_locks: false })
            }
            PartitionReply::Refused {
                refusal,
                durable,
                depends_on,
            } => self.on_one_partition_refusal(turn, refusal, durable, depends_on),
            PartitionReply::Error(error) => self.on_one_partition_error(turn, error),
            other => unreachable!("a leader answered a commit with {other:?}"),
        }
    }

    fn on_one_partition_refusal(
        &mut self,
        turn: &mut Turn,
        refusal: Refusal,
        durable: bool,
        depends_on: Timestamp,
    ) -> Flow {
        if refusal == Refusal::StaleAttempt && !durable {
            return self.look_at_record(turn, Intent::Retry { with_locks: false });
        }
        let may_pass = match refusal {
            Refusal::Contention { .. } => true,
            Refusal::Changed { .. } => self.is_fresh(),
            _ => false,
        };
        let is_closed = durable || refusal == Refusal::Closed;
        let failure = Failure {
            reason: reason_of(refusal),
            depends_on,
        };
        if is_closed {
            return self.finish_aborted(turn, failure, true);
        }
        if !may_pass {
            return self.fail(turn, failure);
        }
        self.failure = Some(failure);
        self.next_attempt(turn, self.number);
        self.back_off(turn)
    }

    /// This copy left nothing, so its attempt may be used again; a copy sent before it may still be
    /// evaluated, or have been. Not so below the horizon: every copy meets the same.
    fn on_one_partition_error(&mut self, turn: &mut Turn, error: PartitionError) -> Flow {
        match error {
            PartitionError::BelowHorizon { timestamp, horizon } => {
                self.finish_below_horizon(turn, timestamp, horizon)
            }
            PartitionError::LockWait { key, rival } => {
                self.commit.resent = true;
                self.failure = Some(Failure::new(AbortReason::Contention { key, rival }));
                self.back_off(turn)
            }
            _ => {
                self.commit.resent = true;
                self.back_off(turn)
            }
        }
    }

    /// The snapshot is too old to be checked against: nothing was done, unless it was sent before.
    pub(crate) fn finish_below_horizon(
        &mut self,
        turn: &mut Turn,
        timestamp: Timestamp,
        horizon: Timestamp,
    ) -> Flow {
        if self.has_prepared || self.commit.resent {
            let reason = AbortReason::BelowHorizon { timestamp, horizon };
            return self.fail(turn, Failure::new(reason));
        }
        let why = RequestError::BelowHorizon { timestamp, horizon };
        self.finish(turn, Err(why), Timestamp::ZERO)
    }

    /// Asks the anchor how it ended; asking closes it if it is not known there (R10).
    pub(crate) fn ask_outcome(&mut self, turn: &mut Turn, failure: Failure) -> Flow {
        self.failure = Some(failure);
        self.send_outcome(turn)
    }

    pub(crate) fn send_outcome(&mut self, turn: &mut Turn) -> Flow {
        let name = self.commit.name.clone();
        let partition = turn.map().locate(&name.anchor).partition;
        let deadline = turn.request_deadline().min(self.give_up_at);
        let number = turn.ask(partition, PartitionRequest::Outcome { name }, deadline);
        self.phase = Phase::AskingOutcome {
            number: Some(number),
        };
        Flow::Waits
    }

    pub(crate) fn on_outcome_reply(&mut self, turn: &mut Turn, reply: PartitionReply) -> Flow {
        match reply {
            PartitionReply::Outcome(OutcomeAnswer::Committed { at }) => {
                // Perhaps another coordinator did it, whose prepares took over no lock of this one's.
                self.unlock(turn, true);
                self.finish_committed(turn, at)
            }
            PartitionReply::Outcome(OutcomeAnswer::Aborted) => {
                let failure = self.failure.take();
                let failure = failure.unwrap_or_else(|| Failure::new(AbortReason::Closed));
                self.finish_aborted(turn, failure, true)
            }
            PartitionReply::Outcome(OutcomeAnswer::Staging { attempt, .. }) => {
                self.recover_other(turn, attempt, Intent::Close)
            }
            PartitionReply::Outcome(OutcomeAnswer::NoLongerKept) => self.no_longer_kept(turn),
            PartitionReply::Refused { refusal, .. } => {
                self.finish_aborted(turn, Failure::new(reason_of(refusal)), false)
            }
            PartitionReply::Error(_) if turn.monotonic() >= self.give_up_at => {
                let anchor = turn.map().locate(&self.commit.name.anchor).partition;
                self.not_known(turn, anchor, turn.list.config.timing.after_expires_max)
            }
            PartitionReply::Error(_) => {
                self.phase = Phase::AskingOutcome { number: None };
                turn.back_off(self.attempts.max(4));
                Flow::Waits
            }
            other => unreachable!("a leader answered a question for an outcome with {other:?}"),
        }
    }

    /// It ended so long ago that nobody knows how: neither "committed" nor "aborted" can be told.
    pub(crate) fn no_longer_kept(&mut self, turn: &mut Turn) -> Flow {
        let why = "the outcome of this transaction is no longer kept".to_owned();
        self.finish(turn, Err(RequestError::Invalid { why }), Timestamp::ZERO)
    }

    pub(crate) fn on_outcome_unreachable(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        if turn.monotonic() < self.give_up_at {
            return self.send_outcome(turn);
        }
        self.not_known(turn, partition, waited)
    }
}
