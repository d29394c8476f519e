//! Connections between nodes: order, reconnects, stale connections, the founding, and strangers.

use bytes::BytesMut;
use clock::Timestamp;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::codec::Decoder;
use wire::frame::{FRAME_BYTES_MAX, Frame, FrameCodec, FrameError, FrameKind, encode_frame};
use wire::handshake::{
    Goodbye, HandshakeError, Hello, HelloReply, Membership, Role, Welcome, client_hello,
};
use wire::ids::{ClusterId, Generation, LogIndex, NodeId, PartitionId, Term, TransactionId};
use wire::io::{Incoming, PeerChannel, Server, SharedIdentity, serve};
use wire::keys::Key;
use wire::message::{
    Ballot, ClientAnswer, ClientReply, ClientRequest, Entry, FoundingMessage, LogPosition,
    PartitionRequest, PeerFrame, PeerMessage, ReplicationMessage, RequestNumber,
};

const QUEUE: usize = 64;

/// A listening node and what came in.
struct Node {
    address: String,
    identity: SharedIdentity,
    server: Option<Server>,
    queue: mpsc::Sender<Incoming>,
    incoming: mpsc::Receiver<Incoming>,
}

fn member(cluster: u128, node: u32) -> Option<Membership> {
    Some(Membership {
        cluster: ClusterId(cluster),
        node: NodeId(node),
        start: 1,
    })
}

async fn node(membership: Option<Membership>) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let identity = SharedIdentity::new(address.clone(), membership);
    let (queue, incoming) = mpsc::channel(QUEUE);
    let server = Some(serve(listener, identity.clone(), queue.clone()));
    Node {
        address,
        identity,
        server,
        queue,
        incoming,
    }
}

impl Node {
    async fn next(&mut self) -> Incoming {
        let next = tokio::time::timeout(Duration::from_secs(10), self.incoming.recv());
        next.await
            .expect("something comes in")
            .expect("the queue is open")
    }

    fn channel_to(&self, other: &Node) -> PeerChannel {
        let address = other.address.clone();
        PeerChannel::open(address, self.identity.clone(), self.queue.clone())
    }

    async fn expect_up(&mut self, other: u32) {
        let next = self.next().await;
        assert!(
            matches!(next, Incoming::PeerUp { node, .. } if node == NodeId(other)),
            "{next:?}"
        );
    }

    async fn expect_dialled(&mut self, by: u32) {
        let next = self.next().await;
        assert!(
            matches!(next, Incoming::PeerDialled { node, .. } if node == NodeId(by)),
            "{next:?}"
        );
    }

    async fn expect_frames(&mut self, stamps: std::ops::Range<u64>) {
        for stamp in stamps {
            let next = self.next().await;
            let Incoming::Peer { frame, .. } = &next else {
                panic!("expected frame {stamp}, got {next:?}");
            };
            assert_eq!(frame.stamp, Timestamp::from_bits(stamp));
        }
    }
}

fn numbered(stamp: u64) -> PeerFrame {
    PeerFrame {
        stamp: Timestamp::from_bits(stamp),
        messages: vec![],
    }
}

fn founding(round: u64) -> FoundingMessage {
    let ballot = Ballot { round, proposer: 0 };
    FoundingMessage::Accepted { ballot }
}

/// A connection made by hand.
struct Raw {
    stream: TcpStream,
    codec: FrameCodec,
    buffer: BytesMut,
}

impl Raw {
    async fn dial(address: &str) -> Raw {
        let mut codec = FrameCodec::before_handshake();
        codec.handshake_done();
        Raw {
            stream: TcpStream::connect(address).await.unwrap(),
            codec,
            buffer: BytesMut::new(),
        }
    }

    async fn say<T: serde::Serialize>(&mut self, kind: FrameKind, number: u64, message: &T) {
        let mut out = BytesMut::new();
        encode_frame(kind, number, message, FRAME_BYTES_MAX, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    async fn hear(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn shake(&mut self, hello: Hello) -> Result<Welcome, HandshakeError> {
        self.say(FrameKind::Hello, 0, &hello).await;
        match self.hear().await.unwrap().decode().unwrap() {
            HelloReply::Welcome(welcome) => Ok(welcome),
            HelloReply::Refused(refused) => Err(refused),
        }
    }

    async fn hear_goodbye(&mut self) -> Goodbye {
        let frame = self.hear().await.unwrap();
        assert_eq!(frame.kind, FrameKind::Goodbye);
        assert!(self.hear().await.is_none(), "nothing follows a goodbye");
        frame.decode().unwrap()
    }
}

fn peer_hello(node: u32, start: u32, session: u64) -> Hello {
    Hello {
        versions: (1, 1),
        cluster: Some(ClusterId(1)),
        role: Role::Peer {
            node: NodeId(node),
            start,
            session,
            address: "raw:1".into(),
        },
    }
}

#[tokio::test]
async fn messages_arrive_in_order_and_only_at_the_node_they_are_for() {
    let (mut a, mut b) = (node(member(1, 1)).await, node(member(1, 2)).await);
    let channel = a.channel_to(&b);
    assert!(
        !channel.send(NodeId(2), numbered(0)).unwrap(),
        "no connection stands yet"
    );
    a.expect_up(2).await;
    assert_eq!(channel.node(), Some(NodeId(2)));
    b.expect_dialled(1).await;
    assert!(
        !channel.send(NodeId(3), numbered(99)).unwrap(),
        "another node has the address"
    );
    for stamp in 0..500 {
        assert!(channel.send(NodeId(2), numbered(stamp)).unwrap());
    }
    b.expect_frames(0..500).await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_divided_in_order() {
    let (mut a, mut b) = (node(member(1, 1)).await, node(member(1, 2)).await);
    let channel = a.channel_to(&b);
    a.expect_up(2).await;
    b.expect_dialled(1).await;
    let body = bytes::Bytes::from(vec![7u8; FRAME_BYTES_MAX / 3]);
    let append = |index| PeerMessage::Replication {
        partition: PartitionId(1),
        message: ReplicationMessage::Append {
            term: Term(1),
            previous: LogPosition::default(),
            entries: vec![Entry {
                term: Term(1),
                index: LogIndex(index),
                body: body.clone(),
            }],
            commit: LogIndex(index),
        },
    };
    let frame = PeerFrame {
        stamp: Timestamp::from_bits(1),
        messages: vec![append(0), append(1), append(2), append(3)],
    };
    assert!(channel.send(NodeId(2), frame).unwrap());
    let mut frames: Vec<Vec<PeerMessage>> = vec![];
    while frames.concat().len() < 4 {
        match b.next().await {
            Incoming::Peer { frame, .. } => frames.push(frame.messages),
            unexpected => panic!("{unexpected:?}"),
        }
    }
    assert_eq!(frames.len(), 2);
    assert!(frames.concat() == [append(0), append(1), append(2), append(3)]);

    let alone = PeerFrame {
        stamp: Timestamp::from_bits(1),
        messages: vec![PeerMessage::Request {
            number: RequestNumber(1),
            partition: PartitionId(1),
            generation: Generation(1),
            body: PartitionRequest::Unlock {
                id: TransactionId {
                    time: Timestamp::ZERO,
                    random: 1,
                },
                keys: vec![Key::from_bytes(vec![7; FRAME_BYTES_MAX + 1].into())],
            },
        }],
    };
    let refused = channel.send(NodeId(2), alone);
    assert!(matches!(refused, Err(FrameError::TooLong { .. })));
    assert!(channel.send(NodeId(2), numbered(9)).unwrap());
    b.expect_frames(9..10).await;
}

#[tokio::test]
async fn a_lost_connection_is_told_and_dialled_again() {
    let (mut a, mut b) = (node(member(1, 1)).await, node(member(1, 2)).await);
    let channel = a.channel_to(&b);
    a.expect_up(2).await;
    b.expect_dialled(1).await;
    b.server = None;
    let next = a.next().await;
    assert!(matches!(next, Incoming::PeerDown { .. }), "{next:?}");
    assert!(!channel.send(NodeId(2), numbered(0)).unwrap());

    let listener = TcpListener::bind(&b.address).await.unwrap();
    b.server = Some(serve(listener, b.identity.clone(), b.queue.clone()));
    a.expect_up(2).await;
    b.expect_dialled(1).await;
    assert!(channel.send(NodeId(2), numbered(5)).unwrap());
    b.expect_frames(5..6).await;
}

#[tokio::test]
async fn a_newer_connection_of_a_node_replaces_the_older_one() {
    let mut b = node(member(1, 2)).await;
    let mut old = Raw::dial(&b.address).await;
    old.shake(peer_hello(1, 1, 7)).await.unwrap();
    b.expect_dialled(1).await;
    let mut new = Raw::dial(&b.address).await;
    new.shake(peer_hello(1, 1, 8)).await.unwrap();
    b.expect_dialled(1).await;
    assert_eq!(old.hear_goodbye().await, Goodbye::Replaced);
    let stale = Raw::dial(&b.address).await.shake(peer_hello(1, 1, 7)).await;
    let (node, start, session) = (NodeId(1), 1, 8);
    assert_eq!(
        stale,
        Err(HandshakeError::Stale {
            node,
            start,
            session
        })
    );
    new.say(FrameKind::Peer, 0, &numbered(3)).await;
    b.expect_frames(3..4).await;
}

#[tokio::test]
async fn founders_speak_by_address_and_shake_hands_anew_once_founded() {
    let (mut a, mut b) = (node(None).await, node(None).await);
    let (to_b, to_a) = (a.channel_to(&b), b.channel_to(&a));
    // Said before any connection stands: it waits for one.
    to_b.send_founding(founding(1)).unwrap();
    to_a.send_founding(founding(2)).unwrap();
    let (at_a, at_b) = (a.next().await, b.next().await);
    assert!(
        matches!(&at_a, Incoming::Founding { from, message } if *from == b.address && *message == founding(2))
    );
    assert!(
        matches!(&at_b, Incoming::Founding { from, message } if *from == a.address && *message == founding(1))
    );

    // One side knows first; the other can still be told.
    a.identity.set_membership(member(1, 1).unwrap());
    to_b.send_founding(founding(3)).unwrap();
    let at_b = b.next().await;
    assert!(matches!(&at_b, Incoming::Founding { message, .. } if *message == founding(3)));
    b.identity.set_membership(member(1, 2).unwrap());
    wait_for_up(&mut a, 2).await;
    wait_for_up(&mut b, 1).await;
    assert_eq!(
        (to_b.node(), to_a.node()),
        (Some(NodeId(2)), Some(NodeId(1)))
    );
}

async fn wait_for_up(node: &mut Node, other: u32) {
    loop {
        match node.next().await {
            Incoming::PeerUp { node, .. } => return assert_eq!(node, NodeId(other)),
            Incoming::PeerDialled { .. } => {}
            unexpected => panic!("{unexpected:?}"),
        }
    }
}

#[tokio::test]
async fn another_cluster_is_refused_by_name() {
    let b = node(member(1, 2)).await;
    let mut hello = peer_hello(1, 1, 1);
    hello.cluster = Some(ClusterId(9));
    let (ours, theirs) = (ClusterId(1), ClusterId(9));
    let refused = Raw::dial(&b.address).await.shake(hello).await;
    assert_eq!(refused, Err(HandshakeError::WrongCluster { ours, theirs }));
    let refused = Raw::dial(&b.address)
        .await
        .shake(client_hello(Some(theirs)))
        .await;
    assert_eq!(refused, Err(HandshakeError::WrongCluster { ours, theirs }));
}

#[tokio::test]
async fn a_client_is_answered_under_its_numbers_and_told_apart_by_its_connection() {
    let mut b = node(member(1, 2)).await;
    let mut client = Raw::dial(&b.address).await;
    client.shake(client_hello(None)).await.unwrap();
    for number in [3, 8] {
        client
            .say(FrameKind::ClientRequest, number, &ClientRequest::Timestamp)
            .await;
    }
    let mut connection = 0;
    for expected in [3, 8] {
        let Incoming::Client {
            connection: from,
            number,
            request: ClientRequest::Timestamp,
        } = b.next().await
        else {
            panic!("expected request {expected}");
        };
        assert_eq!(number, expected);
        connection = from;
    }
    let server = b.server.as_ref().unwrap();
    let reply: ClientReply = Ok(ClientAnswer::Timestamp(Timestamp::from_bits(5)));
    server.reply(connection, 8, &reply);
    server.reply(connection + 100, 3, &reply);
    let frame = client.hear().await.unwrap();
    assert_eq!((frame.kind, frame.number), (FrameKind::ClientReply, 8));
    assert_eq!(frame.decode::<ClientReply>().unwrap(), reply);
    drop(client);
    let gone = b.next().await;
    assert!(
        matches!(gone, Incoming::ClientGone { connection: c } if c == connection),
        "{gone:?}"
    );
}

#[tokio::test]
async fn request_numbers_that_do_not_grow_cost_the_connection() {
    let mut b = node(member(1, 2)).await;
    let mut client = Raw::dial(&b.address).await;
    client.shake(client_hello(None)).await.unwrap();
    for number in [3, 3] {
        client
            .say(FrameKind::ClientRequest, number, &ClientRequest::Map)
            .await;
    }
    let (number, last) = (3, 3);
    assert_eq!(
        client.hear_goodbye().await,
        Goodbye::NumberNotRising { number, last }
    );
    assert!(matches!(b.next().await, Incoming::Client { number: 3, .. }));
    assert!(matches!(b.next().await, Incoming::ClientGone { .. }));
}

#[tokio::test]
async fn unanswered_requests_stop_the_reading_of_their_connection() {
    let mut b = node(member(1, 2)).await;
    let mut client = Raw::dial(&b.address).await;
    client.shake(client_hello(None)).await.unwrap();
    let most = wire::io::CLIENT_REQUESTS_IN_FLIGHT_MAX as u64;
    for number in 1..=most + 1 {
        client
            .say(FrameKind::ClientRequest, number, &ClientRequest::Map)
            .await;
    }
    let mut first_connection = 0;
    for _ in 0..most {
        let Incoming::Client { connection, .. } = b.next().await else {
            panic!("expected a request");
        };
        first_connection = connection;
    }
    // Another connection is served meanwhile, and the request beyond the maximum is not.
    let mut other = Raw::dial(&b.address).await;
    other.shake(client_hello(None)).await.unwrap();
    other
        .say(FrameKind::ClientRequest, 1, &ClientRequest::Status)
        .await;
    let next = b.next().await;
    assert!(
        matches!(
            next,
            Incoming::Client {
                request: ClientRequest::Status,
                ..
            }
        ),
        "{next:?}"
    );
    let reply: ClientReply = Ok(ClientAnswer::RolledBack);
    b.server
        .as_ref()
        .unwrap()
        .reply(first_connection, 1, &reply);
    let next = b.next().await;
    assert!(
        matches!(next, Incoming::Client { number, .. } if number == most + 1),
        "{next:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_too_long_becomes_an_error() {
    let mut b = node(member(1, 2)).await;
    let mut client = Raw::dial(&b.address).await;
    client.shake(client_hello(None)).await.unwrap();
    client
        .say(FrameKind::ClientRequest, 1, &ClientRequest::Map)
        .await;
    let Incoming::Client { connection, .. } = b.next().await else {
        panic!("expected a request");
    };
    let value = bytes::Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
    let version = wire::message::VersionedValue {
        timestamp: Timestamp::ZERO,
        value,
    };
    let reply: ClientReply = Ok(ClientAnswer::Read {
        at: Timestamp::ZERO,
        results: vec![wire::message::ReadResult::Value(Some(version))],
    });
    b.server.as_ref().unwrap().reply(connection, 1, &reply);
    let reply: ClientReply = client.hear().await.unwrap().decode().unwrap();
    assert!(
        matches!(reply, Err(wire::message::RequestError::Invalid { .. })),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_stranger_costs_only_its_own_connection() {
    let mut b = node(member(1, 2)).await;
    let mut good = Raw::dial(&b.address).await;
    good.shake(client_hello(None)).await.unwrap();

    let mut noise = Raw::dial(&b.address).await;
    noise
        .stream
        .write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(
        noise.hear_goodbye().await,
        Goodbye::BadFrame { .. }
    ));

    let mut eager = Raw::dial(&b.address).await;
    eager
        .say(FrameKind::ClientRequest, 1, &ClientRequest::Map)
        .await;
    let refused: HelloReply = eager.hear().await.unwrap().decode().unwrap();
    assert_eq!(refused, HelloReply::Refused(HandshakeError::NoHello));

    let mut misplaced = Raw::dial(&b.address).await;
    misplaced.shake(client_hello(None)).await.unwrap();
    misplaced.say(FrameKind::Peer, 0, &numbered(1)).await;
    let kind = "Peer".into();
    assert_eq!(misplaced.hear_goodbye().await, Goodbye::Misplaced { kind });
    assert!(matches!(b.next().await, Incoming::ClientGone { .. }));

    let mut garbled = Raw::dial(&b.address).await;
    garbled.shake(client_hello(None)).await.unwrap();
    garbled.say(FrameKind::ClientRequest, 1, &[255u8; 32]).await;
    assert!(matches!(
        garbled.hear_goodbye().await,
        Goodbye::BadFrame { .. }
    ));
    assert!(matches!(b.next().await, Incoming::ClientGone { .. }));

    good.say(FrameKind::ClientRequest, 1, &ClientRequest::Map)
        .await;
    assert!(matches!(b.next().await, Incoming::Client { number: 1, .. }));
}
