//! How a commit is divided over partitions (pattern Key-Range Partitions).
//!
//! Pure: from the commit and the map. Invariant: every operation and guard lies in exactly one share,
//! and the shares' reads together are the commit's reads.

use crate::limits::STAGING_BYTES_MAX;
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use wire::ids::PartitionId;
use wire::keys::{Key, KeyRange, RangeMap};
use wire::message::{Commit, Guard, Operation};

/// What of a commit concerns one partition. Operations and guards by their place in the commit.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    pub(crate) operations: Vec<usize>,
    pub(crate) guards: Vec<usize>,
    pub(crate) reads: Vec<KeyRange>,
    /// Points that were read, are not written, and are locked so that the limit can be unbounded.
    pub(crate) locked_reads: Vec<Key>,
}

impl Share {
    pub(crate) fn is_written(&self) -> bool {
        !self.operations.is_empty()
    }
}

/// A commit, divided.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) shares: BTreeMap<PartitionId, Share>,
    /// Nothing needs to hold at any timestamp but what the prepares lock: the limit is unbounded.
    pub(crate) is_unbounded: bool,
}

impl Plan {
    pub(crate) fn of(commit: &Commit, map: &RangeMap) -> Plan {
        let mut shares: BTreeMap<PartitionId, Share> = BTreeMap::new();
        for (place, operation) in commit.operations.iter().enumerate() {
            let partition = map.locate(&operation.key).partition;
            shares.entry(partition).or_default().operations.push(place);
        }
        for (place, guard) in commit.guards.iter().enumerate() {
            let partition = map.locate(&guard.key).partition;
            shares.entry(partition).or_default().guards.push(place);
        }
        for (partition, piece) in split(&commit.reads, map) {
            shares.entry(partition).or_default().reads.extend(piece);
        }
        let mut plan = Plan {
            shares,
            is_unbounded: false,
        };
        plan.is_unbounded = plan.shares.values().all(|share| {
            share.is_written() && share.reads.iter().all(|range| range.as_point().is_some())
        });
        if plan.is_unbounded {
            plan.lock_reads(commit);
        }
        plan
    }

    fn lock_reads(&mut self, commit: &Commit) {
        for share in self.shares.values_mut() {
            let written: BTreeSet<&Key> = share
                .operations
                .iter()
                .map(|place| &commit.operations[*place].key)
                .collect();
            let points = share.reads.iter().filter_map(KeyRange::as_point);
            let unwritten: BTreeSet<&Key> = points.filter(|key| !written.contains(key)).collect();
            share.locked_reads = unwritten.into_iter().cloned().collect();
        }
    }

    /// The one partition that everything lies in.
    pub(crate) fn single(&self) -> Option<PartitionId> {
        match self.shares.len() {
            1 => self.shares.keys().next().copied(),
            _ => None,
        }
    }

    /// The partitions that are written: the participants.
    pub(crate) fn written(&self) -> impl Iterator<Item = (PartitionId, &Share)> {
        let shares = self
            .shares
            .iter()
            .map(|(partition, share)| (*partition, share));
        shares.filter(|(_, share)| share.is_written())
    }

    /// The partitions that only carry guards or reads, with the guards there.
    pub(crate) fn guarded_only(&self) -> impl Iterator<Item = (PartitionId, &Share)> {
        let shares = self
            .shares
            .iter()
            .map(|(partition, share)| (*partition, share));
        shares.filter(|(_, share)| !share.is_written() && !share.guards.is_empty())
    }

    /// The highest commit timestamp for which what was read at `r` is known to hold (R5).
    pub(crate) fn limit(&self, r: Timestamp) -> Timestamp {
        if self.is_unbounded { Timestamp::MAX } else { r }
    }

    /// All keys that the prepares write or lock, ascending.
    pub(crate) fn locked_keys(&self, commit: &Commit) -> BTreeSet<Key> {
        self.written()
            .flat_map(|(_, share)| share.locked_keys(commit))
            .collect()
    }

    /// What must be refreshed before a commit above `r`, by partition (R5).
    pub(crate) fn to_refresh(&self, commit: &Commit) -> BTreeMap<PartitionId, Vec<KeyRange>> {
        let mut all = BTreeMap::new();
        for (partition, share) in &self.shares {
            let mut reads = share.reads.clone();
            if !share.is_written() {
                let guarded = share.guards.iter().map(|place| &commit.guards[*place].key);
                reads.extend(guarded.cloned().map(KeyRange::point));
            }
            if !reads.is_empty() {
                all.insert(*partition, reads);
            }
        }
        all
    }
}

impl Share {
    pub(crate) fn locked_keys(&self, commit: &Commit) -> BTreeSet<Key> {
        let written = self
            .operations
            .iter()
            .map(|place| &commit.operations[*place].key);
        let guarded = self.guards.iter().map(|place| &commit.guards[*place].key);
        written
            .chain(guarded)
            .chain(&self.locked_reads)
            .cloned()
            .collect()
    }

    pub(crate) fn operations_of(&self, commit: &Commit) -> Vec<Operation> {
        let all = self.operations.iter();
        all.map(|place| commit.operations[*place].clone()).collect()
    }

    pub(crate) fn guards_of(&self, commit: &Commit) -> Vec<Guard> {
        let all = self.guards.iter();
        all.map(|place| commit.guards[*place].clone()).collect()
    }
}

/// Whether so many keys can be listed in a staging record.
pub(crate) fn can_be_staged(keys: &BTreeSet<Key>) -> bool {
    keys.iter().map(|key| key.bytes().len()).sum::<usize>() <= STAGING_BYTES_MAX
}

/// Cuts ranges at the borders of partitions.
pub(crate) fn split(ranges: &[KeyRange], map: &RangeMap) -> BTreeMap<PartitionId, Vec<KeyRange>> {
    let mut pieces: BTreeMap<PartitionId, Vec<KeyRange>> = BTreeMap::new();
    for range in ranges {
        if let Some(key) = range.as_point() {
            let partition = map.locate(key).partition;
            pieces.entry(partition).or_default().push(range.clone());
            continue;
        }
        for descriptor in map.overlapping(range) {
            let piece = descriptor.range.intersection(range);
            pieces
                .entry(descriptor.partition)
                .or_default()
                .extend(piece);
        }
    }
    pieces
}

/// Groups keys by partition.
pub(crate) fn group<'a>(
    keys: impl IntoIterator<Item = &'a Key>,
    map: &RangeMap,
) -> BTreeMap<PartitionId, Vec<Key>> {
    let mut groups: BTreeMap<PartitionId, Vec<Key>> = BTreeMap::new();
    for key in keys {
        let partition = map.locate(key).partition;
        groups.entry(partition).or_default().push(key.clone());
    }
    groups
}
