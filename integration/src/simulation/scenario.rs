//! A run that is written down: everything that determines it, drawn from a seed or made smaller by hand.
//!
//! ```text
//!   seed, options ──draw──► Scenario ──run──► the faults that struck ──► Scenario with listed faults
//!                              ▲                                              │ shrink
//!                              └────────────── JSON, --replay ◄───────────────┘
//! ```
//!
//! Invariants:
//! - The same scenario gives the same trace hash, in every run of one build.
//! - A scenario with the listed faults of a run is that run: nothing else that is random depends on where
//!   the faults come from.
//!
//! Durations are written as whole nanoseconds.

use super::client::ClientTiming;
use super::nemesis::{FaultKind, Faults};
use super::options::{Cast, Mixture, SimulationOptions, WorldOptions};
use crate::workload::WorkloadChoice;
use node::{QuarantineTiming, Timing};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A whole run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Scenario {
    /// The seed that it was drawn from.
    pub seed: u64,
    /// The mixture that it was drawn from.
    pub mixture: Mixture,
    /// The rule that is broken on purpose, by its name; `None` in every build of the program.
    pub mutant: Option<String>,
    /// Machines, network, clocks; its seed is that of everything random but what was drawn already.
    pub world: WorldOptions,
    /// How many clients.
    pub clients: u32,
    /// How each behaves.
    pub client_timing: ClientTiming,
    /// What they do.
    pub workloads: Vec<WorkloadChoice>,
    /// So many transactions are begun at the most; `None`: any number.
    pub transactions_max: Option<u64>,
    /// What befalls the cluster.
    pub faults: Faults,
    /// How long clients begin transactions, virtual time.
    #[serde(with = "nanoseconds")]
    pub duration: Duration,
    /// A run with fewer acknowledged transactions goes on, and is then not counted as a test of anything.
    pub acknowledged_min: usize,
    /// The same for faults, but it does not go on.
    pub faults_min: u64,
}

/// What was written down is no scenario, or none for this build.
#[derive(Debug, thiserror::Error)]
pub enum NotAScenario {
    /// It does not read.
    #[error("it does not describe a run: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It describes a world that cannot be.
    #[error("the run that it describes cannot be: {0}")]
    Impossible(String),
    /// It breaks a rule.
    #[error(
        "it breaks the rule {0} on purpose, which no build of the program can do: cargo run --release -p integration --features mutants --example mutants -- --replay FILE"
    )]
    Mutant(String),
}

impl Scenario {
    /// The run of a seed.
    pub fn draw(seed: u64, options: &SimulationOptions) -> Scenario {
        let world = WorldOptions::draw(seed, options);
        let Cast {
            clients,
            client_timing,
            workloads,
            transactions_max,
            faults,
        } = Cast::draw(seed, options);
        let none = Faults::Listed(Vec::new());
        Scenario {
            seed,
            mixture: options.mixture,
            mutant: mutant_of(&world),
            world,
            clients,
            client_timing,
            workloads,
            transactions_max,
            faults: if options.faults { faults } else { none },
            duration: options.duration,
            acknowledged_min: options.acknowledged_min,
            faults_min: if options.faults {
                options.faults_min
            } else {
                0
            },
        }
    }

    /// As it is written down.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a scenario holds nothing that JSON cannot")
    }

    /// What was written down.
    pub fn from_json(text: &str) -> Result<Scenario, NotAScenario> {
        let mut scenario: Scenario = serde_json::from_str(text)?;
        if let Some(why) = scenario.impossible() {
            return Err(NotAScenario::Impossible(why));
        }
        if let Some(name) = &scenario.mutant {
            let name = name.clone();
            set_mutant(&mut scenario.world, &name).ok_or(NotAScenario::Mutant(name))?;
        }
        Ok(scenario)
    }

    /// Somebody may have changed it by hand.
    fn impossible(&self) -> Option<String> {
        let nodes = self.world.nodes;
        if !(1..=9).contains(&nodes) || self.world.clocks.len() != nodes {
            let clocks = self.world.clocks.len();
            return Some(format!(
                "{nodes} nodes with {clocks} clocks; 1 to 9 have one each"
            ));
        }
        if !(2..=20).contains(&self.world.partitions) {
            let partitions = self.world.partitions;
            return Some(format!("{partitions} partitions; 2 to 20 are possible"));
        }
        let Faults::Listed(listed) = &self.faults else {
            return None;
        };
        if !listed.is_sorted_by_key(|struck| struck.at) {
            return Some("its faults are not sorted by time".to_owned());
        }
        listed.iter().find_map(|struck| {
            let seats = &struck.fault.seats;
            let outside = seats.iter().find(|seat| **seat >= nodes);
            let kind = struck.fault.kind;
            match outside {
                Some(seat) => Some(format!("{kind:?} at seat {seat} of {nodes}")),
                None if seats.len() < seats_of(kind) => {
                    Some(format!("{kind:?} at {} seats", seats.len()))
                }
                None => None,
            }
        })
    }

    /// Who works in it.
    pub(super) fn cast(&self) -> Cast {
        Cast {
            clients: self.clients,
            client_timing: self.client_timing,
            workloads: self.workloads.clone(),
            transactions_max: self.transactions_max,
            faults: self.faults.clone(),
        }
    }
}

/// How many nodes a fault of this kind needs to be told.
fn seats_of(kind: FaultKind) -> usize {
    match kind {
        FaultKind::CutOneWay => 2,
        FaultKind::TakenForDead | FaultKind::LostWhileAhead => 3,
        _ => 1,
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = match &self.faults {
            Faults::Drawn { .. } => "faults as they come".to_owned(),
            Faults::Listed(listed) => format!("{} faults", listed.len()),
        };
        let workloads = self.workloads.iter().map(|choice| format!("{choice:?}"));
        let workloads: Vec<String> = workloads.collect();
        let transactions = match self.transactions_max {
            Some(most) => format!("{most} transactions"),
            None => "any number of transactions".to_owned(),
        };
        write!(
            f,
            "{:.3} s, {faults}, {} clients, {transactions}, {}",
            self.duration.as_secs_f64(),
            self.clients,
            workloads.join(" ")
        )
    }
}

#[cfg(not(feature = "mutants"))]
fn mutant_of(_: &WorldOptions) -> Option<String> {
    None
}

#[cfg(not(feature = "mutants"))]
fn set_mutant(_: &mut WorldOptions, _: &str) -> Option<()> {
    None
}

#[cfg(feature = "mutants")]
fn mutant_of(world: &WorldOptions) -> Option<String> {
    world.mutant.map(crate::mutants::name)
}

#[cfg(feature = "mutants")]
fn set_mutant(world: &mut WorldOptions, name: &str) -> Option<()> {
    world.mutant = Some(crate::mutants::from_name(name)?);
    Some(())
}

/// A duration as whole nanoseconds.
pub(super) mod nanoseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(in crate::simulation) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_nanos() as u64)
    }

    pub(in crate::simulation) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}

/// A duration that may be none.
pub(super) mod nanoseconds_or_none {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    pub(in crate::simulation) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|d| d.as_nanos() as u64).serialize(serializer)
    }

    pub(in crate::simulation) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let read = Option::<u64>::deserialize(deserializer)?;
        Ok(read.map(Duration::from_nanos))
    }
}

/// A pair of durations.
pub(super) mod nanoseconds_of_both {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    pub(in crate::simulation) fn serialize<S: Serializer>(
        (one, other): &(Duration, Duration),
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        (one.as_nanos() as u64, other.as_nanos() as u64).serialize(serializer)
    }

    pub(in crate::simulation) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<(Duration, Duration), D::Error> {
        let (one, other) = <(u64, u64)>::deserialize(deserializer)?;
        Ok((Duration::from_nanos(one), Duration::from_nanos(other)))
    }
}

/// How [`Timing`] is written; a field that it gains has to be named here, or this does not compile.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Timing")]
pub(super) struct TimingForm {
    #[serde(with = "nanoseconds")]
    heartbeat: Duration,
    #[serde(with = "nanoseconds")]
    promise: Duration,
    #[serde(with = "nanoseconds")]
    election_timeout: Duration,
    #[serde(with = "nanoseconds")]
    drift_max: Duration,
    #[serde(with = "nanoseconds")]
    tick: Duration,
    #[serde(with = "nanoseconds")]
    resend_after: Duration,
    #[serde(with = "nanoseconds")]
    push_after: Duration,
    #[serde(with = "nanoseconds")]
    wound_after: Duration,
    #[serde(with = "QuarantineTimingForm")]
    quarantine: QuarantineTiming,
    #[serde(with = "nanoseconds_or_none")]
    spread_every: Option<Duration>,
    #[serde(with = "nanoseconds")]
    settle: Duration,
    #[serde(with = "nanoseconds")]
    disk_stall: Duration,
    #[serde(with = "nanoseconds")]
    retention: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "QuarantineTiming")]
struct QuarantineTimingForm {
    #[serde(with = "nanoseconds")]
    good_for: Duration,
    #[serde(with = "nanoseconds")]
    good_for_max: Duration,
    #[serde(with = "nanoseconds")]
    probe_every: Duration,
    #[serde(with = "nanoseconds")]
    probe_soon: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_reads_back() {
        for seed in 0..50 {
            let drawn = Scenario::draw(seed, &SimulationOptions::default());
            let read = Scenario::from_json(&drawn.to_json());
            assert_eq!(read.expect("it was written by us"), drawn);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let drawn = Scenario::draw(1, &SimulationOptions::default());
        let why = |scenario: &Scenario| {
            Scenario::from_json(&scenario.to_json())
                .unwrap_err()
                .to_string()
        };
        let mut few = drawn.clone();
        few.world.nodes = 2;
        assert!(why(&few).contains("2 nodes with"), "{}", why(&few));
        let mut none = drawn.clone();
        none.mutant = Some("NoSuchRule".to_owned());
        assert!(why(&none).contains("the rule NoSuchRule"), "{}", why(&none));
        assert!(
            Scenario::from_json("{}")
                .unwrap_err()
                .to_string()
                .contains("missing field")
        );
    }
}
