//! The listening side of a node: accepts, shakes hands, and turns frames into [`Incoming`].
//!
//! ```text
//!   socket ─► read ─► decode ─► Incoming ─► one bounded queue ─► the owner (node thread)
//!   socket ◄─ write (all that waits, at once) ◄─ outbox ◄─ Server::reply
//! ```
//!
//! Invariants:
//! - a client's request numbers grow on a connection; one that does not costs the connection;
//! - at most [`CLIENT_REQUESTS_IN_FLIGHT_MAX`] requests of a connection are unanswered: beyond that its
//!   socket is not read (pattern Request Pipeline, with a bound);
//! - of the connections that have not shaken hands, the oldest makes room for the newest, so a flood of
//!   silent ones keeps nobody out;
//! - requests of a client that leaves its answers unread are not read, and after a while it is closed;
//! - a full queue to the owner stops the reading of sockets, so memory is bounded from end to end;
//! - messages of a stale connection of a node never enter the queue;
//! - whatever a stranger sends costs at most its own connection.

use super::limits::{ListenerCounts, ListenerLimits, PEER_CONNECTIONS_MAX, WAITING_BYTES_PAUSE};
use super::outbox::{Outbox, SendError};
use super::reader::FrameReader;
use super::session_registry::{Session, SessionRegistry};
use super::{SharedIdentity, tune};
use crate::frame::{Frame, FrameError, FrameKind};
use crate::handshake::{Goodbye, HandshakeError, Hello, HelloReply, Role};
use crate::ids::NodeId;
use crate::message::{
    ClientAnswer, ClientReply, ClientRequest, Committed, FoundingMessage, PeerFrame, RequestError,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The most unanswered requests of one client connection.
pub const CLIENT_REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// How long the last words to a connection may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long accepting rests after it failed (too many open files, for example).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What comes in from other processes, for the owner of the node's state.
#[derive(Debug)]
pub enum Incoming {
    /// A client asks. Answer with [`Server::reply`].
    Client {
        /// Its connection.
        connection: u64,
        /// The request's number on it.
        number: u64,
        /// What it asks.
        request: ClientRequest,
    },
    /// A client's connection is gone; its requests need no answer.
    ClientGone {
        /// Which.
        connection: u64,
    },
    /// A node says something.
    Peer {
        /// Which node.
        from: NodeId,
        /// How often it has started.
        start: u32,
        /// What it says.
        frame: PeerFrame,
    },
    /// A node has dialled this one and can be dialled back at its address.
    PeerDialled {
        /// Which node.
        node: NodeId,
        /// How often it has started.
        start: u32,
        /// Where it listens.
        address: String,
    },
    /// The channel to a node stands. From a [`super::PeerChannel`].
    PeerUp {
        /// Which node.
        node: NodeId,
        /// The channel's address.
        address: String,
    },
    /// The channel to a node is lost; what was sent last may be lost with it.
    PeerDown {
        /// Which node.
        node: NodeId,
        /// The channel's address.
        address: String,
    },
    /// A founder says something. Answer through the channel to its address.
    Founding {
        /// Where it listens.
        from: String,
        /// What it says.
        message: FoundingMessage,
    },
}

struct ClientConnection {
    outbox: Arc<Outbox>,
    in_flight: Arc<Semaphore>,
    gone: CancellationToken,
}

#[derive(Default)]
struct Table {
    clients: BTreeMap<u64, ClientConnection>,
    sessions: SessionRegistry,
    last_connection: u64,
    standing: usize,
    /// Those that have not shaken hands, the oldest first.
    strangers: BTreeMap<u64, CancellationToken>,
    ended: BTreeMap<&'static str, u64>,
}

struct Shared {
    limits: ListenerLimits,
    identity: SharedIdentity,
    incoming: mpsc::Sender<Incoming>,
    table: Mutex<Table>,
    closed: CancellationToken,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that holds this lock can panic half-way through a change.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listening node. Dropping it closes the listener and all connections.
pub struct Server {
    shared: Arc<Shared>,
    _closes: DropGuard,
}

impl Server {
    /// Answers a client's request. A client that is gone needs no answer; one that reads too slowly
    /// loses its connection.
    pub fn reply(&self, connection: u64, number: u64, reply: &ClientReply) {
        let table = self.shared.table();
        let Some(client) = table.clients.get(&connection) else {
            return;
        };
        if let Err(error) = client.reply(number, reply) {
            tracing::warn!(connection, number, %error, "a client connection is closed");
            client.gone.cancel();
        }
    }

    /// How many connections stand.
    pub fn connections(&self) -> usize {
        self.shared.table().standing
    }

    /// What was accepted and ended so far.
    pub fn counts(&self) -> ListenerCounts {
        let table = self.shared.table();
        ListenerCounts {
            connections: table.standing as u64,
            accepted: table.last_connection,
            ended: table.ended.clone(),
        }
    }
}

impl ClientConnection {
    fn reply(&self, number: u64, reply: &ClientReply) -> Result<(), SendError> {
        let sent = match self.outbox.push(FrameKind::ClientReply, number, reply) {
            Err(SendError::Frame(FrameError::TooLong { bytes, max })) => {
                let shorter = shortened(reply, bytes, max);
                self.outbox.push(FrameKind::ClientReply, number, &shorter)
            }
            other => other,
        };
        self.in_flight.add_permits(1);
        sent
    }
}

/// What is answered instead of what fits into no frame. A commit stays one, without its results, which
/// can be read again; anything else changed nothing, and less can be asked for.
fn shortened(reply: &ClientReply, bytes: u64, max: u64) -> ClientReply {
    match reply {
        Ok(ClientAnswer::Committed(committed)) => Ok(ClientAnswer::Committed(Committed {
            results: Vec::new(),
            ..committed.clone()
        })),
        _ => {
            let why = format!("the answer has {bytes} bytes, the most is {max}: ask for less");
            Err(RequestError::Invalid { why })
        }
    }
}

/// Starts to accept connections on the current runtime. What comes in goes to `incoming`, whose
/// capacity bounds what waits for the owner.
pub fn serve(
    listener: TcpListener,
    identity: SharedIdentity,
    incoming: mpsc::Sender<Incoming>,
) -> Server {
    serve_within(ListenerLimits::default(), listener, identity, incoming)
}

/// As [`serve`], with other limits.
pub fn serve_within(
    limits: ListenerLimits,
    listener: TcpListener,
    identity: SharedIdentity,
    incoming: mpsc::Sender<Incoming>,
) -> Server {
    let closed = CancellationToken::new();
    let shared = Arc::new(Shared {
        limits,
        identity,
        incoming,
        table: Mutex::default(),
        closed: closed.clone(),
    });
    let accepting = accept_all(listener, shared.clone());
    tokio::spawn(closed.clone().run_until_cancelled_owned(accepting));
    Server {
        shared,
        _closes: closed.drop_guard(),
    }
}

async fn accept_all(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let connection = Connection::new(shared.clone());
                let shared = shared.clone();
                tokio::spawn(async move {
                    let running = Box::pin(connection.run(stream));
                    let ended = shared.closed.run_until_cancelled(running).await;
                    if let Some(Err(error)) = ended {
                        tracing::info!(%from, %error, "a connection was closed");
                        *shared.table().ended.entry(error.reason()).or_default() += 1;
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Why this side ends a connection.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("handshake: {0}")]
    Refused(#[from] HandshakeError),
    #[error("no handshake within {0:?}")]
    Silent(Duration),
    #[error("it had not shaken hands and made room for others that came later")]
    Crowded,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Goodbye(#[from] Goodbye),
    #[error("the other side closes it: {0}")]
    Left(Goodbye),
    #[error("{0}")]
    Write(#[from] std::io::Error),
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("the node is stopping")]
    Stopping,
}

impl Ended {
    /// In one word, for counting.
    fn reason(&self) -> &'static str {
        match self {
            Ended::Refused(HandshakeError::WrongCluster { .. }) => "wrong_cluster",
            Ended::Refused(HandshakeError::NoCommonVersion { .. }) => "wrong_version",
            Ended::Refused(HandshakeError::TooManyConnections { .. }) => "too_many_connections",
            Ended::Refused(_) => "handshake_refused",
            Ended::Silent(_) => "no_handshake",
            Ended::Crowded => "crowded_out",
            Ended::Frame(error) => error.reason(),
            Ended::Goodbye(Goodbye::NumberNotRising { .. }) => "number_not_rising",
            Ended::Goodbye(Goodbye::Misplaced { .. }) => "misplaced",
            Ended::Goodbye(Goodbye::BadFrame { .. }) => "malformed",
            Ended::Goodbye(Goodbye::Replaced | Goodbye::Founded) => "replaced",
            Ended::Left(_) => "left",
            Ended::Write(error) if error.kind() == std::io::ErrorKind::TimedOut => "slow_reader",
            Ended::Write(_) => "connection_failed",
            Ended::Send(_) => "slow_reader",
            Ended::Stopping => "stopping",
        }
    }
}

/// One accepted connection.
struct Connection {
    shared: Arc<Shared>,
    number: u64,
    /// Cancelled if it has not shaken hands and others need the room.
    crowded: CancellationToken,
}

/// What the handshake made of a connection.
enum Standing {
    Client,
    Peer(NodeId, Session, String, CancellationToken),
    /// One of the two sides knows no cluster yet; whether this one did at the handshake.
    Founder(String, bool),
}

impl Connection {
    fn new(shared: Arc<Shared>) -> Connection {
        let mut table = shared.table();
        table.last_connection += 1;
        table.standing += 1;
        let number = table.last_connection;
        let crowded = CancellationToken::new();
        table.strangers.insert(number, crowded.clone());
        if table.strangers.len() > shared.limits.strangers_max
            && let Some((_, oldest)) = table.strangers.pop_first()
        {
            oldest.cancel();
        }
        drop(table);
        Connection {
            shared,
            number,
            crowded,
        }
    }

    async fn run(self, stream: TcpStream) -> Result<(), Ended> {
        tune(&stream)?;
        let (read, mut write) = stream.into_split();
        let limits = &self.shared.limits;
        let mut reader = FrameReader::new(read);
        let outbox = Outbox::within(limits.waiting_bytes_max, limits.stalled_max);
        let outbox = Arc::new(outbox);
        let writing = outbox.run(&mut write);
        tokio::pin!(writing);
        let serving = async {
            let standing = self.shake_hands(&mut reader, &outbox).await?;
            self.shared.table().strangers.remove(&self.number);
            reader.handshake_done();
            reader.expect_frames_within(self.shared.limits.frame_within);
            self.serve(standing, reader, &outbox).await
        };
        let ended = tokio::select! {
            ended = serving => ended,
            written = &mut writing => written.map_err(Ended::Write),
        };
        if self.leave_clients() {
            let connection = self.number;
            self.tell(Incoming::ClientGone { connection }).await?;
        }
        if !matches!(ended, Err(Ended::Write(_))) {
            say_goodbye(&ended, &outbox)?;
            if tokio::time::timeout(FAREWELL_TIMEOUT, writing)
                .await
                .is_err()
            {
                tracing::debug!("the other side did not take its farewell");
            }
        }
        ended
    }

    async fn shake_hands(
        &self,
        reader: &mut FrameReader<OwnedReadHalf>,
        outbox: &Outbox,
    ) -> Result<Standing, Ended> {
        let within = self.shared.limits.handshake_within;
        let first = tokio::time::timeout(within, reader.next());
        let first = tokio::select! {
            first = first => first.map_err(|_| Ended::Silent(within))??,
            () = self.crowded.cancelled() => return Err(Ended::Crowded),
        };
        let Some(first) = first else {
            return Err(Ended::Stopping);
        };
        let result = self.answer_hello(&first);
        let reply = match &result {
            Ok((welcome, _)) => HelloReply::Welcome(welcome.clone()),
            Err(refused) => HelloReply::Refused(refused.clone()),
        };
        outbox.push(FrameKind::HelloReply, 0, &reply)?;
        Ok(result?.1)
    }

    fn answer_hello(
        &self,
        first: &Frame,
    ) -> Result<(crate::handshake::Welcome, Standing), HandshakeError> {
        if first.kind != FrameKind::Hello {
            return Err(HandshakeError::NoHello);
        }
        let hello: Hello = first.decode().map_err(|_| HandshakeError::NoHello)?;
        let room = match hello.role {
            Role::Client => self.shared.limits.connections_max,
            Role::Peer { .. } | Role::Founder { .. } => {
                self.shared.limits.connections_max + PEER_CONNECTIONS_MAX
            }
        };
        let table = self.shared.table();
        let shaken = table.standing - table.strangers.len();
        drop(table);
        if shaken >= room {
            let connections = shaken as u64;
            return Err(HandshakeError::TooManyConnections { connections });
        }
        let identity = self.shared.identity.get();
        let welcome = identity.check_hello(&hello)?;
        let is_member = identity.membership.is_some();
        let standing = match hello.role {
            Role::Client => Standing::Client,
            Role::Founder { address } => Standing::Founder(address, is_member),
            Role::Peer { address, .. } if !is_member => Standing::Founder(address, false),
            Role::Peer {
                node,
                start,
                session,
                address,
            } => {
                let session = Session { start, session };
                let replaced = self.shared.table().sessions.enter(node, session)?;
                Standing::Peer(node, session, address, replaced)
            }
        };
        Ok((welcome, standing))
    }

    async fn serve(
        &self,
        standing: Standing,
        reader: FrameReader<OwnedReadHalf>,
        outbox: &Arc<Outbox>,
    ) -> Result<(), Ended> {
        match standing {
            Standing::Client => self.serve_client(reader, outbox).await,
            Standing::Peer(node, session, address, replaced) => {
                tokio::select! {
                    ended = self.serve_peer(node, session, address, reader) => ended,
                    () = replaced.cancelled() => Err(Goodbye::Replaced.into()),
                }
            }
            Standing::Founder(address, was_member) => {
                self.serve_founder(address, was_member, reader).await
            }
        }
    }

    async fn serve_client(
        &self,
        reader: FrameReader<OwnedReadHalf>,
        outbox: &Arc<Outbox>,
    ) -> Result<(), Ended> {
        let in_flight = Arc::new(Semaphore::new(CLIENT_REQUESTS_IN_FLIGHT_MAX));
        let gone = CancellationToken::new();
        let client = ClientConnection {
            outbox: outbox.clone(),
            in_flight: in_flight.clone(),
            gone: gone.clone(),
        };
        self.shared.table().clients.insert(self.number, client);
        tokio::select! {
            ended = self.read_requests(reader, &in_flight, outbox) => ended,
            () = gone.cancelled() => Err(SendError::Closed.into()),
        }
    }

    /// Whether it was a client's connection until now.
    fn leave_clients(&self) -> bool {
        self.shared.table().clients.remove(&self.number).is_some()
    }

    async fn read_requests(
        &self,
        mut reader: FrameReader<OwnedReadHalf>,
        in_flight: &Semaphore,
        outbox: &Outbox,
    ) -> Result<(), Ended> {
        let mut last = 0;
        while let Some(frame) = reader.next().await? {
            if frame.kind == FrameKind::Ping {
                outbox.push(FrameKind::Pong, frame.number, &())?;
                continue;
            }
            let request: ClientRequest = expect(FrameKind::ClientRequest, &frame)?;
            let number = frame.number;
            if number <= last {
                return Err(Goodbye::NumberNotRising { number, last }.into());
            }
            last = number;
            outbox.below(WAITING_BYTES_PAUSE).await;
            let Ok(permit) = in_flight.acquire().await else {
                return Err(Ended::Stopping);
            };
            permit.forget(); // `reply` gives it back.
            let connection = self.number;
            self.tell(Incoming::Client {
                connection,
                number,
                request,
            })
            .await?;
        }
        Ok(())
    }

    async fn serve_peer(
        &self,
        node: NodeId,
        session: Session,
        address: String,
        mut reader: FrameReader<OwnedReadHalf>,
    ) -> Result<(), Ended> {
        let (from, start) = (node, session.start);
        let dialled = Incoming::PeerDialled {
            node,
            start,
            address: address.clone(),
        };
        self.tell_newest(node, session, dialled).await?;
        while let Some(frame) = reader.next().await? {
            let incoming = match frame.kind {
                FrameKind::Founding => Incoming::Founding {
                    from: address.clone(),
                    message: frame.decode()?,
                },
                _ => Incoming::Peer {
                    from,
                    start,
                    frame: expect(FrameKind::Peer, &frame)?,
                },
            };
            self.tell_newest(node, session, incoming).await?;
        }
        Ok(())
    }

    /// A connection over which nobody can be addressed by id. It ends as soon as this node knows its
    /// own, for then both can shake hands properly.
    async fn serve_founder(
        &self,
        address: String,
        was_member: bool,
        mut reader: FrameReader<OwnedReadHalf>,
    ) -> Result<(), Ended> {
        let reading = async {
            while let Some(frame) = reader.next().await? {
                let message = expect(FrameKind::Founding, &frame)?;
                let from = address.clone();
                self.tell(Incoming::Founding { from, message }).await?;
            }
            Ok(())
        };
        tokio::select! {
            ended = reading => ended,
            () = self.shared.identity.founded(), if !was_member => Err(Goodbye::Founded.into()),
        }
    }

    async fn tell(&self, incoming: Incoming) -> Result<(), Ended> {
        let sent = self.shared.incoming.send(incoming).await;
        sent.map_err(|_| Ended::Stopping)
    }

    /// Tells the owner unless a newer connection has taken over while this one waited for room.
    async fn tell_newest(
        &self,
        node: NodeId,
        session: Session,
        incoming: Incoming,
    ) -> Result<(), Ended> {
        let room = self.shared.incoming.reserve().await;
        let room = room.map_err(|_| Ended::Stopping)?;
        let table = self.shared.table();
        if !table.sessions.is_newest(node, session) {
            return Err(Goodbye::Replaced.into());
        }
        room.send(incoming);
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        table.standing -= 1;
        table.strangers.remove(&self.number);
        table.clients.remove(&self.number);
    }
}

/// Puts the reason for the end, if the other side should know it, behind everything that waits.
fn say_goodbye(ended: &Result<(), Ended>, outbox: &Outbox) -> Result<(), SendError> {
    let goodbye = match ended {
        Err(Ended::Goodbye(goodbye)) => Some(goodbye.clone()),
        Err(Ended::Frame(error)) => Some(Goodbye::BadFrame {
            why: error.to_string(),
        }),
        _ => None,
    };
    let said = goodbye.map_or(Ok(()), |g| outbox.push(FrameKind::Goodbye, 0, &g));
    outbox.close();
    said
}

fn expect<T: serde::de::DeserializeOwned>(kind: FrameKind, frame: &Frame) -> Result<T, Ended> {
    if frame.kind == kind {
        return Ok(frame.decode()?);
    }
    if frame.kind == FrameKind::Goodbye {
        return Err(Ended::Left(frame.decode()?));
    }
    let kind = format!("{:?}", frame.kind);
    Err(Goodbye::Misplaced { kind }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Timestamp;

    #[test]
    fn a_commit_whose_results_fit_into_no_frame_is_still_told_as_a_commit() {
        let committed = Committed {
            at: Timestamp::from_micros(7),
            results: vec![Some("v".into())],
            attempts: 1,
            partitions: 1,
        };
        let without = Committed {
            results: vec![],
            ..committed.clone()
        };
        let reply = Ok(ClientAnswer::Committed(committed));
        assert_eq!(
            shortened(&reply, 9, 8),
            Ok(ClientAnswer::Committed(without))
        );
        let read: ClientReply = Ok(ClientAnswer::RolledBack);
        assert!(matches!(
            shortened(&read, 9, 8),
            Err(RequestError::Invalid { .. })
        ));
    }
}
