//! One page of a scan: rows up to a limit, and what of the range is left.

use super::store::{StoreResult, VersionRow};
use bytes::Bytes;
use wire::keys::{Key, KeyRange};

/// Collects the rows of a scan.
pub(super) struct Page<'a> {
    range: &'a KeyRange,
    reverse: bool,
    rows_max: usize,
    bytes_max: usize,
    bytes: usize,
    rows: Vec<VersionRow>,
    rest: Option<KeyRange>,
}

impl<'a> Page<'a> {
    pub(super) fn new(
        range: &'a KeyRange,
        reverse: bool,
        rows_max: u32,
        bytes_max: u32,
    ) -> Page<'a> {
        Page {
            range,
            reverse,
            rows_max: rows_max as usize,
            bytes_max: bytes_max as usize,
            bytes: 0,
            rows: Vec::new(),
            rest: None,
        }
    }

    /// Takes the next row, or, if the page is full, notes that the rest begins with it.
    pub(super) fn take(&mut self, row: &VersionRow) -> bool {
        let full = self.rows.len() >= self.rows_max
            || (self.bytes >= self.bytes_max && !self.rows.is_empty());
        if full {
            self.rest = Some(self.from(&row.key));
            return false;
        }
        self.bytes += row.key.bytes().len() + row.value.as_ref().map_or(0, Bytes::len);
        self.rows.push(row.clone());
        true
    }

    fn from(&self, key: &Key) -> KeyRange {
        if self.reverse {
            KeyRange::new(self.range.start.clone(), Some(key.successor()))
        } else {
            KeyRange::new(key.clone(), self.range.end.clone())
        }
    }

    pub(super) fn into_result(self) -> StoreResult {
        StoreResult::Rows {
            rows: self.rows,
            rest: self.rest,
        }
    }
}
