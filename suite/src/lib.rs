//! The Jepsen-style suite: the store's claim, attacked on real processes.
//!
//! ```text
//!            ┌── nemesis ──► cuts, delays, corrupts ─┐     kills, pauses, damages disks ─┐
//!            │                                       ▼                                   ▼
//!   runner ──┤                          ┌────► proxy of each node ─────────────► `horolog start` × N
//!            │                          │            ▲                                   │
//!            └── load ── processes ─────┘            └───────── between nodes ◄──────────┘
//!                 │
//!                 └─► history ──► checkers of `verify` ──► report
//! ```
//!
//! | part | what it is |
//! | --- | --- |
//! | [`run`] | what the parts share: a fault, a load, a run |
//! | [`load`] | the workloads: what processes ask, recorded as histories |
//! | [`nemesis`] | the faults, one family a file, drawn from the seed |
//! | [`runner`] | one run: quiet, faulted, healed, judged |
//! | [`report`] | a run as a page for a browser |
//! | [`io`] | processes, the proxy, time |
//!
//! Invariants:
//! - Faults come from outside: the processes are those that a user runs.
//! - Whatever a nemesis did, it takes back before the run is judged; what it cannot take back it names.
//! - What is random comes from the run's seed. (The order of real processes does not: a seed repeats the
//!   faults and what is asked, not the race that found a defect.)
//!
//! Source: Jepsen (Kingsbury), whose words are used: nemesis, workload, process, `:ok`, `:fail`, `:info`.

mod error;
pub mod io;
pub mod judge;
pub mod load;
pub mod nemesis;
pub mod plan;
pub mod probe;
pub mod report;
pub mod run;
pub mod runner;

pub use error::SuiteError;
