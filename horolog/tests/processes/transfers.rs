//! Many clients move money while something is done to the nodes, one fault after another.
//!
//! ```text
//!   bench transfer   ════════════════════════════════════════════════►  total before = total after
//!   a node           ═══ fault ══ heal ═══ fault ══ heal ════════════►  no commit without an outcome
//!   one put at a time, in each partition: the longest time without an acknowledgement, by fault
//! ```
//!
//! How long, with how many clients and how strictly is read from the environment, so that the same
//! story is a short test and a long measurement.

use super::io::{Cluster, Process, Stopwatch, story};
use super::probing::Probing;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};
use wire::SplitMix64;

/// From the last operation until the benchmark has learned every outcome: they can be asked for only
/// 30 s long.
const BENCH_ENDS_WITHIN: Duration = Duration::from_secs(35);
/// Even under faults, and on a slow machine: this many commits a second.
const COMMITS_PER_SECOND_MIN: u64 = 20;

/// What is done to a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// SIGKILL, and it is started again.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Pause,
    /// A partition is led by another node from then on (`horolog transfer`); all nodes run on.
    HandOver,
    /// None: what the machine alone makes clients wait for.
    Nothing,
}

/// One fault after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// What is done.
    pub(super) fault: Fault,
    /// From one to the next, at least.
    pub(super) every: Duration,
    /// How long a node stays dead or paused. Longer than an election, so that the others must do
    /// without it.
    pub(super) lasting: Duration,
}

/// A number that the environment may give.
pub(super) fn from_environment(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => otherwise,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
    }
}

/// Transfers for a time, under faults; asserts that no money is made or lost, that no outcome stays
/// unknown and that no partition is silent for too long.
pub(super) async fn transfers_under(faults: Faults, seconds: u64) {
    let seconds = from_environment("HOROLOG_E2E_SECONDS", seconds);
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
        let struck = faults
            .until_ended(&mut cluster, &mut bench, probing.started)
            .await;
        let (code, _) = bench.exit_code(BENCH_ENDS_WITHIN).await;
        probing.end(&struck, &cluster).await;
        assert_eq!(code, Some(0), "{}{}", bench.out(), bench.err());
        check_report(&bench.out(), seconds);
        let healthy = seconds.saturating_mul(1000) / faults.every.as_millis() as u64;
        let struck = struck.len() as u64;
        assert!(struck * 3 >= healthy, "only {struck} faults in {seconds} s");
    })
    .await;
}

impl Faults {
    /// Until the benchmark has ended; when each came.
    async fn until_ended(
        self,
        cluster: &mut Cluster,
        bench: &mut Process,
        started: Stopwatch,
    ) -> Vec<Duration> {
        let seed = from_environment("HOROLOG_E2E_SEED", u64::from(std::process::id()));
        println!("HOROLOG_E2E_SEED={seed} chooses the nodes");
        let mut random = SplitMix64::new(seed);
        let mut pace = interval(self.every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace.tick().await;
        let mut struck = Vec::new();
        loop {
            pace.tick().await;
            if bench.ended().is_some() {
                return struck;
            }
            let node = random.below(cluster.size() as u64) as usize;
            struck.push(started.elapsed());
            match self.fault {
                Fault::Kill => cluster.kill(node),
                Fault::Pause => cluster.node(node).pause(),
                Fault::HandOver => hand_over(cluster, random.below(PARTITIONS)).await,
                Fault::Nothing => {}
            }
            sleep(self.lasting).await;
            match self.fault {
                Fault::Kill => cluster.start(node),
                Fault::Pause => cluster.node(node).go_on(),
                Fault::HandOver | Fault::Nothing => {}
            }
            cluster.led().await;
        }
    }
}

/// The system's partition, and the four of the users.
const PARTITIONS: u64 = 5;

async fn hand_over(cluster: &Cluster, drawn: u64) {
    let (partition, list) = ((drawn + 1).to_string(), cluster.list());
    let transfer = ["transfer", "--partition", &partition, "--connect", &list];
    let ended = cluster.program().run(&transfer).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
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
