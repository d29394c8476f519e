//! Real time: how long something took, and waiting for a condition with a deadline.

use std::time::{Duration, Instant};

/// Between two looks at a condition.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// Measures real time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    #[allow(clippy::disallowed_methods)] // Processes live in real time.
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Since it was started.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
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
