//! One node as a state machine: its partitions, the coordinators of its clients, its identity.
//!
//! ```text
//!   Event ──► step ──► work queue ──► gateway ⇄ partition channel ⇄ replicas
//!                                         │               │            │
//!             flush ◄── answers held by R6 ◄┘   outbox ◄───┴── log queue ◄┘
//! ```
//!
//! A turn is any number of `step`s and one `flush`: at most one batch for the log and a few frames
//! for each peer, however much came in (patterns Singular Update Queue, Request Batch).
//!
//! Invariants:
//! - Nothing that a message claims to be durable leaves before the log says so ([`crate::log_queue`]).
//! - No answer reaches a client before `earliest` has passed what it depends on (R6).
//! - No timestamp is issued and no promise acknowledged above the durable ceiling (R9).
//! - A stamp further ahead than the drift is dropped with its whole frame, never taken for a "no".
//! - Every reading of the clock is judged before anything is drawn from it ([`crate::clock_watch`]).

use crate::clock_watch::{ClockPeers, ClockWatch};
use crate::config::NodeConfig;
use crate::counters::Counters;
use crate::disk_space::DiskSpace;
use crate::event::{Effect, Event};
use crate::heartbeat::Heartbeats;
use crate::identity::{Identity, META_FOUNDER, META_IDENTITY};
use crate::keyspaces::Keyspaces;
use crate::log_queue::{Durable, Held, LogQueue};
use crate::outbox::Outbox;
use crate::partition_channel::PartitionChannel;
use crate::questions::Questions;
use crate::registry::Registry;
use crate::settings::Settings;
use crate::snapshot_gate::SnapshotGate;
use crate::transfers::Transfers;
use clock::{CEILING_AHEAD, ClockBoundWait, DurableCeiling, HybridClock, Now, Timestamp};
use cluster::{Founder, FoundingPlan, Peers};
use partition::log::{LogRecord, RecoveredLog};
use partition::replication::{Recollection, ReplicationTiming};
use partition::versions::{Store, StoreReport, StoreTask};
use partition::{Asker, Replica, ReplicaConfig, ReplicaEvent};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use txn::{ClientTag, Gateway, GatewayContext, GatewayEffect, GatewayEvent};
use wire::SplitMix64;
use wire::ids::{NodeId, PartitionId};
use wire::keys::RangeMap;
use wire::message::{
    ClientReply, Configured, Founding, PartitionReply, PeerFrame, PeerMessage, ReplicationMessage,
    RequestNumber,
};

mod asks;
mod clients;
mod clocks;
#[cfg(test)]
mod clocks_test;
#[cfg(test)]
mod joining_test;
mod leadership;
pub(crate) mod members;
#[cfg(test)]
mod members_test;
mod membership;
pub(crate) mod replicas;
mod status;
mod transfers;

use members::{RemovedReplica, noted_members, removed};
use replicas::{forgotten, next_incarnation};

/// How many nodes hold each partition, if there are as many.
const REPLICATION: usize = 3;

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its log holds something that it cannot have written.
    #[error("the log's {what} cannot be read: {why}")]
    Damaged {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It was started with other founders than before, or with a list that makes no sense.
    #[error(transparent)]
    Founding(#[from] cluster::FoundingError),
    /// Its store cannot be read.
    #[error(transparent)]
    Store(#[from] partition::versions::StoreError),
}

/// Something to do within a turn.
pub(crate) enum Work {
    Gateway(GatewayEvent),
    Replica(PartitionId, ReplicaEvent),
}

/// What a founded node has and an unfounded one has not.
pub(crate) struct Membership {
    pub(crate) identity: Identity,
    pub(crate) map: RangeMap,
    pub(crate) gateway: Gateway,
    pub(crate) channel: PartitionChannel,
}

/// One node. See the module's page.
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) membership: Option<Membership>,
    pub(crate) replicas: BTreeMap<PartitionId, Replica>,
    pub(crate) founder: Founder,
    /// The machine's clocks as they read, for those who compare clocks; all else lives by what
    /// `clock_watch` makes of them.
    pub(crate) raw: Now,
    pub(crate) clock_watch: ClockWatch,
    pub(crate) clock_peers: ClockPeers,
    pub(crate) next_probe: Duration,
    pub(crate) contradicting: Vec<NodeId>,
    pub(crate) clock: HybridClock,
    /// A ceiling is written that much ahead of the clock: so far the clock was in an earlier life, as
    /// the log proves.
    pub(crate) reached_before: Timestamp,
    pub(crate) ceiling: DurableCeiling,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) next_heartbeat: Duration,
    pub(crate) next_tick: Duration,
    pub(crate) log: LogQueue,
    pub(crate) outbox: Outbox,
    pub(crate) answers: ClockBoundWait<(ClientTag, ClientReply)>,
    pub(crate) peers: Peers,
    pub(crate) questions: Questions,
    pub(crate) registry: Registry,
    pub(crate) transfers: Transfers,
    pub(crate) settings: Settings,
    pub(crate) keyspaces: Keyspaces,
    pub(crate) work: VecDeque<Work>,
    /// Replicas to which something happened in this turn.
    in_turn: BTreeSet<PartitionId>,
    pub(crate) snapshots: SnapshotGate,
    /// The next incarnation of a replica to be given.
    pub(crate) next_incarnation: u32,
    /// Incarnations that are on their way to a replica: nothing says yet whose they are.
    pub(crate) given: BTreeSet<u32>,
    /// Replicas that have lost their memory and do not hold again what others may count on, and new ones
    /// that do not hold yet what made them members.
    pub(crate) forgotten: BTreeMap<PartitionId, Recollection>,
    /// Replicas that were dropped because they were no members any more.
    pub(crate) removed: BTreeMap<PartitionId, RemovedReplica>,
    /// Which members each replica knew last, if they are not those of the founding.
    pub(crate) noted_members: BTreeMap<PartitionId, Configured>,
    /// Replies of this node's own replicas to this node's own gateway.
    pub(crate) own_replies: VecDeque<(RequestNumber, PartitionReply)>,
    pub(crate) log_bytes: u64,
    /// What was seen of the disk; `None`: nothing yet.
    pub(crate) disk: Option<DiskSpace>,
    /// Too much waits for the log or the store.
    pub(crate) is_backlogged: bool,
    pub(crate) effects: Vec<Effect>,
    pub(crate) random: SplitMix64,
    pub(crate) started_at: Duration,
    pub(crate) drift_refused: u64,
    pub(crate) counters: Counters,
    /// Clients are served once this start's identity is durable.
    pub(crate) identity_durable: bool,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("address", &self.config.address)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// A node from what its log and its store hold.
    pub fn new(
        config: NodeConfig,
        recovered: RecoveredLog,
        store: &dyn Store,
        now: &Now,
    ) -> Result<Node, NodeError> {
        let mut random = SplitMix64::new(config.seed);
        let plan = FoundingPlan {
            me: config.address.clone(),
            list: cluster::sorted_founders(config.join.clone()),
            splits: config.splits.clone(),
            replication: REPLICATION,
            seed: random.next_u64(),
        };
        let acceptor = recovered.metas.get(&META_FOUNDER).cloned();
        let founder = Founder::new(plan, acceptor)?;
        let quarantine = config.timing.quarantine;
        let founders = founder.founding().map(|founding| founding.members.len());
        let others = founders.unwrap_or(config.join.len()).saturating_sub(1);
        let mut node = Node {
            raw: *now,
            clock_watch: ClockWatch::new(quarantine, config.timing.drift_max, others == 0, now),
            clock_peers: ClockPeers::new(quarantine.probe_every, others, 0),
            next_probe: now.monotonic,
            contradicting: Vec::new(),
            clock: HybridClock::new(Timestamp::ZERO, config.timing.drift_max),
            reached_before: recovered.ceiling.minus(CEILING_AHEAD),
            ceiling: DurableCeiling::new(recovered.ceiling),
            heartbeats: Heartbeats::new(recovered.ceiling, 0),
            next_heartbeat: now.monotonic,
            next_tick: now.monotonic,
            log: LogQueue::default(),
            outbox: Outbox::default(),
            answers: ClockBoundWait::default(),
            peers: Peers::new(NodeId(0)),
            questions: Questions::default(),
            registry: Registry::default(),
            transfers: Transfers::default(),
            settings: Settings::new(config.timing.retention),
            keyspaces: Keyspaces::default(),
            work: VecDeque::new(),
            in_turn: BTreeSet::new(),
            snapshots: SnapshotGate::default(),
            next_incarnation: next_incarnation(&recovered)?,
            given: BTreeSet::new(),
            forgotten: match config.takes_part_without_memory() {
                true => BTreeMap::new(),
                false => forgotten(&recovered)?,
            },
            removed: removed(&recovered)?,
            noted_members: noted_members(&recovered)?,
            own_replies: VecDeque::new(),
            log_bytes: 0,
            disk: None,
            is_backlogged: false,
            effects: Vec::new(),
            started_at: now.monotonic,
            drift_refused: 0,
            counters: Counters::default(),
            identity_durable: false,
            membership: None,
            replicas: BTreeMap::new(),
            founder,
            random,
            config,
        };
        node.clock.raise_ceiling(recovered.ceiling);
        let known = recovered
            .metas
            .get(&META_IDENTITY)
            .map(Identity::from_body)
            .transpose();
        let known = known.map_err(|error| NodeError::Damaged {
            what: "identity",
            why: error.to_string(),
        })?;
        if let Some(founding) = node.founder.founding().cloned() {
            node.warn_of_other_founders(&founding);
            let start = known.map_or(0, |identity| identity.start) + 1;
            node.join(&founding, start, now);
            for (partition, mut replica) in recovered.replicas {
                node.restore_term(partition, &mut replica);
                let config = node.replica_config(partition);
                let mut replica = Replica::new(config, replica, store, now)?;
                if membership::preferred_leader(&replica) == node.me() {
                    // If all have stopped, nobody has to wait for an election timeout. Where a leader is
                    // heard, the others refuse the pre-vote.
                    replica.stand_now(now);
                }
                node.replicas.insert(partition, replica);
            }
            let expected = node.expected_replicas(&founding);
            let is_there =
                |p: &PartitionId| node.replicas.contains_key(p) || node.removed.contains_key(p);
            if let Some(lost) = expected.iter().find(|p| !is_there(p)) {
                let why = format!(
                    "the replica of {lost}, which the founding gives to this node, is not in it"
                );
                return Err(NodeError::Damaged {
                    what: "list of replicas",
                    why,
                });
            }
            let live = node.live();
            node.effects.push(Effect::Store(StoreTask::Live(live)));
        }
        Ok(node)
    }

    /// A list of founders means nothing to a founded node, but whoever gave another one should know.
    fn warn_of_other_founders(&self, founding: &Founding) {
        let given = cluster::sorted_founders(self.config.join.clone());
        let founders: Vec<String> = founding.members.iter().map(|m| m.address.clone()).collect();
        if given != founders {
            tracing::warn!(
                ?given,
                ?founders,
                "this node belongs to a cluster already, founded by others than --join names: --join is ignored"
            );
        }
    }

    /// Takes its place in a founded cluster.
    pub(crate) fn join(&mut self, founding: &Founding, start: u32, now: &Now) {
        let me = founding
            .members
            .iter()
            .find(|member| member.address == self.config.address);
        let me = me
            .expect("the founder accepts only a founding that names its own address")
            .node;
        let identity = Identity {
            cluster: founding.cluster,
            node: me,
            start,
        };
        self.log.push(identity.to_record());
        let map = RangeMap::new(founding.descriptors.clone());
        let map = map.expect("only descriptors that tile the key space are ever proposed");
        let gateway = Gateway::new(txn::GatewayConfig {
            me,
            start,
            seed: self.random.next_u64(),
            timing: txn::GatewayTiming::default(),
            #[cfg(feature = "mutants")]
            mutant: match self.config.mutant {
                Some(crate::Mutant::Coordinator(mutant)) => Some(mutant),
                _ => None,
            },
        });
        let channel = PartitionChannel::new(start, self.config.timing.resend_after);
        // What an earlier life may have acknowledged; this one has acknowledged nothing before it was a
        // member, however high its own ceiling stands by now.
        let promised = self.heartbeats.promised();
        self.heartbeats = Heartbeats::new(promised, u64::from(start) << 40);
        self.questions = Questions::new(start);
        self.peers = Peers::new(me);
        for member in &founding.members {
            self.peers.on_introduced(member.node, &member.address);
        }
        let others = self.peers.iter().count();
        self.clock_peers.set_others(others, u64::from(start) << 40);
        self.membership = Some(Membership {
            identity,
            map,
            gateway,
            channel,
        });
        self.effects.push(Effect::Identity {
            cluster: identity.cluster,
            node: identity.node,
            start,
            members: founding
                .members
                .iter()
                .map(|m| (m.node, m.address.clone()))
                .collect(),
        });
        let address = bytes::Bytes::from(self.config.address.clone());
        self.registry.write(
            vec![(cluster::consistent_core::node_key(me), address)],
            now.monotonic,
        );
    }

    pub(crate) fn replica_config(&mut self, partition: PartitionId) -> ReplicaConfig {
        let timing = &self.config.timing;
        let usual = partition::ReplicaTiming::default();
        let timing = partition::ReplicaTiming {
            replication: ReplicationTiming {
                heartbeat: timing.heartbeat,
                election_timeout: timing.election_timeout,
                ..usual.replication
            },
            drift_max: timing.drift_max,
            push_after: timing.push_after,
            wound_after: timing.wound_after,
            held_back_bytes_max: self.held_back_bytes_max(),
            ..usual
        };
        let memory = self.forgotten.get(&partition).copied().unwrap_or_default();
        let noted = self.noted_members.get(&partition);
        ReplicaConfig {
            me: self.me().expect("replicas are made on founded nodes"),
            timing,
            seed: self.random.next_u64(),
            memory,
            // Whoever remembers finds them in its log and its store.
            told: noted.filter(|_| memory != Recollection::Whole).cloned(),
            nodes: self.peers.iter().map(|(node, _)| node).collect(),
            #[cfg(feature = "mutants")]
            mutant: match self.config.mutant {
                Some(crate::Mutant::Partition(mutant)) => Some(mutant),
                _ => None,
            },
        }
    }

    /// This node's id, once it has one.
    pub fn me(&self) -> Option<NodeId> {
        self.membership.as_ref().map(|m| m.identity.node)
    }

    /// Where this node stands on its way into a cluster, in words for an operator.
    pub fn standing(&self) -> String {
        match &self.membership {
            Some(Membership { identity, .. }) => format!(
                "{} of cluster {} (start {})",
                identity.node, identity.cluster, identity.start
            ),
            None => {
                let problem = self.founder.problem();
                format!(
                    "not founded: {}",
                    problem.unwrap_or_else(|| self.founder.state())
                )
            }
        }
    }

    /// The map of key ranges, once there is one.
    pub fn map(&self) -> Option<&RangeMap> {
        self.membership.as_ref().map(|m| &m.map)
    }

    /// The replicas on this node.
    pub fn replicas(&self) -> impl Iterator<Item = (&PartitionId, &Replica)> {
        self.replicas.iter()
    }

    /// Whether a replica of it has lost its memory, and does not hold again what others may count on.
    pub fn has_forgotten(&self) -> bool {
        let mut lost = self
            .forgotten
            .iter()
            .filter(|(_, m)| **m == Recollection::Lost);
        lost.any(|(partition, _)| self.replicas.contains_key(partition))
    }

    /// Takes in one event. What it wants done comes with the next [`Node::flush`].
    pub fn step(&mut self, raw: &Now, event: Event) {
        let now = &self.judge_clock(raw).now;
        match event {
            Event::Wake => {}
            Event::Client {
                connection,
                number,
                request,
            } => {
                self.on_client(now, ClientTag { connection, number }, request);
            }
            Event::ClientGone { connection } => {
                self.counters.on_client_gone(connection);
                self.keyspaces.on_client_gone(connection);
                self.work
                    .push_back(Work::Gateway(GatewayEvent::ClientGone { connection }));
            }
            Event::Peer { from, frame } => self.on_peer_frame(now, from, frame),
            Event::PeerUp { node, address } => {
                self.peers.on_connected(now.monotonic, node, &address);
                self.compare_clocks_soon(now);
            }
            Event::PeerDown { node } => self.on_peer_down(now, node),
            Event::Founding { from, message } => self.on_founding_message(now, from, message),
            Event::LogDurable { sequence } => self.on_log_durable(now, sequence),
            Event::Store(report) => self.on_store_report(report),
            Event::Leave => self.leave(now),
            Event::ChangeMembers { partition, voters } => {
                if let Err(why) = self.change_members(now, partition, voters) {
                    tracing::info!(%partition, %why, "the members are not changed");
                }
            }
        }
        self.maybe_tick(now);
        self.do_work(now);
    }

    /// Ends a turn: what is to be done, in this order.
    pub fn flush(&mut self, raw: &Now, out: &mut Vec<Effect>) {
        let judged = self.judge_clock(raw);
        let now = &judged.now;
        if judged.is_grounded
            && let Some(timestamp) = self.ceiling.maybe_raise(now)
        {
            self.log.push(LogRecord::Ceiling { timestamp });
        }
        self.end_replicas_turns(now);
        self.hand_over_log(now);
        while let Some((client, reply)) = self.answers.pop_ready(now) {
            self.answer(now, client, reply);
        }
        self.do_work(now);
        self.end_replicas_turns(now);
        self.hand_over_log(now);
        for (to, frame) in self.outbox.take_frames(self.clock.stamp()) {
            self.effects.push(Effect::Send { to, frame });
        }
        out.append(&mut self.effects);
    }

    /// When the node wants to be woken, from now.
    pub fn next_wake(&self, now: &Now) -> Option<Duration> {
        let timers = self
            .next_tick
            .min(self.next_heartbeat)
            .saturating_sub(now.monotonic);
        Some(
            self.answers
                .next_in(now)
                .map_or(timers, |wait| wait.min(timers)),
        )
    }

    /// Checks what must hold after each [`Node::flush`]; for tests and simulation.
    pub fn invariants(&self) {
        // A node that takes records for durable when it hands them over has replicas act after their turn.
        assert!(
            self.in_turn.is_empty() || self.acknowledges_before_fsync(),
            "{:?} were stepped and their turn did not end with the node's: what they have to say waits",
            self.in_turn
        );
        for replica in self.replicas.values() {
            replica.invariants();
        }
        if let Some(membership) = &self.membership {
            membership.gateway.invariants();
            membership.gateway.nothing_is_overdue();
        }
        assert!(
            self.ceiling.durable() >= self.clock.ceiling(),
            "timestamps may be issued up to {}, but only {} is durable",
            self.clock.ceiling(),
            self.ceiling.durable()
        );
    }

    /// Bytes of log on disk, for `status`; the driver knows them.
    pub fn set_log_bytes(&mut self, bytes: u64) {
        self.log_bytes = bytes;
    }

    /// Room on the disk, looked at by the driver about once a second.
    pub fn set_disk_space(&mut self, disk: DiskSpace) {
        let DiskSpace { free, reserve } = disk;
        let was_short = self.disk.is_some_and(DiskSpace::is_short);
        match (was_short, disk.is_short()) {
            (false, true) => tracing::error!(
                free,
                reserve,
                "the disk is nearly full: leaders on this node refuse writes until there is room"
            ),
            (true, false) => tracing::info!(free, reserve, "there is room on the disk again"),
            _ => {}
        }
        self.disk = Some(disk);
    }

    /// Whether more waits for the log or the store than the driver can take for long. Then leaders on
    /// this node let writes come again later, and it takes no entries from other leaders.
    pub fn set_backlogged(&mut self, is_backlogged: bool) {
        if is_backlogged && !self.is_backlogged {
            tracing::warn!("the disk does not keep up: writes have to wait");
        }
        self.is_backlogged = is_backlogged;
    }

    fn hand_over_log(&mut self, now: &Now) {
        let Some(batch) = self.log.take_batch(now.monotonic) else {
            return;
        };
        let sequence = batch.sequence;
        self.counters.on_logged(now.monotonic, sequence);
        self.effects.push(Effect::Log(batch));
        if self.acknowledges_before_fsync() {
            self.on_log_durable(now, sequence);
            self.do_work(now);
        }
    }

    #[cfg(feature = "mutants")]
    fn acknowledges_before_fsync(&self) -> bool {
        matches!(
            self.config.mutant,
            Some(crate::Mutant::AcknowledgeBeforeFsync)
        )
    }

    #[cfg(not(feature = "mutants"))]
    fn acknowledges_before_fsync(&self) -> bool {
        false
    }

    #[cfg(feature = "mutants")]
    fn skips_clock_bound_wait(&self) -> bool {
        matches!(self.config.mutant, Some(crate::Mutant::NoClockBoundWait))
    }

    #[cfg(not(feature = "mutants"))]
    fn skips_clock_bound_wait(&self) -> bool {
        false
    }

    fn on_log_durable(&mut self, now: &Now, sequence: u64) {
        self.counters.on_durable(now.monotonic, sequence);
        for Durable {
            entries,
            ceiling,
            identity,
        } in self.log.on_durable(sequence)
        {
            if let Some(ceiling) = ceiling {
                self.ceiling.on_durable(ceiling);
                self.clock.raise_ceiling(self.ceiling.durable());
            }
            self.identity_durable |= identity;
            for (partition, position) in entries {
                self.work.push_back(Work::Replica(
                    partition,
                    ReplicaEvent::LogDurable { position },
                ));
            }
        }
        while let Some(held) = self.log.pop_released() {
            self.release(held);
        }
        self.do_work(now);
    }

    pub(crate) fn hold_for_log(&mut self, message: Held) {
        if let Some(free) = self.log.hold(message) {
            self.release(free);
        }
    }

    fn release(&mut self, held: Held) {
        match held {
            Held::Peer { to, message } => self.outbox.push(to, message),
            Held::Founding { to, message } => {
                self.effects.push(Effect::Founding { to, message });
            }
            Held::Incarnation {
                partition,
                incarnation,
            } => {
                let event = ReplicaEvent::Incarnation { incarnation };
                self.work.push_back(Work::Replica(partition, event));
            }
            Held::Live(live) => self.effects.push(Effect::Store(StoreTask::Live(live))),
        }
    }

    fn on_store_report(&mut self, report: StoreReport) {
        let partition = match &report {
            StoreReport::Applied { partition, .. }
            | StoreReport::Persisted { partition, .. }
            | StoreReport::Snapshot { partition, .. }
            | StoreReport::Answer { partition, .. } => *partition,
            StoreReport::Failed { why } => {
                // The driver stops the node on this; a node that goes on must not pretend.
                tracing::error!(why, "the store has failed");
                return;
            }
        };
        self.work
            .push_back(Work::Replica(partition, ReplicaEvent::Store(report)));
    }

    fn on_peer_frame(&mut self, now: &Now, from: NodeId, frame: PeerFrame) {
        if let Err(refused) = self.clock.observe(now, frame.stamp) {
            self.drift_refused += 1;
            tracing::debug!(%from, %refused, "a frame was dropped: clocks disagree");
            self.compare_clocks_only(from, frame.messages);
            return;
        }
        self.peers.on_heard(now.monotonic, from);
        for message in frame.messages {
            self.on_peer_message(now, from, message);
        }
    }

    fn on_peer_message(&mut self, now: &Now, from: NodeId, message: PeerMessage) {
        match message {
            PeerMessage::Request {
                number,
                partition,
                generation,
                body,
            } => {
                let from = Asker { node: from, number };
                let event = ReplicaEvent::Request {
                    from,
                    generation,
                    request: body,
                };
                self.work.push_back(Work::Replica(partition, event));
            }
            PeerMessage::Reply { number, body } => {
                self.on_partition_reply(now, from, number, body);
            }
            // What is not taken is sent again, like what gets lost.
            PeerMessage::Replication { message, .. } if !self.takes(&message) => {}
            PeerMessage::Replication { partition, message } => {
                let event = ReplicaEvent::Replication { from, message };
                self.work.push_back(Work::Replica(partition, event));
            }
            PeerMessage::Heartbeat(heartbeat) => self.on_heartbeat(now, from, &heartbeat),
            PeerMessage::HeartbeatReply(reply) => self.on_heartbeat_reply(now, from, &reply),
            PeerMessage::AskCoordinator {
                number,
                name,
                attempt,
            } => {
                let event = GatewayEvent::AskedAbout {
                    by: from,
                    number,
                    name,
                    attempt,
                };
                self.work.push_back(Work::Gateway(event));
            }
            PeerMessage::LockLost(lost) => {
                let event = GatewayEvent::LockLost(lost);
                self.work.push_back(Work::Gateway(event));
            }
            PeerMessage::Cancel { number, partition } => {
                let from = Asker { node: from, number };
                let event = ReplicaEvent::Cancel { from };
                self.work.push_back(Work::Replica(partition, event));
            }
            PeerMessage::ClockProbe { sequence } => self.on_clock_probe(from, sequence),
            PeerMessage::ClockReading(reading) => self.on_clock_reading(from, &reading),
            PeerMessage::CoordinatorState { number, state } => {
                if let Some(number) = self.questions.on_answer(from, number) {
                    let event = GatewayEvent::CoordinatorState { number, state };
                    self.work.push_back(Work::Gateway(event));
                }
            }
        }
    }

    /// Whether there is room for what another replica sends.
    fn takes(&self, message: &ReplicationMessage) -> bool {
        let has_entries = matches!(
            message,
            ReplicationMessage::Append { entries, .. } if !entries.is_empty()
        );
        let has_room = self.disk.is_none_or(|disk| disk.takes(message));
        has_room && !(has_entries && self.is_backlogged)
    }

    /// Does what is queued until nothing is.
    pub(crate) fn do_work(&mut self, now: &Now) {
        loop {
            if let Some((number, reply)) = self.own_replies.pop_front() {
                let me = self.me().expect("only founded nodes ask");
                self.on_partition_reply(now, me, number, reply);
            } else if let Some(work) = self.work.pop_front() {
                match work {
                    Work::Gateway(event) => self.step_gateway(now, event),
                    Work::Replica(partition, event) => self.step_replica(now, partition, event),
                }
            } else {
                return;
            }
        }
    }

    fn step_gateway(&mut self, now: &Now, event: GatewayEvent) {
        let Some(Membership { gateway, map, .. }) = &mut self.membership else {
            return;
        };
        let mut out = Vec::new();
        gateway.step(
            &mut GatewayContext {
                now,
                clock: &mut self.clock,
                map,
            },
            event,
            &mut out,
        );
        self.do_gateway_effects(now, out);
    }

    pub(crate) fn do_gateway_effects(&mut self, now: &Now, effects: Vec<GatewayEffect>) {
        for effect in effects {
            match effect {
                GatewayEffect::Ask {
                    number,
                    partition,
                    body,
                    deadline,
                } => {
                    self.ask_partition(now, number, partition, body, deadline);
                }
                GatewayEffect::Cancel { number } => self.cancel_ask(number),
                GatewayEffect::AskCoordinator {
                    number,
                    node,
                    name,
                    attempt,
                } => {
                    self.ask_coordinator(now, number, node, name, attempt);
                }
                GatewayEffect::TellCoordinatorState { to, number, state } => {
                    self.tell_coordinator_state(to, number, state);
                }
                GatewayEffect::Answer {
                    client,
                    reply,
                    depends_on,
                } => {
                    if self.skips_clock_bound_wait()
                        || depends_on == Timestamp::ZERO
                        || ClockBoundWait::<()>::is_over(now, depends_on)
                    {
                        self.answer(now, client, reply);
                    } else if self.clock_watch.is_quarantined() {
                        self.refuse_for_clock(now, client);
                    } else {
                        self.answers.hold(depends_on, (client, reply));
                    }
                }
            }
        }
    }

    fn step_replica(&mut self, now: &Now, partition: PartitionId, event: ReplicaEvent) {
        if let ReplicaEvent::Incarnation { incarnation } = &event {
            self.given.remove(incarnation);
        }
        if !self.replicas.contains_key(&partition) {
            return match event {
                ReplicaEvent::Replication { from, message } => {
                    self.on_message_without_replica(now, partition, from, message);
                }
                event => self.refuse_for_missing_replica(partition, event),
            };
        }
        self.with_replica(now, partition, |replica, context, out| {
            replica.step(context, event, out);
        });
    }
}
