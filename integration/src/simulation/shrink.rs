//! Makes a failing run smaller (Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*,
//! 2002; what is taken away is what a reader of the trace need not look at).
//!
//! ```text
//!   time ─► faults ─► workloads ─► clients ─► transactions ─► keys ─► calmer machines ─┐
//!     ▲                                                                                │
//!     └──────────────────── again, as long as something became smaller ◄───────────────┘
//! ```
//!
//! Invariants:
//! - Whatever is kept was run, and failed in the same way as the first run ([`kind_of`]).
//! - Each candidate that is kept is smaller than what it replaces in one respect, and larger in none.
//! - The number of runs is bounded.
//!
//! A run that is changed anywhere draws other delays from there on, so a rare failure may be gone by bad
//! luck alone. Each candidate is therefore tried with a few seeds of the world's dice before it is given up.

use super::client::ClientTiming;
use super::clocks::ClockMotion;
use super::nemesis::{Faults, Struck};
use super::network::{DelayModel, NetworkMode};
use super::run::{Report, perform};
use super::scenario::Scenario;
use crate::checker::Violation;
use std::time::Duration;

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// So many runs at the most.
    pub runs_max: u32,
    /// So many seeds of the dice for each candidate.
    pub luck: u64,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort {
            runs_max: 400,
            luck: 3,
        }
    }
}

/// The smallest failing run that was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The run.
    pub scenario: Scenario,
    /// How it fails.
    pub violation: Violation,
    /// So many runs it took.
    pub runs: u32,
}

/// The kind of a failure: its property, and of an assertion its words without numbers.
pub fn kind_of(violation: &Violation) -> String {
    let is_assertion = violation.property == "an assertion in the code";
    let words = violation.why.split(|c: char| c.is_ascii_digit()).next();
    match words {
        Some(words) if is_assertion => format!("{}: {words}", violation.property),
        _ => violation.property.to_owned(),
    }
}

/// Makes the run of a report smaller; `told` hears of each step. `None` if it did not fail, or fails only
/// because it shows too little, or passes when it is run again with the same faults.
pub fn shrink(report: &Report, effort: Effort, mut told: impl FnMut(&str)) -> Option<Shrunk> {
    let violation = report.verdict.as_ref().err()?;
    let mut shrinker = Shrinker {
        best: report.scenario.clone(),
        violation: violation.clone(),
        kind: kind_of(violation),
        effort,
        runs: 0,
        told: &mut told,
    };
    // What it is worth is not to be shrunk, and what is small may acknowledge little.
    let mut first = shrinker.best.clone();
    (first.acknowledged_min, first.faults_min) = (0, 0);
    if !shrinker.attempt("with the faults that struck", &first) {
        return None;
    }
    if let Some(last) = last_concerned(report) {
        shrinker.try_time(last);
    }
    let mut before = None;
    while before.as_ref() != Some(&shrinker.best) && !shrinker.is_tired() {
        before = Some(shrinker.best.clone());
        shrinker.shorten_time();
        shrinker.drop_faults();
        shrinker.drop_workloads();
        shrinker.drop_clients();
        shrinker.drop_transactions();
        shrinker.drop_keys();
        shrinker.calm_down();
    }
    Some(Shrunk {
        scenario: shrinker.best,
        violation: shrinker.violation,
        runs: shrinker.runs,
    })
}

/// When the last transaction that breaks the property was told something, since the clients began.
fn last_concerned(report: &Report) -> Option<Duration> {
    let violation = report.verdict.as_ref().err()?;
    let first = report.history.iter().next()?.1.invoked;
    let of = |index: &_| {
        let transaction = report.history.get(*index);
        transaction.completed.unwrap_or(transaction.invoked)
    };
    let last = violation.transactions.iter().map(of).max()?;
    Some(last.saturating_sub(first) + Duration::from_millis(200))
}

struct Shrinker<'a> {
    best: Scenario,
    violation: Violation,
    kind: String,
    effort: Effort,
    runs: u32,
    told: &'a mut dyn FnMut(&str),
}

impl Shrinker<'_> {
    fn is_tired(&self) -> bool {
        self.runs >= self.effort.runs_max
    }

    /// Runs a candidate, with a few dice; keeps it if it fails in the same way.
    fn attempt(&mut self, what: &str, candidate: &Scenario) -> bool {
        for luck in 0..self.effort.luck.max(1) {
            if self.is_tired() {
                return false;
            }
            let mut candidate = candidate.clone();
            candidate.world.seed = candidate.world.seed.wrapping_add(luck);
            self.runs += 1;
            let Err(violation) = perform(&candidate, false).verdict else {
                continue;
            };
            if kind_of(&violation) == self.kind {
                self.best = candidate;
                self.violation = violation;
                let line = format!("run {}: {what}: {}", self.runs, self.best);
                (self.told)(&line);
                return true;
            }
        }
        false
    }

    /// The same with a change, unless the change changes nothing.
    fn attempt_with(&mut self, what: &str, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        candidate != self.best && self.attempt(what, &candidate)
    }

    /// The least number that still fails: halves the distance each time.
    fn lower(&mut self, what: &str, least: u64, most: u64, set: impl Fn(&mut Scenario, u64)) {
        let (mut fails, mut passes) = (most, least);
        if fails <= least || self.attempt_with(what, |s| set(s, least)) {
            return;
        }
        while fails - passes > 1 + most / 16 && !self.is_tired() {
            let middle = passes + (fails - passes) / 2;
            match self.attempt_with(what, |s| set(s, middle)) {
                true => fails = middle,
                false => passes = middle,
            }
        }
    }

    fn try_time(&mut self, duration: Duration) {
        if duration < self.best.duration {
            self.attempt_with("no longer than what broke", |s| s.duration = duration);
        }
    }

    fn shorten_time(&mut self) {
        let most = self.best.duration.as_millis() as u64;
        self.lower("shorter", most / 16, most, |s, ms| {
            s.duration = Duration::from_millis(ms);
        });
        let duration = self.best.duration;
        if let Faults::Listed(listed) = &mut self.best.faults {
            // They do not strike any more, so this is the same run.
            listed.retain(|struck| struck.at <= duration);
        }
    }

    fn listed(&self) -> Vec<Struck> {
        match &self.best.faults {
            Faults::Listed(listed) => listed.clone(),
            Faults::Drawn { .. } => Vec::new(),
        }
    }

    /// Takes away ever smaller parts of the list, until no single fault can go.
    fn drop_faults(&mut self) {
        let mut part = self.listed().len();
        while part > 0 && !self.is_tired() {
            let mut from = 0;
            while from < self.listed().len() {
                let mut fewer = self.listed();
                fewer.drain(from..(from + part).min(fewer.len()));
                let fewer = Faults::Listed(fewer);
                if !self.attempt_with("fewer faults", |s| s.faults = fewer) {
                    from += part;
                }
            }
            part /= 2;
        }
    }

    fn drop_workloads(&mut self) {
        let mut place = 0;
        while place < self.best.workloads.len() && self.best.workloads.len() > 1 {
            let dropped = self.attempt_with("a workload less", |s| {
                s.workloads.remove(place);
            });
            place += usize::from(!dropped);
        }
    }

    fn drop_clients(&mut self) {
        let most = u64::from(self.best.clients);
        self.lower("fewer clients", 1, most, |s, clients| {
            s.clients = clients as u32;
        });
    }

    fn drop_transactions(&mut self) {
        // As many as could be begun at all, if they are not counted yet.
        let think = self
            .best
            .client_timing
            .think
            .0
            .max(Duration::from_millis(1));
        let each = self.best.duration.as_nanos() / think.as_nanos();
        let could = u64::from(self.best.clients) * (each as u64 + 1);
        let most = self.best.transactions_max.unwrap_or(could);
        self.lower("fewer transactions", 1, most, |s, most| {
            s.transactions_max = Some(most);
        });
    }

    fn drop_keys(&mut self) {
        for place in 0..self.best.workloads.len() {
            let most = self.best.workloads[place].keys();
            self.lower("fewer keys", 2, most, |s, keys| {
                s.workloads[place] = s.workloads[place].over(keys);
            });
        }
    }

    /// What machines, network and clients do of themselves and need not do.
    fn calm_down(&mut self) {
        let still = DelayModel::exactly(Duration::ZERO);
        let even = |delay: DelayModel| DelayModel::exactly(delay.least + delay.spread / 2);
        self.attempt_with("an ordered network", |s| {
            s.world.network = NetworkMode::Ordered
        });
        self.attempt_with("clocks that stand at true time", |s| {
            s.world.clocks.fill(ClockMotion::Constant(0));
        });
        self.attempt_with("turns that take no time", |s| s.world.turn = still);
        self.attempt_with("a store that takes no time", |s| {
            (s.world.store, s.world.store_stall) = (still, Duration::ZERO);
        });
        self.attempt_with("even flushes", |s| s.world.flush = even(s.world.flush));
        self.attempt_with("even delays", |s| {
            s.world.node_delay = even(s.world.node_delay);
            s.world.client_delay = even(s.world.client_delay);
        });
        let plain = |timing: ClientTiming| ClientTiming {
            asides_one_in: 0,
            past_one_in: 0,
            sign_after: None,
            ..timing
        };
        self.attempt_with("plain clients", |s| {
            s.client_timing = plain(s.client_timing)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Violation;
    use crate::simulation::SimulationOptions;

    #[test]
    fn assertions_are_of_one_kind_if_only_their_numbers_differ() {
        let of = |why: &str| kind_of(&Violation::new("an assertion in the code", &[], why));
        assert_eq!(of("index 7 is below 9"), of("index 8 is below 12"));
        assert_ne!(of("index 7 is below 9"), of("term 7 is below 9"));
        let of = |why: &str| kind_of(&Violation::new("bank", &[], why));
        assert_eq!(of("sum 1"), of("total 2"));
    }

    #[test]
    fn a_run_that_passes_is_not_shrunk() {
        let options = SimulationOptions {
            duration: Duration::from_secs(1),
            acknowledged_min: 0,
            faults_min: 0,
            ..SimulationOptions::default()
        };
        let report = perform(&Scenario::draw(3, &options), false);
        assert!(report.verdict.is_ok(), "{:?}", report.verdict.err());
        assert!(shrink(&report, Effort::default(), |_| {}).is_none());
    }
}
