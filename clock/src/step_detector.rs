//! Whether this machine's physical clock runs as evenly as its bound says: physical time against
//! monotonic time.
//!
//! ```text
//!   physical - monotonic
//!        │            ┌────────  a step: at once
//!        │        ____│
//!        │ ──────'       a drift: slowly
//!        └───────────────────────► monotonic
//! ```
//!
//! True time lies within `physical ± bound` at both of two looks, and the oscillator behind monotonic
//! time is off by no more than [`DRIFT_PPM_MAX`]. So between the looks the two clocks can move apart by
//! the sum of both bounds and what the drift allows; more is a proof that the bound was broken at one
//! of the two (Marzullo and Owicki, *Maintaining the Time in a Distributed System*, 1983: intervals that
//! do not meet cannot both be right). Less proves nothing: what a clock does inside its bound is its own
//! affair.
//!
//! Looks are compared with an anchor of up to [`ANCHOR_FOR`] ago, so many small steps add up.

use crate::Now;
use std::time::Duration;

/// How far an oscillator may be off, parts per million: the kernel's own worst assumption.
pub const DRIFT_PPM_MAX: u32 = 500;
/// An anchor is replaced when it is as old as this, by one of half this age.
pub const ANCHOR_FOR: Duration = Duration::from_secs(60);
/// The two clocks are not read at one instant: differences up to this mean nothing.
pub const READING_SLACK: Duration = Duration::from_micros(250);

/// The physical clock moved otherwise than its bound allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Departure {
    /// How far it moved ahead of monotonic time; negative: behind. Nanoseconds.
    pub by_ns: i64,
    /// Over how much monotonic time.
    pub within: Duration,
    /// What the bounds and the drift allowed.
    pub allowed: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    monotonic: Duration,
    physical: Duration,
    bound: Duration,
}

/// Compares each look at the clocks with an earlier one.
#[derive(Clone, Debug, Default)]
pub struct StepDetector {
    anchor: Option<Look>,
    /// The next anchor.
    younger: Option<Look>,
    previous: Option<Look>,
}

impl StepDetector {
    /// Takes one reading. A departure is told once: the next looks are compared with this one.
    pub fn look(&mut self, now: &Now) -> Option<Departure> {
        let bound = now.bound.or(self.previous.map(|look| look.bound));
        let look = Look {
            monotonic: now.monotonic,
            physical: now.physical,
            bound: bound.unwrap_or_default(),
        };
        let previous = self.previous.replace(look);
        let anchor = *self.anchor.get_or_insert(look);
        let since_previous = previous.and_then(|previous| departure(previous, look));
        let departure = since_previous.or_else(|| departure(anchor, look));
        if departure.is_some() {
            self.anchor = Some(look);
            self.younger = None;
        } else if look.monotonic.saturating_sub(anchor.monotonic) >= ANCHOR_FOR {
            self.anchor = self.younger.replace(look).or(Some(look));
        } else if self.younger.is_none()
            && look.monotonic.saturating_sub(anchor.monotonic) >= ANCHOR_FOR / 2
        {
            self.younger = Some(look);
        }
        departure
    }
}

fn departure(from: Look, to: Look) -> Option<Departure> {
    let within = to.monotonic.saturating_sub(from.monotonic);
    let by_ns = signed(to.physical, from.physical) - within.as_nanos() as i64;
    let drift = within * DRIFT_PPM_MAX / 1_000_000;
    let allowed = from.bound + to.bound + drift + READING_SLACK;
    let departed = u128::from(by_ns.unsigned_abs()) > allowed.as_nanos();
    departed.then_some(Departure {
        by_ns,
        within,
        allowed,
    })
}

/// `a - b` in nanoseconds; so far apart that it does not fit, as far as it does.
fn signed(a: Duration, b: Duration) -> i64 {
    let difference = a.as_nanos() as i128 - b.as_nanos() as i128;
    difference.clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND_US: i64 = 500;

    fn at(monotonic_ms: u64, offset_us: i64) -> Now {
        let monotonic = Duration::from_millis(monotonic_ms);
        let base = Duration::from_secs(1_790_000_000) + monotonic;
        let offset = Duration::from_micros(offset_us.unsigned_abs());
        Now {
            monotonic,
            physical: if offset_us < 0 {
                base - offset
            } else {
                base + offset
            },
            bound: Some(Duration::from_micros(BOUND_US as u64)),
        }
    }

    #[test]
    fn a_step_is_told_once_forward_and_backward() {
        for step in [3_000_000, -3_000_000] {
            let mut detector = StepDetector::default();
            assert_eq!(detector.look(&at(0, 0)), None);
            assert_eq!(detector.look(&at(10, 0)), None);
            let told = detector.look(&at(20, step)).expect("a step of 3 s");
            assert_eq!(told.by_ns, step * 1000);
            assert_eq!(
                told.within,
                Duration::from_millis(10),
                "since the last look"
            );
            assert_eq!(detector.look(&at(30, step)), None, "it is steady again");
        }
    }

    #[test]
    fn whatever_a_clock_does_inside_its_bound_is_no_departure() {
        let mut detector = StepDetector::default();
        for look in 0..200_000u64 {
            let offset = if look % 2 == 0 { BOUND_US } else { -BOUND_US };
            assert_eq!(detector.look(&at(look * 7, offset)), None, "look {look}");
        }
    }

    #[test]
    fn small_steps_and_drifts_add_up() {
        let mut detector = StepDetector::default();
        // 2000 ppm: 2 us a millisecond.
        let found = (0..60_000u64)
            .step_by(10)
            .find_map(|ms| Some((ms, detector.look(&at(ms, 2 * ms as i64))?)));
        let (ms, departure) = found.expect("a drift of 2000 ppm is found");
        assert!((700..=900).contains(&ms), "after {ms} ms: {departure:?}");
    }

    #[test]
    fn a_drift_that_an_oscillator_may_have_is_none() {
        let mut detector = StepDetector::default();
        for ms in (0..600_000u64).step_by(100) {
            assert_eq!(detector.look(&at(ms, ms as i64 * 2 / 5)), None, "{ms} ms");
        }
    }

    #[test]
    fn a_step_is_seen_also_while_nothing_is_vouched_for() {
        let mut detector = StepDetector::default();
        let unvouched = |now: Now| Now { bound: None, ..now };
        assert_eq!(detector.look(&at(0, 0)), None);
        assert_eq!(detector.look(&unvouched(at(10, 0))), None);
        assert!(detector.look(&unvouched(at(20, 9_000))).is_some());
    }
}
