//! The hybrid clock: physical time that never goes back and moves up to every stamp it hears
//! (pattern Hybrid Clock).

use crate::{Now, Timestamp};
use std::time::Duration;

/// A stamp was refused: it lies further ahead of this node's `latest` than the allowed drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stamp of {stamp} is {} us ahead of this node's latest possible time {latest}, more than the allowed {} us", .stamp.since(*.latest).as_micros(), .drift_max.as_micros())]
pub struct DriftExceeded {
    /// The stamp that was heard.
    pub stamp: Timestamp,
    /// This node's `latest` when it was heard.
    pub latest: Timestamp,
    /// The allowed drift.
    pub drift_max: Duration,
}

/// No timestamp can be issued now: it would lie above what is durable as this node's ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "timestamp {wanted} lies above this node's durable ceiling {ceiling}: its log has not taken a write for over a second"
)]
pub struct CeilingReached {
    /// What the clock would have issued.
    pub wanted: Timestamp,
    /// The highest timestamp that may be issued.
    pub ceiling: Timestamp,
}

/// Issues the timestamps of one node.
///
/// Invariants: what it issues grows strictly; it is at least `now.latest()`; it is never above the
/// durable ceiling, so a restarted node, which starts from its ceiling, issues nothing twice.
#[derive(Clone, Debug)]
pub struct HybridClock {
    last: Timestamp,
    ceiling: Timestamp,
    drift_max: Duration,
}

impl HybridClock {
    /// A clock that has issued or heard everything up to `last` (after a restart: the ceiling).
    pub fn new(last: Timestamp, drift_max: Duration) -> HybridClock {
        HybridClock {
            last,
            ceiling: Timestamp::ZERO,
            drift_max,
        }
    }

    /// The next timestamp: above everything issued or heard, at least `now.latest()`.
    pub fn timestamp(&mut self, now: &Now) -> Result<Timestamp, CeilingReached> {
        let wanted = now.latest().max(self.last.next());
        if wanted > self.ceiling {
            return Err(CeilingReached {
                wanted,
                ceiling: self.ceiling,
            });
        }
        self.last = wanted;
        Ok(wanted)
    }

    /// The stamp that a message leaving now carries: the highest issued or heard. It issues nothing.
    pub fn stamp(&self) -> Timestamp {
        self.last
    }

    /// Moves up to a stamp heard from another node, or refuses it if it lies too far ahead.
    pub fn observe(&mut self, now: &Now, stamp: Timestamp) -> Result<(), DriftExceeded> {
        self.check_drift(now, stamp)?;
        self.last = self.last.max(stamp);
        Ok(())
    }

    /// Refuses a timestamp further ahead of `now.latest()` than the allowed drift.
    pub fn check_drift(&self, now: &Now, stamp: Timestamp) -> Result<(), DriftExceeded> {
        let latest = now.latest();
        if stamp > latest.plus(self.drift_max) {
            return Err(DriftExceeded {
                stamp,
                latest,
                drift_max: self.drift_max,
            });
        }
        Ok(())
    }

    /// The ceiling is durable up to here. It never shrinks.
    pub fn raise_ceiling(&mut self, durable: Timestamp) {
        self.ceiling = self.ceiling.max(durable);
    }

    /// The highest timestamp that may be issued or promised.
    pub fn ceiling(&self) -> Timestamp {
        self.ceiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Now {
        Now {
            monotonic: Duration::ZERO,
            physical: Duration::from_micros(micros),
            bound: Some(Duration::from_micros(10)),
        }
    }

    fn clock() -> HybridClock {
        let mut clock = HybridClock::new(Timestamp::ZERO, Duration::from_millis(1));
        clock.raise_ceiling(Timestamp::from_micros(10_000));
        clock
    }

    #[test]
    fn it_grows_when_physical_time_stands_or_steps_back() {
        let mut clock = clock();
        let first = clock.timestamp(&at(100)).unwrap();
        assert_eq!(first, Timestamp::from_micros(110));
        assert_eq!(clock.timestamp(&at(100)), Ok(first.next()));
        assert_eq!(clock.timestamp(&at(50)), Ok(first.next().next()));
    }

    #[test]
    fn it_moves_up_to_what_it_hears_but_not_beyond_the_drift() {
        let mut clock = clock();
        let heard = Timestamp::from_micros(900);
        clock.observe(&at(100), heard).unwrap();
        assert_eq!(clock.timestamp(&at(100)), Ok(heard.next()));
        let too_far = Timestamp::from_micros(100 + 10 + 1000 + 1);
        assert!(clock.observe(&at(100), too_far).is_err());
        assert_eq!(
            clock.stamp(),
            heard.next(),
            "a refused stamp must not move the clock"
        );
    }

    #[test]
    fn hearing_does_not_move_latest() {
        let mut clock = clock();
        clock
            .observe(&at(100), Timestamp::from_micros(1_100))
            .unwrap();
        // Another drift's worth further ahead is still measured from physical time.
        assert!(
            clock
                .observe(&at(100), Timestamp::from_micros(2_000))
                .is_err()
        );
    }

    #[test]
    fn nothing_is_issued_above_the_durable_ceiling() {
        let mut clock = clock();
        let refused = clock.timestamp(&at(10_000)).unwrap_err();
        assert_eq!(refused.ceiling, Timestamp::from_micros(10_000));
        clock.raise_ceiling(Timestamp::from_micros(20_000));
        assert!(clock.timestamp(&at(10_000)).is_ok());
    }
}
