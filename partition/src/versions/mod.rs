//! Versioned values in the store.
