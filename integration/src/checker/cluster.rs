//! Properties of the cluster as a whole, once it is healed and quiet (protocol, *Invariants* 1, 4 and
//! 7): nothing is left over, all replicas are equal, the ranges tile the key space.

use super::{StoredVersions, Violation};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use wire::ids::{LogIndex, NodeId, PartitionId};
use wire::keys::{Key, RangeMap};
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
    /// Nobody reads below this any more.
    pub horizon: Timestamp,
    /// Every version that is there.
    pub versions: StoredVersions,
    /// Every version that was removed because nobody could read it any more.
    pub removed: StoredVersions,
    /// The rows beside the versions: locks, markers, records, outcomes.
    pub meta: BTreeMap<Bytes, Bytes>,
}

impl ReplicaContents {
    /// The versions of a key that can be read: what is newer than the horizon, and what holds there.
    fn readable(&self, key: &Key) -> &[(Timestamp, Option<Bytes>)] {
        let versions = self.versions.get(key).map_or(&[][..], |versions| versions);
        let above = versions.partition_point(|(timestamp, _)| *timestamp <= self.horizon);
        &versions[above.saturating_sub(1)..]
    }
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
    /// Every version that any node's store has removed, also with a replica that was no member any more.
    pub removed: StoredVersions,
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

    /// All versions that the partitions ever held, by what their replicas hold and have removed.
    pub fn versions(&self) -> StoredVersions {
        let mut merged: BTreeMap<Key, BTreeMap<Timestamp, Option<Bytes>>> = BTreeMap::new();
        let held = self.replicas.iter().flat_map(|replica| &replica.versions);
        let held = held.chain(self.replicas.iter().flat_map(|replica| &replica.removed));
        for (key, versions) in held.chain(&self.removed) {
            let versions = versions.iter().cloned();
            merged.entry(key.clone()).or_default().extend(versions);
        }
        let merged = merged.into_iter();
        merged
            .map(|(key, versions)| (key, versions.into_iter().collect()))
            .collect()
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
    check_members(state)?;
    let ever_there = state.versions();
    for replica in &state.replicas {
        check_retained(replica, &ever_there)?;
    }
    check_equal(state)?;
    check_nothing_left(state)
}

/// Reads at or above the horizon find what they would find if nothing had ever been removed.
fn check_retained(replica: &ReplicaContents, ever_there: &StoredVersions) -> Result<(), Violation> {
    for (key, removed) in &replica.removed {
        let left = replica
            .versions
            .get(key)
            .map_or(&[][..], |versions| versions);
        // What went with a whole replica came back with the one that took its place.
        let is_left = |at: &Timestamp| left.iter().any(|(timestamp, _)| timestamp == at);
        let newest_removed = removed.iter().rfind(|(timestamp, _)| !is_left(timestamp));
        let newest_removed = newest_removed.map(|(timestamp, value)| (*timestamp, value));
        let Some((timestamp, value)) = newest_removed else {
            continue;
        };
        // By what is left here, or by what the others removed before this replica began: a node that held
        // one before knows what went with that, and not that it was deleted since.
        let all = ever_there.get(key).map_or(&[][..], |versions| versions);
        let hides = |at: &Timestamp| *at > timestamp && *at <= replica.horizon;
        let is_hidden = all.iter().any(|(at, _)| hides(at));
        if timestamp > replica.horizon || (value.is_some() && !is_hidden) {
            let why = format!(
                "{} removed {value:?} of {key} at {timestamp} although reads at the horizon, {}, find it; left is {left:?}",
                replica.node, replica.horizon
            );
            return Err(Violation::new(PROPERTY, &[], why));
        }
    }
    Ok(())
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

/// Whoever is a member by the leader's log holds a replica, and nobody else does.
fn check_members(state: &ClusterState) -> Result<(), Violation> {
    let all = || {
        (state.statuses.iter()).flat_map(|status| {
            status
                .replicas
                .iter()
                .map(move |replica| (status.node, replica))
        })
    };
    for (leader, of_leader) in all().filter(|(_, replica)| replica.role == ReplicaRole::Leader) {
        let partition = of_leader.descriptor.partition;
        let holders = all().filter(|(_, replica)| replica.descriptor.partition == partition);
        let holders: BTreeSet<NodeId> = holders.map(|(node, _)| node).collect();
        let members = of_leader.configuration.members();
        if holders != members {
            let why = format!(
                "{partition} has the members {members:?} by its leader {leader}, and lies on {holders:?}"
            );
            return Err(Violation::new(PROPERTY, &[], why));
        }
    }
    Ok(())
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
        // Each replica removes what nobody can read in its own time.
        let (a, b) = (one.readable(key), other.readable(key));
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
            horizon: Timestamp::ZERO,
            versions: StoredVersions::from([(key("a"), vec![(ts(1), Some(value.into()))])]),
            removed: StoredVersions::new(),
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
    fn removing_what_can_be_read_is_found() {
        let removed = |horizon, at, value: Option<&'static str>| {
            let mut replica = replica(1, 5, "x");
            replica.horizon = ts(horizon);
            let value = value.map(Bytes::from);
            replica.removed = StoredVersions::from([(key("b"), vec![(ts(at), value)])]);
            replica
        };
        assert_eq!(verdict(vec![removed(10, 9, None)]), Ok(()));
        assert!(verdict(vec![removed(10, 11, None)]).is_err());
        assert!(verdict(vec![removed(10, 9, Some("y"))]).is_err());
        let mut superseded = removed(10, 9, Some("y"));
        superseded
            .versions
            .insert(key("b"), vec![(ts(10), Some("z".into()))]);
        assert_eq!(verdict(vec![superseded]), Ok(()));
        // What went with a replica was deleted, and swept, by the others before the next one began here.
        let began_anew = removed(10, 7, Some("y"));
        let mut others = removed(10, 9, None);
        others.node = NodeId(2);
        let both = vec![began_anew, others];
        assert_eq!(verdict(both.clone()), Ok(()));
        let mut too_soon = both;
        for replica in &mut too_soon {
            replica.horizon = ts(8);
        }
        assert!(verdict(too_soon).is_err());
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
