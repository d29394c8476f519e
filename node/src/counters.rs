//! What a node counts as it works: plain numbers, read by whoever serves metrics.
//!
//! Invariant: what is under way is bounded: a commit is timed from its arrival to its answer, and
//! forgotten with its connection; a batch of the log from its hand-over until it is durable.

use std::collections::BTreeMap;
use std::time::Duration;
use txn::ClientTag;
use wire::message::{AbortReason, ClientAnswer, ClientReply, ClientRequest, RequestError};

/// Upper borders of a distribution's buckets, microseconds; one more bucket has no border.
pub const BUCKETS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    2_500_000, 10_000_000,
];
/// The most commits that are timed at once; others are counted only.
const TIMED_MAX: usize = 20_000;
/// A batch of the log that took longer is named in the log of the program.
const LOG_SLOW: Duration = Duration::from_millis(50);

/// How long things took.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distribution {
    /// How many took at most as long as the border of the same place, and longer than the one before;
    /// the last: longer than all.
    pub counts: [u64; BUCKETS_US.len() + 1],
    /// All together.
    pub sum: Duration,
}

impl Distribution {
    fn add(&mut self, took: Duration) {
        let us = took.as_micros() as u64;
        let bucket = BUCKETS_US.partition_point(|border| *border < us);
        self.counts[bucket] += 1;
        self.sum += took;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// See the module's page. All counts are since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Commits of clients that were told committed.
    pub commits: u64,
    /// Commits of clients that were told aborted, by reason.
    pub aborts: BTreeMap<&'static str, u64>,
    /// Reads of clients that were answered.
    pub reads: u64,
    /// Requests of clients that were not served, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// From a commit's arrival at this gateway to its answer *committed*.
    pub commit_times: Distribution,
    /// From the hand-over of a batch to the log until it is durable.
    pub log_times: Distribution,
    timed: BTreeMap<(u64, u64), Duration>,
    logging: BTreeMap<u64, Duration>,
}

impl Counters {
    pub(crate) fn on_request(&mut self, now: Duration, client: ClientTag, request: &ClientRequest) {
        if matches!(request, ClientRequest::Commit(_)) && self.timed.len() < TIMED_MAX {
            self.timed.insert((client.connection, client.number), now);
        }
    }

    pub(crate) fn on_answer(&mut self, now: Duration, client: ClientTag, reply: &ClientReply) {
        let begun = self.timed.remove(&(client.connection, client.number));
        match reply {
            Ok(ClientAnswer::Committed(_)) => {
                self.commits += 1;
                if let Some(begun) = begun {
                    self.commit_times.add(now.saturating_sub(begun));
                }
            }
            Ok(ClientAnswer::Aborted(aborted)) => {
                *self.aborts.entry(abort_word(&aborted.reason)).or_default() += 1;
            }
            Ok(ClientAnswer::Read { .. }) => self.reads += 1,
            Ok(_) => {}
            Err(error) => *self.refused.entry(refusal_word(error)).or_default() += 1,
        }
    }

    pub(crate) fn on_client_gone(&mut self, connection: u64) {
        let of_it = (connection, 0)..=(connection, u64::MAX);
        let gone: Vec<_> = self.timed.range(of_it).map(|(tag, _)| *tag).collect();
        for tag in gone {
            self.timed.remove(&tag);
        }
    }

    pub(crate) fn on_logged(&mut self, now: Duration, sequence: u64) {
        self.logging.insert(sequence, now);
    }

    pub(crate) fn on_durable(&mut self, now: Duration, sequence: u64) {
        let mut longest = Duration::ZERO;
        while let Some(first) = self.logging.first_entry()
            && *first.key() <= sequence
        {
            let took = now.saturating_sub(first.remove());
            longest = longest.max(took);
            self.log_times.add(took);
        }
        if longest >= LOG_SLOW {
            tracing::info!(took = ?longest, "the log's disk was slow");
        }
    }
}

fn abort_word(reason: &AbortReason) -> &'static str {
    match reason {
        AbortReason::Guard { .. } => "guard",
        AbortReason::Operation { .. } => "operation",
        AbortReason::Changed { .. } => "changed",
        AbortReason::Contention { .. } => "contention",
        AbortReason::HotKey { .. } => "hot_key",
        AbortReason::Expired => "expired",
        AbortReason::Closed => "closed",
        AbortReason::OtherIdentity => "other_identity",
        AbortReason::BelowHorizon { .. } => "below_horizon",
        AbortReason::DiskFull { .. } => "disk_full",
    }
}

fn refusal_word(error: &RequestError) -> &'static str {
    match error {
        RequestError::ClockUnusable { .. } => "clock_unusable",
        RequestError::Overloaded { .. } => "overloaded",
        RequestError::Unavailable { .. } => "unavailable",
        RequestError::LockWait { .. } => "lock_wait",
        RequestError::NotFounded { .. } => "not_founded",
        _ => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Timestamp;
    use wire::message::{Aborted, Committed};

    const CLIENT: ClientTag = ClientTag {
        connection: 2,
        number: 3,
    };

    #[test]
    fn answers_are_counted_by_what_they_say_and_commits_timed() {
        let mut counters = Counters::default();
        let begin = |counters: &mut Counters| {
            counters.timed.insert((2, 3), Duration::from_millis(10));
        };
        begin(&mut counters);
        let committed = Ok(ClientAnswer::Committed(Committed {
            at: Timestamp::ZERO,
            results: vec![],
            attempts: 1,
            partitions: 1,
        }));
        counters.on_answer(Duration::from_millis(13), CLIENT, &committed);
        begin(&mut counters);
        let aborted = Ok(ClientAnswer::Aborted(Aborted {
            reason: AbortReason::Expired,
            durable: true,
        }));
        counters.on_answer(Duration::from_millis(99), CLIENT, &aborted);
        let refused = Err(RequestError::Overloaded { retry_ms: 1 });
        counters.on_answer(Duration::from_millis(99), CLIENT, &refused);
        assert_eq!(counters.commits, 1);
        assert_eq!(counters.aborts, BTreeMap::from([("expired", 1)]));
        assert_eq!(counters.refused, BTreeMap::from([("overloaded", 1)]));
        assert_eq!(counters.commit_times.count(), 1, "only what committed");
        assert_eq!(counters.commit_times.counts[5], 1, "3 ms is at most 5 ms");
        begin(&mut counters);
        counters.on_client_gone(2);
        assert!(counters.timed.is_empty());
    }

    #[test]
    fn a_batch_is_timed_until_it_or_a_later_one_is_durable() {
        let mut counters = Counters::default();
        counters.on_logged(Duration::from_millis(1), 7);
        counters.on_logged(Duration::from_millis(2), 8);
        counters.on_durable(Duration::from_millis(4), 8);
        assert_eq!(counters.log_times.count(), 2);
        assert_eq!(counters.log_times.sum, Duration::from_millis(5));
    }
}
