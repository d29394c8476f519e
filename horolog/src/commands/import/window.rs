//! Which batches may run beside each other.
//!
//! - Invariant: no two batches under way write the same key, so of two lines with one key the later
//!   one always wins, whatever overtakes what.
//! - The first line that is not imported is the least first line of the batches that failed: once no
//!   batch is under way, all lines before it are done.

use super::ImportRow;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Lines that are written by one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// The number of its first line.
    pub(super) first_line: u64,
    /// The number of its last line.
    pub(super) last_line: u64,
    /// Its rows, in their order.
    pub(super) rows: Vec<ImportRow>,
    /// The bytes of its keys and values.
    pub(super) bytes: usize,
}

impl Batch {
    pub(super) fn add(&mut self, line: u64, row: ImportRow) {
        if self.rows.is_empty() {
            self.first_line = line;
        }
        self.last_line = line;
        self.bytes += row.key.len() + row.value.len();
        self.rows.push(row);
    }
}

/// The batches under way.
#[derive(Debug, Default)]
pub(super) struct Window {
    keys: BTreeSet<Bytes>,
    under_way: BTreeMap<u64, Vec<Bytes>>,
    failed: Option<u64>,
}

impl Window {
    /// How many batches are under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether a batch may start now.
    pub(super) fn admits(&self, batch: &Batch) -> bool {
        batch.rows.iter().all(|row| !self.keys.contains(&row.key))
    }

    /// A batch starts.
    pub(super) fn start(&mut self, batch: &Batch) {
        assert!(
            self.admits(batch),
            "a batch must not share a key with one under way: batch of line {}, under way {:?}",
            batch.first_line,
            self.under_way.keys()
        );
        let keys: BTreeSet<&Bytes> = batch.rows.iter().map(|row| &row.key).collect();
        let keys: Vec<Bytes> = keys.into_iter().cloned().collect();
        self.keys.extend(keys.iter().cloned());
        self.under_way.insert(batch.first_line, keys);
    }

    /// A batch ended.
    pub(super) fn end(&mut self, first_line: u64, done: bool) {
        for key in self.under_way.remove(&first_line).unwrap_or_default() {
            self.keys.remove(&key);
        }
        if !done {
            self.failed = Some(self.failed.map_or(first_line, |line| line.min(first_line)));
        }
    }

    /// The first line of the batches that failed.
    pub(super) fn first_failed_line(&self) -> Option<u64> {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first_line: u64, keys: &[&'static str]) -> Batch {
        let mut batch = Batch::default();
        for (line, key) in (first_line..).zip(keys) {
            let row = ImportRow {
                key: (*key).into(),
                value: "v".into(),
            };
            batch.add(line, row);
        }
        batch
    }

    #[test]
    fn a_batch_waits_for_those_that_share_a_key() {
        let mut window = Window::default();
        window.start(&batch(1, &["a", "b", "a"]));
        assert!(!window.admits(&batch(4, &["c", "b"])));
        assert!(window.admits(&batch(4, &["c"])));
        window.start(&batch(4, &["c"]));
        assert_eq!(window.len(), 2);
        window.end(1, true);
        assert!(window.admits(&batch(6, &["a", "b"])));
        assert!(!window.admits(&batch(6, &["c"])));
        assert_eq!(window.first_failed_line(), None);
    }

    #[test]
    fn the_least_failed_line_is_where_to_resume() {
        let mut window = Window::default();
        for (line, key) in [(1, "a"), (101, "b"), (201, "c")] {
            window.start(&batch(line, &[key]));
        }
        window.end(201, false);
        window.end(1, true);
        window.end(101, false);
        assert_eq!(window.first_failed_line(), Some(101));
        assert_eq!((window.len(), window.keys.len()), (0, 0));
    }

    #[test]
    fn a_batch_knows_its_size() {
        let batch = batch(7, &["ab", "cde"]);
        assert_eq!((batch.first_line, batch.last_line, batch.bytes), (7, 8, 7));
    }
}
