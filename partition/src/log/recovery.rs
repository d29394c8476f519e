//! Reads a log back after a restart. No IO: the bytes of the segments are given, oldest first.
//!
//! ```text
//!   segment 7            segment 8            segment 9 (the last)
//!   head … records | ─   head … records | ─   head … records … d ? ? ? ─
//!                  └──── says where 7 ended
//! ```
//!
//! - A segment that is not the last one is whole: its records reach to where the next one says.
//! - In the last one, the first byte that does not validate, `d`, is where a write was cut off by a crash,
//!   and the log ends there. Pages of one flush reach a disk in any order, so valid records after `d` are
//!   no contradiction; unless one of them was written by a flush that began above `d`. Then `d` had been
//!   durable, and it is damage: an error, never skipped (Alagappan et al., *Protocol-Aware Recovery for
//!   Consensus-Based Storage*, 2018).
//! - Damage in the last record of all cannot be told from a cut: nothing after it speaks for it.
//! - A later entry of a partition with index `i` replaces `i` and all above; one that was carried from an
//!   older segment replaces nothing. What remains is consecutive from the partition's low-water mark on.

use super::carrying::ValidEntries;
use super::checkpoint::Checkpoint;
use super::error::LogError;
use super::format::{ALIGNMENT, Stored, claims_epoch, validate};
use super::low_water_mark::SegmentContents;
use super::record::{LogRecord, RecoveredLog, RecoveredReplica, TornTail};
use super::segment_writer::SegmentWriter;
use std::collections::BTreeMap;

/// A segment as it lies on disk.
#[derive(Clone, Copy, Debug)]
pub struct SegmentBytes<'a> {
    /// Named in errors.
    pub file: &'a str,
    /// Its epoch; segments of a log have consecutive ones.
    pub epoch: u32,
    /// All its bytes, used or not.
    pub bytes: &'a [u8],
}

/// What recovery found.
#[derive(Debug)]
pub struct Recovery {
    /// What the log says.
    pub log: RecoveredLog,
    /// Goes on where the log ends. With nothing recovered: begins segment 1.
    ///
    /// Bytes above its offset must not outlive the next write: cut them off, or write zeros over them.
    pub writer: SegmentWriter,
    /// What lies in which segment.
    pub(super) contents: Vec<(u32, SegmentContents)>,
}

/// Reads a log that is in memory as a whole.
pub fn recover(segments: &[SegmentBytes<'_>]) -> Result<Recovery, LogError> {
    let mut reader = LogReader::default();
    for segment in segments {
        reader.read(segment)?;
    }
    reader.finish()
}

/// Reads a log segment by segment, oldest first.
#[derive(Debug, Default)]
pub(super) struct LogReader {
    checkpoint: Checkpoint,
    entries: ValidEntries,
    contents: Vec<(u32, SegmentContents)>,
    last: Option<LastSegment>,
    /// A segment without a valid head was seen: it was about to be begun, so it is the last one.
    unbegun: Option<u32>,
    torn_tail: Option<TornTail>,
}

#[derive(Debug)]
struct LastSegment {
    file: String,
    epoch: u32,
    end: u64,
}

impl LogReader {
    /// Reads the next segment.
    pub(super) fn read(&mut self, segment: &SegmentBytes<'_>) -> Result<(), LogError> {
        self.check_epoch(segment)?;
        let mut contents = SegmentContents::default();
        let end = self.read_records(segment, &mut contents)?;
        check_damage(segment, end)?;
        self.note_torn(segment, end);
        if end == 0 {
            self.unbegun = Some(segment.epoch);
            return Ok(());
        }
        if let Some(unbegun) = self.unbegun {
            return Err(LogError::Damaged {
                file: segment.file.to_owned(),
                offset: 0,
                why: format!("the segment before it, {unbegun}, has no head"),
            });
        }
        self.last = Some(LastSegment {
            file: segment.file.to_owned(),
            epoch: segment.epoch,
            end: end as u64,
        });
        self.contents.push((segment.epoch, contents));
        Ok(())
    }

    fn check_epoch(&self, segment: &SegmentBytes<'_>) -> Result<(), LogError> {
        let before = self.unbegun.or(self.last.as_ref().map(|last| last.epoch));
        let Some(before) = before else { return Ok(()) };
        if segment.epoch == before + 1 {
            return Ok(());
        }
        Err(LogError::Damaged {
            file: segment.file.to_owned(),
            offset: 0,
            why: format!(
                "segment {} follows segment {before}: what was between is missing",
                segment.epoch
            ),
        })
    }

    /// Reads records up to the first byte that does not validate; gives its offset.
    fn read_records(
        &mut self,
        segment: &SegmentBytes<'_>,
        contents: &mut SegmentContents,
    ) -> Result<usize, LogError> {
        let mut offset = 0;
        let mut flush_start = 0;
        while let Some(valid) = validate(segment.bytes, offset, segment.epoch) {
            if valid.flush_start < flush_start {
                break;
            }
            let damaged = |why| LogError::Damaged {
                file: segment.file.to_owned(),
                offset: offset as u64,
                why,
            };
            let stored = valid.decode().map_err(damaged)?;
            let is_head = matches!(stored, Stored::SegmentHead { .. });
            if is_head != (offset == 0) {
                return Err(damaged("a head stands at the head and nowhere else".into()));
            }
            if let Stored::SegmentHead {
                previous_end,
                checkpoint,
            } = &stored
            {
                self.check_previous_end(*previous_end)?;
                self.check_checkpoint(segment, checkpoint)?;
            }
            contents.note(&stored, offset..valid.end);
            self.apply(stored).map_err(damaged)?;
            flush_start = valid.flush_start;
            offset = valid.end;
        }
        Ok(offset)
    }

    fn check_previous_end(&mut self, previous_end: u64) -> Result<(), LogError> {
        // What looked like a cut in the segment before is judged by this one.
        self.torn_tail = None;
        let Some(last) = &self.last else {
            return Ok(());
        };
        if last.end == previous_end {
            return Ok(());
        }
        Err(LogError::Damaged {
            file: last.file.clone(),
            offset: last.end.min(previous_end),
            why: format!(
                "records end at {}, and the next segment says that they ended at {previous_end}",
                last.end
            ),
        })
    }

    /// A head says what the segments before it say, if they are there.
    fn check_checkpoint(
        &self,
        segment: &SegmentBytes<'_>,
        checkpoint: &Checkpoint,
    ) -> Result<(), LogError> {
        if self.last.is_none() || self.checkpoint == *checkpoint {
            return Ok(());
        }
        Err(LogError::Contradiction(format!(
            "the head of {} is not what the segments before it say",
            segment.file
        )))
    }

    fn apply(&mut self, stored: Stored) -> Result<(), String> {
        self.checkpoint.apply(&stored)?;
        if let Stored::Record(
            LogRecord::ReplicaInstalled { partition, .. } | LogRecord::ReplicaDropped { partition },
        ) = &stored
        {
            for (_, contents) in &mut self.contents {
                contents.forget(*partition);
            }
        }
        self.entries.apply(stored);
        Ok(())
    }

    fn note_torn(&mut self, segment: &SegmentBytes<'_>, end: usize) {
        if claims_epoch(segment.bytes, end, segment.epoch)
            || later_records(segment, end).next().is_some()
        {
            self.torn_tail = Some(TornTail {
                file: segment.file.to_owned(),
                offset: end as u64,
            });
        }
    }

    /// What the log says, and where it ends.
    pub(super) fn finish(mut self) -> Result<Recovery, LogError> {
        let mut replicas = BTreeMap::new();
        for (partition, checkpoint) in &self.checkpoint.replicas {
            let entries = self.entries.take_above(*partition, checkpoint.base.index);
            let mut before = checkpoint.base.index;
            for entry in &entries {
                if entry.index != before.next() {
                    return Err(LogError::Contradiction(format!(
                        "{partition} was discarded up to {}, has entries up to {before}, and goes on with {}",
                        checkpoint.base.index, entry.index
                    )));
                }
                before = entry.index;
            }
            let replica = RecoveredReplica {
                incarnation: checkpoint.incarnation,
                descriptor: checkpoint.descriptor.clone(),
                term: checkpoint.term,
                voted_for: checkpoint.voted_for,
                base: checkpoint.base,
                entries,
            };
            replicas.insert(*partition, replica);
        }
        let log = RecoveredLog {
            replicas,
            ceiling: self.checkpoint.ceiling,
            metas: self.checkpoint.metas.clone(),
            torn_tail: self.torn_tail,
        };
        let writer = match self.last {
            Some(last) => SegmentWriter::resume(last.epoch, last.end, self.checkpoint),
            None => SegmentWriter::new(),
        };
        Ok(Recovery {
            log,
            writer,
            contents: self.contents,
        })
    }
}

/// A record above `end` whose flush began above `end` too says that `end` was durable.
fn check_damage(segment: &SegmentBytes<'_>, end: usize) -> Result<(), LogError> {
    let witness = later_records(segment, end).find(|(_, flush_start)| *flush_start > end as u64);
    let Some((offset, flush_start)) = witness else {
        return Ok(());
    };
    Err(LogError::Damaged {
        file: segment.file.to_owned(),
        offset: end as u64,
        why: format!(
            "the record at {offset} was written when everything up to {flush_start} was durable"
        ),
    })
}

/// Offset and flush start of the valid records above `end`.
fn later_records<'a>(
    segment: &'a SegmentBytes<'a>,
    end: usize,
) -> impl Iterator<Item = (usize, u64)> + 'a {
    let mut offset = end;
    std::iter::from_fn(move || {
        while offset < segment.bytes.len() {
            let at = offset;
            if let Some(valid) = validate(segment.bytes, at, segment.epoch) {
                offset = valid.end;
                return Some((at, valid.flush_start));
            }
            offset += ALIGNMENT;
        }
        None
    })
}
