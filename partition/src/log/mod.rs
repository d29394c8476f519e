//! The write-ahead log of a node, shared by its partitions (patterns Write-Ahead Log, Segmented Log,
//! Low-Water Mark).
//!
//! All partitions of a node append to one log, so that one `fdatasync` makes everything durable that
//! waits, however many partitions it belongs to. What is acknowledged lies here; the store of versions
//! may forget whatever its tables do not hold yet, and gets it from here again.
//!
//! Invariants:
//! - A record is durable once the flush that wrote it has returned; records become durable in order.
//! - After any crash the log reads back as a prefix of what was appended, and holds at least what was
//!   durable. Damage below that is an error with file and offset.
//! - A failed write or sync is final: what the disk holds afterwards is unknown (Rebello et al., *Can
//!   Applications Recover from fsync Failures?*, 2020).
//! - A discarded entry stays discarded, and no byte of an earlier use of a file is ever read as a record.
//!
//! Everything here is without IO except [`io`]; the simulator keeps the bytes of [`SegmentWriter`] and
//! gives them to [`recover`].

mod carrying;
mod checkpoint;
mod error;
mod format;
pub mod io;
mod low_water_mark;
mod record;
mod recovery;
mod segment_writer;

#[cfg(test)]
mod lives_test;
#[cfg(test)]
mod tests;

pub use error::LogError;
pub use format::{Place, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, encode_record};
pub use record::{LogBatch, LogRecord, RecoveredLog, RecoveredReplica, TornTail};
pub use recovery::{Recovery, SegmentBytes, recover};
pub use segment_writer::SegmentWriter;
