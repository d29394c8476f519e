//! The directory of a log: who holds it, which format it is in, and which files there are.

use super::format_file::{Format, FormatError};
use super::lock_file::take_lock;
use crate::log::LogError;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const FORMAT: Format = Format {
    word: "horolog-log",
    version: 1,
};

const SEGMENT_PREFIX: &str = "segment-";
const FREE_PREFIX: &str = "free-";
const SUFFIX: &str = ".log";

/// A log's directory, held by this process until dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
    _lock: File,
}

/// The files of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Epochs, ascending.
    pub(super) segments: Vec<u32>,
    /// Numbers of free files, ascending.
    pub(super) free: Vec<u32>,
}

/// Names what was tried on which path when an operation of the system fails.
pub(super) fn failed<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> LogError + use<'a> {
    move |source| LogError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

impl Directory {
    /// Makes the directory if it is not there, takes hold of it, and checks its format.
    pub(super) fn open(path: &Path) -> Result<Directory, LogError> {
        fs::create_dir_all(path).map_err(failed("make", path))?;
        let lock = take_lock(path).map_err(failed("lock", path))?;
        let directory = Directory {
            path: path.to_owned(),
            handle: File::open(path).map_err(failed("open", path))?,
            _lock: lock.ok_or_else(|| LogError::InUse(path.to_owned()))?,
        };
        directory.check_format()?;
        Ok(directory)
    }

    fn check_format(&self) -> Result<(), LogError> {
        let is_new = self.list()?.segments.is_empty();
        let checked = FORMAT.check(&self.path, is_new);
        checked.map_err(|error| match error {
            FormatError::Newer { path, found } => LogError::NewerFormat {
                path,
                found,
                known: FORMAT.version,
            },
            FormatError::Unknown(path) => LogError::UnknownFormat(path),
            FormatError::Io { what, path, source } => LogError::Io { what, path, source },
        })
    }

    /// The files that are there now.
    pub(super) fn list(&self) -> Result<Listing, LogError> {
        let mut listing = Listing::default();
        let files = fs::read_dir(&self.path).map_err(failed("list", &self.path))?;
        for file in files {
            let file = file.map_err(failed("list", &self.path))?;
            let name = file.file_name();
            let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else {
                continue;
            };
            if let Some(epoch) = stem.strip_prefix(SEGMENT_PREFIX) {
                listing.segments.extend(epoch.parse::<u32>().ok());
            } else if let Some(number) = stem.strip_prefix(FREE_PREFIX) {
                listing.free.extend(number.parse::<u32>().ok());
            }
        }
        listing.segments.sort_unstable();
        listing.free.sort_unstable();
        Ok(listing)
    }

    pub(super) fn segment(&self, epoch: u32) -> PathBuf {
        self.path
            .join(format!("{SEGMENT_PREFIX}{epoch:010}{SUFFIX}"))
    }

    pub(super) fn free(&self, number: u32) -> PathBuf {
        self.path.join(format!("{FREE_PREFIX}{number:010}{SUFFIX}"))
    }

    /// Makes creations, renamings and removals durable.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        self.handle.sync_all().map_err(failed("sync", &self.path))
    }
}
