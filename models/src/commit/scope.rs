//! What is explored: which transactions, and how much may go wrong.

use super::Mutant;
use super::types::{Keys, PartitionIndex, TRANSACTIONS_MAX, partition_of};

/// What one transaction does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// Read at the snapshot, before commit.
    pub reads: Keys,
    /// Written. What is also read is a locked read.
    pub writes: Keys,
    /// Of what is written: new values are computed by the leader from the newest.
    pub updates: Keys,
    /// The key that it wrote first.
    pub anchor: usize,
    /// Its client may send the commit again through another gateway.
    pub is_sent_again: bool,
}

impl Transaction {
    /// One that adds to each key.
    pub fn update(keys: &[usize]) -> Transaction {
        Transaction {
            updates: Keys::of(keys),
            ..Transaction::write(&[], keys)
        }
    }

    /// One that reads, then writes.
    pub fn write(reads: &[usize], writes: &[usize]) -> Transaction {
        Transaction {
            reads: Keys::of(reads),
            writes: Keys::of(writes),
            updates: Keys::default(),
            anchor: writes.first().copied().unwrap_or_default(),
            is_sent_again: false,
        }
    }

    /// One that only reads.
    pub fn read(reads: &[usize]) -> Transaction {
        Transaction::write(reads, &[])
    }

    /// The same, and the client may send the commit again.
    pub fn sent_again(self) -> Transaction {
        Transaction {
            is_sent_again: true,
            ..self
        }
    }

    /// Whether it writes nothing.
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty()
    }

    /// The partition that it touches, if it is but one and it writes there (R4).
    pub fn is_in_one_partition(&self) -> bool {
        let all = Keys(self.reads.0 | self.writes.0);
        all.partitions().count() == 1
    }

    /// The partition that holds its record.
    pub fn anchor_partition(&self) -> PartitionIndex {
        partition_of(self.anchor)
    }

    /// What was read and is not locked by the prepare.
    pub fn unlocked_reads(&self) -> Keys {
        self.reads.without(self.writes)
    }
}

/// What is explored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// How it is called on the command line.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The transactions.
    pub transactions: Vec<Transaction>,
    /// How often each coordinator of each transaction may try.
    pub attempts: [u8; TRANSACTIONS_MAX],
    /// How often each transaction may be recovered by whoever meets a lock of it.
    pub recoveries: [u8; TRANSACTIONS_MAX],
    /// How often a leader may change, in all.
    pub leader_changes: u8,
    /// The deposed leader goes on answering below its promise.
    pub deposed_answers: bool,
    /// How many entries may be under way at a partition; 0: an entry is committed when it is proposed.
    pub pipeline: usize,
    /// Whose coordinators may lose patience and abort: a set of bits.
    pub impatient: u8,
    /// Messages may come any number of times.
    pub doubled: bool,
    /// The rule that is broken.
    pub mutant: Option<Mutant>,
}

impl Scope {
    fn new(name: &'static str, about: &'static str, transactions: &[Transaction]) -> Scope {
        assert!(
            transactions.len() <= TRANSACTIONS_MAX,
            "a scope has at most {TRANSACTIONS_MAX} transactions, {name} has {}",
            transactions.len()
        );
        Scope {
            name,
            about,
            transactions: transactions.to_vec(),
            attempts: [2, 1, 1],
            recoveries: [1, 0, 0],
            leader_changes: 0,
            deposed_answers: false,
            pipeline: 0,
            impatient: 0b001,
            doubled: false,
            mutant: None,
        }
    }

    /// Whether the coordinators of a transaction may lose patience.
    pub fn is_impatient(&self, transaction: usize) -> bool {
        self.impatient & (1 << transaction) != 0
    }

    /// Whether the rule is broken.
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Messages may come any number of times.
    pub fn doubled(self) -> Scope {
        Scope {
            doubled: true,
            ..self
        }
    }

    /// With a rule broken.
    pub fn broken(self, mutant: Mutant) -> Scope {
        Scope {
            mutant: Some(mutant),
            ..self
        }
    }
}

impl Scope {
    /// The scopes of one and two transactions: explored to the end.
    pub fn pairs() -> Vec<Scope> {
        use Transaction as T;
        vec![
            Scope {
                recoveries: [0; TRANSACTIONS_MAX],
                impatient: 0,
                ..Scope::new(
                    "two-gateways",
                    "one update through two gateways, two attempts each",
                    &[T::update(&[0, 2]).sent_again()],
                )
            },
            Scope::new(
                "updates",
                "two updates of the same two keys, in opposite order",
                &[T::update(&[0, 2]), T::update(&[2, 0])],
            ),
            Scope::new(
                "skew",
                "each reads what the other writes, over both partitions",
                &[T::write(&[1], &[0, 2]), T::write(&[0], &[1, 3])],
            ),
            Scope::new(
                "pushed",
                "one is pushed by the other's read, and has read what the other writes",
                &[T::write(&[3], &[0, 2]), T::write(&[0], &[1, 3])],
            ),
            Scope::new(
                "local-skew",
                "each reads what the other writes, in one partition (R4)",
                &[T::write(&[1], &[0]), T::write(&[0], &[1])],
            ),
            Scope::new(
                "local",
                "an update over both partitions, and one in one partition that also reads",
                &[T::update(&[0, 2]), T::write(&[0], &[1])],
            ),
            Scope::new(
                "audit",
                "an update, and a reader of the same keys",
                &[T::update(&[0, 2]), T::read(&[0, 2])],
            ),
            Scope {
                attempts: [1, 1, 1],
                ..Scope::new(
                    "sent-again",
                    "an update that is sent through two gateways, and a reader",
                    &[T::update(&[0, 2]).sent_again(), T::read(&[0, 2])],
                )
            },
            Scope {
                attempts: [1, 1, 1],
                leader_changes: 1,
                pipeline: 1,
                deposed_answers: true,
                ..Scope::new(
                    "leaders",
                    "an update, a reader, and a change of leader with an entry under way",
                    &[T::update(&[0, 2]), T::read(&[0, 2])],
                )
            },
            Scope {
                attempts: [1, 1, 1],
                leader_changes: 1,
                pipeline: 1,
                deposed_answers: true,
                ..Scope::new(
                    "leaders-skew",
                    "each reads what the other writes, and a leader changes",
                    &[T::write(&[1], &[0, 2]), T::write(&[0], &[1, 3])],
                )
            },
        ]
    }

    /// The scopes of three transactions.
    pub fn triples() -> Vec<Scope> {
        use Transaction as T;
        vec![
            Scope {
                recoveries: [1, 1, 0],
                attempts: [1, 1, 1],
                ..Scope::new(
                    "audited-updates",
                    "two updates of the same two keys, and a reader of both",
                    &[T::update(&[0, 2]), T::update(&[2, 0]), T::read(&[0, 2])],
                )
            },
            Scope {
                recoveries: [1, 1, 0],
                attempts: [1, 1, 1],
                ..Scope::new(
                    "chain",
                    "each reads what the next writes, and a reader of both",
                    &[
                        T::write(&[1], &[0, 2]),
                        T::write(&[0], &[1, 3]),
                        T::read(&[1, 2]),
                    ],
                )
            },
            Scope {
                attempts: [1, 1, 1],
                ..Scope::new(
                    "ring",
                    "each reads what the next writes, around",
                    &[
                        T::write(&[1], &[0, 2]),
                        T::write(&[3], &[1]),
                        T::write(&[0], &[3]),
                    ],
                )
            },
        ]
    }

    /// The scope in which a broken rule shows, with that rule broken.
    pub fn catching(mutant: Mutant) -> Scope {
        let name = match mutant {
            Mutant::NoRefusalMarker
            | Mutant::RecoveryWithoutRecord
            | Mutant::AttemptOfTwoGateways
            | Mutant::NoEndedMarker => "two-gateways",
            Mutant::AbortedBeforeDurable
            | Mutant::PrepareIgnoresReads
            | Mutant::NoTimestampCache => "local-skew",
            Mutant::RecoveryIgnoresLimit
            | Mutant::UnboundedLimit
            | Mutant::RefreshIgnoresLocks
            | Mutant::RefreshDoesNotRaise => "pushed",
            Mutant::LimitNotCompared | Mutant::ReadSkipsLock => "skew",
            Mutant::NextAttemptBeforeAborted => "updates",
            Mutant::ToldAfterAbortSent
            | Mutant::ResolvedBeforeRecord
            | Mutant::ResolvesAnyAttempt
            | Mutant::SnapshotFromThePast => "audit",
            Mutant::PreparedAnew
            | Mutant::LockAfterProposal
            | Mutant::EmptyCacheOfNewLeader
            | Mutant::CacheWithoutPromise
            | Mutant::MissingTakenAsRecorded
            | Mutant::ServesBeforeOwnEntry => "leaders",
        };
        let scope = Scope::find(name).expect("the scopes of mutants are there");
        scope.broken(mutant)
    }

    /// All scopes.
    pub fn all() -> Vec<Scope> {
        let mut all = Scope::pairs();
        all.extend(Scope::triples());
        all
    }

    /// The scope of that name.
    pub fn find(name: &str) -> Option<Scope> {
        Scope::all().into_iter().find(|scope| scope.name == name)
    }
}
