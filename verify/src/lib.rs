//! Histories of what clients did and were told, and checkers of what they prove.

mod anomaly;
pub mod edn;
pub mod generator;
mod graph;
pub mod history;
mod intern;
pub mod json;
mod model;
pub mod report;
mod transactions;
mod verdict;
mod workload;

pub use anomaly::Anomaly;
pub use model::{Model, boundary};
pub use transactions::{
    Assumptions, Expectation, UnwrittenValues, check_list_append, check_rw_register,
};
pub use verdict::{EXAMPLES_MAX, Finding, Found, Picture, Verdict};
pub use workload::{Checker, WORKLOADS, Workload};
