//! What a replica is told at its start, what it is, and what it wants done.

use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{Entry, ReplicationMessage, TransferFailure};

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
    /// All members, this one included.
    pub members: Vec<NodeId>,
    /// How long it waits.
    pub timing: ReplicationTiming,
    /// Of the random election timeouts.
    pub seed: u64,
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
