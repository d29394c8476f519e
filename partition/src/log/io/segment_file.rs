//! One file of a log. It is filled with zeros ahead of the writes: a write that makes a file longer costs
//! half as much again, because its new length must become durable too.

use super::directory::failed;
#[cfg(test)]
use super::disk_fault;
use crate::log::LogError;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// So much is filled with zeros in one step, bytes.
pub(super) const FILL_STEP_BYTES: u64 = 1024 * 1024;

static ZEROS: [u8; FILL_STEP_BYTES as usize] = [0; FILL_STEP_BYTES as usize];

/// An open file of a log.
#[derive(Debug)]
pub(super) struct SegmentFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl SegmentFile {
    /// Makes an empty file; one that was there is cut to nothing.
    pub(super) fn create(path: PathBuf) -> Result<SegmentFile, LogError> {
        SegmentFile::open_with(path, OpenOptions::new().create(true).truncate(true))
    }

    pub(super) fn open(path: PathBuf) -> Result<SegmentFile, LogError> {
        SegmentFile::open_with(path, &mut OpenOptions::new())
    }

    fn open_with(path: PathBuf, options: &mut OpenOptions) -> Result<SegmentFile, LogError> {
        let opened = options.read(true).write(true).open(&path);
        let file = opened.map_err(failed("open", &path))?;
        let length = file.metadata().map_err(failed("look at", &path))?.len();
        Ok(SegmentFile { path, file, length })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes, filled ones included.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Gives the file a name that no other has. *Took it the name of another, the other's writes would go to
    /// a file that nobody finds again.*
    pub(super) fn rename(&mut self, to: PathBuf) -> Result<(), LogError> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        let renamed = match renameat_with(CWD, &self.path, CWD, &to, RenameFlags::NOREPLACE) {
            // This file system cannot tell. Names are never given twice all the same.
            Err(Errno::INVAL | Errno::NOSYS) => std::fs::rename(&self.path, &to),
            other => other.map_err(std::io::Error::from),
        };
        renamed.map_err(failed("rename", &self.path))?;
        self.path = to;
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), LogError> {
        #[cfg(test)]
        disk_fault::on_write(&self.path, offset + bytes.len() as u64 > self.length)
            .map_err(failed("write", &self.path))?;
        self.file
            .write_all_at(bytes, offset)
            .map_err(failed("write", &self.path))?;
        self.length = self.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// The bytes up to the end of a span, of which those before it are zeros.
    pub(super) fn read(&self, span: Range<usize>) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; span.end];
        let read = self
            .file
            .read_exact_at(&mut bytes[span.start..], span.start as u64);
        read.map_err(failed("read", &self.path))?;
        Ok(bytes)
    }

    pub(super) fn sync(&self) -> Result<(), LogError> {
        #[cfg(test)]
        disk_fault::on_sync(&self.path).map_err(failed("sync", &self.path))?;
        self.file.sync_data().map_err(failed("sync", &self.path))
    }

    /// Makes the file longer by one step of zeros, not beyond `length_max`, and durable.
    pub(super) fn fill(&mut self, length_max: u64) -> Result<(), LogError> {
        let step = FILL_STEP_BYTES.min(length_max.saturating_sub(self.length));
        self.write(&ZEROS[..step as usize], self.length)?;
        self.sync()
    }

    /// Writes zeros over a part of the file and makes them durable.
    pub(super) fn clear(&mut self, from: u64, to: u64) -> Result<(), LogError> {
        let mut at = from;
        while at < to {
            let step = FILL_STEP_BYTES.min(to - at);
            self.write(&ZEROS[..step as usize], at)?;
            at += step;
        }
        self.sync()
    }
}
