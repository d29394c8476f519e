//! The store on a disk, and its threads.

mod compaction_filter;
mod fjall_reader;
mod fjall_store;
mod newest;
mod snapshots;
mod store_thread;

#[cfg(test)]
mod bad_disk_test;
#[cfg(test)]
mod retention_test;
#[cfg(test)]
mod tests;

pub use fjall_reader::FjallReader;
pub use fjall_store::{FjallStore, StoreOptions};
pub use store_thread::{STORE_QUEUE_BYTES_MAX, STORE_QUEUE_MAX, StoreThread};
