//! Planned transfer of leadership with exact hand-over of the timestamp cache (protocol, R9).
//!
//! A promise reaches half a second into the future, and a new leader places nothing at or below the
//! promises that its voters acknowledged: after an ordinary election every write waits for that time to
//! pass. The leader alone knows up to where it really answered. It hands that over, and from then on
//! answers nothing more, so its successor goes on where it stopped.
//!
//! ```text
//!   old leader: evaluates nothing ── all committed, target has it ── HandOver ── NotLeader { target } …
//!   target:                                                          stands ── elected ── serves
//!   its requests:                                                    wait here ──────────► evaluated
//! ```
//!
//! Invariants
//! - After the hand-over nothing is answered in the term but *not the leader*.
//! - What is handed over is at least what this leader started from and closed, and at least every
//!   timestamp at which it answered.
//! - Requests that wait for the transfer were not evaluated: *not the leader* is the whole truth.
//!
//! Locks in memory (`get_for_update`) are not handed over: correctness never rests on them, and their
//! transactions take them again or prepare without.

use crate::asker::Asker;
use crate::event::{ReplicaContext, ReplicaEffect};
use crate::replica::Replica;
use crate::request_waiting_list::WAITING_MAX;
use crate::serving::reply;
use std::collections::BTreeMap;
use wire::ids::{Generation, NodeId};
use wire::message::{PartitionReply, PartitionRequest, TransferFailure};

/// Requests that came while their leader was being elected, by who asked.
pub(crate) type EarlyRequests = BTreeMap<Asker, (Generation, PartitionRequest)>;

impl Replica {
    /// Begins to transfer the leadership to another member. How it ends is told by
    /// [`ReplicaEffect::TransferEnded`].
    ///
    /// # Errors
    /// If this replica does not lead, or does not serve yet; if the target is no other member, or needs a
    /// snapshot; if a transfer is under way.
    pub fn begin_transfer(
        &mut self,
        cx: &ReplicaContext,
        to: NodeId,
        out: &mut Vec<ReplicaEffect>,
    ) -> Result<(), TransferFailure> {
        let leader = self.leader();
        let Some(leadership) = &self.leadership else {
            return Err(TransferFailure::NotLeader { leader });
        };
        if !leadership.serving {
            return Err(TransferFailure::Electing);
        }
        self.replication.begin_transfer(cx.now.monotonic, to)?;
        self.follow_up(cx, out);
        Ok(())
    }

    /// To whom it is about to hand over, if that can still be taken back.
    pub fn transfers_to(&self) -> Option<NodeId> {
        self.replication.transfers_to()
    }

    /// Takes back a transfer to a member that turns out not to be able to lead, if it is not handed over
    /// yet.
    pub fn take_back_transfer(
        &mut self,
        cx: &ReplicaContext,
        target: NodeId,
        why: TransferFailure,
        out: &mut Vec<ReplicaEffect>,
    ) {
        self.replication
            .take_back_transfer(target, why, &mut self.effects);
        self.follow_up(cx, out);
    }

    /// Whether it leads and serves.
    pub fn is_serving(&self) -> bool {
        let serves = self.leadership.as_ref().is_some_and(|l| l.serving);
        serves && self.replication.handed_over_to().is_none()
    }

    /// Whether a member gets a snapshot from this leader: it holds too little to lead.
    pub fn needs_snapshot(&self, member: NodeId) -> bool {
        self.replication.needs_snapshot(member)
    }

    /// How many entries of a leader's log a member lacks, as far as is known.
    pub fn lag_of(&self, member: NodeId) -> u64 {
        let last = self.replication.last().index.0;
        last.saturating_sub(self.replication.matched_by(member).0)
    }

    /// Hands over once nothing is under way any more.
    pub(crate) fn maybe_hand_over(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        if !self.replication.is_drained() || self.fed.index != self.replication.last().index {
            return;
        }
        let Some(leadership) = &self.leadership else {
            panic!("only a leader drains, and this replica leads no more");
        };
        assert!(
            leadership.proposed.is_empty() && leadership.overlay.is_empty(),
            "all that was proposed is committed and answered, but {} entries wait and {:?} is under way",
            leadership.proposed.len(),
            leadership.overlay.first()
        );
        let high_water = leadership
            .cache
            .high_water()
            .max(leadership.closed)
            .max(self.state.highest());
        let now = cx.now.monotonic;
        self.replication
            .hand_over(now, high_water, &mut self.effects);
        tracing::info!(
            partition = %self.descriptor.partition,
            term = %self.term(),
            waiting = leadership.waiting.len(),
            "all is committed and at the target: answers nothing more"
        );
        let error = self.not_leader();
        let Some(leadership) = &mut self.leadership else {
            unreachable!("handing over does not end the leadership");
        };
        while let Some(waiter) = leadership.waiting.take_any() {
            reply(waiter.asker, PartitionReply::Error(error.clone()), out);
        }
    }

    /// A transfer has ended: if it was given up, whoever waited for it is served here.
    pub(crate) fn on_transfer_ended(
        &mut self,
        cx: &ReplicaContext,
        to: NodeId,
        ended: Result<(), TransferFailure>,
        out: &mut Vec<ReplicaEffect>,
    ) {
        out.push(ReplicaEffect::TransferEnded { to, ended });
        self.wake_serving(cx, out);
    }

    /// While it stands for an election that was handed to it, requests wait here: it will lead within a
    /// moment. Gives back a request that does not wait.
    pub(crate) fn maybe_hold_early(
        &mut self,
        asker: Asker,
        generation: Generation,
        request: PartitionRequest,
    ) -> Option<PartitionRequest> {
        if !self.replication.stands_by_transfer() || self.early.len() >= WAITING_MAX {
            return Some(request);
        }
        self.early.insert(asker, (generation, request));
        None
    }

    /// The election is over: those who waited for it are admitted, or told that another leads.
    pub(crate) fn maybe_admit_early(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        if self.early.is_empty() || self.replication.stands_by_transfer() {
            return;
        }
        for (asker, (generation, request)) in std::mem::take(&mut self.early) {
            self.on_request(cx, asker, generation, request, out);
        }
    }

    /// For the mutant that uses what was handed over in a later term, too.
    #[cfg(feature = "mutants")]
    pub(crate) fn keep_handover(&mut self, message: &wire::message::ReplicationMessage) {
        if let wire::message::ReplicationMessage::HandOver { high_water, .. } = message
            && self.mutant == Some(crate::Mutant::HandoverInLaterTerm)
        {
            self.stale_handover = Some(*high_water);
        }
    }
}
