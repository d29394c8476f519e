//! Other nodes' clocks, seen from this one (the exchange of NTP: Mills, RFC 5905, section 8; the
//! judgement of Marzullo and Owicki, 1983).
//!
//! ```text
//!   here    probe sent ───────────────────────────► reading received
//!                       ╲                          ╱
//!   there                ╲──► its clock is read ──╱     somewhere in between
//! ```
//!
//! The other's interval, widened by the whole round trip, holds true time at the receipt if its bound
//! holds. If it does not meet this node's own interval, one of the two bounds is broken. Whose, only a
//! majority can tell: a node that more than half of those who vouch contradict takes itself for the
//! broken one. *With two left that contradict each other, both do: nobody can tell who is right.* Who
//! knows its own clock to be wrong counts against nobody, and one that has just started only against
//! others that have: so a node that comes back with a wrong clock takes nobody with it.
//!
//! Invariants:
//! - a reading is compared with this node's clock as it was read in the same turn;
//! - an answer counts once, and only to a probe of this life.

use clock::Now;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::NodeId;
use wire::message::{ClockCause, ClockReading, ClockStanding, PeerClock};

/// Probes to one node that may still be answered.
const UNANSWERED_MAX: usize = 16;
/// What a node said counts for so many times the pause between probes.
const VALID_FOR_PROBES: u32 = 4;
/// After its first answer a new node waits so long for more than one, if there are more.
const ENOUGH_AFTER: Duration = Duration::from_secs(1);

/// One comparison.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    at: Duration,
    /// The other's clock less this one's, to the middle of the way, nanoseconds.
    ahead_ns: i64,
    within: Duration,
    bound: Option<Duration>,
    agrees: Option<bool>,
    standing: ClockStanding,
}

/// What is known of the other nodes' clocks.
#[derive(Debug)]
pub(crate) struct ClockPeers {
    sequence: u64,
    sent: BTreeMap<NodeId, BTreeMap<u64, Duration>>,
    compared: BTreeMap<NodeId, Comparison>,
    /// How many other nodes there are.
    others: usize,
    valid_for: Duration,
    first_answer: Option<Duration>,
}

impl ClockPeers {
    /// `first`: the first probe's number, above those of earlier starts.
    pub(crate) fn new(probe_every: Duration, others: usize, first: u64) -> ClockPeers {
        ClockPeers {
            sequence: first,
            sent: BTreeMap::new(),
            compared: BTreeMap::new(),
            others,
            valid_for: probe_every * VALID_FOR_PROBES,
            first_answer: None,
        }
    }

    /// How many other nodes there are; the numbers go on above `first`.
    pub(crate) fn set_others(&mut self, others: usize, first: u64) {
        self.others = others;
        self.sequence = self.sequence.max(first);
    }

    /// The number of a probe that leaves now.
    pub(crate) fn probe(&mut self, to: NodeId, monotonic: Duration) -> u64 {
        self.sequence += 1;
        let sent = self.sent.entry(to).or_default();
        sent.insert(self.sequence, monotonic);
        while sent.len() > UNANSWERED_MAX {
            sent.pop_first();
        }
        self.sequence
    }

    /// The answer to a probe. `raw` was read after it had arrived.
    pub(crate) fn on_reading(&mut self, raw: &Now, from: NodeId, reading: &ClockReading) {
        let sent = self.sent.get_mut(&from);
        let Some(sent) = sent.and_then(|sent| sent.remove(&reading.sequence)) else {
            return;
        };
        let round_trip = raw.monotonic.saturating_sub(sent);
        let theirs = Duration::from_nanos(reading.physical_ns);
        let bound = reading.bound_ns.map(Duration::from_nanos);
        let agrees = raw.bound.zip(bound).map(|(own, bound)| {
            let earliest = raw.physical.saturating_sub(own);
            let latest = raw.physical.saturating_add(own);
            theirs.saturating_sub(bound) <= latest
                && earliest <= theirs.saturating_add(bound).saturating_add(round_trip)
        });
        let half = round_trip / 2;
        let ahead = theirs.as_nanos() as i128 + half.as_nanos() as i128;
        let ahead = ahead - raw.physical.as_nanos() as i128;
        let comparison = Comparison {
            at: raw.monotonic,
            ahead_ns: ahead.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
            within: half,
            bound,
            agrees,
            standing: reading.standing,
        };
        self.compared.insert(from, comparison);
        self.first_answer.get_or_insert(raw.monotonic);
    }

    /// This node's clock stepped: nothing that was compared with it holds any more.
    pub(crate) fn forget_readings(&mut self) {
        self.compared.clear();
        self.sent.clear();
    }

    fn valid(&self, now: Duration) -> impl Iterator<Item = (NodeId, &Comparison)> {
        let is_valid = move |c: &Comparison| now.saturating_sub(c.at) <= self.valid_for;
        let all = self.compared.iter().map(|(node, c)| (*node, c));
        all.filter(move |(_, c)| is_valid(c))
    }

    /// What most of those say who vouch for their clocks, if it contradicts this node's, which was or was
    /// not relied on in this life.
    pub(crate) fn contradiction(&self, now: Duration, is_new: bool) -> Option<ClockCause> {
        let counts = |c: &Comparison| match c.standing {
            ClockStanding::ReliedOn => true,
            ClockStanding::New => is_new,
            ClockStanding::Doubted => false,
        };
        let voices: Vec<_> = self
            .valid(now)
            .filter(|(_, c)| counts(c))
            .filter_map(|(_, c)| Some((c.agrees?, c.ahead_ns)))
            .collect();
        let against: Vec<i64> = voices
            .iter()
            .filter(|(agrees, _)| !agrees)
            .map(|(_, ahead)| *ahead)
            .collect();
        if against.len() * 2 <= voices.len() {
            return None;
        }
        let nearest = against.iter().min_by_key(|ahead| ahead.unsigned_abs());
        Some(ClockCause::Contradicted {
            off_us: nearest.map_or(0, |ahead| -ahead / 1000),
            against: against.len() as u32,
            heard: voices.len() as u32,
        })
    }

    /// Whether a node that has just started has compared with enough others: with as many as make a
    /// majority with it, or with whom it could for a while.
    pub(crate) fn is_enough(&self, now: Duration) -> bool {
        let heard = self.valid(now).count();
        let waited = |first: Duration| now.saturating_sub(first) >= ENOUGH_AFTER;
        (heard + 1) * 2 > self.others + 1 || heard > 0 && self.first_answer.is_some_and(waited)
    }

    /// What physical time a majority of all nodes stand for, without this one: their median, of two the
    /// lower, for to guess too high would cost more.
    pub(crate) fn majority_time(&self, raw: &Now) -> Option<Duration> {
        let mut ahead: Vec<i64> = self
            .valid(raw.monotonic)
            .filter(|(_, c)| c.bound.is_some() && c.standing != ClockStanding::Doubted)
            .map(|(_, c)| c.ahead_ns)
            .collect();
        if ahead.is_empty() || ahead.len() * 2 <= self.others + 1 {
            return None;
        }
        ahead.sort_unstable();
        let median = ahead[(ahead.len() - 1) / 2];
        let offset = Duration::from_nanos(median.unsigned_abs());
        Some(match median < 0 {
            true => raw.physical.saturating_sub(offset),
            false => raw.physical.saturating_add(offset),
        })
    }

    /// How a node's clock compares, for status.
    pub(crate) fn of(&self, now: Duration, node: NodeId) -> Option<PeerClock> {
        let (_, comparison) = self.valid(now).find(|(of, _)| *of == node)?;
        Some(PeerClock {
            ahead_us: comparison.ahead_ns / 1000,
            within_us: comparison.within.as_micros() as u64,
            bound_us: comparison.bound.map(|bound| bound.as_micros() as u64),
            agrees: comparison.agrees,
        })
    }

    /// The nodes whose clocks contradict this one's.
    pub(crate) fn contradicting(&self, now: Duration) -> Vec<NodeId> {
        let against = self.valid(now).filter(|(_, c)| c.agrees == Some(false));
        against.map(|(node, _)| node).collect()
    }
}
