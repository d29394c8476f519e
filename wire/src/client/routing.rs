//! Which gateway a request goes to.
//!
//! The first choice is the node that leads the partition of the first key: there, a one-partition
//! request is served without another hop. Every node can serve every request, so a wrong choice costs
//! a hop, nothing more.

use crate::ids::{NodeId, PartitionId};
use crate::keys::{Key, NotATiling, RangeMap};
use crate::message::MapAnswer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of the map, and which addresses failed lately.
pub(super) struct Routing {
    map: RangeMap,
    leaders: BTreeMap<PartitionId, NodeId>,
    addresses: BTreeMap<NodeId, Arc<str>>,
    seeds: Vec<Arc<str>>,
    failed: BTreeSet<Arc<str>>,
    turn: usize,
}

impl Routing {
    pub(super) fn new(answer: MapAnswer, seeds: Vec<Arc<str>>) -> Result<Routing, NotATiling> {
        let mut routing = Routing {
            map: RangeMap::new(answer.partitions.iter().map(|p| p.0.clone()).collect())?,
            leaders: BTreeMap::new(),
            addresses: BTreeMap::new(),
            seeds,
            failed: BTreeSet::new(),
            turn: 0,
        };
        routing.update(answer)?;
        Ok(routing)
    }

    /// A newer map.
    pub(super) fn update(&mut self, answer: MapAnswer) -> Result<(), NotATiling> {
        let leaders = answer.partitions.iter();
        self.leaders = leaders
            .filter_map(|(d, leader)| Some((d.partition, (*leader)?)))
            .collect();
        self.map = RangeMap::new(answer.partitions.into_iter().map(|p| p.0).collect())?;
        let nodes = answer.nodes.into_iter();
        self.addresses = nodes.map(|m| (m.node, m.address.into())).collect();
        Ok(())
    }

    /// What failed gets another chance.
    pub(super) fn forgive(&mut self) {
        self.failed.clear();
    }

    pub(super) fn on_failure(&mut self, address: &Arc<str>) {
        self.failed.insert(address.clone());
    }

    pub(super) fn on_success(&mut self, address: &Arc<str>) {
        self.failed.remove(address);
    }

    /// All gateways, the best first: the leader of the key's partition, its other members, the other
    /// nodes in turn, the addresses that the program gave; those that failed lately come last.
    pub(super) fn gateways(&mut self, key: Option<&Key>) -> Vec<Arc<str>> {
        let mut nodes: Vec<NodeId> = Vec::new();
        if let Some(key) = key {
            let descriptor = self.map.locate(key);
            nodes.extend(self.leaders.get(&descriptor.partition));
            nodes.extend(&descriptor.members);
        }
        let all: Vec<NodeId> = self.addresses.keys().copied().collect();
        self.turn = self.turn.wrapping_add(1);
        if !all.is_empty() {
            let first = self.turn % all.len();
            nodes.extend(all[first..].iter().chain(&all[..first]));
        }
        let known = nodes.iter().filter_map(|node| self.addresses.get(node));
        let mut seen = BTreeSet::new();
        let mut order: Vec<Arc<str>> = known
            .chain(&self.seeds)
            .filter(|address| seen.insert((*address).clone()))
            .cloned()
            .collect();
        order.sort_by_key(|address| self.failed.contains(address)); // stable
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Generation};
    use crate::keys::{DEFAULT_KEYSPACE, Descriptor, KeyRange};
    use crate::message::MemberAddress;

    fn answer(leader: Option<u32>) -> MapAnswer {
        let border = Key::new(DEFAULT_KEYSPACE, b"m");
        let part = |id, range, leader: Option<u32>| {
            let descriptor = Descriptor {
                partition: PartitionId(id),
                generation: Generation(1),
                range,
                members: vec![NodeId(1), NodeId(2), NodeId(3)],
            };
            (descriptor, leader.map(NodeId))
        };
        MapAnswer {
            cluster: ClusterId(1),
            node: NodeId(1),
            partitions: vec![
                part(
                    1,
                    KeyRange::new(Key::least(), Some(border.clone())),
                    Some(1),
                ),
                part(2, KeyRange::new(border, None), leader),
            ],
            nodes: (1..=4)
                .map(|node| MemberAddress {
                    node: NodeId(node),
                    address: format!("n{node}"),
                })
                .collect(),
        }
    }

    fn order(routing: &mut Routing, user: &str) -> String {
        let key = Key::new(DEFAULT_KEYSPACE, user.as_bytes());
        routing.gateways(Some(&key)).join(" ")
    }

    #[test]
    fn the_leader_comes_first_and_everybody_once() {
        let mut routing = Routing::new(answer(Some(3)), vec!["seed".into(), "n2".into()]).unwrap();
        assert_eq!(order(&mut routing, "x"), "n3 n1 n2 n4 seed");
        assert_eq!(order(&mut routing, "a"), "n1 n2 n3 n4 seed");
        let mut unknown = Routing::new(answer(None), vec![]).unwrap();
        assert_eq!(order(&mut unknown, "x"), "n1 n2 n3 n4");
    }

    #[test]
    fn what_failed_comes_last_until_it_answers_or_is_forgiven() {
        let mut routing = Routing::new(answer(Some(3)), vec![]).unwrap();
        routing.on_failure(&"n3".into());
        assert_eq!(order(&mut routing, "x"), "n1 n2 n4 n3");
        routing.on_success(&"n3".into());
        assert_eq!(order(&mut routing, "x"), "n3 n1 n2 n4");
        routing.on_failure(&"n3".into());
        routing.update(answer(Some(2))).unwrap();
        assert_eq!(order(&mut routing, "x"), "n2 n1 n4 n3");
        routing.forgive();
        assert_eq!(order(&mut routing, "x"), "n2 n1 n3 n4");
    }

    #[test]
    fn requests_without_a_key_go_round() {
        let mut routing = Routing::new(answer(None), vec![]).unwrap();
        let firsts: BTreeSet<_> = (0..4).map(|_| routing.gateways(None)[0].clone()).collect();
        assert_eq!(firsts.len(), 4);
    }
}
