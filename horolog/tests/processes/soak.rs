//! Endless overwrites: memory, disk and the time to start after a kill stay where they are.
//!
//! ```text
//!   bench put     ══════════════════════════════════════════════►
//!   a node        ════════✝ ready ═══════════✝ ready ═══════════►  how long until it answers again
//!   all nodes     · · · · · · · · · · · · · · · · · · · · · · · ·   memory, disk, log
//! ```
//!
//! As part of the tests it is short and shows that a kill is survived and bounds are kept. Its figures
//! come from a long run: `HOROLOG_SOAK_SECONDS=900 cargo test --release -p horolog --test processes soak
//! -- --nocapture`.

use super::io::{Cluster, Process, Stopwatch, story};
use super::transfers::from_environment;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Old versions are kept so long: less than a tenth of a long run.
const RETENTION: &str = "60s";
/// Samples in a run.
const SAMPLES: u64 = 30;
/// Kills in a run.
const KILLS: u64 = 5;
/// Keys that are overwritten again and again.
const KEYS: &str = "10000";
/// The bench ends this much after its time at the latest.
const BENCH_ENDS_WITHIN: Duration = Duration::from_secs(35);
/// Later figures may be above earlier ones by this share and this much.
const GROWTH_MAX: f64 = 1.25;
const SLACK_MIB: f64 = 96.0;
/// A start after a kill takes less than this, and the later ones no longer than the first and this.
const START_MAX: Duration = Duration::from_secs(20);
const START_SLACK: Duration = Duration::from_secs(2);

/// Of all nodes together.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    rss_mib: f64,
    disk_mib: f64,
    log_mib: f64,
}

#[tokio::test]
async fn memory_disk_and_starts_stay_where_they_are() {
    let seconds = from_environment("HOROLOG_SOAK_SECONDS", 10);
    story(Duration::from_secs(seconds), async {
        let mut cluster = Cluster::found(&["--partitions", "4"]).await;
        let list = cluster.list();
        let set = [
            "settings",
            "set",
            "retention",
            RETENTION,
            "--connect",
            &list,
        ];
        let set = cluster.program().run(&set).await;
        assert_eq!(set.code, Some(0), "{}", set.err);
        let mut bench = start_bench(&cluster, seconds);
        let (samples, starts) = watch(&mut cluster, &mut bench, seconds).await;
        let (code, _) = bench.exit_code(BENCH_ENDS_WITHIN).await;
        assert_eq!(code, Some(0), "{}{}", bench.out(), bench.err());
        let report: Value = serde_json::from_str(&bench.out()).expect("one JSON object");
        println!("{report}");
        assert_eq!(report["unknown"], 0, "{report}");
        check(&samples, &starts);
    })
    .await;
}

fn start_bench(cluster: &Cluster, seconds: u64) -> Process {
    let (list, seconds) = (cluster.list(), seconds.to_string());
    let bench = [
        "bench",
        "put",
        "--json",
        "--connect",
        &list,
        "--clients",
        "64",
        "--conns",
        "16",
        "--seconds",
        &seconds,
        "--accounts",
        KEYS,
    ];
    let bench = cluster.program().command(&bench);
    Process::start(bench, "bench", cluster.directory())
}

async fn watch(
    cluster: &mut Cluster,
    bench: &mut Process,
    seconds: u64,
) -> (Vec<Sample>, Vec<Duration>) {
    let started = Stopwatch::start();
    let mut pace = interval(Duration::from_millis(seconds * 1000 / SAMPLES));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut samples, mut starts) = (Vec::new(), Vec::new());
    println!("  at s   memory MiB   disk MiB   log MiB   (three nodes together)");
    while bench.ended().is_none() {
        pace.tick().await;
        let kills_due = started.elapsed().as_secs() * (KILLS + 1) / seconds.max(1);
        if (starts.len() as u64) < kills_due.min(KILLS) {
            let node = starts.len() % cluster.size();
            cluster.kill(node);
            let begun = Stopwatch::start();
            cluster.start(node);
            cluster.led().await;
            starts.push(begun.elapsed());
            println!(
                "         node {} answers and everything is led {:?} after its start",
                node + 1,
                begun.elapsed()
            );
        }
        let sample = sample(cluster, started.elapsed());
        println!(
            "{:>6}   {:>10.0} {:>10.0} {:>9.0}",
            sample.at.as_secs(),
            sample.rss_mib,
            sample.disk_mib,
            sample.log_mib
        );
        samples.push(sample);
    }
    (samples, starts)
}

const MIB: f64 = (1 << 20) as f64;

fn sample(cluster: &mut Cluster, at: Duration) -> Sample {
    let nodes = 0..cluster.size();
    let rss = nodes
        .clone()
        .map(|node| cluster.node(node).resident_bytes());
    let rss: u64 = rss.sum();
    let disk: u64 = nodes
        .clone()
        .map(|node| disk_bytes(&cluster.data(node)))
        .sum();
    let log: u64 = nodes
        .map(|node| disk_bytes(&cluster.data(node).join("log")))
        .sum();
    Sample {
        at,
        rss_mib: rss as f64 / MIB,
        disk_mib: disk as f64 / MIB,
        log_mib: log as f64 / MIB,
    }
}

/// What the files of a directory take on the disk. A file that went meanwhile takes nothing.
fn disk_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

/// The last third against the middle one: by then, the first has filled what is allowed to fill.
fn check(samples: &[Sample], starts: &[Duration]) {
    let third = samples.len() / 3;
    assert!(third >= 2, "only {} samples", samples.len());
    let mean = |part: &[Sample], of: fn(&Sample) -> f64| {
        part.iter().map(of).sum::<f64>() / part.len() as f64
    };
    let (middle, last) = (&samples[third..2 * third], &samples[2 * third..]);
    let figures: [(&str, fn(&Sample) -> f64); 2] =
        [("memory", |s| s.rss_mib), ("disk", |s| s.disk_mib)];
    for (what, of) in figures {
        let (before, after) = (mean(middle, of), mean(last, of));
        println!("{what}: {before:.0} MiB in the middle third, {after:.0} MiB in the last");
        assert!(before > 0.0, "no {what} was found at all");
        assert!(
            after <= before * GROWTH_MAX + SLACK_MIB,
            "{what} grew from {before:.0} to {after:.0} MiB"
        );
    }
    println!("starts after a kill: {starts:?}");
    let (Some(first), Some(longest)) = (starts.first(), starts.iter().max()) else {
        panic!("nothing was killed");
    };
    assert!(*longest < START_MAX, "a start took {longest:?}");
    assert!(
        *longest <= *first * 2 + START_SLACK,
        "starts grew: {starts:?}"
    );
}
