//! A node that is asked to stop hands over what it leads, and `transfer` says why it cannot.

use super::io::{Cluster, Stopwatch, story};
use std::time::Duration;

/// A node may take three seconds to hand over.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// Nodes that have nobody to hand over to do not wait for it.
const ALL_STOPPED_WITHIN: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn a_node_that_stops_hands_over_first_and_a_transfer_that_cannot_be_says_why() {
    story(Duration::from_secs(60), async {
        let mut cluster = Cluster::found(&["--partitions", "4"]).await;
        let list = cluster.list();
        let transfer = async |cluster: &Cluster, arguments: &[&str]| {
            let connected = ["transfer", "--connect", &list];
            cluster
                .program()
                .run(&[&connected, arguments].concat())
                .await
        };
        let ended = transfer(&cluster, &["--partition", "2", "--to", "9"]).await;
        assert_eq!(ended.code, Some(1), "{}", ended.out);
        assert!(ended.err.contains("n9 is not a member"), "{}", ended.err);
        let ended = transfer(&cluster, &["--partition", "77"]).await;
        assert!(ended.err.contains("no such partition"), "{}", ended.err);
        let ended = transfer(&cluster, &["--all", "--from", "1"]).await;
        assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);

        cluster.node(2).terminate();
        let (code, _) = cluster.node(2).exit_code(STOPPED_WITHIN).await;
        let said = cluster.node(2).err();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("handed over the leadership of all"), "{said}");
        // Its partitions are served at once, without an election that somebody would have to wait for.
        let put = ["put", "--connect", &list, "m", "1"];
        let ended = cluster.program().run(&put).await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
    })
    .await;
}

#[tokio::test]
async fn nodes_that_are_all_stopped_at_once_stop_soon_and_warn_of_nothing() {
    story(Duration::from_secs(30), async {
        let mut cluster = Cluster::found(&["--partitions", "4"]).await;
        let stopping = Stopwatch::start();
        for node in 0..cluster.size() {
            cluster.node(node).terminate();
        }
        for node in 0..cluster.size() {
            let (code, _) = cluster.node(node).exit_code(STOPPED_WITHIN).await;
            let said = cluster.node(node).err();
            assert_eq!(code, Some(0), "{said}");
            assert!(!said.contains(" WARN "), "node {node}: {said}");
        }
        let took = stopping.elapsed();
        assert!(took < ALL_STOPPED_WITHIN, "{took:?}");
    })
    .await;
}
