//! Which segments are still needed (pattern Low-Water Mark).
//!
//! A segment is needed as long as it holds an entry above the durable low-water mark of its partition.
//! Everything else in it is said again at the head of each later segment. Only the oldest segments go,
//! so that what remains is consecutive; what little an old one still holds is carried, see
//! [`super::carrying`].

use super::format::Stored;
use super::record::LogRecord;
use std::collections::BTreeMap;
use std::ops::Range;
use wire::ids::{LogIndex, PartitionId};

/// What of each partition lies in a segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct SegmentContents {
    partitions: BTreeMap<PartitionId, Share>,
}

/// The entries of one partition in a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Share {
    lowest: LogIndex,
    highest: LogIndex,
    /// The lowest that was appended here, and so replaced what stood in older segments.
    lowest_appended: Option<LogIndex>,
    /// Of all its records.
    bytes: u64,
    /// Where they lie, with those of other partitions between them.
    span: Range<usize>,
}

impl Share {
    /// About how many bytes of it lie above a low-water mark.
    fn bytes_above(&self, mark: LogIndex) -> u64 {
        let all = self.highest.0 - self.lowest.0 + 1;
        let above = self.highest.0.saturating_sub(mark.0).min(all);
        (u128::from(self.bytes) * u128::from(above)).div_ceil(u128::from(all)) as u64
    }
}

impl SegmentContents {
    /// A record stands at these bytes of the segment.
    pub(super) fn note(&mut self, stored: &Stored, at: Range<usize>) {
        match stored {
            Stored::Record(record) => self.note_record(record, at),
            Stored::Carried { partition, entry } => self.note_entry(*partition, entry.index, at),
            Stored::SegmentHead { .. } | Stored::LowWaterMark { .. } => {}
        }
    }

    pub(super) fn note_record(&mut self, record: &LogRecord, at: Range<usize>) {
        match record {
            LogRecord::Entry { partition, entry } => {
                self.note_entry(*partition, entry.index, at);
                let share = self.partitions.get_mut(partition);
                let lowest = &mut share.expect("it was just noted").lowest_appended;
                *lowest = Some(lowest.map_or(entry.index, |lowest| lowest.min(entry.index)));
            }
            LogRecord::ReplicaInstalled { partition, .. }
            | LogRecord::ReplicaDropped { partition } => self.forget(*partition),
            LogRecord::HardState { .. } | LogRecord::Ceiling { .. } | LogRecord::Meta { .. } => {}
        }
    }

    /// An entry that was appended or carried here.
    pub(super) fn note_entry(&mut self, partition: PartitionId, index: LogIndex, at: Range<usize>) {
        let share = self.partitions.entry(partition).or_insert_with(|| Share {
            lowest: index,
            highest: index,
            lowest_appended: None,
            bytes: 0,
            span: at.clone(),
        });
        share.lowest = share.lowest.min(index);
        share.highest = share.highest.max(index);
        share.bytes += at.len() as u64;
        share.span.end = at.end;
    }

    /// The entries of a partition in this segment are void.
    pub(super) fn forget(&mut self, partition: PartitionId) {
        self.partitions.remove(&partition);
    }

    /// The partitions that have an entry above their low-water mark here.
    fn needed(
        &self,
        mark: impl Fn(PartitionId) -> Option<LogIndex>,
    ) -> impl Iterator<Item = (PartitionId, LogIndex, &Share)> {
        self.partitions
            .iter()
            .filter_map(move |(partition, share)| {
                let mark = mark(*partition).filter(|mark| share.highest > *mark)?;
                Some((*partition, mark, share))
            })
    }

    /// Whether an entry lies above the low-water mark of its partition.
    pub(super) fn is_needed(&self, mark: impl Fn(PartitionId) -> Option<LogIndex>) -> bool {
        self.needed(mark).next().is_some()
    }

    /// The partitions that have an entry above their low-water mark here, with that mark.
    pub(super) fn needed_partitions(
        &self,
        mark: impl Fn(PartitionId) -> Option<LogIndex>,
    ) -> impl Iterator<Item = (PartitionId, LogIndex)> {
        self.needed(mark)
            .map(|(partition, mark, _)| (partition, mark))
    }

    /// About how many bytes of entries lie above the low-water marks of their partitions.
    pub(super) fn needed_bytes(&self, mark: impl Fn(PartitionId) -> Option<LogIndex>) -> u64 {
        self.needed(mark)
            .map(|(_, mark, share)| share.bytes_above(mark))
            .sum()
    }

    /// Where all entries of those partitions lie.
    pub(super) fn needed_span(
        &self,
        mark: impl Fn(PartitionId) -> Option<LogIndex>,
    ) -> Option<Range<usize>> {
        self.needed(mark)
            .map(|(_, _, share)| share.span.clone())
            .reduce(|one, other| one.start.min(other.start)..one.end.max(other.end))
    }

    /// The first entry of a partition that was appended here: it replaced all from there on that stood
    /// in older segments.
    pub(super) fn lowest_appended(&self, partition: PartitionId) -> Option<LogIndex> {
        self.partitions.get(&partition)?.lowest_appended
    }
}
