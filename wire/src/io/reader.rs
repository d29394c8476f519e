//! Frames out of a stream of bytes.

use crate::frame::{Frame, FrameCodec, FrameError};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::codec::Decoder;

/// Reads whole frames. Dropping a pending `next` loses nothing.
pub(crate) struct FrameReader<R> {
    read: R,
    buffer: BytesMut,
    codec: FrameCodec,
}

/// What one read may bring.
const READ_BYTES: usize = 64 * 1024;

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that takes short frames only, until [`FrameReader::handshake_done`].
    pub(crate) fn new(read: R) -> FrameReader<R> {
        FrameReader {
            read,
            buffer: BytesMut::new(),
            codec: FrameCodec::before_handshake(),
        }
    }

    /// The handshake is done: long frames are welcome.
    pub(crate) fn handshake_done(&mut self) {
        self.codec.handshake_done();
    }

    /// The next frame; `None` at an orderly end.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
                self.buffer.reserve(READ_BYTES);
            }
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return self.codec.decode_eof(&mut self.buffer);
            }
        }
    }
}
