//! Puts the parts together: one node of a cluster as a state machine, and its driver on a real machine.
//!
//! [`Node`] decides everything and touches nothing; [`io`] gives it time, sockets, a log and a store.
//! The simulator drives the same `Node` with virtual ones: what is simulated is what ships.

pub mod io;

mod clock_watch;
mod config;
mod counters;
mod disk_space;
mod event;
mod heartbeat;
mod identity;
mod keyspaces;
mod log_queue;
mod node;
mod outbox;
mod partition_channel;
mod questions;
mod rebuild;
mod registry;
mod settings;
mod snapshot_gate;
mod transfers;

pub use clock_watch::QuarantineTiming;
pub use config::{HELD_BACK_BYTES_MAX, NodeConfig, Timing};
pub use counters::{BUCKETS_US, Counters, Distribution};
pub use disk_space::DiskSpace;
pub use event::{Effect, Event};
pub use identity::Identity;
pub use node::{Node, NodeError};
pub use rebuild::{NotRebuilt, rebuilt_log};

/// Whether rules can be broken on purpose in this build.
pub const HAS_MUTANTS: bool = cfg!(feature = "mutants");

/// A rule that is broken on purpose, so that the suite can be seen to notice.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Answers leave before `earliest` has passed what they depend on (R6).
    NoClockBoundWait,
    /// What was handed to the log counts as durable.
    AcknowledgeBeforeFsync,
    /// A member that lost its memory takes part at once (decision 0010).
    ForgottenMemberVotes,
    /// The store removes versions above the retention horizon (decision 0040). Of the store's twin, so the
    /// simulator looks at it and not the node.
    CompactionAboveHorizon,
    /// A rule of a partition.
    Partition(partition::Mutant),
    /// A rule of the coordinator.
    Coordinator(txn::Mutant),
}
