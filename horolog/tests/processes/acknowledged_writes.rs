//! Writers note down what was acknowledged; all nodes are killed at once while they write at full speed, twice;
//! nothing is missing. `HOROLOG_KILLS=100 cargo test --release -p horolog --test processes
//! acknowledged_writes -- --nocapture` does it a hundred times, and looks for everything after each.

use super::io::{Cluster, story, until};
use super::transfers::from_environment;
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::task::JoinSet;
use wire::client::{Client, Error};

/// Writers, each with one write under way.
const WRITERS: usize = 12;
/// What the keys begin with: the partitions meet at `gn`, `n` and `tn`.
const PARTITIONS: [&str; 4] = ["a", "h", "o", "z"];
/// Acknowledged before each kill, and after the last start.
const WRITES_BETWEEN_KILLS: usize = 400;
/// For those.
const WRITTEN_WITHIN: Duration = Duration::from_secs(20);
/// The deaths of all nodes, unless others are asked for.
const DEATHS: u64 = 2;
/// What each more may take, with all that is read after it.
const EACH_DEATH_MAX: Duration = Duration::from_secs(20);

/// What the writers know.
#[derive(Debug, Default)]
struct Notes {
    /// Acknowledged, and at which timestamp.
    acknowledged: BTreeMap<String, Timestamp>,
    /// Said not to have happened.
    refused: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
struct SharedNotes(Arc<Mutex<Notes>>);

impl SharedNotes {
    fn open(&self) -> MutexGuard<'_, Notes> {
        self.0
            .lock()
            .expect("no writer panics while it takes notes")
    }

    /// Waits until so many more are acknowledged.
    async fn grow(&self) {
        let before = self.open().acknowledged.len();
        let what = format!("{WRITES_BETWEEN_KILLS} writes are acknowledged");
        until(&what, WRITTEN_WITHIN, async || {
            let more = self.open().acknowledged.len() - before;
            let enough = more >= WRITES_BETWEEN_KILLS;
            enough.then_some(()).ok_or_else(|| format!("{more} are"))
        })
        .await;
    }
}

/// Of some length, and no two keys have the same.
fn value_of(key: &str) -> String {
    let length = key.bytes().map(usize::from).sum::<usize>() * 31 % 2000;
    format!("{key}{}", ".".repeat(length))
}

#[tokio::test]
async fn acknowledged_writes_survive_the_death_of_all_nodes_at_once() {
    let deaths = from_environment("HOROLOG_KILLS", DEATHS);
    let more = EACH_DEATH_MAX * deaths.saturating_sub(DEATHS) as u32;
    story(more, async move {
        let mut cluster = Cluster::found(&["--partitions", "4"]).await;
        let notes = SharedNotes::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let client = connect(&cluster).await;
            writers.spawn(write(client, number, notes.clone(), stop.clone()));
        }
        for death in 1..=deaths {
            notes.grow().await;
            cluster.kill_all();
            let known = notes.open().acknowledged.clone();
            cluster.start_all();
            cluster.led().await;
            check_readable(&connect(&cluster).await, &known).await;
            println!(
                "death {death}: {} acknowledged writes are there",
                known.len()
            );
        }
        notes.grow().await;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = writers.join_next().await {
            ended.expect("no writer panics");
        }
        check_exact(&connect(&cluster).await, &notes.open_for_good()).await;
        cluster.check_alive();
    })
    .await;
}

impl SharedNotes {
    fn open_for_good(&self) -> Notes {
        std::mem::take(&mut *self.open())
    }
}

async fn connect(cluster: &Cluster) -> Client {
    let client = Client::connect(&cluster.addresses()).await;
    client.expect("all nodes answer")
}

async fn write(client: Client, number: usize, notes: SharedNotes, stop: Arc<AtomicBool>) {
    for count in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let partition = PARTITIONS[(number + count) % PARTITIONS.len()];
        let key = format!("{partition}{number:02}/{count:06}");
        match client.put(&key, value_of(&key)).await {
            Ok(at) => {
                let before = notes.open().acknowledged.insert(key, at);
                assert_eq!(before, None, "every key is written once");
            }
            // The nodes are dead for less time than a commit is tried and its outcome asked for.
            Err(error @ Error::OutcomeUnknown { .. }) => panic!("{key}: {error}"),
            Err(refusal) => {
                println!("{key} was refused: {refusal}");
                notes.open().refused.insert(key);
            }
        }
    }
}

/// Every one of these has its value, at the timestamp that was acknowledged.
async fn check_readable(client: &Client, known: &BTreeMap<String, Timestamp>) {
    let rows = client.scan(..).collect().await.expect("a scan of all");
    let rows: BTreeMap<&[u8], _> = rows.iter().map(|r| (r.key.user(), &r.version)).collect();
    for (key, at) in known {
        let found = rows.get(key.as_bytes());
        let found = found.unwrap_or_else(|| panic!("{key} was acknowledged at {at}, and is lost"));
        assert_eq!(found.value, value_of(key), "{key}");
        assert_eq!(found.timestamp, *at, "{key}");
    }
}

/// Nothing is missing, and nothing is there that was refused.
async fn check_exact(client: &Client, notes: &Notes) {
    check_readable(client, &notes.acknowledged).await;
    let rows = client.scan(..).collect().await.expect("a scan of all");
    let found = rows
        .iter()
        .map(|r| String::from_utf8_lossy(r.key.user()).into_owned());
    let found: BTreeSet<String> = found.collect();
    let acknowledged = notes.acknowledged.keys().cloned().collect();
    let extra: Vec<_> = found.difference(&acknowledged).collect();
    assert!(extra.is_empty(), "there, but never acknowledged: {extra:?}");
    // Point reads go another way than scans.
    for (key, at) in notes.acknowledged.iter().step_by(7) {
        let found = client.get(key).await.expect("a read");
        let found = found.unwrap_or_else(|| panic!("{key} was acknowledged at {at}, and is lost"));
        assert_eq!(
            (found.timestamp, found.value),
            (*at, value_of(key).into()),
            "{key}"
        );
    }
    for key in &notes.refused {
        let found = client.get(key).await.expect("a read");
        assert_eq!(found, None, "{key} was refused");
    }
    println!(
        "{} writes acknowledged, {} refused, each as it was said",
        notes.acknowledged.len(),
        notes.refused.len()
    );
}
