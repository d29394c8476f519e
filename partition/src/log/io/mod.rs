//! The log on a disk.
//!
//! ```text
//!   DIRECTORY/lock                     held while the log is open
//!   DIRECTORY/format                   which format this is
//!   DIRECTORY/segment-0000000007.log   a segment, named by its epoch
//!   DIRECTORY/free-0000000003.log      a file of a segment's size, to be used again
//! ```

pub(crate) mod byte_budget;
mod directory;
#[cfg(test)]
mod disk_fault;
pub(crate) mod format_file;
pub(crate) mod lock_file;
mod log_thread;
mod segment_file;
mod write_ahead_log;

#[cfg(test)]
mod bad_disk_test;
#[cfg(test)]
mod tests;

pub use log_thread::{
    LOG_QUEUE_BYTES_MAX, LOG_QUEUE_MAX, LogReport, LogSender, LogTask, LogThread, ThreadEnded,
};
pub use write_ahead_log::{LogOptions, WriteAheadLog};
