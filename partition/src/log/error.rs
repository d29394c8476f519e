//! What can be wrong with a log.

use std::io;
use std::path::PathBuf;

/// The log cannot be used. Each of these is final for the process that meets it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Bytes that were durable once do not read back. Nothing is skipped: what is lost may have been
    /// acknowledged.
    #[error("the log is damaged in {file} at byte {offset}: {why}")]
    Damaged {
        /// The file.
        file: String,
        /// The first byte that does not read back.
        offset: u64,
        /// What was found.
        why: String,
    },
    /// The log is whole but says what cannot be.
    #[error("the log contradicts itself: {0}")]
    Contradiction(String),
    /// Reading or writing failed.
    #[error("the log cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A write or a sync failed before; what the disk holds since then is unknown.
    #[error("the log failed before and is closed for writing")]
    FailedBefore,
    /// Another process holds the directory.
    #[error("the data directory {0} is in use by another process")]
    InUse(PathBuf),
    /// The directory was written by a newer version.
    #[error(
        "{path} is in log format {found}, this version knows formats up to {known}: use a newer version"
    )]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this version can read.
        known: u32,
    },
    /// The file that names the format says something else.
    #[error("{0} does not name a log format: this is not a log of Horolog, or it is damaged")]
    UnknownFormat(PathBuf),
}
