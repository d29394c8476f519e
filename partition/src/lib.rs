//! One key range, replicated by one log: the log on disk, replication, versions, locks, and what a
//! leader answers.
//!
//! ```text
//!   request ──► evaluation ──► effects ──► replication ──► committed state ──► store
//!               (leader only)  (an entry)  (a majority)    (every replica)     (behind)
//! ```
//!
//! [`Replica`] joins them into one state machine without IO.

pub mod log;
pub mod replication;
pub mod versions;

mod admission;
mod applying;
mod asker;
mod collection;
mod committed_state;
mod effects;
mod evaluation;
mod event;
mod installing;
mod leadership;
mod lock_table;
mod membership;
mod meta_rows;
mod overlay;
mod recent_writes;
mod replica;
mod request_range;
mod request_waiting_list;
mod serving;
mod snapshot;
mod timestamp_cache;
mod transfer;
mod unreplicated_locks;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod scenarios;

#[cfg(feature = "mutants")]
mod mutant;

pub use admission::{Admission, NoRoom};
pub use asker::Asker;
pub use evaluation::OUTCOME_RETENTION;
pub use event::{ReplicaContext, ReplicaEffect, ReplicaEvent};
pub use meta_rows::left_over;
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
pub use replica::{Replica, ReplicaConfig, ReplicaTiming};
