//! What clients did and were told: the one record that every checker reads.
//!
//! A transaction is one line of it: when it was begun, what it read, what it asked to write, and what
//! it was told and when. Times are virtual and true (no node's clock), counted from the start of the
//! run. The four kinds of event of Jepsen's histories are derived from it: *invoke* at
//! [`Transaction::invoked`], then *ok*, *fail* (certainly nothing happened) or *info* (not known).
//!
//! Two facts are kept apart, and a checker holds them against each other: what the client was told
//! when it asked to commit ([`Told`]) and what the store says of the outcome later ([`Settled`]).

use bytes::Bytes;
use clock::Timestamp;
use std::time::Duration;
use wire::keys::{Key, KeyRange};
use wire::message::{
    AbortReason, Guard, Operation, OutcomeAnswer, ReadRequest, ReadResult, RequestError, Row,
    TransactionName, VersionedValue,
};

/// Names one transaction of a history: its place in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TransactionIndex(pub usize);

/// One thing that a transaction read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// One key.
    Get {
        /// Which.
        key: Key,
        /// What was found.
        found: Option<VersionedValue>,
    },
    /// A range.
    Scan {
        /// The range that was asked for.
        range: KeyRange,
        /// From the end backwards.
        reverse: bool,
        /// What was found, in that order.
        rows: Vec<Row>,
        /// What was not looked at.
        rest: Option<KeyRange>,
    },
}

impl Observation {
    /// Pairs a request with its result; `None` if the result is of another kind.
    pub fn new(request: &ReadRequest, result: ReadResult) -> Option<Observation> {
        match (request, result) {
            (ReadRequest::Get { key }, ReadResult::Value(found)) => Some(Observation::Get {
                key: key.clone(),
                found,
            }),
            (ReadRequest::Scan { range, reverse, .. }, ReadResult::Rows { rows, rest }) => {
                Some(Observation::Scan {
                    range: range.clone(),
                    reverse: *reverse,
                    rows,
                    rest,
                })
            }
            _ => None,
        }
    }

    /// The range of keys that the observation says something about.
    pub fn covered(&self) -> KeyRange {
        match self {
            Observation::Get { key, .. } => KeyRange::point(key.clone()),
            Observation::Scan {
                range,
                reverse,
                rest,
                ..
            } => match rest {
                None => range.clone(),
                Some(rest) if *reverse => {
                    let start = rest.end.clone().unwrap_or_else(Key::least);
                    KeyRange::new(start, range.end.clone())
                }
                Some(rest) => KeyRange::new(range.start.clone(), Some(rest.start.clone())),
            },
        }
    }

    /// Every key that was found, with its version.
    pub fn found(&self) -> impl Iterator<Item = (&Key, &VersionedValue)> {
        let (one, many) = match self {
            Observation::Get { key, found } => (found.as_ref().map(|v| (key, v)), &[][..]),
            Observation::Scan { rows, .. } => (None, &rows[..]),
        };
        one.into_iter()
            .chain(many.iter().map(|row| (&row.key, &row.version)))
    }

    /// The value of a point read, or of nothing.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Observation::Get { found, .. } => found.as_ref().map(|v| &v.value),
            Observation::Scan { .. } => None,
        }
    }

    /// The value of a point read as a number; an absent key counts as 0.
    pub fn number(&self) -> Option<i64> {
        match self.value() {
            None => Some(0),
            Some(value) => number(value),
        }
    }
}

/// A value as the decimal number that it spells.
pub fn number(value: &Bytes) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// What the client was told when it asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// Nothing definite.
    Nothing,
    /// A read-only transaction was answered.
    Read,
    /// Committed.
    Committed {
        /// The commit timestamp.
        at: Timestamp,
        /// For each operation the new value if the server computed it; may be empty.
        results: Vec<Option<Bytes>>,
        /// How many partitions it wrote.
        partitions: u32,
        /// It was sent more than once.
        resent: bool,
    },
    /// Certainly not committed.
    Aborted {
        /// Why.
        reason: AbortReason,
        /// The refusal is in the log.
        durable: bool,
    },
    /// Not served, and certainly without effect.
    NotServed(RequestError),
    /// The client itself gave up before it asked to commit.
    GivenUp,
}

/// What the store answered later to the question for the outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// When the answer came.
    pub at: Duration,
    /// The answer.
    pub answer: OutcomeAnswer,
}

/// What is answered to somebody who sends the same commit again, or asks for its outcome, elsewhere,
/// while the first copy may be at work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is committed.
    Committed {
        /// The commit timestamp.
        at: Timestamp,
    },
    /// It is not, for good.
    Aborted,
    /// It is not, as far as one copy goes. No copy that is marked as sent before may be told so.
    RefusedForNow,
}

/// A verdict, and when it was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// When.
    pub at: Duration,
    /// What.
    pub verdict: Verdict,
}

/// What is known in the end about a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It only read, at this snapshot.
    Read {
        /// The snapshot.
        at: Timestamp,
    },
    /// It committed.
    Committed {
        /// The commit timestamp.
        at: Timestamp,
    },
    /// It had no effect.
    NoEffect,
    /// Nobody knows.
    Unknown,
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Who ran it. A process whose transaction's outcome is unknown runs no further one.
    pub process: u32,
    /// Of which workload it is.
    pub workload: &'static str,
    /// When its first request was sent.
    pub invoked: Duration,
    /// When the client was told, if it was told something definite.
    pub completed: Option<Duration>,
    /// Its name, if it asked to commit.
    pub name: Option<TransactionName>,
    /// Its snapshot, if it read.
    pub snapshot: Option<Timestamp>,
    /// The client chose the snapshot, somewhere in the past: real time says nothing about what it reads.
    pub past: bool,
    /// What it read, all of it at the snapshot.
    pub reads: Vec<Observation>,
    /// It took locks before it read: its reads are vouched for only if it committed.
    pub locking: bool,
    /// What had to hold.
    pub guards: Vec<Guard>,
    /// What it asked to write.
    pub operations: Vec<Operation>,
    /// What the client was told.
    pub told: Told,
    /// What the store said later.
    pub settled: Option<Settled>,
    /// What those heard who sent it again, or asked for its outcome, elsewhere.
    pub heard: Vec<Heard>,
}

impl Transaction {
    /// What is known about it. What the client was told comes first; the two are compared elsewhere.
    pub fn fate(&self) -> Fate {
        match (&self.told, &self.settled) {
            (Told::Read, _) => match self.snapshot {
                Some(at) => Fate::Read { at },
                None => Fate::NoEffect,
            },
            (Told::Committed { at, .. }, _) => Fate::Committed { at: *at },
            (Told::Aborted { .. } | Told::NotServed(_) | Told::GivenUp, _) => Fate::NoEffect,
            (Told::Nothing, Some(settled)) => match settled.answer {
                OutcomeAnswer::Committed { at } => Fate::Committed { at },
                OutcomeAnswer::Aborted => Fate::NoEffect,
                OutcomeAnswer::Staging { .. } | OutcomeAnswer::NoLongerKept => Fate::Unknown,
            },
            (Told::Nothing, None) if self.name.is_none() => Fate::NoEffect,
            (Told::Nothing, None) => Fate::Unknown,
        }
    }

    /// The commit timestamp, if it committed.
    pub fn committed_at(&self) -> Option<Timestamp> {
        match self.fate() {
            Fate::Committed { at } => Some(at),
            _ => None,
        }
    }

    /// When somebody first knew that it is committed, or that its reads are answered.
    pub fn acknowledged(&self) -> Option<Duration> {
        let told = match (&self.told, &self.settled) {
            (Told::Read | Told::Committed { .. }, _) => self.completed,
            (Told::Nothing, Some(settled)) => match settled.answer {
                OutcomeAnswer::Committed { .. } => Some(settled.at),
                _ => None,
            },
            _ => None,
        };
        let heard = self.heard.iter().filter_map(|heard| match heard.verdict {
            Verdict::Committed { .. } => Some(heard.at),
            Verdict::Aborted | Verdict::RefusedForNow => None,
        });
        heard.chain(told).min()
    }
}

/// All transactions of a run, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct History {
    transactions: Vec<Transaction>,
}

impl History {
    /// Nothing yet.
    pub fn new() -> History {
        History::default()
    }

    /// A transaction begins.
    pub fn begin(
        &mut self,
        process: u32,
        workload: &'static str,
        now: Duration,
    ) -> TransactionIndex {
        self.push(Transaction {
            process,
            workload,
            invoked: now,
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
        })
    }

    /// Adds a whole transaction.
    pub fn push(&mut self, transaction: Transaction) -> TransactionIndex {
        self.transactions.push(transaction);
        TransactionIndex(self.transactions.len() - 1)
    }

    /// One of them.
    pub fn get(&self, index: TransactionIndex) -> &Transaction {
        &self.transactions[index.0]
    }

    /// One of them, to add what became known.
    pub fn get_mut(&mut self, index: TransactionIndex) -> &mut Transaction {
        &mut self.transactions[index.0]
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (TransactionIndex, &Transaction)> {
        self.transactions
            .iter()
            .enumerate()
            .map(|(index, transaction)| (TransactionIndex(index), transaction))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// How many were acknowledged: answered reads and told commits.
    pub fn acknowledged(&self) -> usize {
        let told = |t: &&Transaction| matches!(t.told, Told::Read | Told::Committed { .. });
        self.transactions.iter().filter(told).count()
    }
}
