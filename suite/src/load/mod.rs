//! The workloads: what processes ask of the store, recorded as histories.
//!
//! ```text
//!   prepare ─► operations until load.stop ─► wait for load.quiet ─► final reads ─► everything is recorded
//! ```
//!
//! A driver's name is that of its checker in [`verify::WORKLOADS`].

mod list_append;

use crate::error::SuiteError;
use crate::run::{Counts, Load};

/// A workload that can be driven.
#[derive(Debug)]
pub struct Driver {
    /// Its name, and its checker's.
    pub name: &'static str,
}

/// All of them.
pub const DRIVERS: &[Driver] = &[Driver {
    name: "list-append",
}];

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
    match driver.name {
        "list-append" => list_append::drive(addresses, load).await,
        name => Err(SuiteError::Load(format!("nothing drives '{name}'"))),
    }
}
