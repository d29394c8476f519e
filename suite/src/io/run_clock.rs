//! The clock of a run.

use std::time::{Duration, Instant};

/// Monotonic time since a run began. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    started: Instant,
}

impl RunClock {
    /// Starts it.
    #[allow(clippy::disallowed_methods)] // Processes live in real time.
    pub fn start() -> RunClock {
        RunClock {
            started: Instant::now(),
        }
    }

    /// Since the start.
    pub fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// Since the start, nanoseconds: a history's `:time`.
    pub fn nanoseconds(self) -> u64 {
        self.elapsed().as_nanos() as u64
    }
}
