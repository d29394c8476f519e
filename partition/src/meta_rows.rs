//! The small rows beside the versions in the store, from which a restart rebuilds committed state.
//!
//! | row | key | value |
//! | --- | --- | --- |
//! | marker, with a prepared share's keys and provisional values | `m` ++ id | [`Marker`] |
//! | record | `r` ++ id | [`Record`] |
//! | outcome | `o` ++ expires ++ id, so that old ones lie together | [`Outcome`] |
//! | how far collection went | `c` | [`Collected`] |
//! | the members, once they have changed | `v` | [`Members`] |
//! | where a tombstone stands | `t` ++ its timestamp ++ key, so that old ones lie together | nothing |
//!
//! Locks have no rows: they are those of the prepared markers. Provisional values are in the marker, so
//! the versions in the store are committed ones only.

use crate::committed_state::{Collected, Marker, Members, Outcome, Record};
use crate::versions::{StoreError, StoreQuery, StoreResult};
use bytes::{BufMut, Bytes, BytesMut};
use clock::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::ids::TransactionId;
use wire::keys::Key;

const MARKER: u8 = b'm';
const RECORD: u8 = b'r';
const OUTCOME: u8 = b'o';
const COLLECTED: u8 = b'c';
const TOMBSTONE: u8 = b't';
const MEMBERS: u8 = b'v';

/// Where one row is and how it reads.
pub(crate) enum MetaRow {
    Marker(TransactionId, Marker),
    Record(TransactionId, Record),
    Outcome(TransactionId, Outcome),
    Collected(Collected),
    Members(Members),
    /// Of no use in memory.
    Tombstone,
}

/// What a small row is, if it stands for a transaction that is not over yet: a marker or a record.
pub fn left_over(key: &[u8]) -> Option<&'static str> {
    match key.first() {
        Some(&MARKER) => Some("marker"),
        Some(&RECORD) => Some("record"),
        _ => None,
    }
}

pub(crate) fn marker_key(id: TransactionId) -> Bytes {
    with_id(MARKER, id)
}

pub(crate) fn record_key(id: TransactionId) -> Bytes {
    with_id(RECORD, id)
}

pub(crate) fn outcome_key(expires: Timestamp, id: TransactionId) -> Bytes {
    let mut key = BytesMut::with_capacity(25);
    key.put_u8(OUTCOME);
    key.put_u64(expires.to_bits());
    put_id(&mut key, id);
    key.freeze()
}

/// The beginning of the keys of outcomes whose `expires` begins with these bits' first `bytes` bytes.
pub(crate) fn outcomes_slot(expires: Timestamp, bytes: usize) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + bytes);
    key.put_u8(OUTCOME);
    key.put_slice(&expires.to_bits().to_be_bytes()[..bytes]);
    key.freeze()
}

/// Asks for the rows that committed state is rebuilt from. Outcomes at or below `closed` and tombstones stay
/// in the store, so that a start does not read what was gathered over hours.
pub(crate) fn for_a_start(closed: Timestamp) -> Vec<StoreQuery> {
    let mut wanted = all_but_outcomes().to_vec();
    wanted.push(outcomes_above(closed));
    wanted
}

/// What was found for [`for_a_start`].
pub(crate) fn found_at_a_start(results: Vec<StoreResult>) -> Vec<(Bytes, Bytes)> {
    let rows = results.into_iter().map(|result| match result {
        StoreResult::MetaRows(rows) => rows,
        other => panic!("the store answers small rows, not {other:?}"),
    });
    rows.flatten().collect()
}

/// The rows of all outcomes whose `expires` lies above a timestamp.
fn outcomes_above(closed: Timestamp) -> StoreQuery {
    StoreQuery::MetaRange {
        from: at_time(OUTCOME, closed.next(), &[]),
        to: Bytes::from_static(&[OUTCOME + 1]),
        rows_max: u32::MAX,
    }
}

/// All rows of markers, of records, how far collection went, and the members.
fn all_but_outcomes() -> [StoreQuery; 4] {
    [MARKER, RECORD, COLLECTED, MEMBERS].map(|kind| StoreQuery::MetaPrefix {
        prefix: Bytes::copy_from_slice(&[kind]),
    })
}

pub(crate) fn tombstone_key(timestamp: Timestamp, key: &Key) -> Bytes {
    at_time(TOMBSTONE, timestamp, key.bytes())
}

/// The first tombstones at or below a timestamp.
pub(crate) fn tombstones_up_to(timestamp: Timestamp, rows_max: u32) -> StoreQuery {
    StoreQuery::MetaRange {
        from: Bytes::from_static(&[TOMBSTONE]),
        to: at_time(TOMBSTONE, timestamp.next(), &[]),
        rows_max,
    }
}

/// When and where a tombstone stands, from the key of its row.
pub(crate) fn tombstone_of_key(key: &Bytes) -> Result<(Key, Timestamp), StoreError> {
    match key.split_first() {
        Some((&TOMBSTONE, rest)) if rest.len() >= 8 => {
            let timestamp = Timestamp::from_bits(number(&rest[..8]));
            Ok((Key::from_bytes(key.slice(9..)), timestamp))
        }
        _ => Err(damaged(key, "not the key of a tombstone")),
    }
}

fn at_time(kind: u8, timestamp: Timestamp, rest: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(9 + rest.len());
    key.put_u8(kind);
    key.put_u64(timestamp.to_bits());
    key.put_slice(rest);
    key.freeze()
}

pub(crate) fn collected_key() -> Bytes {
    Bytes::from_static(&[COLLECTED])
}

pub(crate) fn members_key() -> Bytes {
    Bytes::from_static(&[MEMBERS])
}

/// When and whose, from the key of an outcome.
pub(crate) fn outcome_of_key(key: &[u8]) -> Result<(Timestamp, TransactionId), StoreError> {
    match key.split_first() {
        Some((&OUTCOME, rest)) if rest.len() == 24 => {
            let (expires, id) = rest.split_at(8);
            Ok((Timestamp::from_bits(number(expires)), id_of(id)))
        }
        _ => Err(damaged(key, "not the key of an outcome")),
    }
}

pub(crate) fn encode<T: Serialize>(row: &T) -> Bytes {
    let bytes = postcard::to_stdvec(row);
    bytes
        .expect("rows are plain data and a vector takes any length")
        .into()
}

pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(value).map_err(|error| damaged(key, &error.to_string()))
}

/// Reads one row, whatever it is.
pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<MetaRow, StoreError> {
    match key.split_first() {
        Some((&MARKER, id)) if id.len() == 16 => {
            Ok(MetaRow::Marker(id_of(id), decode(key, value)?))
        }
        Some((&RECORD, id)) if id.len() == 16 => {
            Ok(MetaRow::Record(id_of(id), decode(key, value)?))
        }
        Some((&OUTCOME, _)) => {
            let (_, id) = outcome_of_key(key)?;
            Ok(MetaRow::Outcome(id, decode(key, value)?))
        }
        Some((&COLLECTED, [])) => Ok(MetaRow::Collected(decode(key, value)?)),
        Some((&MEMBERS, [])) => Ok(MetaRow::Members(decode(key, value)?)),
        Some((&TOMBSTONE, _)) => Ok(MetaRow::Tombstone),
        _ => Err(damaged(key, "no such kind of row")),
    }
}

fn damaged(key: &[u8], why: &str) -> StoreError {
    StoreError::Damaged(format!("small row {}: {why}", key.escape_ascii()))
}

fn with_id(kind: u8, id: TransactionId) -> Bytes {
    let mut key = BytesMut::with_capacity(17);
    key.put_u8(kind);
    put_id(&mut key, id);
    key.freeze()
}

fn put_id(key: &mut BytesMut, id: TransactionId) {
    key.put_u64(id.time.to_bits());
    key.put_u64(id.random);
}

fn id_of(bytes: &[u8]) -> TransactionId {
    TransactionId {
        time: Timestamp::from_bits(number(&bytes[..8])),
        random: number(&bytes[8..]),
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{id, key, ts};

    #[test]
    fn an_outcome_is_found_by_its_key() {
        let key = outcome_key(ts(7), id(3));
        assert_eq!(outcome_of_key(&key).unwrap(), (ts(7), id(3)));
        assert!(key.starts_with(&outcomes_slot(ts(7), 4)));
    }

    #[test]
    fn a_tombstone_is_found_by_its_key_and_by_its_time() {
        let row = tombstone_key(ts(7), &key("a"));
        assert_eq!(tombstone_of_key(&row).unwrap(), (key("a"), ts(7)));
        let StoreQuery::MetaRange { from, to, .. } = tombstones_up_to(ts(7), 1) else {
            panic!("a range of rows");
        };
        assert!((&from..&to).contains(&&row));
        assert!(!(&from..&to).contains(&&tombstone_key(ts(8), &key("a"))));
        assert!(tombstone_of_key(&collected_key()).is_err());
    }

    #[test]
    fn a_damaged_row_is_an_error_that_names_it() {
        for (key, value) in [(&b"x"[..], &b""[..]), (b"m123", b""), (b"c", b"")] {
            let error = read(key, value).err().expect("no row");
            assert!(error.to_string().contains(&key.escape_ascii().to_string()));
        }
    }
}
