//! Full keys, ranges of them, and the map from keys to partitions (pattern Key-Range Partitions).
//!
//! ```text
//!   full key = keyspace id (u32, big-endian) ++ the user's key
//! ```

use crate::ids::{Generation, KeyspaceId, NodeId, PartitionId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest user key, bytes.
pub const KEY_BYTES_MAX: usize = 4 * 1024;
/// The longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most bytes of keys and values that one transaction may write.
pub const TRANSACTION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most that one request reads, bytes of keys and values.
pub const READ_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The keyspace of the system's own data; partition 1 holds exactly this.
pub const SYSTEM_KEYSPACE: KeyspaceId = KeyspaceId(0);
/// The keyspace that users have without asking.
pub const DEFAULT_KEYSPACE: KeyspaceId = KeyspaceId(1);

const PREFIX_BYTES: usize = 4;

/// A full key: keyspace and user key in one ordered string of bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(Bytes);

impl Key {
    /// The key `user` of a keyspace.
    pub fn new(keyspace: KeyspaceId, user: &[u8]) -> Key {
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + user.len());
        bytes.extend_from_slice(&keyspace.0.to_be_bytes());
        bytes.extend_from_slice(user);
        Key(bytes.into())
    }

    /// The least key of all.
    pub fn least() -> Key {
        Key(Bytes::new())
    }

    /// From the bytes that [`Key::bytes`] gave.
    pub fn from_bytes(bytes: Bytes) -> Key {
        Key(bytes)
    }

    /// The whole key, keyspace included.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The keyspace; `None` for a border such as [`Key::least`] that is shorter than a keyspace id.
    pub fn keyspace(&self) -> Option<KeyspaceId> {
        let prefix = self.0.get(..PREFIX_BYTES)?;
        Some(KeyspaceId(u32::from_be_bytes(prefix.try_into().ok()?)))
    }

    /// The user's part of the key.
    pub fn user(&self) -> &[u8] {
        self.0.get(PREFIX_BYTES..).unwrap_or_default()
    }

    /// The least key above this one.
    pub fn successor(&self) -> Key {
        let mut bytes = Vec::with_capacity(self.0.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        Key(bytes.into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keyspace() {
            None => write!(f, "{}", self.0.escape_ascii()),
            Some(DEFAULT_KEYSPACE) => write!(f, "{}", self.user().escape_ascii()),
            Some(keyspace) => write!(f, "{keyspace}:{}", self.user().escape_ascii()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The keys from `start` up to but without `end`; no `end` means to the last key there is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first key.
    pub start: Key,
    /// The first key above the range.
    pub end: Option<Key>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange {
            start: Key::least(),
            end: None,
        }
    }

    /// From `start` up to but without `end`.
    pub fn new(start: Key, end: Option<Key>) -> KeyRange {
        KeyRange { start, end }
    }

    /// Exactly one key.
    pub fn point(key: Key) -> KeyRange {
        let end = Some(key.successor());
        KeyRange { start: key, end }
    }

    /// The one key of this range, if it holds exactly one.
    pub fn as_point(&self) -> Option<&Key> {
        let end = self.end.as_ref()?.bytes();
        let start = self.start.bytes();
        let is_successor =
            end.len() == start.len() + 1 && end.ends_with(&[0]) && end.starts_with(start);
        is_successor.then_some(&self.start)
    }

    /// Every key of a keyspace.
    pub fn keyspace(keyspace: KeyspaceId) -> KeyRange {
        let end = keyspace
            .0
            .checked_add(1)
            .map(|next| Key::new(KeyspaceId(next), b""));
        KeyRange {
            start: Key::new(keyspace, b""),
            end,
        }
    }

    /// Whether the range holds a key.
    pub fn contains(&self, key: &Key) -> bool {
        *key >= self.start && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// Whether no key lies in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The keys that lie in both; `None` if there are none.
    pub fn intersection(&self, other: &KeyRange) -> Option<KeyRange> {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        let both = KeyRange { start, end };
        (!both.is_empty()).then_some(both)
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.as_point(), &self.end) {
            (Some(key), _) => write!(f, "{key}"),
            (None, Some(end)) => write!(f, "[{}, {end})", self.start),
            (None, None) => write!(f, "[{}, ..)", self.start),
        }
    }
}

/// Who holds one key range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Descriptor {
    /// The partition.
    pub partition: PartitionId,
    /// Grows with every change of range or members.
    pub generation: Generation,
    /// Its keys.
    pub range: KeyRange,
    /// The nodes that hold a replica, ascending.
    pub members: Vec<NodeId>,
}

/// All descriptors, by range.
///
/// Invariant 7: the ranges tile the key space; every key belongs to exactly one partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RangeMap {
    by_start: Vec<Descriptor>,
}

/// Descriptors do not tile the key space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ranges do not tile the key space at {at}: {why}")]
pub struct NotATiling {
    /// Where.
    pub at: Key,
    /// What is wrong there.
    pub why: &'static str,
}

impl RangeMap {
    /// A map of these descriptors, in any order; they must tile the key space.
    pub fn new(mut descriptors: Vec<Descriptor>) -> Result<RangeMap, NotATiling> {
        descriptors.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        let mut border = Some(Key::least());
        for descriptor in &descriptors {
            let at = descriptor.range.start.clone();
            match &border {
                None => {
                    return Err(NotATiling {
                        at,
                        why: "a range lies after the last one",
                    });
                }
                Some(border) if at > *border => return Err(NotATiling { at, why: "a gap" }),
                Some(border) if at < *border => {
                    return Err(NotATiling {
                        at,
                        why: "an overlap",
                    });
                }
                Some(_) if descriptor.range.is_empty() => {
                    return Err(NotATiling {
                        at,
                        why: "an empty range",
                    });
                }
                Some(_) => border.clone_from(&descriptor.range.end),
            }
        }
        match border {
            None => Ok(RangeMap {
                by_start: descriptors,
            }),
            Some(at) => Err(NotATiling {
                at,
                why: "nothing holds the keys from here on",
            }),
        }
    }

    /// The partition that holds a key.
    pub fn locate(&self, key: &Key) -> &Descriptor {
        let after = self.by_start.partition_point(|d| d.range.start <= *key);
        &self.by_start[after - 1]
    }

    /// The partitions that hold keys of a range, ascending.
    pub fn overlapping<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> impl DoubleEndedIterator<Item = &'a Descriptor> {
        self.by_start
            .iter()
            .filter(move |d| d.range.intersection(range).is_some())
    }

    /// The descriptor of a partition.
    pub fn get(&self, partition: PartitionId) -> Option<&Descriptor> {
        self.by_start.iter().find(|d| d.partition == partition)
    }

    /// All descriptors, by range.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Descriptor> {
        self.by_start.iter()
    }

    /// How many partitions there are.
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// Never: a tiling has at least one range.
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str) -> Key {
        Key::new(DEFAULT_KEYSPACE, user.as_bytes())
    }

    fn descriptor(partition: u32, start: Key, end: Option<Key>) -> Descriptor {
        Descriptor {
            partition: PartitionId(partition),
            generation: Generation(1),
            range: KeyRange::new(start, end),
            members: vec![NodeId(1)],
        }
    }

    #[test]
    fn a_point_is_recognised_and_nothing_else() {
        assert_eq!(KeyRange::point(key("a")).as_point(), Some(&key("a")));
        assert_eq!(KeyRange::new(key("a"), Some(key("b"))).as_point(), None);
        assert_eq!(KeyRange::new(key("a"), Some(key("a\0\0"))).as_point(), None);
        assert_eq!(KeyRange::all().as_point(), None);
    }

    #[test]
    fn every_key_belongs_to_exactly_one_partition() {
        let map = RangeMap::new(vec![
            descriptor(2, key("m"), None),
            descriptor(1, Key::least(), Some(key("m"))),
        ])
        .unwrap();
        assert_eq!(map.locate(&key("l")).partition, PartitionId(1));
        assert_eq!(map.locate(&key("m")).partition, PartitionId(2));
        assert_eq!(map.locate(&Key::least()).partition, PartitionId(1));
        let range = KeyRange::new(key("a"), Some(key("z")));
        let both: Vec<_> = map.overlapping(&range).collect();
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn what_does_not_tile_is_refused() {
        for (why, descriptors) in [
            (
                "a gap",
                vec![
                    descriptor(1, Key::least(), Some(key("a"))),
                    descriptor(2, key("b"), None),
                ],
            ),
            (
                "an overlap",
                vec![
                    descriptor(1, Key::least(), Some(key("c"))),
                    descriptor(2, key("b"), None),
                ],
            ),
            (
                "a range lies after the last one",
                vec![
                    descriptor(1, Key::least(), None),
                    descriptor(2, key("b"), None),
                ],
            ),
            (
                "nothing holds the keys from here on",
                vec![descriptor(1, Key::least(), Some(key("a")))],
            ),
        ] {
            assert_eq!(RangeMap::new(descriptors).unwrap_err().why, why);
        }
    }
}
