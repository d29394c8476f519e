//! The names of things that more than one crate speaks of. Each is a type of its own, never a bare
//! integer.

use clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// A node of the cluster. Given once, at founding or on joining; a wiped disk gets a new one.
    NodeId(u32), "n"
);
number!(
    /// A partition: one key range with one replicated log. Partition 1 is the consistent core.
    PartitionId(u32), "p"
);
number!(
    /// A keyspace: 0 is the system's, 1 is `default`.
    KeyspaceId(u32), "ks"
);
number!(
    /// The generation of a partition's leadership (pattern Generation Clock). At most one leader a term.
    Term(u64), "t"
);
number!(
    /// A position in one partition's replicated log. The first entry has index 1; 0 is "none".
    LogIndex(u64), "i"
);
number!(
    /// The generation of a partition's descriptor: grows with every change of range or members.
    Generation(u64), "g"
);

impl LogIndex {
    /// The position after this one.
    pub const fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }
}

impl Term {
    /// The term after this one.
    pub const fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

/// A cluster, named at its founding by 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A transaction: the client's time and 64 random bits, one for all its attempts.
///
/// Ordered by time first, so it also serves as an age: the smaller, the older.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransactionId {
    /// When the client made it; ages are compared by it, nothing else depends on it.
    pub time: Timestamp,
    /// Random bits, so that no two are equal.
    pub random: u64,
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.time.to_bits(), self.random)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not a transaction id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "'{0}' is not a transaction id: write it as the store printed it, two groups of 16 hexadecimal digits joined by '-'"
)]
pub struct ParseTransactionIdError(String);

impl std::str::FromStr for TransactionId {
    type Err = ParseTransactionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (time, random) = text.split_once('-')?;
            if time.len() != 16 || random.len() != 16 {
                return None;
            }
            Some(TransactionId {
                time: Timestamp::from_bits(u64::from_str_radix(time, 16).ok()?),
                random: u64::from_str_radix(random, 16).ok()?,
            })
        };
        parse().ok_or_else(|| ParseTransactionIdError(text.to_owned()))
    }
}

/// One life of one coordinator: a node, how often it had started, and a number within that start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CoordinatorIncarnation {
    /// The gateway.
    pub node: NodeId,
    /// How often that node had started.
    pub start: u32,
    /// Which coordinator of that start.
    pub sequence: u64,
}

/// One attempt to commit a transaction. The same number from another incarnation is refused, never
/// answered from store (protocol, *Words*).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// Who makes it.
    pub coordinator: CoordinatorIncarnation,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.coordinator;
        write!(f, "#{}@{}.{}.{}", self.number, c.node, c.start, c.sequence)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
