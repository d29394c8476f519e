//! The clock-bound wait (protocol R6; Corbett et al., *Spanner*, section 4.1.2 "commit wait").
//!
//! ```text
//!   r drawn at latest                     answer may leave
//!   |------------------ 2b ------------------|
//!   |== reading, evaluating, replicating ==|~| <- only what is left is waited for
//! ```
//!
//! No answer leaves a node before that node's own `earliest` has passed every version that the answer
//! depends on: values, tombstones, absences, outcomes.

use crate::{Now, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Holds what must not be said before `earliest` has passed a version.
#[derive(Debug)]
pub struct ClockBoundWait<T> {
    waiting: BTreeMap<(Timestamp, u64), T>,
    sequence: u64,
}

impl<T> Default for ClockBoundWait<T> {
    fn default() -> Self {
        ClockBoundWait {
            waiting: BTreeMap::new(),
            sequence: 0,
        }
    }
}

impl<T> ClockBoundWait<T> {
    /// Whether what depends on `version` may be said now.
    pub fn is_over(now: &Now, version: Timestamp) -> bool {
        now.earliest() > version
    }

    /// Holds `answer` until `earliest` has passed `version`.
    pub fn hold(&mut self, version: Timestamp, answer: T) {
        self.sequence += 1;
        self.waiting.insert((version, self.sequence), answer);
    }

    /// Takes one answer whose wait is over, lowest version first.
    pub fn pop_ready(&mut self, now: &Now) -> Option<T> {
        let (version, _) = self.waiting.first_key_value()?.0;
        if !Self::is_over(now, *version) {
            return None;
        }
        self.waiting.pop_first().map(|(_, answer)| answer)
    }

    /// How long until the next answer may leave, by this clock; `None` if none waits or if the clock
    /// vouches for nothing.
    pub fn next_in(&self, now: &Now) -> Option<Duration> {
        let (version, _) = self.waiting.first_key_value()?.0;
        let bound = now.bound?;
        // `earliest` is rounded down to a microsecond and must be strictly above.
        let due = Duration::from_micros(version.micros() + 1) + bound;
        Some(due.saturating_sub(now.physical))
    }

    /// Takes everything that waits, whether its wait is over or not: the clock can no longer tell.
    pub fn take_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// How many answers wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Now {
        Now {
            monotonic: Duration::ZERO,
            physical: Duration::from_micros(micros),
            bound: Some(Duration::from_micros(50)),
        }
    }

    #[test]
    fn an_answer_leaves_when_earliest_has_passed_and_not_before() {
        let mut wait = ClockBoundWait::default();
        let version = Timestamp::from_micros(1_000).next();
        wait.hold(version, "answer");
        assert_eq!(wait.pop_ready(&at(1_050)), None);
        let rest = wait.next_in(&at(1_050)).unwrap();
        assert_eq!(rest, Duration::from_micros(1));
        assert_eq!(wait.pop_ready(&at(1_051)), Some("answer"));
        assert!(wait.is_empty());
    }

    #[test]
    fn lower_versions_leave_first_and_equal_ones_in_order() {
        let mut wait = ClockBoundWait::default();
        wait.hold(Timestamp::from_micros(20), 'c');
        wait.hold(Timestamp::from_micros(10), 'a');
        wait.hold(Timestamp::from_micros(10), 'b');
        let order: Vec<char> = std::iter::from_fn(|| wait.pop_ready(&at(1_000))).collect();
        assert_eq!(order, ['a', 'b', 'c']);
    }

    #[test]
    fn a_clock_that_vouches_for_nothing_releases_nothing() {
        let mut wait = ClockBoundWait::default();
        wait.hold(Timestamp::from_micros(10), ());
        let now = Now {
            bound: None,
            ..at(1_000_000)
        };
        assert_eq!(wait.pop_ready(&now), None);
        assert_eq!(wait.next_in(&now), None);
    }
}
