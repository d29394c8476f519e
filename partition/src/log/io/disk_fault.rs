//! Disk errors on demand, for tests: in the shipped program this module does not exist.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What the system says of a disk that failed.
pub(super) const EIO: i32 = 5;
/// What it says of one that is full.
pub(super) const ENOSPC: i32 = 28;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DiskFault {
    /// Every sync fails with this error.
    Sync(i32),
    /// Every write beyond the end of a file fails with this error; within it there is room.
    Grow(i32),
}

static FAULTS: Mutex<BTreeMap<PathBuf, DiskFault>> = Mutex::new(BTreeMap::new());

/// From now on the files of a directory are on a disk with this fault, or on a sound one.
pub(super) fn set(directory: &Path, fault: Option<DiskFault>) {
    let mut faults = FAULTS.lock().expect("nobody panics while holding it");
    match fault {
        Some(fault) => faults.insert(directory.to_owned(), fault),
        None => faults.remove(directory),
    };
}

fn of(file: &Path) -> Option<DiskFault> {
    let faults = FAULTS.lock().expect("nobody panics while holding it");
    faults.get(file.parent()?).copied()
}

pub(super) fn on_sync(file: &Path) -> io::Result<()> {
    match of(file) {
        Some(DiskFault::Sync(errno)) => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

pub(super) fn on_write(file: &Path, grows: bool) -> io::Result<()> {
    match of(file) {
        Some(DiskFault::Grow(errno)) if grows => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}
