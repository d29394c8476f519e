//! The part of a replica's log that is in memory (pattern Replicated Log).
//!
//! ```text
//!   1 ......... base | base+1 .......... durable ........ last
//!   discarded        | entries, here     own disk         logged, perhaps not yet on disk
//! ```
//!
//! Invariants:
//! - indexes are consecutive, terms never fall;
//! - `base <= durable <= last`: only what is in the store for good is discarded;
//! - an entry is replaced only after the disk has reported it. So every report of the disk speaks of
//!   the entry that stands here: *an early report of an entry that was replaced and came back would
//!   vouch for records that lie between and may be all that a crash leaves*.

use super::progress::counted_bytes;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use wire::ids::{LogIndex, Term};
use wire::message::{Entry, LogPosition};

/// Entries above a base.
#[derive(Clone, Debug)]
pub(super) struct ReplicatedLog {
    base: LogPosition,
    entries: VecDeque<Entry>,
    durable: LogIndex,
    /// Of all entries.
    bytes: u64,
}

impl ReplicatedLog {
    /// A log as it was recovered: all of it is durable.
    pub(super) fn new(base: LogPosition, entries: Vec<Entry>) -> ReplicatedLog {
        let mut log = ReplicatedLog {
            base,
            entries: VecDeque::with_capacity(entries.len()),
            durable: base.index,
            bytes: 0,
        };
        for entry in entries {
            log.append(entry);
        }
        log.durable = log.last().index;
        log
    }

    /// The last position that was discarded.
    pub(super) fn base(&self) -> LogPosition {
        self.base
    }

    /// The last position.
    pub(super) fn last(&self) -> LogPosition {
        self.entries.back().map_or(self.base, Entry::position)
    }

    /// Up to here the own disk has everything.
    pub(super) fn durable(&self) -> LogIndex {
        self.durable
    }

    /// The term at an index: of the base and all above, up to the last.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        Some(self.entries.get(self.offset(index)?)?.term)
    }

    /// Whether the entry at this position is here, or was the last to be discarded.
    pub(super) fn holds(&self, position: LogPosition) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The entries of a range, without what is discarded or not yet there.
    pub(super) fn entries(&self, range: RangeInclusive<LogIndex>) -> impl Iterator<Item = &Entry> {
        let first = self.offset(*range.start()).unwrap_or(0);
        let last = *range.end();
        self.entries
            .range(first.min(self.entries.len())..)
            .take_while(move |entry| entry.index <= last)
    }

    /// Adds one entry at the end.
    pub(super) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(
            entry.index,
            last.index.next(),
            "a log has no gaps: {:?} follows {last:?}",
            entry.position()
        );
        assert!(
            entry.term >= last.term,
            "terms never fall in a log: {:?} follows {last:?}",
            entry.position()
        );
        self.bytes += counted_bytes(&entry) as u64;
        self.entries.push_back(entry);
    }

    /// Bytes of all entries, each counted with what it costs beside its body.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The least index above which the entries have at most so many bytes.
    pub(super) fn index_leaving(&self, bytes_max: u64) -> LogIndex {
        let mut left = self.bytes;
        let mut index = self.base.index;
        for entry in &self.entries {
            if left <= bytes_max {
                break;
            }
            left -= counted_bytes(entry) as u64;
            index = entry.index;
        }
        index
    }

    /// Forgets the entry at `index` and all above: another leader's take their place.
    pub(super) fn truncate_from(&mut self, index: LogIndex) {
        assert_eq!(
            self.durable,
            self.last().index,
            "entries are replaced only after the disk has reported them all"
        );
        let offset = self
            .offset(index)
            .expect("what is discarded is committed and never replaced");
        let gone: usize = self.entries.range(offset..).map(counted_bytes).sum();
        self.bytes -= gone as u64;
        self.entries.truncate(offset);
        self.durable = self.last().index;
    }

    /// The disk reports everything up to a position. Says whether that is news; a position that is not
    /// held is none.
    pub(super) fn maybe_raise_durable(&mut self, position: LogPosition) -> bool {
        if position.index <= self.durable || !self.holds(position) {
            return false;
        }
        self.durable = position.index;
        true
    }

    /// Forgets everything up to a position, which becomes the base.
    pub(super) fn discard(&mut self, up_to: LogPosition) {
        if up_to.index <= self.base.index {
            return;
        }
        assert!(
            self.holds(up_to),
            "only what is held can be discarded: {up_to:?} is not in {:?}..={:?}",
            self.base,
            self.last()
        );
        let count = (up_to.index.0 - self.base.index.0) as usize;
        let gone: usize = self.entries.drain(..count).map(|e| counted_bytes(&e)).sum();
        self.bytes -= gone as u64;
        self.base = up_to;
        self.durable = self.durable.max(up_to.index);
    }

    /// Where the entry with this index stands in `entries`, if above the base.
    fn offset(&self, index: LogIndex) -> Option<usize> {
        let above = index.0.checked_sub(self.base.index.0)?;
        Some(above.checked_sub(1)? as usize)
    }
}
