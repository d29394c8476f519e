//! A node that lives and is waited for says something (pattern HeartBeat).
//!
//! A process that stands still, and a machine that lost its power or its cable, close no connection.
//! So while a request is unanswered, whoever waits asks with a ping after a time of silence, which the
//! node answers between any two other things that it does. Everything that comes counts, parts of long
//! frames too.
//!
//! Silence is counted in looks, not in time: a client that itself stood still looks once when it goes
//! on, and then gives the node as many more looks as ever.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After so many looks in a row at which nothing new had come, the node counts as gone. The first of
/// them sends the ping.
const SILENT_LOOKS_MAX: u32 = 5;

/// Counts the reads that bring something.
pub(super) struct Heard<R> {
    read: R,
    heard: Arc<AtomicU64>,
}

impl<R> Heard<R> {
    /// Reads from `read`; the count is shared.
    pub(super) fn new(read: R) -> (Heard<R>, Arc<AtomicU64>) {
        let heard = Arc::new(AtomicU64::new(0));
        let counted = heard.clone();
        (Heard { read, heard }, counted)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Heard<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.read).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

/// Returns when the node has been silent for too long while something was waited for: for how long.
pub(super) async fn silence(
    heard: &AtomicU64,
    is_waiting: impl Fn() -> bool,
    ping: impl Fn(),
) -> Duration {
    let mut last = heard.load(Ordering::Relaxed);
    let mut silent_looks = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = heard.load(Ordering::Relaxed);
        if now != std::mem::replace(&mut last, now) || !is_waiting() {
            silent_looks = 0;
            continue;
        }
        silent_looks += 1;
        if silent_looks == 1 {
            ping();
        }
        if silent_looks > SILENT_LOOKS_MAX {
            return LOOK_EVERY * silent_looks;
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // The clock of these tests is paused.
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_only_while_something_is_waited_for() {
        let (heard, pings) = (AtomicU64::new(0), Cell::new(0));
        let began = Instant::now();
        let long = Duration::from_secs(60);
        let waiting = || began.elapsed() > long;
        let silent = silence(&heard, waiting, || pings.set(pings.get() + 1)).await;
        assert_eq!((silent, pings.get()), (LOOK_EVERY * 6, 1));
        let after = began.elapsed() - long;
        assert!(after < LOOK_EVERY * 8, "after {after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_answers_pings_is_waited_for_without_end() {
        let (heard, pings) = (AtomicU64::new(0), Cell::new(0));
        let answered = || {
            pings.set(pings.get() + 1);
            heard.fetch_add(1, Ordering::Relaxed);
        };
        let long = Duration::from_secs(60);
        let ended = tokio::time::timeout(long, silence(&heard, || true, answered)).await;
        assert!(ended.is_err(), "ended after {} pings", pings.get());
        assert!(pings.get() > 100, "only {} pings", pings.get());
    }
}
