//! A transaction over several partitions, in one round (R5; patterns Two-Phase Commit, Request
//! Pipeline).
//!
//! ```text
//!   client      gateway        participants (all at once)
//!     |--commit-->|--prepare------>| anchor: share + record staging(attempt, limit, keys)
//!     |           |--prepare------>| others: share
//!     |           |<--prepared p---| each after a quorum has it
//!     |<--c-------|  c = max(p) <= limit: committed
//!     |           |--record: committed at c--> anchor
//!     |           |--resolve-->|  all participants, once the record is durable (R7)
//! ```
//!
//! Invariants:
//! - all prepares of an attempt carry the same attempt, `r`, and come from one plan;
//! - an answer counts only with this attempt, and at the anchor this limit, as stored;
//! - nothing is resolved as committed before the explicit record is durable;
//! - a guard on a partition that is not written is judged before any prepare leaves. Beside the
//!   prepares, its failure would leave no durable trace, and recovery would commit.

use crate::coordinator::{Coordinator, Failure, Intent, Phase};
use crate::one_partition::reason_of;
use crate::plan::{Share, can_be_staged};
use crate::request_waiting_list::{Flow, Turn};
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::PartitionId;
use wire::keys::{Key, READ_BYTES_MAX};
use wire::message::{
    AbortReason, PartitionError, PartitionReply, PartitionRequest, Prepare, Prepared, Read,
    ReadAnswer, ReadRequest, ReadResult, RecordChange, RecordState, Refusal, RequestNumber,
};

/// The participants' answers so far.
#[derive(Debug, Default)]
pub(crate) struct Preparing {
    pub(crate) outstanding: BTreeMap<RequestNumber, PartitionId>,
    pub(crate) prepared: BTreeMap<PartitionId, Prepared>,
}

impl Preparing {
    /// The lowest commit timestamp that all participants so far accept.
    fn timestamp(&self) -> Timestamp {
        let all = self.prepared.values().map(|prepared| prepared.timestamp);
        all.max().unwrap_or(Timestamp::ZERO)
    }
}

impl Coordinator {
    /// Reads the guards on partitions that are not written; without any, prepares at once.
    pub(crate) fn read_guards(&mut self, turn: &mut Turn) -> Flow {
        let mut outstanding = BTreeMap::new();
        for (partition, share) in self.plan.guarded_only() {
            let guards = share.guards.iter().map(|place| &self.commit.guards[*place]);
            let body = PartitionRequest::Read(Read {
                reader: Some(self.commit.name.id),
                timestamp: self.r,
                requests: guards
                    .map(|guard| ReadRequest::Get {
                        key: guard.key.clone(),
                    })
                    .collect(),
            });
            let number = turn.ask(partition, body, self.expires_at);
            outstanding.insert(number, share.guards.clone());
        }
        if outstanding.is_empty() {
            return self.prepare(turn);
        }
        self.phase = Phase::Guards(outstanding);
        Flow::Waits
    }

    pub(crate) fn on_guards_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        reply: PartitionReply,
    ) -> Flow {
        let Phase::Guards(outstanding) = &mut self.phase else {
            return Flow::Waits;
        };
        let guards = outstanding.remove(&number).unwrap_or_default();
        let is_last = outstanding.is_empty();
        let failure = match reply {
            PartitionReply::Read(answer) => self.judge_guards(&guards, answer),
            PartitionReply::Error(error) => return self.on_guards_error(turn, error),
            other => unreachable!("a leader answered a read with {other:?}"),
        };
        if let Some(failure) = failure {
            self.cancel_guards(turn);
            return self.fail(turn, failure);
        }
        if is_last {
            return self.prepare(turn);
        }
        Flow::Waits
    }

    fn judge_guards(&mut self, guards: &[usize], answer: ReadAnswer) -> Option<Failure> {
        assert_eq!(
            guards.len(),
            answer.results.len(),
            "a leader answers every read of a request"
        );
        self.guards_depend_on = self.guards_depend_on.max(answer.depends_on);
        for (place, result) in guards.iter().zip(answer.results) {
            let guard = &self.commit.guards[*place];
            let ReadResult::Value(found) = result else {
                unreachable!("a leader answered a get with {result:?}");
            };
            let key = guard.key.clone();
            let reason = match guard.condition.holds(found.as_ref()) {
                Ok(true) => continue,
                Ok(false) => AbortReason::Guard { key, found },
                Err(why) => AbortReason::Operation { key, why },
            };
            return Some(Failure {
                reason,
                depends_on: answer.depends_on,
            });
        }
        None
    }

    /// Nothing of this attempt is prepared yet: it may be made again under the same number.
    fn on_guards_error(&mut self, turn: &mut Turn, error: PartitionError) -> Flow {
        self.cancel_guards(turn);
        match error {
            PartitionError::BelowHorizon { timestamp, horizon } => {
                self.finish_below_horizon(turn, timestamp, horizon)
            }
            PartitionError::LockWait { key, rival } => {
                self.failure = Some(Failure::new(AbortReason::Contention { key, rival }));
                self.back_off(turn)
            }
            // It would be again.
            PartitionError::ReadTooLarge { key } => {
                let why = format!(
                    "up to here the values that guards depend on have more than {READ_BYTES_MAX} bytes \
                     (64 MiB): divide the transaction"
                );
                self.fail(turn, Failure::new(AbortReason::Operation { key, why }))
            }
            _ => self.back_off(turn),
        }
    }

    pub(crate) fn on_guards_unreachable(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        self.cancel_guards(turn);
        if !self.has_expired(turn) {
            return self.back_off(turn);
        }
        if self.has_prepared || self.commit.resent {
            return self.expire(turn);
        }
        self.not_known(turn, partition, waited)
    }

    fn cancel_guards(&mut self, turn: &mut Turn) {
        if let Phase::Guards(outstanding) = &mut self.phase {
            for number in std::mem::take(outstanding).into_keys() {
                turn.cancel(number);
            }
        }
    }

    /// Sends every participant its share, all at once; the anchor's also stages the record.
    fn prepare(&mut self, turn: &mut Turn) -> Flow {
        let keys = self.plan.locked_keys(&self.commit);
        self.limit = self.plan.limit(self.r);
        #[cfg(feature = "mutants")]
        if turn.is(crate::Mutant::UnboundedLimit) {
            self.limit = Timestamp::MAX;
        }
        self.has_prepared = true;
        let anchor = self.anchor_of_plan();
        let mut preparing = Preparing::default();
        self.maybe_prepared.clear();
        for (partition, share) in self.plan.written() {
            let at_anchor = (Some(partition) == anchor).then_some(&keys);
            let body = PartitionRequest::Prepare(self.share_of(share, at_anchor));
            let number = turn.ask(partition, body, self.expires_at);
            preparing.outstanding.insert(number, partition);
        }
        self.maybe_prepared.extend(preparing.outstanding.values());
        self.phase = Phase::Preparing(preparing);
        Flow::Waits
    }

    fn share_of(&self, share: &Share, at_anchor: Option<&BTreeSet<Key>>) -> Prepare {
        let commit = &self.commit;
        let staged = at_anchor.filter(|keys| can_be_staged(keys));
        Prepare {
            name: commit.name.clone(),
            attempt: self.attempt(),
            age: commit.age,
            timestamp: self.r,
            reads: share.reads.clone(),
            guards: share.guards_of(commit),
            operations: share.operations_of(commit),
            locked_reads: share.locked_reads.clone(),
            staging: staged.map(|keys| (self.limit, keys.iter().cloned().collect())),
        }
    }

    fn is_staged(&self) -> bool {
        can_be_staged(&self.plan.locked_keys(&self.commit))
    }

    pub(crate) fn on_prepare_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        let Phase::Preparing(preparing) = &mut self.phase else {
            return Flow::Waits;
        };
        preparing.outstanding.remove(&number);
        match reply {
            PartitionReply::Prepared(prepared) => self.on_prepared(turn, partition, prepared),
            PartitionReply::Refused {
                refusal,
                depends_on,
                ..
            } => self.on_prepare_refused(turn, partition, refusal, depends_on),
            PartitionReply::OtherCoordinator { attempt } => {
                self.cancel_prepares(turn);
                self.maybe_prepared.remove(&partition);
                self.recover_other(turn, attempt, Intent::Retry { with_locks: false })
            }
            PartitionReply::Error(error) => self.on_prepare_error(turn, error),
            other => unreachable!("a leader answered a prepare with {other:?}"),
        }
    }

    fn on_prepared(&mut self, turn: &mut Turn, partition: PartitionId, prepared: Prepared) -> Flow {
        let is_at_anchor = self.anchor_of_plan() == Some(partition);
        let limit = (is_at_anchor && self.is_staged()).then_some(self.limit);
        if prepared.attempt != self.attempt() || prepared.limit != limit {
            // Stored under another attempt or limit: only the record can say what became of it.
            self.cancel_prepares(turn);
            return self.look_at_record(turn, Intent::Retry { with_locks: false });
        }
        if prepared.limit.is_some() {
            self.record = RecordState::Staging {
                attempt: self.attempt(),
                limit: self.limit,
            };
        }
        let Phase::Preparing(preparing) = &mut self.phase else {
            return Flow::Waits;
        };
        preparing.prepared.insert(partition, prepared);
        if !preparing.outstanding.is_empty() {
            return Flow::Waits;
        }
        let c = preparing.timestamp();
        let prepared = std::mem::take(&mut preparing.prepared);
        self.collect_results(prepared);
        self.decide(turn, c)
    }

    /// Puts the participants' results into the order of the commit's operations.
    fn collect_results(&mut self, prepared: BTreeMap<PartitionId, Prepared>) {
        self.results = vec![None; self.commit.operations.len()];
        for (partition, prepared) in prepared {
            let places = &self.plan.shares[&partition].operations;
            for (place, result) in places.iter().zip(prepared.results) {
                self.results[*place] = result;
            }
        }
    }

    /// Everything is prepared, at most at `c`: committed if the limit allows it.
    fn decide(&mut self, turn: &mut Turn, c: Timestamp) -> Flow {
        assert!(
            c < self.commit.name.expires,
            "nothing is prepared at or above expires: {c} against {}",
            self.commit.name.expires
        );
        if c > self.limit {
            return self.refresh(turn, c);
        }
        self.committed(turn, c)
    }

    /// The decision holds. With a staged record it may be told at once, and is recorded afterwards.
    pub(crate) fn committed(&mut self, turn: &mut Turn, c: Timestamp) -> Flow {
        if !self.is_staged() {
            return self.change_record(
                turn,
                RecordChange::Commit { at: c },
                Intent::Retry { with_locks: false },
            );
        }
        self.tell_committed(turn, c);
        #[cfg(feature = "mutants")]
        if turn.is(crate::Mutant::ResolvedBeforeRecord) {
            self.order_resolve(turn, wire::message::Decision::Committed(c), false);
        }
        self.record_committed(turn, c)
    }

    fn on_prepare_refused(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        refusal: Refusal,
        depends_on: Timestamp,
    ) -> Flow {
        self.cancel_prepares(turn);
        if refusal == Refusal::StaleAttempt {
            // Most likely an older transaction ended it: the next attempt queues for what it writes.
            return self.look_at_record(turn, Intent::Retry { with_locks: true });
        }
        self.maybe_prepared.remove(&partition);
        if let Refusal::Contention { key, .. } = &refusal {
            let now = turn.monotonic();
            turn.list.hot.note(key.clone(), now);
        }
        let intent = match refusal {
            Refusal::Contention { .. } => Intent::Retry { with_locks: true },
            Refusal::Changed { .. } if self.is_fresh() => Intent::Retry { with_locks: false },
            _ => Intent::Close,
        };
        self.failure = Some(Failure {
            reason: reason_of(refusal),
            depends_on,
        });
        self.settle(turn, intent)
    }

    /// One share was not taken, but others may be: the attempt must be dead before the next.
    fn on_prepare_error(&mut self, turn: &mut Turn, error: PartitionError) -> Flow {
        self.cancel_prepares(turn);
        let intent = match error {
            PartitionError::BelowHorizon { timestamp, horizon } => {
                let reason = AbortReason::BelowHorizon { timestamp, horizon };
                self.failure = Some(Failure::new(reason));
                Intent::Close
            }
            PartitionError::LockWait { key, rival } => {
                self.failure = Some(Failure::new(AbortReason::Contention { key, rival }));
                Intent::Retry { with_locks: true }
            }
            _ => Intent::Retry { with_locks: false },
        };
        self.settle(turn, intent)
    }

    /// Whether it is prepared is not known. The same share under the same attempt may be sent again.
    pub(crate) fn on_prepare_unreachable(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
    ) -> Flow {
        let expired = self.has_expired(turn);
        let Phase::Preparing(preparing) = &mut self.phase else {
            return Flow::Waits;
        };
        preparing.outstanding.remove(&number);
        if expired {
            self.cancel_prepares(turn);
            self.failure = Some(Failure::new(AbortReason::Expired));
            return self.settle(turn, Intent::Close);
        }
        let keys = self.plan.locked_keys(&self.commit);
        let anchor = self.anchor_of_plan();
        let share = self.share_of(
            &self.plan.shares[&partition],
            (Some(partition) == anchor).then_some(&keys),
        );
        let again = turn.ask(partition, PartitionRequest::Prepare(share), self.expires_at);
        if let Phase::Preparing(preparing) = &mut self.phase {
            preparing.outstanding.insert(again, partition);
        }
        Flow::Waits
    }

    /// The participant that stages the record, by the plan of this attempt: the map may have moved.
    fn anchor_of_plan(&self) -> Option<PartitionId> {
        let anchor = &self.commit.name.anchor;
        let mut written = self.plan.written();
        let holds_anchor = |share: &Share| {
            let mut places = share.operations.iter();
            places.any(|place| self.commit.operations[*place].key == *anchor)
        };
        written.find_map(|(partition, share)| holds_anchor(share).then_some(partition))
    }

    pub(crate) fn cancel_prepares(&mut self, turn: &mut Turn) {
        if let Phase::Preparing(preparing) = &mut self.phase {
            for number in std::mem::take(&mut preparing.outstanding).into_keys() {
                turn.cancel(number);
            }
        }
    }
}
