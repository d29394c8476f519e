//! What waits to be written to one connection (pattern Request Batch).
//!
//! Senders append encoded frames to one buffer; a single task takes all that waits and writes it at
//! once, so everything said in one turn leaves in one write, and what is said during a write leaves in
//! the next. The order of appending is the order on the connection.
//!
//! Invariant: the buffer holds at most [`OUTBOX_BYTES_MAX`], or one single message of any length.

use crate::frame::{FRAME_BYTES_MAX, FrameError, FrameKind, encode_frame};
use bytes::BytesMut;
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// The most bytes that wait for one reader; one that is slower loses the connection.
pub const OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A buffer that grew beyond this is given back to the system after its write.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// Why something was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// Too much waits already.
    #[error("{waiting} bytes wait to be sent already, more than the other side may leave unread")]
    Full {
        /// How much waits.
        waiting: usize,
    },
    /// The message is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

#[derive(Default)]
struct Waiting {
    bytes: BytesMut,
    /// Something taken from here is being written.
    writing: bool,
    closed: bool,
}

/// The frames that wait to be written to one connection.
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    drained: Notify,
    bytes_max: usize,
    stalled_max: Duration,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox::within(OUTBOX_BYTES_MAX, Duration::MAX)
    }
}

impl Outbox {
    /// For one whose other side may leave so much unread, and take nothing for so long.
    pub(crate) fn within(bytes_max: usize, stalled_max: Duration) -> Outbox {
        Outbox {
            waiting: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            bytes_max,
            stalled_max,
        }
    }

    /// Returns once fewer than so many bytes wait, or the outbox was closed.
    pub(crate) async fn below(&self, bytes: usize) {
        let is_above = || {
            let waiting = self.lock();
            !waiting.closed && waiting.bytes.len() >= bytes
        };
        if is_above() {
            self.drained().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds this lock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame at the end.
    pub(crate) fn push<T: Serialize>(
        &self,
        kind: FrameKind,
        number: u64,
        message: &T,
    ) -> Result<(), SendError> {
        self.push_with(|out| encode_frame(kind, number, message, FRAME_BYTES_MAX, out))
    }

    /// Puts what `encode` appends at the end, all of it or nothing.
    pub(crate) fn push_with(
        &self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), FrameError>,
    ) -> Result<(), SendError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(SendError::Closed);
        }
        let before = waiting.bytes.len();
        if let Err(error) = encode(&mut waiting.bytes) {
            waiting.bytes.truncate(before);
            return Err(error.into());
        }
        if before > 0 && waiting.bytes.len() > self.bytes_max {
            waiting.bytes.truncate(before);
            return Err(SendError::Full { waiting: before });
        }
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// Nothing more may be pushed; what waits is still written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Whether everything that was pushed is written.
    pub(crate) fn is_idle(&self) -> bool {
        let waiting = self.lock();
        waiting.bytes.is_empty() && !waiting.writing
    }

    /// Returns once everything was taken for writing, or the outbox was closed.
    pub(crate) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let waiting = self.lock();
                if waiting.closed || waiting.bytes.is_empty() {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Writes what waits now.
    pub(crate) async fn write_waiting<W: AsyncWrite + Unpin>(
        &self,
        write: &mut W,
    ) -> std::io::Result<()> {
        let batch = std::mem::take(&mut self.lock().bytes);
        self.drained.notify_waiters();
        write.write_all(&batch).await
    }

    /// Writes what waits, for as long as the outbox is not closed and empty.
    pub(crate) async fn run<W: AsyncWrite + Unpin>(&self, write: &mut W) -> std::io::Result<()> {
        let mut batch = BytesMut::new();
        loop {
            let closed = {
                let mut waiting = self.lock();
                std::mem::swap(&mut waiting.bytes, &mut batch);
                waiting.writing = !batch.is_empty();
                waiting.closed
            };
            if !batch.is_empty() {
                self.drained.notify_waiters();
                self.write(write, &batch).await?;
                batch.clear();
                if batch.capacity() > KEPT_BYTES_MAX {
                    batch = BytesMut::new();
                }
            } else if closed {
                return write.shutdown().await;
            } else {
                self.filled.notified().await;
            }
        }
    }
}

impl Outbox {
    /// Writes all, as long as the other side takes something now and then.
    async fn write<W: AsyncWrite + Unpin>(
        &self,
        write: &mut W,
        mut bytes: &[u8],
    ) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let taken = tokio::time::timeout(self.stalled_max, write.write(bytes)).await;
            let taken = taken.unwrap_or_else(|_| Err(stalled(bytes.len(), self.stalled_max)))?;
            if taken == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[taken..];
        }
        Ok(())
    }
}

fn stalled(bytes: usize, within: Duration) -> std::io::Error {
    let why = format!("the other side reads nothing: {bytes} bytes have waited for {within:?}");
    std::io::Error::new(std::io::ErrorKind::TimedOut, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: usize) -> bytes::Bytes {
        vec![7u8; bytes].into()
    }

    #[tokio::test]
    async fn what_waits_leaves_in_order_and_in_one_write() {
        let outbox = Outbox::default();
        for number in 0..3 {
            outbox.push(FrameKind::Peer, number, &body(1)).unwrap();
        }
        outbox.close();
        assert!(matches!(
            outbox.push(FrameKind::Peer, 3, &body(1)),
            Err(SendError::Closed)
        ));
        let mut written = tokio_test_writer::Counting::default();
        outbox.run(&mut written).await.unwrap();
        assert_eq!(written.writes, 1);
        let mut reader = super::super::FrameReader::new(&written.bytes[..]);
        for number in 0..3 {
            assert_eq!(reader.next().await.unwrap().unwrap().number, number);
        }
        assert!(reader.next().await.unwrap().is_none());
    }

    #[test]
    fn one_frame_of_any_size_fits_but_no_second_beyond_the_maximum() {
        let outbox = Outbox::default();
        let large = body(OUTBOX_BYTES_MAX + 1);
        outbox.push(FrameKind::Peer, 0, &large).unwrap();
        assert!(matches!(
            outbox.push(FrameKind::Peer, 1, &body(1)),
            Err(SendError::Full { waiting }) if waiting > OUTBOX_BYTES_MAX
        ));
    }

    mod tokio_test_writer {
        use std::pin::Pin;
        use std::task::{Context, Poll};

        #[derive(Default)]
        pub(super) struct Counting {
            pub(super) writes: usize,
            pub(super) bytes: Vec<u8>,
        }

        impl tokio::io::AsyncWrite for Counting {
            fn poll_write(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<std::io::Result<usize>> {
                self.writes += 1;
                self.bytes.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<std::io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
    }
}
