//! What a client asks of its gateway.

use super::{
    Change, Configuration, Guard, LockLoss, LockWait, Locked, Operation, OutcomeAnswer,
    ReadRequest, ReadResult, Rival, TransactionName, TransferFailure, Transferred, VersionedValue,
};
use crate::ids::{ClusterId, KeyspaceId, LogIndex, NodeId, PartitionId, Term, TransactionId};
use crate::keys::{Descriptor, Key, KeyRange};
use bytes::Bytes;
use clock::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a read looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Snapshot {
    /// At a timestamp that the gateway draws now (R1): sees everything acknowledged before.
    Fresh,
    /// At the snapshot of a transaction that is under way, or of the past.
    At(Timestamp),
}

/// A request of a client. Its number is in the frame's header.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClientRequest {
    /// Reads at one snapshot, over any partitions.
    Read {
        /// The transaction that reads, if it will write.
        reader: Option<TransactionId>,
        /// Where.
        snapshot: Snapshot,
        /// What.
        requests: Vec<ReadRequest>,
    },
    /// `get_for_update`: takes an exclusive lock and reads.
    Lock {
        /// Who.
        id: TransactionId,
        /// The id of the first run of its closure.
        age: TransactionId,
        /// Its snapshot; `Fresh` if it has read nothing yet.
        snapshot: Snapshot,
        /// Which key.
        key: Key,
        /// What to do if another transaction holds it.
        wait: LockWait,
    },
    /// Whether what was read at `from` still holds at `to`.
    Refresh {
        /// Who read.
        id: TransactionId,
        /// Its snapshot.
        from: Timestamp,
        /// The new snapshot.
        to: Timestamp,
        /// What it read.
        reads: Vec<KeyRange>,
    },
    /// Gives back the locks of a transaction that will not commit.
    Rollback {
        /// Whose.
        id: TransactionId,
        /// On which keys.
        keys: Vec<Key>,
    },
    /// Commits.
    Commit(Commit),
    /// What became of a commit (R10).
    Outcome {
        /// Whose.
        name: TransactionName,
    },
    /// A timestamp that the gateway draws now.
    Timestamp,
    /// The map of key ranges, their leaders and the nodes' addresses.
    Map,
    /// What the asked node knows of itself.
    Status,
    /// Hand over the leadership of a partition, which the asked node leads.
    Transfer {
        /// Which partition.
        partition: PartitionId,
        /// To whom; `None`: to the fittest.
        to: Option<NodeId>,
    },
}

/// A whole transaction to commit. The client keeps it until the answer, and may send it again, with
/// the same name, to any gateway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// Its name.
    pub name: TransactionName,
    /// The id of the first run of its closure.
    pub age: TransactionId,
    /// Its snapshot if it read; else `Fresh`.
    pub snapshot: Snapshot,
    /// What it read at the snapshot; a point is a range of one key.
    pub reads: Vec<KeyRange>,
    /// What must hold at the commit timestamp.
    pub guards: Vec<Guard>,
    /// What it writes; at least one.
    pub operations: Vec<Operation>,
    /// Keys that it locked and may not write, given back at the end.
    pub locked: Vec<Key>,
    /// It was sent before: "aborted" must be durable before it is told.
    pub resent: bool,
}

/// A commit succeeded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Committed {
    /// The commit timestamp.
    pub at: Timestamp,
    /// For each operation the new value if the server computed it. Empty if the answer is that of an
    /// earlier send: read the keys at `at`.
    pub results: Vec<Option<Bytes>>,
    /// How many attempts it took.
    pub attempts: u32,
    /// How many partitions it wrote.
    pub partitions: u32,
}

/// A commit did not happen and never will.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Aborted {
    /// Why.
    pub reason: AbortReason,
    /// *closed* is in the log. If not, the answer holds only for a commit that was sent once.
    pub durable: bool,
}

/// Why a commit did not happen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum AbortReason {
    /// A guard does not hold.
    #[error("the guard on {key} does not hold")]
    Guard {
        /// The guard's key.
        key: Key,
        /// What it is instead.
        found: Option<VersionedValue>,
    },
    /// An operation does not fit the value it met.
    #[error("the operation on {key} is not possible: {why}")]
    Operation {
        /// The key.
        key: Key,
        /// What is wrong.
        why: String,
    },
    /// Something that it read was changed by another transaction: run it again.
    #[error(
        "{key} was changed by {rival} since this one read it: run the transaction again (`transact` does so by itself)"
    )]
    Changed {
        /// Where.
        key: Key,
        /// By whom.
        rival: Rival,
    },
    /// Too many others wait for a key that it needs.
    #[error(
        "{waiting} others wait for {key} already: try again later, spread the writes over several keys, or write it with one operation that the server evaluates, such as add"
    )]
    HotKey {
        /// Which key.
        key: Key,
        /// How many wait for it.
        waiting: u32,
    },
    /// Others held locks for too long.
    #[error(
        "transaction {rival} held a lock on {key} until this one expired: run it again, or shorten the other"
    )]
    Contention {
        /// On which key.
        key: Key,
        /// Who.
        rival: TransactionId,
    },
    /// It could not be committed before it expired.
    #[error("the transaction expired before it could be committed: run it again")]
    Expired,
    /// It was closed: by a question for its outcome, or by a refusal told before.
    #[error("the transaction was closed before it could be committed: run it again")]
    Closed,
    /// The id was used for another transaction.
    #[error("the transaction id was already used with another expiry or anchor: use a new id")]
    OtherIdentity,
    /// What it read can no longer be compared: the versions since its snapshot are gone.
    #[error(
        "its snapshot {timestamp} is below the retention horizon {horizon}, so what it read cannot be checked: run the transaction again (`transact` does so by itself)"
    )]
    BelowHorizon {
        /// The snapshot.
        timestamp: Timestamp,
        /// The oldest readable timestamp.
        horizon: Timestamp,
    },
    /// A leader's disk is nearly full. Running it again at once does not help.
    #[error(
        "node {node} takes no writes: {free} bytes are free on its disk, less than the {reserve} of --disk-reserve. Make room there; it goes on by itself"
    )]
    DiskFull {
        /// The leader's node.
        node: NodeId,
        /// What is free, bytes.
        free: u64,
        /// What is to stay free, bytes.
        reserve: u64,
    },
}

/// Why a request was not served. Nothing was changed, unless the error says that it is not known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum RequestError {
    /// A key is too long.
    #[error(
        "the key {key} has {bytes} bytes, the most is {} (4 KiB)",
        crate::keys::KEY_BYTES_MAX
    )]
    KeyTooLong {
        /// The beginning of the key, escaped.
        key: String,
        /// Its length.
        bytes: u64,
    },
    /// A value is too long.
    #[error(
        "the value for {key} has {bytes} bytes, the most is {} (8 MiB)",
        crate::keys::VALUE_BYTES_MAX
    )]
    ValueTooLong {
        /// The key.
        key: Key,
        /// The value's length.
        bytes: u64,
    },
    /// A transaction writes too much.
    #[error(
        "the transaction writes {bytes} bytes, the most is {} (64 MiB): split it",
        crate::keys::TRANSACTION_BYTES_MAX
    )]
    TransactionTooLarge {
        /// Its size.
        bytes: u64,
    },
    /// A request reads too much.
    #[error(
        "with {key}, one request reads more than {} bytes of keys and values (64 MiB): ask for fewer keys at a time, or scan in pages",
        crate::keys::READ_BYTES_MAX
    )]
    ReadTooLarge {
        /// The key with which it is too much.
        key: Key,
    },
    /// There is no keyspace with this id: none was created that has it.
    #[error(
        "there is no keyspace with the id {}: ask for its id by its name, or create it with `keyspace create`", id.0
    )]
    NoSuchKeyspace {
        /// Which id.
        id: KeyspaceId,
    },
    /// A request makes no sense.
    #[error("the request is not valid: {why}")]
    Invalid {
        /// What is wrong with it.
        why: String,
    },
    /// The snapshot is too old.
    #[error(
        "timestamp {timestamp} is below the retention horizon {horizon}: older versions are gone"
    )]
    BelowHorizon {
        /// The timestamp asked for.
        timestamp: Timestamp,
        /// The oldest readable one.
        horizon: Timestamp,
    },
    /// The snapshot lies in the future.
    #[error("timestamp {timestamp} lies in the future: the latest possible time is {latest}")]
    TooFarAhead {
        /// The timestamp asked for.
        timestamp: Timestamp,
        /// What the node takes for the latest possible time.
        latest: Timestamp,
    },
    /// The node cannot draw or vouch for timestamps now.
    #[error("node {node} cannot vouch for its clock: {why}")]
    ClockUnusable {
        /// Which node.
        node: NodeId,
        /// What is wrong, and by how much.
        why: String,
        /// The request was begun before: of a commit it is not known what becomes of it.
        begun: bool,
    },
    /// Another transaction's lock was in the way for too long.
    #[error("waited too long for transaction {rival}, which holds a lock on {key}: try again")]
    LockWait {
        /// The key.
        key: Key,
        /// Who holds it.
        rival: TransactionId,
    },
    /// Too many requests wait for one key.
    #[error(
        "{waiting} others wait for {key} already: try again later, spread the writes over several keys, or write it with one operation that the server evaluates, such as add"
    )]
    HotKey {
        /// Which key.
        key: Key,
        /// How many wait for it.
        waiting: u32,
    },
    /// A lock of the transaction was dropped before it ended. Nothing is lost but the place in the queue.
    #[error(
        "the lock on {key} was lost: {loss}; run the transaction again (`transact` does so by itself)"
    )]
    LockLost {
        /// The key.
        key: Key,
        /// Why.
        loss: LockLoss,
    },
    /// No leader of a partition could be reached in time. For a commit: not known, ask `outcome`.
    #[error(
        "partition {partition} (from key {start}) has had no reachable leader for {waited_ms} ms: are a majority of its nodes {members:?} up?"
    )]
    Unavailable {
        /// Which partition.
        partition: PartitionId,
        /// The start of its range.
        start: Key,
        /// The nodes that hold it.
        members: Vec<NodeId>,
        /// How long was tried.
        waited_ms: u64,
    },
    /// Too many requests wait; try again.
    #[error("the node has too many requests waiting: try again in {retry_ms} ms")]
    Overloaded {
        /// When.
        retry_ms: u32,
    },
    /// The transaction that is asked about has this id, but another expiry or anchor.
    #[error(
        "transaction {id} has another expiry or anchor key: ask with both as they were when it was committed"
    )]
    OtherIdentity {
        /// The id.
        id: TransactionId,
    },
    /// The node does not belong to a cluster yet.
    #[error("the node has not joined a cluster yet: {why}")]
    NotFounded {
        /// What it waits for.
        why: String,
    },
    /// Leadership was not handed over.
    #[error("the leadership of {partition} was not transferred: {why}")]
    NotTransferred {
        /// Of which partition.
        partition: PartitionId,
        /// Why not.
        why: TransferFailure,
    },
}

/// The answer to a request that was served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClientAnswer {
    /// To `Read`.
    Read {
        /// The snapshot.
        at: Timestamp,
        /// One result for each request, in order.
        results: Vec<ReadResult>,
    },
    /// To `Lock`.
    Locked {
        /// The snapshot that the lock was taken with.
        at: Timestamp,
        /// The lock and what it covers.
        locked: Locked,
    },
    /// To `Lock` with [`LockWait::Refuse`]: another transaction holds the key.
    Taken {
        /// Which key.
        key: Key,
        /// Who holds it.
        rival: TransactionId,
    },
    /// To `Refresh`: `None` if nothing changed.
    Refreshed {
        /// Something that changed.
        changed: Option<Change>,
    },
    /// To `Rollback`.
    RolledBack,
    /// To `Commit`.
    Committed(Committed),
    /// To `Commit`.
    Aborted(Aborted),
    /// To `Outcome`: never `Staging`.
    Outcome(OutcomeAnswer),
    /// To `Timestamp`.
    Timestamp(Timestamp),
    /// To `Map`.
    Map(MapAnswer),
    /// To `Status`.
    Status(Box<NodeStatus>),
    /// To `Transfer`: another leads.
    Transferred(Transferred),
}

/// What a gateway answers.
pub type ClientReply = Result<ClientAnswer, RequestError>;

/// A node and where it listens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberAddress {
    /// Which node.
    pub node: NodeId,
    /// Where it listens.
    pub address: String,
}

/// The map of key ranges as a node knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MapAnswer {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that answers.
    pub node: NodeId,
    /// Every partition, by range, and the node that leads it as far as known.
    pub partitions: Vec<(Descriptor, Option<NodeId>)>,
    /// The nodes and where they listen.
    pub nodes: Vec<MemberAddress>,
}

/// The role of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReplicaRole {
    /// Replicates and votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads, but does not serve yet: an entry of its term is not committed or its promise does not hold.
    LeaderStarting,
    /// Leads and serves.
    Leader,
}

/// One replica on a node. The chain of log positions:
/// `low_water <= stored <= commit <= last`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// Which partition.
    pub descriptor: Descriptor,
    /// Its members, as this replica's log has them.
    pub configuration: Configuration,
    /// What this replica is.
    pub role: ReplicaRole,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Everything below is discarded from the log.
    pub low_water: LogIndex,
    /// Applied to the store up to here.
    pub stored: LogIndex,
    /// Committed up to here (high-water mark).
    pub commit: LogIndex,
    /// The end of the log.
    pub last: LogIndex,
    /// The retention horizon: nobody reads below it.
    pub horizon: Timestamp,
    /// The promise that holds, for a leader.
    pub promise: Timestamp,
    /// Keys locked by prepared transactions.
    pub locks: u64,
    /// Requests that wait for something.
    pub waiting: u64,
    /// The snapshot that is being installed in its place, if there is one.
    pub installing: Option<InstallingStatus>,
    /// Whether it has lost its memory and does not hold again what others may count on.
    pub has_forgotten: bool,
}

/// How far the installation of a snapshot has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstallingStatus {
    /// The last entry that the snapshot contains.
    pub up_to: LogIndex,
    /// Bytes that have come in so far.
    pub bytes: u64,
    /// Whether all of it has come in, and only the store's tables are waited for.
    pub is_complete: bool,
}

/// How a node sees another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// Where it listens.
    pub address: String,
    /// Whether a connection to it stands.
    pub connected: bool,
    /// Milliseconds since something was heard from it; `None` if never.
    pub heard_ms: Option<u64>,
    /// How its clock compares with this node's; `None` if it has not said lately.
    pub clock: Option<PeerClock>,
}

/// How another node's physical clock compares with this one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerClock {
    /// How far it is ahead, microseconds; negative: behind.
    pub ahead_us: i64,
    /// How wrong that can be, for the message's time on the way, microseconds.
    pub within_us: u64,
    /// Its bound, microseconds; `None`: its source vouches for nothing.
    pub bound_us: Option<u64>,
    /// Whether the two can both be right, both vouched for: their intervals meet.
    pub agrees: Option<bool>,
}

/// Why a node does not rely on its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum ClockCause {
    /// It has just started.
    #[error("it has just started and has not compared its clock with another node's yet")]
    Unproven,
    /// The time source vouches for nothing.
    #[error("its time source vouches for no bound")]
    NotVouched,
    /// The source vouches for less than is of use.
    #[error("its clock bound is {bound_us} us, the most is {max_us} us")]
    BoundTooWide {
        /// The bound.
        bound_us: u64,
        /// The most.
        max_us: u64,
    },
    /// The clock was set.
    #[error("its clock stepped by {by_us} us, the bound allowed {allowed_us} us")]
    Stepped {
        /// Forward; negative: backward.
        by_us: i64,
        /// What was allowed.
        allowed_us: u64,
    },
    /// The clock runs too fast or too slow.
    #[error(
        "its clock drifted by {by_us} us within {within_ms} ms, the bound allowed {allowed_us} us"
    )]
    Drifted {
        /// Too fast; negative: too slow.
        by_us: i64,
        /// In this time.
        within_ms: u64,
        /// What was allowed.
        allowed_us: u64,
    },
    /// Most of the other nodes' clocks contradict it.
    #[error("its clock is off by {off_us} us: {against} of {heard} other nodes contradict it")]
    Contradicted {
        /// Ahead of them; negative: behind.
        off_us: i64,
        /// How many contradict.
        against: u32,
        /// Of how many that are heard and vouched for.
        heard: u32,
    },
    /// It has issued timestamps that its clock has not reached.
    #[error("its clock is {by_us} us behind the timestamps that it issued before")]
    Behind {
        /// By how much.
        by_us: u64,
    },
}

/// A node is in quarantine because of its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockTrouble {
    /// Why: what is wrong now, or was last.
    pub cause: ClockCause,
    /// For how long, milliseconds.
    pub for_ms: u64,
    /// It comes back in this time if the clock stays good, milliseconds; `None`: it is not good yet.
    pub back_in_ms: Option<u64>,
}

impl std::fmt::Display for ClockTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.cause)?;
        match self.back_in_ms {
            Some(ms) => write!(
                f,
                "; it has been good since and is relied on again in {ms} ms"
            ),
            None => Ok(()),
        }
    }
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// How often it has started.
    pub start: u32,
    /// Where it listens.
    pub address: String,
    /// The program's version.
    pub version: String,
    /// The clock bound, microseconds; `None`: its source vouches for nothing.
    pub clock_bound_us: Option<u64>,
    /// The bound's source, in words.
    pub clock_source: String,
    /// It does not rely on its clock: it leads nothing and coordinates nothing.
    pub clock_trouble: Option<ClockTrouble>,
    /// How often its clock was found unreliable since it started.
    pub clock_quarantines: u64,
    /// Why it should lead nothing at present, and gives away what it leads or is given nothing.
    pub unfit: Option<super::Unfit>,
    /// Its hybrid clock.
    pub hybrid_clock: Timestamp,
    /// Its durable ceiling.
    pub ceiling: Timestamp,
    /// Milliseconds since it started.
    pub up_ms: u64,
    /// Bytes of log on disk.
    pub log_bytes: u64,
    /// Bytes that are free on the disk; `None` until it was looked at.
    pub disk_free: Option<u64>,
    /// Bytes that are to stay free: with less, its leaders refuse writes.
    pub disk_reserve: u64,
    /// Stamps refused because of drift.
    pub drift_refused: u64,
    /// Transactions that it coordinates now.
    pub coordinating: u64,
    /// Its replicas.
    pub replicas: Vec<ReplicaStatus>,
    /// The other nodes.
    pub peers: Vec<PeerStatus>,
}
