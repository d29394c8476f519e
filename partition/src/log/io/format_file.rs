//! A small file that names the format of a directory, so that a version which cannot read it refuses it
//! clearly.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Which format a directory is to be in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// What kind of directory it is.
    pub(crate) word: &'static str,
    /// The format that this version writes, and the newest it reads.
    pub(crate) version: u32,
}

/// What is wrong with the format of a directory.
#[derive(Debug)]
pub(crate) enum FormatError {
    /// It was written by a newer version.
    Newer { path: PathBuf, found: u32 },
    /// The file says something else, or is missing where there is data.
    Unknown(PathBuf),
    /// Reading or writing failed.
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl Format {
    /// Checks the format of a directory; names it in one that is new.
    pub(crate) fn check(self, directory: &Path, is_new: bool) -> Result<(), FormatError> {
        let path = directory.join("format");
        match fs::read_to_string(&path) {
            Ok(text) => self.check_text(path, &text),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FormatError::Io {
                what: "read",
                path,
                source: error,
            }),
            Err(_) if is_new => self.write(directory, &path).map_err(|source| {
                let what = "write";
                FormatError::Io { what, path, source }
            }),
            Err(_) => Err(FormatError::Unknown(path)),
        }
    }

    fn check_text(self, path: PathBuf, text: &str) -> Result<(), FormatError> {
        let version = text.trim_end().strip_prefix(self.word);
        let version = version.and_then(|rest| rest.trim_start().parse::<u32>().ok());
        match version {
            Some(found) if found > self.version => Err(FormatError::Newer { path, found }),
            Some(found) if found == self.version => Ok(()),
            _ => Err(FormatError::Unknown(path)),
        }
    }

    fn write(self, directory: &Path, path: &Path) -> io::Result<()> {
        let unfinished = directory.join("format.new");
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{} {}", self.word, self.version)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(directory)?.sync_all()
    }
}
