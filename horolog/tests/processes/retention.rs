//! How long old versions are kept is a setting of the cluster, and what is older is refused by name.

use super::io::{Cluster, story, until};
use std::time::Duration;

/// What is closed lies 15 s back, and leaders look every 5 s.
const UNREADABLE_WITHIN: Duration = Duration::from_secs(50);
const NOT_DONE: i32 = 1;

#[tokio::test]
async fn versions_older_than_the_retention_are_refused_by_name() {
    story(Duration::from_secs(30), async {
        let mut cluster = Cluster::found(&["--partitions", "1"]).await;
        let program = cluster.program().clone();
        let addresses = cluster.addresses();
        let list = cluster.list();
        let run = async |node: usize, command: &[&str]| {
            let connect = ["--connect", &addresses[node]];
            program.run(&[command, &connect].concat()).await
        };
        let get = run(0, &["settings", "get", "retention"]).await;
        assert!(get.out.contains("60 min"), "{}{}", get.out, get.err);
        let short = run(1, &["settings", "set", "retention", "1s"]).await;
        short.expect_refusal(NOT_DONE, &["1s", "15s"]);

        let put = program.json(&["put", "a", "old", "--connect", &list]).await;
        let old = put["timestamp"].as_str().expect("a timestamp").to_owned();
        program.json(&["put", "a", "new", "--connect", &list]).await;
        let at_old = ["get", "a", "--at", &old];
        let read = run(1, &at_old).await;
        assert!(read.out.contains("old"), "{}{}", read.out, read.err);

        let set = run(2, &["settings", "set", "retention", "15s"]).await;
        assert_eq!(set.code, Some(0), "{}", set.err);
        let get = run(0, &["settings", "get", "retention"]).await;
        assert!(get.out.contains("15 s"), "{}{}", get.out, get.err);
        until(
            "the old version is refused",
            UNREADABLE_WITHIN,
            async || {
                cluster.check_alive();
                let read = run(1, &at_old).await;
                match read.code {
                    Some(0) => Err(read.out),
                    _ => {
                        read.expect_refusal(NOT_DONE, &[&old, "retention horizon"]);
                        Ok(())
                    }
                }
            },
        )
        .await;
        let read = run(1, &["get", "a"]).await;
        assert!(read.out.contains("new"), "{}{}", read.out, read.err);
    })
    .await;
}
