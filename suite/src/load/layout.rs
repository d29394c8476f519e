//! Where a workload's keys lie: on both sides of every border between partitions, so that transactions span
//! partitions and scans cross borders.
//!
//! ```text
//!   partitions  │      p2       │      p3       │      p4       │
//!   keys        │!a           ~a│!a           ~a│!a             │
//!   strips       ──           ────             ────
//! ```
//!
//! A strip is a range that holds, but for stray keys of others, nothing but what lies beside one border. The
//! borders are read from the cluster's map, so any cluster can be aimed at; the keys of a run have a name that
//! no other run has.

use crate::error::SuiteError;
use std::ops::Range;
use wire::keys::{DEFAULT_KEYSPACE, Key, KeyRange};
use wire::message::MapAnswer;

/// A range of user keys.
pub(super) type UserRange = Range<Vec<u8>>;

/// Prefixes of keys, ascending, each in one partition.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    sides: Vec<Vec<u8>>,
    /// Of each strip its first and last side.
    strips: Vec<(usize, usize)>,
}

impl Layout {
    /// For the partitions of a map.
    pub(super) fn of(map: &MapAnswer, name: &str) -> Result<Layout, SuiteError> {
        let whole = KeyRange::keyspace(DEFAULT_KEYSPACE);
        let ranges = map
            .partitions
            .iter()
            .map(|(descriptor, _)| &descriptor.range);
        let mut ranges: Vec<KeyRange> = ranges
            .filter_map(|range| range.intersection(&whole))
            .collect();
        ranges.sort_by(|a, b| a.start.cmp(&b.start));
        let mut layout = Layout {
            sides: Vec::new(),
            strips: Vec::new(),
        };
        let mut before: Option<usize> = None;
        for range in ranges {
            if let Some(high) = layout.side(&range, range.start.user(), "!", name) {
                layout.strips.push((before.unwrap_or(high), high));
            }
            let below = range.end.as_ref().and_then(|end| before_all(end.user()));
            before = below.and_then(|below| layout.side(&range, &below, "~~", name));
        }
        if layout.sides.is_empty() {
            let why = "no partition of the keyspace 'default' has room for the keys of a workload";
            return Err(SuiteError::Load(why.into()));
        }
        if let Some(last) = before {
            layout.strips.push((last, last));
        }
        Ok(layout)
    }

    /// Adds a side if it lies in the range.
    fn side(&mut self, range: &KeyRange, begin: &[u8], mark: &str, name: &str) -> Option<usize> {
        let side = [begin, format!("{mark}{name}/").as_bytes()].concat();
        let key = Key::new(DEFAULT_KEYSPACE, &side);
        let last = Key::new(DEFAULT_KEYSPACE, &[&side[..], b"~"].concat());
        if !range.contains(&key) || !range.contains(&last) {
            return None;
        }
        self.sides.push(side);
        Some(self.sides.len() - 1)
    }

    /// A key of a part of the workload; numbers that follow each other lie in different places.
    pub(super) fn key(&self, part: &str, number: u64) -> Vec<u8> {
        self.key_on((number % self.sides.len() as u64) as usize, part, number)
    }

    fn key_on(&self, side: usize, part: &str, number: u64) -> Vec<u8> {
        [&self.sides[side], format!("{part}/{number:010}").as_bytes()].concat()
    }

    /// How many strips there are; one at least.
    pub(super) fn strips(&self) -> usize {
        self.strips.len()
    }

    /// A key of a strip: the lower half of `0..size` lies below its border, the others above, in order.
    pub(super) fn key_in(&self, strip: usize, part: &str, number: u64, size: u64) -> Vec<u8> {
        let (low, high) = self.strips[strip % self.strips.len()];
        self.key_on(if number < size / 2 { low } else { high }, part, number)
    }

    /// The ranges that hold all keys of a part, one a strip.
    pub(super) fn ranges(&self, part: &str) -> Vec<UserRange> {
        let range = |(low, high): &(usize, usize)| {
            let from = [&self.sides[*low], format!("{part}/").as_bytes()].concat();
            // The byte behind '/'.
            from..[&self.sides[*high], format!("{part}0").as_bytes()].concat()
        };
        self.strips.iter().map(range).collect()
    }

    /// Which number of a part a key has; `None` for a key of something else.
    pub(super) fn number(&self, part: &str, key: &Key) -> Option<u64> {
        let side = self
            .sides
            .iter()
            .find(|side| key.user().starts_with(side))?;
        let rest = std::str::from_utf8(&key.user()[side.len()..]).ok()?;
        rest.strip_prefix(part)?.strip_prefix('/')?.parse().ok()
    }
}

/// A prefix of keys below `end`, and above most others that are.
fn before_all(end: &[u8]) -> Option<Vec<u8>> {
    let (last, rest) = end.split_last()?;
    let below = last.checked_sub(1)?;
    Some([rest, &[below]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::{ClusterId, Generation, NodeId, PartitionId};
    use wire::keys::Descriptor;

    fn map(borders: &[&str]) -> MapAnswer {
        let border = |text: &str| Key::new(DEFAULT_KEYSPACE, text.as_bytes());
        let mut starts = vec![border("")];
        starts.extend(borders.iter().map(|text| border(text)));
        let ends = starts.clone().into_iter().skip(1).map(Some).chain([None]);
        let ranges = starts.into_iter().zip(ends);
        let partitions = ranges.enumerate().map(|(number, (start, end))| {
            let descriptor = Descriptor {
                partition: PartitionId(number as u32 + 2),
                generation: Generation(1),
                range: KeyRange::new(start, end),
                members: vec![NodeId(1)],
            };
            (descriptor, None)
        });
        MapAnswer {
            cluster: ClusterId(1),
            node: NodeId(1),
            partitions: partitions.collect(),
            nodes: vec![],
        }
    }

    fn text(layout: &Layout) -> Vec<String> {
        let texts = layout
            .sides
            .iter()
            .map(|side| String::from_utf8(side.clone()).unwrap());
        texts.collect()
    }

    #[test]
    fn keys_lie_on_both_sides_of_every_border() {
        let layout = Layout::of(&map(&["g", "n"]), "x").unwrap();
        assert_eq!(text(&layout), ["!x/", "f~~x/", "g!x/", "m~~x/", "n!x/"]);
        assert_eq!(layout.strips, [(0, 0), (1, 2), (3, 4)]);
        assert_eq!(layout.key("p", 6), b"f~~x/p/0000000006");
        assert_eq!(layout.key_in(1, "p", 3, 8), b"f~~x/p/0000000003");
        assert_eq!(layout.key_in(1, "p", 4, 8), b"g!x/p/0000000004");
    }

    #[test]
    fn the_ranges_hold_every_key_of_a_part_and_tell_its_number() {
        let layout = Layout::of(&map(&["g", "n"]), "x").unwrap();
        let ranges = layout.ranges("p");
        for number in 0..20 {
            let key = layout.key("p", number);
            let holding = ranges.iter().filter(|range| range.contains(&key)).count();
            assert_eq!(holding, 1, "{number}");
            let full = Key::new(DEFAULT_KEYSPACE, &key);
            assert_eq!(layout.number("p", &full), Some(number));
            assert_eq!(layout.number("q", &full), None);
        }
    }

    #[test]
    fn a_cluster_of_one_partition_has_one_strip() {
        let layout = Layout::of(&map(&[]), "x").unwrap();
        assert_eq!(
            (text(&layout), layout.strips()),
            (vec!["!x/".to_owned()], 1)
        );
    }

    #[test]
    fn a_side_that_does_not_fit_is_left_out() {
        let layout = Layout::of(&map(&["g", "g!"]), "x").unwrap();
        assert_eq!(text(&layout), ["!x/", "f~~x/", "g ~~x/", "g!!x/"]);
        assert_eq!(layout.strips, [(0, 0), (2, 3)]);
    }
}
