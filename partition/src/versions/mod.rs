//! Versioned values in the store.

mod memory_store;
mod page;
mod store;

pub use memory_store::MemoryStore;
pub use store::{
    AppliedState, Store, StoreAnswer, StoreBatch, StoreError, StoreQuery, StoreReport, StoreResult,
    StoreTask, VersionRow,
};
