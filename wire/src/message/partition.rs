//! What gateways and recoverers ask of a partition's leader.

use super::{
    Change, ChangeRecord, Decision, Guard, Operation, OutcomeAnswer, ReadRequest, ReadResult,
    RecordAnswer, Rival, TransactionName, VersionedValue,
};
use crate::ids::{Attempt, NodeId, PartitionId, Term, TransactionId};
use crate::keys::{Descriptor, Key, KeyRange};
use bytes::Bytes;
use clock::Timestamp;
use serde::{Deserialize, Serialize};

/// A request to the leader of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PartitionRequest {
    /// Reads at a snapshot (R2).
    Read(Read),
    /// Takes an exclusive, unreplicated lock (R3, R11).
    Lock(Lock),
    /// Takes exclusive, unreplicated locks on many keys, without reading them (R11).
    LockAll(LockAll),
    /// The transaction that holds these unreplicated locks is still open.
    KeepLocks {
        /// Whose.
        id: TransactionId,
        /// On which keys.
        keys: Vec<Key>,
    },
    /// Gives unreplicated locks back.
    Unlock {
        /// Whose.
        id: TransactionId,
        /// On which keys.
        keys: Vec<Key>,
    },
    /// The whole of a transaction that touches only this partition (R4).
    Commit(CommitOne),
    /// One participant's share of a transaction (R5).
    Prepare(Prepare),
    /// Whether what was read has changed since (R5).
    Refresh(Refresh),
    /// Changes or reads a record at the anchor.
    ChangeRecord(ChangeRecord),
    /// Whether keys are prepared; refuses them for good where they are not (R8).
    CheckPrepared(CheckPrepared),
    /// Ends an attempt at a participant (R7).
    Resolve(Resolve),
    /// Every key of the transaction is resolved: its record goes, its outcome stays.
    ForgetRecord {
        /// Whose.
        name: TransactionName,
    },
    /// The outcome; closes a transaction that is not known below `expires` (R10).
    Outcome {
        /// Whose.
        name: TransactionName,
    },
}

/// Reads at a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Read {
    /// The transaction that reads, so that it is not pushed by its own reads.
    pub reader: Option<TransactionId>,
    /// The snapshot.
    pub timestamp: Timestamp,
    /// What to read; every key lies in the partition's range.
    pub requests: Vec<ReadRequest>,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// One result for each request, in order.
    pub results: Vec<ReadResult>,
    /// The newest version that the answer depends on, tombstones and absences included. The gateway
    /// tells nobody before its `earliest` has passed it (R6).
    pub depends_on: Timestamp,
}

/// Takes an exclusive lock on a key, in memory at the leader.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lock {
    /// Who takes it.
    pub id: TransactionId,
    /// Its age: the id of the first run of its closure.
    pub age: TransactionId,
    /// The key.
    pub key: Key,
    /// Its snapshot.
    pub timestamp: Timestamp,
    /// The gateway, told if the lock is dropped.
    pub gateway: NodeId,
    /// What to do if another transaction holds the key.
    pub wait: LockWait,
}

/// What is done if a key that is to be locked is held by another transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LockWait {
    /// Queue for it, by age.
    Queue,
    /// Say at once who holds it.
    Refuse,
}

/// Takes exclusive locks on many keys of one partition, in memory at the leader, in key order: what is
/// locked stays so while the next key is waited for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockAll {
    /// Who takes them.
    pub id: TransactionId,
    /// Its age.
    pub age: TransactionId,
    /// The keys, ascending.
    pub keys: Vec<Key>,
    /// The gateway, told if a lock is dropped.
    pub gateway: NodeId,
}

/// Unreplicated locks were dropped; their holder did not give them back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockLost {
    /// Whose.
    pub id: TransactionId,
    /// On which keys.
    pub keys: Vec<Key>,
    /// Why.
    pub loss: LockLoss,
}

/// Why an unreplicated lock was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LockLoss {
    /// An older transaction had waited for it.
    Wounded {
        /// The older one's age: the id of its first run.
        by: TransactionId,
    },
    /// The partition has another leader now, or the leader heard nothing of the gateway for 5 s.
    Dropped,
}

impl std::fmt::Display for LockLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockLoss::Wounded { by } => write!(f, "the older transaction {by} needed it"),
            LockLoss::Dropped => f.write_str(
                "its partition's leader changed, or the transaction did nothing for too long",
            ),
        }
    }
}

/// A lock is held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Locked {
    /// The newest committed version of the key.
    pub value: Option<VersionedValue>,
    /// The newest version, tombstones included, `ZERO` if there is none. Above the snapshot, the
    /// transaction must move its snapshot up before it may use the value.
    pub newest: Timestamp,
}

/// A transaction of one partition, in one request and one log entry (R4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommitOne {
    /// Its name.
    pub name: TransactionName,
    /// Its attempt.
    pub attempt: Attempt,
    /// Its age.
    pub age: TransactionId,
    /// Its snapshot `r`.
    pub timestamp: Timestamp,
    /// What it read at `r`, all in this partition.
    pub reads: Vec<KeyRange>,
    /// What must hold.
    pub guards: Vec<Guard>,
    /// What it writes.
    pub operations: Vec<Operation>,
    /// The commit may also have been sent another way: a refusal must be made durable (*closed*)
    /// before it is told.
    pub resent: bool,
}

/// One participant's share of a transaction over several partitions (R5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Prepare {
    /// Its name.
    pub name: TransactionName,
    /// Its attempt.
    pub attempt: Attempt,
    /// Its age.
    pub age: TransactionId,
    /// Its snapshot `r`.
    pub timestamp: Timestamp,
    /// What it read at `r` in this partition: its own reads do not push it.
    pub reads: Vec<KeyRange>,
    /// What must hold here. The keys are locked as if they were written.
    pub guards: Vec<Guard>,
    /// What it writes here.
    pub operations: Vec<Operation>,
    /// Points that were read here and are locked although they are not written, so that the limit
    /// can be unbounded. They must not have changed above `r`.
    pub locked_reads: Vec<Key>,
    /// At the anchor: the record's limit and all written and locked keys of the transaction.
    pub staging: Option<(Timestamp, Vec<Key>)>,
}

/// A share is prepared, at a quorum.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Prepared {
    /// The lowest commit timestamp that this participant accepts (`p`).
    pub timestamp: Timestamp,
    /// The attempt as stored.
    pub attempt: Attempt,
    /// The record's limit as stored, at the anchor.
    pub limit: Option<Timestamp>,
    /// For each operation the new value if the server computed it.
    pub results: Vec<Option<Bytes>>,
}

/// Asks whether anything that was read has changed (R5); answered under R2 at `to`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refresh {
    /// Who read.
    pub reader: TransactionId,
    /// The snapshot at which it read.
    pub from: Timestamp,
    /// Where the reads should also hold.
    pub to: Timestamp,
    /// What it read here.
    pub reads: Vec<KeyRange>,
}

/// Asks whether keys are prepared under an attempt; where they are not, refuses that attempt for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckPrepared {
    /// Whose.
    pub name: TransactionName,
    /// Which attempt.
    pub attempt: Attempt,
    /// Which keys, all in this partition.
    pub keys: Vec<Key>,
}

/// What a participant says of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Checked {
    /// All the keys are prepared at this timestamp.
    Prepared(Timestamp),
    /// Not all are, and never will be under this attempt: the refusal is in the log.
    Refused,
    /// The attempt, or a later one, has ended here.
    Ended(Decision),
}

/// Ends an attempt at a participant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resolve {
    /// Whose.
    pub name: TransactionName,
    /// Which attempt.
    pub attempt: Attempt,
    /// How it ended.
    pub decision: Decision,
}

/// Why a commit or prepare was refused. An answer, not a fact, unless `durable` was said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// A guard does not hold.
    Guard {
        /// The guard's key.
        key: Key,
        /// What it is instead.
        found: Option<VersionedValue>,
    },
    /// An operation does not fit the value it meets.
    Operation {
        /// The key.
        key: Key,
        /// What is wrong.
        why: String,
    },
    /// Something that was read has changed since.
    Changed {
        /// Where.
        key: Key,
        /// By whom.
        rival: Rival,
    },
    /// Another transaction held a lock for too long.
    Contention {
        /// On which key.
        key: Key,
        /// Who.
        rival: TransactionId,
    },
    /// Too many requests wait for a key already.
    HotKey {
        /// Which key.
        key: Key,
        /// How many wait for it.
        waiting: u32,
    },
    /// `expires` has passed, or the timestamp would reach it.
    Expired,
    /// This attempt, or a later one, has ended or been refused here.
    StaleAttempt,
    /// The transaction is closed.
    Closed,
    /// The id was used with another `expires`, anchor or coordinator.
    OtherIdentity,
    /// The leader's disk is nearly full.
    DiskFull {
        /// The leader's node.
        node: NodeId,
        /// What is free, bytes.
        free: u64,
        /// What is to stay free, bytes.
        reserve: u64,
    },
}

/// What a leader answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PartitionReply {
    /// To `Read`.
    Read(ReadAnswer),
    /// To `Lock`.
    Locked(Locked),
    /// To `Lock` with [`LockWait::Refuse`]: another transaction holds the key.
    Taken {
        /// Which key.
        key: Key,
        /// Who holds it.
        rival: TransactionId,
    },
    /// To `LockAll`: all of them are held.
    LockedAll,
    /// To `KeepLocks`.
    Kept {
        /// The keys among them that are not held, or no longer.
        lost: Vec<Key>,
    },
    /// To `Unlock`.
    Unlocked,
    /// To `Commit`: committed, at a quorum.
    Committed {
        /// The commit timestamp.
        at: Timestamp,
        /// For each operation the new value if the server computed it; empty if the answer comes
        /// from a stored outcome.
        results: Vec<Option<Bytes>>,
    },
    /// To `Commit` with a transaction that changes nothing: it holds at this timestamp.
    Unchanged {
        /// Where it holds; the gateway waits until `earliest` has passed it.
        at: Timestamp,
    },
    /// To `Commit` or `Prepare`: refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// *closed* is in the log: the transaction will never commit.
        durable: bool,
        /// The newest version that the refusal depends on.
        depends_on: Timestamp,
    },
    /// To `Commit` or `Prepare` if the id is found under another coordinator: recover it.
    OtherCoordinator {
        /// The attempt that was found.
        attempt: Attempt,
    },
    /// To `Prepare`: prepared, at a quorum.
    Prepared(Prepared),
    /// To `Refresh`: `None` if nothing changed.
    Refreshed {
        /// Something that changed.
        changed: Option<Change>,
    },
    /// To `ChangeRecord`.
    Record(RecordAnswer),
    /// To `CheckPrepared`.
    Checked(Checked),
    /// To `Resolve` and `ForgetRecord`: it is in the log.
    Done,
    /// To `Outcome`.
    Outcome(OutcomeAnswer),
    /// The request was not served, and left nothing; see [`PartitionError`].
    Error(PartitionError),
}

/// Why a request was not served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum PartitionError {
    /// This node does not lead the partition.
    #[error("partition {partition} is not led here")]
    NotLeader {
        /// Which partition.
        partition: PartitionId,
        /// Who leads it, as far as this node knows.
        leader: Option<NodeId>,
        /// The term this node is in.
        term: Term,
    },
    /// Leadership was lost while the request was under way: unknown, ask again with the same attempt.
    #[error("leadership of partition {partition} was lost while the request was under way")]
    LeadershipLost {
        /// Which partition.
        partition: PartitionId,
    },
    /// The node holds no such partition, or a key lies outside its range.
    #[error("the request does not fit the range of partition {partition}")]
    WrongRange {
        /// Which partition was asked.
        partition: PartitionId,
        /// Its descriptor here, if there is one.
        descriptor: Option<Descriptor>,
    },
    /// A timestamp lies further ahead than the allowed drift.
    #[error(
        "timestamp {timestamp} is too far ahead of {latest}, the leader's latest possible time"
    )]
    TooFarAhead {
        /// The timestamp that was asked for.
        timestamp: Timestamp,
        /// The leader's `latest`.
        latest: Timestamp,
    },
    /// A timestamp lies below the retention horizon.
    #[error("timestamp {timestamp} is below the retention horizon {horizon}")]
    BelowHorizon {
        /// The timestamp that was asked for.
        timestamp: Timestamp,
        /// The oldest readable one.
        horizon: Timestamp,
    },
    /// Another transaction's lock was in the way for too long.
    #[error("waited too long for transaction {rival}, which holds a lock on {key}")]
    LockWait {
        /// The key.
        key: Key,
        /// Who holds it.
        rival: TransactionId,
    },
    /// Too many requests wait for one key.
    #[error("{waiting} requests wait for {key} already")]
    HotKey {
        /// Which key.
        key: Key,
        /// How many wait for it.
        waiting: u32,
    },
    /// Too many requests wait.
    #[error("partition {partition} has too many requests waiting")]
    Overloaded {
        /// Which partition.
        partition: PartitionId,
    },
    /// What one request would have to gather is more than a node keeps in memory for it.
    #[error(
        "with {key}, one request reads more than {} bytes (64 MiB)",
        crate::keys::READ_BYTES_MAX
    )]
    ReadTooLarge {
        /// The key with which it is too much.
        key: Key,
    },
}
