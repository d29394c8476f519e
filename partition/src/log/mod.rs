//! The write-ahead log of a node, shared by its partitions.

mod record;

pub use record::{LogBatch, LogRecord, RecoveredLog, RecoveredReplica, TornTail};
