//! Real records of a distribution go in by the program and come out byte for byte; then one transaction
//! a package counts, over partitions, how many packages depend on each name.
//!
//! The counts are compared with two that know no store: one in this file, and, where there is a
//! `python3`, `scripts/count-dependencies.py`. A node is killed while they are counted: an addition
//! that is sent again must not count twice.

use super::io::{Cluster, repository, story};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use wire::client::{Client, Error, prefix};

/// Transactions under way.
const CLIENTS: usize = 16;
/// For the program to import an excerpt of a few hundred records.
const IMPORTED_WITHIN: Duration = Duration::from_secs(20);
/// Two partitions of packages, three of counts, one of the hottest counter alone.
const SPLITS: &str = "count/libc6,count/libc7,count/m,package/,package/libm";

type Counts = BTreeMap<String, i64>;

/// One line of the excerpt.
struct Record {
    key: String,
    value: String,
}

fn excerpt() -> PathBuf {
    repository().join("integration/tests/data/packages.jsonl")
}

fn records() -> Vec<Record> {
    let text = std::fs::read_to_string(excerpt()).expect("the shipped excerpt");
    let record = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON lines");
        let member = |name: &str| {
            let text = line[name].as_str();
            text.unwrap_or_else(|| panic!("no {name} in {line}"))
                .to_owned()
        };
        Record {
            key: member("key"),
            value: member("value"),
        }
    };
    text.lines().map(record).collect()
}

/// The distinct names in Depends and Pre-Depends; each alternative counts, versions and architectures
/// do not. The excerpt's fields have no continuation lines there.
fn dependencies(record: &str) -> BTreeSet<String> {
    let fields = ["Depends: ", "Pre-Depends: "];
    let lists = record
        .lines()
        .filter_map(|line| fields.iter().find_map(|field| line.strip_prefix(field)));
    let alternatives = lists.flat_map(|list| list.split([',', '|']));
    let name = |text: &str| {
        let name = text.split(|c: char| c.is_whitespace() || "([<:".contains(c));
        name.map(str::to_owned).find(|word| !word.is_empty())
    };
    alternatives.filter_map(name).collect()
}

#[tokio::test]
async fn packages_are_imported_and_their_dependencies_counted_exactly() {
    story(Duration::ZERO, async {
        let records = records();
        assert!(records.len() > 100, "the excerpt has {}", records.len());
        let mut cluster = Cluster::found(&["--split-at", SPLITS]).await;
        import(&cluster, records.len()).await;
        check_records(&connect(&cluster).await, &records).await;

        let packages: Vec<_> = records.iter().map(|r| dependencies(&r.value)).collect();
        let mut expected = Counts::new();
        for name in packages.iter().flatten() {
            *expected.entry(name.clone()).or_default() += 1;
        }
        compare_with_script(&expected);
        count(&mut cluster, packages).await;
        assert_eq!(read_counts(&connect(&cluster).await).await, expected);
        cluster.check_alive();
    })
    .await;
}

async fn connect(cluster: &Cluster) -> Client {
    let client = Client::connect(&cluster.addresses()).await;
    client.expect("a node answers")
}

async fn import(cluster: &Cluster, lines: usize) {
    let (file, list) = (excerpt(), cluster.list());
    let file = file.to_str().expect("a path in UTF-8");
    let arguments = [
        "import",
        file,
        "--batch",
        "20",
        "--connect",
        &list,
        "--json",
    ];
    let program = cluster.program();
    let ended = program.run_within(IMPORTED_WITHIN, &arguments).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    let report = ended.json_lines().remove(0);
    assert_eq!(report["imported"], lines, "{report}");
    assert_eq!(report["bad"], 0, "{report}");
}

async fn check_records(client: &Client, records: &[Record]) {
    for Record { key, value } in records {
        let found = client.get(key).await.expect("a read");
        let found = found.unwrap_or_else(|| panic!("{key} was imported, and is not there"));
        assert_eq!(found.value, value.as_bytes(), "{key}");
    }
    let rows = client.scan(prefix("package/")).collect().await;
    let rows = rows.expect("a scan over partitions");
    let scanned: Vec<&[u8]> = rows.iter().map(|row| row.key.user()).collect();
    let keys: BTreeSet<&[u8]> = records.iter().map(|r| r.key.as_bytes()).collect();
    assert_eq!(scanned, keys.into_iter().collect::<Vec<_>>());
}

/// One transaction a package. When half of them are begun, a node is killed.
async fn count(cluster: &mut Cluster, packages: Vec<BTreeSet<String>>) {
    let packages = Arc::new(packages);
    let next = Arc::new(AtomicUsize::new(0));
    let (half_done, mut half) = tokio::sync::mpsc::channel(1);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = connect(cluster).await;
        let (packages, next) = (packages.clone(), next.clone());
        let half_done = half_done.clone();
        clients.spawn(async move {
            let mut over_several = 0;
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let Some(names) = packages.get(turn) else {
                    return over_several;
                };
                if turn == packages.len() / 2 {
                    half_done.send(()).await.expect("somebody waits for it");
                }
                over_several += u32::from(add_one(&client, names).await > 1);
            }
        });
    }
    half.recv().await.expect("half of the packages come");
    cluster.kill(0);
    let mut over_several = 0;
    while let Some(ended) = clients.join_next().await {
        over_several += ended.expect("no client panics");
    }
    cluster.start(0);
    cluster.led().await;
    println!("{over_several} transactions over several partitions");
    assert!(
        over_several > 100,
        "only {over_several} over several partitions"
    );
}

/// Adds one for each name, in one transaction, until that is committed; over how many partitions.
async fn add_one(client: &Client, names: &BTreeSet<String>) -> u32 {
    if names.is_empty() {
        return 0;
    }
    loop {
        let keys = names.iter().map(|name| format!("count/{name}"));
        let transaction = keys.fold(client.transaction(), |t, key| t.add(key, 1));
        match transaction.commit().await {
            Ok(committed) => return committed.partitions,
            // It lost against others for long. Nothing of it was done.
            Err(error @ Error::RetriesExhausted { .. }) => println!("{error}"),
            Err(error) => panic!("{names:?}: {error}"),
        }
    }
}

async fn read_counts(client: &Client) -> Counts {
    let rows = client.scan(prefix("count/")).collect().await;
    let rows = rows.expect("a scan over partitions");
    let count = |row: &wire::message::Row| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a text");
        let name = text(&row.key.user()["count/".len()..]);
        let count = text(&row.version.value);
        (name, count.parse().expect("a number"))
    };
    rows.iter().map(count).collect()
}

fn compare_with_script(expected: &Counts) {
    let script = repository().join("scripts/count-dependencies.py");
    let Some(counts) = run_script(&script) else {
        println!("not compared with {}: no python3 runs", script.display());
        return;
    };
    assert_eq!(counts, *expected, "two ways to count the same");
}

fn run_script(script: &Path) -> Option<Counts> {
    let output = Command::new("python3").arg(script).arg(excerpt()).output();
    let output = output.ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", script.display());
    let text = String::from_utf8(output.stdout).expect("a text");
    let count = |line: &str| {
        let (name, count) = line.split_once('\t').expect("NAME, a tab, a number");
        (name.to_owned(), count.parse().expect("a number"))
    };
    Some(text.lines().map(count).collect())
}
