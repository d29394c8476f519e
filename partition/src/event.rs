//! What a replica is told, and what it wants done.

use crate::asker::Asker;
use crate::log::LogRecord;
use crate::replication::ChangeRefused;
use crate::versions::{StoreReport, StoreTask};
use clock::{Now, Timestamp};
use std::collections::BTreeSet;
use wire::ids::{Attempt, Generation, NodeId, Term};
use wire::keys::Key;
use wire::message::{
    Configured, LockLost, LogPosition, PartitionReply, PartitionRequest, ReplicationMessage,
    TransactionName, TransferFailure,
};

/// What is given with every event.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaContext<'a> {
    /// This node's clocks.
    pub now: &'a Now,
    /// The highest promise that this node has acknowledged to anyone; told at votes (R9).
    pub promised: Timestamp,
}

/// What happens to a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicaEvent {
    /// Somebody asks.
    Request {
        /// Who gets the reply.
        from: Asker,
        /// The descriptor generation that the asker routed by.
        generation: Generation,
        /// What is asked.
        request: PartitionRequest,
    },
    /// Whoever asked wants no answer any more: if the request still waits, it is dropped.
    Cancel {
        /// Who asked.
        from: Asker,
    },
    /// Another replica of the partition says something.
    Replication {
        /// Who.
        from: NodeId,
        /// What.
        message: ReplicationMessage,
    },
    /// This replica's last entry of a batch that became durable here.
    LogDurable {
        /// Its position.
        position: LogPosition,
    },
    /// The store reports: `Applied`, `Persisted` or `Answer` for this partition.
    Store(StoreReport),
    /// A member, this node included, has acknowledged a promise.
    PromiseAcknowledged {
        /// Who.
        by: NodeId,
        /// In which term it was asked for.
        term: Term,
        /// Up to where.
        promise: Timestamp,
    },
    /// The answer to [`ReplicaEffect::WantIncarnation`].
    Incarnation {
        /// Never given before on this node, which is durable.
        incarnation: u32,
    },
}

/// What a replica wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicaEffect {
    /// Write to the log.
    Log(LogRecord),
    /// Say something to another replica of the partition.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: ReplicationMessage,
        /// Only once everything logged in this turn and before is durable.
        after_log: bool,
    },
    /// Answer a request.
    Reply {
        /// Who asked.
        to: Asker,
        /// The answer.
        reply: PartitionReply,
    },
    /// Ask the store, or let it apply.
    Store(StoreTask),
    /// The log may forget this partition's entries up to here.
    Discard {
        /// Up to here.
        up_to: LogPosition,
    },
    /// This prepared lock is in the way, or long abandoned: see whether its coordinator lives, else
    /// recover it (R8).
    Push {
        /// A key that it locks, or the anchor of its record.
        key: Key,
        /// Whose it is.
        holder: TransactionName,
        /// Under which attempt.
        attempt: Attempt,
        /// An older transaction waits for it: the attempt is to end, even if its coordinator lives
        /// (wound-wait, R11), unless it turns out to be committed.
        wound: bool,
    },
    /// Unreplicated locks were dropped: their holder's gateway is to be told.
    LockLost {
        /// Which node.
        gateway: NodeId,
        /// What it is told.
        lost: LockLost,
    },
    /// Give it an incarnation that no rows stand under.
    WantIncarnation,
    /// Which rows of the store are this replica's has changed; true once what it logged is durable.
    LiveChanged,
    /// It has not forgotten any more: to be made durable after everything that it logged before.
    Remembered,
    /// It was named anew since it lost its memory: from now on it is one that began at this position, to be
    /// made durable after everything that it logged before.
    Begins {
        /// The position.
        at: LogPosition,
    },
    /// It is no member of its partition any more, by this configuration, which is committed: it is to be
    /// dropped.
    Removed {
        /// The configuration.
        configured: Configured,
        /// It is the last one up to here, which is committed too.
        as_of: LogPosition,
    },
    /// A change of members that this leader was asked for has ended.
    ChangeEnded {
        /// The voters that were wanted.
        voters: BTreeSet<NodeId>,
        /// They decide alone; or why not.
        ended: Result<(), ChangeRefused>,
    },
    /// It was elected.
    BecameLeader {
        /// In this term.
        term: Term,
    },
    /// It leads no longer.
    LostLeadership,
    /// A planned transfer has ended.
    TransferEnded {
        /// To whom leadership was to go.
        to: NodeId,
        /// Handed over, and a later term was heard of; or why not.
        ended: Result<(), TransferFailure>,
    },
}
