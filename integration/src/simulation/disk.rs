//! A node's log on a disk that forgets what was not synced, and may tear what was being written.
//!
//! The bytes are those of the real log: its own encoder makes them and its own recovery reads them.
//!
//! ```text
//!   batches, discards ─► waiting ─► one flush at a time: encoded, written, synced ─► durable
//!                        lost by a   torn by a crash: a prefix, or some of          kept
//!                        crash       its sectors in any order, or nothing
//! ```
//!
//! Invariants:
//! - What was reported durable reads back after every crash.
//! - Whole segments go once all their entries lie below the low-water marks, oldest first.
//! - A log that was damaged is refused, or reads back as if it had not been: anything else is an error of
//!   the world. Only what a later flush vouches for is damaged, since nobody can tell damage in the last
//!   one from a write that was cut off (`partition::log::recover`).

use partition::log::{
    LogBatch, LogError, LogRecord, RecoveredLog, Recovery, SegmentBytes, SegmentWriter, recover,
};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use wire::SplitMix64;
use wire::ids::{LogIndex, PartitionId};
use wire::message::LogPosition;

/// What reaches a disk whole or not at all, bytes.
const SECTOR_BYTES: usize = 512;

struct Segment {
    epoch: u32,
    bytes: Vec<u8>,
    /// The highest entry of each partition in it.
    highest: BTreeMap<PartitionId, LogIndex>,
}

enum Waiting {
    Batch(LogBatch),
    Discard(PartitionId, LogPosition),
}

/// One node's disk with its log.
pub struct Disk {
    segment_bytes: u64,
    segments: Vec<Segment>,
    writer: SegmentWriter,
    waiting: Vec<Waiting>,
    /// The last batch of the flush under way.
    flushing: Option<u64>,
    low_water: BTreeMap<PartitionId, LogIndex>,
    incarnations: BTreeMap<PartitionId, u32>,
    /// Where the last flush that became durable began: everything before it has a witness.
    last_flush: Option<LogPlace>,
    /// What a log that is damaged said before.
    before_damage: Option<RecoveredLog>,
}

/// A byte of the log.
#[derive(Clone, Copy)]
struct LogPlace {
    epoch: u32,
    offset: usize,
}

/// Why a disk does not give a log.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The log refuses what it finds.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log was damaged, and says something else than before without a word.
    #[error("a damaged log is taken for whole; it said {0:?}")]
    Unnoticed(Box<RecoveredLog>),
}

impl Disk {
    /// An empty disk; a segment is ended when it has this many bytes.
    pub fn new(segment_bytes: u64) -> Disk {
        Disk {
            segment_bytes,
            segments: Vec::new(),
            writer: SegmentWriter::new(),
            waiting: Vec::new(),
            flushing: None,
            low_water: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            last_flush: None,
            before_damage: None,
        }
    }

    /// Something for the next flush.
    pub fn append(&mut self, batch: LogBatch) {
        self.waiting.push(Waiting::Batch(batch));
    }

    /// Entries that are not needed any more.
    pub fn discard(&mut self, partition: PartitionId, up_to: LogPosition) {
        self.waiting.push(Waiting::Discard(partition, up_to));
    }

    /// Begins a flush of all that waits, unless one is under way. Whether it began.
    pub fn maybe_begin_flush(&mut self) -> bool {
        let has_batch = self.waiting.iter().any(|w| matches!(w, Waiting::Batch(_)));
        if self.flushing.is_some() || !has_batch {
            return false;
        }
        if self.writer.pending().is_empty() && self.writer.offset() >= self.segment_bytes {
            self.writer.roll_over();
        }
        let epoch = self.writer.epoch();
        if self.segments.last().is_none_or(|last| last.epoch != epoch) {
            self.segments.push(Segment {
                epoch,
                bytes: Vec::new(),
                highest: BTreeMap::new(),
            });
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Batch(batch) => {
                    self.flushing = Some(batch.sequence);
                    for record in &batch.records {
                        self.note(record);
                        self.writer.append(record);
                    }
                }
                Waiting::Discard(partition, up_to) => {
                    self.writer.discard(partition, up_to);
                    let low = self.low_water.entry(partition).or_default();
                    *low = up_to.index.max(*low);
                }
            }
        }
        true
    }

    fn note(&mut self, record: &LogRecord) {
        match record {
            LogRecord::Entry { partition, entry } => {
                let current = self.segments.last_mut().expect("a segment was begun");
                let highest = current.highest.entry(*partition).or_default();
                *highest = entry.index.max(*highest);
            }
            LogRecord::ReplicaInstalled {
                partition,
                incarnation,
                base,
                ..
            } => {
                self.incarnations.insert(*partition, *incarnation);
                // What was logged before is void.
                for segment in &mut self.segments {
                    segment.highest.remove(partition);
                }
                self.low_water.insert(*partition, base.index);
            }
            LogRecord::ReplicaDropped { partition } => {
                self.incarnations.remove(partition);
                self.low_water.remove(partition);
                for segment in &mut self.segments {
                    segment.highest.remove(partition);
                }
            }
            _ => {}
        }
    }

    /// The flush under way has ended: the last batch that is durable now.
    pub fn end_flush(&mut self) -> u64 {
        let sequence = self.flushing.take().expect("a flush is under way");
        let current = self.segments.last_mut().expect("a flush has a segment");
        self.last_flush = Some(LogPlace {
            epoch: current.epoch,
            offset: current.bytes.len(),
        });
        current.bytes.extend_from_slice(self.writer.pending());
        self.writer.flushed();
        while self.segments.len() > 1 && self.is_discarded(&self.segments[0]) {
            self.segments.remove(0);
        }
        sequence
    }

    fn is_discarded(&self, segment: &Segment) -> bool {
        segment.highest.iter().all(|(partition, highest)| {
            self.low_water
                .get(partition)
                .is_some_and(|low| highest <= low)
        })
    }

    /// Power fails: what waited is gone, what was being written is torn.
    pub fn crash(&mut self, random: &mut SplitMix64) {
        self.waiting.clear();
        if self.flushing.take().is_none() {
            return;
        }
        let torn = tear(self.writer.pending(), random);
        let current = self.segments.last_mut().expect("a flush has a segment");
        current.bytes.extend_from_slice(&torn);
    }

    fn read(&self) -> Result<Recovery, LogError> {
        let name = |segment: &Segment| format!("segment {}", segment.epoch);
        let names: Vec<String> = self.segments.iter().map(name).collect();
        let bytes: Vec<SegmentBytes> = self
            .segments
            .iter()
            .zip(&names)
            .map(|(segment, file)| SegmentBytes {
                file,
                epoch: segment.epoch,
                bytes: &segment.bytes,
            })
            .collect();
        recover(&bytes)
    }

    /// Damages something that was durable: flips a bit, or cuts off the tail of a segment that is not the
    /// last. Says what; `None`: there is nothing that a later flush vouches for.
    pub fn damage(&mut self, random: &mut SplitMix64) -> Option<String> {
        let last = self.last_flush?;
        let vouched_for = |segment: &Segment| match segment.epoch.cmp(&last.epoch) {
            Ordering::Less => segment.bytes.len(),
            Ordering::Equal => last.offset,
            Ordering::Greater => 0,
        };
        let places = self.segments.iter().map(vouched_for).enumerate();
        let places: Vec<(usize, usize)> = places.filter(|(_, bytes)| *bytes > 0).collect();
        if places.is_empty() {
            return None;
        }
        let (place, bytes) = places[random.below(places.len() as u64) as usize];
        self.before_damage = self.read().ok().map(|recovery| recovery.log);
        let segment = &mut self.segments[place];
        let epoch = segment.epoch;
        let at = random.below(bytes as u64) as usize;
        if epoch < last.epoch && random.chance(1, 3) {
            segment.bytes.truncate(at);
            return Some(format!("segment {epoch} is cut off at {at}"));
        }
        let bit = random.below(8);
        segment.bytes[at] ^= 1 << bit;
        Some(format!(
            "bit {bit} of byte {at} of segment {epoch} is flipped"
        ))
    }

    /// Writes a log anew, with these records and durable at once.
    pub fn replace(&mut self, records: Vec<LogRecord>) {
        *self = Disk::new(self.segment_bytes);
        self.append(LogBatch {
            sequence: 0,
            records,
        });
        self.maybe_begin_flush();
        self.end_flush();
    }

    /// Reads the log back after a crash.
    pub fn recover(&mut self) -> Result<RecoveredLog, DiskError> {
        let recovery = self.read()?;
        if let Some(before) = self.before_damage.take()
            && !says_the_same(&before, &recovery.log)
        {
            return Err(DiskError::Unnoticed(Box::new(before)));
        }
        self.writer = recovery.writer;
        let (epoch, end) = (self.writer.epoch(), self.writer.offset() as usize);
        if self.writer.pending().is_empty() {
            self.segments.retain(|segment| segment.epoch <= epoch);
            if let Some(last) = self.segments.last_mut() {
                last.bytes.truncate(end);
            }
        } else {
            // The log begins anew: nothing of it was ever whole.
            self.segments.clear();
        }
        self.incarnations = (recovery.log.replicas.iter())
            .map(|(partition, replica)| (*partition, replica.incarnation))
            .collect();
        self.low_water = (recovery.log.replicas.iter())
            .map(|(partition, replica)| (*partition, replica.base.index))
            .collect();
        Ok(recovery.log)
    }

    /// Bytes of log on the disk.
    pub fn bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.bytes.len() as u64)
            .sum()
    }

    /// Under which incarnation each partition's rows stand in the store.
    pub fn incarnations(&self) -> &BTreeMap<PartitionId, u32> {
        &self.incarnations
    }
}

/// Where a torn write ends may have moved; nothing that counts stands there.
fn says_the_same(one: &RecoveredLog, other: &RecoveredLog) -> bool {
    (&one.replicas, one.ceiling, &one.metas) == (&other.replicas, other.ceiling, &other.metas)
}

/// What of a write reached the disk before the power failed.
fn tear(bytes: &[u8], random: &mut SplitMix64) -> Vec<u8> {
    match random.below(4) {
        0 => Vec::new(),
        1 => bytes.to_vec(),
        2 => {
            let cut = random.below(bytes.len() as u64 + 1) as usize;
            bytes[..cut].to_vec()
        }
        _ => {
            let mut torn = bytes.to_vec();
            for sector in torn.chunks_mut(SECTOR_BYTES) {
                if random.chance(1, 2) {
                    sector.fill(0);
                }
            }
            torn
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use clock::Timestamp;
    use wire::ids::{Generation, NodeId, Term};
    use wire::keys::{Descriptor, KeyRange};
    use wire::message::Entry;

    const PARTITION: PartitionId = PartitionId(2);

    fn installed() -> LogRecord {
        LogRecord::ReplicaInstalled {
            partition: PARTITION,
            incarnation: 7,
            descriptor: Descriptor {
                partition: PARTITION,
                generation: Generation(1),
                range: KeyRange::all(),
                members: vec![NodeId(1)],
            },
            base: LogPosition::default(),
        }
    }

    fn entry(index: u64) -> LogRecord {
        LogRecord::Entry {
            partition: PARTITION,
            entry: Entry {
                term: Term(1),
                index: LogIndex(index),
                body: Bytes::from(vec![index as u8; 100]),
            },
        }
    }

    fn write(disk: &mut Disk, sequence: u64, records: Vec<LogRecord>) {
        disk.append(LogBatch { sequence, records });
        assert!(disk.maybe_begin_flush());
    }

    #[test]
    fn what_was_durable_survives_every_crash_and_nothing_is_invented() {
        for seed in 0..200 {
            let mut random = SplitMix64::new(seed);
            let mut disk = Disk::new(700);
            write(&mut disk, 1, vec![installed()]);
            disk.end_flush();
            let mut durable = 0;
            for (sequence, index) in (2..).zip(1..20) {
                write(&mut disk, sequence, vec![entry(index)]);
                if random.chance(1, 6) {
                    disk.crash(&mut random);
                    let log = disk.recover().expect("a torn tail is no damage");
                    let found = log.replicas[&PARTITION].entries.len() as u64;
                    assert!(found == durable || found == durable + 1, "seed {seed}");
                    break;
                }
                assert_eq!(disk.end_flush(), sequence);
                durable = index;
            }
        }
    }

    #[test]
    fn a_crash_of_an_empty_log_leaves_one_that_can_be_written() {
        for seed in 0..50 {
            let mut random = SplitMix64::new(seed);
            let mut disk = Disk::new(700);
            let ceiling = LogRecord::Ceiling {
                timestamp: Timestamp::from_micros(5),
            };
            write(&mut disk, 1, vec![ceiling]);
            disk.crash(&mut random);
            disk.recover().expect("an empty log is a log");
            write(&mut disk, 1, vec![installed(), entry(1)]);
            disk.end_flush();
            disk.crash(&mut random);
            let log = disk.recover().expect("reads back");
            assert_eq!(log.replicas[&PARTITION].entries.len(), 1, "seed {seed}");
        }
    }

    #[test]
    fn every_damage_is_noticed_or_changes_nothing() {
        let mut refused = 0;
        for seed in 0..300 {
            let mut random = SplitMix64::new(seed);
            let mut disk = Disk::new(700);
            write(&mut disk, 1, vec![installed()]);
            disk.end_flush();
            for (sequence, index) in (2..).zip(1..=1 + random.below(20)) {
                write(&mut disk, sequence, vec![entry(index)]);
                disk.end_flush();
            }
            if random.chance(1, 2) {
                write(&mut disk, 50, vec![entry(1)]);
            }
            disk.crash(&mut random);
            let what = disk.damage(&mut random).expect("several flushes");
            match disk.recover() {
                Err(DiskError::Log(LogError::Damaged { .. })) => refused += 1,
                Err(DiskError::Unnoticed(_)) => panic!("seed {seed}: {what}"),
                Err(other) => panic!("seed {seed}: {what}: {other}"),
                Ok(_) => {}
            }
        }
        assert!(refused > 250, "{refused} of 300 were refused");
    }

    #[test]
    fn segments_below_the_low_water_mark_go() {
        let mut disk = Disk::new(700);
        write(&mut disk, 1, vec![installed()]);
        disk.end_flush();
        for index in 1..40 {
            let position = LogPosition {
                term: Term(1),
                index: LogIndex(index),
            };
            write(&mut disk, index + 1, vec![entry(index)]);
            disk.end_flush();
            disk.discard(PARTITION, position);
        }
        assert!(disk.bytes() < 3000, "{} bytes are left", disk.bytes());
        let log = disk.recover().expect("reads back");
        assert_eq!(log.replicas[&PARTITION].incarnation, 7);
    }
}
