//! The machine that everything runs on: whether it stands still itself.
//!
//! A thread writes a small file and has it synced, again and again, as every node does with its log. While
//! that takes long, or the thread does not get to run, no store on this machine could have acknowledged
//! anything, and its gaps are not the store's.

use super::RunClock;
use crate::error::SuiteError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A write, or a pause, that takes so much longer than it should is a stall.
pub const STALL_MIN: Duration = Duration::from_millis(100);
/// Between two writes.
const PAUSE: Duration = Duration::from_millis(50);
const BYTES: usize = 4096;

/// An interval in which the machine stood still, nanoseconds on the run's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// When it began.
    pub begin_ns: u64,
    /// When it was over.
    pub end_ns: u64,
}

/// Watches the machine, until it is stopped or dropped.
pub struct Machine {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Vec<Stall>>>>,
}

impl Machine {
    /// Watches the disk that this folder is on.
    pub fn watch(folder: &Path, clock: RunClock) -> Result<Machine, SuiteError> {
        let path = folder.join("machine");
        let file = File::create(&path).map_err(SuiteError::file("write", &path))?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let thread = std::thread::Builder::new().name("machine".to_owned());
        let thread = thread.spawn(move || watch(&file, clock, &until));
        Ok(Machine {
            stop,
            thread: Some(thread.map_err(SuiteError::io("cannot start a thread"))?),
        })
    }

    /// When the machine stood still.
    pub fn stop(mut self) -> Result<Vec<Stall>, SuiteError> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Ok(Vec::new());
        };
        let panicked = |_| SuiteError::Cluster("the machine's watch panicked".to_owned());
        let watched = thread.join().map_err(panicked)?;
        watched.map_err(SuiteError::io("the machine's disk cannot be watched"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[allow(clippy::disallowed_methods)] // Its own thread, which has nothing else to do than to wait.
fn watch(file: &File, clock: RunClock, until: &AtomicBool) -> io::Result<Vec<Stall>> {
    let mut stalls = Vec::new();
    let mut took = |begin_ns: u64, should: Duration| {
        let end_ns = clock.nanoseconds();
        if end_ns - begin_ns >= (should + STALL_MIN).as_nanos() as u64 {
            stalls.push(Stall { begin_ns, end_ns });
        }
    };
    while !until.load(Ordering::Relaxed) {
        let begin_ns = clock.nanoseconds();
        file.write_all_at(&[7; BYTES], 0)?;
        file.sync_data()?;
        took(begin_ns, Duration::ZERO);
        let begin_ns = clock.nanoseconds();
        std::thread::sleep(PAUSE);
        took(begin_ns, PAUSE);
    }
    Ok(stalls)
}
