//! What replicas of one partition say to each other (patterns Replicated Log, Leader and Followers;
//! Ongaro, *Consensus: Bridging Theory and Practice*, 2014).

use crate::ids::{LogIndex, NodeId, Term};
use bytes::Bytes;
use clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Index and term of an entry; ordered as Raft compares logs: term first.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct LogPosition {
    /// The term of the entry.
    pub term: Term,
    /// Its index.
    pub index: LogIndex,
}

/// One entry of a partition's log. The body is an encoded set of effects; empty is "no effect".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The term in which a leader appended it.
    pub term: Term,
    /// Its index.
    pub index: LogIndex,
    /// What it does.
    pub body: Bytes,
}

impl Entry {
    /// Its index and term.
    pub fn position(&self) -> LogPosition {
        LogPosition {
            term: self.term,
            index: self.index,
        }
    }
}

/// A piece of a snapshot: what a partition's state was when exactly the entries up to `position` had
/// been applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The last entry that the snapshot contains.
    pub position: LogPosition,
    /// Its place among the snapshot's chunks, from 0.
    pub sequence: u64,
    /// Whether it is the last one.
    pub is_last: bool,
    /// Rows, encoded by the partition.
    pub body: Bytes,
}

/// The members of a partition (joint consensus; Ongaro 2014, section 4.3).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Configuration {
    /// Of whom a majority decides.
    pub voters: BTreeSet<NodeId>,
    /// Of whom a majority must agree too, while one set of voters takes another's place; else nobody.
    pub outgoing: BTreeSet<NodeId>,
    /// Who gets the log and decides nothing.
    pub learners: BTreeSet<NodeId>,
}

impl Configuration {
    /// These voters and nobody else.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Configuration {
        Configuration {
            voters: voters.into_iter().collect(),
            ..Configuration::default()
        }
    }

    /// Whether one set of voters is taking another's place.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a node has a vote.
    pub fn has_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether a node is a member of any kind.
    pub fn has_member(&self, node: NodeId) -> bool {
        self.has_voter(node) || self.learners.contains(&node)
    }

    /// All members, without doubles.
    pub fn members(&self) -> BTreeSet<NodeId> {
        let all = self.voters.iter().chain(&self.outgoing);
        all.chain(&self.learners).copied().collect()
    }
}

/// A configuration, and the entry of the log that brought it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Configured {
    /// Who is what.
    pub configuration: Configuration,
    /// The entry; zero for the members that a partition was founded with.
    pub at: LogPosition,
}

/// What a member knows that another, which has forgotten it, may have helped to bring about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// The latest term that it knows of.
    pub term: Term,
    /// The highest promise that it has asked for or acknowledged (R9).
    pub promised: Timestamp,
    /// The end of its log.
    pub last: LogPosition,
    /// The latest configuration in its log.
    pub configured: Configured,
    /// Whether others may count on that. Else it had forgotten when its replica was dropped: all this proves only
    /// that the partition has lived.
    pub remembers: bool,
}

/// A message between replicas of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReplicationMessage {
    /// Would you vote for me in `term`? Changes nothing at the voter.
    PreVote {
        /// The term that the sender would start.
        term: Term,
        /// The end of its log.
        last: LogPosition,
    },
    /// Answers `PreVote`.
    PreVoteReply {
        /// The term asked about if granted, else the voter's own.
        term: Term,
        /// Whether it would.
        granted: bool,
    },
    /// Vote for me in `term`.
    Vote {
        /// The candidate's term.
        term: Term,
        /// The end of its log.
        last: LogPosition,
    },
    /// Answers `Vote`; leaves only when the vote is durable.
    VoteReply {
        /// The voter's term.
        term: Term,
        /// Whether the vote was given.
        granted: bool,
        /// The highest promise that the voter has acknowledged in any term (R9).
        promised: Timestamp,
    },
    /// Entries after `previous`; none to probe or to move the commit index.
    Append {
        /// The leader's term.
        term: Term,
        /// The entry before the first one sent.
        previous: LogPosition,
        /// The entries, consecutive.
        entries: Vec<Entry>,
        /// The leader's commit index (high-water mark).
        commit: LogIndex,
    },
    /// The follower's log is durable and equal to the leader's up to here.
    Appended {
        /// The follower's term.
        term: Term,
        /// Up to here.
        matched: LogIndex,
    },
    /// The follower does not hold `previous`.
    AppendRefused {
        /// The follower's term.
        term: Term,
        /// What was refused.
        previous: LogPosition,
        /// The leader should try from here: hardly any index above it can match. Never below what the
        /// follower knows to be committed.
        hint: LogIndex,
    },
    /// Stand for election at once, in the next term: the sender answers nothing more in its own (R9).
    HandOver {
        /// The leader's term.
        term: Term,
        /// Nothing was answered above it by this leader, or by any before that still may. For the
        /// election of the next term only.
        high_water: Timestamp,
    },
    /// A chunk of the state, for a follower that lacks entries which the leader has discarded.
    Snapshot {
        /// The leader's term.
        term: Term,
        /// Which of the snapshots that were sent in this term.
        number: u64,
        /// The chunk.
        chunk: SnapshotChunk,
    },
    /// So many chunks of a snapshot are written down, the first ones without a gap. That it is installed
    /// is said with `Appended`.
    SnapshotReceived {
        /// The follower's term.
        term: Term,
        /// The snapshot's number.
        number: u64,
        /// How many chunks.
        chunks: u64,
    },
    /// The sender has lost its memory: what could it have voted for, acknowledged, promised?
    AskMemory {
        /// Of this round of questions.
        nonce: u64,
    },
    /// Answers `AskMemory`.
    Memory {
        /// The question's.
        nonce: u64,
        /// What it knows; `None`: it has lost its memory too.
        memory: Option<Memory>,
    },
    /// From a leader or candidate to a member of which it hears nothing: whoever holds no replica begins one.
    Join {
        /// The configuration that names it.
        configured: Configured,
        /// The nonce of an `AskMemory` of the receiver's that the sender had heard before it proposed this
        /// configuration, which is committed: what the receiver had forgotten by then counts no more.
        since: Option<u64>,
    },
    /// This configuration is committed, and does not name the receiver.
    Removed {
        /// The configuration.
        configured: Configured,
        /// It is the last one up to here, which is committed too: a later one that names the receiver lies
        /// beyond, or never came about.
        as_of: LogPosition,
    },
}
