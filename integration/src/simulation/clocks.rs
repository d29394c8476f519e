//! Each node's clocks: true time, seen through an offset that leaves the node's bound only if the clock
//! is broken on purpose ([`ClockBreak`]).
//!
//! Invariants:
//! - unless it is broken, `|physical - true| <= bound` at every reading, however the clock moves:
//!   constant, drifting to and fro, or jumping (also backwards). This is the contract of `clock`, so
//!   everything that the protocol promises must hold;
//! - with broken clocks the real-time order may be lost, and nothing else.
//! - The monotonic clock of a node never steps; it counts from its last start.

use super::scenario::nanoseconds;
use clock::{Now, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wire::SplitMix64;

/// True time at the start of every run, since 1970.
pub const START_OF_TIME: Duration = Duration::from_secs(1_790_000_000);

/// True time as a timestamp, rounded down.
pub fn true_timestamp(now: Duration) -> Timestamp {
    Timestamp::from_micros((START_OF_TIME + now).as_micros() as u64)
}

/// How a physical clock moves inside its bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClockMotion {
    /// The offset stays, given in thousandths of the bound, -1000 to 1000.
    Constant(i32),
    /// The offset runs between the edges of the bound, once to and fro in this time.
    Drifting {
        /// The time of one whole swing.
        #[serde(with = "nanoseconds")]
        period: Duration,
    },
    /// A new offset each time this has passed.
    Jumping {
        /// The time between jumps.
        #[serde(with = "nanoseconds")]
        every: Duration,
    },
}

/// How a clock leaves its bound. It goes on moving inside of it around the wrong time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockBreak {
    /// Set to another time; set back when it is mended.
    Step {
        /// Forward; negative: backward.
        by_ns: i64,
    },
    /// Set and set back, again and again.
    Strobe {
        /// Forward; negative: backward.
        by_ns: i64,
        /// The time from one to the next.
        every: Duration,
    },
    /// Too fast or too slow, from now on; set right when it is mended.
    Drift {
        /// Too fast; negative: too slow. Parts per million.
        ppm: i64,
    },
    /// Its source vouches for nothing.
    Unvouched,
}

impl ClockBreak {
    /// One drawn at random, for a clock with this bound: from just beyond it to hours.
    pub fn draw(random: &mut SplitMix64, bound: Duration) -> ClockBreak {
        let bound = bound.as_nanos() as i64;
        let by = match random.below(4) {
            0 => bound / 2 + 1,
            1 => 2 * bound + 1_000_000,
            2 => 1000 * bound + 1_000_000_000,
            _ => 3_600_000_000_000,
        };
        let by_ns = if random.chance(1, 2) { by } else { -by };
        match random.below(5) {
            0 => ClockBreak::Unvouched,
            1 => {
                let ppm = 300 + random.below(100_000) as i64;
                ClockBreak::Drift {
                    ppm: if by_ns < 0 { -ppm } else { ppm },
                }
            }
            2 => ClockBreak::Strobe {
                by_ns,
                every: Duration::from_millis(5 + random.below(700)),
            },
            _ => ClockBreak::Step { by_ns },
        }
    }

    /// How far the clock is off, so long after it broke, nanoseconds.
    fn offset_ns(self, since: Duration) -> i64 {
        match self {
            ClockBreak::Step { by_ns } => by_ns,
            ClockBreak::Strobe { by_ns, every } => {
                let times = since.as_nanos() / every.as_nanos().max(1);
                if times.is_multiple_of(2) { by_ns } else { 0 }
            }
            ClockBreak::Drift { ppm } => (since.as_nanos() as i64 / 1_000_000) * ppm,
            ClockBreak::Unvouched => 0,
        }
    }
}

/// The clocks of one node.
#[derive(Clone, Debug)]
pub struct NodeClock {
    bound: Duration,
    motion: ClockMotion,
    seed: u64,
    started: Duration,
    /// How it is broken, and since when.
    broken: Option<(ClockBreak, Duration)>,
}

impl NodeClock {
    /// A clock with its bound.
    pub fn new(bound: Duration, motion: ClockMotion, seed: u64) -> NodeClock {
        NodeClock {
            bound,
            motion,
            seed,
            started: Duration::ZERO,
            broken: None,
        }
    }

    /// The node starts: its monotonic clock begins anew.
    pub fn start(&mut self, now: Duration) {
        self.started = now;
    }

    /// The clock moves otherwise from now on; inside its bound as before.
    pub fn set_motion(&mut self, motion: ClockMotion) {
        self.motion = motion;
    }

    /// From now on it is outside its bound, until it is mended.
    pub fn break_as(&mut self, how: ClockBreak, now: Duration) {
        self.broken = Some((how, now));
    }

    /// Whether it is out of its bound, or vouched for by nobody.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// It is right again.
    pub fn mend(&mut self) {
        self.broken = None;
    }

    /// One reading at the true time `now`.
    pub fn read(&self, now: Duration) -> Now {
        let offset = self.offset_ns(now);
        let bound = self.bound.as_nanos() as i64;
        assert!(
            offset.abs() <= bound,
            "a simulated clock left its bound: offset {offset} ns, bound {bound} ns"
        );
        let wrong = self
            .broken
            .map_or(0, |(how, since)| how.offset_ns(now.saturating_sub(since)));
        let offset = offset + wrong;
        let truth = START_OF_TIME + now;
        let physical = if offset < 0 {
            truth - Duration::from_nanos(offset.unsigned_abs())
        } else {
            truth + Duration::from_nanos(offset.unsigned_abs())
        };
        let is_unvouched = matches!(self.broken, Some((ClockBreak::Unvouched, _)));
        Now {
            monotonic: now.saturating_sub(self.started),
            physical,
            bound: (!is_unvouched).then_some(self.bound),
        }
    }

    fn offset_ns(&self, now: Duration) -> i64 {
        let bound = self.bound.as_nanos() as i64;
        match self.motion {
            ClockMotion::Constant(thousandths) => {
                (i128::from(bound) * i128::from(thousandths.clamp(-1000, 1000)) / 1000) as i64
            }
            ClockMotion::Drifting { period } => {
                let period = period.as_nanos().max(4) as i128;
                let phase = (now.as_nanos() as i128 + i128::from(self.seed >> 24)) % period;
                let half = period / 2;
                let height = if phase < half { phase } else { period - phase };
                ((2 * height - half) * i128::from(bound) / half.max(1))
                    .clamp(i128::from(-bound), i128::from(bound)) as i64
            }
            ClockMotion::Jumping { every } => {
                let jump = (now.as_nanos() / every.as_nanos().max(1)) as u64;
                let mut random = SplitMix64::new(self.seed ^ jump.wrapping_mul(0x9e37_79b9));
                random.below(2 * bound as u64 + 1) as i64 - bound
            }
        }
    }
}

/// A motion drawn at random.
pub fn draw_motion(random: &mut SplitMix64) -> ClockMotion {
    match random.below(5) {
        0 => ClockMotion::Constant(1000),
        1 => ClockMotion::Constant(-1000),
        2 => ClockMotion::Constant(random.below(2001) as i32 - 1000),
        3 => ClockMotion::Drifting {
            period: Duration::from_millis(200 + random.below(8000)),
        },
        _ => ClockMotion::Jumping {
            every: Duration::from_millis(20 + random.below(2000)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_motion_leaves_the_bound_and_each_comes_near_its_edges() {
        let bound = Duration::from_millis(7);
        let mut random = SplitMix64::new(3);
        for round in 0..40 {
            let motion = draw_motion(&mut random);
            let clock = NodeClock::new(bound, motion, random.next_u64());
            let mut widest = 0;
            for step in 0..2000u64 {
                let now = Duration::from_nanos(step * 9_000_017);
                let reading = clock.read(now);
                let truth = (START_OF_TIME + now).as_nanos() as i128;
                let offset = reading.physical.as_nanos() as i128 - truth;
                widest = widest.max(offset.abs());
                assert!(reading.earliest() <= true_timestamp(now), "round {round}");
                assert!(reading.latest() >= true_timestamp(now), "round {round}");
            }
            assert!(widest <= bound.as_nanos() as i128);
            if !matches!(motion, ClockMotion::Constant(_)) {
                assert!(widest > 3_500_000, "{motion:?} reached only {widest} ns");
            }
        }
    }
}
