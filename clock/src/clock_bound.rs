//! How sure we are of the time (pattern Clock-Bound; Corbett et al., *Spanner*, 2012, section 3:
//! TrueTime gives an interval, not a point).

use crate::Timestamp;
use std::time::Duration;

/// One reading of this machine's clocks, given to every state machine with every event.
///
/// Nothing outside an `io/` folder reads a clock: the driver reads once a turn and passes it down, so
/// a simulator can pass whatever it wants to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds on a clock that never steps, from an arbitrary origin. For timeouts only.
    pub monotonic: Duration,
    /// Nanoseconds since 1970 as the physical clock reads.
    pub physical: Duration,
    /// The time source vouches that true time lies within `physical ± bound`. `None`: it vouches for
    /// nothing, and the node must not begin, acknowledge or reveal anything strong.
    pub bound: Option<Duration>,
}

impl Now {
    /// True time is not before this. `ZERO` if nothing is vouched for.
    ///
    /// From the physical clock alone, never from a hybrid clock plus a bound: otherwise time runs
    /// away as nodes ratchet each other (protocol, *Clocks talk*).
    pub fn earliest(&self) -> Timestamp {
        match self.bound {
            Some(bound) => floor_to_timestamp(self.physical.saturating_sub(bound)),
            None => Timestamp::ZERO,
        }
    }

    /// True time is not after this. The plain physical reading, rounded up, if nothing is vouched for.
    pub fn latest(&self) -> Timestamp {
        let bound = self.bound.unwrap_or_default();
        ceil_to_timestamp(self.physical.saturating_add(bound))
    }

    /// Whether the time source vouches for a bound at all.
    pub fn is_vouched(&self) -> bool {
        self.bound.is_some()
    }
}

fn floor_to_timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::from_micros(since_1970.as_micros() as u64)
}

fn ceil_to_timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::from_micros(since_1970.as_nanos().div_ceil(1000) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_is_rounded_outwards() {
        let now = Now {
            monotonic: Duration::ZERO,
            physical: Duration::from_nanos(10_000_500),
            bound: Some(Duration::from_nanos(500_000)),
        };
        assert_eq!(now.earliest(), Timestamp::from_micros(9_500));
        assert_eq!(now.latest(), Timestamp::from_micros(10_501));
    }

    #[test]
    fn a_source_that_vouches_for_nothing_lets_no_wait_end() {
        let now = Now {
            monotonic: Duration::ZERO,
            physical: Duration::from_secs(9),
            bound: None,
        };
        assert_eq!(now.earliest(), Timestamp::ZERO);
        assert!(!now.is_vouched());
    }
}
