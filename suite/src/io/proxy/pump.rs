//! What is sent over one connection, frame by frame, under the rules of its link.

use super::connection::encoded;
use super::{
    CHANCE_PARTS, ClientFault, Cut, Dialler, Disturbance, HELD_FOR_MAX, OVERTAKEN_BY_MAX, Seat,
    Shared,
};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::codec::Decoder;
use wire::SplitMix64;
use wire::frame::{Frame, FrameCodec, FrameError, FrameKind};
use wire::message::ClientRequest;

/// So much waits in the proxy for one connection; then its sender is not read.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// What a read may bring.
const READ_BYTES: usize = 64 * 1024;
/// A connection that is cut after a request ends within this: while the request is served.
const CUT_WITHIN_US: u64 = 3_000;
/// A commit that is sent once more is answered within this, or given up.
const REPLAY_WITHIN: Duration = Duration::from_secs(15);

/// Reads whole frames. Dropping a pending `next` loses nothing.
pub(super) struct FrameIn {
    read: OwnedReadHalf,
    buffer: BytesMut,
    codec: FrameCodec,
}

impl FrameIn {
    pub(super) fn new(read: OwnedReadHalf) -> FrameIn {
        FrameIn {
            read,
            buffer: BytesMut::new(),
            codec: FrameCodec::before_handshake(),
        }
    }

    pub(super) fn handshake_done(&mut self) {
        self.codec.handshake_done();
    }

    /// The next frame; `None` at an orderly end.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            if self.read.read_buf(&mut self.buffer).await? == 0 {
                return self.codec.decode_eof(&mut self.buffer);
            }
        }
    }
}

/// Frames that wait for their time, in the order in which they leave.
#[derive(Default)]
struct Waiting {
    frames: BTreeMap<(Instant, u64), Bytes>,
    bytes: usize,
    put_in: u64,
}

impl Waiting {
    fn put(&mut self, at: Instant, frame: Bytes) {
        self.put_in += 1;
        self.bytes += frame.len();
        self.frames.insert((at, self.put_in), frame);
    }

    fn next_at(&self) -> Option<Instant> {
        self.frames.first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&mut self, now: Instant) -> Option<Bytes> {
        if self.next_at()? > now {
            return None;
        }
        let (_, frame) = self.frames.pop_first()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

/// Whether a connection goes on after a frame.
#[derive(PartialEq, Eq)]
enum Goes {
    On,
    /// It ends now; the frame is not passed on.
    Ended,
    /// It ends soon; the frame is passed on.
    Ends,
}

/// Carries the frames of one connection.
pub(super) struct Pump {
    from: Dialler,
    to: Seat,
    shared: Arc<Shared>,
    random: SplitMix64,
    waiting: Waiting,
    /// When the last frame leaves that keeps its place.
    in_order: Instant,
    hello: Bytes,
}

impl Pump {
    #[allow(clippy::disallowed_methods)] // A proxy lives in real time.
    pub(super) fn new(from: Dialler, to: Seat, shared: Arc<Shared>, hello: Bytes) -> Pump {
        Pump {
            from,
            to,
            random: shared.fork_random(),
            shared,
            waiting: Waiting::default(),
            in_order: Instant::now(),
            hello,
        }
    }

    /// Returns when the dialler has closed its side and everything has left, or when a rule ends the
    /// connection.
    #[allow(clippy::disallowed_methods)] // A proxy lives in real time.
    pub(super) async fn run(
        mut self,
        mut frames: FrameIn,
        mut out: OwnedWriteHalf,
    ) -> Result<(), FrameError> {
        let mut changed = self.shared.changed.subscribe();
        let (mut is_at_end, mut held_since) = (false, None);
        loop {
            changed.borrow_and_update();
            let cut = self.shared.rules().cut(self.from, self.to);
            let now = Instant::now();
            let wake = match cut {
                Some(Cut::Reset) => return self.end(),
                Some(Cut::Silent) if self.waiting.bytes > 0 => {
                    let given_up = *held_since.get_or_insert(now) + HELD_FOR_MAX;
                    if given_up <= now {
                        return self.end();
                    }
                    Some(given_up)
                }
                Some(Cut::Silent) => None,
                None => {
                    held_since = None;
                    while let Some(frame) = self.waiting.take_due(now) {
                        out.write_all(&frame).await?;
                    }
                    self.waiting.next_at()
                }
            };
            if is_at_end && self.waiting.bytes == 0 {
                out.shutdown().await?;
                return Ok(());
            }
            tokio::select! {
                frame = frames.next(), if !is_at_end && self.waiting.bytes < WAITING_BYTES_MAX => match frame? {
                    None => is_at_end = true,
                    Some(frame) => match self.take_in(frame)? {
                        Goes::On => {}
                        Goes::Ended => return self.end(),
                        Goes::Ends => {
                            while let Some(frame) = self.waiting.take_due(Instant::now()) {
                                out.write_all(&frame).await?;
                            }
                            sleep(Duration::from_micros(self.random.below(CUT_WITHIN_US))).await;
                            return self.end();
                        }
                    },
                },
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
                told = changed.changed() => told.map_err(io::Error::other)?,
            }
        }
    }

    fn end(&self) -> Result<(), FrameError> {
        self.shared.count(|counts| counts.ended += 1);
        Err(FrameError::Connection(
            io::ErrorKind::ConnectionReset.into(),
        ))
    }

    fn chance(&mut self, parts: u32) -> bool {
        self.random.chance(parts.into(), CHANCE_PARTS.into())
    }

    fn take_in(&mut self, frame: Frame) -> Result<Goes, FrameError> {
        self.shared.count(|counts| counts.frames += 1);
        let goes = match self.from {
            Dialler::Client if frame.kind == FrameKind::ClientRequest => self.suffer(&frame)?,
            _ => Goes::On,
        };
        if goes != Goes::Ended {
            let what = self.shared.rules().disturbance(self.from, self.to);
            self.disturb(encoded(frame)?, &what);
        }
        Ok(goes)
    }

    /// What happens to a client's connection at a request.
    fn suffer(&mut self, frame: &Frame) -> Result<Goes, FrameError> {
        let fault = self.shared.rules().client_fault(self.to);
        if fault == ClientFault::default() {
            return Ok(Goes::On);
        }
        if self.chance(fault.replay)
            && matches!(frame.decode::<ClientRequest>()?, ClientRequest::Commit(_))
        {
            self.replay(frame.clone())?;
        }
        if self.chance(fault.cut_before) {
            return Ok(Goes::Ended);
        }
        Ok(match self.chance(fault.cut_after) {
            true => Goes::Ends,
            false => Goes::On,
        })
    }

    /// Sends a commit once more, to any node.
    fn replay(&mut self, frame: Frame) -> Result<(), FrameError> {
        let seat = self.random.below(self.shared.targets.len() as u64) as Seat;
        let address = self.shared.targets[seat];
        let said = [self.hello.clone(), encoded(frame)?].concat();
        self.shared.count(|counts| counts.replayed += 1);
        tokio::spawn(timeout(REPLAY_WITHIN, async move {
            let sent = async {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(&said).await?;
                // Welcome and answer; who replays wants neither, but stays until they came.
                let mut answer = BytesMut::with_capacity(READ_BYTES);
                stream.read_buf(&mut answer).await?;
                stream.read_buf(&mut answer).await
            };
            if let Err(error) = sent.await {
                tracing::debug!(%address, "a commit could not be sent once more: {error}");
            }
        }));
        Ok(())
    }

    /// Puts a frame among those that wait, with what the rules do to it.
    #[allow(clippy::disallowed_methods)] // A proxy lives in real time.
    fn disturb(&mut self, frame: Bytes, what: &Disturbance) {
        let now = Instant::now();
        if self.chance(what.loss) {
            return self.shared.count(|counts| counts.lost += 1);
        }
        let frame = match self.chance(what.corruption) {
            true => self.corrupt(&frame),
            false => frame,
        };
        let jitter = self.random.below(what.jitter.as_micros() as u64 + 1);
        let at = now + what.delay + Duration::from_micros(jitter);
        let at = match self.chance(what.reordering) {
            true => {
                self.shared.count(|counts| counts.reordered += 1);
                let late = self.random.below(OVERTAKEN_BY_MAX.as_micros() as u64);
                at.max(self.in_order) + Duration::from_micros(late)
            }
            false => {
                self.in_order = at.max(self.in_order);
                self.in_order
            }
        };
        if self.chance(what.doubling) {
            self.shared.count(|counts| counts.doubled += 1);
            self.waiting.put(at, frame.clone());
        }
        self.waiting.put(at, frame);
    }

    fn corrupt(&mut self, frame: &Bytes) -> Bytes {
        self.shared.count(|counts| counts.corrupted += 1);
        let mut bytes = BytesMut::from(&frame[..]);
        let bit = self.random.below(8 * bytes.len() as u64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes.freeze()
    }
}
