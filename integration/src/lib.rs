//! How Horolog is tested as a whole: a deterministic simulator of a cluster, workloads, and checkers of
//! what the clients saw.
//!
//! | part | what it is |
//! | --- | --- |
//! | [`simulation`] | the production state machines of a whole cluster in virtual time |
//! | [`workload`] | what clients do |
//! | [`history`] | what they did and were told |
//! | [`recording`] | the same as others record it, for `horolog verify check` |
//! | [`checker`] | the properties, one a file |
//! | [`fuzz`] | inputs that are nearly right, for parsers |
//! | [`io`] | many seeds on a few threads |

pub mod checker;
pub mod fuzz;
pub mod history;
pub mod io;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod recording;
pub mod simulation;
pub mod workload;
