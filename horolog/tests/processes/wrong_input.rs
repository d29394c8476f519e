//! Mistakes are refused with what is wrong and what to do about it.

use super::io::{Cluster, Process, Program, ReservedPort, story};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use wire::client::{Client, Error};
use wire::ids::KeyspaceId;
use wire::message::RequestError;

/// A node of its own founds its cluster and listens.
const LISTENING_WITHIN: Duration = Duration::from_secs(10);

const NOT_DONE: i32 = 1;
const WRONG_COMMAND_LINE: i32 = 2;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn path(directory: &Path) -> &str {
    directory.to_str().expect("a path in UTF-8")
}

#[tokio::test]
async fn a_clock_that_nobody_vouches_for_is_refused() {
    story(Duration::ZERO, async {
        let (directory, port) = (directory(), ReservedPort::any().address());
        let data = directory.path().join("data");
        let start = [
            "start",
            "--data",
            path(&data),
            "--listen",
            &port,
            "--join",
            &port,
            "--single",
        ];
        let Err(read) = clock::io::kernel_bound() else {
            println!("not tested: the kernel of this machine vouches for its clock");
            return;
        };
        let ended = Program::find().run(&start).await;
        let state = format!("state {}", read.state);
        let parts = ["adjtimex", &state, "maxerror", "--clock-bound"];
        ended.expect_refusal(NOT_DONE, &parts);
    })
    .await;
}

#[tokio::test]
async fn a_list_that_lacks_this_node_and_an_open_door_are_refused() {
    story(Duration::ZERO, async {
        let program = Program::find();
        let directory = directory();
        let data = directory.path().join("data");
        let (own, others) = (ReservedPort::any().address(), "127.0.0.1:1,127.0.0.1:2");
        let common = ["start", "--data", path(&data), "--clock-bound", "500us"];
        let run = async |more: &[&str]| program.run(&[&common, more].concat()).await;

        let strange = run(&["--listen", &own, "--join", others]).await;
        strange.expect_refusal(WRONG_COMMAND_LINE, &["--join", &own, "--advertise"]);

        let port = own.rsplit(':').next().expect("HOST:PORT");
        let everywhere = format!("0.0.0.0:{port}");
        let list = format!("{own},{others}");
        let open = [
            "--listen",
            &everywhere,
            "--advertise",
            &own,
            "--join",
            &list,
        ];
        let open = run(&open).await;
        open.expect_refusal(WRONG_COMMAND_LINE, &[&everywhere, "--insecure"]);

        let alone = run(&["--listen", &own, "--join", &own]).await;
        alone.expect_refusal(WRONG_COMMAND_LINE, &["--single", "no copy"]);

        let is_untouched = !data.exists();
        assert!(is_untouched, "a refused start leaves {data:?} alone");
    })
    .await;
}

#[tokio::test]
async fn data_in_use_unknown_keyspaces_and_keys_too_long_are_refused() {
    story(Duration::ZERO, async {
        let program = Program::find();
        let directory = directory();
        let data = directory.path().join("data");
        let (port, other) = (ReservedPort::any(), ReservedPort::any());
        let start = |address: &str| {
            let start = ["start", "--data", path(&data), "--clock-bound", "500us"];
            let alone = ["--listen", address, "--join", address, "--single"];
            [&start[..], &alone]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let address = port.address();
        let command = program.command(&start(&address));
        let mut node = Process::start(command, "node", directory.path());
        node.says("listening at", LISTENING_WITHIN).await;

        let second = program.run(&start(&other.address())).await;
        second.expect_refusal(NOT_DONE, &[path(&data), "in use"]);

        let connect = ["--connect", &address];
        let run = async |command: &[&str]| program.run(&[command, &connect].concat()).await;
        let (longest, longer) = ("k".repeat(4096), "k".repeat(4097));
        let put = run(&["put", &longest, "v"]).await;
        assert_eq!(put.code, Some(0), "the longest key is taken: {}", put.err);
        let limit = ["4097", "4096", "4 KiB"];
        run(&["put", &longer, "v"])
            .await
            .expect_refusal(NOT_DONE, &limit);
        run(&["get", &longer])
            .await
            .expect_refusal(NOT_DONE, &limit);
        let unknown = ["there is no keyspace 'nowhere'", "keyspace create nowhere"];
        for command in [&["get", "a"][..], &["put", "a", "1"], &["scan"]] {
            let command = [command, &["--keyspace", "nowhere"]].concat();
            run(&command).await.expect_refusal(NOT_DONE, &unknown);
        }
        let transaction = format!("put {longer} v");
        let transaction = run(&["txn", "put a 1", &transaction]).await;
        transaction.expect_refusal(NOT_DONE, &limit);
        let first = program.json(&[&["get", "a"], &connect[..]].concat()).await;
        assert!(first["value"].is_null(), "nothing of it was done: {first}");

        let ended = node.ended();
        assert!(
            ended.is_none(),
            "none of this harms the node: {}",
            node.err()
        );
    })
    .await;
}

#[tokio::test]
async fn nobody_listening_is_told() {
    story(Duration::ZERO, async {
        let port = ReservedPort::any();
        let address = port.address();
        let ended = Program::find()
            .run(&["get", "a", "--connect", &address])
            .await;
        ended.expect_refusal(NOT_DONE, &[&address, "refused", "running"]);
        assert_eq!(ended.err.lines().count(), 1, "one line: {}", ended.err);
    })
    .await;
}

#[tokio::test]
async fn a_keyspace_that_nobody_created_is_neither_written_nor_read() {
    story(Duration::ZERO, async {
        let cluster = Cluster::found(&[]).await;
        let client = Client::connect(&cluster.addresses()).await;
        let client = client.expect("the nodes answer");
        let unknown = client.with_keyspace_id(KeyspaceId(2));
        let expected = |ended: Option<Error>| {
            let error = ended.expect("it is refused");
            let expected = RequestError::NoSuchKeyspace { id: KeyspaceId(2) };
            assert!(
                matches!(&error, Error::Request(why) if *why == expected),
                "{error:?}"
            );
        };
        expected(unknown.put("k", "v").await.err());
        expected(unknown.get("k").await.err());
        expected(unknown.scan(..).next().await.err());

        // Another node than that which created it may be asked: it looks before it refuses.
        client.create_keyspace("orders").await.expect("it is new");
        for address in cluster.addresses() {
            let other = Client::connect(&[address]).await.expect("it answers");
            let orders = other.with_keyspace_id(KeyspaceId(2));
            assert_eq!(orders.get("k").await.expect("it exists"), None);
        }
        unknown.put("k", "v").await.expect("it exists now");
    })
    .await;
}
