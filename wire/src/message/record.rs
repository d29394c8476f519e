//! A transaction's record at its anchor, and how it changes.

use super::TransactionName;
use crate::ids::{Attempt, NodeId};
use crate::keys::Key;
use clock::Timestamp;
use serde::{Deserialize, Serialize};

/// The record, without its keys: what a compare-and-set compares, whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RecordState {
    /// There is none (yet, or no longer).
    Missing,
    /// An attempt is under way.
    Staging {
        /// Which.
        attempt: Attempt,
        /// The highest commit timestamp at which its reads are known to hold.
        limit: Timestamp,
    },
    /// This attempt is dead for good; its coordinator may stage the next one.
    Aborted {
        /// Which.
        attempt: Attempt,
    },
    /// The transaction is aborted for good.
    Closed,
    /// The transaction is committed.
    Committed {
        /// Its commit timestamp.
        at: Timestamp,
    },
}

/// A change of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RecordChange {
    /// Only look. The answer is from committed state and leaves nothing durable.
    None,
    /// To *aborted (attempt)*.
    Abort {
        /// The attempt that dies.
        attempt: Attempt,
    },
    /// To *closed*.
    Close,
    /// To *committed at*.
    Commit {
        /// The commit timestamp.
        at: Timestamp,
    },
    /// Only the limit, only upwards (`RaiseLimit`).
    RaiseLimit {
        /// The new limit.
        to: Timestamp,
    },
}

/// Changes a record by compare-and-set on its whole value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// Whose.
    pub name: TransactionName,
    /// What it must be.
    pub expected: RecordState,
    /// What becomes of it.
    pub change: RecordChange,
}

/// What a record is after a [`ChangeRecord`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordAnswer {
    /// The record as it is now, from committed state.
    pub state: RecordState,
    /// The keys that the record lists; for states that have none, empty.
    pub keys: Vec<Key>,
    /// Whether this request changed it, or had changed it when it was sent before.
    pub changed: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Decision {
    /// Committed at this timestamp.
    Committed(Timestamp),
    /// Aborted.
    Aborted,
}

/// What the anchor says of a transaction's outcome (R10).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OutcomeAnswer {
    /// Committed at this timestamp.
    Committed {
        /// The commit timestamp.
        at: Timestamp,
    },
    /// It is not committed and never will be.
    Aborted,
    /// It is prepared under an attempt that may still be alive; recover it, then ask again.
    Staging {
        /// The attempt.
        attempt: Attempt,
        /// Its gateway.
        gateway: NodeId,
    },
    /// It is too long ago to be known.
    NoLongerKept,
}
