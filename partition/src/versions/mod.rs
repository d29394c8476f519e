//! Versioned values in the store (pattern Versioned Value).
//!
//! Every write is a new version of its key, and reads are as of a timestamp. Beside the versions stand
//! small rows of a replica (locks, markers, records, outcomes) and how far it is applied.
//!
//! Invariants:
//! - A batch of committed entries is seen whole or not at all; a question is answered from one snapshot.
//! - After any crash each replica's rows are the result of a beginning of its batches, at least up to what
//!   was said to be persisted. The write-ahead log gives the rest again.
//! - Applying the same batch again changes nothing.
//! - Rows of one incarnation are never seen under another.
//! - A read at or above a partition's retention horizon finds the same for ever, whatever was removed.

pub mod io;

mod memory_store;
mod page;
mod persisted;
mod row_keys;
mod snapshot_page;
mod store;

pub use memory_store::MemoryStore;
pub use snapshot_page::{SnapshotCursor, SnapshotPage, SnapshotRead};
pub use store::{
    AppliedState, Live, Store, StoreAnswer, StoreBatch, StoreError, StoreQuery, StoreReport,
    StoreResult, StoreTask, VersionRow,
};
