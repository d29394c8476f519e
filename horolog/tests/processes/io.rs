//! Processes, their files and their ports, and real time.
//!
//! Invariants:
//! - only processes that were started here are killed, by their id, and each is waited for;
//! - nothing waits without a deadline, and nothing takes a time for granted: a condition is polled;
//! - a port belongs to its cluster until the cluster is dropped, also while its node is down.

mod cluster;
mod deadline;
mod process;
mod program;
mod reserved_port;
mod story;

pub(super) use cluster::Cluster;
pub(super) use deadline::{Stopwatch, until};
pub(super) use process::Process;
pub(super) use program::{Ended, Program, repository};
pub(super) use reserved_port::ReservedPort;
pub(super) use story::story;
