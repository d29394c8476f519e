//! The versions that were committed lately, in memory: what conflict checks and most reads need.
//!
//! ```text
//!   timestamps   ─────────────────┬─────────────────────────────►
//!        perhaps only in the store │ every committed version is here
//!                               horizon
//! ```
//!
//! Fed on every replica when an entry commits, so the commit path never waits for the store, and a new
//! leader has them at once.
//!
//! Invariants
//! - Every committed version above [`RecentWrites::horizon`] is here; the horizon only rises.
//! - Nothing is evicted that the store has not reported as applied, so store and recent writes together
//!   always hold everything: an answer of the store is good while nothing newer than its snapshot was
//!   evicted ([`RecentWrites::completes`]).
//! - No two versions of a key have the same timestamp (protocol, invariant 3).

use crate::lock_table::in_range;
use bytes::Bytes;
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::ids::LogIndex;
use wire::keys::{Key, KeyRange};

/// What one version costs beside its key and value, in bytes, roughly.
const OVERHEAD_BYTES: usize = 128;

/// Room for so many versions of a key is never worth giving back.
const KEPT_ROOM: usize = 4;

/// A version: when, and what; `None` is a tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) timestamp: Timestamp,
    pub(crate) value: Option<Bytes>,
}

#[derive(Clone, Debug)]
struct Written {
    timestamp: Timestamp,
    index: LogIndex,
    value: Option<Bytes>,
}

/// The versions of one key, oldest first: few for most keys, many for a hot one, of which the oldest
/// are evicted one by one.
type Versions = VecDeque<Written>;

/// How many of a key's versions are at or below a timestamp: they come first.
fn up_to(versions: &Versions, at: Timestamp) -> usize {
    match versions.back() {
        Some(newest) if newest.timestamp <= at => versions.len(),
        _ => versions.partition_point(|written| written.timestamp <= at),
    }
}

/// Gives room back that a key needed while it was hot. Half of what it keeps is free, so that evicting
/// one version per new one moves nothing.
fn shrink(versions: &mut Versions) {
    if versions.capacity() > 4 * versions.len().max(KEPT_ROOM) {
        versions.shrink_to(2 * versions.len());
    }
}

fn newest_at(versions: &Versions, at: Timestamp) -> Option<Version> {
    let written = &versions[up_to(versions, at).checked_sub(1)?];
    Some(Version {
        timestamp: written.timestamp,
        value: written.value.clone(),
    })
}

/// Committed versions above a horizon.
#[derive(Debug)]
pub(crate) struct RecentWrites {
    horizon: Timestamp,
    bytes_max: usize,
    bytes: usize,
    by_key: BTreeMap<Key, Versions>,
    by_time: BTreeSet<(Timestamp, Key)>,
    evicted_up_to: LogIndex,
}

impl RecentWrites {
    /// Nothing yet: everything up to the entry `applied` is in the store, and nothing there is newer
    /// than `horizon`.
    pub(crate) fn new(horizon: Timestamp, applied: LogIndex, bytes_max: usize) -> RecentWrites {
        RecentWrites {
            horizon,
            bytes_max,
            bytes: 0,
            by_key: BTreeMap::new(),
            by_time: BTreeSet::new(),
            evicted_up_to: applied,
        }
    }

    /// Every committed version above this is here.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.horizon
    }

    /// The timestamp of the newest version of all, here or evicted.
    pub(crate) fn newest(&self) -> Timestamp {
        let last = self.by_time.last().map(|(timestamp, _)| *timestamp);
        last.unwrap_or_default().max(self.horizon)
    }

    /// Whether a store snapshot that contains the entries up to `applied` and what is here together
    /// hold every version.
    pub(crate) fn completes(&self, applied: LogIndex) -> bool {
        applied >= self.evicted_up_to
    }

    /// Adds a version that the entry at `index` committed.
    pub(crate) fn insert(
        &mut self,
        index: LogIndex,
        key: &Key,
        timestamp: Timestamp,
        value: Option<Bytes>,
    ) {
        self.bytes += cost(key, &value);
        self.by_time.insert((timestamp, key.clone()));
        let versions = self
            .by_key
            .entry(key.clone())
            .or_insert_with(|| VecDeque::with_capacity(1));
        let place = up_to(versions, timestamp);
        if let Some(before) = place.checked_sub(1).map(|below| &versions[below]) {
            assert!(
                before.timestamp < timestamp,
                "two versions of {key} have the timestamp {timestamp}: of entries {} and {index}",
                before.index
            );
        }
        let written = Written {
            timestamp,
            index,
            value,
        };
        versions.insert(place, written);
    }

    /// The newest version of a key that is here, at or below a timestamp.
    pub(crate) fn at(&self, key: &Key, at: Timestamp) -> Option<Version> {
        newest_at(self.by_key.get(key)?, at)
    }

    /// The newest version at or below a timestamp of each key of a range, as far as it is here.
    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        at: Timestamp,
    ) -> impl Iterator<Item = (&Key, Version)> {
        in_range(&self.by_key, range)
            .filter_map(move |(key, versions)| Some((key, newest_at(versions, at)?)))
    }

    /// The first key of a range with a version here in `(above, up_to]`, and the newest of those.
    pub(crate) fn changed(
        &self,
        range: &KeyRange,
        above: Timestamp,
        up_to: Timestamp,
    ) -> Option<(&Key, Timestamp)> {
        if above >= up_to {
            return None;
        }
        in_range(&self.by_key, range).find_map(|(key, versions)| {
            let newest = &versions[self::up_to(versions, up_to).checked_sub(1)?];
            (newest.timestamp > above).then_some((key, newest.timestamp))
        })
    }

    /// Evicts the oldest versions while there are too many bytes, of what the store holds up to the
    /// entry `stored`.
    pub(crate) fn evict(&mut self, stored: LogIndex) {
        while self.bytes > self.bytes_max {
            let Some((timestamp, key)) = self.by_time.first() else {
                return;
            };
            let versions = self.by_key.get_mut(key);
            let versions = versions.expect("both indexes hold the same versions");
            // The oldest of all is the oldest of its key.
            let oldest = &versions[0];
            assert_eq!(
                oldest.timestamp, *timestamp,
                "both indexes hold the same versions of {key}"
            );
            if oldest.index > stored {
                return;
            }
            let (timestamp, key) = self.by_time.pop_first().expect("there is a first");
            let written = versions.pop_front().expect("just seen");
            if versions.is_empty() {
                self.by_key.remove(&key);
            } else {
                shrink(versions);
            }
            self.bytes -= cost(&key, &written.value);
            self.horizon = self.horizon.max(timestamp);
            self.evicted_up_to = self.evicted_up_to.max(written.index);
        }
    }

    /// Asserts what must hold.
    pub(crate) fn invariants(&self) {
        let count: usize = self.by_key.values().map(VecDeque::len).sum();
        assert_eq!(
            count,
            self.by_time.len(),
            "both indexes hold the same versions"
        );
    }
}

fn cost(key: &Key, value: &Option<Bytes>) -> usize {
    OVERHEAD_BYTES + key.bytes().len() + value.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{key, range, ts};

    fn writes(bytes_max: usize) -> RecentWrites {
        let mut writes = RecentWrites::new(ts(10), LogIndex(5), bytes_max);
        writes.insert(LogIndex(6), &key("a"), ts(11), Some("1".into()));
        writes.insert(LogIndex(7), &key("b"), ts(12), None);
        writes.insert(LogIndex(8), &key("a"), ts(13), Some("2".into()));
        writes
    }

    #[test]
    fn a_change_is_found_above_and_up_to() {
        let writes = writes(usize::MAX);
        let changed = |above, up_to| writes.changed(&range("a", "z"), ts(above), ts(up_to));
        assert_eq!(changed(10, 11), Some((&key("a"), ts(11))));
        assert_eq!(changed(11, 12), Some((&key("b"), ts(12))));
        assert_eq!(changed(13, 20), None);
        assert_eq!(changed(20, 13), None);
        assert_eq!(writes.at(&key("a"), ts(12)).unwrap().timestamp, ts(11));
    }

    #[test]
    fn only_what_is_stored_is_evicted_and_the_horizon_follows() {
        let mut writes = writes(0);
        writes.evict(LogIndex(6));
        assert_eq!(writes.horizon(), ts(11));
        assert!(writes.completes(LogIndex(6)) && !writes.completes(LogIndex(5)));
        assert_eq!(
            writes.changed(&range("a", "z"), ts(11), ts(20)),
            Some((&key("a"), ts(13)))
        );
        writes.evict(LogIndex(8));
        assert_eq!((writes.horizon(), writes.bytes), (ts(13), 0));
        writes.invariants();
    }

    #[test]
    fn a_key_that_was_hot_gives_its_room_back() {
        let mut writes = RecentWrites::new(ts(10), LogIndex(5), 0);
        for at in 11..1_011 {
            writes.insert(LogIndex(6), &key("hot"), ts(at), None);
        }
        writes.insert(LogIndex(7), &key("hot"), ts(1_011), None);
        writes.evict(LogIndex(6));
        let versions = &writes.by_key[&key("hot")];
        assert_eq!(versions.len(), 1);
        assert!(
            versions.capacity() <= 4 * KEPT_ROOM,
            "one version keeps the room of {}",
            versions.capacity()
        );
    }

    #[test]
    #[should_panic(expected = "two versions of a")]
    fn a_timestamp_is_used_once_for_a_key() {
        writes(0).insert(LogIndex(9), &key("a"), ts(13), None);
    }
}
