//! The log on a disk.
//!
//! ```text
//!   DIRECTORY/lock                     held while the log is open
//!   DIRECTORY/format                   which format this is
//!   DIRECTORY/segment-0000000007.log   a segment, named by its epoch
//!   DIRECTORY/free-0000000003.log      a file of a segment's size, to be used again
//! ```

mod directory;
pub(crate) mod format_file;
pub(crate) mod lock_file;
mod log_thread;
mod segment_file;
mod write_ahead_log;

#[cfg(test)]
mod tests;

pub use log_thread::{LOG_QUEUE_MAX, LogReport, LogTask, LogThread};
pub use write_ahead_log::{LogOptions, WriteAheadLog};
