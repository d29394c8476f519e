//! Replicas' effects, and the heartbeats and promises of this node's leaderships (R9).

use super::{Node, Work};
use crate::heartbeat::Acknowledged;
use crate::log_queue::Held;
use clock::{Now, Timestamp};
use partition::{Admission, Replica, ReplicaContext, ReplicaEffect, ReplicaEvent};
use std::collections::BTreeMap;
use std::time::Duration;
use txn::GatewayEvent;
use wire::ids::{NodeId, PartitionId, Term};
use wire::message::{Heartbeat, HeartbeatReply, Leading, PeerMessage, Unfit};

/// Partition 1 is the consistent core.
const CORE_PARTITION: PartitionId = PartitionId(1);

/// A tick that comes later than this is named in the log of the program.
const TICK_LATE: Duration = Duration::from_millis(50);

impl Node {
    /// Lets a replica act, and does what it wants done. `None` if this node holds none of the partition.
    pub(super) fn with_replica<T>(
        &mut self,
        now: &Now,
        partition: PartitionId,
        act: impl FnOnce(&mut Replica, &ReplicaContext, &mut Vec<ReplicaEffect>) -> T,
    ) -> Option<T> {
        let replica = self.replicas.get_mut(&partition)?;
        let context = ReplicaContext {
            now,
            promised: self.heartbeats.promised(),
        };
        let mut out = Vec::new();
        let was_heard = replica.may_be_heard();
        let result = act(replica, &context, &mut out);
        if !was_heard && replica.may_be_heard() {
            // Its promise must hold before it may serve: ask at once.
            self.next_heartbeat = now.monotonic;
        }
        self.do_replica_effects(now, partition, out);
        Some(result)
    }

    fn do_replica_effects(
        &mut self,
        now: &Now,
        partition: PartitionId,
        effects: Vec<ReplicaEffect>,
    ) {
        self.in_turn.insert(partition);
        self.perform(now, partition, effects);
    }

    /// Ends the turn of every replica that had one, and of those that had one because of that.
    pub(super) fn end_replicas_turns(&mut self, now: &Now) {
        while let Some(partition) = self.in_turn.pop_first() {
            let Some(replica) = self.replicas.get_mut(&partition) else {
                continue;
            };
            let mut out = Vec::new();
            let context = ReplicaContext {
                now,
                promised: self.heartbeats.promised(),
            };
            replica.end_turn(&context, &mut out);
            self.perform(now, partition, out);
            self.note_members(partition);
            self.do_work(now);
        }
    }

    fn perform(&mut self, now: &Now, partition: PartitionId, mut effects: Vec<ReplicaEffect>) {
        // Records first: a message held "after the log" waits for this turn's batch with them in it.
        for record in effects.extract_if(.., |effect| matches!(effect, ReplicaEffect::Log(_))) {
            self.do_replica_effect(now, partition, record);
        }
        let mut removed = None;
        for effect in effects {
            match effect {
                ReplicaEffect::Removed { configured, as_of } => removed = Some((configured, as_of)),
                effect => self.do_replica_effect(now, partition, effect),
            }
        }
        if let Some((configured, as_of)) = removed {
            self.drop_replica(partition, configured, as_of);
        }
    }

    fn do_replica_effect(&mut self, now: &Now, partition: PartitionId, effect: ReplicaEffect) {
        match effect {
            ReplicaEffect::Log(record) => self.log_record(record),
            ReplicaEffect::Send {
                to,
                message,
                after_log,
            } => {
                let message = PeerMessage::Replication { partition, message };
                if after_log {
                    self.hold_for_log(Held::Peer { to, message });
                } else {
                    self.outbox.push(to, message);
                }
            }
            ReplicaEffect::Reply { to, reply } => self.reply_to(to, reply),
            ReplicaEffect::Store(task) => {
                let tasks = self.snapshots.admit(task).into_iter();
                self.effects.extend(tasks.map(crate::Effect::Store));
            }
            ReplicaEffect::Remembered => self.on_remembered(partition),
            ReplicaEffect::Begins { at } => self.on_begins(partition, at),
            ReplicaEffect::WantIncarnation => self.give_incarnation(partition),
            ReplicaEffect::LiveChanged => self.hold_for_log(Held::Live(self.live())),
            ReplicaEffect::Discard { up_to } => {
                self.effects
                    .push(crate::Effect::Discard { partition, up_to });
            }
            ReplicaEffect::Push {
                key,
                holder,
                attempt,
                wound,
            } => {
                let event = GatewayEvent::Push {
                    partition,
                    key,
                    holder,
                    attempt,
                    wound,
                };
                self.work.push_back(Work::Gateway(event));
            }
            ReplicaEffect::LockLost { gateway, lost } if self.me() == Some(gateway) => {
                let event = GatewayEvent::LockLost(lost);
                self.work.push_back(Work::Gateway(event));
            }
            ReplicaEffect::LockLost { gateway, lost } => {
                self.outbox.push(gateway, PeerMessage::LockLost(lost));
            }
            ReplicaEffect::BecameLeader { term } => {
                tracing::info!(%partition, %term, "leads");
                // Its promise must hold before it may serve: ask at once.
                self.next_heartbeat = now.monotonic;
                if partition == CORE_PARTITION {
                    self.write_founding_rows(now);
                }
            }
            ReplicaEffect::ChangeEnded { voters, ended } => match ended {
                Ok(()) => tracing::info!(%partition, ?voters, "the members are changed"),
                Err(why) => {
                    tracing::warn!(%partition, ?voters, %why, "the members are not changed")
                }
            },
            ReplicaEffect::Removed { configured, as_of } => {
                self.drop_replica(partition, configured, as_of);
            }
            ReplicaEffect::LostLeadership => tracing::info!(%partition, "no longer leads"),
            ReplicaEffect::TransferEnded { to, ended } => {
                self.on_transfer_ended(now, partition, to, ended);
            }
        }
    }

    /// Sends heartbeats if they are due, one for each node that holds something that this node leads.
    pub(super) fn maybe_send_heartbeats(&mut self, now: &Now) {
        if now.monotonic < self.next_heartbeat {
            return;
        }
        self.next_heartbeat = now.monotonic + self.config.timing.heartbeat;
        let promise = self.promise(now);
        let mut by_node: BTreeMap<NodeId, Vec<Leading>> = BTreeMap::new();
        let me = self.me();
        let mut own = Vec::new();
        for (partition, replica) in &self.replicas {
            for member in replica.members() {
                let Some(leading) = replica.heartbeat_for(member) else {
                    continue;
                };
                if me == Some(member) {
                    own.push((*partition, leading.term));
                } else {
                    by_node.entry(member).or_default().push(leading);
                }
            }
        }
        for (to, leading) in by_node {
            let heartbeat = self.heartbeats.send(to, promise, leading);
            self.outbox.push(to, PeerMessage::Heartbeat(heartbeat));
        }
        if let (Some(me), false) = (me, own.is_empty()) {
            self.heartbeats.acknowledge_own(promise);
            for (partition, term) in own {
                self.acknowledge(
                    me,
                    Acknowledged {
                        partition,
                        term,
                        promise,
                    },
                );
            }
        }
    }

    /// What a leader asks for now: no further than its own disk could acknowledge.
    fn promise(&self, now: &Now) -> Timestamp {
        if !now.is_vouched() {
            return Timestamp::ZERO;
        }
        now.latest()
            .plus(self.config.timing.promise)
            .min(self.ceiling.durable())
    }

    fn acknowledge(&mut self, by: NodeId, acknowledged: Acknowledged) {
        let Acknowledged {
            partition,
            term,
            promise,
        } = acknowledged;
        let event = ReplicaEvent::PromiseAcknowledged { by, term, promise };
        self.work.push_back(Work::Replica(partition, event));
    }

    pub(super) fn on_heartbeat(&mut self, now: &Now, from: NodeId, heartbeat: &Heartbeat) {
        let mut later = Vec::new();
        for leading in &heartbeat.leading {
            if let Err(term) = self.follow(now, from, leading) {
                later.push((leading.partition, term));
            }
        }
        let furthest = now
            .latest()
            .plus(self.config.timing.promise + self.config.timing.drift_max);
        let ceiling = self.ceiling.durable();
        let standing = self.standing_to_lead(now);
        let reply = self
            .heartbeats
            .answer(heartbeat, later, ceiling, furthest, standing);
        // A term that this heartbeat taught must be durable before the promise is acknowledged.
        let message = PeerMessage::HeartbeatReply(reply);
        self.hold_for_log(Held::Peer { to: from, message });
    }

    fn follow(&mut self, now: &Now, from: NodeId, leading: &Leading) -> Result<(), Term> {
        let followed = self.with_replica(now, leading.partition, |replica, context, out| {
            replica.on_heartbeat(context, from, leading, out)
        });
        followed.unwrap_or(Err(Term(0)))
    }

    pub(super) fn on_heartbeat_reply(&mut self, now: &Now, from: NodeId, reply: &HeartbeatReply) {
        self.transfers
            .on_standing(now.monotonic, from, reply.standing);
        if reply.standing.unfit == Some(Unfit::Leaving) {
            self.on_leaving(now, from);
        }
        for acknowledged in self.heartbeats.on_reply(from, reply) {
            self.acknowledge(from, acknowledged);
        }
        for (partition, term) in &reply.later {
            self.step_down(now, *partition, *term);
        }
    }

    fn step_down(&mut self, now: &Now, partition: PartitionId, term: Term) {
        self.with_replica(now, partition, |replica, context, out| {
            replica.on_later_term(context, term, out);
        });
    }

    /// Looks at timeouts if it is time to.
    pub(super) fn maybe_tick(&mut self, now: &Now) {
        if now.monotonic >= self.next_tick {
            let late = now.monotonic - self.next_tick;
            if late >= TICK_LATE {
                tracing::info!(?late, "the node did not get to run");
            }
            self.next_tick = now.monotonic + self.config.timing.tick;
            self.tick_founder(now);
            self.tick_clocks(now);
            self.tick_transfers(now);
            self.tick_replicas(now);
            self.tick_gateway(now);
            self.tick_channel(now);
            self.tick_questions(now);
            self.tick_registry(now);
            self.do_work(now);
        }
        self.maybe_send_heartbeats(now);
    }

    fn tick_replicas(&mut self, now: &Now) {
        let me = self.me().unwrap_or(NodeId(0));
        let admission = Admission {
            no_room: self.disk.and_then(|disk| disk.no_room(me)),
            is_backlogged: self.is_backlogged,
        };
        for replica in self.replicas.values_mut() {
            replica.set_admission(admission);
            if let Some(retention) = self.settings.retention() {
                replica.set_retention(retention);
            }
        }
        let partitions: Vec<PartitionId> = self.replicas.keys().copied().collect();
        for partition in partitions {
            self.with_replica(now, partition, |replica, context, out| {
                replica.tick(context, out);
            });
        }
    }
}
