//! Short names for what tests say over and over.

use clock::Timestamp;
use wire::ids::{Attempt, CoordinatorIncarnation, NodeId, TransactionId};
use wire::keys::{DEFAULT_KEYSPACE, Key, KeyRange};
use wire::message::TransactionName;

pub(crate) fn key(user: &str) -> Key {
    Key::new(DEFAULT_KEYSPACE, user.as_bytes())
}

pub(crate) fn range(start: &str, end: &str) -> KeyRange {
    KeyRange::new(key(start), Some(key(end)))
}

/// Milliseconds since the epoch of the tests.
pub(crate) fn ts(n: u64) -> Timestamp {
    Timestamp::from_micros(n * 1000)
}

pub(crate) fn id(n: u64) -> TransactionId {
    TransactionId {
        time: ts(n),
        random: n,
    }
}

/// Anchored at `a`, far from expiring.
pub(crate) fn name(n: u64) -> TransactionName {
    TransactionName {
        id: id(n),
        expires: ts(1_000_000),
        anchor: key("a"),
    }
}

pub(crate) fn attempt(number: u32) -> Attempt {
    attempt_of(number, 1)
}

pub(crate) fn attempt_of(number: u32, node: u32) -> Attempt {
    Attempt {
        number,
        coordinator: CoordinatorIncarnation {
            node: NodeId(node),
            start: 1,
            sequence: 1,
        },
    }
}
