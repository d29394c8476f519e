//! The workloads: what processes ask of the store, recorded as histories.
