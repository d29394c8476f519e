//! Which page of a scan is next.
//!
//! Invariant: the pages that were read cover the range from its beginning (or, in reverse, from its
//! end) without a gap, and `rest` is exactly what they do not cover.

use crate::keys::{Key, KeyRange};
use crate::message::{ReadRequest, Row};
use std::collections::VecDeque;

/// Rows that are asked for at once unless the program says otherwise.
pub(super) const PAGE_ROWS: u32 = 1_000;
/// Bytes of keys and values after which a page ends.
pub(super) const PAGE_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// The state of one scan.
#[derive(Clone, Debug)]
pub(super) struct Pager {
    rest: Option<KeyRange>,
    ready: VecDeque<Row>,
    pub(super) reverse: bool,
    pub(super) left: Option<u64>,
    pub(super) page_rows: u32,
}

impl Pager {
    pub(super) fn new(range: KeyRange) -> Pager {
        Pager {
            rest: Some(range).filter(|range| !range.is_empty()),
            ready: VecDeque::new(),
            reverse: false,
            left: None,
            page_rows: PAGE_ROWS,
        }
    }

    /// The next row, if one is at hand.
    pub(super) fn take(&mut self) -> Option<Row> {
        if self.left == Some(0) {
            return None;
        }
        let row = self.ready.pop_front()?;
        self.left = self.left.map(|left| left - 1);
        Some(row)
    }

    /// The page to read when no row is at hand; `None`: the scan is over.
    pub(super) fn next_page(&self) -> Option<ReadRequest> {
        if self.left == Some(0) {
            return None;
        }
        let wanted = self.left.unwrap_or(u64::MAX);
        Some(ReadRequest::Scan {
            range: self.rest.clone()?,
            reverse: self.reverse,
            limit: u64::from(self.page_rows.max(1)).min(wanted) as u32,
            bytes_max: PAGE_BYTES_MAX,
        })
    }

    /// The key from which the next page goes on, to route by.
    pub(super) fn next_key(&self) -> Option<Key> {
        let rest = self.rest.as_ref()?;
        let end = rest.end.as_ref().filter(|_| self.reverse);
        Some(end.unwrap_or(&rest.start).clone())
    }

    /// What a page covered whose unread rest is `rest`; `None` if that is no part of what was asked.
    pub(super) fn covered(&self, rest: Option<&KeyRange>) -> Option<KeyRange> {
        let asked = self.rest.clone()?;
        let Some(rest) = rest else {
            return Some(asked);
        };
        let (covered, kept) = if self.reverse {
            let covered = KeyRange::new(rest.end.clone()?, asked.end.clone());
            (covered, rest.start == asked.start)
        } else {
            let covered = KeyRange::new(asked.start.clone(), Some(rest.start.clone()));
            (covered, rest.end == asked.end)
        };
        (kept && !covered.is_empty() && asked.intersection(&covered).as_ref() == Some(&covered))
            .then_some(covered)
    }

    /// A page came: these rows, in the order of the scan.
    pub(super) fn on_page(&mut self, rows: Vec<Row>, rest: Option<KeyRange>) {
        self.ready.extend(rows);
        self.rest = rest.filter(|rest| !rest.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::DEFAULT_KEYSPACE;

    fn key(user: &str) -> Key {
        Key::new(DEFAULT_KEYSPACE, user.as_bytes())
    }

    fn range(start: &str, end: &str) -> KeyRange {
        KeyRange::new(key(start), Some(key(end)))
    }

    #[test]
    fn what_a_page_covers_is_what_it_leaves_out() {
        let mut pager = Pager::new(range("a", "z"));
        assert_eq!(pager.covered(None), Some(range("a", "z")));
        assert_eq!(pager.covered(Some(&range("f", "z"))), Some(range("a", "f")));
        assert_eq!(pager.covered(Some(&range("a", "z"))), None, "no progress");
        assert_eq!(
            pager.covered(Some(&range("f", "y"))),
            None,
            "a gap at the end"
        );
        pager.reverse = true;
        assert_eq!(pager.covered(Some(&range("a", "f"))), Some(range("f", "z")));
        assert_eq!(
            pager.covered(Some(&range("b", "f"))),
            None,
            "a gap at the start"
        );
    }

    #[test]
    fn a_limit_ends_the_scan_and_bounds_the_page() {
        let mut pager = Pager::new(range("a", "z"));
        (pager.left, pager.page_rows) = (Some(0), 10);
        assert_eq!(pager.next_page(), None);
        pager.left = Some(3);
        assert!(matches!(
            pager.next_page(),
            Some(ReadRequest::Scan { limit: 3, .. })
        ));
        pager.left = Some(30);
        assert!(matches!(
            pager.next_page(),
            Some(ReadRequest::Scan { limit: 10, .. })
        ));
        assert_eq!(Pager::new(range("b", "b")).next_page(), None);
    }
}
