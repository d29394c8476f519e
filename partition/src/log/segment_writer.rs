//! Turns records into the bytes of a segment, one flush after another (pattern Write-Ahead Log). No IO:
//! whoever owns the disk writes [`SegmentWriter::pending`] at [`SegmentWriter::offset`], makes it
//! durable, and says so with [`SegmentWriter::flushed`].
//!
//! - A segment begins with a head: where the segment before it ended, and everything that the log says
//!   besides entries.
//! - A flush never spans two segments, and a segment is begun only when everything before it is durable.
//!   So what is in a segment proves that all older ones were whole.

use super::checkpoint::Checkpoint;
use super::format::{Place, encode_carried, encode_head, encode_low_water_mark, encode_record};
use super::record::LogRecord;
use wire::ids::PartitionId;
use wire::message::{Entry, LogPosition};

/// Encodes the records of one segment after another.
#[derive(Debug)]
pub struct SegmentWriter {
    epoch: u32,
    /// Where the flush under way began; everything below is durable.
    offset: u64,
    pending: Vec<u8>,
    checkpoint: Checkpoint,
}

impl SegmentWriter {
    /// A writer of an empty log: segment 1 with its head pending.
    pub fn new() -> SegmentWriter {
        let mut writer = SegmentWriter {
            epoch: 0,
            offset: 0,
            pending: Vec::new(),
            checkpoint: Checkpoint::default(),
        };
        writer.roll_over();
        writer
    }

    /// A writer that goes on where recovery says that the log ends.
    pub(super) fn resume(epoch: u32, offset: u64, checkpoint: Checkpoint) -> SegmentWriter {
        SegmentWriter {
            epoch,
            offset,
            pending: Vec::new(),
            checkpoint,
        }
    }

    /// The segment that is written to.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Where in the segment [`SegmentWriter::pending`] belongs.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What is to be written next.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Adds a record to what is pending.
    pub fn append(&mut self, record: &LogRecord) {
        if let Err(why) = self.checkpoint.apply_record(record) {
            panic!("the log was given {why}");
        }
        encode_record(record, self.place(), &mut self.pending);
    }

    /// The entries of a partition up to here are no longer needed. Of a partition that is not here:
    /// nothing to do.
    pub fn discard(&mut self, partition: PartitionId, up_to: LogPosition) {
        let base = self.base(partition);
        if base.is_none_or(|base| up_to.index <= base.index) {
            return;
        }
        self.checkpoint
            .raise_base(partition, up_to)
            .expect("a partition with a base is here");
        encode_low_water_mark(partition, up_to, self.place(), &mut self.pending);
    }

    /// Says an entry of an older segment again.
    pub(super) fn carry(&mut self, partition: PartitionId, entry: &Entry) {
        assert!(
            self.base(partition)
                .is_some_and(|base| entry.index > base.index),
            "only what is needed is carried: entry {} of {partition}, discarded up to {:?}",
            entry.index,
            self.base(partition)
        );
        encode_carried(partition, entry, self.place(), &mut self.pending);
    }

    /// Where the segment will end with the next flush.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    /// The low-water mark of a partition.
    pub(super) fn base(&self, partition: PartitionId) -> Option<LogPosition> {
        Some(self.checkpoint.replicas.get(&partition)?.base)
    }

    /// What was pending is durable.
    pub fn flushed(&mut self) {
        self.offset += self.pending.len() as u64;
        self.pending.clear();
    }

    /// Begins the next segment. Nothing may be pending: all before must be durable.
    pub fn roll_over(&mut self) {
        assert!(
            self.pending.is_empty(),
            "a segment is begun when all before it is durable: {} bytes are pending at {}",
            self.pending.len(),
            self.offset
        );
        let previous_end = self.offset;
        self.epoch += 1;
        self.offset = 0;
        let place = self.place();
        encode_head(previous_end, &self.checkpoint, place, &mut self.pending);
    }

    fn place(&self) -> Place {
        Place {
            epoch: self.epoch,
            offset: self.end(),
            flush_start: self.offset,
        }
    }
}
