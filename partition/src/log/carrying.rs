//! What of an old segment must be said again, so that it can go (pattern Low-Water Mark).
//!
//! A partition that is idle never discards its last entries: nothing comes after them that would say
//! that everybody has them. Few as they are, they would keep every later segment of the whole node. So
//! they are carried into the current segment, as compaction in a log-structured file system does
//! (Rosenblum and Ousterhout, *The Design and Implementation of a Log-Structured File System*, 1992).
//!
//! ```text
//!   oldest          …  later              …  current
//!   p1: 7 8 9          p2: 100 … 200         p2: 201 …  carried p1: 8 9
//!       `-- 8 and 9 above the mark of p1 --------------------^
//! ```
//!
//! - Only what is valid is carried: above the low-water mark, and not replaced by a later entry.
//! - A carried entry replaces nothing. Until the segment that it was carried from has gone, it is there
//!   twice; a crash at any instant leaves the one, the other, or both.

use super::format::{Stored, validate};
use super::low_water_mark::SegmentContents;
use super::record::LogRecord;
use std::collections::BTreeMap;
use std::ops::Range;
use wire::ids::{LogIndex, PartitionId};
use wire::message::Entry;

/// The entries of partitions by index, as records are read that append, replace and carry.
#[derive(Debug, Default)]
pub(super) struct ValidEntries {
    by_partition: BTreeMap<PartitionId, BTreeMap<LogIndex, Entry>>,
}

impl ValidEntries {
    /// Takes the next record.
    pub(super) fn apply(&mut self, stored: Stored) {
        match stored {
            Stored::Record(LogRecord::Entry { partition, entry }) => {
                let entries = self.by_partition.entry(partition).or_default();
                let last = entries.last_key_value().map(|(index, _)| *index);
                if last.is_some_and(|last| last >= entry.index) {
                    // It replaces itself and all above.
                    entries.split_off(&entry.index);
                }
                entries.insert(entry.index, entry);
            }
            Stored::Carried { partition, entry } => {
                let entries = self.by_partition.entry(partition).or_default();
                entries.insert(entry.index, entry);
            }
            Stored::Record(
                LogRecord::ReplicaInstalled { partition, .. }
                | LogRecord::ReplicaDropped { partition },
            ) => {
                self.by_partition.remove(&partition);
            }
            Stored::Record(
                LogRecord::HardState { .. } | LogRecord::Ceiling { .. } | LogRecord::Meta { .. },
            )
            | Stored::SegmentHead { .. }
            | Stored::LowWaterMark { .. } => {}
        }
    }

    /// The entries of a partition above an index, ascending.
    pub(super) fn take_above(&mut self, partition: PartitionId, above: LogIndex) -> Vec<Entry> {
        let entries = self.by_partition.remove(&partition).unwrap_or_default();
        let above = entries.into_iter().filter(|(index, _)| *index > above);
        above.map(|(_, entry)| entry).collect()
    }
}

/// Which indexes of a partition are valid in a segment: those above the low-water mark, and below the
/// first one that a later segment replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ValidRange {
    pub(super) above: LogIndex,
    pub(super) below: LogIndex,
}

/// What of a segment is needed and valid, by what lies there and in all later ones.
pub(super) fn valid_ranges<'a>(
    contents: &SegmentContents,
    later: impl Iterator<Item = &'a SegmentContents> + Clone,
    mark: impl Fn(PartitionId) -> Option<LogIndex>,
) -> BTreeMap<PartitionId, ValidRange> {
    let range = |(partition, above)| {
        let lowest = later.clone().filter_map(|l| l.lowest_appended(partition));
        let below = lowest.min().unwrap_or(LogIndex(u64::MAX));
        (partition, ValidRange { above, below })
    };
    contents.needed_partitions(mark).map(range).collect()
}

/// The valid entries of partitions, from the records that lie in `span` of a segment. All entries of these
/// partitions there must lie in it.
pub(super) fn valid_entries(
    bytes: &[u8],
    epoch: u32,
    span: Range<usize>,
    ranges: &BTreeMap<PartitionId, ValidRange>,
) -> Result<Vec<(PartitionId, Entry)>, String> {
    let mut offset = span.start;
    let mut entries = ValidEntries::default();
    while offset < span.end {
        let valid = validate(bytes, offset, epoch)
            .ok_or_else(|| format!("the record at {offset}, which was whole, does not validate"))?;
        entries.apply(valid.decode()?);
        offset = valid.end;
    }
    let mut valid = Vec::new();
    for (partition, range) in ranges {
        let above = entries.take_above(*partition, range.above).into_iter();
        let entries = above.take_while(|entry| entry.index < range.below);
        valid.extend(entries.map(|entry| (*partition, entry)));
    }
    Ok(valid)
}
