//! Ten thousand clients on one node: it goes on serving, each costs little memory, one beyond the most is
//! told so; and the metrics say what happened.

use super::io::{Process, Program, ReservedPort, story};
use bytes::BytesMut;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::frame::{FRAME_BYTES_MAX, FrameKind, encode_frame};
use wire::handshake::client_hello;

const LISTENING_WITHIN: Duration = Duration::from_secs(10);
const CLIENTS_WANTED: u64 = 10_000;
/// Of this process and of its children, beside the clients.
const OTHER_FILES: u64 = 1000;
/// The most that one client's connection may cost the node.
const BYTES_PER_CLIENT_MAX: u64 = 16 * 1024;

/// As many as the system lets this process have.
fn clients_allowed() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("a limit may be raised as far as it may be");
    let allowed = limit.maximum.map_or(u64::MAX, |most| most - OTHER_FILES);
    if allowed < CLIENTS_WANTED {
        println!("only {allowed} clients: the system allows no more open files");
    }
    allowed.min(CLIENTS_WANTED)
}

/// A client that has said hello; whether it is answered is seen by the first bytes of the reply.
async fn client(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let mut hello = BytesMut::new();
    let message = client_hello(None);
    encode_frame(FrameKind::Hello, 0, &message, FRAME_BYTES_MAX, &mut hello).unwrap();
    stream.write_all(&hello).await.expect("it takes a hello");
    let mut first = [0; 5];
    stream.read_exact(&mut first).await.expect("a reply");
    assert_eq!(first[4], FrameKind::HelloReply as u8);
    stream
}

async fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    text
}

/// The value of a metric without labels.
fn value(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {page}"))
}

#[tokio::test]
async fn ten_thousand_clients_are_held_with_little_memory_and_all_is_counted() {
    story(Duration::ZERO, async {
        let clients = clients_allowed();
        let program = Program::find();
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let port = ReservedPort::any();
        let address = port.address();
        let most = clients.to_string();
        let command = program.command(&[
            "start",
            "--data",
            data.to_str().unwrap(),
            "--listen",
            &address,
            "--join",
            &address,
            "--single",
            "--clock-bound",
            "500us",
            "--metrics",
            "127.0.0.1:0",
            "--connections-max",
            &most,
        ]);
        let mut node = Process::start(command, "node", directory.path());
        node.says("listening at", LISTENING_WITHIN).await;
        let line = node.says("metrics at", LISTENING_WITHIN).await;
        let metrics = line.trim_start_matches("metrics at http://");
        let metrics = metrics.trim_end_matches("/metrics").to_owned();
        let connect = ["--connect", &address];
        let run = async |command: &[&str]| program.run(&[command, &connect].concat()).await;
        for _ in 0..3 {
            let added = run(&["add", "n", "1"]).await;
            assert_eq!(added.code, Some(0), "{}", added.err);
        }

        let before = node.resident_bytes();
        let mut crowd = Vec::new();
        // The commands below need a few connections themselves.
        for _ in 0..clients - 20 {
            crowd.push(client(&address).await);
        }
        let held = crowd.len() as u64;
        let each = node.resident_bytes().saturating_sub(before) / held;
        println!("{held} clients, {each} bytes each");
        assert!(
            each <= BYTES_PER_CLIENT_MAX,
            "{each} bytes for each of {held}"
        );
        let added = run(&["add", "n", "1"]).await;
        assert_eq!(added.code, Some(0), "it serves meanwhile: {}", added.err);
        let refused = run(&["get", "nothing", "--at", "1"]).await;
        assert_ne!(refused.code, None);

        let page = http_get(&metrics, "/metrics").await;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        assert!(value(&page, "horolog_connections") >= held as f64);
        assert_eq!(value(&page, "horolog_commits_total"), 4.0);
        assert_eq!(value(&page, "horolog_commit_seconds_count"), 4.0);
        assert!(value(&page, "horolog_commit_seconds_sum") > 0.0);
        assert!(value(&page, "horolog_log_write_seconds_count") >= 4.0);
        assert_eq!(value(&page, "horolog_clock_quarantined"), 0.0);
        assert_eq!(value(&page, "horolog_clock_bound_seconds"), 0.0005);
        let (leaders, replicas) = ("horolog_leaders", "horolog_replicas");
        assert_eq!(value(&page, leaders), value(&page, replicas));
        assert!(value(&page, "horolog_log_bytes") > 0.0);
        for name in [
            "aborts",
            "requests_refused",
            "connections_ended",
            "peer_clock_ahead_seconds",
        ] {
            assert!(
                page.contains(&format!("# TYPE horolog_{name} ")),
                "{name}: {page}"
            );
        }
        let elsewhere = http_get(&metrics, "/").await;
        assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
        assert!(elsewhere.contains("GET /metrics"), "{elsewhere}");

        // Whoever takes the port of the store for a web page is told, and counted.
        let told = http_get_bytes(&address).await;
        assert!(told.contains("right port"), "{told}");
        let page = http_get(&metrics, "/metrics").await;
        let ended = "horolog_connections_ended_total{reason=\"foreign_protocol\"} 1";
        assert!(page.contains(ended), "{page}");
        drop(crowd);
    })
    .await;
}

/// What a node says to an HTTP request.
async fn http_get_bytes(address: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("a farewell");
    String::from_utf8_lossy(&bytes).into_owned()
}
