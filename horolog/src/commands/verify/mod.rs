//! `verify`: the claims of a store, attacked.

mod check;
mod jepsen;
mod simulate;
mod swarm_progress;

use crate::failure::Failure;
use clap::{Args, Subcommand};

/// Attack the store, and check what clients were told against what it promises
///
/// 'simulate' attacks whole clusters in virtual time, 'jepsen' real processes; 'check' checks a history.
/// A history is what clients asked and were told, in real-time order, in Jepsen's EDN or as JSON lines.
/// The checkers do not know who made it: histories of any store can be checked.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog verify check history.edn --workload list-append
  horolog verify simulate --seeds 0..1000 --jobs 2
  horolog verify jepsen --workload list-append --nemesis kill-leader
  horolog verify jepsen --list                     lists workloads and nemeses
  horolog verify check --help                      lists workloads and models")]
pub(crate) struct Verify {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(check::Check),
    Simulate(simulate::Simulate),
    Jepsen(Box<jepsen::Jepsen>),
}

impl Verify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Check(check) => check.run(),
            Action::Simulate(simulate) => simulate.run(),
            Action::Jepsen(jepsen) => jepsen.run(),
        }
    }

    /// Whether the nodes at work are simulated ones.
    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.action, Action::Simulate(_))
    }

    /// Whether scripts read the answer.
    pub(crate) fn is_json(&self) -> bool {
        match &self.action {
            Action::Check(check) => check.json,
            Action::Simulate(_) | Action::Jepsen(_) => false,
        }
    }
}
