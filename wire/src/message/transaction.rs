//! What transactions are made of: reads, guards and operations.

use crate::ids::TransactionId;
use crate::keys::{Key, KeyRange, VALUE_BYTES_MAX};
use bytes::{BufMut, Bytes, BytesMut};
use clock::Timestamp;
use serde::{Deserialize, Serialize};

/// Names a transaction wherever it is asked about: by any gateway, for ever the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TransactionName {
    /// Its id.
    pub id: TransactionId,
    /// Nothing of it is prepared or placed at or above this. Fixed by the client when it first sends
    /// the commit; the same id with another `expires` is refused.
    pub expires: Timestamp,
    /// The first key that it wrote; the partition that holds it keeps its record and outcome.
    pub anchor: Key,
}

/// A value and the timestamp of the version that it is (pattern Versioned Value).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionedValue {
    /// The commit timestamp of the version.
    pub timestamp: Timestamp,
    /// Its bytes.
    pub value: Bytes,
}

/// One key of a scan with its version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The full key.
    pub key: Key,
    /// The version that was read.
    pub version: VersionedValue,
}

impl Row {
    /// The size of its key and value, bytes.
    pub fn bytes(&self) -> usize {
        self.key.bytes().len() + self.version.value.len()
    }
}

/// Who changed what another transaction had read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Rival {
    /// Whoever wrote the committed version with this timestamp: versions do not carry their
    /// transaction's id.
    Version {
        /// Its commit timestamp.
        at: Timestamp,
    },
    /// A transaction whose write or lock is on its way to be committed.
    Transaction {
        /// Its id.
        id: TransactionId,
        /// It is committed at or above this, or not at all.
        at: Timestamp,
    },
}

impl std::fmt::Display for Rival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rival::Version { at } => write!(f, "the transaction that committed at {at}"),
            Rival::Transaction { id, at } => write!(f, "transaction {id} (at {at} or above)"),
        }
    }
}

/// What was read and has changed since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    /// Where.
    pub key: Key,
    /// By whom.
    pub rival: Rival,
}

/// One thing to read at a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReadRequest {
    /// One key.
    Get {
        /// Which.
        key: Key,
    },
    /// The keys of a range in order.
    Scan {
        /// Which keys.
        range: KeyRange,
        /// From the end backwards.
        reverse: bool,
        /// At most so many rows; 0 is none at all.
        limit: u32,
        /// Stop after the row that brings keys and values to this many bytes.
        bytes_max: u32,
    },
}

/// What one [`ReadRequest`] gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReadResult {
    /// The version at the snapshot; `None` if the key had none or was deleted.
    Value(Option<VersionedValue>),
    /// Rows in the order asked for.
    Rows {
        /// The rows.
        rows: Vec<Row>,
        /// What of the range was not looked at because of the limits; `None` if all of it was.
        rest: Option<KeyRange>,
    },
}

/// More than a row takes in a frame beside its key and its value: two lengths and a timestamp.
const ROW_OVERHEAD_BYTES: usize = 32;

impl ReadResult {
    /// The size of the keys and values in it, bytes, and of what else their rows take in a frame.
    pub fn bytes(&self) -> usize {
        match self {
            ReadResult::Value(found) => found.as_ref().map_or(0, |found| found.value.len()),
            ReadResult::Rows { rows, .. } => {
                let bytes: usize = rows.iter().map(Row::bytes).sum();
                bytes + rows.len() * ROW_OVERHEAD_BYTES
            }
        }
    }
}

/// What must hold for a transaction to commit, checked at its commit timestamp.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Guard {
    /// The key that is looked at.
    pub key: Key,
    /// What must be true of it.
    pub condition: Condition,
}

/// A condition on one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Condition {
    /// It has a value.
    Exists,
    /// It has none.
    Absent,
    /// Its value is exactly this.
    Equals(Bytes),
    /// It has no value or another one.
    NotEquals(Bytes),
    /// Its newest version is exactly this one; `None`: it has no value.
    VersionIs(Option<Timestamp>),
    /// Its value is a decimal number, at least this. An absent key counts as 0.
    AtLeast(i64),
    /// Its value is a decimal number, at most this. An absent key counts as 0.
    AtMost(i64),
}

impl Condition {
    /// Whether it holds of a version; an error says why the value cannot be judged.
    pub fn holds(&self, found: Option<&VersionedValue>) -> Result<bool, String> {
        Ok(match self {
            Condition::Exists => found.is_some(),
            Condition::Absent => found.is_none(),
            Condition::Equals(value) => found.is_some_and(|f| f.value == *value),
            Condition::NotEquals(value) => found.is_none_or(|f| f.value != *value),
            Condition::VersionIs(version) => found.map(|f| f.timestamp) == *version,
            Condition::AtLeast(least) => number_or_zero(found)? >= *least,
            Condition::AtMost(most) => number_or_zero(found)? <= *most,
        })
    }
}

fn number_or_zero(found: Option<&VersionedValue>) -> Result<i64, String> {
    found.map_or(Ok(0), |found| number(&found.value))
}

/// The decimal number that a value is.
fn number(value: &Bytes) -> Result<i64, String> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| "its value is not a decimal number of 64 bits".to_owned())
}

fn decimal(number: i64) -> Bytes {
    number.to_string().into()
}

/// One change to one key. Operations of a transaction on one key apply in their order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// The key that is written.
    pub key: Key,
    /// What is done to it.
    pub kind: OperationKind,
}

/// What an [`Operation`] does. Numbers are signed 64-bit decimals in ASCII, so that they can be read
/// by eye; an absent key counts as 0, as the empty string for `Append`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OperationKind {
    /// Sets the value.
    Put(Bytes),
    /// Removes the value (writes a tombstone).
    Delete,
    /// Adds to a number; overflow is an error.
    Add(i64),
    /// The lesser of the number and this one. An absent key takes this one.
    Min(i64),
    /// The greater of the number and this one. An absent key takes this one.
    Max(i64),
    /// Appends bytes.
    Append(Bytes),
}

impl OperationKind {
    /// Whether the new value depends on the old one.
    pub fn reads_old_value(&self) -> bool {
        !matches!(self, OperationKind::Put(_) | OperationKind::Delete)
    }

    /// The new value of a key that has `old`, `None` if it is deleted; an error says what does not fit.
    pub fn apply(&self, old: Option<&Bytes>) -> Result<Option<Bytes>, String> {
        let value = match self {
            OperationKind::Delete => return Ok(None),
            OperationKind::Put(value) => value.clone(),
            OperationKind::Append(suffix) => append(old, suffix),
            OperationKind::Add(addend) => {
                let number = old.map_or(Ok(0), number)?;
                let sum = number.checked_add(*addend);
                decimal(sum.ok_or_else(|| format!("{number} + {addend} does not fit in 64 bits"))?)
            }
            OperationKind::Min(bound) => decimal(old.map_or(Ok(*bound), number)?.min(*bound)),
            OperationKind::Max(bound) => decimal(old.map_or(Ok(*bound), number)?.max(*bound)),
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(format!(
                "the value would have {} bytes, more than {VALUE_BYTES_MAX}",
                value.len()
            ));
        }
        Ok(Some(value))
    }

    /// The bytes that it carries.
    pub fn payload_bytes(&self) -> usize {
        match self {
            OperationKind::Put(bytes) | OperationKind::Append(bytes) => bytes.len(),
            OperationKind::Delete => 0,
            OperationKind::Add(_) | OperationKind::Min(_) | OperationKind::Max(_) => 8,
        }
    }
}

fn append(old: Option<&Bytes>, suffix: &Bytes) -> Bytes {
    let Some(old) = old else {
        return suffix.clone();
    };
    let mut value = BytesMut::with_capacity(old.len() + suffix.len());
    value.put_slice(old);
    value.put_slice(suffix);
    value.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(kind: OperationKind, old: Option<&'static str>) -> Result<Option<String>, String> {
        let old = old.map(|old| Bytes::from_static(old.as_bytes()));
        let new = kind.apply(old.as_ref())?;
        Ok(new.map(|new| String::from_utf8(new.to_vec()).unwrap()))
    }

    #[test]
    fn operations_on_numbers_texts_and_absent_keys() {
        use OperationKind::*;
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(on(Put("2".into()), Some("1")), some("2"));
        assert_eq!(on(Delete, Some("a")), Ok(None));
        assert_eq!(on(Add(-3), Some("1")), some("-2"));
        assert_eq!(on(Add(5), None), some("5"));
        assert_eq!(on(Min(5), None), some("5"));
        assert_eq!(on(Min(5), Some("4")), some("4"));
        assert_eq!(on(Max(5), None), some("5"));
        assert_eq!(on(Max(5), Some("4")), some("5"));
        assert_eq!(on(Append("b".into()), Some("a")), some("ab"));
        assert_eq!(on(Append("b".into()), None), some("b"));
    }

    #[test]
    fn an_operation_that_does_not_fit_says_why() {
        use OperationKind::*;
        let why = |kind, old| on(kind, old).unwrap_err();
        assert_eq!(
            why(Add(1), Some("x")),
            "its value is not a decimal number of 64 bits"
        );
        assert_eq!(
            why(Add(1), Some("9223372036854775807")),
            "9223372036854775807 + 1 does not fit in 64 bits"
        );
        let long = Bytes::from(vec![b'x'; VALUE_BYTES_MAX]);
        assert!(Append("".into()).apply(Some(&long)).is_ok());
        assert_eq!(
            Append("y".into()).apply(Some(&long)),
            Err(format!(
                "the value would have {} bytes, more than {VALUE_BYTES_MAX}",
                VALUE_BYTES_MAX + 1
            ))
        );
    }
}
