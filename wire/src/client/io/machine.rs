//! What the client takes from the machine: time and random numbers.
// A client names its transactions by its own wall clock and waits by its own monotonic one; there is
// no owner above it that could hand them down.
#![allow(clippy::disallowed_methods)]

use super::Pool;
use crate::client::Error;
use crate::ids::TransactionId;
use clock::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The wall clock of this machine.
pub(super) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_micros(since.unwrap_or_default().as_micros() as u64)
}

/// Monotonic time.
pub(super) fn monotonic() -> Instant {
    Instant::now()
}

/// A new transaction's id.
pub(in crate::client) fn new_transaction_id(pool: &Pool) -> Result<TransactionId, Error> {
    Ok(TransactionId {
        time: pool.wall(),
        random: getrandom::u64()?,
    })
}

/// Between half of a duration and the whole of it, so that those who lost together do not come back
/// together.
fn jittered(duration: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2); // Without randomness: three quarters.
    duration.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

/// How long something has been going on, and whether it should end.
pub(in crate::client) struct Patience {
    since: Instant,
    limit: Duration,
}

impl Patience {
    pub(in crate::client) fn new(limit: Duration) -> Patience {
        let since = monotonic();
        Patience { since, limit }
    }

    pub(in crate::client) fn waited(&self) -> Duration {
        monotonic() - self.since
    }

    /// What is left; zero when it is over.
    pub(in crate::client) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.waited())
    }
}

/// The pauses between tries: doubling, with jitter.
pub(in crate::client) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    pub(in crate::client) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { next: first, most }
    }

    /// Waits, but not beyond `left`.
    pub(in crate::client) async fn pause(&mut self, left: Duration) {
        tokio::time::sleep(jittered(self.next).min(left)).await;
        self.next = (self.next * 2).min(self.most);
    }
}
