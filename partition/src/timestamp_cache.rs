//! Up to where each key was read, so that nothing is written there any more.
//!
//! Before a leader answers a read at `r` it raises the cache of what is read to `r`; every later write
//! of another transaction there is placed above (R2). Without it, two transactions that each read what
//! the other writes would both commit: write skew. (Bernstein and Goodman, *Timestamp-Based Algorithms
//! for Concurrency Control in Distributed Database Systems*, 1980; CockroachDB's timestamp cache.)
//!
//! Invariants
//! - What [`TimestampCache::highest_of_others`] says of a key never falls, whatever is forgotten: to
//!   forget means to raise the low water of all keys.
//! - A reader is not pushed by its own reads: each entry keeps the highest timestamp with its reader,
//!   and the highest of everybody else.
//! - At most [`POINTS_MAX`] points and [`SPANS_MAX`] spans.

use clock::Timestamp;
use std::collections::BTreeMap;
use wire::ids::TransactionId;
use wire::keys::{Key, KeyRange};

/// The most single keys that are remembered.
pub(crate) const POINTS_MAX: usize = 64 * 1024;
/// The most pieces of spans that are remembered.
pub(crate) const SPANS_MAX: usize = 8 * 1024;

/// The highest timestamp with its reader, and the highest of all other readers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    highest: Timestamp,
    reader: Option<TransactionId>,
    others: Timestamp,
}

impl Mark {
    const NONE: Mark = Mark {
        highest: Timestamp::ZERO,
        reader: None,
        others: Timestamp::ZERO,
    };

    fn raise(&mut self, at: Timestamp, reader: Option<TransactionId>) {
        if reader.is_some() && reader == self.reader {
            self.highest = self.highest.max(at);
        } else if at > self.highest {
            *self = Mark {
                highest: at,
                reader,
                others: self.highest.max(if reader.is_none() {
                    at
                } else {
                    Timestamp::ZERO
                }),
            };
        } else {
            self.others = self.others.max(at);
        }
    }

    fn of_others(&self, id: TransactionId) -> Timestamp {
        if self.reader == Some(id) {
            self.others
        } else {
            self.highest
        }
    }
}

#[derive(Clone, Debug)]
struct Piece {
    end: Option<Key>,
    mark: Mark,
}

/// The reads of one leadership.
#[derive(Debug)]
pub(crate) struct TimestampCache {
    low_water: Timestamp,
    /// Nothing was ever read above it.
    highest: Timestamp,
    points: BTreeMap<Key, Mark>,
    /// Disjoint pieces of key ranges, by their first key.
    spans: BTreeMap<Key, Piece>,
}

impl TimestampCache {
    /// A cache in which every key counts as read at `low_water`.
    pub(crate) fn new(low_water: Timestamp) -> TimestampCache {
        TimestampCache {
            low_water,
            highest: low_water,
            points: BTreeMap::new(),
            spans: BTreeMap::new(),
        }
    }

    /// Remembers that a range was read.
    pub(crate) fn raise(&mut self, range: &KeyRange, at: Timestamp, reader: Option<TransactionId>) {
        if at <= self.low_water || range.is_empty() {
            return;
        }
        self.highest = self.highest.max(at);
        match range.as_point() {
            Some(key) => self.raise_point(key, at, reader),
            None => self.raise_span(range, at, reader),
        }
    }

    /// The highest timestamp at which anything was read, and no lower than the low water: what a
    /// planned transfer hands over (R9).
    pub(crate) fn high_water(&self) -> Timestamp {
        self.highest
    }

    /// The highest timestamp at which anybody but `id` read a key.
    pub(crate) fn highest_of_others(&self, key: &Key, id: TransactionId) -> Timestamp {
        let point = self.points.get(key).map(|mark| mark.of_others(id));
        let piece = self.spans.range(..=key).next_back();
        let span = piece
            .filter(|(_, piece)| piece.end.as_ref().is_none_or(|end| key < end))
            .map(|(_, piece)| piece.mark.of_others(id));
        self.low_water
            .max(point.unwrap_or_default())
            .max(span.unwrap_or_default())
    }

    fn raise_point(&mut self, key: &Key, at: Timestamp, reader: Option<TransactionId>) {
        if let Some(mark) = self.points.get_mut(key) {
            return mark.raise(at, reader);
        }
        if self.points.len() >= POINTS_MAX {
            self.forget_older_half();
        }
        let mut mark = Mark::NONE;
        mark.raise(at, reader);
        self.points.insert(key.clone(), mark);
    }

    fn raise_span(&mut self, range: &KeyRange, at: Timestamp, reader: Option<TransactionId>) {
        self.cut(&range.start);
        if let Some(end) = &range.end {
            self.cut(end);
        }
        let mut gaps = Vec::new();
        let mut border = Some(range.start.clone());
        for (start, piece) in self.spans.range_mut(range.start.clone()..) {
            if range.end.as_ref().is_some_and(|end| start >= end) {
                break;
            }
            if let Some(border) = border.filter(|border| border < start) {
                gaps.push((border, Some(start.clone())));
            }
            piece.mark.raise(at, reader);
            border = piece.end.clone();
        }
        if let Some(border) = border.filter(|b| range.end.as_ref().is_none_or(|end| b < end)) {
            gaps.push((border, range.end.clone()));
        }
        for (start, end) in gaps {
            let mut mark = Mark::NONE;
            mark.raise(at, reader);
            self.spans.insert(start, Piece { end, mark });
        }
        if self.spans.len() > SPANS_MAX {
            self.forget_older_half();
        }
    }

    /// Makes `at` a border between pieces, if a piece covers it.
    fn cut(&mut self, at: &Key) {
        let Some((start, piece)) = self.spans.range_mut(..at).next_back() else {
            return;
        };
        if piece.end.as_ref().is_some_and(|end| end <= at) {
            return;
        }
        debug_assert!(start < at, "a piece is cut at its own start {at:?}");
        let upper = piece.clone();
        piece.end = Some(at.clone());
        self.spans.insert(at.clone(), upper);
    }

    /// Raises the low water to the middle of what is remembered, and forgets what lies below.
    fn forget_older_half(&mut self) {
        let points = self.points.values();
        let mut all: Vec<Timestamp> = points.map(|mark| mark.highest).collect();
        all.extend(self.spans.values().map(|piece| piece.mark.highest));
        let middle = all.len() / 2;
        let (_, middle, _) = all.select_nth_unstable(middle);
        self.low_water = self.low_water.max(*middle);
        let low_water = self.low_water;
        self.points.retain(|_, mark| mark.highest > low_water);
        self.spans.retain(|_, piece| piece.mark.highest > low_water);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{id, key, range, ts};
    use proptest::prelude::*;

    #[test]
    fn a_reader_is_not_pushed_by_itself_but_by_everybody_before_it() {
        let mut cache = TimestampCache::new(ts(1));
        let point = KeyRange::point(key("a"));
        cache.raise(&point, ts(5), Some(id(1)));
        cache.raise(&point, ts(10), Some(id(2)));
        assert_eq!(cache.highest_of_others(&key("a"), id(2)), ts(5));
        assert_eq!(cache.highest_of_others(&key("a"), id(1)), ts(10));
        cache.raise(&point, ts(10), None);
        assert_eq!(cache.highest_of_others(&key("a"), id(2)), ts(10));
        assert_eq!(cache.highest_of_others(&key("b"), id(2)), ts(1));
    }

    #[test]
    fn forgetting_raises_the_low_water() {
        let mut cache = TimestampCache::new(ts(0));
        for n in 0..POINTS_MAX as u64 + 1 {
            let key = key(&format!("{n:08}"));
            cache.raise(&KeyRange::point(key), ts(n + 1), None);
        }
        assert!(cache.points.len() <= POINTS_MAX / 2 + 1);
        assert_eq!(cache.low_water, ts(POINTS_MAX as u64 / 2 + 1));
        assert_eq!(
            cache.highest_of_others(&key("00000003"), id(1)),
            cache.low_water
        );
    }

    proptest! {
        /// Against a plain list of everything that was ever read.
        #[test]
        fn it_says_what_a_list_of_all_reads_says(
            reads in proptest::collection::vec((0u8..12, 0u8..12, 1u64..20, 0u64..4), 0..40),
        ) {
            let mut cache = TimestampCache::new(ts(3));
            let user = |n: u8| key(&format!("{n:02}"));
            let mut list = Vec::new();
            for (a, b, at, who) in reads {
                let range = if a == b {
                    KeyRange::point(user(a))
                } else {
                    KeyRange::new(user(a.min(b)), Some(user(a.max(b))))
                };
                let who = (who > 0).then(|| id(who));
                cache.raise(&range, ts(at), who);
                list.push((range, ts(at), who));
            }
            for n in 0..12 {
                for who in 1..4 {
                    let read = list.iter().filter(|(range, _, reader)| {
                        range.contains(&user(n)) && *reader != Some(id(who))
                    });
                    let expected = read.map(|(_, at, _)| *at).max().unwrap_or_default().max(ts(3));
                    let found = cache.highest_of_others(&user(n), id(who));
                    // Own reads may be taken for another's only upwards, and never with fewer than
                    // three readers on a key; what is said is never below what was read.
                    prop_assert!(found >= expected, "{found} below {expected}");
                    let all = list.iter().filter(|(range, _, _)| range.contains(&user(n)));
                    let all = all.map(|(_, at, _)| *at).max().unwrap_or_default().max(ts(3));
                    prop_assert!(found <= all, "{found} above {all}");
                }
            }
        }

        /// With one reader at most besides the anonymous ones, nothing is taken for another's.
        #[test]
        fn one_reader_is_never_pushed_by_itself(
            reads in proptest::collection::vec((0u8..6, 1u64..20, any::<bool>()), 0..30),
        ) {
            let mut cache = TimestampCache::new(ts(0));
            let user = |n: u8| key(&format!("{n:02}"));
            for (n, at, own) in &reads {
                let who = own.then(|| id(1));
                cache.raise(&KeyRange::point(user(*n)), ts(*at), who);
            }
            for n in 0..6 {
                let others = reads.iter().filter(|(m, _, own)| *m == n && !own);
                let expected = others.map(|(_, at, _)| ts(*at)).max().unwrap_or_default();
                let found = cache.highest_of_others(&user(n), id(1));
                let own = reads.iter().filter(|(m, _, own)| *m == n && *own);
                let own = own.map(|(_, at, _)| ts(*at)).max().unwrap_or_default();
                // An own read below another's is folded into it, which is not above what others read.
                prop_assert!(found == expected || found <= expected.max(own));
                prop_assert!(found >= expected);
                if own >= expected && reads.iter().filter(|(m, _, _)| *m == n).all(|(_, _, o)| *o) {
                    prop_assert_eq!(found, ts(0));
                }
            }
        }
    }

    #[test]
    fn a_span_is_cut_where_it_must_be() {
        let mut cache = TimestampCache::new(ts(0));
        cache.raise(&range("b", "f"), ts(5), None);
        cache.raise(&range("d", "h"), ts(9), None);
        assert_eq!(cache.high_water(), ts(9));
        let at = |user| cache.highest_of_others(&key(user), id(1));
        assert_eq!(
            [at("a"), at("b"), at("d"), at("g"), at("h")],
            [0, 5, 9, 9, 0].map(ts)
        );
    }
}
