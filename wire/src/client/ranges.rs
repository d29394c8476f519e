//! Ranges of keys as a program writes them.

use crate::ids::KeyspaceId;
use crate::keys::{Key, KeyRange};
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// What can stand for a range of keys: Rust's ranges of user keys, [`prefix`], a [`KeyRange`].
pub trait IntoKeyRange {
    /// The range in a keyspace. A [`KeyRange`] is taken as it is: it names its keyspace itself.
    fn into_key_range(self, keyspace: KeyspaceId) -> KeyRange;
}

/// All keys that begin with the same bytes.
#[derive(Clone, Debug)]
pub struct Prefix<K>(K);

/// All keys that begin with `bytes`.
pub fn prefix<K: AsRef<[u8]>>(bytes: K) -> Prefix<K> {
    Prefix(bytes)
}

fn start(keyspace: KeyspaceId, user: impl AsRef<[u8]>) -> Key {
    Key::new(keyspace, user.as_ref())
}

fn last(keyspace: KeyspaceId) -> Option<Key> {
    KeyRange::keyspace(keyspace).end
}

impl IntoKeyRange for KeyRange {
    fn into_key_range(self, _: KeyspaceId) -> KeyRange {
        self
    }
}

impl IntoKeyRange for RangeFull {
    fn into_key_range(self, keyspace: KeyspaceId) -> KeyRange {
        KeyRange::keyspace(keyspace)
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for Range<K> {
    fn into_key_range(self, keyspace: KeyspaceId) -> KeyRange {
        KeyRange::new(start(keyspace, self.start), Some(start(keyspace, self.end)))
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for RangeInclusive<K> {
    fn into_key_range(self, keyspace: KeyspaceId) -> KeyRange {
        let (first, end) = self.into_inner();
        KeyRange::new(
            start(keyspace, first),
            Some(start(keyspace, end).successor()),
        )
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for RangeFrom<K> {
    fn into_key_range(self, keyspace: KeyspaceId) -> KeyRange {
        KeyRange::new(start(keyspace, self.start), last(keyspace))
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for RangeTo<K> {
    fn into_key_range(self, keyspace: KeyspaceId) -> KeyRange {
        KeyRange::new(start(keyspace, b""), Some(start(keyspace, self.end)))
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for RangeToInclusive<K> {
    fn into_key_range(self, keyspace: KeyspaceId) -> KeyRange {
        let end = start(keyspace, self.end).successor();
        KeyRange::new(start(keyspace, b""), Some(end))
    }
}

impl<K: AsRef<[u8]>> IntoKeyRange for Prefix<K> {
    fn into_key_range(self, keyspace: KeyspaceId) -> KeyRange {
        let bytes = self.0.as_ref();
        let kept = bytes.iter().rposition(|byte| *byte != u8::MAX);
        let end = kept.map(|at| {
            let mut end = bytes[..=at].to_vec();
            end[at] += 1;
            start(keyspace, end)
        });
        KeyRange::new(start(keyspace, bytes), end.or_else(|| last(keyspace)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: KeyspaceId = KeyspaceId(7);

    fn holds(range: impl IntoKeyRange, users: &[&[u8]]) -> Vec<bool> {
        let range = range.into_key_range(SPACE);
        assert!(
            !range.contains(&Key::new(KeyspaceId(8), b"m")),
            "leaves its keyspace: {range:?}"
        );
        assert!(
            !range.contains(&Key::new(KeyspaceId(6), b"m")),
            "leaves its keyspace: {range:?}"
        );
        users
            .iter()
            .map(|user| range.contains(&Key::new(SPACE, user)))
            .collect()
    }

    #[test]
    fn ranges_mean_what_rust_means_by_them() {
        let keys: [&[u8]; 4] = [b"a", b"b", b"b\0", b"c"];
        assert_eq!(holds(.., &keys), [true, true, true, true]);
        assert_eq!(holds("a".."b", &keys), [true, false, false, false]);
        assert_eq!(holds("a"..="b", &keys), [true, true, false, false]);
        assert_eq!(holds("b".., &keys), [false, true, true, true]);
        assert_eq!(holds(.."b", &keys), [true, false, false, false]);
        assert_eq!(holds(..="b", &keys), [true, true, false, false]);
    }

    #[test]
    fn a_prefix_holds_exactly_what_begins_with_it() {
        let keys: [&[u8]; 5] = [b"a\xff", b"b", b"b\xff\xff", b"c", b"\xff\xff\x01"];
        assert_eq!(holds(prefix("b"), &keys), [false, true, true, false, false]);
        assert_eq!(
            holds(prefix(b"\xff\xff"), &keys),
            [false, false, false, false, true]
        );
        assert_eq!(
            holds(prefix(b"a\xff"), &keys),
            [true, false, false, false, false]
        );
        assert_eq!(holds(prefix(""), &keys), [true; 5]);
    }
}
