//! `verify`: the claims of a store, attacked.

mod check;

use crate::failure::Failure;
use clap::{Args, Subcommand};

/// Check what clients were told against what the store promises
///
/// A history is what clients asked and were told, in real-time order, in Jepsen's EDN or as JSON lines.
/// The checkers do not know who made it: histories of any store can be checked.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog verify check history.edn --workload list-append
  horolog verify check --help                      lists workloads and models")]
pub(crate) struct Verify {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(check::Check),
}

impl Verify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Check(check) => check.run(),
        }
    }

    /// Whether scripts read the answer.
    pub(crate) fn is_json(&self) -> bool {
        match &self.action {
            Action::Check(check) => check.json,
        }
    }
}
