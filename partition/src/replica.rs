//! One partition on one node: replication and evaluation, joined.
//!
//! A turn: an event goes to replication or to evaluation; whatever that commits, elects or releases is
//! followed up until nothing more comes of it; then replication sends what the turn appended.
//!
//! Invariants
//! - Nothing above the high-water mark is applied, and what is applied goes to the store only once it
//!   is durable here, so that a restart never finds a store ahead of its log.
//! - Without leadership nothing is answered but *not the leader*.

use crate::admission::Admission;
use crate::collection::COLLECT_EVERY;
use crate::committed_state::CommittedState;
use crate::event::{ReplicaContext, ReplicaEffect, ReplicaEvent};
use crate::installing::Installing;
use crate::leadership::Leadership;
use crate::log::{LogRecord, RecoveredReplica};
use crate::membership::members_of;
use crate::meta_rows;
use crate::recent_writes::RecentWrites;
use crate::replication::{
    Recollection, Replication, ReplicationConfig, ReplicationEffect, ReplicationTiming, Role,
};
use crate::snapshot::SnapshotReading;
use crate::transfer::EarlyRequests;
use crate::versions::{AppliedState, Store, StoreBatch, StoreError};
use clock::{Now, Timestamp};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::keys::Descriptor;
use wire::message::{Configured, Leading, LogPosition, PartitionReply, ReplicaRole, ReplicaStatus};

/// The most bytes of recent writes that a replica keeps in memory once the store has them.
pub(crate) const RECENT_WRITES_BYTES_MAX: usize = 16 << 20;

/// How long a replica waits for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaTiming {
    /// Heartbeats, elections and sending again.
    pub replication: ReplicationTiming,
    /// How far ahead of this node's `latest` a timestamp may lie.
    pub drift_max: Duration,
    /// A prepared lock that was waited for so long is pushed: does its coordinator live?
    pub push_after: Duration,
    /// A prepared lock of a younger transaction that an older one waited for so long is ended: a few commit
    /// times, so that what only takes its time is left alone.
    pub wound_after: Duration,
    /// And again after each of these.
    pub push_every: Duration,
    /// So long the first attempt of a commit or prepare waits for locks.
    pub first_attempt_wait_max: Duration,
    /// So long its later attempts wait for locks.
    pub later_attempt_wait_max: Duration,
    /// So long everything else waits for locks, for the promise, or for the leader to begin.
    pub wait_max: Duration,
    /// A member that lacks more than so many bytes of the log holds it back no longer: the leader has
    /// what is above that discarded, and the member gets a snapshot. While it gets it, and until it has
    /// caught up after it, [`crate::replication::SNAPSHOT_HELD_TIMES`] as much is kept.
    pub held_back_bytes_max: u64,
}

impl Default for ReplicaTiming {
    fn default() -> ReplicaTiming {
        ReplicaTiming {
            replication: ReplicationTiming {
                heartbeat: Duration::from_millis(100),
                election_timeout: Duration::from_millis(500),
                resend_after: Duration::from_millis(250),
            },
            drift_max: Duration::from_millis(500),
            push_after: Duration::from_millis(100),
            wound_after: Duration::from_millis(250),
            push_every: Duration::from_millis(500),
            first_attempt_wait_max: Duration::from_millis(40),
            later_attempt_wait_max: Duration::from_secs(2),
            wait_max: Duration::from_secs(8),
            held_back_bytes_max: 1 << 30,
        }
    }
}

/// Who a replica is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaConfig {
    /// The node that holds it.
    pub me: NodeId,
    /// How long it waits.
    pub timing: ReplicaTiming,
    /// Of its random timeouts.
    pub seed: u64,
    /// What it remembers, as long as it has not said [`ReplicaEffect::Remembered`].
    pub memory: Recollection,
    /// What it was told of its members when it began.
    pub told: Option<Configured>,
    /// All nodes of the cluster.
    pub nodes: BTreeSet<NodeId>,
    /// A rule that it does not keep.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::Mutant>,
}

/// One partition on one node.
#[derive(Debug)]
pub struct Replica {
    pub(crate) me: NodeId,
    pub(crate) timing: ReplicaTiming,
    pub(crate) incarnation: u32,
    pub(crate) descriptor: Descriptor,
    pub(crate) replication: Replication,
    pub(crate) state: CommittedState,
    /// Fed to `state` up to here.
    pub(crate) fed: LogPosition,
    /// Fed, but not yet durable here: the store gets it later.
    pub(crate) held_back: VecDeque<StoreBatch>,
    /// Readable in the store.
    pub(crate) stored: LogIndex,
    /// In the store's tables.
    pub(crate) persisted: LogPosition,
    pub(crate) leadership: Option<Leadership>,
    /// Requests that came while it stood for an election that was handed to it.
    pub(crate) early: EarlyRequests,
    /// Whether its node is fit to lead.
    fit_to_lead: bool,
    /// How long versions are kept; `None` while that is not known: then no horizon is raised.
    pub(crate) retention: Option<Duration>,
    /// Whether it takes new writes while it leads.
    pub(crate) admission: Admission,
    /// Numbers requests that wait, and questions to the store.
    pub(crate) next_ticket: u64,
    /// What replication wants done and was not yet followed up.
    pub(crate) effects: Vec<ReplicationEffect>,
    /// The snapshot that is read for a follower.
    pub(crate) reading: Option<SnapshotReading>,
    /// The snapshot that comes in.
    pub(crate) installing: Option<Installing>,
    #[cfg(feature = "mutants")]
    pub(crate) mutant: Option<crate::Mutant>,
    /// What was handed over at any time, for the mutant that uses it in a later term.
    #[cfg(feature = "mutants")]
    pub(crate) stale_handover: Option<Timestamp>,
}

impl Replica {
    /// As log and store remember it. The entries that the log holds beyond what the store has applied
    /// are fed again as they are learnt to be committed.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn new(
        config: ReplicaConfig,
        recovered: RecoveredReplica,
        store: &dyn Store,
        now: &Now,
    ) -> Result<Replica, StoreError> {
        let partition = recovered.descriptor.partition;
        let incarnation = recovered.incarnation;
        let applied = store.applied(partition, incarnation)?;
        if applied.is_none() && recovered.base.index > LogIndex(0) {
            return Err(StoreError::Damaged(format!(
                "the log of {partition} begins after {}, and the store has nothing of what was before",
                recovered.base.index
            )));
        }
        let applied = applied.unwrap_or(AppliedState {
            position: recovered.base,
            closed: Timestamp::ZERO,
            horizon: Timestamp::ZERO,
            newest: Timestamp::ZERO,
        });
        let fed = applied.position;
        let wanted = meta_rows::for_a_start(applied.closed);
        let found = store.query(partition, incarnation, &wanted)?;
        let rows = meta_rows::found_at_a_start(found.results);
        let recent = RecentWrites::new(applied.newest, fed.index, RECENT_WRITES_BYTES_MAX);
        let state = CommittedState::rebuild(recent, applied.closed, applied.horizon, &rows)?;
        let (configured, carried) = members_of(&state, &recovered.descriptor);
        let replication = Replication::new(
            ReplicationConfig {
                me: config.me,
                configured,
                carried,
                told: config.told,
                nodes: config.nodes,
                timing: config.timing.replication,
                seed: config.seed,
                memory: config.memory,
            },
            recovered.term,
            recovered.voted_for,
            recovered.base,
            recovered.entries,
            fed.index,
            now.monotonic,
        );
        assert_eq!(
            replication.term_at(fed.index),
            Some(fed.term),
            "what the store has applied, {fed:?}, is in the log, which reaches from {:?} to {:?}",
            replication.base(),
            replication.last()
        );
        Ok(Replica {
            me: config.me,
            timing: config.timing,
            incarnation,
            descriptor: recovered.descriptor,
            persisted: replication.base(),
            replication,
            state,
            fed,
            held_back: VecDeque::new(),
            stored: fed.index,
            leadership: None,
            early: EarlyRequests::new(),
            fit_to_lead: true,
            retention: None,
            admission: Admission::default(),
            // What the store was asked by a life before is not answered to this one.
            next_ticket: u64::from(incarnation) << 32,
            effects: Vec::new(),
            reading: None,
            installing: None,
            #[cfg(feature = "mutants")]
            mutant: config.mutant,
            #[cfg(feature = "mutants")]
            stale_handover: None,
        })
    }

    /// Something happens.
    pub fn step(&mut self, cx: &ReplicaContext, event: ReplicaEvent, out: &mut Vec<ReplicaEffect>) {
        let monotonic = cx.now.monotonic;
        match event {
            ReplicaEvent::Request {
                from,
                generation,
                request,
            } => self.on_request(cx, from, generation, request, out),
            ReplicaEvent::Cancel { from } => {
                self.early.remove(&from);
                if let Some(leadership) = &mut self.leadership {
                    leadership.waiting.cancel(from);
                }
            }
            ReplicaEvent::Replication { from, message } => {
                #[cfg(feature = "mutants")]
                self.keep_handover(&message);
                let effects = &mut self.effects;
                self.replication
                    .step(monotonic, cx.promised, from, message, effects);
            }
            ReplicaEvent::LogDurable { position } => {
                self.replication.on_durable(position, &mut self.effects);
                self.hand_to_store(out);
                self.maybe_install(cx, out);
            }
            ReplicaEvent::Incarnation { incarnation } => self.on_incarnation(incarnation, out),
            ReplicaEvent::Store(report) => self.on_store_report(cx, report, out),
            ReplicaEvent::PromiseAcknowledged { by, term, promise } => {
                // A leader whose promise no longer grows (its clock vouches for nothing, its disk hangs)
                // serves nobody: it counts as out of touch, and makes room within an election timeout.
                let leadership = self.leadership.as_ref();
                if leadership.is_some_and(|l| l.is_progress(by, term, promise)) {
                    self.replication.on_contact(monotonic, by, term);
                }
                self.on_promise_acknowledged(cx, by, term, promise, out);
            }
        }
        self.follow_up(cx, out);
    }

    /// Ends a turn, after everything that happened in it: sends what was appended or committed, and
    /// acknowledges what came. So a turn's entries go to a follower in one message.
    pub fn end_turn(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        self.replication.flush(cx.now.monotonic, &mut self.effects);
        self.follow_up(cx, out);
    }

    /// Time passes: timeouts only. About every 10 ms.
    pub fn tick(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        let electable = self.fit_to_lead && cx.now.is_vouched();
        self.replication.set_electable(electable);
        self.replication
            .tick(cx.now.monotonic, cx.promised, &mut self.effects);
        self.follow_up(cx, out);
        self.on_serving_tick(cx, out);
        self.on_change_tick(cx, out);
        self.follow_up(cx, out);
    }

    /// Whether it leads and others may hear of it ([`Replication::may_be_heard`]).
    pub fn may_be_heard(&self) -> bool {
        self.replication.may_be_heard()
    }

    /// What a heartbeat to a follower says of this partition, if this replica leads it.
    pub fn heartbeat_for(&self, follower: NodeId) -> Option<Leading> {
        let leadership = self.leadership.as_ref()?;
        if !self.replication.may_be_heard() {
            return None;
        }
        Some(Leading {
            partition: self.descriptor.partition,
            term: leadership.term,
            commit: self.replication.heartbeat_commit_for(follower),
        })
    }

    /// A heartbeat says that `from` leads the partition.
    ///
    /// # Errors
    /// This replica's term, if it is later: then nothing is acknowledged.
    pub fn on_heartbeat(
        &mut self,
        cx: &ReplicaContext,
        from: NodeId,
        leading: &Leading,
        out: &mut Vec<ReplicaEffect>,
    ) -> Result<(), Term> {
        let heard = self.replication.on_heartbeat(
            cx.now.monotonic,
            from,
            leading.term,
            leading.commit,
            &mut self.effects,
        );
        self.follow_up(cx, out);
        heard
    }

    /// The answer to a heartbeat names a later term of this partition.
    pub fn on_later_term(&mut self, cx: &ReplicaContext, term: Term, out: &mut Vec<ReplicaEffect>) {
        let effects = &mut self.effects;
        self.replication
            .on_later_term(cx.now.monotonic, term, effects);
        self.follow_up(cx, out);
    }

    /// Asks for votes at once, for a partition that may well have no leader: it was just founded, or all
    /// its nodes have started again.
    pub fn stand_now(&mut self, now: &Now) {
        self.replication.stand_now(now.monotonic);
    }

    /// Leads no more, if it does: the others elect somebody else. Whatever it answered stays right (R9).
    pub fn resign(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        self.replication.resign(cx.now.monotonic, &mut self.effects);
        self.follow_up(cx, out);
    }

    /// Whether its node is fit to lead: if not, it does not stand for election. True at first.
    pub fn set_fit_to_lead(&mut self, fit: bool) {
        self.fit_to_lead = fit;
    }

    /// Who leads the partition, as far as this replica knows; who is about to, once it has handed over.
    pub fn leader(&self) -> Option<NodeId> {
        let handed_over = self.replication.handed_over_to();
        handed_over.or_else(|| self.replication.leader())
    }

    /// Where a request is best sent: to the leader, to the one that leadership is handed to, or to the one
    /// that has this replica's vote while nobody is known to lead.
    pub fn likely_leader(&self) -> Option<NodeId> {
        let handed_over = self.replication.handed_over_to();
        handed_over.or_else(|| self.replication.likely_leader())
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.replication.term()
    }

    /// Under which its rows stand in the store.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Nobody reads below this any more.
    pub fn horizon(&self) -> Timestamp {
        self.state.horizon()
    }

    /// Versions are kept at least this long from now on.
    pub fn set_retention(&mut self, retention: Duration) {
        self.retention = Some(retention);
    }

    /// From now on it takes new writes, or refuses them, while it leads.
    pub fn set_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// Its range, and the members that it was founded with ([`Replica::configured`] has those of today).
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The incarnations under which rows of the store are needed: its own, and that of a snapshot which
    /// may take its place.
    pub fn incarnations(&self) -> impl Iterator<Item = u32> + use<> {
        let installing = self.installing.as_ref().and_then(Installing::incarnation);
        [Some(self.incarnation), installing].into_iter().flatten()
    }

    /// What it says of itself.
    pub fn status(&self) -> ReplicaStatus {
        let leadership = self.leadership.as_ref();
        let role = match (self.replication.role(), leadership) {
            (Role::Leader, _) if self.replication.handed_over_to().is_some() => {
                ReplicaRole::Follower
            }
            (Role::Leader, Some(leadership)) if leadership.serving => ReplicaRole::Leader,
            (Role::Leader, _) => ReplicaRole::LeaderStarting,
            (Role::Candidate | Role::PreCandidate, _) => ReplicaRole::Candidate,
            (Role::Follower { .. }, _) => ReplicaRole::Follower,
        };
        let waiting = leadership.map_or(0, |l| l.waiting.len() + l.proposed.len());
        ReplicaStatus {
            descriptor: self.descriptor.clone(),
            configuration: self.replication.configured().configuration.clone(),
            role,
            term: self.term(),
            leader: self.leader(),
            low_water: self.replication.base().index,
            stored: self.stored,
            commit: self.replication.commit(),
            last: self.replication.last().index,
            promise: leadership.map_or(Timestamp::ZERO, Leadership::promise),
            horizon: self.state.horizon(),
            locks: self.state.locks().len() as u64,
            waiting: waiting as u64,
            installing: self.installing.as_ref().map(Installing::status),
            has_forgotten: self.replication.has_forgotten(),
        }
    }

    /// Asserts what must hold at the end of every turn.
    pub fn invariants(&self) {
        self.replication.invariants();
        self.state.invariants();
        let positions = [
            self.replication.base().index,
            self.stored,
            self.fed.index,
            self.replication.commit(),
        ];
        assert!(
            positions.is_sorted(),
            "low-water mark <= stored <= fed <= high-water mark, but they are {positions:?}"
        );
        let leads = self.replication.role() == Role::Leader;
        assert_eq!(
            leads,
            self.leadership.is_some(),
            "leadership is kept while and only while it leads, in {}",
            self.term()
        );
        if let Some(leadership) = &self.leadership {
            leadership.waiting.invariants();
            assert!(
                self.state.closed() <= leadership.closed || !leadership.serving,
                "a leader places nothing at or below the closed timestamp: {} and {}",
                self.state.closed(),
                leadership.closed
            );
        }
    }

    /// Does what replication wants done, and whatever comes of that, until nothing more does.
    pub(crate) fn follow_up(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        loop {
            self.wake_released(cx, out);
            self.maybe_hand_over(cx, out);
            if self.effects.is_empty() {
                self.maybe_admit_early(cx, out);
            }
            if self.effects.is_empty() {
                return;
            }
            for effect in std::mem::take(&mut self.effects) {
                self.on_replication_effect(cx, effect, out);
            }
        }
    }

    fn on_replication_effect(
        &mut self,
        cx: &ReplicaContext,
        effect: ReplicationEffect,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let partition = self.descriptor.partition;
        if self.replication.role() != Role::Leader {
            // Whatever else came of the same message, nothing is answered any more (R9).
            self.maybe_lose_leadership(out);
        }
        match effect {
            ReplicationEffect::LogEntry(entry) => {
                out.push(ReplicaEffect::Log(LogRecord::Entry { partition, entry }));
            }
            ReplicationEffect::LogHardState { term, voted_for } => {
                out.push(ReplicaEffect::Log(LogRecord::HardState {
                    partition,
                    term,
                    voted_for,
                }));
            }
            ReplicationEffect::Send {
                to,
                message,
                after_log,
            } => out.push(ReplicaEffect::Send {
                to,
                message,
                after_log,
            }),
            ReplicationEffect::ReadSnapshot { number } => self.read_snapshot(number, out),
            ReplicationEffect::EndSnapshot => self.end_snapshot(out),
            ReplicationEffect::TakeSnapshot(chunk) => self.take_chunk(chunk, out),
            ReplicationEffect::DropSnapshot => self.drop_installing(out),
            ReplicationEffect::Promised {
                promised: timestamp,
            } => out.push(ReplicaEffect::Log(LogRecord::Ceiling { timestamp })),
            ReplicationEffect::Remembered => out.push(ReplicaEffect::Remembered),
            ReplicationEffect::Begins { at } => out.push(ReplicaEffect::Begins { at }),
            ReplicationEffect::Removed { configured, as_of } => {
                out.push(ReplicaEffect::Removed { configured, as_of });
            }
            ReplicationEffect::Committed { up_to } => self.on_committed(cx, up_to, out),
            ReplicationEffect::BecameFollower { .. } => self.maybe_lose_leadership(out),
            ReplicationEffect::BecameCandidate { term } => {
                let is_handed_over = self.replication.stands_by_transfer();
                tracing::info!(%partition, %term, is_handed_over, "stands for election");
                self.maybe_lose_leadership(out);
            }
            ReplicationEffect::BecameLeader { term } => {
                self.maybe_lose_leadership(out);
                let due = cx.now.monotonic + COLLECT_EVERY;
                let quorum = self.replication.quorum().clone();
                self.leadership = Some(Leadership::new(term, quorum, due));
                out.push(ReplicaEffect::BecameLeader { term });
            }
            ReplicationEffect::TransferEnded { to, ended } => {
                self.on_transfer_ended(cx, to, ended, out);
            }
        }
    }

    /// Tells everybody who waits that it is not known what became of their requests.
    fn maybe_lose_leadership(&mut self, out: &mut Vec<ReplicaEffect>) {
        let Some(leadership) = self.leadership.take() else {
            return;
        };
        self.end_snapshot(out);
        leadership.change.on_leadership_lost(out);
        let partition = self.descriptor.partition;
        for to in leadership.into_askers() {
            let error = wire::message::PartitionError::LeadershipLost { partition };
            let reply = PartitionReply::Error(error);
            out.push(ReplicaEffect::Reply { to, reply });
        }
        out.push(ReplicaEffect::LostLeadership);
    }
}
