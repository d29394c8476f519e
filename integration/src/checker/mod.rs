//! Checkers: one property a file, its source named at its head. They read a [`History`] and what the
//! cluster holds in the end, and say which transactions break the property.
//!
//! Two kinds stand side by side, so that neither a wrong timestamp nor a wrong value can hide:
//! - *By timestamps*: all committed transactions are run again in the order of their timestamps
//!   ([`VersionModel`]), and everything that anybody read must be what that gives.
//! - *By values*: sums, unique values, elements of lists, and cycles of dependencies and real time;
//!   these look at no timestamp that a client was told. For lists the crate `verify` does it once more,
//!   with nothing but the history as clients would have recorded it.

pub(crate) mod anomalies;
mod bank;
mod clock_bound;
mod cluster;
mod counter;
mod cycles;
mod durability;
mod exactly_once;
mod hot;
mod linearizability;
mod list_append;
mod model;
mod real_time;
mod retention;
mod serializability;
mod write_skew;

#[cfg(test)]
mod fixtures;

pub use anomalies::recorded;
pub use cluster::{ClusterState, ReplicaContents, check_cluster};
pub use model::{ModelVersion, VersionModel};

use crate::history::{History, TransactionIndex};
use clock::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use wire::keys::Key;

/// A property does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Violation {
    /// Which property.
    pub property: &'static str,
    /// What was seen, and what should have been.
    pub why: String,
    /// The transactions concerned.
    pub transactions: Vec<TransactionIndex>,
}

impl Violation {
    /// A violation by these transactions.
    pub fn new(
        property: &'static str,
        transactions: &[TransactionIndex],
        why: impl Into<String>,
    ) -> Violation {
        Violation {
            property,
            why: why.into(),
            transactions: transactions.to_vec(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.why)
    }
}

/// One version that the store holds in the end; `None`: a tombstone.
pub type StoredVersion = (Timestamp, Option<bytes::Bytes>);

/// Every version that the store holds in the end, by key, oldest first.
pub type StoredVersions = BTreeMap<Key, Vec<StoredVersion>>;

/// What clocks that did as they did leave to be expected (verification, *Expectations*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expectation {
    /// Every clock stayed inside its bound.
    StrictlySerializable,
    /// A clock was outside its bound: real time orders nothing.
    Serializable,
}

/// How long versions are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// How long.
    pub kept_for: Duration,
    /// Every clock stayed inside its bound, so true time says where the horizon may be.
    pub is_by_true_time: bool,
}

/// Everything that is checked of a history and of what the store holds in the end.
///
/// `stored` must hold every version ever committed, those too that were removed below the horizon.
pub fn check_history(
    history: &History,
    stored: &StoredVersions,
    expectation: Expectation,
    retention: Retention,
) -> Result<(), Violation> {
    let in_real_time = expectation == Expectation::StrictlySerializable;
    bank::check(history)?;
    write_skew::check(history)?;
    list_append::check(history, stored)?;
    counter::check(history, stored)?;
    hot::check(history, stored)?;
    cycles::check(history, stored, in_real_time)?;
    anomalies::check(history, in_real_time)?;
    if in_real_time {
        linearizability::check(history, stored)?;
        clock_bound::check(history)?;
        real_time::check(history)?;
    }
    retention::check(history, retention)?;
    let model = VersionModel::replay(history)?;
    serializability::check(history, &model)?;
    durability::check(&model, stored)?;
    exactly_once::check(history, &model, stored)
}
