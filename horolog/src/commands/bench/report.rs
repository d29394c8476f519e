//! What a bench measured, and how it is told.

use crate::text::quantity;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Latencies above this are counted as this much, microseconds (10 minutes).
const LATENCY_US_MAX: u64 = 600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// What one client counted, and many of them added up.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    latency_us: Histogram<u64>,
    /// Operations that succeeded.
    pub(super) commits: u64,
    /// Attempts beyond the first.
    pub(super) retries: u64,
    /// Operations that failed and changed nothing.
    pub(super) errors: u64,
    /// Commits of which it is not known what became of them.
    pub(super) unknown: u64,
    /// Commits that wrote more than one partition.
    pub(super) cross_partition: u64,
    /// Transfers that did not happen because the account held too little.
    pub(super) refused: u64,
    /// The commits of the client that had the fewest; `None` before any was added.
    slowest: Option<u64>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS);
        Tally {
            latency_us: histogram.expect("the bounds are valid constants"),
            commits: 0,
            retries: 0,
            errors: 0,
            unknown: 0,
            cross_partition: 0,
            refused: 0,
            slowest: None,
        }
    }

    /// An operation succeeded.
    pub(super) fn success(&mut self, took: Duration) {
        self.commits += 1;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(us.max(1));
    }

    /// Adds what another client counted.
    pub(super) fn add(&mut self, other: &Tally) {
        self.latency_us
            .add(&other.latency_us)
            .expect("all histograms have the same bounds");
        self.commits += other.commits;
        self.retries += other.retries;
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.cross_partition += other.cross_partition;
        self.refused += other.refused;
        let slowest = other.slowest.unwrap_or(other.commits);
        self.slowest = Some(self.slowest.map_or(slowest, |known| known.min(slowest)));
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// How the bench was set up.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Setup {
    pub(super) workload: &'static str,
    pub(super) mode: Option<&'static str>,
    pub(super) clients: usize,
    pub(super) conns: usize,
    pub(super) accounts: u64,
    pub(super) partitions: usize,
    pub(super) cross: Option<f64>,
    pub(super) value_bytes: Option<usize>,
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub(super) setup: Setup,
    pub(super) seconds: f64,
    /// Successful operations a second.
    pub(super) throughput: f64,
    pub(super) latency_us: Latency,
    pub(super) commits: u64,
    pub(super) retries: u64,
    pub(super) errors: u64,
    pub(super) unknown: u64,
    pub(super) refused: u64,
    pub(super) cross_partition: u64,
    /// The commits of the client that had the fewest.
    pub(super) slowest_client: u64,
    /// Those, divided by the mean of all clients: 1 is perfectly fair, 0 is a client that starved.
    pub(super) fairness: f64,
    /// How much must have been added to the counter, from the very start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) added: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_before: Option<i128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_after: Option<i128>,
}

impl Report {
    pub(super) fn new(setup: Setup, tally: &Tally, measured: Duration) -> Report {
        let at = |quantile| tally.latency_us.value_at_quantile(quantile);
        let seconds = measured.as_secs_f64();
        let slowest_client = tally.slowest.unwrap_or(0);
        let mean = tally.commits as f64 / setup.clients as f64;
        Report {
            setup,
            seconds,
            throughput: if seconds > 0.0 {
                tally.commits as f64 / seconds
            } else {
                0.0
            },
            latency_us: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: tally.latency_us.max(),
            },
            commits: tally.commits,
            retries: tally.retries,
            errors: tally.errors,
            unknown: tally.unknown,
            refused: tally.refused,
            cross_partition: tally.cross_partition,
            slowest_client,
            fairness: if mean > 0.0 {
                slowest_client as f64 / mean
            } else {
                0.0
            },
            added: None,
            total_before: None,
            total_after: None,
        }
    }

    /// What must not be: money made or lost, additions lost or done twice, or a commit without a known
    /// outcome.
    pub(super) fn violation(&self) -> Option<String> {
        if let (Some(added), Some(before), Some(after)) =
            (self.added, self.total_before, self.total_after)
        {
            let grown = after - before;
            if grown != i128::from(added) && self.unknown == 0 {
                return Some(format!(
                    "THE COUNTER IS WRONG: {added} was added, but it grew by {grown}, from {before} to {after}. Additions were lost, or applied more than once"
                ));
            }
        } else if let (Some(before), Some(after)) = (self.total_before, self.total_after)
            && before != after
        {
            let difference = after - before;
            return Some(format!(
                "THE TOTAL OF ALL ACCOUNTS CHANGED: {before} before, {after} after ({difference:+}). Transfers were applied in part, or more than once"
            ));
        }
        if self.unknown > 0 {
            let unknown = self.unknown;
            return Some(format!(
                "{unknown} COMMITS HAVE NO KNOWN OUTCOME, although every outcome can be asked for"
            ));
        }
        None
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Setup {
            workload,
            clients,
            conns,
            partitions,
            ..
        } = self.setup;
        let us = quantity::micros;
        let Latency {
            p50,
            p90,
            p99,
            p999,
            max,
        } = self.latency_us;
        let mode = self.setup.mode.map_or(String::new(), |m| format!(", {m}"));
        let mut lines = vec![
            format!(
                "{workload}{mode}: {clients} clients on {conns} connections, {partitions} partitions, {:.1} s",
                self.seconds
            ),
            format!("  throughput  {:.0}/s", self.throughput),
            format!(
                "  latency     p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
                us(p50),
                us(p90),
                us(p99),
                us(p999),
                us(max)
            ),
            format!(
                "  commits     {}, over more than one partition {}, retries {}",
                self.commits, self.cross_partition, self.retries
            ),
        ];
        if self.refused > 0 {
            let refused = self.refused;
            lines.push(format!(
                "  refused     {refused} (too little in the account)"
            ));
        }
        if self.errors > 0 {
            lines.push(format!("  errors      {} (nothing changed)", self.errors));
        }
        lines.push(format!(
            "  fairness    {:.2} (the slowest client's {} commits / the mean)",
            self.fairness, self.slowest_client
        ));
        if let (Some(before), Some(after)) = (self.total_before, self.total_after) {
            lines.push(format!("  total       {before} before, {after} after"));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        Setup {
            workload: "transfer",
            mode: Some("oneshot"),
            clients: 2,
            conns: 1,
            accounts: 10,
            partitions: 4,
            cross: Some(1.0),
            value_bytes: None,
        }
    }

    fn report() -> Report {
        let mut all = Tally::new();
        for offset in [0, 50] {
            let mut tally = Tally::new();
            for us in 1..=50 {
                tally.success(Duration::from_micros(us + offset));
            }
            tally.retries = 3;
            tally.cross_partition = 40;
            all.add(&tally);
        }
        Report::new(setup(), &all, Duration::from_secs(2))
    }

    #[test]
    fn clients_are_added_up() {
        let report = report();
        assert_eq!((report.commits, report.retries), (100, 6));
        assert_eq!(report.cross_partition, 80);
        assert_eq!(report.throughput, 50.0);
        assert_eq!((report.slowest_client, report.fairness), (50, 1.0));
        let latency = Latency {
            p50: 50,
            p90: 90,
            p99: 99,
            p999: 100,
            max: 100,
        };
        assert_eq!(report.latency_us, latency);
    }

    #[test]
    fn a_changed_total_or_an_unknown_outcome_is_a_violation() {
        let mut report = report();
        assert_eq!(report.violation(), None);
        (report.total_before, report.total_after) = (Some(1000), Some(1000));
        assert_eq!(report.violation(), None);
        report.total_after = Some(990);
        assert!(report.violation().unwrap().contains("(-10)"));
        report.total_after = Some(1000);
        report.unknown = 1;
        assert!(report.violation().unwrap().contains("NO KNOWN OUTCOME"));
    }

    #[test]
    fn a_counter_grows_by_what_was_added_and_a_starved_client_shows() {
        let mut report = report();
        (report.total_before, report.total_after) = (Some(5), Some(105));
        report.added = Some(100);
        assert_eq!(report.violation(), None);
        report.total_after = Some(104);
        let violation = report.violation().unwrap();
        assert!(
            violation.contains("100 was added, but it grew by 99"),
            "{violation}"
        );
        let mut all = Tally::new();
        for commits in [3, 9] {
            let mut tally = Tally::new();
            (0..commits).for_each(|_| tally.success(Duration::from_micros(1)));
            all.add(&tally);
        }
        let report = Report::new(setup(), &all, Duration::from_secs(1));
        assert_eq!((report.slowest_client, report.fairness), (3, 0.5));
    }

    #[test]
    fn the_json_has_the_names_that_scripts_read() {
        let json = serde_json::to_value(report()).unwrap();
        for name in [
            "throughput",
            "commits",
            "retries",
            "unknown",
            "cross_partition",
            "seconds",
            "clients",
            "conns",
            "slowest_client",
            "fairness",
        ] {
            assert!(json[name].is_number(), "{name}");
        }
        for name in ["p50", "p90", "p99", "p999", "max"] {
            assert!(json["latency_us"][name].is_u64(), "{name}");
        }
        assert!(json.get("total_before").is_none());
    }

    #[test]
    fn an_empty_run_has_no_throughput_and_no_fault() {
        let report = Report::new(setup(), &Tally::new(), Duration::ZERO);
        assert_eq!((report.throughput, report.latency_us.max), (0.0, 0));
        assert!(report.text().contains("throughput  0/s"));
    }
}
