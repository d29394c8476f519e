//! Founding, and what a founded node does by itself.

use super::{Membership, Node};
use crate::identity::META_FOUNDER;
use crate::log_queue::Held;
use clock::Now;
use cluster::FounderEffect;
use partition::Replica;
use partition::log::{LogRecord, RecoveredReplica};
use partition::versions::MemoryStore;
use txn::GatewayContext;
use wire::ids::{LogIndex, NodeId, PartitionId, Term};
use wire::keys::Descriptor;
use wire::message::{Founding, FoundingMessage, LogPosition};

/// The beginning of 2020, seconds since 1970.
const YEAR_2020_SECONDS: u64 = 1_577_836_800;
/// The first incarnation of a replica in a store.
pub(super) const FIRST_INCARNATION: u32 = 1;

impl Node {
    pub(super) fn on_founding_message(
        &mut self,
        now: &Now,
        from: String,
        message: FoundingMessage,
    ) {
        let mut out = Vec::new();
        self.founder.step(now.monotonic, from, message, &mut out);
        self.do_founder_effects(now, out);
    }

    pub(super) fn tick_founder(&mut self, now: &Now) {
        let mut out = Vec::new();
        self.founder.tick(now.monotonic, &mut out);
        self.do_founder_effects(now, out);
    }

    fn do_founder_effects(&mut self, now: &Now, effects: Vec<FounderEffect>) {
        // The replicas are installed before the log says "founded": a torn batch must not leave a
        // founded node that believes its replicas were lost.
        for effect in &effects {
            if let FounderEffect::Founded(founding) = effect
                && self.membership.is_none()
            {
                self.install_replicas(now, founding);
            }
        }
        for effect in effects {
            match effect {
                FounderEffect::Persist(body) => {
                    self.log.push(LogRecord::Meta {
                        kind: META_FOUNDER,
                        body,
                    });
                }
                FounderEffect::Send {
                    to,
                    message,
                    after_log: true,
                } => {
                    self.hold_for_log(Held::Founding { to, message });
                }
                FounderEffect::Send {
                    to,
                    message,
                    after_log: false,
                } => {
                    self.effects.push(crate::Effect::Founding { to, message });
                }
                FounderEffect::Founded(_) => {}
            }
        }
    }

    fn install_replicas(&mut self, now: &Now, founding: &Founding) {
        tracing::info!(cluster = %founding.cluster, "founded");
        let was_there = self.founder.took_part();
        self.join(founding, first_start(was_there, now), now);
        if !was_there {
            self.begin_without_memory(founding);
        }
        let me = self.me();
        let mine = |d: &&Descriptor| d.members.iter().any(|member| Some(*member) == me);
        for descriptor in founding.descriptors.iter().filter(mine) {
            self.log.push(LogRecord::ReplicaInstalled {
                partition: descriptor.partition,
                incarnation: FIRST_INCARNATION,
                descriptor: descriptor.clone(),
                base: LogPosition {
                    term: Term(0),
                    index: LogIndex(0),
                },
            });
            let empty = RecoveredReplica {
                incarnation: FIRST_INCARNATION,
                descriptor: descriptor.clone(),
                term: Term(0),
                voted_for: None,
                base: LogPosition::default(),
                entries: Vec::new(),
            };
            let config = self.replica_config(descriptor.partition);
            let replica = Replica::new(config, empty, &MemoryStore::default(), now);
            let mut replica = replica.expect("an empty store in memory is always readable");
            if preferred_leader(&replica) == me {
                replica.stand_now(now);
            }
            self.replicas.insert(descriptor.partition, replica);
        }
        self.hold_for_log(Held::Live(self.live()));
    }

    /// The descriptors of which this node must hold a replica.
    pub(super) fn expected_replicas(&self, founding: &Founding) -> Vec<PartitionId> {
        let me = self.me();
        let mine = |d: &&Descriptor| d.members.iter().any(|member| Some(*member) == me);
        founding
            .descriptors
            .iter()
            .filter(mine)
            .map(|d| d.partition)
            .collect()
    }

    /// The founding's first rows, by whoever leads the core first.
    pub(super) fn write_founding_rows(&mut self, now: &Now) {
        if let Some(founding) = self.founder.founding() {
            let rows = cluster::consistent_core::initial_rows(founding);
            self.registry.write_once(rows, now.monotonic);
        }
    }

    pub(super) fn tick_gateway(&mut self, now: &Now) {
        let Some(Membership { gateway, map, .. }) = &mut self.membership else {
            return;
        };
        let mut out = Vec::new();
        gateway.tick(
            &mut GatewayContext {
                now,
                clock: &mut self.clock,
                map,
            },
            &mut out,
        );
        self.do_gateway_effects(now, out);
    }

    pub(super) fn tick_registry(&mut self, now: &Now) {
        if self.membership.is_none() || !self.identity_durable || !now.is_vouched() {
            return;
        }
        let due = self.registry.due(now, &mut self.random).into_iter();
        let due = due.chain(self.settings.due(now));
        let due: Vec<_> = due.chain(self.keyspaces.due(now.monotonic)).collect();
        for (number, request) in due {
            self.ask_own_gateway(number, request);
        }
    }
}

/// The number of the first start. A node that was not at the founding may have been a member before, with
/// a count that is gone with its log. Others tell its messages and attempts from those of its earlier
/// lives by a higher one: the seconds since the beginning of 2020, which no count of starts overtakes.
fn first_start(was_there: bool, now: &Now) -> u32 {
    let seconds = now.physical.as_secs().saturating_sub(YEAR_2020_SECONDS);
    match was_there {
        true => 1,
        false => u32::try_from(seconds).unwrap_or(u32::MAX / 2).max(1),
    }
}

/// Who stands for election first in a partition that was just founded, or when its nodes start again, so
/// that leaders are spread and nobody waits for an election timeout. Anybody may still be elected.
pub(super) fn preferred_leader(replica: &Replica) -> Option<NodeId> {
    let voters = &replica.configured().configuration.voters;
    let place = replica.descriptor().partition.0 as usize % voters.len().max(1);
    voters.iter().nth(place).copied()
}
