//! What a transaction has written but not sent, and what its own reads see of it (R2, R3).
//!
//! Invariants:
//! - operations are kept as they were given, never folded into a `Put` of what was seen: the server
//!   evaluates them against the newest value, and only what was *read* is checked for changes;
//! - what is shown is the snapshot's value with the operations on top, in their order, computed as at the
//!   server ([`OperationKind::apply`]).

use super::Error;
use crate::keys::{Key, KeyRange};
use crate::message::{Operation, OperationKind, Row, VersionedValue};
use clock::Timestamp;
use std::collections::BTreeMap;

/// The timestamp that a value shows which the transaction itself has written: it has none yet.
pub(super) const UNCOMMITTED: Timestamp = Timestamp::MAX;

/// The buffered operations of one transaction.
#[derive(Default, Debug)]
pub(super) struct Overlay {
    operations: Vec<Operation>,
    by_key: BTreeMap<Key, Vec<usize>>,
}

impl Overlay {
    pub(super) fn push(&mut self, operation: Operation) {
        let at = self.operations.len();
        self.by_key
            .entry(operation.key.clone())
            .or_default()
            .push(at);
        self.operations.push(operation);
    }

    pub(super) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub(super) fn writes(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// The written keys, ascending.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.by_key.keys()
    }

    fn on<'a>(&'a self, key: &Key) -> impl DoubleEndedIterator<Item = &'a OperationKind> {
        let places = self.by_key.get(key).into_iter().flatten();
        places.map(|at| &self.operations[*at].kind)
    }

    /// Whether a read of the key needs the snapshot: something of the old value may show through.
    pub(super) fn needs_base(&self, key: &Key) -> bool {
        self.on(key).all(OperationKind::reads_old_value)
    }

    /// What the transaction sees at a key that has `base` in the snapshot.
    pub(super) fn show(
        &self,
        key: &Key,
        base: Option<VersionedValue>,
    ) -> Result<Option<VersionedValue>, Error> {
        if !self.writes(key) {
            return Ok(base);
        }
        let mut value = base.map(|base| base.value);
        for kind in self.on(key) {
            let key = key.clone();
            value = kind
                .apply(value.as_ref())
                .map_err(|why| Error::Operation { key, why })?;
        }
        Ok(value.map(|value| VersionedValue {
            timestamp: UNCOMMITTED,
            value,
        }))
    }

    /// The rows that the transaction sees of a range that has `rows` in the snapshot.
    pub(super) fn merge(
        &self,
        rows: Vec<Row>,
        covered: &KeyRange,
        reverse: bool,
    ) -> Result<Vec<Row>, Error> {
        let mut written = self
            .by_key
            .range(&covered.start..)
            .map(|(key, _)| key)
            .take_while(|key| covered.contains(key))
            .peekable();
        if written.peek().is_none() {
            return Ok(rows);
        }
        let mut seen: BTreeMap<Key, VersionedValue> =
            rows.into_iter().map(|row| (row.key, row.version)).collect();
        for key in written {
            let base = seen.remove(key);
            if let Some(version) = self.show(key, base)? {
                seen.insert(key.clone(), version);
            }
        }
        let mut rows: Vec<Row> = seen
            .into_iter()
            .map(|(key, version)| Row { key, version })
            .collect();
        if reverse {
            rows.reverse();
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::DEFAULT_KEYSPACE;
    use bytes::Bytes;

    fn key(user: &str) -> Key {
        Key::new(DEFAULT_KEYSPACE, user.as_bytes())
    }

    fn overlay(operations: &[(&str, OperationKind)]) -> Overlay {
        let mut overlay = Overlay::default();
        for (user, kind) in operations {
            overlay.push(Operation {
                key: key(user),
                kind: kind.clone(),
            });
        }
        overlay
    }

    fn version(value: &str) -> VersionedValue {
        VersionedValue {
            timestamp: Timestamp::from_micros(5),
            value: Bytes::copy_from_slice(value.as_bytes()),
        }
    }

    fn shown(operations: &[OperationKind], base: Option<&str>) -> Result<Option<String>, String> {
        let operations: Vec<_> = operations.iter().map(|kind| ("k", kind.clone())).collect();
        let shown = overlay(&operations).show(&key("k"), base.map(version));
        match shown {
            Ok(version) => Ok(version.map(|v| String::from_utf8(v.value.to_vec()).unwrap())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn operations_show_on_top_of_the_snapshot_in_their_order() {
        use OperationKind::*;
        let text = |t: &str| Ok(Some(t.to_owned()));
        assert_eq!(shown(&[Add(5)], Some("37")), text("42"));
        assert_eq!(shown(&[Delete, Add(5)], Some("37")), text("5"));
        assert_eq!(shown(&[Put("1".into()), Max(3)], Some("x")), text("3"));
        assert_eq!(shown(&[Append("b".into()), Delete], Some("a")), Ok(None));
        assert_eq!(
            shown(&[Add(1)], Some("many")),
            Err(
                "the operation on k is not possible: its value is not a decimal number of 64 bits"
                    .into()
            )
        );
    }

    #[test]
    fn the_snapshot_is_needed_unless_a_put_or_delete_covers_it() {
        use OperationKind::*;
        let overlay = overlay(&[
            ("put", Put("1".into())),
            ("put", Add(1)),
            ("add", Add(1)),
            ("gone", Delete),
        ]);
        assert!(!overlay.needs_base(&key("put")) && !overlay.needs_base(&key("gone")));
        assert!(overlay.needs_base(&key("add")) && overlay.needs_base(&key("other")));
    }

    #[test]
    fn a_scan_sees_own_writes_within_what_was_covered() {
        use OperationKind::*;
        let overlay = overlay(&[
            ("a", Put("own".into())),
            ("c", Delete),
            ("d", Append("+".into())),
            ("x", Put("beyond".into())),
        ]);
        let rows: Vec<Row> = ["b", "c", "d"]
            .map(|user| Row {
                key: key(user),
                version: version(user),
            })
            .into();
        let covered = KeyRange::new(key("a"), Some(key("m")));
        let users = |rows: Vec<Row>| {
            let row = |row: &Row| {
                let (user, value) = (row.key.user(), &row.version.value);
                format!("{}={}", user.escape_ascii(), value.escape_ascii())
            };
            rows.iter().map(row).collect::<Vec<_>>().join(" ")
        };
        let forward = overlay.merge(rows.clone(), &covered, false).unwrap();
        assert_eq!(users(forward), "a=own b=b d=d+");
        let backward = rows.into_iter().rev().collect();
        let backward = overlay.merge(backward, &covered, true).unwrap();
        assert_eq!(users(backward), "d=d+ b=b a=own");
    }
}
