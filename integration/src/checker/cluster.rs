//! Properties of the cluster as a whole, once it is healed and quiet (protocol, *Invariants* 1, 4 and
//! 7): nothing is left over, all replicas are equal, the ranges tile the key space.

use super::{StoredVersions, Violation};
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::ids::{LogIndex, NodeId, PartitionId};
use wire::keys::RangeMap;
use wire::message::{MapAnswer, NodeStatus, ReplicaRole};

const PROPERTY: &str = "the cluster after healing";

/// What one replica holds in its store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaContents {
    /// On which node.
    pub node: NodeId,
    /// Of which partition.
    pub partition: PartitionId,
    /// Up to which entry of its log.
    pub applied: LogIndex,
    /// Every version.
    pub versions: StoredVersions,
    /// The rows beside the versions: locks, markers, records, outcomes.
    pub meta: BTreeMap<Bytes, Bytes>,
}

/// The whole cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    /// What each node says of itself.
    pub statuses: Vec<NodeStatus>,
    /// The map as each node knows it.
    pub maps: Vec<MapAnswer>,
    /// What each replica holds.
    pub replicas: Vec<ReplicaContents>,
}

impl ClusterState {
    /// Who leads, who coordinates, what is locked and waits, for a message about a cluster that does not
    /// come to rest.
    pub fn describe(&self) -> String {
        let node = |status: &NodeStatus| {
            let replicas = status.replicas.iter().map(|replica| {
                format!(
                    "{} {:?} term {} commit {} of {}, {} locks, {} waiting",
                    replica.descriptor.partition,
                    replica.role,
                    replica.term.0,
                    replica.commit.0,
                    replica.last.0,
                    replica.locks,
                    replica.waiting
                )
            });
            let replicas: Vec<String> = replicas.collect();
            format!(
                "{} coordinates {}: {}",
                status.node,
                status.coordinating,
                replicas.join(", ")
            )
        };
        let nodes: Vec<String> = self.statuses.iter().map(node).collect();
        nodes.join("; ")
    }

    /// What the partitions hold together, read from the first replica of each.
    pub fn versions(&self) -> StoredVersions {
        let mut versions = StoredVersions::new();
        let mut seen = std::collections::BTreeSet::new();
        for replica in &self.replicas {
            if seen.insert(replica.partition) {
                versions.extend(replica.versions.clone());
            }
        }
        versions
    }
}

/// Checks the cluster, once nothing moves in it any more.
pub fn check_cluster(state: &ClusterState) -> Result<(), Violation> {
    let nothing = |why: String| Err(Violation::new(PROPERTY, &[], why));
    for map in &state.maps {
        let descriptors = map.partitions.iter().map(|(d, _)| d.clone()).collect();
        if let Err(error) = RangeMap::new(descriptors) {
            return nothing(format!("the map of {}: {error}", map.node));
        }
    }
    for status in &state.statuses {
        if status.coordinating > 0 {
            return nothing(format!(
                "{} still coordinates {} transactions",
                status.node, status.coordinating
            ));
        }
        for replica in &status.replicas {
            if replica.locks > 0 || replica.waiting > 0 {
                return nothing(format!(
                    "{} of {} still has {} locks and {} waiting requests",
                    replica.descriptor.partition, status.node, replica.locks, replica.waiting
                ));
            }
        }
    }
    check_leaders(state)?;
    check_equal(state)?;
    check_nothing_left(state)
}

fn check_leaders(state: &ClusterState) -> Result<(), Violation> {
    let mut leaders: BTreeMap<PartitionId, usize> = BTreeMap::new();
    for replica in state.statuses.iter().flat_map(|status| &status.replicas) {
        let leads = replica.role == ReplicaRole::Leader;
        *leaders.entry(replica.descriptor.partition).or_default() += usize::from(leads);
    }
    match leaders.iter().find(|(_, count)| **count != 1) {
        None => Ok(()),
        Some((partition, count)) => {
            let why = format!("{partition} has {count} leaders");
            Err(Violation::new(PROPERTY, &[], why))
        }
    }
}

/// Records and markers are kept only while something of their transaction may still come.
fn check_nothing_left(state: &ClusterState) -> Result<(), Violation> {
    for replica in &state.replicas {
        let left = replica.meta.keys().find_map(|key| {
            let what = partition::left_over(key)?;
            Some((what, key))
        });
        if let Some((what, key)) = left {
            let why = format!(
                "{} of {} still holds a {what}: {}",
                replica.partition,
                replica.node,
                key.escape_ascii()
            );
            return Err(Violation::new(PROPERTY, &[], why));
        }
    }
    Ok(())
}

fn check_equal(state: &ClusterState) -> Result<(), Violation> {
    let mut first: BTreeMap<PartitionId, &ReplicaContents> = BTreeMap::new();
    for replica in &state.replicas {
        let other = *first.entry(replica.partition).or_insert(replica);
        let difference = difference(other, replica);
        if let Some(difference) = difference {
            let why = format!(
                "{} and {} hold different contents of {}: {difference}",
                other.node, replica.node, replica.partition
            );
            return Err(Violation::new(PROPERTY, &[], why));
        }
    }
    Ok(())
}

fn difference(one: &ReplicaContents, other: &ReplicaContents) -> Option<String> {
    if one.applied != other.applied {
        return Some(format!("applied {} and {}", one.applied, other.applied));
    }
    let keys = one.versions.keys().chain(other.versions.keys());
    for key in keys {
        let (a, b) = (one.versions.get(key), other.versions.get(key));
        if a != b {
            return Some(format!("{key} is {a:?} and {b:?}"));
        }
    }
    let rows = one.meta.keys().chain(other.meta.keys());
    for row in rows {
        let (a, b) = (one.meta.get(row), other.meta.get(row));
        if a != b {
            return Some(format!("the row {} is {a:?} and {b:?}", row.escape_ascii()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{key, ts};
    use super::*;

    fn replica(node: u32, applied: u64, value: &'static str) -> ReplicaContents {
        ReplicaContents {
            node: NodeId(node),
            partition: PartitionId(1),
            applied: LogIndex(applied),
            versions: StoredVersions::from([(key("a"), vec![(ts(1), Some(value.into()))])]),
            meta: BTreeMap::new(),
        }
    }

    #[test]
    fn a_marker_or_record_that_is_left_is_found() {
        for row in ["m1", "r1"] {
            let mut left = replica(1, 5, "x");
            left.meta.insert(row.into(), Bytes::new());
            assert!(verdict(vec![left]).is_err(), "{row}");
        }
        let mut kept = replica(1, 5, "x");
        kept.meta.insert("o1".into(), Bytes::new());
        assert_eq!(verdict(vec![kept]), Ok(()));
    }

    fn verdict(replicas: Vec<ReplicaContents>) -> Result<(), Violation> {
        check_cluster(&ClusterState {
            replicas,
            ..ClusterState::default()
        })
    }

    #[test]
    fn replicas_that_differ_are_found() {
        assert_eq!(
            verdict(vec![replica(1, 5, "x"), replica(2, 5, "x")]),
            Ok(())
        );
        assert!(verdict(vec![replica(1, 5, "x"), replica(2, 5, "y")]).is_err());
        assert!(verdict(vec![replica(1, 5, "x"), replica(2, 6, "x")]).is_err());
    }
}
