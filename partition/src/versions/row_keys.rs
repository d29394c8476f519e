//! How rows are named in the store on disk. One ordered space holds everything:
//!
//! ```text
//!   version   1 ++ incarnation ++ escaped key ++ 0 0 ++ inverted timestamp   →  0 (tombstone) | 1 value
//!   meta row  2 ++ partition ++ incarnation ++ key                           →  value
//!   applied   3 ++ partition ++ incarnation                                  →  term index closed newest horizon
//! ```
//!
//! - Numbers are big-endian, so that bytes sort like numbers; a timestamp is inverted, so that the newest
//!   version of a key comes first.
//! - In a key, 0 is written as 0 255, and 0 0 ends it. So rows sort by key first, and no key's rows stand
//!   between another's, also when one key is the beginning of another.

use super::store::{AppliedState, VersionRow};
use bytes::Bytes;
use clock::Timestamp;
use std::ops::Bound;
use wire::ids::{LogIndex, PartitionId, Term};
use wire::keys::{Key, KeyRange};
use wire::message::LogPosition;

const VERSION_TAG: u8 = 1;
const META_TAG: u8 = 2;
const APPLIED_TAG: u8 = 3;

const TOMBSTONE: u8 = 0;
const VALUE: u8 = 1;

const INCARNATION_BYTES: usize = 5;
const TIMESTAMP_BYTES: usize = 8;

/// The bounds of a range of rows.
pub(super) type RowRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

pub(super) fn version_key(incarnation: u32, key: &Key, timestamp: Timestamp) -> Vec<u8> {
    let mut row = key_prefix(incarnation, key);
    row.extend_from_slice(&inverted(timestamp));
    row
}

/// What all versions of a key begin with.
fn key_prefix(incarnation: u32, key: &Key) -> Vec<u8> {
    let bytes = key.bytes();
    let mut row = Vec::with_capacity(INCARNATION_BYTES + bytes.len() + 2 + TIMESTAMP_BYTES + 8);
    row.extend_from_slice(&incarnation_prefix(incarnation));
    for byte in bytes {
        row.push(*byte);
        if *byte == 0 {
            row.push(255);
        }
    }
    row.extend_from_slice(&[0, 0]);
    row
}

fn incarnation_prefix(incarnation: u32) -> [u8; INCARNATION_BYTES] {
    let [a, b, c, d] = incarnation.to_be_bytes();
    [VERSION_TAG, a, b, c, d]
}

fn inverted(timestamp: Timestamp) -> [u8; TIMESTAMP_BYTES] {
    (!timestamp.to_bits()).to_be_bytes()
}

/// The versions of a key at or below a timestamp, the newest first.
pub(super) fn versions_of(incarnation: u32, key: &Key, at: Timestamp) -> RowRange {
    (
        Bound::Included(version_key(incarnation, key, at)),
        Bound::Included(version_key(incarnation, key, Timestamp::ZERO)),
    )
}

/// All versions of all keys of a range.
pub(super) fn versions_in(incarnation: u32, range: &KeyRange) -> RowRange {
    let start = key_prefix(incarnation, &range.start);
    let end = match &range.end {
        Some(end) => key_prefix(incarnation, end),
        None => after_incarnation(incarnation),
    };
    (Bound::Included(start), Bound::Excluded(end))
}

fn after_incarnation(incarnation: u32) -> Vec<u8> {
    match incarnation.checked_add(1) {
        Some(next) => incarnation_prefix(next).to_vec(),
        None => vec![META_TAG],
    }
}

/// The versions of a range that follow one in the order of rows: older ones of its key, then further keys.
pub(super) fn versions_after(
    incarnation: u32,
    range: &KeyRange,
    key: &Key,
    timestamp: Timestamp,
) -> RowRange {
    let (_, end) = versions_in(incarnation, range);
    (
        Bound::Excluded(version_key(incarnation, key, timestamp)),
        end,
    )
}

/// The meta rows of a replica, those above a key if one is given.
pub(super) fn meta_after(partition: PartitionId, incarnation: u32, key: Option<&[u8]>) -> RowRange {
    let start = match key {
        Some(key) => Bound::Excluded(meta_key(partition, incarnation, key)),
        None => Bound::Included(replica_prefix(META_TAG, partition, incarnation).to_vec()),
    };
    let end = match incarnation.checked_add(1) {
        Some(next) => replica_prefix(META_TAG, partition, next).to_vec(),
        None => replica_prefix(META_TAG, PartitionId(partition.0 + 1), 0).to_vec(),
    };
    (start, Bound::Excluded(end))
}

pub(super) fn version_value(value: Option<&Bytes>) -> Vec<u8> {
    let Some(value) = value else {
        return vec![TOMBSTONE];
    };
    let mut row = Vec::with_capacity(1 + value.len());
    row.push(VALUE);
    row.extend_from_slice(value);
    row
}

/// Whose rows a row belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner<'a> {
    /// A version of a key, which is given as it stands in the row, with its end.
    Version {
        incarnation: u32,
        escaped: &'a [u8],
        timestamp: Timestamp,
    },
    /// A meta row, or how far a replica is applied.
    Replica(PartitionId, u32),
}

/// Whose row this is; `None` if it is nothing that this version writes.
pub(super) fn owner(row: &[u8]) -> Option<Owner<'_>> {
    let number = |at: usize| Some(u32::from_be_bytes(row.get(at..at + 4)?.try_into().ok()?));
    match *row.first()? {
        VERSION_TAG => {
            let rest = row.get(INCARNATION_BYTES..)?;
            let (escaped, timestamp) = rest.split_last_chunk::<TIMESTAMP_BYTES>()?;
            Some(Owner::Version {
                incarnation: number(1)?,
                escaped,
                timestamp: Timestamp::from_bits(!u64::from_be_bytes(*timestamp)),
            })
        }
        META_TAG | APPLIED_TAG => Some(Owner::Replica(PartitionId(number(1)?), number(5)?)),
        _ => None,
    }
}

/// A key as it stands in a row, with its end.
pub(super) fn escaped(key: &Key) -> Vec<u8> {
    key_prefix(0, key)[INCARNATION_BYTES..].to_vec()
}

/// Key and timestamp of a version's row; `None` if the bytes are not such a row's.
pub(super) fn decode_version_key(row: &[u8]) -> Option<(Key, Timestamp)> {
    let escaped = row.get(INCARNATION_BYTES..)?;
    let mut key = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    loop {
        match *rest.next()? {
            0 if *rest.next()? == 0 => break,
            byte => key.push(byte),
        }
    }
    let timestamp: [u8; TIMESTAMP_BYTES] = rest.as_slice().try_into().ok()?;
    let timestamp = Timestamp::from_bits(!u64::from_be_bytes(timestamp));
    Some((Key::from_bytes(key.into()), timestamp))
}

/// A version from its row.
pub(super) fn decode_version(key: Key, timestamp: Timestamp, value: &[u8]) -> Option<VersionRow> {
    let value = match value.split_first()? {
        (&TOMBSTONE, []) => None,
        (&VALUE, value) => Some(Bytes::copy_from_slice(value)),
        _ => return None,
    };
    Some(VersionRow {
        key,
        timestamp,
        value,
    })
}

/// What all meta rows of a replica begin with.
const META_PREFIX_BYTES: usize = 9;

/// The meta rows of a replica from one key on and below another.
pub(super) fn meta_range(replica: (PartitionId, u32), from: &[u8], to: &[u8]) -> RowRange {
    let (partition, incarnation) = replica;
    (
        Bound::Included(meta_key(partition, incarnation, from)),
        Bound::Excluded(meta_key(partition, incarnation, to)),
    )
}

pub(super) fn meta_key(partition: PartitionId, incarnation: u32, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(META_PREFIX_BYTES + key.len());
    row.extend_from_slice(&replica_prefix(META_TAG, partition, incarnation));
    row.extend_from_slice(key);
    row
}

/// The key of a meta row from the row's.
pub(super) fn decode_meta_key(row: &[u8]) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(row.get(META_PREFIX_BYTES..)?))
}

fn replica_prefix(tag: u8, partition: PartitionId, incarnation: u32) -> [u8; META_PREFIX_BYTES] {
    let mut row = [tag; META_PREFIX_BYTES];
    row[1..5].copy_from_slice(&partition.0.to_be_bytes());
    row[5..9].copy_from_slice(&incarnation.to_be_bytes());
    row
}

pub(super) fn applied_key(partition: PartitionId, incarnation: u32) -> [u8; META_PREFIX_BYTES] {
    replica_prefix(APPLIED_TAG, partition, incarnation)
}

/// What all applied rows begin with.
pub(super) const APPLIED_PREFIX: [u8; 1] = [APPLIED_TAG];

pub(super) fn decode_applied_key(row: &[u8]) -> Option<(PartitionId, u32)> {
    let row: [u8; META_PREFIX_BYTES] = row.try_into().ok()?;
    let number = |at: usize| u32::from_be_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
    Some((PartitionId(number(1)), number(5)))
}

pub(super) fn applied_value(state: &AppliedState) -> Vec<u8> {
    let numbers = [
        state.position.term.0,
        state.position.index.0,
        state.closed.to_bits(),
        state.newest.to_bits(),
        state.horizon.to_bits(),
    ];
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

pub(super) fn decode_applied(row: &[u8]) -> Option<AppliedState> {
    let row: &[u8; 40] = row.try_into().ok()?;
    let mut numbers = row
        .as_chunks::<8>()
        .0
        .iter()
        .map(|n| u64::from_be_bytes(*n));
    Some(AppliedState {
        position: LogPosition {
            term: Term(numbers.next()?),
            index: LogIndex(numbers.next()?),
        },
        closed: Timestamp::from_bits(numbers.next()?),
        newest: Timestamp::from_bits(numbers.next()?),
        horizon: Timestamp::from_bits(numbers.next()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Key> {
        let byte = prop_oneof![Just(0), Just(1), Just(255), any::<u8>()];
        proptest::collection::vec(byte, 0..6).prop_map(|bytes| Key::from_bytes(bytes.into()))
    }

    proptest! {
        #[test]
        fn rows_sort_by_key_and_then_newest_first(
            a in key(), b in key(), s in any::<u64>(), t in any::<u64>(),
        ) {
            let row = |key: &Key, bits| version_key(7, key, Timestamp::from_bits(bits));
            prop_assert_eq!(row(&a, s).cmp(&row(&b, t)), (&a, !s).cmp(&(&b, !t)));
        }

        #[test]
        fn rows_read_back(key in key(), bits in any::<u64>(), incarnation in any::<u32>()) {
            let timestamp = Timestamp::from_bits(bits);
            let row = version_key(incarnation, &key, timestamp);
            prop_assert_eq!(decode_version_key(&row), Some((key, timestamp)));
        }

        #[test]
        fn a_range_holds_the_rows_of_its_keys(
            key in key(), start in key(), end in proptest::option::of(key()), bits in any::<u64>(),
            incarnation in prop_oneof![Just(u32::MAX), Just(5)],
        ) {
            let range = KeyRange::new(start, end);
            prop_assume!(!range.is_empty());
            let row = version_key(incarnation, &key, Timestamp::from_bits(bits));
            let bounds = versions_in(incarnation, &range);
            let holds = std::ops::RangeBounds::contains(&bounds, &row);
            prop_assert_eq!(holds, range.contains(&key));
        }
    }

    #[test]
    fn the_owner_of_a_row_is_told() {
        let key = Key::from_bytes(Bytes::from_static(b"a\0b"));
        let row = version_key(7, &key, Timestamp::from_bits(9));
        let version = Owner::Version {
            incarnation: 7,
            escaped: &escaped(&key),
            timestamp: Timestamp::from_bits(9),
        };
        assert_eq!(owner(&row), Some(version));
        let replica = Some(Owner::Replica(PartitionId(8), 9));
        assert_eq!(owner(&meta_key(PartitionId(8), 9, b"x")), replica);
        assert_eq!(owner(&applied_key(PartitionId(8), 9)), replica);
        assert_eq!(owner(b"\x09"), None);
    }

    #[test]
    fn an_applied_state_reads_back() {
        let state = AppliedState {
            position: LogPosition {
                term: Term(1),
                index: LogIndex(2),
            },
            closed: Timestamp::from_bits(3),
            newest: Timestamp::from_bits(4),
            horizon: Timestamp::from_bits(5),
        };
        assert_eq!(decode_applied(&applied_value(&state)), Some(state));
        assert_eq!(
            decode_applied_key(&applied_key(PartitionId(8), 9)),
            Some((PartitionId(8), 9))
        );
    }
}
