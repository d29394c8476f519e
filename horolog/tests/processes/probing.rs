//! What the clients of each partition notice while something is done to the nodes: for how long nothing
//! was acknowledged, and what the nodes did meanwhile.

use super::io::{Cluster, Stopwatch};
use super::transfers::from_environment;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use wire::client::{Client, Error};

/// The longest that any partition may go without acknowledging anything, unless the environment says
/// otherwise. A healthy one takes an election, a second or two; beyond this, something waits for an
/// accident to be freed.
const GAP_MAX_MS: u64 = 10_000;
/// Of so many times what the nodes did is shown.
const SHOWN_MAX: usize = 3;
/// And of what came before.
const SHOWN_BEFORE: Duration = Duration::from_millis(60);

/// One put after the other in each partition, and when each was acknowledged.
pub(super) struct Probing {
    /// Since when.
    pub(super) started: Stopwatch,
    stop: Arc<AtomicBool>,
    probes: JoinSet<Result<(&'static str, Vec<Duration>), Error>>,
}

/// In the four partitions, which meet at `gn`, `n` and `tn`; not among the benchmark's accounts.
const PROBED: [&str; 4] = ["-probe", "h-probe", "o-probe", "z-probe"];

impl Probing {
    /// Begins to put.
    pub(super) async fn start(cluster: &Cluster) -> Probing {
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

    /// Ends, and asserts that after no fault a partition acknowledged nothing for too long. What the nodes
    /// did meanwhile is shown for the longest times.
    pub(super) async fn end(mut self, struck: &[Duration], cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        let mut gaps: BTreeMap<&str, Vec<Gap>> = BTreeMap::new();
        while let Some(probe) = self.probes.join_next().await {
            let (key, acknowledged) = probe.expect("no probe panics").expect("no put fails");
            gaps.insert(key, gaps_by_fault(&acknowledged, struck));
        }
        let mut worst: Vec<Gap> = (0..struck.len())
            .map(|fault| gaps.values().map(|gaps| gaps[fault]).max())
            .map(|longest| longest.expect("partitions were probed"))
            .collect();
        let lengths: BTreeMap<&str, Vec<u128>> = gaps
            .iter()
            .map(|(key, gaps)| {
                (
                    *key,
                    gaps.iter().map(|gap| gap.length.as_millis()).collect(),
                )
            })
            .collect();
        println!("after each fault, milliseconds without an acknowledgement: {lengths:?}");
        worst.sort_unstable();
        let (Some(longest), Some(median)) = (worst.last(), worst.get(worst.len() / 2)) else {
            return;
        };
        let (longest, median) = (longest.length, median.length);
        println!(
            "{} faults: median {median:?}, longest {longest:?}",
            worst.len()
        );
        worst.dedup();
        for gap in worst.iter().rev().take(SHOWN_MAX) {
            self.show(*gap, cluster);
        }
        let gap_max = from_environment("HOROLOG_E2E_GAP_MAX_MS", GAP_MAX_MS);
        let median_max = from_environment("HOROLOG_E2E_GAP_MEDIAN_MS", gap_max);
        assert!(
            longest.as_millis() as u64 <= gap_max,
            "above {gap_max} ms: {lengths:?}"
        );
        assert!(
            median.as_millis() as u64 <= median_max,
            "above {median_max} ms: {lengths:?}"
        );
    }

    /// What the nodes' logs say of the time.
    fn show(&self, gap: Gap, cluster: &Cluster) {
        let (from, length) = (self.started.time_of_day(gap.from), gap.length);
        println!("{length:?} without an acknowledgement:");
        let shown = from.saturating_sub(SHOWN_BEFORE)..=from + length;
        let mut lines = Vec::new();
        for (node, said) in cluster.said() {
            for line in said.lines() {
                let at = time_of_day(line).filter(|at| shown.contains(at));
                lines.extend(at.map(|at| (at, format!("{node} {line}"))));
            }
        }
        lines.sort();
        for (at, line) in lines {
            let after = (at.as_micros() as f64 - from.as_micros() as f64) / 1000.0;
            println!("{after:9.2} ms {line}");
        }
    }
}

/// When a line of a node's log was written: "2026-11-24T12:50:53.123456Z  INFO …".
fn time_of_day(line: &str) -> Option<Duration> {
    let (_, time) = line
        .split_once(' ')
        .map_or(line, |(first, _)| first)
        .split_once('T')?;
    let mut parts = time.trim_end_matches('Z').split(':');
    let (hours, minutes) = (
        parts.next()?.parse::<u64>().ok()?,
        parts.next()?.parse::<u64>().ok()?,
    );
    let seconds = parts.next()?.parse::<f64>().ok()?;
    Some(Duration::from_secs(3600 * hours + 60 * minutes) + Duration::from_secs_f64(seconds))
}

/// A time without an acknowledgement.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Gap {
    length: Duration,
    from: Duration,
}

/// For each fault, the longest time without an acknowledgement that reached beyond its beginning and
/// began before the next fault.
fn gaps_by_fault(acknowledged: &[Duration], struck: &[Duration]) -> Vec<Gap> {
    let ends = struck.iter().skip(1).copied().chain([Duration::MAX]);
    let gaps = |from: Duration, to: Duration| {
        let pairs = acknowledged.windows(2);
        let during = pairs.filter(move |pair| pair[1] > from && pair[0] < to);
        let gap = |pair: &[Duration]| Gap {
            length: pair[1] - pair[0],
            from: pair[0],
        };
        during.map(gap).max()
    };
    struck
        .iter()
        .zip(ends)
        .map(|(from, to)| gaps(*from, to).unwrap_or_default())
        .collect()
}

#[test]
fn a_gap_counts_for_the_faults_that_it_spans() {
    let seconds =
        |all: &[u64]| -> Vec<Duration> { all.iter().map(|s| Duration::from_secs(*s)).collect() };
    let lengths = |struck: &[u64]| -> Vec<Duration> {
        let acknowledged = seconds(&[0, 1, 2, 6, 7, 9]);
        let gaps = gaps_by_fault(&acknowledged, &seconds(struck));
        gaps.iter().map(|gap| gap.length).collect()
    };
    assert_eq!(lengths(&[3, 6]), seconds(&[4, 2]));
    assert_eq!(lengths(&[3, 5]), seconds(&[4, 4]));
}

#[test]
fn the_time_of_a_line_is_read() {
    let line = "2026-11-24T12:50:53.250000Z  INFO node::node::leadership: leads";
    let expected = Duration::from_secs(12 * 3600 + 50 * 60 + 53) + Duration::from_millis(250);
    assert_eq!(time_of_day(line), Some(expected));
    assert_eq!(time_of_day("thread 'main' panicked"), None);
}
