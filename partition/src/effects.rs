//! What an entry of a partition's log says: effects, never conditions.
//!
//! Only the leader evaluates, in the term in which it appends; every replica then does what the entry
//! says, in order, and decides nothing (protocol, invariant 1; patterns Replicated Log, Write-Ahead
//! Log).
//!
//! ```text
//!   body = "" (no effect: a leader's first entry)  |  version byte ++ postcard(Vec<Effect>)
//! ```
//!
//! The list of kinds is append-only: a new kind goes to the end, a changed one is a new kind.

use bytes::Bytes;
use clock::Timestamp;
use serde::{Deserialize, Serialize};
use wire::ids::{Attempt, LogIndex, TransactionId};
use wire::keys::Key;
use wire::message::{Decision, RecordState, TransactionName};

/// The encoding that this version writes, and the only one that it reads.
const BODY_VERSION: u8 = 1;

/// What a prepared transaction holds on one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum LockKind {
    /// A provisional version: a value, or `None` for a tombstone.
    Write(Option<Bytes>),
    /// The key is guarded or was read; it will not change.
    Unchanged,
}

/// One participant's share, prepared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Share {
    /// Under which attempt.
    pub(crate) attempt: Attempt,
    /// The lowest commit timestamp that it accepts (`p`).
    pub(crate) at: Timestamp,
    /// The transaction's age, by which waiters queue.
    pub(crate) age: TransactionId,
    /// The keys that it locks.
    pub(crate) locks: Vec<(Key, LockKind)>,
    /// What the operations gave; kept for the same attempt again.
    pub(crate) results: Vec<Option<Bytes>>,
}

/// One thing that an entry does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// A transaction of one partition is committed (R4): versions and outcome in one.
    Commit {
        /// Whose.
        name: TransactionName,
        /// Which attempt.
        attempt: Attempt,
        /// The commit timestamp `c`.
        at: Timestamp,
        /// The new versions; `None` is a tombstone.
        writes: Vec<(Key, Option<Bytes>)>,
    },
    /// A share is prepared (R5). What an earlier attempt prepared here is dropped.
    Prepare {
        /// Whose.
        name: TransactionName,
        /// The share.
        share: Share,
        /// At the anchor: limit and keys of the record, now *staging*.
        staging: Option<(Timestamp, Vec<Key>)>,
    },
    /// Attempts up to this one will never be prepared here (R8).
    Refuse {
        /// Whose.
        name: TransactionName,
        /// Up to which attempt.
        attempt: Attempt,
    },
    /// An attempt has ended at a participant (R7).
    Resolve {
        /// Whose.
        name: TransactionName,
        /// Which attempt.
        attempt: Attempt,
        /// How.
        decision: Decision,
    },
    /// The record is in this state from now on; its keys stay. The final states are outcomes too.
    SetRecord {
        /// Whose.
        name: TransactionName,
        /// The new state.
        state: RecordState,
    },
    /// The record goes, the outcome stays.
    ForgetRecord {
        /// Whose.
        name: TransactionName,
    },
    /// What is no longer needed goes.
    Collect {
        /// Nothing new is placed at or below this by any leader.
        closed: Timestamp,
        /// Outcomes whose retention is over: their rows go.
        outcomes: Vec<(Timestamp, TransactionId)>,
        /// Every outcome that expired below this has gone.
        outcomes_kept_from: Timestamp,
        /// Nobody needs the log up to here: every member has it, or gets a snapshot.
        replicated: LogIndex,
        /// Nobody reads below this any more; at most `closed`.
        horizon: Timestamp,
        /// Tombstones at or below the horizon that held before: they go, with everything that they hide.
        tombstones: Vec<(Key, Timestamp)>,
    },
}

impl Effect {
    /// The transaction that it touches.
    pub(crate) fn transaction(&self) -> Option<TransactionId> {
        match self {
            Effect::Commit { name, .. }
            | Effect::Prepare { name, .. }
            | Effect::Refuse { name, .. }
            | Effect::Resolve { name, .. }
            | Effect::SetRecord { name, .. }
            | Effect::ForgetRecord { name } => Some(name.id),
            Effect::Collect { .. } => None,
        }
    }
}

/// An entry's body does not read as effects. Its checksum held, so another version wrote it.
#[derive(Debug, thiserror::Error)]
#[error("the body of a log entry does not read as effects of version {BODY_VERSION}: {0}")]
pub(crate) struct UnreadableBody(String);

/// The body of an entry.
pub(crate) fn encode(effects: &[Effect]) -> Bytes {
    let body = postcard::to_extend(effects, vec![BODY_VERSION]);
    body.expect("effects are plain data and a vector takes any length")
        .into()
}

/// What the body of an entry says.
pub(crate) fn decode(body: &Bytes) -> Result<Vec<Effect>, UnreadableBody> {
    match body.split_first() {
        None => Ok(Vec::new()),
        Some((&BODY_VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|error| UnreadableBody(error.to_string()))
        }
        Some((version, _)) => Err(UnreadableBody(format!("it says version {version}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{attempt, key, name};

    #[test]
    fn what_is_written_reads_back() {
        let effects = vec![
            Effect::Commit {
                name: name(7),
                attempt: attempt(1),
                at: Timestamp::from_micros(9),
                writes: vec![(key("a"), None), (key("b"), Some("v".into()))],
            },
            Effect::ForgetRecord { name: name(8) },
        ];
        assert_eq!(decode(&encode(&effects)).unwrap(), effects);
        assert_eq!(decode(&Bytes::new()).unwrap(), vec![]);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let why = decode(&Bytes::from_static(&[9, 0]))
            .unwrap_err()
            .to_string();
        assert!(why.contains("version 9"), "{why}");
    }
}
