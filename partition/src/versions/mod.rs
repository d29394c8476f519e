//! Versioned values in the store.

mod store;

pub use store::{
    AppliedState, Store, StoreAnswer, StoreBatch, StoreError, StoreQuery, StoreReport, StoreResult,
    StoreTask, VersionRow,
};
