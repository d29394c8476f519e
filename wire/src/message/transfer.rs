//! Planned transfer of leadership (protocol, R9): how fit a node is to lead, and why a transfer did
//! not happen.

use crate::ids::{NodeId, PartitionId};
use serde::{Deserialize, Serialize};

/// Why a node should lead nothing at present. It goes on voting and holding its replicas.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, thiserror::Error,
)]
pub enum Unfit {
    /// It has started a moment ago.
    #[error("it has just started")]
    Starting,
    /// Its disk does not finish a write, or did not a moment ago.
    #[error("its disk stalls")]
    DiskStalls,
    /// Its time source vouches for nothing, or its clock is out of bound.
    #[error("nothing vouches for its clock")]
    NoClock,
    /// It is about to stop.
    #[error("it is about to stop")]
    Leaving,
    /// It lost data that the others give it again.
    #[error("it is being rebuilt from the others")]
    Rebuilding,
    /// Its disk is nearly full, or was a moment ago: as a leader it would refuse writes.
    #[error("its disk is nearly full")]
    DiskShort,
}

/// What a node tells others about itself as a leader; they spread leaderships by it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// How many partitions it leads.
    pub leads: u32,
    /// Why it should lead none.
    pub unfit: Option<Unfit>,
}

/// A finished transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transferred {
    /// Which partition.
    pub partition: PartitionId,
    /// Who led it.
    pub from: NodeId,
    /// Who leads it.
    pub to: NodeId,
}

/// Why leadership was not transferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum TransferFailure {
    /// The asked node does not lead the partition.
    #[error("the asked node does not lead it{}", named(*leader))]
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
    /// There is no such partition.
    #[error("there is no such partition: `horolog partitions` lists them")]
    NoSuchPartition,
    /// Its leader does not serve yet.
    #[error("its leader has just been elected and does not serve yet: try again")]
    Electing,
    /// The target holds no replica.
    #[error("{target} is not a member: `horolog partitions` shows which nodes hold it")]
    NotMember {
        /// The target.
        target: NodeId,
    },
    /// The target leads already.
    #[error("{target} leads it already")]
    LeadsAlready {
        /// The target.
        target: NodeId,
    },
    /// The target was not heard of late.
    #[error("{target} cannot be reached: see `horolog status`")]
    Unreachable {
        /// The target.
        target: NodeId,
    },
    /// The target should not lead.
    #[error("{target} should lead nothing now: {why}")]
    Unfit {
        /// The target.
        target: NodeId,
        /// Why not.
        why: Unfit,
    },
    /// No member but the leader could lead.
    #[error("no other member is up and fit to lead: see `horolog status`")]
    NobodyFit,
    /// Another transfer of the partition is under way.
    #[error("a transfer to {target} is under way")]
    UnderWay {
        /// To whom.
        target: NodeId,
    },
    /// The target's log is behind and did not catch up in time; the leader leads on.
    #[error(
        "{target} is behind by {entries} entries and did not catch up in time: the leader leads on, try again later"
    )]
    Behind {
        /// The target.
        target: NodeId,
        /// By so many entries.
        entries: u64,
    },
    /// What was under way was not committed in time; the leader leads on.
    #[error("what was under way was not committed in time: the leader leads on, try again")]
    NotSettled,
    /// Leadership was handed over and the target did not take it up; an election decides.
    #[error(
        "{target} was handed the leadership and did not take it up in time: an election decides who leads"
    )]
    NotTakenUp {
        /// The target.
        target: NodeId,
    },
    /// Leadership was lost before it was handed over.
    #[error("another election was faster: see `horolog partitions` for who leads")]
    LeadershipLost,
}

fn named(leader: Option<NodeId>) -> String {
    leader.map_or_else(String::new, |leader| format!(": {leader} does"))
}
