//! What is in the log, and what a restart finds there.

use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeMap;
use wire::ids::{NodeId, PartitionId, Term};
use wire::keys::Descriptor;
use wire::message::{Entry, LogPosition};

/// One record of the write-ahead log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogRecord {
    /// An entry of a partition's replicated log. It replaces what was logged at its index and above.
    Entry {
        /// The partition.
        partition: PartitionId,
        /// The entry.
        entry: Entry,
    },
    /// The term of a replica and its vote in it. The latest of a partition holds.
    HardState {
        /// The partition.
        partition: PartitionId,
        /// The latest term that this replica knows of.
        term: Term,
        /// Whom it voted for in that term.
        voted_for: Option<NodeId>,
    },
    /// A replica stands here from now on: created at founding or installed from a snapshot. Entries
    /// that were logged for the partition before are void; its hard state stays.
    ReplicaInstalled {
        /// The partition.
        partition: PartitionId,
        /// Names the replica's rows in this node's store.
        incarnation: u32,
        /// Its range and members.
        descriptor: Descriptor,
        /// What its state contains already; the next entry has the index after it.
        base: LogPosition,
    },
    /// The replica is gone, its hard state with it.
    ReplicaDropped {
        /// The partition.
        partition: PartitionId,
    },
    /// The node's durable ceiling of timestamps. The highest holds.
    Ceiling {
        /// No timestamp above it was ever promised or issued.
        timestamp: Timestamp,
    },
    /// The node's own facts (identity, acceptor of the founding); the latest of a kind is kept for ever.
    Meta {
        /// Which fact.
        kind: u8,
        /// What it says; opaque here.
        body: Bytes,
    },
}

/// Records that become durable together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogBatch {
    /// Told back when the batch is durable; grows with each batch.
    pub sequence: u64,
    /// In order.
    pub records: Vec<LogRecord>,
}

impl LogBatch {
    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> u64 {
        let bytes = self.records.iter().map(|record| match record {
            LogRecord::Entry { entry, .. } => entry.body.len(),
            LogRecord::Meta { body, .. } => body.len(),
            _ => 0,
        });
        let overhead = self.records.len() * size_of::<LogRecord>();
        (bytes.sum::<usize>() + overhead) as u64
    }
}

/// One replica as a restart finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveredReplica {
    /// Names its rows in this node's store.
    pub incarnation: u32,
    /// Its range and members when it was installed.
    pub descriptor: Descriptor,
    /// The latest term that it knew of.
    pub term: Term,
    /// Whom it voted for in that term.
    pub voted_for: Option<NodeId>,
    /// The log was discarded up to here.
    pub base: LogPosition,
    /// Consecutive from the index after `base`.
    pub entries: Vec<Entry>,
}

/// Everything that a restart finds in the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveredLog {
    /// The replicas of this node.
    pub replicas: BTreeMap<PartitionId, RecoveredReplica>,
    /// The highest durable ceiling; `ZERO` if none was ever set.
    pub ceiling: Timestamp,
    /// The latest fact of each kind.
    pub metas: BTreeMap<u8, Bytes>,
    /// Where an unfinished write was cut off, if there was one.
    pub torn_tail: Option<TornTail>,
}

/// The end of the last write before a crash. It was never acknowledged, so it is cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The file.
    pub file: String,
    /// The first byte that is cut off.
    pub offset: u64,
}
