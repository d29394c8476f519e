//! How the nodes named in `--join` agree, once, on what the cluster is (pattern Paxos; Lamport, *Paxos
//! Made Simple*, 2001: single decree).

use crate::ids::{ClusterId, NodeId};
use crate::keys::Descriptor;
use serde::{Deserialize, Serialize};

/// A ballot: a round, and the proposer's place in the sorted list, so that no two are equal.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
)]
pub struct Ballot {
    /// Grows with each try.
    pub round: u64,
    /// Place in the sorted list of founders.
    pub proposer: u32,
}

/// A founder's identity in the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FoundingMember {
    /// Its id.
    pub node: NodeId,
    /// Its address as the list of founders names it.
    pub address: String,
}

/// What is agreed on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Founding {
    /// The cluster's name.
    pub cluster: ClusterId,
    /// Its first nodes, in the order of the sorted list.
    pub members: Vec<FoundingMember>,
    /// Its first partitions.
    pub descriptors: Vec<Descriptor>,
}

/// A message between founders. `list` is the sorted list of founders that the sender was started
/// with; an acceptor refuses any other than its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FoundingMessage {
    /// Phase 1a; also asks whether the receiver is founded already.
    Prepare {
        /// The sender's list.
        list: Vec<String>,
        /// The ballot.
        ballot: Ballot,
    },
    /// Phase 1b.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// What the acceptor had accepted, with its ballot.
        accepted: Option<(Ballot, Founding)>,
    },
    /// Phase 2a.
    Accept {
        /// The sender's list.
        list: Vec<String>,
        /// The ballot.
        ballot: Ballot,
        /// The value.
        value: Founding,
    },
    /// Phase 2b.
    Accepted {
        /// The ballot accepted.
        ballot: Ballot,
    },
    /// A higher ballot was promised.
    Outbid {
        /// The ballot that was refused.
        ballot: Ballot,
        /// The one that was promised.
        promised: Ballot,
    },
    /// The cluster is founded: this is it.
    Founded {
        /// The value that was chosen.
        value: Founding,
    },
    /// The receiver was started with another list of founders.
    OtherList {
        /// The receiver's list.
        list: Vec<String>,
    },
}
