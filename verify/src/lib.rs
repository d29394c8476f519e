//! Histories of what clients did and were told, and checkers of what they prove.
//!
//! A store that claims strict serializability is worth what its proof is worth. This crate is the judge:
//! it knows nothing of the store, only what clients asked and were told, in real-time order. So it can
//! judge any store, and the simulator, the tests with real processes and `horolog verify check` share it.
//!
//! ```text
//!   EDN, JSON lines ──► history ──► operations ─┬─► transactions ──► graph ──► cycles ─┬─► verdict
//!                          ▲        (paired,    │   (list-append,    (ww wr rw,        │   (what, why,
//!                       Recorder     well-      │    rw-register)     process,         │    which models
//!                                    formed)    │                     realtime)        │    fall)
//!                                               └─► workload/*: one property a file ───┘
//! ```
//!
//! | part | what it is |
//! | --- | --- |
//! | [`history`] | events, operations, what is well formed; the [recorder](history::Recorder) |
//! | [`edn`], [`json`] | how histories are written |
//! | [`Model`], [`Anomaly`] | what can be promised, and how promises are broken |
//! | [`check_list_append`], [`check_rw_register`] | transactions against models, by cycles |
//! | [`WORKLOADS`] | these and the checkers of single properties, by name |
//! | [`Verdict`], [`report`] | what was found; in words, as JSON, as pictures |
//! | [`generator`] | histories of a small database of known isolation, against which the checkers are checked |
//!
//! ```
//! use verify::history::History;
//! use verify::{Expectation, Model, check_list_append};
//!
//! // A write was acknowledged, and a read that began afterwards does not see it.
//! let edn = "
//!   {:process 0, :type :invoke, :f :txn, :value [[:append :x 1]]}
//!   {:process 0, :type :ok,     :f :txn, :value [[:append :x 1]]}
//!   {:process 1, :type :invoke, :f :txn, :value [[:r :x nil]]}
//!   {:process 1, :type :ok,     :f :txn, :value [[:r :x []]]}";
//! let history = History::read_edn(edn.as_bytes())?;
//! let strict = Expectation::of(Model::STRICT_SERIALIZABLE);
//! let verdict = check_list_append(&history, &strict)?;
//! assert_eq!(verdict.anomalies(), ["G-single-item-realtime"]);
//!
//! // One after another in the other order would explain it, so it is serializable all the same.
//! let serializable = Expectation::of(Model::from_name("serializable").unwrap());
//! assert!(check_list_append(&history, &serializable)?.broken.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants, in the order of their worth:
//! - No anomaly is imagined: each finding names operations, and follows from what they show and from what
//!   was assumed, nothing else. An operation of unknown outcome counts as done only if somebody saw it.
//! - What is promised to be found is found, whatever the size: which kinds of cycles exist is decided
//!   exactly, in linear time (`graph/cycles.rs`); where a search has a budget, its end is told.
//! - The same history gives the same words, on every machine.

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
