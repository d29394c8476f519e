//! The workloads: what processes ask of the store, recorded as histories.
//!
//! ```text
//!   prepare ─► operations until load.stop ─► wait for load.quiet ─► final reads ─► everything is recorded
//!                    │
//!                    └─► names of commits ─► questioner: asks `outcome`, records what is said
//! ```
//!
//! A driver's name is that of its checker in [`verify::WORKLOADS`]; what its operations are stands at the head
//! of its file and of its checker's. Workloads whose checker waits for what is not built have no driver.
//!
//! Invariants:
//! - An operation is recorded before anything of it is sent, and completed after its answer came.
//! - `:fail` is recorded only where it is certain that nothing happened and never will: whatever was read only,
//!   and commits of which the client library is certain. `:info` where it says that it does not know; that
//!   process number is never used again.
//! - Of every commit of unknown outcome, and of some of the others, `outcome` is asked afterwards and recorded
//!   beside; what was told first and what is said later must agree ([`verify::history::Settled`]).
//! - Values are unique wherever a checker draws more from that; keys lie on both sides of every border.
//!
//! Source: Jepsen's workloads; the file of each says which.

mod driving;
mod layout;
mod outcomes;
mod rotation;
mod session;
mod workload;

use crate::error::SuiteError;
use crate::run::{Counts, Load};
use driving::Workload;
use std::pin::Pin;

/// A workload under way.
type Driving = Pin<Box<dyn Future<Output = Result<Counts, SuiteError>> + Send>>;

/// A workload that can be driven.
#[derive(Debug)]
pub struct Driver {
    /// Its name, and its checker's.
    pub name: &'static str,
    start: fn(Vec<String>, Load) -> Driving,
}

const fn driver<W: Workload>() -> Driver {
    Driver {
        name: W::NAME,
        start: |addresses, load| Box::pin(driving::drive::<W>(addresses, load)),
    }
}

/// All of them, in the order of [`verify::WORKLOADS`].
pub const DRIVERS: &[Driver] = &[
    driver::<workload::ListAppend>(),
    driver::<workload::RwRegister>(),
    driver::<workload::Bank>(),
    driver::<workload::Set>(),
    driver::<workload::Pages>(),
    driver::<workload::Register>(),
    driver::<workload::MultiRegister>(),
    driver::<workload::Monotonic>(),
    driver::<workload::Sequential>(),
    driver::<workload::Comments>(),
    driver::<workload::LongFork>(),
    driver::<workload::Counter>(),
    driver::<workload::Predicate>(),
    driver::<workload::Internal>(),
    driver::<workload::ExactlyOnce>(),
    driver::<workload::Temporal>(),
];

/// By its name.
pub fn find(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == name)
}

/// Drives a workload against a cluster until it is told to stop, and records what it did.
pub async fn drive(
    driver: &Driver,
    addresses: &[String],
    load: Load,
) -> Result<Counts, SuiteError> {
    (driver.start)(addresses.to_vec(), load).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use verify::{Checker, WORKLOADS};

    #[test]
    fn every_workload_is_driven_or_waits() {
        let checked =
            |workload: &&verify::Workload| !matches!(workload.checker, Checker::WaitsFor(_));
        let checked: Vec<&str> = WORKLOADS.iter().filter(checked).map(|w| w.name).collect();
        let driven: Vec<&str> = DRIVERS.iter().map(|driver| driver.name).collect();
        assert_eq!(driven, checked);
    }
}
