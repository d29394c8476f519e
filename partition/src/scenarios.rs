//! Scenarios: one leader is driven by hand, and the exact effects are compared.

mod harness;

mod abandoned;
mod admission;
mod contention;
mod histories;
mod membership;
#[cfg(feature = "mutants")]
mod mutants;
mod not_staged;
mod one_partition;
mod reading;
mod replication;
mod restart;
mod retention;
mod several_partitions;
mod snapshots;
mod transfer;
