//! Frames: how messages lie on a connection.
//!
//! ```text
//!   0      4     5        6      8               16        20
//!   | body | kind| version| flags| request number | checksum | body (postcard) …
//!   | len  |  u8 |   u8   |  u16 |      u64       | crc32c   |
//!    u32                                            u32          all little-endian
//! ```
//!
//! Invariants:
//! - the length is compared with the maximum before a byte of the body is buffered, and memory grows
//!   with what has arrived, never with what was announced;
//! - the checksum covers the first 16 bytes of the header and the body, so a damaged request number
//!   is noticed like a damaged value;
//! - a body is decoded whole: bytes left over are an error, for they would be a field that one side
//!   knows and the other does not.
//!
//! Before the handshake the maximum is small, so a stranger cannot make the node buffer anything.
//! A body is a slice of the buffer that was read, not a copy; byte strings in it are copied once,
//! when they become [`Bytes`] of their own and the frame can go.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::codec::{Decoder, Encoder};

/// The longest body of a frame, bytes: the largest transaction with its keys and room to spare.
pub const FRAME_BYTES_MAX: usize = 72 * 1024 * 1024;
/// The longest body before the handshake is done, bytes.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;
/// The bytes of a header.
pub const HEADER_BYTES: usize = 20;
/// The only protocol version there is.
pub const PROTOCOL_VERSION: u8 = 1;

const CHECKSUM_AT: usize = 16;
/// How far memory runs ahead of the bytes that have arrived.
const READ_AHEAD_BYTES: usize = 256 * 1024;

const _: () = assert!(FRAME_BYTES_MAX > crate::keys::TRANSACTION_BYTES_MAX + 4 * 1024 * 1024);
const _: () = assert!(FRAME_BYTES_MAX > crate::keys::READ_BYTES_MAX + 4 * 1024 * 1024);
const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize);

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// [`crate::handshake::Hello`], the first frame of whoever dialled.
    Hello = 1,
    /// [`crate::handshake::HelloReply`], the answer to it.
    HelloReply = 2,
    /// [`crate::message::ClientRequest`].
    ClientRequest = 3,
    /// [`crate::message::ClientReply`], under the number of its request.
    ClientReply = 4,
    /// [`crate::message::PeerFrame`].
    Peer = 5,
    /// [`crate::message::FoundingMessage`].
    Founding = 6,
    /// [`crate::handshake::Goodbye`]: why the sender closes the connection.
    Goodbye = 7,
    /// From a client that has waited for some time: does the node still live? The body is empty.
    Ping = 8,
    /// The answer to a ping, under its number.
    Pong = 9,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<FrameKind> {
        use FrameKind::*;
        [
            Hello,
            HelloReply,
            ClientRequest,
            ClientReply,
            Peer,
            Founding,
            Goodbye,
            Ping,
            Pong,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// The protocol version of the body.
    pub version: u8,
    /// The request number, for what has one; else 0.
    pub number: u64,
    /// The encoded message.
    pub body: Bytes,
}

/// What is wrong with a frame. Costs the connection, nothing else.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The bytes are those of another protocol.
    #[error("the other side speaks {what}, not Horolog's protocol: is this the right port?")]
    Foreign {
        /// Which.
        what: &'static str,
    },
    /// A frame took too long.
    #[error("a frame of which {bytes} bytes had come was not complete within {within:?}")]
    Slow {
        /// How much of it had arrived.
        bytes: usize,
        /// How long was waited.
        within: std::time::Duration,
    },
    /// The body is longer than allowed here.
    #[error("a frame of {bytes} bytes, the most allowed here is {max}")]
    TooLong {
        /// Its length.
        bytes: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// The kind is not known.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    /// The version is not the one agreed on.
    #[error("a frame of protocol version {found}, this connection speaks {expected}")]
    Version {
        /// What the frame says.
        found: u8,
        /// What was agreed on.
        expected: u8,
    },
    /// Flags that this version does not have.
    #[error("a frame with unknown flags {0:#06x}")]
    UnknownFlags(u16),
    /// The bytes are not what was sent.
    #[error("the checksum of a frame is {found:#010x}, its bytes give {expected:#010x}")]
    Checksum {
        /// What the header says.
        found: u32,
        /// What the bytes give.
        expected: u32,
    },
    /// The body is not a message of its kind.
    #[error("the body of a {kind:?} frame cannot be read: {why}")]
    Body {
        /// The frame's kind.
        kind: FrameKind,
        /// Why not.
        why: String,
    },
    /// A message cannot be written down.
    #[error("a {kind:?} frame cannot be encoded: {why}")]
    Encode {
        /// The frame's kind.
        kind: FrameKind,
        /// Why not.
        why: String,
    },
    /// The connection ended within a frame.
    #[error("the connection ended within a frame, after {bytes} bytes of it")]
    Truncated {
        /// How much of it had arrived.
        bytes: usize,
    },
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(#[from] std::io::Error),
}

impl FrameError {
    /// In one word, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            FrameError::Foreign { .. } => "foreign_protocol",
            FrameError::Slow { .. } => "slow_writer",
            FrameError::TooLong { .. } => "too_long",
            FrameError::UnknownKind(_) => "unknown_kind",
            FrameError::Version { .. } => "wrong_version",
            FrameError::UnknownFlags(_) => "unknown_flags",
            FrameError::Checksum { .. } => "wrong_checksum",
            FrameError::Body { .. } => "malformed",
            FrameError::Encode { .. } => "not_encodable",
            FrameError::Truncated { .. } => "truncated",
            FrameError::Connection(_) => "connection_failed",
        }
    }
}

/// The protocol whose first bytes these are, if it is a known one. None of them is the beginning of a
/// frame that would be let through: read as a length they are all too long.
fn foreign(first: &[u8]) -> Option<&'static str> {
    const METHODS: [&[u8]; 7] = [
        b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"CONN",
    ];
    match first.get(..4)? {
        b"HTTP" => Some("HTTP"),
        b"PRI " => Some("HTTP/2"),
        b"SSH-" => Some("SSH"),
        method if METHODS.contains(&method) => Some("HTTP"),
        [0x14..=0x17, 3, 0..=4, _] => Some("TLS"),
        _ => None,
    }
}

impl Frame {
    /// Reads the body as a message; all of it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        let wrong = |why: String| FrameError::Body {
            kind: self.kind,
            why,
        };
        match postcard::take_from_bytes::<T>(&self.body) {
            Ok((message, [])) => Ok(message),
            Ok((_, rest)) => Err(wrong(format!("{} bytes are left over", rest.len()))),
            Err(error) => Err(wrong(error.to_string())),
        }
    }
}

/// Appends one frame with `message` as its body to `out`; on an error `out` is as it was.
pub fn encode_frame<T: Serialize>(
    kind: FrameKind,
    number: u64,
    message: &T,
    bytes_max: usize,
    out: &mut BytesMut,
) -> Result<(), FrameError> {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    let encoded = postcard::serialize_with_flavor(message, Appender(out));
    let finished = match encoded {
        Ok(()) => write_header(kind, number, bytes_max, start, out),
        Err(error) => Err(FrameError::Encode {
            kind,
            why: error.to_string(),
        }),
    };
    if finished.is_err() {
        out.truncate(start);
    }
    finished
}

/// Fills in the header of the frame that begins at `start` and ends at the end of `out`.
fn write_header(
    kind: FrameKind,
    number: u64,
    bytes_max: usize,
    start: usize,
    out: &mut BytesMut,
) -> Result<(), FrameError> {
    let bytes = out.len() - start - HEADER_BYTES;
    if bytes > bytes_max {
        return Err(FrameError::TooLong {
            bytes: bytes as u64,
            max: bytes_max as u64,
        });
    }
    let frame = &mut out[start..];
    let mut header = &mut frame[..CHECKSUM_AT];
    header.put_u32_le(bytes as u32);
    header.put_u8(kind as u8);
    header.put_u8(PROTOCOL_VERSION);
    header.put_u16_le(0);
    header.put_u64_le(number);
    let sum = checksum(&frame[..CHECKSUM_AT], &frame[HEADER_BYTES..]);
    frame[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(header);
    digest.update(body);
    digest.finalize() as u32
}

/// Lets postcard write to the end of a buffer that already holds other frames.
struct Appender<'a>(&'a mut BytesMut);

impl postcard::ser_flavors::Flavor for Appender<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Finds frames in bytes, and writes them.
#[derive(Clone, Debug)]
pub struct FrameCodec {
    bytes_max: usize,
}

impl FrameCodec {
    /// For a connection that has not shaken hands: only short frames.
    pub fn before_handshake() -> FrameCodec {
        FrameCodec {
            bytes_max: HANDSHAKE_BYTES_MAX,
        }
    }

    /// The handshake is done: frames up to [`FRAME_BYTES_MAX`] from now on.
    pub fn handshake_done(&mut self) {
        self.bytes_max = FRAME_BYTES_MAX;
    }

    /// The longest body that is let through now, bytes.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Checks what the header alone can tell; gives the whole frame's length.
    fn check_header(&self, mut header: &[u8]) -> Result<(usize, FrameKind), FrameError> {
        let first = header;
        let bytes = header.get_u32_le() as usize;
        if bytes > self.bytes_max {
            if let Some(what) = foreign(first) {
                return Err(FrameError::Foreign { what });
            }
            return Err(FrameError::TooLong {
                bytes: bytes as u64,
                max: self.bytes_max as u64,
            });
        }
        let kind = header.get_u8();
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
        let version = header.get_u8();
        if version != PROTOCOL_VERSION {
            return Err(FrameError::Version {
                found: version,
                expected: PROTOCOL_VERSION,
            });
        }
        match header.get_u16_le() {
            0 => Ok((HEADER_BYTES + bytes, kind)),
            flags => Err(FrameError::UnknownFlags(flags)),
        }
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if source.len() < HEADER_BYTES {
            // Another protocol's first words may be shorter than a header.
            return match foreign(source) {
                Some(what) if self.bytes_max == HANDSHAKE_BYTES_MAX => {
                    Err(FrameError::Foreign { what })
                }
                _ => Ok(None),
            };
        }
        let (total, kind) = self.check_header(&source[..HEADER_BYTES])?;
        if source.len() < total {
            source.reserve((total - source.len()).min(READ_AHEAD_BYTES));
            return Ok(None);
        }
        let mut body = source.split_to(total).freeze();
        let header = body.split_to(HEADER_BYTES);
        let found = (&header[CHECKSUM_AT..]).get_u32_le();
        let expected = checksum(&header[..CHECKSUM_AT], &body);
        if found != expected {
            return Err(FrameError::Checksum { found, expected });
        }
        Ok(Some(Frame {
            kind,
            version: PROTOCOL_VERSION,
            number: (&header[8..CHECKSUM_AT]).get_u64_le(),
            body,
        }))
    }

    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self.decode(source)? {
            Some(frame) => Ok(Some(frame)),
            None if source.is_empty() => Ok(None),
            None => Err(FrameError::Truncated {
                bytes: source.len(),
            }),
        }
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), FrameError> {
        let start = out.len();
        out.put_bytes(0, HEADER_BYTES);
        out.extend_from_slice(&frame.body);
        let written = write_header(frame.kind, frame.number, self.bytes_max, start, out);
        if written.is_err() {
            out.truncate(start);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ClientRequest, Snapshot};
    use proptest::prelude::*;

    fn open() -> FrameCodec {
        let mut codec = FrameCodec::before_handshake();
        codec.handshake_done();
        codec
    }

    fn request_frame(number: u64) -> BytesMut {
        let mut out = BytesMut::new();
        let request = ClientRequest::Read {
            reader: None,
            snapshot: Snapshot::Fresh,
            requests: vec![],
        };
        encode_frame(
            FrameKind::ClientRequest,
            number,
            &request,
            FRAME_BYTES_MAX,
            &mut out,
        )
        .unwrap();
        out
    }

    #[test]
    fn frames_come_out_in_order_however_the_bytes_arrive() {
        let mut sent = request_frame(1);
        sent.unsplit(request_frame(2));
        for step in 1..sent.len() {
            let (mut buffer, mut numbers) = (BytesMut::new(), vec![]);
            for piece in sent.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = open().decode(&mut buffer).unwrap() {
                    frame.decode::<ClientRequest>().unwrap();
                    numbers.push(frame.number);
                }
            }
            assert_eq!((numbers, buffer.len()), (vec![1, 2], 0), "pieces of {step}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let sent = request_frame(7);
        for bit in 0..sent.len() * 8 {
            let mut damaged = sent.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A longer length only waits for bytes that never come.
            let result = open().decode_eof(&mut damaged);
            assert!(result.is_err(), "bit {bit} went unnoticed: {result:?}");
        }
    }

    #[test]
    fn a_long_frame_is_refused_by_its_header_alone() {
        let mut header = BytesMut::zeroed(HEADER_BYTES);
        header[..4].copy_from_slice(&(HANDSHAKE_BYTES_MAX as u32 + 1).to_le_bytes());
        header[4] = FrameKind::Hello as u8;
        header[5] = PROTOCOL_VERSION;
        let refused = FrameCodec::before_handshake().decode(&mut header.clone());
        assert!(
            matches!(refused, Err(FrameError::TooLong { bytes, max: 65_536 }) if bytes == 65_537)
        );
        assert!(open().decode(&mut header).unwrap().is_none());
        header[..4].copy_from_slice(&(FRAME_BYTES_MAX as u32).to_le_bytes());
        assert!(open().decode(&mut header).unwrap().is_none());
        assert!(
            header.capacity() < 2 * READ_AHEAD_BYTES,
            "memory was reserved for what was only announced: {}",
            header.capacity()
        );
    }

    #[test]
    fn other_protocols_are_named() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], "HTTP"),
            (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
            (b"PRI * HTTP/2.0\r\n\r\n", "HTTP/2"),
            (b"SSH-2.0-x\r\n", "SSH"),
            (
                &[
                    0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                ],
                "TLS",
            ),
            (&[0x15, 3, 3, 0, 2, 2, 80], "TLS"),
        ] {
            let error = FrameCodec::before_handshake()
                .decode(&mut BytesMut::from(bytes))
                .unwrap_err();
            assert!(
                matches!(error, FrameError::Foreign { what } if what == expected),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let frame = Frame {
            kind: FrameKind::ClientRequest,
            version: PROTOCOL_VERSION,
            number: 0,
            body: postcard::to_stdvec(&(ClientRequest::Map, 1u8))
                .unwrap()
                .into(),
        };
        let error = frame.decode::<ClientRequest>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the body of a ClientRequest frame cannot be read: 1 bytes are left over"
        );
    }

    #[test]
    fn a_message_too_long_leaves_nothing_behind() {
        let mut out = request_frame(1);
        let before = out.clone();
        let long = vec![0u8; 100];
        let refused = encode_frame(FrameKind::Peer, 0, &long, 50, &mut out);
        assert!(matches!(refused, Err(FrameError::TooLong { .. })));
        assert_eq!(out, before);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = open().decode(&mut buffer) {
                let _unreadable = frame.decode::<ClientRequest>();
            }
        }

        #[test]
        fn any_body_survives(body in proptest::collection::vec(any::<u8>(), 0..2_000), number: u64) {
            let frame = Frame { kind: FrameKind::Peer, version: PROTOCOL_VERSION, number, body: body.into() };
            let mut buffer = BytesMut::new();
            open().encode(frame.clone(), &mut buffer).unwrap();
            prop_assert_eq!(open().decode(&mut buffer).unwrap(), Some(frame));
        }
    }
}
