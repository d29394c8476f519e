//! The workloads: what processes ask of the store, recorded as histories.
//!
//! What the runner calls of this module:
//!
//! ```text
//!   DRIVERS: &[Driver { name, meaning, … }]         a driver's name is that of its checker in verify::WORKLOADS
//!   async fn drive(&Driver, addresses: &[String], Load) -> Result<Counts, LoadError>
//!       prepare ─► operations until load.stop ─► wait for load.quiet ─► final reads ─► all completions recorded
//! ```
