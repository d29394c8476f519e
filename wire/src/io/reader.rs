//! Frames out of a stream of bytes.
//!
//! Invariant: a connection that says nothing holds [`READ_BYTES_MIN`], one that is half in a frame holds
//! the bytes that have come and a read's worth more.

use super::limits::SLOWEST_BYTES_PER_SECOND;
use crate::frame::{Frame, FrameCodec, FrameError};
use bytes::BytesMut;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::codec::Decoder;

/// Reads whole frames. Dropping a pending `next` loses nothing.
pub(crate) struct FrameReader<R> {
    read: R,
    buffer: BytesMut,
    codec: FrameCodec,
    /// What the next read may bring: more for those who send much.
    read_bytes: usize,
    /// How long a frame may take once it has begun.
    frame_within: Option<Duration>,
}

/// What one read may bring, at least and at most.
const READ_BYTES_MIN: usize = 2 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that takes short frames only, until [`FrameReader::handshake_done`].
    pub(crate) fn new(read: R) -> FrameReader<R> {
        FrameReader {
            read,
            buffer: BytesMut::new(),
            codec: FrameCodec::before_handshake(),
            read_bytes: READ_BYTES_MIN,
            frame_within: None,
        }
    }

    /// The handshake is done: long frames are welcome.
    pub(crate) fn handshake_done(&mut self) {
        self.codec.handshake_done();
    }

    /// From now on a frame that has begun must be complete within this, and what its bytes so far take
    /// at the slowest.
    pub(crate) fn expect_frames_within(&mut self, time: Duration) {
        self.frame_within = Some(time);
    }

    /// The next frame; `None` at an orderly end.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let mut begun = None;
        loop {
            if let Some(frame) = self.codec.decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            self.make_room();
            let came = match self.frame_within.filter(|_| !self.buffer.is_empty()) {
                None => self.read.read_buf(&mut self.buffer).await?,
                Some(within) => {
                    let begun = *begun.get_or_insert_with(|| tokio::time::sleep(within).deadline());
                    let bytes = self.buffer.len();
                    let for_bytes = Duration::from_secs(bytes as u64 / SLOWEST_BYTES_PER_SECOND);
                    let read = self.read.read_buf(&mut self.buffer);
                    let slow = |_| FrameError::Slow { bytes, within };
                    let read = tokio::time::timeout_at(begun + for_bytes, read);
                    read.await.map_err(slow)??
                }
            };
            if came == 0 {
                return self.codec.decode_eof(&mut self.buffer);
            }
            self.learn(came);
        }
    }

    fn make_room(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 4 * self.read_bytes {
            // Nothing waits, and little has come of late.
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() - self.buffer.len() < self.read_bytes / 4 {
            self.buffer.reserve(self.read_bytes);
        }
    }

    /// Reads more at once from those who send much, and less from those who do not.
    fn learn(&mut self, came: usize) {
        if self.buffer.len() == self.buffer.capacity() || came >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 4).min(READ_BYTES_MAX);
        } else if came < self.read_bytes / 8 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
    }
}
