//! `dev`: a cluster in one process that keeps its data, and is there at once.

use super::io::{Process, Program, Stopwatch, story};
use std::path::Path;
use std::time::Duration;

/// Until the line that says so.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// From SIGTERM to the end.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);
/// It should be under 1 s; test machines are busy.
const MANY_PARTITIONS_WITHIN: Duration = Duration::from_secs(3);

/// The line that names the addresses.
const CONNECT: &str = "export HOROLOG_CONNECT=";

fn dev(name: &str, directory: &Path, more: &[&str]) -> Process {
    let arguments = [&["dev"], more].concat();
    let command = Program::find().command(&arguments);
    Process::start(command, name, directory)
}

async fn ready(process: &mut Process) -> String {
    process.says("ready after", READY_WITHIN).await;
    let line = process.says(CONNECT, READY_WITHIN).await;
    let (_, list) = line.split_once(CONNECT).expect("it was looked for");
    list.to_owned()
}

async fn stop(process: &mut Process) {
    process.terminate();
    let (code, took) = process.exit_code(STOPPED_WITHIN).await;
    println!("stopped within {took:?}");
    assert_eq!(code, Some(0), "{}", process.err());
}

#[tokio::test]
async fn a_local_cluster_comes_back_with_its_data() {
    story(Duration::ZERO, async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = directory.path().join("data");
        let keep = ["--data", data.to_str().expect("a path in UTF-8")];
        let program = Program::find();
        let rows: Vec<(String, String)> = ('a'..='z')
            .map(|letter| (format!("{letter}key"), format!("value {letter}")))
            .collect();

        let mut first = dev("first", directory.path(), &keep);
        let list = ready(&mut first).await;
        let puts = rows
            .iter()
            .map(|(key, value)| format!("put {key} \"{value}\""));
        let puts: Vec<String> = puts.collect();
        let mut transaction: Vec<&str> = puts.iter().map(String::as_str).collect();
        transaction.insert(0, "txn");
        transaction.extend(["--connect", &list]);
        let committed = program.json(&transaction).await;
        assert_eq!(committed["partitions"], 4, "{committed}");
        let lone = program
            .json(&["put", "lone", "1", "--connect", &list])
            .await;
        stop(&mut first).await;

        let mut again = dev("again", directory.path(), &keep);
        let list = ready(&mut again).await;
        let found = program.json_lines(&["scan", "--connect", &list]).await;
        let found: Vec<(&str, &str, &str)> = found
            .iter()
            .map(|row| (&row["key"], &row["value"], &row["timestamp"]))
            .map(|(k, v, t)| {
                (
                    k.as_str().unwrap(),
                    v.as_str().unwrap(),
                    t.as_str().unwrap(),
                )
            })
            .collect();
        let at = |of: &'static str, result: &serde_json::Value| {
            let at = result["timestamp"].as_str();
            at.unwrap_or_else(|| panic!("no timestamp of {of}"))
                .to_owned()
        };
        let (all_at, lone_at) = (at("all", &committed), at("lone", &lone));
        let expected = rows
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str(), all_at.as_str()));
        let mut expected: Vec<(&str, &str, &str)> = expected.collect();
        expected.push(("lone", "1", &lone_at));
        expected.sort_unstable();
        assert_eq!(found, expected);
        stop(&mut again).await;
    })
    .await;
}

#[tokio::test]
async fn many_partitions_are_founded_at_once() {
    story(Duration::ZERO, async {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let started = Stopwatch::start();
        let mut many = dev("many", directory.path(), &["--partitions", "64"]);
        let list = ready(&mut many).await;
        let took = started.elapsed();
        println!("64 partitions were founded and led {took:?} after the start of the process");
        assert!(took <= MANY_PARTITIONS_WITHIN, "{took:?}");
        let partitions = ["partitions", "--connect", &list];
        let partitions = Program::find().json_lines(&partitions).await;
        // One for each, and the system's own.
        assert_eq!(partitions.len(), 65, "{partitions:?}");
        stop(&mut many).await;
    })
    .await;
}
