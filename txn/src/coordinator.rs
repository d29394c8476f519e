//! The coordinator of one commit: its attempts, from the client's request to the answer.
//!
//! ```text
//!             +--------------------------- next attempt ----------------------------+
//!             v                                                                     |
//!   begin --> one partition --------------------------------> answer                |
//!     |                                                                             |
//!     +--> guards read --> preparing --> committed: answer --> record --> resolve   |
//!                           |    ^                                                  |
//!                           |    +-- refreshing, limit raised                       |
//!                           +--> record says aborted (n) --> locks -----------------+
//!                           +--> record says closed -------> answer
//! ```
//!
//! Invariants:
//! - every client that asked hears exactly one answer;
//! - attempt n + 1 is prepared only once *aborted (n)* is durable at the anchor (R5);
//! - once an abort of an attempt was sent, the client is told only what the record says;
//! - "aborted" is said only if *closed* is durable, or if the commit was sent once and nothing of it
//!   was prepared;
//! - a transaction that was told committed at `c` is committed at `c` in its record, if it has one.
//!
//! Source: R4 and R5 of the protocol; CockroachDB's parallel commits (Taft et al., 2020, section 3.2)
//! and TiDB's async commit for the timestamp that is the maximum of the participants' answers.

use crate::locking::Locking;
use crate::plan::Plan;
use crate::refresh::Refreshing;
use crate::request_waiting_list::{Flow, Order, RecoveryEnd, Turn, Working};
use crate::two_phase_commit::Preparing;
use crate::{ClientTag, abort::RecordStep, resolution::ResolvePlan};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{Attempt, CoordinatorIncarnation, PartitionId};
use wire::keys::Key;
use wire::message::{
    AbortReason, Aborted, ClientAnswer, ClientReply, Commit, Committed, Decision, PartitionReply,
    PartitionRequest, RecordState, RequestNumber, Snapshot,
};

/// Why an attempt failed, and the newest version that this rests on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) reason: AbortReason,
    pub(crate) depends_on: Timestamp,
}

impl Failure {
    pub(crate) fn new(reason: AbortReason) -> Failure {
        Failure {
            reason,
            depends_on: Timestamp::ZERO,
        }
    }
}

/// What is made of an attempt that did not commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Intent {
    /// Another attempt, once the record says that this one is dead.
    Retry {
        /// First take the locks on everything that is written, in key order (R11).
        with_locks: bool,
    },
    /// None: the transaction is to be closed for the reason in `failure`.
    Close,
}

/// What the coordinator waits for.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The timer, then the next attempt.
    BackingOff,
    /// The leader's answer to the whole transaction.
    OnePartition,
    /// Guards on partitions that are not written; the guards of each request by their place.
    Guards(BTreeMap<RequestNumber, Vec<usize>>),
    /// The participants' answers.
    Preparing(Preparing),
    /// Whether what was read still holds at the commit timestamp.
    Refreshing(Refreshing),
    /// The record's answer.
    Record(RecordStep),
    /// The locks that are collected before an attempt.
    Locking(Locking),
    /// The recovery of an attempt that another coordinator made.
    Recovering { attempt: Attempt, intent: Intent },
    /// The outcome, which is closed by being asked for.
    AskingOutcome { number: Option<RequestNumber> },
}

/// The coordinator of one commit.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) clients: Vec<ClientTag>,
    pub(crate) commit: Commit,
    pub(crate) incarnation: CoordinatorIncarnation,
    /// The number of the attempt under way.
    pub(crate) number: u32,
    /// How many attempts there were.
    pub(crate) attempts: u32,
    /// The snapshot of the attempt under way.
    pub(crate) r: Timestamp,
    pub(crate) plan: Plan,
    pub(crate) limit: Timestamp,
    /// The record as last heard of.
    pub(crate) record: RecordState,
    /// Whether any prepare ever left: then "aborted" must be durable before it is told.
    pub(crate) has_prepared: bool,
    /// Where something of the attempt under way may be prepared.
    pub(crate) maybe_prepared: BTreeSet<PartitionId>,
    /// Whether locks were taken for a further attempt.
    pub(crate) has_locks: bool,
    /// Why the last attempt failed.
    pub(crate) failure: Option<Failure>,
    /// The newest version that guards read elsewhere rest on.
    pub(crate) guards_depend_on: Timestamp,
    pub(crate) results: Vec<Option<Bytes>>,
    /// On the monotonic clock: `expires` has passed.
    pub(crate) expires_at: Duration,
    /// On the monotonic clock: the client is told that the outcome is not known.
    pub(crate) give_up_at: Duration,
    pub(crate) phase: Phase,
    /// What the client was told; the job goes on until it is recorded.
    pub(crate) answered: Option<(ClientReply, Timestamp)>,
}

impl Coordinator {
    /// Begins to commit. The commit has been checked.
    pub(crate) fn begin(turn: &mut Turn, client: ClientTag, commit: Commit) -> (Coordinator, Flow) {
        let incarnation = turn.list.next_incarnation();
        let left = commit.name.expires.since(turn.now().earliest());
        // A clock that vouches for nothing has its earliest at zero; the bound on `expires` holds still.
        let left = left.min(crate::limits::EXPIRES_AHEAD_MAX);
        let expires_at = turn.monotonic() + left;
        let mut coordinator = Coordinator {
            clients: vec![client],
            commit,
            incarnation,
            number: 1,
            attempts: 0,
            r: Timestamp::ZERO,
            plan: Plan::default(),
            limit: Timestamp::ZERO,
            record: RecordState::Missing,
            has_prepared: false,
            maybe_prepared: BTreeSet::new(),
            has_locks: false,
            failure: None,
            guards_depend_on: Timestamp::ZERO,
            results: Vec::new(),
            expires_at,
            give_up_at: expires_at + turn.list.config.timing.after_expires_max,
            phase: Phase::BackingOff,
            answered: None,
        };
        coordinator.note_working(turn);
        let flow = coordinator.begin_attempt(turn);
        (coordinator, flow)
    }

    /// The same commit was sent again while it is under way: one coordinator serves both.
    pub(crate) fn join(&mut self, turn: &mut Turn, client: ClientTag, commit: &Commit) {
        if let Some((reply, depends_on)) = &self.answered {
            turn.answer(client, reply.clone(), *depends_on);
            return;
        }
        if commit.name != self.commit.name || commit.operations != self.commit.operations {
            let aborted = Aborted {
                reason: AbortReason::OtherIdentity,
                durable: false,
            };
            let reply = Ok(ClientAnswer::Aborted(aborted));
            turn.answer(client, reply, Timestamp::ZERO);
            return;
        }
        self.commit.resent |= commit.resent;
        self.clients.push(client);
    }

    pub(crate) fn attempt(&self) -> Attempt {
        Attempt {
            number: self.number,
            coordinator: self.incarnation,
        }
    }

    fn note_working(&self, turn: &mut Turn) {
        let working = Working {
            id: self.commit.name.id,
            number: self.number,
        };
        turn.list.working.insert(self.incarnation.sequence, working);
    }

    pub(crate) fn has_expired(&self, turn: &Turn) -> bool {
        turn.now().earliest() >= self.commit.name.expires || turn.monotonic() >= self.expires_at
    }

    /// Begins the attempt `number`: draws its snapshot, divides the commit, sends it.
    pub(crate) fn begin_attempt(&mut self, turn: &mut Turn) -> Flow {
        if self.has_expired(turn) {
            return self.expire(turn);
        }
        self.r = match turn.snapshot(self.commit.snapshot) {
            Ok(r) => r,
            Err(why) if self.attempts == 0 => return self.finish(turn, Err(why), Timestamp::ZERO),
            Err(_) => return self.back_off(turn),
        };
        if self.r >= self.commit.name.expires {
            return self.expire(turn);
        }
        self.plan = Plan::of(&self.commit, turn.map());
        if let Some(partition) = self.plan.single() {
            return self.commit_in_one_partition(turn, partition);
        }
        if let Some(flow) = self.close_gap_in_record(turn) {
            return flow;
        }
        if let Some(flow) = self.queue_for_hot_keys(turn) {
            return flow;
        }
        self.attempts += 1;
        self.read_guards(turn)
    }

    /// Only *aborted (n)* lets attempt n + 1 be staged. After attempts within one partition, which
    /// leave no record, the record must be brought up to the number first.
    fn close_gap_in_record(&mut self, turn: &mut Turn) -> Option<Flow> {
        let before = self.number - 1;
        let dead = match self.record {
            RecordState::Aborted { attempt } => attempt.number,
            _ => 0,
        };
        if dead == before {
            return None;
        }
        self.number = before;
        Some(self.settle(turn, Intent::Retry { with_locks: false }))
    }

    pub(crate) fn back_off(&mut self, turn: &mut Turn) -> Flow {
        self.phase = Phase::BackingOff;
        turn.back_off(self.attempts);
        Flow::Waits
    }

    /// The number of the attempt after one that is dead.
    pub(crate) fn next_attempt(&mut self, turn: &mut Turn, dead: u32) {
        self.number = dead + 1;
        self.maybe_prepared.clear();
        self.note_working(turn);
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        match &mut self.phase {
            Phase::OnePartition => self.on_one_partition_reply(turn, reply),
            Phase::Guards(_) => self.on_guards_reply(turn, number, reply),
            Phase::Preparing(_) => self.on_prepare_reply(turn, number, partition, reply),
            Phase::Refreshing(_) => self.on_refresh_reply(turn, number, reply),
            Phase::Record(_) => self.on_record_reply(turn, reply),
            Phase::Locking(_) => self.on_lock_reply(turn, reply),
            Phase::AskingOutcome { .. } => self.on_outcome_reply(turn, reply),
            // Nothing is out in these phases: what was asked before is cancelled.
            Phase::BackingOff | Phase::Recovering { .. } => Flow::Waits,
        }
    }

    pub(crate) fn on_unreachable(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        match &mut self.phase {
            Phase::OnePartition => self.ask_outcome(turn, Failure::new(AbortReason::Expired)),
            Phase::Guards(_) => self.on_guards_unreachable(turn, partition, waited),
            Phase::Preparing(_) => self.on_prepare_unreachable(turn, number, partition),
            Phase::Refreshing(_) => self.on_refresh_unreachable(turn, number, partition),
            Phase::Record(_) => self.on_record_unreachable(turn, partition, waited),
            Phase::Locking(_) => self.on_lock_unreachable(turn),
            Phase::AskingOutcome { .. } => self.on_outcome_unreachable(turn, partition, waited),
            Phase::BackingOff | Phase::Recovering { .. } => Flow::Waits,
        }
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        match &self.phase {
            Phase::BackingOff => self.begin_attempt(turn),
            Phase::Locking(locking) if locking.is_paused() => self.take_next_locks(turn),
            Phase::Record(step) if step.number.is_none() => self.ask_record(turn),
            Phase::AskingOutcome { number: None } => self.send_outcome(turn),
            Phase::Recovering { attempt, intent } => self.recover_other(turn, *attempt, *intent),
            _ => Flow::Waits,
        }
    }

    /// Recovers what another coordinator did with this id, then goes on from the record (R10).
    ///
    /// Its own attempt is given up: whoever asks about it may recover it. Two coordinators of one id
    /// that each hold a part would else wait for each other until it expires.
    pub(crate) fn recover_other(
        &mut self,
        turn: &mut Turn,
        attempt: Attempt,
        intent: Intent,
    ) -> Flow {
        self.phase = Phase::Recovering { attempt, intent };
        if let Some(working) = turn.list.working.get_mut(&self.incarnation.sequence) {
            working.number = self.number + 1;
        }
        turn.order(Order::Recover {
            name: self.commit.name.clone(),
            attempt,
            waiter: turn.job,
        });
        Flow::Waits
    }

    pub(crate) fn on_recovered(&mut self, turn: &mut Turn, end: RecoveryEnd) -> Flow {
        let Phase::Recovering { intent, .. } = self.phase else {
            return Flow::Waits;
        };
        match end {
            RecoveryEnd::Decided(state) => self.judge(turn, state, intent),
            RecoveryEnd::GaveUp { partition, waited } if turn.monotonic() >= self.give_up_at => {
                self.not_known(turn, partition, waited)
            }
            RecoveryEnd::GaveUp { .. } => {
                turn.back_off(self.attempts.max(4));
                Flow::Waits
            }
        }
    }

    /// `expires` is near or past: nothing can be placed any more.
    pub(crate) fn expire(&mut self, turn: &mut Turn) -> Flow {
        let failure = self.failure.take();
        self.fail(
            turn,
            failure.unwrap_or_else(|| Failure::new(AbortReason::Expired)),
        )
    }

    /// Ends without a commit: makes *closed* durable first where it must be.
    pub(crate) fn fail(&mut self, turn: &mut Turn, failure: Failure) -> Flow {
        if self.has_prepared {
            self.failure = Some(failure);
            return self.settle(turn, Intent::Close);
        }
        if self.commit.resent {
            return self.ask_outcome(turn, failure);
        }
        self.finish_aborted(turn, failure, false)
    }

    pub(crate) fn finish_aborted(
        &mut self,
        turn: &mut Turn,
        failure: Failure,
        durable: bool,
    ) -> Flow {
        let answer = ClientAnswer::Aborted(Aborted {
            reason: failure.reason,
            durable,
        });
        self.unlock(turn, true);
        self.finish(turn, Ok(answer), failure.depends_on)
    }

    /// Tells that it is committed. The job may go on to record it.
    pub(crate) fn tell_committed(&mut self, turn: &mut Turn, at: Timestamp) {
        let committed = Committed {
            at,
            results: std::mem::take(&mut self.results),
            attempts: self.attempts.max(1),
            partitions: self.plan.written().count() as u32,
        };
        let depends_on = at.max(self.guards_depend_on);
        self.tell(turn, Ok(ClientAnswer::Committed(committed)), depends_on);
        self.unlock(turn, false);
    }

    pub(crate) fn finish_committed(&mut self, turn: &mut Turn, at: Timestamp) -> Flow {
        self.tell_committed(turn, at);
        self.end(turn)
    }

    /// The outcome is not known within the time: the client may ask for it later.
    pub(crate) fn not_known(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        let why = turn.unavailable(partition, waited);
        self.finish(turn, Err(why), Timestamp::ZERO)
    }

    fn tell(&mut self, turn: &mut Turn, reply: ClientReply, depends_on: Timestamp) {
        for client in std::mem::take(&mut self.clients) {
            turn.answer(client, reply.clone(), depends_on);
        }
        self.answered = Some((reply, depends_on));
    }

    pub(crate) fn finish(
        &mut self,
        turn: &mut Turn,
        reply: ClientReply,
        depends_on: Timestamp,
    ) -> Flow {
        self.tell(turn, reply, depends_on);
        self.end(turn)
    }

    /// From now on whoever asks about this coordinator hears that it is not known.
    pub(crate) fn end(&mut self, turn: &mut Turn) -> Flow {
        turn.list.working.remove(&self.incarnation.sequence);
        Flow::Over
    }

    /// Gives back locks of `get_for_update` and of further attempts; a commit took over those on
    /// keys that it wrote.
    pub(crate) fn unlock(&self, turn: &mut Turn, written_too: bool) {
        let commit = &self.commit;
        let written: BTreeSet<&Key> = commit.operations.iter().map(|o| &o.key).collect();
        let mut keys: BTreeSet<&Key> = commit.locked.iter().collect();
        match written_too {
            true if self.has_locks => keys.extend(&written),
            true => {}
            false => keys.retain(|key| !written.contains(key)),
        }
        for (partition, keys) in crate::plan::group(keys, turn.map()) {
            let id = commit.name.id;
            turn.tell(partition, PartitionRequest::Unlock { id, keys });
        }
    }

    /// Lets the attempt under way be resolved in the background wherever it may be prepared.
    pub(crate) fn order_resolve(&mut self, turn: &mut Turn, decision: Decision, forget: bool) {
        let commit = &self.commit;
        let shares = self.plan.shares.iter();
        let keys = shares
            .filter(|(partition, _)| self.maybe_prepared.contains(partition))
            .flat_map(|(_, share)| share.locked_keys(commit))
            .collect();
        turn.order(Order::Resolve(ResolvePlan {
            name: commit.name.clone(),
            attempt: self.attempt(),
            decision,
            keys,
            forget,
        }));
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.commit.snapshot == Snapshot::Fresh
    }
}
