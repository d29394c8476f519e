//! One connection to a gateway with many requests in flight (pattern Request Pipeline).
//!
//! Invariants:
//! - numbers grow in the order in which requests lie on the connection;
//! - each request is answered once: by its reply, or by the loss of the connection;
//! - a request that nobody waits for any more leaves nothing behind; its late reply is ignored;
//! - a node that says nothing, not even to a ping, while something is waited for loses its connection,
//!   so that requests go another way ([`super::silence`]).

use super::silence::{Heard, silence};
use crate::client::commit_retry::Unanswered;
use crate::frame::{Frame, FrameError, FrameKind};
use crate::handshake::{Goodbye, HandshakeError, HelloReply, client_hello};
use crate::ids::ClusterId;
use crate::io::{FrameReader, Outbox, SendError, tune};
use crate::message::{ClientReply, ClientRequest};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, oneshot};

/// The most unanswered requests of one connection; more wait their turn.
const IN_FLIGHT_MAX: usize = crate::io::CLIENT_REQUESTS_IN_FLIGHT_MAX;

/// Why a connection could not be made or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("{0}")]
    Dial(#[from] std::io::Error),
    #[error("the node {0}")]
    Refused(#[from] HandshakeError),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("the node closed the connection")]
    Closed,
    #[error("the node closed the connection: {0}")]
    Left(Goodbye),
    #[error("an unexpected {0:?} frame")]
    Misplaced(FrameKind),
    #[error("the node has said nothing for {} ms", .0.as_millis())]
    Silent(Duration),
}

#[derive(Default)]
struct Waiting {
    last_number: u64,
    replies: BTreeMap<u64, oneshot::Sender<ClientReply>>,
    lost: Option<String>,
}

struct Shared {
    outbox: Outbox,
    waiting: Mutex<Waiting>,
    in_flight: Semaphore,
}

/// A connection; it closes when the last handle is dropped.
pub(super) struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    /// Dials and shakes hands.
    pub(super) async fn dial(
        address: &str,
        cluster: Option<ClusterId>,
    ) -> Result<Connection, ConnectionError> {
        let stream = TcpStream::connect(address).await?;
        tune(&stream)?;
        let (read, mut write) = stream.into_split();
        let (read, heard) = Heard::new(read);
        let outbox = Outbox::default();
        outbox.push(FrameKind::Hello, 0, &client_hello(cluster))?;
        outbox.write_waiting(&mut write).await?;
        let mut reader = FrameReader::new(read);
        let first = reader.next().await?.ok_or(ConnectionError::Closed)?;
        check_welcome(&first)?;
        reader.handshake_done();
        let shared = Arc::new(Shared {
            outbox,
            waiting: Mutex::default(),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
        });
        tokio::spawn(keep(shared.clone(), reader, write, heard));
        Ok(Connection { shared })
    }

    /// Whether it is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.shared.waiting().lost.is_some()
    }

    /// Sends a request and waits for its reply. May be dropped at any time.
    pub(super) async fn request(&self, request: &ClientRequest) -> Result<ClientReply, Unanswered> {
        let not_sent = |_| Unanswered::NotSent("the connection is closed".into());
        let _permit = self.shared.in_flight.acquire().await.map_err(not_sent)?;
        let (number, reply) = self.shared.send(request).await?;
        let _forget = ForgetOnDrop {
            shared: &self.shared,
            number,
        };
        match reply.await {
            Ok(reply) => Ok(reply),
            Err(_) => Err(Unanswered::Lost(self.shared.why_lost())),
        }
    }
}

fn check_welcome(first: &Frame) -> Result<(), ConnectionError> {
    if first.kind != FrameKind::HelloReply {
        return Err(ConnectionError::Misplaced(first.kind));
    }
    match first.decode()? {
        HelloReply::Welcome(_) => Ok(()),
        HelloReply::Refused(refused) => Err(refused.into()),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.outbox.close();
    }
}

/// Takes a request's place in the waiting list back when nobody waits any more.
struct ForgetOnDrop<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.shared.waiting().replies.remove(&self.number);
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds this lock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a node that lives would have something to say: everything is sent and something is not
    /// answered. While a large request is still being written, nothing can be expected.
    fn is_waiting(&self) -> bool {
        !self.waiting().replies.is_empty() && self.outbox.is_idle()
    }

    fn ping(&self) {
        if let Err(error) = self.outbox.push(FrameKind::Ping, 0, &()) {
            tracing::debug!(%error, "no ping can be sent");
        }
    }

    fn why_lost(&self) -> String {
        let lost = self.waiting().lost.clone();
        lost.unwrap_or_else(|| "the connection was closed".into())
    }

    async fn send(
        &self,
        request: &ClientRequest,
    ) -> Result<(u64, oneshot::Receiver<ClientReply>), Unanswered> {
        loop {
            match self.try_send(request) {
                Ok(sent) => return Ok(sent),
                Err(SendError::Full { .. }) => self.outbox.drained().await,
                Err(SendError::Closed) => return Err(Unanswered::NotSent(self.why_lost())),
                Err(SendError::Frame(error)) => {
                    return Err(Unanswered::Unsendable(error.to_string()));
                }
            }
        }
    }

    /// Number and bytes are given under one lock, so numbers grow on the connection.
    fn try_send(
        &self,
        request: &ClientRequest,
    ) -> Result<(u64, oneshot::Receiver<ClientReply>), SendError> {
        let mut waiting = self.waiting();
        if waiting.lost.is_some() {
            return Err(SendError::Closed);
        }
        let number = waiting.last_number + 1;
        self.outbox
            .push(FrameKind::ClientRequest, number, request)?;
        waiting.last_number = number;
        let (sender, receiver) = oneshot::channel();
        waiting.replies.insert(number, sender);
        Ok((number, receiver))
    }
}

/// Runs a connection until it ends, then fails whatever waits.
async fn keep(
    shared: Arc<Shared>,
    mut reader: FrameReader<Heard<OwnedReadHalf>>,
    mut write: OwnedWriteHalf,
    heard: Arc<AtomicU64>,
) {
    let ended = tokio::select! {
        written = shared.outbox.run(&mut write) => match written {
            Ok(()) => ConnectionError::Closed,
            Err(error) => error.into(),
        },
        ended = read_replies(&shared, &mut reader) => ended,
        silent = silence(&heard, || shared.is_waiting(), || shared.ping()) => {
            ConnectionError::Silent(silent)
        }
    };
    let mut waiting = shared.waiting();
    waiting.lost = Some(ended.to_string());
    waiting.replies.clear();
    drop(waiting);
    shared.outbox.close();
}

async fn read_replies(
    shared: &Shared,
    reader: &mut FrameReader<Heard<OwnedReadHalf>>,
) -> ConnectionError {
    loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return ConnectionError::Closed,
            Err(error) => return error.into(),
        };
        match frame.kind {
            FrameKind::ClientReply => match frame.decode() {
                Ok(reply) => shared.on_reply(frame.number, reply),
                Err(error) => return error.into(),
            },
            FrameKind::Pong => {}
            FrameKind::Goodbye => match frame.decode() {
                Ok(goodbye) => return ConnectionError::Left(goodbye),
                Err(error) => return error.into(),
            },
            kind => return ConnectionError::Misplaced(kind),
        }
    }
}

impl Shared {
    fn on_reply(&self, number: u64, reply: ClientReply) {
        let waiting = self.waiting().replies.remove(&number);
        if waiting.is_none_or(|waiting| waiting.send(reply).is_err()) {
            tracing::debug!(number, "a reply came that nobody waits for any more");
        }
    }
}
