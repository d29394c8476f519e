//! One key range, replicated by one log: the log on disk, replication, versions, locks, and what a
//! leader answers.

pub mod log;
pub mod replication;
pub mod versions;
