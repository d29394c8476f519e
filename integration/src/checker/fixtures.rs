//! Small histories for the checkers' own tests.

use crate::history::{History, Observation, Told, Transaction};
use clock::Timestamp;
use std::time::Duration;
use wire::ids::TransactionId;
use wire::keys::{DEFAULT_KEYSPACE, Key};
use wire::message::{Operation, TransactionName, VersionedValue};

pub(super) fn key(user: &str) -> Key {
    Key::new(DEFAULT_KEYSPACE, user.as_bytes())
}

pub(super) fn ts(number: u64) -> Timestamp {
    Timestamp::from_bits(number)
}

pub(super) fn get(user: &str, found: Option<(u64, &'static str)>) -> Observation {
    let found = found.map(|(at, value)| VersionedValue {
        timestamp: ts(at),
        value: value.into(),
    });
    Observation::Get {
        key: key(user),
        found,
    }
}

fn transaction() -> Transaction {
    Transaction {
        process: 0,
        workload: "test",
        invoked: Duration::ZERO,
        completed: None,
        name: None,
        snapshot: None,
        past: false,
        reads: Vec::new(),
        locking: false,
        guards: Vec::new(),
        operations: Vec::new(),
        told: Told::Nothing,
        settled: None,
        heard: Vec::new(),
    }
}

/// Only reads, at a snapshot.
pub(super) fn read(at: u64, reads: Vec<Observation>) -> Transaction {
    Transaction {
        snapshot: Some(ts(at)),
        reads,
        told: Told::Read,
        ..transaction()
    }
}

/// Committed at a timestamp.
pub(super) fn commit(at: u64, operations: Vec<Operation>) -> Transaction {
    let anchor = operations[0].key.clone();
    let id = TransactionId {
        time: ts(at),
        random: at,
    };
    Transaction {
        name: Some(TransactionName {
            id,
            expires: Timestamp::MAX,
            anchor,
        }),
        operations,
        told: Told::Committed {
            at: ts(at),
            results: vec![],
            partitions: 1,
            resent: false,
        },
        ..transaction()
    }
}

/// A history; each transaction begins when the one before it has ended, unless its times are set.
pub(super) fn history(transactions: impl IntoIterator<Item = Transaction>) -> History {
    let mut history = History::new();
    for (place, mut transaction) in transactions.into_iter().enumerate() {
        if transaction.completed.is_none() {
            transaction.invoked = Duration::from_millis(10 * place as u64 + 1);
            transaction.completed = Some(Duration::from_millis(10 * place as u64 + 9));
        }
        history.push(transaction);
    }
    history
}

/// The same transaction with times of its own, milliseconds.
pub(super) fn during(from: u64, to: u64, transaction: Transaction) -> Transaction {
    Transaction {
        invoked: Duration::from_millis(from),
        completed: Some(Duration::from_millis(to)),
        ..transaction
    }
}
