//! Which segments are still needed (pattern Low-Water Mark).
//!
//! A segment is needed as long as it holds an entry above the durable low-water mark of its partition.
//! Everything else in it is said again at the head of each later segment. Only the oldest segments go,
//! so that what remains is consecutive.

use super::format::Stored;
use super::record::LogRecord;
use std::collections::BTreeMap;
use wire::ids::{LogIndex, PartitionId};

/// The highest index of each partition's entries in a segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct SegmentContents {
    highest: BTreeMap<PartitionId, LogIndex>,
}

impl SegmentContents {
    pub(super) fn note(&mut self, stored: &Stored) {
        if let Stored::Record(record) = stored {
            self.note_record(record);
        }
    }

    pub(super) fn note_record(&mut self, record: &LogRecord) {
        match record {
            LogRecord::Entry { partition, entry } => {
                let highest = self.highest.entry(*partition).or_default();
                *highest = entry.index.max(*highest);
            }
            LogRecord::ReplicaInstalled { partition, .. }
            | LogRecord::ReplicaDropped { partition } => self.forget(*partition),
            LogRecord::HardState { .. } | LogRecord::Ceiling { .. } | LogRecord::Meta { .. } => {}
        }
    }

    /// The entries of a partition in this segment are void.
    pub(super) fn forget(&mut self, partition: PartitionId) {
        self.highest.remove(&partition);
    }

    /// Whether an entry lies above the low-water mark of its partition.
    pub(super) fn is_needed(&self, mark: impl Fn(PartitionId) -> Option<LogIndex>) -> bool {
        self.highest
            .iter()
            .any(|(partition, highest)| mark(*partition).is_some_and(|mark| *highest > mark))
    }
}
