//! A node that was away for long, and nodes that lost their data: each is given again what it lacks, and
//! then stands in for another.

use super::io::{Cluster, story, until};
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::client::Client;

/// Writers at once.
const WRITERS: usize = 16;
/// For all writes, and for all that is given again, on a machine that may be busy.
const WITHIN: Duration = Duration::from_secs(60);
/// What the others keep for a node that is away, for each of two partitions.
const HELD_BACK_MAX: u64 = 512 * 1024;

fn key_of(number: usize) -> String {
    format!("key/{number:05}")
}

fn value_of(number: usize, bytes: usize) -> String {
    format!("{number}/{}", "x".repeat(bytes))
}

async fn connect(cluster: &Cluster) -> Client {
    let client = Client::connect(&cluster.addresses()).await;
    client.expect("a node answers")
}

/// Writes so many keys; returns when all are acknowledged.
async fn write(cluster: &Cluster, keys: usize, bytes: usize) {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = connect(cluster).await;
        writers.spawn(async move {
            for number in (writer..keys).step_by(WRITERS) {
                let put = client.put(&key_of(number), value_of(number, bytes)).await;
                put.unwrap_or_else(|error| panic!("key {number}: {error}"));
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.expect("no writer panics");
    }
}

/// Everything that was acknowledged is there, although this node is dead.
async fn check_without(cluster: &mut Cluster, dead: usize, keys: usize, bytes: usize) {
    cluster.kill(dead);
    let client = connect(cluster).await;
    for number in 0..keys {
        let found = client.get(&key_of(number)).await;
        let found = found.unwrap_or_else(|error| panic!("key {number}: {error}"));
        let found = found.map(|version| version.value);
        assert_eq!(found, Some(value_of(number, bytes).into()), "key {number}");
    }
}

/// The replicas of each node that answers, by where the story numbers it: ids go to whoever was faster.
async fn replicas(cluster: &Cluster) -> Vec<(usize, Vec<Value>)> {
    let status = ["status", "--connect", &cluster.list(), "--json"];
    let ended = cluster.program().run(&status).await;
    let Some(status) = ended.json_lines().into_iter().next() else {
        return Vec::new();
    };
    let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
    let addresses = cluster.addresses();
    let replicas = nodes.iter().filter_map(|node| {
        let at = addresses.iter().position(|a| node["address"] == a.as_str());
        Some((at?, node["replicas"].as_array()?.clone()))
    });
    replicas.collect()
}

fn number(replica: &Value, name: &str) -> u64 {
    let number = replica[name].as_u64();
    number.unwrap_or_else(|| panic!("{name} in {replica}"))
}

/// Waits until a node holds what the others hold, and takes part in all of it.
async fn caught_up(cluster: &Cluster, node: usize) -> Vec<Value> {
    until("the node has everything again", WITHIN, async || {
        let all = replicas(cluster).await;
        let furthest = |partition: u64| {
            let same = |r: &&Value| number(r, "partition") == partition;
            let commits = all
                .iter()
                .flat_map(|(_, replicas)| replicas.iter().filter(same));
            commits.map(|r| number(r, "commit")).max().unwrap_or(0)
        };
        let Some((_, own)) = all.iter().find(|(of, _)| *of == node) else {
            return Err("it does not answer".to_owned());
        };
        let most = all.iter().map(|(_, replicas)| replicas.len()).max();
        if Some(own.len()) < most {
            return Err(format!("{} replicas of {most:?}", own.len()));
        }
        let lags = |r: &&Value| {
            r["has_forgotten"] == true || number(r, "commit") < furthest(number(r, "partition"))
        };
        match own.iter().find(lags) {
            Some(replica) => Err(replica.to_string()),
            None => Ok(own.clone()),
        }
    })
    .await
}

#[tokio::test]
async fn a_node_that_was_away_for_long_gets_a_snapshot() {
    story(Duration::ZERO, async {
        let max = (2 * HELD_BACK_MAX).to_string();
        let options = ["--partitions", "1", "--small", "--held-back-max", &max];
        let mut cluster = Cluster::found(&options).await;
        cluster.kill(2);
        let (keys, bytes) = (4000, 8000);
        write(&cluster, keys, bytes).await;
        // The others do not keep it all for the one that is away.
        until("the logs are discarded", WITHIN, async || {
            let all = replicas(&cluster).await;
            let others = all.iter().flat_map(|(_, replicas)| replicas);
            let written: Vec<&Value> = others.filter(|r| number(r, "partition") == 2).collect();
            let is_short = |r: &&Value| number(r, "low_water") > number(r, "commit") / 2;
            match written.len() == 2 && written.iter().all(is_short) {
                true => Ok(()),
                false => Err(format!("{written:?}")),
            }
        })
        .await;
        cluster.start(2);
        let own = caught_up(&cluster, 2).await;
        let written = own.iter().find(|r| number(r, "partition") == 2);
        let written = written.expect("it holds the partition");
        assert!(
            number(written, "low_water") > number(written, "commit") / 2,
            "its log begins where the snapshot ends: {written}"
        );
        check_without(&mut cluster, 0, keys, bytes).await;
        cluster.check_alive();
    })
    .await;
}

#[tokio::test]
async fn a_node_whose_data_directory_is_gone_heals_by_itself() {
    story(Duration::ZERO, async {
        let mut cluster = Cluster::found(&["--partitions", "4"]).await;
        let (keys, bytes) = (300, 100);
        write(&cluster, keys, bytes).await;
        cluster.kill(1);
        cluster.wipe(1);
        cluster.start(1);
        caught_up(&cluster, 1).await;
        let said = cluster.node(1).err();
        assert!(said.contains("its data directory was replaced"), "{said}");
        check_without(&mut cluster, 0, keys, bytes).await;
        cluster.check_alive();
    })
    .await;
}

#[tokio::test]
async fn rebuild_drops_what_a_stopped_node_holds_and_the_others_give_it_again() {
    story(Duration::ZERO, async {
        let mut cluster = Cluster::found(&["--partitions", "2"]).await;
        let (keys, bytes) = (200, 100);
        write(&cluster, keys, bytes).await;
        let data = cluster.data(1);
        let data = data.to_str().expect("a path in UTF-8");
        let program = cluster.program().clone();
        let running = program.run(&["rebuild", "--data", data, "--yes"]).await;
        running.expect_refusal(1, &["in use by another process"]);
        cluster.kill(1);
        let unsure = program.run(&["rebuild", "--data", data]).await;
        unsure.expect_refusal(2, &["--yes"]);
        let rebuilt = program.run(&["rebuild", "--data", data, "--yes"]).await;
        assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.err);
        assert!(
            rebuilt.out.contains("dropped 3 replicas"),
            "{}",
            rebuilt.out
        );
        cluster.start(1);
        caught_up(&cluster, 1).await;
        check_without(&mut cluster, 2, keys, bytes).await;
        cluster.check_alive();
    })
    .await;
}
