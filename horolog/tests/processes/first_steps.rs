//! Three nodes, and every command that one types first, with each node as the entry.

use super::io::{Cluster, Program, story};
use clock::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// A node that is asked to end has nothing to wait for.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

/// One name in each of the four partitions, which meet at `gn`, `n` and `tn`.
const NAMES: [&str; 4] = ["alice", "harry", "oscar", "zoe"];

#[tokio::test]
async fn three_nodes_serve_every_command_through_each_of_them() {
    story(Duration::ZERO, async {
        let mut cluster = Cluster::found(&["--partitions", "4"]).await;
        check_status(&cluster.led().await, &cluster.addresses());
        let program = cluster.program().clone();
        let addresses = cluster.addresses();
        put_here_get_everywhere(&program, &addresses).await;
        for entry in &addresses {
            transact(&program, entry).await;
            scan(&program, entry).await;
        }
        bytes_that_are_not_text(&program, &addresses).await;
        read_the_past(&program, &cluster.list()).await;
        for node in 0..cluster.size() {
            cluster.node(node).terminate();
            let (code, took) = cluster.node(node).exit_code(STOPPED_WITHIN).await;
            assert_eq!(code, Some(0), "node {node}: {}", cluster.node(node).err());
            println!("node {node} stopped within {took:?}");
        }
    })
    .await;
}

fn check_status(status: &Value, addresses: &[String]) {
    let nodes = status["nodes"].as_array().unwrap();
    let mut listening: Vec<&str> = nodes.iter().filter_map(|n| n["address"].as_str()).collect();
    let mut expected: Vec<&str> = addresses.iter().map(String::as_str).collect();
    listening.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listening, expected);
    for node in nodes {
        assert_eq!(node["clock_bound_us"], 500, "{node}");
        // The first start of whoever came late to the founding is numbered by time.
        let start = node["start"].as_u64();
        assert!(start == Some(1) || start > Some(100_000_000), "{node}");
    }
    let partitions = status["partitions"].as_array().unwrap();
    // Four of the default keyspace, and the system's own.
    assert_eq!(partitions.len(), 5, "{partitions:?}");
    for partition in partitions {
        assert_eq!(partition["members"], json!([1, 2, 3]), "{partition}");
    }
}

fn timestamp(of: &Value) -> Timestamp {
    let text = of["timestamp"].as_str();
    let text = text.unwrap_or_else(|| panic!("no timestamp in {of}"));
    text.parse()
        .unwrap_or_else(|_| panic!("no timestamp: {of}"))
}

/// What was acknowledged through one node is seen through every other at once.
async fn put_here_get_everywhere(program: &Program, addresses: &[String]) {
    let mut before = Timestamp::ZERO;
    for (round, here) in addresses.iter().enumerate() {
        for name in NAMES {
            let value = format!("{name} {round}");
            let put = program
                .json(&["put", name, &value, "--connect", here])
                .await;
            let at = timestamp(&put);
            assert_eq!(put["key"], *name);
            assert!(at > before, "{name}: {at} is not above {before}");
            before = at;
            for there in addresses {
                let got = program.json(&["get", name, "--connect", there]).await;
                let expected = json!({"key": name, "value": value, "timestamp": at.to_string()});
                assert_eq!(got, expected, "through {there}, put through {here}");
            }
        }
    }
    let nobody = program
        .json(&["get", "nobody", "--connect", &addresses[0]])
        .await;
    let absent = json!({"key": "nobody", "value": null, "timestamp": null});
    assert_eq!(nobody, absent);
}

/// A transfer over two partitions, one whose guard does not hold, and what is left by both.
async fn transact(program: &Program, entry: &str) {
    let run = async |arguments: &[&str]| {
        let arguments = [arguments, &["--connect", entry, "--json"]].concat();
        program.run(&arguments).await
    };
    let filled = run(&["txn", "put account/a 10", "put zaccount/b 0"]).await;
    assert_eq!(filled.code, Some(0), "{}", filled.err);

    let transfer = [
        "txn",
        "guard account/a atleast 7",
        "add account/a -7",
        "add zaccount/b 7",
    ];
    let done = run(&transfer).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    let done = done.json_lines().remove(0);
    assert_eq!(done["committed"], true, "{done}");
    assert_eq!(done["partitions"], 2, "{done}");
    let results = json!([
        {"key": "account/a", "value": "3"},
        {"key": "zaccount/b", "value": "7"},
    ]);
    assert_eq!(done["results"], results);

    let refused = run(&transfer).await;
    assert_eq!(refused.code, Some(3), "{}{}", refused.out, refused.err);
    let refused = refused.json_lines().remove(0);
    assert_eq!(refused["committed"], false, "{refused}");
    assert_eq!(refused["reason"], "guard", "{refused}");
    assert_eq!(refused["key"], "account/a", "{refused}");
    assert_eq!(refused["value"], "3", "what it is instead: {refused}");

    for (key, value) in [("account/a", "3"), ("zaccount/b", "7")] {
        let got = program.json(&["get", key, "--connect", entry]).await;
        assert_eq!(got["value"], value, "{got}");
        assert_eq!(
            timestamp(&got),
            timestamp(&done),
            "one timestamp for all: {got}"
        );
    }
}

fn keys(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["key"].as_str()).collect()
}

async fn scan(program: &Program, entry: &str) {
    let run = async |more: &[&str]| {
        let arguments = [&["scan", "--connect", entry], more].concat();
        program.json_lines(&arguments).await
    };
    let all = run(&[]).await;
    let expected = ["account/a", "alice", "harry", "oscar", "zaccount/b", "zoe"];
    assert_eq!(keys(&all), expected);
    let backwards = run(&["--reverse", "--limit", "3"]).await;
    assert_eq!(keys(&backwards), ["zoe", "zaccount/b", "oscar"]);
    let between = run(&["--from", "harry", "--to", "zaccount/b"]).await;
    assert_eq!(keys(&between), ["harry", "oscar"]);
    let prefix = run(&["--prefix", "a"]).await;
    assert_eq!(keys(&prefix), ["account/a", "alice"]);
    assert_eq!(prefix[1]["value"], "alice 2", "the value is there, too");
}

async fn bytes_that_are_not_text(program: &Program, addresses: &[String]) {
    let put = [r#""b\x00""#, r#""\xff\x00""#, "--connect", &addresses[0]];
    program.json(&[&["put"], &put[..]].concat()).await;
    let got = program
        .json(&["get", put[0], "--connect", &addresses[1]])
        .await;
    assert_eq!(got["key"], "b\0", "{got}");
    assert_eq!(got["value_base64"], "/wA=", "{got}");
    let raw = ["get", put[0], "--raw", "--connect", &addresses[2]];
    let raw = program.command(&raw).output().expect("the program runs");
    assert_eq!(raw.stdout, b"\xff\0");
}

async fn read_the_past(program: &Program, list: &str) {
    let before = program
        .json(&["put", "past", "old", "--connect", list])
        .await;
    let removed = program.json(&["delete", "past", "--connect", list]).await;
    assert!(timestamp(&removed) > timestamp(&before));
    let at = timestamp(&before).to_string();
    let then = program
        .json(&["get", "past", "--at", &at, "--connect", list])
        .await;
    assert_eq!(then["value"], "old", "{then}");
    let now = program.json(&["get", "past", "--connect", list]).await;
    assert_eq!(now["value"], Value::Null, "{now}");
}
