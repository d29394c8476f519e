//! Partitions that get other members: a replica moves to another node, one more, one less, all at once.
//!
//! Whoever leads the partition is asked again and again, as an operator's tool would, until it is done: through
//! crashes, cuts and changes of leaders.

use super::{Happening, World};
use crate::simulation::marks::Mark;
use node::Event;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::{NodeId, PartitionId};
use wire::message::Configuration;

/// How often a leader is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// What lies on one disk only goes with it.
const VOTERS_MIN: usize = 2;

impl World {
    /// Some partitions are to have other voters from now on.
    pub(super) fn want_members(&mut self, random: &mut SplitMix64) {
        for (_, partition) in self.serving() {
            if random.chance(1, 2) {
                self.want(partition, random);
            }
        }
    }

    /// One change after another: whoever began to learn by the last one has its end by it, too.
    fn want(&mut self, partition: PartitionId, random: &mut SplitMix64) {
        let nodes = self.options.nodes;
        if nodes < VOTERS_MIN || self.wanted_members.contains_key(&partition) {
            return;
        }
        let count = VOTERS_MIN + random.below((nodes - VOTERS_MIN + 1).min(3) as u64) as usize;
        let mut voters = BTreeSet::new();
        while voters.len() < count {
            voters.insert(NodeId(1 + random.below(nodes as u64) as u32));
        }
        self.change_members(partition, voters);
    }

    /// These are to be a partition's voters, and will be as soon as they can.
    pub fn change_members(&mut self, partition: PartitionId, voters: BTreeSet<NodeId>) {
        let now = self.now();
        self.trace.line(now, || {
            format!("{partition} is to have the voters {voters:?}")
        });
        self.wanted_members.insert(partition, voters);
        self.go_on_changing(partition);
    }

    pub(super) fn go_on_changing(&mut self, partition: PartitionId) {
        let Some(wanted) = self.wanted_members.get(&partition).cloned() else {
            return;
        };
        if let Some((seat, _)) = self.serving().into_iter().find(|(_, p)| *p == partition) {
            let configured = self.configuration(seat, partition);
            if configured == Some(Configuration::of(wanted.iter().copied())) {
                self.wanted_members.remove(&partition);
                return self.marks.hit(Mark::MembersChanged);
            }
            let voters = wanted;
            self.give(seat, Event::ChangeMembers { partition, voters });
        }
        self.heap
            .after(ASK_EVERY, Happening::GoOnChanging { partition });
    }

    /// The members of a partition as a node's replica has them, if they are durable there.
    pub fn configuration(&self, seat: usize, partition: PartitionId) -> Option<Configuration> {
        let node = self.machines[seat].node.as_ref()?;
        let (_, replica) = node.replicas().find(|(p, _)| **p == partition)?;
        let is_settled = replica.is_configuration_committed();
        is_settled.then(|| replica.configured().configuration.clone())
    }

    /// Partitions that do not have the members yet that they are to have.
    pub fn wanted_members(&self) -> usize {
        self.wanted_members.len()
    }
}
