//! Real time: how long something took, and waiting for a condition with a deadline.

use std::time::{Duration, Instant, SystemTime};

/// Between two looks at a condition.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Measures real time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    started: Instant,
    /// By the machine's clock, since 1970.
    wall: Duration,
}

impl Stopwatch {
    /// Starts it.
    #[allow(clippy::disallowed_methods)] // Processes live in real time.
    pub(crate) fn start() -> Stopwatch {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Stopwatch {
            started: Instant::now(),
            wall: wall.expect("it is not 1969"),
        }
    }

    /// The time of day (UTC) so long after the start, as logs tell it.
    pub(crate) fn time_of_day(self, after: Duration) -> Duration {
        let at = self.wall + after;
        let day = Duration::from_secs(24 * 3600);
        Duration::from_nanos((at.as_nanos() % day.as_nanos()) as u64)
    }

    /// Since it was started.
    pub(crate) fn elapsed(self) -> Duration {
        self.started.elapsed()
    }
}

/// Waits until `look` finds what it looks for; it says what it found instead if not. Panics with that
/// after `within`.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Stopwatch::start();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(instead) => assert!(
                started.elapsed() < within,
                "within {within:?} it did not come to pass that {what}; instead: {instead}"
            ),
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}
