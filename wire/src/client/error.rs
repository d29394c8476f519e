//! What can go wrong for a program that uses the store.

use crate::ids::TransactionId;
use crate::keys::Key;
use crate::message::{AbortReason, RequestError, TransactionName};
use std::time::Duration;

/// Why something that a program asked for was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No address answered.
    #[error("no node answers at {}: is one running there?", list(tried))]
    Connect {
        /// The addresses, and what went wrong at each.
        tried: Vec<(String, String)>,
    },
    /// Nodes answered, but none of them serves.
    #[error("{} (so the node at {at}){}", why, others(tried))]
    NotServing {
        /// The first node that answered.
        at: String,
        /// What it said.
        why: String,
        /// The other addresses, and what went wrong at each.
        tried: Vec<(String, String)>,
    },
    /// No gateway answered in time. Nothing is known to be changed.
    #[error("no node answered within {}; the last failure: {last}", rounded(*waited))]
    Unreachable {
        /// How long was tried.
        waited: Duration,
        /// What went wrong last.
        last: String,
    },
    /// The one node that was asked did not answer.
    #[error("{why}")]
    NoAnswer {
        /// What went wrong.
        why: String,
    },
    /// The request was not served.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The transaction did not happen and never will.
    #[error("transaction {id} was not committed: {reason}")]
    Aborted {
        /// Which.
        id: TransactionId,
        /// Why.
        reason: AbortReason,
    },
    /// A key that was to be locked at once or not at all is held by another transaction.
    #[error(
        "transaction {rival} holds a lock on {key}: try again later, or take the lock without nowait to queue for it"
    )]
    KeyLocked {
        /// Which key.
        key: Key,
        /// Who holds it.
        rival: TransactionId,
    },
    /// It could not be learned in time whether the transaction was committed.
    #[error(
        "it is not known whether transaction {} was committed: ask `outcome` for it once a majority of the nodes is up",
        name.id
    )]
    OutcomeUnknown {
        /// Its name, to ask with.
        name: TransactionName,
    },
    /// An operation does not fit the value that the transaction itself sees.
    #[error("the operation on {key} is not possible: {why}")]
    Operation {
        /// The key.
        key: Key,
        /// What is wrong.
        why: String,
    },
    /// The transaction was committed or rolled back already.
    #[error("the transaction has ended already: begin another one")]
    Ended,
    /// `transact` gave up.
    #[error("gave up after {runs} runs in {}; the last one: {last}", rounded(*waited))]
    RetriesExhausted {
        /// How often the closure ran.
        runs: u32,
        /// For how long.
        waited: Duration,
        /// How the last run ended.
        last: Box<Error>,
    },
    /// There is no such keyspace.
    #[error("there is no keyspace '{name}': create it with `keyspace create {name}`")]
    NoSuchKeyspace {
        /// The name.
        name: String,
    },
    /// There is such a keyspace already.
    #[error("there is a keyspace '{name}' already")]
    KeyspaceExists {
        /// The name.
        name: String,
    },
    /// A keyspace cannot be called so.
    #[error("'{name}' cannot name a keyspace: take 1 to {max} letters, digits, '-', '_' or '.'")]
    KeyspaceName {
        /// The name.
        name: String,
        /// The longest name, bytes.
        max: usize,
    },
    /// A node answered something else than what was asked.
    #[error("the node at {gateway} did not answer with {expected}: does it run another version?")]
    UnexpectedAnswer {
        /// Where.
        gateway: String,
        /// What should have come.
        expected: &'static str,
    },
    /// The system gave no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Randomness(#[from] getrandom::Error),
    /// The closure of `transact` ended the transaction with an error of its own.
    #[error("{0}")]
    User(Box<dyn std::error::Error + Send + Sync>),
}

/// A duration as a message names it, to a tenth of a second.
pub(super) fn rounded(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn others(tried: &[(String, String)]) -> String {
    match tried {
        [] => String::new(),
        tried => format!("; others: {}", list(tried)),
    }
}

fn list(tried: &[(String, String)]) -> String {
    let each = tried.iter().map(|(at, why)| format!("{at} ({why})"));
    each.collect::<Vec<_>>().join(", ")
}

impl Error {
    /// An error of the program's own, to leave `transact` with.
    pub fn user(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::User(error.into())
    }

    /// Whether the same transaction, run again, may well succeed: it lost against another one.
    pub fn is_conflict(&self) -> bool {
        self.conflict().is_some()
    }

    /// A copy of this error if it is a conflict.
    pub(super) fn conflict(&self) -> Option<Error> {
        use AbortReason::{BelowHorizon, Changed, Closed, Contention, Expired, HotKey};
        match self {
            Error::Aborted { id, reason } => match reason {
                Changed { .. }
                | Contention { .. }
                | HotKey { .. }
                | BelowHorizon { .. }
                | Expired
                | Closed => Some(Error::Aborted {
                    id: *id,
                    reason: reason.clone(),
                }),
                _ => None,
            },
            Error::Request(
                lost @ (RequestError::LockWait { .. }
                | RequestError::LockLost { .. }
                | RequestError::HotKey { .. }),
            ) => Some(Error::Request(lost.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_said_leads_and_durations_are_short() {
        let error = Error::NotServing {
            at: "a:1".into(),
            why: "the node has not joined a cluster yet".into(),
            tried: vec![("b:2".into(), "refused".into())],
        };
        assert_eq!(
            error.to_string(),
            "the node has not joined a cluster yet (so the node at a:1); others: b:2 (refused)"
        );
        let error = Error::Unreachable {
            waited: Duration::from_nanos(15_001_638_937),
            last: "x".into(),
        };
        assert!(error.to_string().contains("within 15.0 s;"), "{error}");
    }
}
