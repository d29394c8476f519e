//! Planned transfer of leadership (Ongaro 2014, section 3.10; protocol, R9).
//!
//! ```text
//!   leader of term t                                       target
//!   begin ──► CatchingUp ──► Draining ── hand_over ── HandOver(t, high water) ──► stands in t + 1
//!             (serves)       (evaluates   └► HandedOver                           at once, no pre-vote
//!                             nothing)       (answers nothing more in t)
//!    too long:  given up      serves again    follows nobody; an election decides
//!                             for a while
//! ```
//!
//! How long the disks take for what is under way is not known before. So the leader first drains for a
//! short time only; if that does not suffice it serves for as long, and then drains for twice that. A disk
//! that stalls for a moment costs a short silence, and one that is always slow still lets leadership go.
//!
//! Voters need no flag to let the target in: only pre-votes look at whether a leader was heard lately,
//! and the target asks for none.
//!
//! Invariants:
//! - until it has handed over, the leader may take everything back and serve on; from then on it
//!   answers nothing more in its term, whatever becomes of the message;
//! - the high water counts for the candidacy that the message itself begins, in the very next term. *In
//!   a later term another leader may have answered above it*;
//! - for a target that turns out to need a snapshot nobody waits: the leader leads on;
//! - leadership is handed over only when everything appended is committed and durable at the target, so
//!   the target's log is as long as any and its first entry is all that it must commit.

use super::{Replication, ReplicationEffect, Role, RoleState};
use clock::Timestamp;
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{ReplicationMessage, TransferFailure, Unfit};

/// A target that lacks no more than so many entries is close enough to stop evaluating for it.
const NEAR_ENTRIES: u64 = 256;
/// So many election timeouts a target may take to come close, while the leader serves, and what is under
/// way to settle.
const CATCH_UP_TIMEOUTS: u32 = 10;

/// Where a transfer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    CatchingUp,
    Draining,
    HandedOver,
}

/// A transfer under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Transfer {
    to: NodeId,
    phase: Phase,
    /// When the phase has lasted too long.
    due: Duration,
    /// When all has lasted too long that can be taken back.
    deadline: Duration,
    /// The leader serves until then at least.
    drain_from: Duration,
    /// For so long it drains next.
    drain_for: Duration,
    /// It has drained in vain.
    was_unsettled: bool,
}

impl Transfer {
    fn enter(&mut self, phase: Phase, due: Duration) {
        self.phase = phase;
        self.due = due;
    }

    /// Goes back to serving for a while, and is more patient the next time.
    fn interrupt_draining(&mut self, now: Duration, drain_max: Duration) {
        let deadline = self.deadline;
        self.enter(Phase::CatchingUp, deadline);
        self.drain_from = now + self.drain_for;
        self.drain_for = (self.drain_for * 2).min(drain_max);
        self.was_unsettled = true;
    }
}

impl Replication {
    /// Begins to transfer leadership to another member. How it ends is told by
    /// [`ReplicationEffect::TransferEnded`].
    ///
    /// # Errors
    /// If this replica does not lead, the target is no other member or needs a snapshot, or a transfer is
    /// under way.
    pub fn begin_transfer(&mut self, now: Duration, to: NodeId) -> Result<(), TransferFailure> {
        let deadline = now + self.timing.election_timeout * CATCH_UP_TIMEOUTS;
        let drain_for = self.timing.heartbeat / 2;
        let (known, me) = (self.leader(), self.me);
        let is_member = self.configured().configuration.voters.contains(&to);
        let RoleState::Leader(leader) = &mut self.role else {
            return Err(TransferFailure::NotLeader { leader: known });
        };
        if to == me {
            return Err(TransferFailure::LeadsAlready { target: to });
        }
        if !is_member {
            return Err(TransferFailure::NotMember { target: to });
        }
        if let Some(transfer) = &leader.transfer {
            let target = transfer.to;
            return Err(TransferFailure::UnderWay { target });
        }
        if leader.needs_snapshot(to) {
            let why = Unfit::Rebuilding;
            return Err(TransferFailure::Unfit { target: to, why });
        }
        leader.transfer = Some(Transfer {
            to,
            phase: Phase::CatchingUp,
            due: deadline,
            deadline,
            drain_from: now,
            drain_for,
            was_unsettled: false,
        });
        self.maybe_drain(now);
        Ok(())
    }

    /// Whether the leader must evaluate nothing, so that what is under way can come to its end.
    pub fn is_draining(&self) -> bool {
        self.phase() == Some(Phase::Draining)
    }

    /// Whether a transfer is under way, before the hand-over.
    pub fn is_transferring(&self) -> bool {
        self.transfers_to().is_some()
    }

    /// Whether everything is committed and durable at the target: time to hand over.
    pub fn is_drained(&self) -> bool {
        let Some(transfer) = self.transfer() else {
            return false;
        };
        let last = self.last().index;
        transfer.phase == Phase::Draining
            && self.commit() == last
            && self.matched_by(transfer.to) == last
    }

    /// To whom this replica has handed over its leadership: it answers nothing more in this term.
    pub fn handed_over_to(&self) -> Option<NodeId> {
        let transfer = self.transfer()?;
        (transfer.phase == Phase::HandedOver).then_some(transfer.to)
    }

    /// Whether this replica stands for the election that a hand-over has begun.
    pub fn stands_by_transfer(&self) -> bool {
        matches!(&self.role, RoleState::Candidate(canvass) if canvass.handed_over.is_some())
    }

    /// Hands over: the caller answers nothing more in this term. `high_water`: nothing was answered
    /// above it, by this leader or by any before that still may.
    ///
    /// # Panics
    /// If the transfer is not drained ([`Replication::is_drained`]).
    pub fn hand_over(
        &mut self,
        now: Duration,
        high_water: Timestamp,
        out: &mut Vec<ReplicationEffect>,
    ) {
        assert!(
            self.is_drained(),
            "leadership is handed over when all is committed and the target has it: {} of {:?}, {:?}",
            self.commit(),
            self.last(),
            self.transfer()
        );
        let (term, due) = (self.term(), now + self.timing.election_timeout / 2);
        let RoleState::Leader(leader) = &mut self.role else {
            unreachable!("only a leader drains");
        };
        let Some(transfer) = &mut leader.transfer else {
            unreachable!("a drained transfer is under way");
        };
        transfer.enter(Phase::HandedOver, due);
        out.push(ReplicationEffect::Send {
            to: transfer.to,
            message: ReplicationMessage::HandOver { term, high_water },
            after_log: false,
        });
    }

    /// The leader of this term has handed its leadership to this replica.
    pub(super) fn on_hand_over(
        &mut self,
        now: Duration,
        promised: Timestamp,
        from: NodeId,
        term: Term,
        high_water: Timestamp,
        out: &mut Vec<ReplicationEffect>,
    ) {
        // Of an earlier term: doubled or late, another election was held since, and what was handed over
        // is worthless. Of a later one: this replica missed its beginning and cannot hold its log.
        let is_of_this_term = term == self.term();
        let may_stand = match self.role() {
            Role::Follower { leader } => leader.is_none_or(|leader| leader == from),
            Role::PreCandidate => true,
            Role::Candidate | Role::Leader => false,
        };
        if is_of_this_term && may_stand && self.electable && self.may_stand() {
            self.stand(now, promised, Some(high_water), out);
        }
    }

    /// Moves a transfer on, or ends one that takes too long.
    pub(super) fn on_transfer_tick(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        self.maybe_drain(now);
        let Some(transfer) = self.transfer() else {
            return;
        };
        let Transfer { to, phase, due, .. } = transfer;
        if phase != Phase::HandedOver && self.needs_snapshot(to) {
            let why = Unfit::Rebuilding;
            self.give_up_transfer(TransferFailure::Unfit { target: to, why }, out);
            return;
        }
        if now < due {
            return;
        }
        match phase {
            Phase::CatchingUp if transfer.was_unsettled => {
                self.give_up_transfer(TransferFailure::NotSettled, out);
            }
            Phase::CatchingUp => {
                let entries = self.last().index.0 - self.matched_by(to).0;
                let target = to;
                self.give_up_transfer(TransferFailure::Behind { target, entries }, out);
            }
            Phase::Draining => self.interrupt_draining(now),
            Phase::HandedOver => self.follow(now, None, out),
        }
    }

    /// To whom a transfer is under way that can still be taken back.
    pub fn transfers_to(&self) -> Option<NodeId> {
        let transfer = self.transfer()?;
        (transfer.phase != Phase::HandedOver).then_some(transfer.to)
    }

    /// Takes back a transfer to a member that turns out not to be able to lead; the leader leads on. What
    /// was handed over stays so.
    pub fn take_back_transfer(
        &mut self,
        target: NodeId,
        why: TransferFailure,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if self.transfers_to() == Some(target) {
            self.give_up_transfer(why, out);
        }
    }

    fn interrupt_draining(&mut self, now: Duration) {
        let drain_max = self.timing.election_timeout / 2;
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(transfer) = &mut leader.transfer
        {
            transfer.interrupt_draining(now, drain_max);
        }
    }

    /// Takes a transfer back before leadership was handed over; the leader leads on.
    fn give_up_transfer(&mut self, why: TransferFailure, out: &mut Vec<ReplicationEffect>) {
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(transfer) = leader.transfer.take()
        {
            let to = transfer.to;
            out.push(ReplicationEffect::TransferEnded {
                to,
                ended: Err(why),
            });
        }
    }

    /// Says how a transfer ended with the leadership, if one was under way.
    pub(super) fn end_transfer(&self, out: &mut Vec<ReplicationEffect>) {
        let Some(transfer) = self.transfer() else {
            return;
        };
        let to = transfer.to;
        // A leader's last entry is of its term.
        let is_succeeded = self.last().term < self.term();
        let ended = match (transfer.phase, is_succeeded) {
            (Phase::HandedOver, true) => Ok(()),
            (Phase::HandedOver, false) => Err(TransferFailure::NotTakenUp { target: to }),
            _ => Err(TransferFailure::LeadershipLost),
        };
        out.push(ReplicationEffect::TransferEnded { to, ended });
    }

    /// Stops evaluation once the target is close.
    pub(super) fn maybe_drain(&mut self, now: Duration) {
        let last = self.last().index.0;
        let commit = self.commit();
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(transfer) = leader.transfer else {
            return;
        };
        let matched = leader.matched(transfer.to);
        let is_close = matched >= commit || last - matched.0 <= NEAR_ENTRIES;
        if transfer.phase == Phase::CatchingUp
            && now >= transfer.drain_from
            && now < transfer.due
            && is_close
            && let Some(transfer) = &mut leader.transfer
        {
            let due = now + transfer.drain_for;
            transfer.enter(Phase::Draining, due);
        }
    }

    fn transfer(&self) -> Option<Transfer> {
        match &self.role {
            RoleState::Leader(leader) => leader.transfer,
            _ => None,
        }
    }

    fn phase(&self) -> Option<Phase> {
        self.transfer().map(|transfer| transfer.phase)
    }

    /// How far a follower is known to hold the log; zero if this replica does not lead.
    pub fn matched_by(&self, follower: NodeId) -> LogIndex {
        match &self.role {
            RoleState::Leader(leader) => leader.matched(follower),
            _ => LogIndex(0),
        }
    }
}
