//! The outgoing half of the conversation with another node (pattern Single-Socket Channel).
//!
//! ```text
//!   A ──── the connection that A dialled: A's messages ────► B
//!   A ◄─── the connection that B dialled: B's messages ───── B
//! ```
//!
//! Each direction has a connection of its own, dialled by who speaks. So there is never a question
//! which of two crossing connections survives, and each side numbers only its own.
//!
//! Invariants:
//! - messages to a node arrive in the order in which they were sent, or not at all: after a gap the
//!   channel has said [`Incoming::PeerDown`];
//! - a message is sent only to the node that it is for, also when another one now has the address.
//!
//! Messages given while no connection stands are dropped, for the protocol above says them again;
//! founding messages, which go to an address and have nobody above that watches the channel, wait.

use super::listener::Incoming;
use super::outbox::{Outbox, SendError};
use super::reader::FrameReader;
use super::{HANDSHAKE_TIMEOUT, SharedIdentity, tune};
use crate::frame::{FRAME_BYTES_MAX, FrameError, FrameKind, encode_frame};
use crate::handshake::{Goodbye, HandshakeError, HelloReply, Identity, Welcome};
use crate::ids::NodeId;
use crate::message::{FoundingMessage, PeerFrame};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The first pause between two tries to dial.
pub const DIAL_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest one.
pub const DIAL_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The most founding messages that wait for a connection; the oldest go first.
pub const FOUNDING_WAITING_MAX: usize = 64;

/// Why a connection could not be made or ended.
#[derive(Debug, thiserror::Error)]
enum ChannelError {
    #[error("cannot connect: {0}")]
    Dial(#[from] std::io::Error),
    #[error("no handshake within {HANDSHAKE_TIMEOUT:?}")]
    Silent,
    #[error("the other side {0}")]
    Refused(#[from] HandshakeError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("the other side closed the connection")]
    Closed,
    #[error("the other side closed the connection: {0}")]
    Left(Goodbye),
    #[error("the other side answered the hello with a {0:?} frame")]
    NoWelcome(FrameKind),
    #[error("what waits to be sent grew too large")]
    SlowReader,
    #[error("this node has become a member: shaking hands anew")]
    Founded,
}

#[derive(Default)]
struct State {
    standing: Option<Link>,
    founding_waiting: VecDeque<FoundingMessage>,
}

/// A connection that stands.
#[derive(Clone)]
struct Link {
    /// `None`: the other side knows no cluster yet.
    node: Option<NodeId>,
    outbox: Arc<Outbox>,
    lost: CancellationToken,
}

/// The two halves of a connection.
type Halves = (FrameReader<OwnedReadHalf>, OwnedWriteHalf);

struct Shared {
    address: String,
    identity: SharedIdentity,
    incoming: mpsc::Sender<Incoming>,
    state: Mutex<State>,
    /// The other side is known to live: no need to wait before the next try.
    alive: Notify,
}

/// An ordered, one-way channel to whoever listens at an address. Dropping it closes it.
pub struct PeerChannel {
    shared: Arc<Shared>,
    _closes: DropGuard,
}

impl PeerChannel {
    /// Opens a channel on the current runtime and keeps it open: a lost connection is dialled again.
    /// Tells `incoming` when it stands and when it is lost.
    pub fn open(
        address: String,
        identity: SharedIdentity,
        incoming: mpsc::Sender<Incoming>,
    ) -> PeerChannel {
        let shared = Arc::new(Shared {
            address,
            identity,
            incoming,
            state: Mutex::default(),
            alive: Notify::new(),
        });
        let closed = CancellationToken::new();
        let keeping = shared.clone().keep_open();
        tokio::spawn(closed.clone().run_until_cancelled_owned(keeping));
        PeerChannel {
            shared,
            _closes: closed.drop_guard(),
        }
    }

    /// The address that it dials.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// The node at the other end, while a connection stands.
    pub fn node(&self) -> Option<NodeId> {
        self.shared.state().standing.as_ref()?.node
    }

    /// The node at the other end has just been heard: a channel that waits before its next try to dial
    /// tries at once. A node that was restarted is so reached in both directions at the same time.
    pub fn dial_now(&self) {
        if self.shared.state().standing.is_none() {
            self.shared.alive.notify_one();
        }
    }

    /// Sends to a node; returns whether a connection to it stands. A frame that is too long is divided.
    pub fn send(&self, to: NodeId, frame: PeerFrame) -> Result<bool, FrameError> {
        let standing = self.shared.state().standing.clone();
        let Some(link) = standing.filter(|link| link.node == Some(to)) else {
            return Ok(false);
        };
        match link.outbox.push_with(|out| encode_divided(frame, out)) {
            Ok(()) => Ok(true),
            Err(SendError::Closed) => Ok(false),
            Err(SendError::Full { waiting }) => {
                let address = &self.shared.address;
                tracing::warn!(%to, address, waiting, "a node reads too slowly: reconnecting");
                link.lost.cancel();
                Ok(false)
            }
            Err(SendError::Frame(error)) => Err(error),
        }
    }

    /// Sends to whoever listens at the address, now or when a connection stands.
    pub fn send_founding(&self, message: FoundingMessage) -> Result<(), FrameError> {
        let mut state = self.shared.state();
        let standing = state.standing.clone();
        let pushed = match standing {
            Some(link) => link.outbox.push(FrameKind::Founding, 0, &message),
            None => Err(SendError::Closed),
        };
        match pushed {
            Ok(()) => Ok(()),
            Err(SendError::Frame(error)) => Err(error),
            Err(SendError::Closed | SendError::Full { .. }) => {
                if state.founding_waiting.len() == FOUNDING_WAITING_MAX {
                    state.founding_waiting.pop_front();
                }
                state.founding_waiting.push_back(message);
                Ok(())
            }
        }
    }
}

/// Halves a frame until its parts fit; one message that does not fit alone is an error.
fn encode_divided(mut frame: PeerFrame, out: &mut BytesMut) -> Result<(), FrameError> {
    match encode_frame(FrameKind::Peer, 0, &frame, FRAME_BYTES_MAX, out) {
        Err(FrameError::TooLong { .. }) if frame.messages.len() > 1 => {
            let stamp = frame.stamp;
            let messages = frame.messages.split_off(frame.messages.len() / 2);
            encode_divided(frame, out)?;
            encode_divided(PeerFrame { stamp, messages }, out)
        }
        encoded => encoded,
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep_open(self: Arc<Self>) {
        let mut backoff = DIAL_BACKOFF_MIN;
        loop {
            let (stood, ended) = self.connect_once().await;
            let address = &self.address;
            match ended {
                ChannelError::Refused(_) => {
                    tracing::warn!(address, error = %ended, "a channel was refused");
                }
                _ => tracing::debug!(address, error = %ended, "a channel is not connected"),
            }
            if stood {
                backoff = DIAL_BACKOFF_MIN;
            }
            backoff = pause(backoff, &self.alive).await;
        }
    }

    /// Dials, and stays as long as the connection stands. Returns whether it ever stood.
    async fn connect_once(&self) -> (bool, ChannelError) {
        let identity = self.identity.get();
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake_hands(&identity)).await;
        let (connection, welcome) = match shaken {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return (false, error),
            Err(_) => return (false, ChannelError::Silent),
        };
        let is_member = identity.membership.is_some();
        let link = Link {
            node: welcome.node.filter(|_| is_member),
            outbox: Arc::new(Outbox::default()),
            lost: CancellationToken::new(),
        };
        let ended = self.stand(link.clone(), connection, is_member).await;
        link.outbox.close();
        self.state().standing = None;
        if let Some(node) = link.node {
            let address = self.address.clone();
            self.tell(Incoming::PeerDown { node, address }).await;
        }
        (true, ended)
    }

    async fn shake_hands(&self, identity: &Identity) -> Result<(Halves, Welcome), ChannelError> {
        let stream = TcpStream::connect(&self.address).await?;
        tune(&stream)?;
        let (read, mut write) = stream.into_split();
        let hello = identity.hello(self.identity.next_session());
        let outbox = Outbox::default();
        outbox.push(FrameKind::Hello, 0, &hello)?;
        outbox.write_waiting(&mut write).await?;
        let mut reader = FrameReader::new(read);
        let first = reader.next().await?.ok_or(ChannelError::Closed)?;
        if first.kind != FrameKind::HelloReply {
            return Err(ChannelError::NoWelcome(first.kind));
        }
        match first.decode()? {
            HelloReply::Refused(refused) => Err(refused.into()),
            HelloReply::Welcome(welcome) => Ok(((reader, write), welcome)),
        }
    }

    async fn stand(
        &self,
        link: Link,
        (mut reader, mut write): Halves,
        was_member: bool,
    ) -> ChannelError {
        {
            let mut state = self.state();
            for message in std::mem::take(&mut state.founding_waiting) {
                if let Err(error) = link.outbox.push(FrameKind::Founding, 0, &message) {
                    return error.into();
                }
            }
            state.standing = Some(link.clone());
        }
        if let Some(node) = link.node {
            let address = self.address.clone();
            self.tell(Incoming::PeerUp { node, address }).await;
        }
        let writing = link.outbox.run(&mut write);
        tokio::pin!(writing);
        let ended = tokio::select! {
            written = &mut writing => return match written {
                Ok(()) => ChannelError::Closed,
                Err(error) => error.into(),
            },
            ended = read_farewell(&mut reader) => ended,
            () = link.lost.cancelled() => ChannelError::SlowReader,
            () = self.identity.founded(), if !was_member => ChannelError::Founded,
        };
        if matches!(ended, ChannelError::Founded) {
            // This side ends it, so what was said over it must still arrive.
            self.state().standing = None;
            link.outbox.close();
            if tokio::time::timeout(HANDSHAKE_TIMEOUT, writing)
                .await
                .is_err()
            {
                return ChannelError::SlowReader;
            }
        }
        ended
    }

    async fn tell(&self, incoming: Incoming) {
        if self.incoming.send(incoming).await.is_err() {
            tracing::debug!(address = self.address, "the owner of a channel is gone");
        }
    }
}

/// Waits before the next try to dial, unless the other side is known to live; the pause after that one.
async fn pause(backoff: Duration, alive: &Notify) -> Duration {
    tokio::select! {
        () = tokio::time::sleep(backoff) => (backoff * 2).min(DIAL_BACKOFF_MAX),
        () = alive.notified() => DIAL_BACKOFF_MIN,
    }
}

/// Nothing is said in this direction but a reason for the end.
async fn read_farewell(reader: &mut FrameReader<OwnedReadHalf>) -> ChannelError {
    match reader.next().await {
        Err(error) => error.into(),
        Ok(None) => ChannelError::Closed,
        Ok(Some(frame)) if frame.kind == FrameKind::Goodbye => match frame.decode() {
            Ok(goodbye) => ChannelError::Left(goodbye),
            Err(error) => error.into(),
        },
        Ok(Some(frame)) => ChannelError::NoWelcome(frame.kind),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // The clock of these tests is paused.
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_a_maximum() {
        let (began, alive) = (Instant::now(), Notify::new());
        let mut backoff = DIAL_BACKOFF_MIN;
        for _ in 0..8 {
            backoff = pause(backoff, &alive).await;
        }
        assert_eq!(backoff, DIAL_BACKOFF_MAX);
        let waited = began.elapsed();
        let expected = [50, 100, 200, 400, 800, 1000, 1000, 1000].map(Duration::from_millis);
        let expected: Duration = expected.into_iter().sum();
        assert!(
            waited >= expected && waited < expected + Duration::from_millis(50),
            "{waited:?} instead of {expected:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_heard_is_dialled_at_once_and_then_at_the_shortest_pause() {
        let (sender, _receiver) = mpsc::channel(1);
        let channel = PeerChannel {
            shared: Arc::new(Shared {
                address: "127.0.0.1:1".to_owned(),
                identity: SharedIdentity::new("127.0.0.1:2".to_owned(), None),
                incoming: sender,
                state: Mutex::default(),
                alive: Notify::new(),
            }),
            _closes: CancellationToken::new().drop_guard(),
        };
        let began = Instant::now();
        channel.dial_now();
        let next = pause(DIAL_BACKOFF_MAX, &channel.shared.alive).await;
        assert_eq!((began.elapsed(), next), (Duration::ZERO, DIAL_BACKOFF_MIN));
        // Heard once: one try at once, no more.
        pause(next, &channel.shared.alive).await;
        assert!(began.elapsed() >= DIAL_BACKOFF_MIN);
    }
}
