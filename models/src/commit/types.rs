//! The values of which the model's states are made: all small, so that millions of them fit.

use std::fmt;

/// A timestamp. Small numbers stand for themselves: only their order and the successor matter.
pub type Timestamp = u8;

/// A limit that every commit timestamp is within.
pub const UNBOUNDED: Timestamp = Timestamp::MAX;
/// The most transactions that a scope may have.
pub const TRANSACTIONS_MAX: usize = 3;
/// Partitions.
pub const PARTITIONS: usize = 2;
/// Keys: two at each partition.
pub const KEYS: usize = 4;

/// A transaction's place in its scope.
pub type TransactionIndex = u8;
/// A partition's number.
pub type PartitionIndex = u8;

/// The partition that holds a key.
pub fn partition_of(key: usize) -> PartitionIndex {
    (key / 2) as PartitionIndex
}

/// A set of keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Keys(pub u8);

impl Keys {
    /// Of the keys with these numbers.
    pub fn of(keys: &[usize]) -> Keys {
        Keys(keys.iter().fold(0, |set, key| set | 1 << key))
    }

    /// Those that a partition holds.
    pub fn at(self, partition: PartitionIndex) -> Keys {
        Keys(self.0 & (0b11 << (2 * partition)))
    }

    /// Those that are not in the other set.
    pub fn without(self, other: Keys) -> Keys {
        Keys(self.0 & !other.0)
    }

    /// Those in both sets.
    pub fn and(self, other: Keys) -> Keys {
        Keys(self.0 & other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a key is among them.
    pub fn has(self, key: usize) -> bool {
        self.0 & (1 << key) != 0
    }

    /// Their numbers.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..KEYS).filter(move |key| self.has(*key))
    }

    /// The partitions that hold any of them.
    pub fn partitions(self) -> impl Iterator<Item = PartitionIndex> {
        (0..PARTITIONS as PartitionIndex).filter(move |partition| !self.at(*partition).is_empty())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["a", "b", "y", "z"];
        let names: Vec<&str> = self.iter().map(|key| names[key]).collect();
        write!(f, "{{{}}}", names.join(" "))
    }
}

/// Whose version was seen of each key: nobody's, or that of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Saw(u8);

impl Saw {
    /// The writer of the version that was seen of `key`, if it was not the first value.
    pub fn writer(self, key: usize) -> Option<TransactionIndex> {
        ((self.0 >> (2 * key)) & 0b11).checked_sub(1)
    }

    /// Remembers what was seen of a key.
    pub fn note(&mut self, key: usize, writer: Option<TransactionIndex>) {
        let seen = writer.map_or(0, |writer| writer + 1);
        self.0 = self.0 & !(0b11 << (2 * key)) | seen << (2 * key);
    }

    /// What both have seen, of different keys.
    pub fn and(self, other: Saw) -> Saw {
        Saw(self.0 | other.0)
    }
}

impl fmt::Debug for Saw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen: Vec<String> = (0..KEYS)
            .filter_map(|key| {
                Some(format!(
                    "{:?} of T{}",
                    Keys::of(&[key]),
                    self.writer(key)? + 1
                ))
            })
            .collect();
        write!(f, "[{}]", seen.join(" "))
    }
}

/// An attempt: its number, and the incarnation of the coordinator that makes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    /// From 1 on.
    pub number: u8,
    /// Which gateway.
    pub by: u8,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of gateway {}", self.number, self.by + 1)
    }
}

/// The record of a transaction at its anchor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Record {
    /// There is none.
    Missing,
    /// Committed if everything is prepared under this attempt, at most at the limit.
    Staging {
        /// Under which.
        attempt: Attempt,
        /// Its coordinator vouches for what was read up to here.
        limit: Timestamp,
    },
    /// This attempt is dead.
    Aborted(Attempt),
    /// Aborted for good.
    Closed,
    /// For good.
    Committed {
        /// Under which attempt.
        attempt: Attempt,
        /// At which timestamp.
        at: Timestamp,
    },
}

/// What a participant remembers of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Marker {
    /// Nothing.
    None,
    /// Its share is prepared: the keys are locked, provisional versions stand at `at`.
    Prepared {
        /// Under which.
        attempt: Attempt,
        /// The lowest commit timestamp that it accepts.
        at: Timestamp,
        /// What the transaction saw, as far as this participant knows: for the judge of the history.
        saw: Saw,
    },
    /// This attempt and earlier ones are refused.
    Refused(Attempt),
    /// This attempt has ended: committed at a timestamp, or not.
    Ended(Attempt, Option<Timestamp>),
}

impl Marker {
    /// The number of the attempt that it speaks of; zero if it speaks of none.
    pub fn number(self) -> u8 {
        match self {
            Marker::None => 0,
            Marker::Prepared { attempt, .. } | Marker::Refused(attempt) => attempt.number,
            Marker::Ended(attempt, _) => attempt.number,
        }
    }
}

/// A change of a record, by compare-and-set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Change {
    /// Only look.
    Look,
    /// To *aborted* (attempt).
    Abort(Attempt),
    /// To *closed*.
    Close,
    /// To *committed at*.
    Commit(Timestamp),
    /// The limit only, upwards.
    RaiseLimit(Timestamp),
}

/// Who asks: one of the two gateways that coordinate a transaction, or whoever recovers it.
pub type Actor = u8;

/// The actor that recovers a transaction it has met.
pub const RECOVERER: Actor = 2;

/// A question to a partition's leader.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Message {
    /// About which transaction.
    pub transaction: TransactionIndex,
    /// Who asks.
    pub from: Actor,
    /// Whom.
    pub to: PartitionIndex,
    /// What.
    pub body: Body,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Body {
    /// R2.
    Read {
        /// The snapshot.
        at: Timestamp,
    },
    /// R5.
    Prepare {
        /// Under which.
        attempt: Attempt,
        /// The snapshot.
        snapshot: Timestamp,
        /// At the anchor: stage the record with this limit.
        limit: Option<Timestamp>,
        /// What was read before.
        saw: Saw,
    },
    /// R5: does what was read hold?
    Refresh {
        /// The snapshot.
        from: Timestamp,
        /// At this timestamp still?
        to: Timestamp,
    },
    /// At the anchor.
    Change {
        /// The whole value that the record must have.
        expected: Record,
        /// What becomes of it.
        change: Change,
    },
    /// R8.
    Check {
        /// Is it prepared?
        attempt: Attempt,
    },
    /// R7.
    Resolve {
        /// Which attempt has ended.
        attempt: Attempt,
        /// When it committed, if it did.
        committed: Option<Timestamp>,
    },
}

/// A leader's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Whose versions were seen.
    Read(Saw),
    /// As stored.
    Prepared {
        /// The lowest commit timestamp that the participant accepts.
        at: Timestamp,
        /// The limit in the record, if it stands there under this attempt.
        limit: Option<Timestamp>,
    },
    /// Something that was read has changed.
    Conflict,
    /// The attempt is dead, or the transaction has ended.
    Stale,
    /// An attempt of another coordinator stands there.
    OtherCoordinator(Attempt),
    /// In one partition: it is committed.
    Committed(Timestamp),
    /// Whether something has changed.
    Refreshed(bool),
    /// The record as it is now, and whether it was changed as asked.
    Record(Record, bool),
    /// The share is prepared, at this timestamp.
    CheckedPrepared(Timestamp),
    /// It is not, and never will be.
    CheckedRefused,
    /// It has ended.
    CheckedEnded(Option<Timestamp>),
    /// The attempt is resolved here.
    Done,
}

/// What a log entry does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Locks, provisional versions and marker; at the anchor the record too.
    Prepare {
        /// Under which.
        attempt: Attempt,
        /// The prepared timestamp.
        at: Timestamp,
        /// Of the record, at the anchor.
        limit: Option<Timestamp>,
        /// For the judge.
        saw: Saw,
    },
    /// R4: the versions and the outcome at once.
    Commit {
        /// Under which.
        attempt: Attempt,
        /// When.
        at: Timestamp,
        /// For the judge.
        saw: Saw,
    },
    /// Leaves a *refused* marker.
    Refuse(Attempt),
    /// *Prepared* becomes *ended*.
    Resolve(Attempt, Option<Timestamp>),
    /// The record becomes this.
    Set(Record),
}

/// An entry that is proposed and not committed yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// What asked for it, and gets the answer.
    pub asked: Message,
    /// What it does.
    pub effect: Effect,
    /// The leader evaluates as if it were not there. Only mutants hide entries.
    pub is_hidden: bool,
}
