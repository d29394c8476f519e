//! Whatever a stranger or a client sends costs at most its own connection, a bounded number of bytes and a
//! bounded time, and the node goes on serving meanwhile. Each kind of bad input has its test here, against
//! a real listener.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::codec::Decoder;
use wire::frame::{
    FRAME_BYTES_MAX, Frame, FrameCodec, FrameError, FrameKind, HEADER_BYTES, PROTOCOL_VERSION,
    encode_frame,
};
use wire::handshake::{Goodbye, HandshakeError, Hello, HelloReply, Membership, Role, client_hello};
use wire::ids::{ClusterId, NodeId};
use wire::io::{Incoming, ListenerLimits, Server, SharedIdentity, serve_within};
use wire::message::{
    ClientAnswer, ClientReply, ClientRequest, FoundingMessage, PeerFrame, ReadRequest,
    RequestError, Snapshot,
};

const CLUSTER: ClusterId = ClusterId(7);
const PATIENCE: Duration = Duration::from_secs(20);

/// A listening node that answers every request at once.
struct Node {
    address: String,
    server: std::sync::Arc<Server>,
    answering: tokio::task::JoinHandle<()>,
}

fn short() -> ListenerLimits {
    ListenerLimits {
        handshake_within: Duration::from_millis(300),
        frame_within: Duration::from_millis(300),
        stalled_max: Duration::from_millis(500),
        ..ListenerLimits::default()
    }
}

/// `answer_bytes`: how long an answer to a read is.
async fn node(limits: ListenerLimits, answer_bytes: usize) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let membership = Membership {
        cluster: CLUSTER,
        node: NodeId(1),
        start: 1,
    };
    let identity = SharedIdentity::new(address.clone(), Some(membership));
    let (queue, mut incoming) = mpsc::channel(64);
    let server = std::sync::Arc::new(serve_within(limits, listener, identity, queue));
    let answers = server.clone();
    let answering = tokio::spawn(async move {
        while let Some(incoming) = incoming.recv().await {
            if let Incoming::Client {
                connection, number, ..
            } = incoming
            {
                let why = "x".repeat(answer_bytes);
                let reply: ClientReply = Err(RequestError::Invalid { why });
                answers.reply(connection, number, &reply);
            }
        }
    });
    Node {
        address,
        server,
        answering,
    }
}

impl Node {
    /// A well-behaved client is served.
    async fn check_serves(&self) {
        let mut client = Raw::client(&self.address).await;
        client
            .say(FrameKind::ClientRequest, 1, &ClientRequest::Map)
            .await;
        let frame = client.hear().await.expect("an answer");
        assert_eq!((frame.kind, frame.number), (FrameKind::ClientReply, 1));
    }

    /// Waits until a connection was ended for this reason.
    async fn expect_ended(&self, reason: &str) {
        let counted = async {
            while !self.server.counts().ended.contains_key(reason) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counted = tokio::time::timeout(PATIENCE, counted).await;
        assert!(counted.is_ok(), "not {reason}: {:?}", self.server.counts());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// A connection made by hand.
struct Raw {
    stream: TcpStream,
    codec: FrameCodec,
    buffer: BytesMut,
}

fn encoded<T: serde::Serialize>(kind: FrameKind, number: u64, message: &T) -> BytesMut {
    let mut out = BytesMut::new();
    encode_frame(kind, number, message, FRAME_BYTES_MAX, &mut out).unwrap();
    out
}

impl Raw {
    async fn dial(address: &str) -> Raw {
        let mut codec = FrameCodec::before_handshake();
        codec.handshake_done();
        let stream = TcpStream::connect(address).await.unwrap();
        let buffer = BytesMut::new();
        Raw {
            stream,
            codec,
            buffer,
        }
    }

    /// One that has shaken hands.
    async fn client(address: &str) -> Raw {
        let mut raw = Raw::dial(address).await;
        raw.say(FrameKind::Hello, 0, &client_hello(None)).await;
        let reply = raw.hear().await.expect("a reply to the hello");
        let reply: HelloReply = reply.decode().unwrap();
        assert!(matches!(reply, HelloReply::Welcome(_)), "{reply:?}");
        raw
    }

    async fn say<T: serde::Serialize>(&mut self, kind: FrameKind, number: u64, message: &T) {
        self.send(&encoded(kind, number, message)).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; none if the other side has closed.
    async fn hear(&mut self) -> Option<Frame> {
        let hearing = async {
            loop {
                if let Some(frame) = self.codec.decode(&mut self.buffer).unwrap() {
                    return Some(frame);
                }
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, hearing)
            .await
            .expect("an answer, or the end")
    }

    async fn expect_goodbye(&mut self, part: &str) {
        let frame = self.hear().await.expect("a reason before the end");
        assert_eq!(frame.kind, FrameKind::Goodbye);
        let goodbye: Goodbye = frame.decode().unwrap();
        assert!(goodbye.to_string().contains(part), "{goodbye}");
        assert_eq!(self.hear().await, None, "and then the end");
    }
}

fn header(bytes: u32, kind: u8, version: u8, flags: u16) -> BytesMut {
    let mut header = BytesMut::new();
    header.put_u32_le(bytes);
    header.put_u8(kind);
    header.put_u8(version);
    header.put_u16_le(flags);
    header.put_u64_le(1);
    header.put_u32_le(0);
    header
}

#[tokio::test]
async fn frames_that_are_wrong_end_their_connection_with_the_reason() {
    let node = node(short(), 1).await;
    let request = encoded(FrameKind::ClientRequest, 1, &ClientRequest::Map);
    let mut damaged = request.clone();
    damaged[HEADER_BYTES] ^= 1;
    let too_long = header(FRAME_BYTES_MAX as u32 + 1, 3, PROTOCOL_VERSION, 0);
    let malformed = encoded(FrameKind::ClientRequest, 1, &u64::MAX);
    let left_over = encoded(FrameKind::ClientRequest, 1, &(ClientRequest::Map, 1u8));
    for (bytes, part, reason) in [
        (damaged, "checksum", "wrong_checksum"),
        (too_long, "the most allowed here", "too_long"),
        (
            header(0, 99, PROTOCOL_VERSION, 0),
            "unknown kind 99",
            "unknown_kind",
        ),
        (header(0, 3, 77, 0), "protocol version 77", "wrong_version"),
        (
            header(0, 3, PROTOCOL_VERSION, 4),
            "unknown flags",
            "unknown_flags",
        ),
        (malformed, "cannot be read", "malformed"),
        (left_over, "left over", "malformed"),
    ] {
        let mut client = Raw::client(&node.address).await;
        client.send(&bytes).await;
        client.expect_goodbye(part).await;
        node.expect_ended(reason).await;
        node.check_serves().await;
    }
}

#[tokio::test]
async fn a_truncated_frame_ends_its_connection() {
    let node = node(short(), 1).await;
    let request = encoded(FrameKind::ClientRequest, 1, &ClientRequest::Map);
    let mut client = Raw::client(&node.address).await;
    client.send(&request[..request.len() - 1]).await;
    client.stream.shutdown().await.unwrap();
    client.expect_goodbye("ended within a frame").await;
    node.expect_ended("truncated").await;
}

#[tokio::test]
async fn request_numbers_that_are_doubled_or_out_of_order_end_their_connection() {
    let node = node(short(), 1).await;
    for second in [5, 4] {
        let mut client = Raw::client(&node.address).await;
        client
            .say(FrameKind::ClientRequest, 5, &ClientRequest::Map)
            .await;
        assert_eq!(client.hear().await.unwrap().number, 5);
        client
            .say(FrameKind::ClientRequest, second, &ClientRequest::Map)
            .await;
        client.expect_goodbye("numbers must grow").await;
    }
    node.expect_ended("number_not_rising").await;
}

#[tokio::test]
async fn frames_that_have_no_place_on_a_connection_end_it() {
    let node = node(short(), 1).await;
    let mut client = Raw::client(&node.address).await;
    let frame = PeerFrame {
        stamp: clock::Timestamp::ZERO,
        messages: vec![],
    };
    client.say(FrameKind::Peer, 1, &frame).await;
    client.expect_goodbye("no place").await;
    node.expect_ended("misplaced").await;
}

#[tokio::test]
async fn another_cluster_another_version_and_no_hello_are_refused_with_the_reason() {
    let node = node(short(), 1).await;
    let theirs = ClusterId(8);
    let wrong_cluster = client_hello(Some(theirs));
    let wrong_version = Hello {
        versions: (9, 9),
        ..client_hello(None)
    };
    let peer = Hello {
        role: Role::Peer {
            node: NodeId(2),
            start: 1,
            session: 1,
            address: "b:1".into(),
        },
        ..wrong_cluster.clone()
    };
    for (hello, reason) in [
        (wrong_cluster, "wrong_cluster"),
        (peer, "wrong_cluster"),
        (wrong_version, "wrong_version"),
    ] {
        let mut raw = Raw::dial(&node.address).await;
        raw.say(FrameKind::Hello, 0, &hello).await;
        let reply: HelloReply = raw.hear().await.unwrap().decode().unwrap();
        assert!(matches!(reply, HelloReply::Refused(_)), "{reply:?}");
        node.expect_ended(reason).await;
    }
    let mut raw = Raw::dial(&node.address).await;
    raw.say(FrameKind::ClientRequest, 1, &ClientRequest::Map)
        .await;
    let reply: HelloReply = raw.hear().await.unwrap().decode().unwrap();
    assert_eq!(reply, HelloReply::Refused(HandshakeError::NoHello));
    node.expect_ended("handshake_refused").await;
}

#[tokio::test]
async fn other_protocols_are_told_where_they_are() {
    let node = node(short(), 1).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        &[
            0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ] {
        let mut raw = Raw::dial(&node.address).await;
        raw.send(bytes).await;
        raw.expect_goodbye("right port").await;
    }
    node.expect_ended("foreign_protocol").await;
}

#[tokio::test]
async fn one_that_shakes_hands_too_slowly_is_left() {
    let node = node(short(), 1).await;
    let mut raw = Raw::dial(&node.address).await;
    let hello = encoded(FrameKind::Hello, 0, &client_hello(None));
    raw.send(&hello[..1]).await;
    assert_eq!(raw.hear().await, None);
    node.expect_ended("no_handshake").await;
}

#[tokio::test]
async fn one_that_sends_a_frame_byte_by_byte_is_left() {
    let node = node(short(), 1).await;
    let raw = Raw::client(&node.address).await;
    let request = encoded(FrameKind::ClientRequest, 1, &ClientRequest::Map);
    let (mut read, mut write) = raw.stream.into_split();
    let slowly = async {
        for byte in &request[..request.len() - 1] {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending().await
    };
    let mut rest = Vec::new();
    let ended = async { read.read_to_end(&mut rest).await };
    tokio::select! {
        () = slowly => {}
        _ = ended => {}
        () = tokio::time::sleep(PATIENCE) => panic!("it was never left"),
    }
    node.expect_ended("slow_writer").await;
    // A slow one that says nothing at all may stay: it holds nothing.
    let mut idle = Raw::client(&node.address).await;
    tokio::time::sleep(short().frame_within * 2).await;
    idle.say(FrameKind::ClientRequest, 1, &ClientRequest::Map)
        .await;
    assert!(idle.hear().await.is_some());
}

#[tokio::test]
async fn one_that_never_reads_its_answers_is_left_and_costs_a_bounded_number_of_bytes() {
    const ANSWER_BYTES: usize = 1024 * 1024;
    let node = node(short(), ANSWER_BYTES).await;
    let mut client = Raw::client(&node.address).await;
    let request = ClientRequest::Read {
        reader: None,
        snapshot: Snapshot::Fresh,
        requests: Vec::<ReadRequest>::new(),
    };
    let mut asked = 0u64;
    // Far more answers than may wait: after some, its requests are not even read.
    while asked < 100_000 {
        asked += 1;
        let frame = encoded(FrameKind::ClientRequest, asked, &request);
        let sent = tokio::time::timeout(Duration::from_millis(20), client.stream.write_all(&frame));
        if !matches!(sent.await, Ok(Ok(()))) {
            break;
        }
        if asked.is_multiple_of(64) {
            tokio::task::yield_now().await;
        }
    }
    node.expect_ended("slow_reader").await;
    node.check_serves().await;
}

#[tokio::test]
async fn a_flood_of_silent_connections_keeps_nobody_out() {
    const FLOOD: usize = 3000;
    let limits = ListenerLimits {
        strangers_max: 200,
        ..ListenerLimits::default()
    };
    let node = node(limits, 1).await;
    let mut flood = Vec::new();
    for number in 0..FLOOD {
        flood.push(TcpStream::connect(&node.address).await.unwrap());
        if number.is_multiple_of(500) {
            node.check_serves().await;
        }
    }
    node.check_serves().await;
    node.expect_ended("crowded_out").await;
    let settled = async {
        while node.server.connections() > 201 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let settled = tokio::time::timeout(PATIENCE, settled).await;
    assert!(settled.is_ok(), "{} stand", node.server.connections());
}

#[tokio::test]
async fn clients_beyond_the_most_are_told_so_and_nodes_still_get_in() {
    let limits = ListenerLimits {
        connections_max: 20,
        ..ListenerLimits::default()
    };
    let node = node(limits, 1).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Raw::client(&node.address).await);
    }
    let mut beyond = Raw::dial(&node.address).await;
    beyond.say(FrameKind::Hello, 0, &client_hello(None)).await;
    let reply: HelloReply = beyond.hear().await.unwrap().decode().unwrap();
    let HelloReply::Refused(refused) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(
        refused,
        HandshakeError::TooManyConnections { connections: 20 }
    );
    assert!(refused.to_string().contains("ask another node"));
    let mut peer = Raw::dial(&node.address).await;
    let hello = Hello {
        role: Role::Peer {
            node: NodeId(2),
            start: 1,
            session: 1,
            address: "b:1".into(),
        },
        ..client_hello(Some(CLUSTER))
    };
    peer.say(FrameKind::Hello, 0, &hello).await;
    let reply: HelloReply = peer.hear().await.unwrap().decode().unwrap();
    assert!(matches!(reply, HelloReply::Welcome(_)), "{reply:?}");
    // One that leaves makes room.
    drop(clients.pop());
    drop(clients.pop());
    let again = async {
        while node.server.connections() > 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    node.check_serves().await;
}

fn decode_as_everything(body: &[u8]) {
    let frame = Frame {
        kind: FrameKind::Peer,
        version: PROTOCOL_VERSION,
        number: 0,
        body: body.to_vec().into(),
    };
    // Whether they can be read does not matter; that nothing panics does.
    let _: Result<PeerFrame, FrameError> = frame.decode();
    let _: Result<ClientRequest, FrameError> = frame.decode();
    let _: Result<ClientReply, FrameError> = frame.decode();
    let _: Result<ClientAnswer, FrameError> = frame.decode();
    let _: Result<Hello, FrameError> = frame.decode();
    let _: Result<HelloReply, FrameError> = frame.decode();
    let _: Result<FoundingMessage, FrameError> = frame.decode();
    let _: Result<Goodbye, FrameError> = frame.decode();
}

proptest! {
    #[test]
    fn no_body_makes_the_decoding_of_messages_panic(
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        decode_as_everything(&body);
    }

    #[test]
    fn what_claims_to_be_long_costs_no_memory(
        variant in 0u8..12,
        claim in proptest::collection::vec(0x80u8.., 4),
        rest in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        // A variant, then lengths of up to 2^32 of which hardly anything is there. Memory that was taken
        // for the claim would end the test.
        let mut body = vec![variant];
        body.extend(&claim);
        body.push(0x0f);
        body.extend(&rest);
        decode_as_everything(&body);
    }
}
