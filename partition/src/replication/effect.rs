//! What a replica is told at its start, what it is, and what it wants done.

use clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{
    Configured, Entry, LogPosition, ReplicationMessage, SnapshotChunk, TransferFailure,
};

/// How long the core waits for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicationTiming {
    /// How often a leading node is heard. Unanswered questions for votes are asked again as often.
    pub heartbeat: Duration,
    /// Silence of a leader after which others ask for votes; each time anew between this and twice
    /// this. Also how long a leader may be out of touch with a majority.
    pub election_timeout: Duration,
    /// How long a leader waits for an answer to an `Append` before it sends again.
    pub resend_after: Duration,
}

/// Who this replica is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicationConfig {
    /// The node that holds it.
    pub me: NodeId,
    /// The members at the base of its log, or later as far as the state tells.
    pub configured: Configured,
    /// The highest promise that a change of members up to there carried.
    pub carried: Timestamp,
    /// What it was told of its members when it began: it goes by that until its log reaches as far.
    pub told: Option<Configured>,
    /// All nodes of the cluster: any of them may have been given the partition. Asked by a member that lost
    /// its memory, before it takes the partition for new.
    pub nodes: BTreeSet<NodeId>,
    /// How long it waits.
    pub timing: ReplicationTiming,
    /// Of the random election timeouts.
    pub seed: u64,
    /// What it remembers.
    pub memory: Recollection,
}

/// What a replica remembers, as long as it has not said [`ReplicationEffect::Remembered`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum Recollection {
    /// Everything.
    #[default]
    Whole,
    /// It has lost its memory.
    Lost,
    /// It began here, as a new member, by the entry at this position, and was none before that others may
    /// count on.
    BegunAt(LogPosition),
}

/// What a replica is within its partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower {
        /// Whom, if known.
        leader: Option<NodeId>,
    },
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks for votes in its term.
    Candidate,
    /// Leads in its term.
    Leader,
}

/// What the core wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplicationEffect {
    /// Write an entry to the log. It replaces what stood at its index and above.
    LogEntry(Entry),
    /// Write term and vote to the log.
    LogHardState {
        /// The term.
        term: Term,
        /// Who has this replica's vote in it.
        voted_for: Option<NodeId>,
    },
    /// Send a message.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: ReplicationMessage,
        /// Only once everything logged in this turn and before is durable.
        after_log: bool,
    },
    /// The high-water mark rose. Durable at a majority; perhaps not yet on this node's own disk
    /// ([`super::Replication::durable`]).
    Committed {
        /// To here.
        up_to: LogIndex,
    },
    /// Read the next chunk of a snapshot of the state; a number that is new begins one. Answered with
    /// [`super::Replication::on_snapshot_read`] or [`super::Replication::on_snapshot_lost`].
    ReadSnapshot {
        /// Which snapshot of this leadership.
        number: u64,
    },
    /// The snapshot that was read is not needed any more.
    EndSnapshot,
    /// Write a chunk of a snapshot that may take this replica's place; one with sequence 0 begins anew.
    /// Told with [`super::Replication::on_snapshot_stored`]; once all of it is written for good,
    /// [`super::Replication::install_snapshot`] is to be called.
    TakeSnapshot(SnapshotChunk),
    /// Forget the snapshot that came in.
    DropSnapshot,
    /// Others have heard of a promise so high: write it to the log as the node's own, before what
    /// follows.
    Promised {
        /// The promise.
        promised: Timestamp,
    },
    /// It holds everything again that others may count on: it has not forgotten any more, which is to be
    /// made durable after everything before.
    Remembered,
    /// It had lost its memory, and since it asked it was named a new member, by the entry at this position,
    /// which is committed: from now on it is [`Recollection::BegunAt`], which is to be made durable after
    /// everything before.
    Begins {
        /// The position.
        at: LogPosition,
    },
    /// It is no member any more, by this configuration, which is committed. Said once; its driver drops it.
    Removed {
        /// The configuration.
        configured: Configured,
        /// It is the last one up to here, which is committed too.
        as_of: LogPosition,
    },
    /// It follows now: another leader, none, or in another term.
    BecameFollower {
        /// In this term.
        term: Term,
        /// Whom, if known.
        leader: Option<NodeId>,
    },
    /// It asks for votes.
    BecameCandidate {
        /// In this term.
        term: Term,
    },
    /// It leads. Nothing may be answered before an entry of this term is committed
    /// ([`super::Replication::first_of_term_committed`]).
    BecameLeader {
        /// In this term.
        term: Term,
    },
    /// A planned transfer has ended.
    TransferEnded {
        /// To whom leadership was to go.
        to: NodeId,
        /// Handed over, and a later term was heard of; or why not.
        ended: Result<(), TransferFailure>,
    },
}
