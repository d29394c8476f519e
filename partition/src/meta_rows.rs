//! The small rows beside the versions in the store, from which a restart rebuilds committed state.
//!
//! | row | key | value |
//! | --- | --- | --- |
//! | marker, with a prepared share's keys and provisional values | `m` ++ id | [`Marker`] |
//! | record | `r` ++ id | [`Record`] |
//! | outcome | `o` ++ expires ++ id, so that old ones lie together | [`Outcome`] |
//! | how far collection went | `c` | [`Collected`] |
//!
//! Locks have no rows: they are those of the prepared markers. Provisional values are in the marker, so
//! the versions in the store are committed ones only.

use crate::committed_state::{Collected, Marker, Outcome, Record};
use crate::versions::StoreError;
use bytes::{BufMut, Bytes, BytesMut};
use clock::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::ids::TransactionId;

const MARKER: u8 = b'm';
const RECORD: u8 = b'r';
const OUTCOME: u8 = b'o';
const COLLECTED: u8 = b'c';

/// Where one row is and how it reads.
pub(crate) enum MetaRow {
    Marker(TransactionId, Marker),
    Record(TransactionId, Record),
    Outcome(TransactionId, Outcome),
    Collected(Collected),
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

pub(crate) fn collected_key() -> Bytes {
    Bytes::from_static(&[COLLECTED])
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
    use crate::fixtures::{id, ts};

    #[test]
    fn an_outcome_is_found_by_its_key() {
        let key = outcome_key(ts(7), id(3));
        assert_eq!(outcome_of_key(&key).unwrap(), (ts(7), id(3)));
        assert!(key.starts_with(&outcomes_slot(ts(7), 4)));
    }

    #[test]
    fn a_damaged_row_is_an_error_that_names_it() {
        for (key, value) in [(&b"x"[..], &b""[..]), (b"m123", b""), (b"c", b"")] {
            let error = read(key, value).err().expect("no row");
            assert!(error.to_string().contains(&key.escape_ascii().to_string()));
        }
    }
}
