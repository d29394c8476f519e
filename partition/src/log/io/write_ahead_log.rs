//! The log in its directory (patterns Write-Ahead Log, Segmented Log, Low-Water Mark).
//!
//! A full disk is no broken one: as long as the files that are there have room, writes go on, and space
//! ahead is tried for again now and then. Only a write that finds no room is final.

#![allow(
    clippy::disallowed_methods,
    reason = "this is io/: how often a full disk is tried again is a matter of real time"
)]

use super::directory::{Directory, Listing, failed};
use super::segment_file::{FILL_STEP_BYTES, SegmentFile};
use crate::log::carrying::{valid_entries, valid_ranges};
use crate::log::low_water_mark::SegmentContents;
use crate::log::recovery::{LogReader, SegmentBytes};
use crate::log::{LogError, LogRecord, RecoveredLog, SegmentWriter};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wire::ids::{LogIndex, PartitionId};
use wire::message::LogPosition;

/// So far ahead of the writes a segment is filled with zeros, bytes.
const FILL_AHEAD_BYTES: u64 = 4 * FILL_STEP_BYTES;
/// So many files are kept to be used again; more are removed.
const FREE_FILES_MAX: usize = 2;
/// Of the older segments beyond so many, what is needed is carried into the current one.
const OLDER_SEGMENTS_MAX: usize = 4;
/// If that is more than such a part of a segment, it is left where it is: a partition that is busy
/// discards it soon, and one that cannot discard would have all of it written again and again.
const CARRIED_PART: u64 = 4;

/// On a full disk, space ahead of the writes is tried for again after this.
const PREPARE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How a log lies on its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogOptions {
    /// The size of a segment, bytes. A flush that is larger makes its segment longer.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 * 1024 * 1024,
        }
    }
}

/// The log of a node, open for writing.
#[derive(Debug)]
pub struct WriteAheadLog {
    directory: Directory,
    options: LogOptions,
    writer: SegmentWriter,
    current: SegmentFile,
    current_epoch: u32,
    contents: SegmentContents,
    /// Oldest first.
    older: VecDeque<OlderSegment>,
    free: Vec<SegmentFile>,
    /// What the next free file is called. Not after an epoch: a file that was filled for one may outlast it.
    next_free: u32,
    /// A file that is being filled to become a free one.
    unfilled: Option<SegmentFile>,
    /// The disk was full: nothing is prepared before this.
    full_until: Option<Instant>,
    has_failed: bool,
}

#[derive(Debug)]
struct OlderSegment {
    epoch: u32,
    length: u64,
    contents: SegmentContents,
}

impl WriteAheadLog {
    /// Opens the log in a directory, which is made if it is not there, and reads what it says.
    pub fn open(
        path: &Path,
        options: LogOptions,
    ) -> Result<(WriteAheadLog, RecoveredLog), LogError> {
        let directory = Directory::open(path)?;
        let listing = directory.list()?;
        let mut reader = LogReader::default();
        let mut lengths = Vec::new();
        let mut used_up_to = 0;
        for epoch in &listing.segments {
            let path = directory.segment(*epoch);
            let bytes = fs::read(&path).map_err(failed("read", &path))?;
            lengths.push((*epoch, bytes.len() as u64));
            used_up_to = last_used(&bytes);
            reader.read(&SegmentBytes {
                file: &path.to_string_lossy(),
                epoch: *epoch,
                bytes: &bytes,
            })?;
        }
        let mut recovery = reader.finish()?;
        let epoch = recovery.writer.epoch();
        let current = if recovery.contents.is_empty() {
            begin_segment(&directory, epoch, None, options)?
        } else {
            let mut current = SegmentFile::open(directory.segment(epoch))?;
            if listing.segments.last() == Some(&epoch) && used_up_to > recovery.writer.offset() {
                current.clear(recovery.writer.offset(), used_up_to)?;
            }
            // What was read may not have reached the disk: a killed process leaves it to the system.
            current.sync()?;
            current
        };
        remove_unbegun(&directory, &listing, epoch, recovery.contents.is_empty())?;
        let contents = recovery.contents.pop().unwrap_or_default().1;
        let older = recovery.contents.into_iter().map(|(epoch, contents)| {
            let length = lengths.iter().find(|(of, _)| *of == epoch);
            OlderSegment {
                epoch,
                length: length.map_or(0, |(_, length)| *length),
                contents,
            }
        });
        let wal = WriteAheadLog {
            older: older.collect(),
            free: open_free(&directory, &listing, options)?,
            next_free: listing.free.last().map_or(1, |last| last + 1),
            directory,
            options,
            writer: recovery.writer,
            current,
            current_epoch: epoch,
            contents,
            unfilled: None,
            full_until: None,
            has_failed: false,
        };
        Ok((wal, recovery.log))
    }

    /// Adds records to what the next flush writes.
    pub fn append(&mut self, records: &[LogRecord]) {
        for record in records {
            self.maybe_roll_over();
            let start = self.writer.end() as usize;
            self.writer.append(record);
            let end = self.writer.end() as usize;
            self.contents.note_record(record, start..end);
            if let LogRecord::ReplicaInstalled { partition, .. }
            | LogRecord::ReplicaDropped { partition } = record
            {
                for older in &mut self.older {
                    older.contents.forget(*partition);
                }
            }
        }
    }

    /// The entries of a partition up to here are no longer needed. Durable with the next flush; segments
    /// that hold nothing else are used again.
    pub fn discard(&mut self, partition: PartitionId, up_to: LogPosition) {
        self.maybe_roll_over();
        self.writer.discard(partition, up_to);
    }

    /// How much the next flush writes, bytes.
    pub fn pending_bytes(&self) -> usize {
        self.writer.pending().len()
    }

    /// Makes everything appended durable: one write, one sync. An error is final.
    pub fn flush(&mut self) -> Result<(), LogError> {
        if self.has_failed {
            return Err(LogError::FailedBefore);
        }
        let result = self.try_flush();
        self.has_failed = result.is_err();
        result
    }

    fn try_flush(&mut self) -> Result<(), LogError> {
        if self.writer.pending().is_empty() {
            return Ok(());
        }
        let begins = self.current_epoch != self.writer.epoch();
        if begins {
            self.begin_segment()?;
        }
        self.current
            .write(self.writer.pending(), self.writer.offset())?;
        self.current.sync()?;
        self.writer.flushed();
        self.recycle()?;
        if begins {
            self.maybe_carry()?;
        }
        Ok(())
    }

    /// How much of the current segment is used, bytes.
    pub fn bytes_used(&self) -> u64 {
        self.writer.offset()
    }

    /// The size of all files of the log, bytes.
    pub fn bytes_on_disk(&self) -> u64 {
        let older = self.older.iter().map(|segment| segment.length);
        let free = self.free.iter().chain(&self.unfilled);
        self.current.length() + older.sum::<u64>() + free.map(SegmentFile::length).sum::<u64>()
    }

    /// A segment is begun a little before it is full, and only when nothing is pending: see
    /// [`SegmentWriter::roll_over`].
    fn maybe_roll_over(&mut self) {
        let nearly_full = self.options.segment_bytes - self.options.segment_bytes / 16;
        if !self.writer.pending().is_empty() || self.writer.offset() < nearly_full {
            return;
        }
        self.older.push_back(OlderSegment {
            epoch: self.current_epoch,
            length: self.current.length(),
            contents: std::mem::take(&mut self.contents),
        });
        self.writer.roll_over();
    }

    fn begin_segment(&mut self) -> Result<(), LogError> {
        let epoch = self.writer.epoch();
        self.current = begin_segment(&self.directory, epoch, self.free.pop(), self.options)?;
        self.current_epoch = epoch;
        Ok(())
    }

    /// Says again what little is needed of the oldest segments, if there are many. Durable with the next
    /// flush; then they are used again.
    fn maybe_carry(&mut self) -> Result<(), LogError> {
        let mut room = self.options.segment_bytes / CARRIED_PART;
        for at in 0..self.older.len().saturating_sub(OLDER_SEGMENTS_MAX) {
            let contents = &self.older[at].contents;
            let needed = contents.needed_bytes(|partition| self.mark(partition));
            if needed > room {
                return Ok(());
            }
            room -= needed;
            self.carry(at)?;
        }
        Ok(())
    }

    fn carry(&mut self, at: usize) -> Result<(), LogError> {
        let segment = &self.older[at];
        let span = segment
            .contents
            .needed_span(|partition| self.mark(partition));
        let Some(span) = span else { return Ok(()) };
        let path = self.directory.segment(segment.epoch);
        let bytes = SegmentFile::open(path.clone())?.read(span.clone())?;
        let start = span.start as u64;
        let later = self.older.iter().skip(at + 1).map(|older| &older.contents);
        let later = later.chain([&self.contents]);
        let ranges = valid_ranges(&segment.contents, later, |partition| self.mark(partition));
        let entries = valid_entries(&bytes, segment.epoch, span, &ranges);
        let entries = entries.map_err(|why| LogError::Damaged {
            file: path.to_string_lossy().into_owned(),
            offset: start,
            why,
        })?;
        for (partition, entry) in entries {
            let start = self.writer.end() as usize;
            self.writer.carry(partition, &entry);
            let end = self.writer.end() as usize;
            self.contents.note_entry(partition, entry.index, start..end);
        }
        self.older[at].contents = SegmentContents::default();
        Ok(())
    }

    fn mark(&self, partition: PartitionId) -> Option<LogIndex> {
        Some(self.writer.base(partition)?.index)
    }

    /// Frees the oldest segments that are not needed. What says so is durable by now.
    fn recycle(&mut self) -> Result<(), LogError> {
        while let Some(oldest) = self.older.front() {
            if oldest.contents.is_needed(|partition| self.mark(partition)) {
                return Ok(());
            }
            let epoch = oldest.epoch;
            let path = self.directory.segment(epoch);
            let is_whole = oldest.length == self.options.segment_bytes;
            if is_whole && self.free.len() < FREE_FILES_MAX {
                let mut file = SegmentFile::open(path)?;
                file.rename(self.free_name())?;
                self.free.push(file);
            } else {
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
            self.older.pop_front();
        }
        Ok(())
    }

    fn free_name(&mut self) -> PathBuf {
        let number = self.next_free;
        self.next_free += 1;
        self.directory.free(number)
    }

    /// Whether [`WriteAheadLog::prepare`] has something to do.
    pub fn can_prepare(&self) -> bool {
        self.may_have_room()
            && (self.is_to_be_filled(FILL_AHEAD_BYTES)
                || self.is_next_wanted(self.options.segment_bytes / 2))
    }

    /// Whether writes will soon reach what is not prepared.
    pub fn must_prepare(&self) -> bool {
        self.may_have_room()
            && (self.is_to_be_filled(FILL_STEP_BYTES)
                || self.is_next_wanted(self.options.segment_bytes / 4 * 3))
    }

    fn may_have_room(&self) -> bool {
        self.full_until.is_none_or(|until| Instant::now() >= until)
    }

    fn is_to_be_filled(&self, ahead: u64) -> bool {
        let wanted = (self.writer.offset() + ahead).min(self.options.segment_bytes);
        self.current_epoch == self.writer.epoch() && self.current.length() < wanted
    }

    fn is_next_wanted(&self, from: u64) -> bool {
        self.free.is_empty() && self.writer.offset() >= from
    }

    /// One step of filling files with zeros ahead of the writes. That there is no room for it is no
    /// failure yet.
    pub fn prepare(&mut self) -> Result<(), LogError> {
        if self.has_failed {
            return Err(LogError::FailedBefore);
        }
        let result = match self.try_prepare() {
            Err(error) if error.is_full() => self.give_up_unfilled(&error),
            other => other,
        };
        self.has_failed = result.is_err();
        result
    }

    /// The disk is full: what was begun takes no room from what is needed.
    fn give_up_unfilled(&mut self, error: &LogError) -> Result<(), LogError> {
        if self.full_until.is_none() {
            tracing::warn!(%error, "no room for the log ahead of its writes");
        }
        self.full_until = Some(Instant::now() + PREPARE_AGAIN_AFTER);
        match self.unfilled.take() {
            Some(file) => remove(file.path()),
            None => Ok(()),
        }
    }

    fn try_prepare(&mut self) -> Result<(), LogError> {
        let length = self.options.segment_bytes;
        if self.is_to_be_filled(FILL_AHEAD_BYTES) {
            return self.current.fill(length);
        }
        if !self.is_next_wanted(length / 2) {
            return Ok(());
        }
        if self.unfilled.is_none() {
            let path = self.free_name();
            self.unfilled = Some(SegmentFile::create(path)?);
        }
        if let Some(file) = &mut self.unfilled {
            file.fill(length)?;
        }
        let is_filled = |file: &mut SegmentFile| file.length() >= length;
        self.free.extend(self.unfilled.take_if(is_filled));
        self.full_until = None;
        Ok(())
    }
}

/// The first byte after the last one that is not zero.
fn last_used(bytes: &[u8]) -> u64 {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last as u64 + 1)
}

/// The file of a segment, durably under its name before anything is written to it.
fn begin_segment(
    directory: &Directory,
    epoch: u32,
    free: Option<SegmentFile>,
    options: LogOptions,
) -> Result<SegmentFile, LogError> {
    let path = directory.segment(epoch);
    let file = match free {
        Some(mut file) => {
            file.rename(path)?;
            file
        }
        None => {
            let mut file = SegmentFile::create(path)?;
            file.fill(options.segment_bytes)?;
            file
        }
    };
    directory.sync()?;
    Ok(file)
}

/// Removes segments that were about to be begun when the process ended. Their epochs will be used
/// again, so nothing of them may stay.
fn remove_unbegun(
    directory: &Directory,
    listing: &Listing,
    current: u32,
    is_new: bool,
) -> Result<(), LogError> {
    for epoch in listing.segments.iter().filter(|epoch| **epoch > current) {
        remove(&directory.segment(*epoch))?;
    }
    if is_new || !listing.segments.ends_with(&[current]) {
        directory.sync()?;
    }
    Ok(())
}

fn open_free(
    directory: &Directory,
    listing: &Listing,
    options: LogOptions,
) -> Result<Vec<SegmentFile>, LogError> {
    let mut free = Vec::new();
    for number in &listing.free {
        let file = SegmentFile::open(directory.free(*number))?;
        if file.length() == options.segment_bytes && free.len() < FREE_FILES_MAX {
            free.push(file);
        } else {
            remove(file.path())?;
        }
    }
    Ok(free)
}

fn remove(path: &Path) -> Result<(), LogError> {
    fs::remove_file(path).map_err(failed("remove", path))
}
