//! Whether this node may rely on its clock (patterns Clock-Bound, HeartBeat; Marzullo and Owicki,
//! *Maintaining the Time in a Distributed System*, 1983).
//!
//! ```text
//!              anything wrong                        good for `wait`, without a break
//!   Relied on ───────────────► Quarantined ────────────────────────────────────────► Relied on
//!                                 ▲ at a start, until other nodes' clocks were compared
//! ```
//!
//! Wrong is: the source vouches for nothing, or for less than is of use; the clock steps or drifts more
//! than its bound allows; most of the other nodes contradict it; it is behind what was issued by it.
//! Each reading is judged **before** anything is drawn from it, so a step is never believed first.
//!
//! In quarantine the node lives by a guess: the last reading that was relied on, carried on by monotonic
//! time, or what a majority of the other nodes say. It vouches for nothing then (`bound: None`), so
//! nothing strong is begun, acknowledged or revealed. Nothing but availability rests on the guess: the
//! node's durable ceiling follows it, and which promises it accepts. *Were the ceiling to follow a clock
//! that stepped an hour ahead, its vote would later tell a promise of in an hour, and every write would
//! wait that long.*
//!
//! Invariants:
//! - a reading that is known to break its bound is never passed on with a bound;
//! - the ceiling is never raised after a reading that was never compared with anybody's
//!   ([`Judged::is_grounded`]);
//! - no flapping: each quarantine within [`REMEMBERED_FOR`] of the last doubles the wait.

mod peers;

pub(crate) use peers::ClockPeers;

use clock::{Departure, Now, StepDetector, Timestamp};
use std::time::Duration;
use wire::message::{ClockCause, ClockStanding, ClockTrouble};

/// A quarantine is remembered for so long: another one within it waits twice as long.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Departures shorter than this are steps, longer ones drifts.
const STEP_WITHIN: Duration = Duration::from_secs(1);

/// How long a quarantine lasts, and what is of use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuarantineTiming {
    /// The clock must have been good for so long, without a break.
    pub good_for: Duration,
    /// After several quarantines, at most for so long.
    pub good_for_max: Duration,
    /// Other nodes' clocks are looked at this often.
    pub probe_every: Duration,
    /// And this often in quarantine.
    pub probe_soon: Duration,
}

impl Default for QuarantineTiming {
    fn default() -> QuarantineTiming {
        QuarantineTiming {
            good_for: Duration::from_secs(5),
            good_for_max: Duration::from_secs(60),
            probe_every: Duration::from_secs(1),
            probe_soon: Duration::from_millis(100),
        }
    }
}

/// What the node lives by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Judged {
    /// The reading, or in quarantine the guess, without a bound.
    pub(crate) now: Now,
    /// Whether the durable ceiling may follow it.
    pub(crate) is_grounded: bool,
}

/// What changed with a look; told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClockChange {
    /// Into quarantine.
    Distrusted(ClockCause),
    /// Still in it, for another reason.
    Another(ClockCause),
    /// Out of it, after this long.
    Trusted { after: Duration },
}

#[derive(Clone, Copy, Debug)]
enum State {
    ReliedOn,
    Quarantined {
        since: Duration,
        cause: ClockCause,
        good_since: Option<Duration>,
        wait: Duration,
    },
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    timing: QuarantineTiming,
    drift_max: Duration,
    steps: StepDetector,
    state: State,
    /// Where the guess starts from: monotonic and physical time.
    base: (Duration, Duration),
    is_grounded: bool,
    /// Not relied on in this life yet.
    is_new: bool,
    /// In this quarantine it was found wrong, by more than one other's word.
    is_doubted: bool,
    last_wait: Duration,
    last_end: Option<Duration>,
    quarantines: u64,
    change: Option<ClockChange>,
    last: Option<(Now, Judged)>,
}

impl ClockWatch {
    /// `alone`: there are no other nodes to compare with, so the clock is relied on at once.
    pub(crate) fn new(
        timing: QuarantineTiming,
        drift_max: Duration,
        alone: bool,
        now: &Now,
    ) -> ClockWatch {
        let unproven = State::Quarantined {
            since: now.monotonic,
            cause: ClockCause::Unproven,
            good_since: None,
            wait: Duration::ZERO,
        };
        ClockWatch {
            timing,
            drift_max,
            steps: StepDetector::default(),
            state: if alone { State::ReliedOn } else { unproven },
            base: (now.monotonic, now.physical),
            is_grounded: alone,
            is_new: !alone,
            is_doubted: false,
            last_wait: Duration::ZERO,
            last_end: None,
            quarantines: 0,
            change: None,
            last: None,
        }
    }

    /// The most that a bound may be: with more, nodes that are right would refuse each other's stamps.
    pub(crate) fn bound_max(&self) -> Duration {
        self.drift_max / 2
    }

    /// Judges a reading. `issued` is the highest timestamp that this node has issued or heard.
    pub(crate) fn look(&mut self, raw: &Now, issued: Timestamp, peers: &mut ClockPeers) -> Judged {
        if let Some((_, judged)) = self.last.filter(|(looked, _)| looked == raw) {
            return judged;
        }
        let departure = self.steps.look(raw);
        if departure.is_some() {
            // What was compared with the clock before is worth nothing now.
            peers.forget_readings();
        }
        let trouble = self.trouble(raw, issued, peers, departure);
        self.advance(raw.monotonic, trouble);
        let judged = self.judge(raw, peers);
        self.last = Some((*raw, judged));
        judged
    }

    fn trouble(
        &self,
        raw: &Now,
        issued: Timestamp,
        peers: &ClockPeers,
        departure: Option<Departure>,
    ) -> Option<ClockCause> {
        if let Some(departure) = departure {
            return Some(cause_of(&departure));
        }
        let Some(bound) = raw.bound else {
            return Some(ClockCause::NotVouched);
        };
        if bound > self.bound_max() {
            return Some(ClockCause::BoundTooWide {
                bound_us: bound.as_micros() as u64,
                max_us: self.bound_max().as_micros() as u64,
            });
        }
        if let Some(contradiction) = peers.contradiction(raw.monotonic, self.is_new) {
            return Some(contradiction);
        }
        let reached = raw.latest().plus(self.drift_max);
        if issued > reached {
            let by_us = issued.since(raw.latest()).as_micros() as u64;
            return Some(ClockCause::Behind { by_us });
        }
        let is_unproven = matches!(
            self.state,
            State::Quarantined {
                cause: ClockCause::Unproven,
                ..
            }
        );
        (is_unproven && !peers.is_enough(raw.monotonic)).then_some(ClockCause::Unproven)
    }

    fn advance(&mut self, now: Duration, trouble: Option<ClockCause>) {
        self.is_doubted |= trouble.as_ref().is_some_and(is_certain);
        match (&mut self.state, trouble) {
            (State::ReliedOn, None) => {}
            (State::ReliedOn, Some(cause)) => {
                self.change = Some(ClockChange::Distrusted(cause));
                self.quarantines += 1;
                self.state = State::Quarantined {
                    since: now,
                    cause,
                    good_since: None,
                    wait: self.next_wait(now),
                };
            }
            (
                State::Quarantined {
                    good_since,
                    wait,
                    since,
                    ..
                },
                None,
            ) => {
                let good_since = *good_since.get_or_insert(now);
                if now.saturating_sub(good_since) >= *wait {
                    let after = now.saturating_sub(*since);
                    self.change = Some(ClockChange::Trusted { after });
                    (self.last_wait, self.last_end) = (*wait, Some(now));
                    self.state = State::ReliedOn;
                    (self.is_new, self.is_doubted) = (false, false);
                }
            }
            (State::Quarantined { .. }, Some(cause)) => self.stay(now, cause),
        }
    }

    fn stay(&mut self, now: Duration, trouble: ClockCause) {
        let longer = self.next_wait(now);
        let State::Quarantined {
            cause,
            good_since,
            wait,
            ..
        } = &mut self.state
        else {
            return;
        };
        *good_since = None;
        if std::mem::discriminant(cause) != std::mem::discriminant(&trouble) {
            self.change = Some(ClockChange::Another(trouble));
        }
        if trouble != ClockCause::Unproven && wait.is_zero() {
            // It is not only new: something is wrong.
            *wait = longer;
            self.quarantines += 1;
        }
        *cause = trouble;
    }

    fn next_wait(&self, now: Duration) -> Duration {
        let is_again = |end: Duration| now.saturating_sub(end) < REMEMBERED_FOR;
        match self.last_end.is_some_and(is_again) {
            true => (self.last_wait * 2).clamp(self.timing.good_for, self.timing.good_for_max),
            false => self.timing.good_for,
        }
    }

    fn judge(&mut self, raw: &Now, peers: &ClockPeers) -> Judged {
        if let State::ReliedOn = self.state {
            self.base = (raw.monotonic, raw.physical);
            self.is_grounded = true;
            return Judged {
                now: *raw,
                is_grounded: true,
            };
        }
        if let Some(physical) = peers.majority_time(raw) {
            self.base = (raw.monotonic, physical);
            self.is_grounded = true;
        }
        let (at, physical) = self.base;
        Judged {
            now: Now {
                monotonic: raw.monotonic,
                physical: physical + raw.monotonic.saturating_sub(at),
                bound: None,
            },
            is_grounded: self.is_grounded,
        }
    }

    /// What changed since this was asked last.
    pub(crate) fn take_change(&mut self) -> Option<ClockChange> {
        self.change.take()
    }

    /// Whether nothing strong may be begun, acknowledged or revealed.
    pub(crate) fn is_quarantined(&self) -> bool {
        matches!(self.state, State::Quarantined { .. })
    }

    /// What the others are told.
    pub(crate) fn standing(&self) -> ClockStanding {
        match (self.is_doubted, self.is_new) {
            (true, _) => ClockStanding::Doubted,
            (false, true) => ClockStanding::New,
            (false, false) => ClockStanding::ReliedOn,
        }
    }

    /// How often it was found not to be reliable.
    pub(crate) fn quarantines(&self) -> u64 {
        self.quarantines
    }

    /// What is wrong, if something is.
    pub(crate) fn trouble_now(&self, now: Duration) -> Option<ClockTrouble> {
        let State::Quarantined {
            since,
            cause,
            good_since,
            wait,
        } = self.state
        else {
            return None;
        };
        let left = |good: Duration| wait.saturating_sub(now.saturating_sub(good));
        Some(ClockTrouble {
            cause,
            for_ms: now.saturating_sub(since).as_millis() as u64,
            back_in_ms: good_since.map(|good| left(good).as_millis() as u64),
        })
    }
}

/// Whether a cause leaves no doubt about whose clock is wrong.
fn is_certain(cause: &ClockCause) -> bool {
    match cause {
        ClockCause::Contradicted { heard, .. } => *heard > 1,
        ClockCause::Unproven => false,
        _ => true,
    }
}

fn cause_of(departure: &Departure) -> ClockCause {
    let by_us = departure.by_ns / 1000;
    let allowed_us = departure.allowed.as_micros() as u64;
    match departure.within < STEP_WITHIN {
        true => ClockCause::Stepped { by_us, allowed_us },
        false => ClockCause::Drifted {
            by_us,
            within_ms: departure.within.as_millis() as u64,
            allowed_us,
        },
    }
}

#[cfg(test)]
mod tests;
