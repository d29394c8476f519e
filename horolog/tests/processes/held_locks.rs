//! Locks that a client holds in an open transaction: what the shell does when it meets one, and how one
//! ends that its holder does not give back.

use super::io::{Cluster, Stopwatch, story, until};
use std::time::Duration;
use wire::client::{Client, Error};
use wire::ids::NodeId;
use wire::message::{LockLoss, RequestError};

const NOT_DONE: i32 = 1;
/// They are at the beginning, as a rule; if not, a node that has run for ten seconds is given its share.
const SPREAD_WITHIN: Duration = Duration::from_secs(30);
/// One key in each partition of four.
const KEYS: [&str; 4] = ["a", "h", "o", "z"];
/// A lock lapses when its leader has heard nothing of its gateway for so long.
const LAPSES_AFTER: Duration = Duration::from_secs(5);
/// An older transaction takes a lock in memory from a younger one after a tenth of a second.
const WOUNDED_WITHIN: Duration = Duration::from_secs(3);

async fn connect(cluster: &Cluster) -> Client {
    let client = Client::connect(&cluster.addresses()).await;
    client.expect("the nodes answer")
}

/// Two keys whose partitions are led by different nodes, with these.
async fn keys_led_apart(client: &Client) -> [(&'static str, NodeId); 2] {
    until("leaders are spread", SPREAD_WITHIN, async || {
        let map = client.map().await.expect("it is told");
        let leader = |key: &str| {
            let key = client.key(key);
            let mut partitions = map.partitions.iter();
            let (_, leader) = partitions.find(|(of, _)| of.range.contains(&key))?;
            *leader
        };
        let keys = KEYS.iter();
        let led: Vec<_> = keys.filter_map(|key| Some((*key, leader(key)?))).collect();
        let other = led.iter().find(|(_, node)| *node != led[0].1);
        let apart = other.map(|other| [led[0], *other]);
        apart.ok_or_else(|| format!("{led:?}"))
    })
    .await
}

#[tokio::test]
async fn the_shell_fails_passes_by_or_queues_when_a_key_is_locked() {
    story(Duration::ZERO, async {
        let cluster = Cluster::found(&["--partitions", "4"]).await;
        let client = connect(&cluster).await;
        client.put("a", "1").await.expect("nothing hinders it");
        let mut holder = client.begin();
        let held = holder.get_for_update("a").await.expect("it is free");
        assert_eq!(held.expect("it was put").value, "1");
        let rival = holder.id().expect("it has one").to_string();
        let program = cluster.program();
        let list = cluster.list();
        let shell = ["shell", "--connect", &list];

        let lines = "begin\nget-for-update a --skip-locked\nget-for-update h --nowait\ncommit\n";
        let ended = program.run_with(&shell, lines).await;
        assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
        let passed_by = format!("a is locked by transaction {rival}");
        assert!(ended.out.contains(&passed_by), "{}", ended.out);

        let lines = "begin\nget-for-update a --nowait\ncommit\n";
        let ended = program.run_with(&shell, lines).await;
        ended.expect_refusal(NOT_DONE, &["line 2", &rival, "holds a lock on", "nowait"]);

        let lines = "begin\nget-for-update a\nput a 3\ncommit\n";
        let queued = program.run_with(&shell, lines);
        let changed = async {
            // It queues meanwhile, or comes later: either way it sees what the holder leaves.
            holder.put("a", "2");
            holder.commit().await
        };
        let (queued, changed) = tokio::join!(queued, changed);
        changed.expect("nobody else can have changed it");
        assert_eq!(queued.code, Some(0), "{}{}", queued.out, queued.err);
        let last = client.get("a").await.expect("it is read");
        assert_eq!(last.expect("it was put").value, "3");
    })
    .await;
}

#[tokio::test]
async fn an_older_transaction_takes_a_lock_from_a_younger_one_which_is_told() {
    story(Duration::from_secs(30), async {
        let cluster = Cluster::found(&["--partitions", "4"]).await;
        let (one, another) = (connect(&cluster).await, connect(&cluster).await);
        let [(first, _), (second, _)] = keys_led_apart(&one).await;
        let (mut older, mut younger) = (one.begin(), another.begin());
        older.get_for_update(first).await.expect("it is free");
        younger.get_for_update(second).await.expect("it is free");
        let waiting = Stopwatch::start();
        older.get_for_update(second).await.expect("it gets it");
        let took = waiting.elapsed();
        assert!(took < WOUNDED_WITHIN, "{took:?}");
        older.put(second, "older");
        older.commit().await.expect("it holds all its locks");
        let by = older.id().expect("it has one");
        match younger.get(first).await {
            Err(Error::Request(RequestError::LockLost { key, loss })) => {
                assert_eq!(key, another.key(second));
                assert_eq!(loss, LockLoss::Wounded { by });
            }
            other => panic!("it has lost its lock, and yet: {other:?}"),
        }
        younger.put(second, "younger");
        let ended = younger.commit().await;
        let noticed = ended.as_ref().is_err_and(Error::is_conflict);
        assert!(noticed, "the key was changed meanwhile, and yet: {ended:?}");
        let last = one.get(second).await.expect("it is read");
        assert_eq!(last.expect("it was put").value, "older");
    })
    .await;
}

#[tokio::test]
async fn a_lock_lapses_when_nothing_is_heard_of_its_gateway_and_its_commit_notices() {
    story(Duration::from_secs(45), async {
        let mut cluster = Cluster::found(&["--partitions", "4"]).await;
        let (one, another) = (connect(&cluster).await, connect(&cluster).await);
        let [(first, gateway), (second, _)] = keys_led_apart(&one).await;
        let mut holder = one.begin();
        // The leader of its first key is its gateway from then on.
        holder.get_for_update(first).await.expect("it is free");
        holder.get_for_update(second).await.expect("it is free");
        let nodes = another.map().await.expect("it is told").nodes;
        let member = nodes.iter().find(|member| member.node == gateway);
        let address = &member.expect("it is a member").address;
        let seat = cluster.addresses().iter().position(|a| a == address);
        let seat = seat.expect("it is one of them");

        let waiting = Stopwatch::start();
        cluster.node(seat).pause();
        let mut rival = another.begin();
        rival.get_for_update(second).await.expect("it lapses");
        let took = waiting.elapsed();
        // The last sign of the gateway may have come up to a second before.
        assert!(took > LAPSES_AFTER / 2, "it was held until then: {took:?}");
        assert!(took < LAPSES_AFTER * 2, "and no longer: {took:?}");
        rival.put(second, "rival");
        rival.commit().await.expect("it holds its lock");
        cluster.node(seat).go_on();

        holder.put(second, "holder");
        let ended = holder.commit().await;
        let noticed = ended.as_ref().is_err_and(Error::is_conflict);
        assert!(noticed, "the key was changed meanwhile, and yet: {ended:?}");
        let last = another.get(second).await.expect("it is read");
        assert_eq!(last.expect("it was put").value, "rival");
    })
    .await;
}
