//! Whether the store goes on: a client that writes to every partition all the time.
//!
//! One task a partition: a write, and when it is acknowledged a short pause and the next. What is between
//! two acknowledgements is a gap. The pause is far below what is judged. Time in which the machine itself
//! stood still ([`crate::io::Machine`]) counts for no gap.

use crate::error::SuiteError;
use crate::io::{RunClock, Stall};
use crate::run::{Availability, Fault, Gap};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::client::Client;
use wire::ids::PartitionId;
use wire::keys::{DEFAULT_KEYSPACE, Key};

/// Between an acknowledgement and the next write.
const PAUSE: Duration = Duration::from_millis(10);
/// After a write that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);
/// The median gap after the kill of a leader is below this.
pub const GAP_MEDIAN_MAX: Duration = Duration::from_millis(1500);
/// No gap is above this, after the kill of a leader and while a minority is away.
pub const GAP_MAX: Duration = Duration::from_secs(3);
/// What nobody else writes.
const KEY: &str = "!suite-probe";

type Acknowledged = Arc<Mutex<BTreeMap<PartitionId, Vec<u64>>>>;

/// A probe that runs.
pub struct Probe {
    acknowledged: Acknowledged,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Probe {
    /// Starts it on the partitions that there are.
    pub async fn start(addresses: &[String], clock: RunClock) -> Result<Probe, SuiteError> {
        let failed = |error: wire::client::Error| SuiteError::Load(error.to_string());
        let client = Client::connect(addresses).await.map_err(failed)?;
        let map = client.map().await.map_err(failed)?;
        let probe = Probe {
            acknowledged: Acknowledged::default(),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        let mut probe = probe;
        let first = Key::new(DEFAULT_KEYSPACE, b"");
        for (descriptor, _) in &map.partitions {
            let range = &descriptor.range;
            // The part of the default keyspace: of the first partition, the part behind the system's.
            let start = range.start.clone().max(first.clone());
            let key = [start.user(), KEY.as_bytes()].concat();
            if !range.contains(&Key::new(DEFAULT_KEYSPACE, &key)) {
                continue;
            }
            let partition = descriptor.partition;
            let (client, stop) = (client.clone(), probe.stop.clone());
            let acknowledged = probe.acknowledged.clone();
            probe.tasks.spawn(async move {
                while !stop.is_cancelled() {
                    let pause = match client.put(&key, "x").await {
                        Ok(_) => {
                            let at = clock.nanoseconds();
                            let all = acknowledged.lock();
                            let mut all = all.unwrap_or_else(PoisonError::into_inner);
                            all.entry(partition).or_default().push(at);
                            PAUSE
                        }
                        Err(error) => {
                            tracing::debug!(%partition, "a write of the probe failed: {error}");
                            PAUSE_AFTER_FAILURE
                        }
                    };
                    tokio::time::sleep(pause).await;
                }
            });
        }
        Ok(probe)
    }

    /// Stops it; when which partition's writes were acknowledged, nanoseconds on the run's clock.
    pub async fn stop(mut self) -> BTreeMap<PartitionId, Vec<u64>> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a probe failed: {error}");
            }
        }
        let acknowledged = self.acknowledged.lock();
        acknowledged.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is expected of the store during a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// A leader died: its partitions go on under another.
    GoesOnAfterKill,
    /// A minority is away: all partitions go on.
    GoesOn,
    /// Nothing: a majority may be away.
    Nothing,
}

/// Judges gaps against faults. `hit`: of each fault, what is expected, and the partitions concerned;
/// `stalls`: when the machine stood still.
pub fn judge(
    acknowledged: &BTreeMap<PartitionId, Vec<u64>>,
    faults: &[Fault],
    hit: &[(Expected, Vec<PartitionId>)],
    stalls: &[Stall],
    until_ns: u64,
) -> Availability {
    assert_eq!(faults.len(), hit.len(), "each fault has its expectation");
    let mut judged = Availability {
        acknowledged: acknowledged.values().map(|all| all.len() as u64).sum(),
        ..Availability::default()
    };
    for (number, (fault, (expected, led))) in faults.iter().zip(hit).enumerate() {
        let gaps = acknowledged.iter().filter_map(|(partition, times)| {
            let concerned = *expected == Expected::GoesOn || led.contains(partition);
            let (begin_ns, length) = longest_gap(times, fault, stalls, until_ns);
            concerned.then(|| Gap {
                place: partition.to_string(),
                fault: Some(number),
                begin_ns,
                length,
            })
        });
        match expected {
            Expected::GoesOnAfterKill => judged.after_kills.extend(gaps),
            Expected::GoesOn => judged.minority_away.extend(gaps),
            Expected::Nothing => {}
        }
    }
    judged.broken = broken(&judged, faults);
    judged
}

/// The longest time without an acknowledgement that overlaps a fault; `until_ns`: the probe's end.
fn longest_gap(times: &[u64], fault: &Fault, stalls: &[Stall], until_ns: u64) -> (u64, Duration) {
    let begins = std::iter::once(0).chain(times.iter().copied());
    let ends = times.iter().copied().chain([until_ns]);
    let overlapping = begins
        .zip(ends)
        .filter(|(begin, end)| *end > fault.begin_ns && *begin < fault.end_ns);
    let lengths = overlapping.map(|(begin, end)| {
        let stood = stalls.iter().map(|stall| {
            let (from, to) = (stall.begin_ns.max(begin), stall.end_ns.min(end));
            to.saturating_sub(from)
        });
        (
            begin,
            Duration::from_nanos(end - begin - stood.sum::<u64>()),
        )
    });
    let longest = lengths.max_by_key(|(_, length)| *length);
    longest.unwrap_or((fault.begin_ns, Duration::ZERO))
}

fn broken(judged: &Availability, faults: &[Fault]) -> Vec<String> {
    let mut broken = Vec::new();
    let all = judged.after_kills.iter().chain(&judged.minority_away);
    for gap in all.filter(|gap| gap.length > GAP_MAX) {
        let fault = gap.fault.map_or("", |number| &faults[number].detail);
        broken.push(format!(
            "{}: nothing was acknowledged for {:.1} s from second {:.1} on ({fault}); the most is {GAP_MAX:?}",
            gap.place,
            gap.length.as_secs_f64(),
            gap.begin_ns as f64 / 1e9,
        ));
    }
    if let Some(median) = median(&judged.after_kills)
        && median > GAP_MEDIAN_MAX
    {
        broken.push(format!(
            "after kills of leaders their partitions stood still for {median:?} in the median; the most is {GAP_MEDIAN_MAX:?}"
        ));
    }
    broken
}

/// The median of gaps.
pub fn median(gaps: &[Gap]) -> Option<Duration> {
    let mut lengths: Vec<Duration> = gaps.iter().map(|gap| gap.length).collect();
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn fault(begin: u64, end: u64) -> Fault {
        Fault {
            name: "kill-leader".to_owned(),
            detail: "n1 killed".to_owned(),
            begin_ns: begin * SECOND,
            end_ns: end * SECOND,
        }
    }

    fn acknowledged(seconds: &[u64]) -> BTreeMap<PartitionId, Vec<u64>> {
        let times = seconds.iter().map(|second| second * SECOND).collect();
        BTreeMap::from([(PartitionId(1), times)])
    }

    #[test]
    fn a_gap_after_a_kill_is_measured_from_the_last_acknowledgement_before() {
        let all = acknowledged(&[1, 2, 3, 5, 6, 16]);
        let hit = [(Expected::GoesOnAfterKill, vec![PartitionId(1)])];
        let judged = judge(&all, &[fault(4, 6)], &hit, &[], 17 * SECOND);
        let gap = &judged.after_kills[0];
        assert_eq!((gap.begin_ns, gap.length.as_secs()), (3 * SECOND, 2));
        assert_eq!(
            judged.broken.len(),
            1,
            "the median is told: {:?}",
            judged.broken
        );
    }

    #[test]
    fn a_partition_that_never_comes_back_is_broken() {
        let all = acknowledged(&[1, 2]);
        let hit = [(Expected::GoesOn, Vec::new())];
        let judged = judge(&all, &[fault(3, 8)], &hit, &[], 9 * SECOND);
        assert_eq!(judged.minority_away[0].length.as_secs(), 7);
        assert!(judged.broken[0].starts_with("p1: nothing was acknowledged for 7.0 s"));
        let hit = [(Expected::Nothing, Vec::new())];
        assert_eq!(
            judge(&all, &[fault(3, 8)], &hit, &[], 9 * SECOND).broken,
            [""; 0]
        );
    }

    #[test]
    fn time_in_which_the_machine_stood_still_is_not_the_stores() {
        let all = acknowledged(&[1, 2, 8]);
        let hit = [(Expected::GoesOn, Vec::new())];
        let stall = |begin, end| Stall {
            begin_ns: begin * SECOND,
            end_ns: end * SECOND,
        };
        let stalls = [stall(0, 3), stall(4, 7)];
        let judged = judge(&all, &[fault(3, 8)], &hit, &stalls, 9 * SECOND);
        assert_eq!(judged.minority_away[0].length.as_secs(), 2);
        assert_eq!(judged.broken, [""; 0]);
    }

    #[test]
    fn what_others_lead_is_not_judged_after_a_kill() {
        let all = acknowledged(&[1, 9]);
        let hit = [(Expected::GoesOnAfterKill, vec![PartitionId(2)])];
        let judged = judge(&all, &[fault(3, 8)], &hit, &[], 9 * SECOND);
        assert_eq!(judged.after_kills, []);
    }
}
