//! Many clients move money while one node after another is killed and started again.
//!
//! ```text
//!   bench transfer   ════════════════════════════════════════════════►  total before = total after
//!   node 1           ═══✝  ══════════════════✝  ═════════════════════►  no commit without an outcome
//!   node 2           ═════════✝  ══════════════════✝  ═══════════════►
//!   node 3           ═══════════════✝  ════════════════════✝  ═══════►
//!   one put at a time, in each partition: the longest time without an acknowledgement
//! ```

use super::io::{Cluster, Process, Stopwatch, story};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use wire::client::{Client, Error};

/// From one kill to the next, at least.
const KILL_EVERY: Duration = Duration::from_millis(2500);
/// How long a node stays dead: longer than an election, so that the others must do without it.
const DEAD_FOR: Duration = Duration::from_millis(1000);
/// From the last operation until the benchmark has learned every outcome: they can be asked for only
/// 30 s long.
const BENCH_ENDS_WITHIN: Duration = Duration::from_secs(35);
/// The longest that any partition may go without acknowledging anything. A healthy one takes an
/// election, a second or two; beyond this, something waits for an accident to be freed.
const GAP_MAX: Duration = Duration::from_secs(10);
/// Even under kills, and on a slow machine: this many commits a second.
const COMMITS_PER_SECOND_MIN: u64 = 20;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => otherwise,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
    }
}

#[tokio::test]
async fn no_money_is_made_or_lost_while_nodes_are_killed() {
    let seconds = from_environment("HOROLOG_E2E_SECONDS", 12);
    let clients = from_environment("HOROLOG_E2E_CLIENTS", 16).to_string();
    story(Duration::from_secs(seconds), async {
        let mut cluster = Cluster::found(&["--partitions", "4"]).await;
        let (list, length) = (cluster.list(), seconds.to_string());
        let bench = [
            "bench",
            "transfer",
            "--json",
            "--connect",
            &list,
            "--clients",
            &clients,
            "--seconds",
            &length,
            "--accounts",
            "2000",
        ];
        let bench = cluster.program().command(&bench);
        let mut bench = Process::start(bench, "bench", cluster.directory());
        let probing = Probing::start(&cluster).await;
        let kills = kill_one_after_another(&mut cluster, &mut bench).await;
        let (code, _) = bench.exit_code(BENCH_ENDS_WITHIN).await;
        probing.end(kills).await;
        assert_eq!(code, Some(0), "{}{}", bench.out(), bench.err());
        check_report(&bench.out(), seconds);
        let healthy_kills = seconds.saturating_mul(1000) / KILL_EVERY.as_millis() as u64;
        assert!(
            kills * 3 >= healthy_kills,
            "only {kills} kills in {seconds} s"
        );
    })
    .await;
}

/// Until the benchmark has ended; how many were killed.
async fn kill_one_after_another(cluster: &mut Cluster, bench: &mut Process) -> u64 {
    let mut pace = interval(KILL_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace.tick().await;
    for kills in 0.. {
        pace.tick().await;
        if bench.ended().is_some() {
            return kills;
        }
        let node = kills as usize % cluster.size();
        cluster.kill(node);
        sleep(DEAD_FOR).await;
        cluster.start(node);
        cluster.led().await;
    }
    unreachable!("a benchmark ends");
}

fn check_report(out: &str, seconds: u64) {
    let report: serde_json::Value = serde_json::from_str(out).expect("one JSON object");
    let number = |name: &str| {
        let number = report[name].as_u64();
        number.unwrap_or_else(|| panic!("no {name} in {report}"))
    };
    println!("{report}");
    assert!(number("total_before") > 0, "{report}");
    assert_eq!(report["total_before"], report["total_after"], "{report}");
    assert_eq!(number("unknown"), 0, "{report}");
    let least = seconds * COMMITS_PER_SECOND_MIN;
    assert!(number("commits") >= least, "fewer than {least}: {report}");
    assert!(number("cross_partition") > 0, "{report}");
}

/// One put after the other in each partition, and when each was acknowledged.
struct Probing {
    started: Stopwatch,
    stop: Arc<AtomicBool>,
    probes: JoinSet<Result<(&'static str, Vec<Duration>), Error>>,
}

/// In the four partitions, which meet at `gn`, `n` and `tn`; not among the benchmark's accounts.
const PROBED: [&str; 4] = ["-probe", "h-probe", "o-probe", "z-probe"];

impl Probing {
    async fn start(cluster: &Cluster) -> Probing {
        let mut probing = Probing {
            started: Stopwatch::start(),
            stop: Arc::default(),
            probes: JoinSet::new(),
        };
        for key in PROBED {
            let client = Client::connect(&cluster.addresses()).await;
            let client = client.expect("all nodes answer");
            let (started, stop) = (probing.started, probing.stop.clone());
            probing.probes.spawn(async move {
                let mut acknowledged = vec![started.elapsed()];
                while !stop.load(Ordering::Relaxed) {
                    client.put(key, acknowledged.len().to_string()).await?;
                    acknowledged.push(started.elapsed());
                }
                let last = client.get(key).await?.expect("it was put").value;
                assert_eq!(last, (acknowledged.len() - 1).to_string(), "{key}");
                Ok((key, acknowledged))
            });
        }
        probing
    }

    async fn end(mut self, kills: u64) {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        let mut gaps = BTreeMap::new();
        while let Some(probe) = self.probes.join_next().await {
            let (key, acknowledged) = probe.expect("no probe panics").expect("no put fails");
            gaps.insert(key, longest_gap(&acknowledged));
            all.extend(acknowledged);
        }
        all.sort_unstable();
        println!(
            "{kills} kills; longest time without an acknowledgement: anywhere {:?}, by partition {gaps:?}",
            longest_gap(&all)
        );
        let longest = gaps.values().max().expect("partitions were probed");
        assert!(*longest <= GAP_MAX, "above {GAP_MAX:?}: {gaps:?}");
    }
}

fn longest_gap(times: &[Duration]) -> Duration {
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}
