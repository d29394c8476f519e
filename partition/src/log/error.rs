//! What can be wrong with a log.

use std::io;
use std::path::{Path, PathBuf};

/// The log cannot be used. Each of these is final for the process that meets it.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Bytes that were durable once do not read back. Nothing is skipped: what is lost may have been
    /// acknowledged.
    #[error(
        "the log is damaged in {file} at byte {offset}: {why}. Nothing is skipped, since what is lost may have been acknowledged: have this node's copies made anew from the other members with `horolog rebuild --data {}`",
        data_of(Path::new(file))
    )]
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
    #[error("the log cannot {what} {path}: {source}{}", remedy(.source))]
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

/// The data directory that a file of the log lies in.
fn data_of(file: &Path) -> String {
    let data = file.parent().and_then(Path::parent);
    let data = data.filter(|data| !data.as_os_str().is_empty());
    data.map_or("DIR".to_owned(), |data| data.display().to_string())
}

fn remedy(source: &io::Error) -> &'static str {
    if is_full(source) {
        " (make room on the disk and start the node again: nothing is lost)"
    } else {
        ""
    }
}

/// Whether there is no room left, rather than something broken.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

impl LogError {
    /// Whether there is no room left on the disk.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if is_full(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_names_the_file_the_place_and_the_remedy() {
        let damaged = LogError::Damaged {
            file: "/var/lib/h/log/segment-0000000003.log".to_owned(),
            offset: 512,
            why: "it says nothing".to_owned(),
        };
        let told = damaged.to_string();
        for part in [
            "/var/lib/h/log/segment-0000000003.log",
            "byte 512",
            "horolog rebuild --data /var/lib/h`",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }
}
