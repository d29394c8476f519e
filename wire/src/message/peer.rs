//! What nodes say to each other, batched into frames (pattern Request Batch).

use super::{
    LockLost, PartitionReply, PartitionRequest, ReplicationMessage, Standing, TransactionName,
};
use crate::ids::{Attempt, Generation, LogIndex, PartitionId, Term};
use clock::Timestamp;
use serde::{Deserialize, Serialize};

/// Many messages in one frame, under one stamp of the sender's hybrid clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerFrame {
    /// The sender's hybrid clock when the frame was made.
    pub stamp: Timestamp,
    /// In the order in which they were said.
    pub messages: Vec<PeerMessage>,
}

/// Pairs a request with its reply; numbered by the asking node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RequestNumber(pub u64);

/// One message between nodes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PeerMessage {
    /// To the leader of a partition.
    Request {
        /// Its number.
        number: RequestNumber,
        /// The partition.
        partition: PartitionId,
        /// The descriptor generation that the asker routed by.
        generation: Generation,
        /// What is asked.
        body: PartitionRequest,
    },
    /// The answer to a `Request`.
    Reply {
        /// The request's number.
        number: RequestNumber,
        /// What is answered.
        body: PartitionReply,
    },
    /// Between replicas of a partition.
    Replication {
        /// The partition.
        partition: PartitionId,
        /// What is said.
        message: ReplicationMessage,
    },
    /// From a node that leads partitions to one that holds replicas of them.
    Heartbeat(Heartbeat),
    /// The answer to a `Heartbeat`.
    HeartbeatReply(HeartbeatReply),
    /// Is this attempt still being worked on (R8)? To the node of its coordinator.
    AskCoordinator {
        /// Its number.
        number: RequestNumber,
        /// Which transaction.
        name: TransactionName,
        /// Which attempt.
        attempt: Attempt,
    },
    /// The answer to `AskCoordinator`.
    CoordinatorState {
        /// The request's number.
        number: RequestNumber,
        /// What the coordinator says.
        state: CoordinatorState,
    },
    /// Unreplicated locks were dropped; to the gateway of their holder.
    LockLost(LockLost),
    /// The answer to a `Request` is no longer wanted: if it still waits, it is dropped.
    Cancel {
        /// The request's number.
        number: RequestNumber,
        /// The partition that was asked.
        partition: PartitionId,
    },
    /// What does the receiver's clock say? (Marzullo and Owicki, 1983; the exchange is that of NTP.)
    ClockProbe {
        /// Its number.
        sequence: u64,
    },
    /// The answer to `ClockProbe`.
    ClockReading(ClockReading),
}

/// One reading of a node's physical clock, as it is: not judged, not corrected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockReading {
    /// The probe's number.
    pub sequence: u64,
    /// Nanoseconds since 1970.
    pub physical_ns: u64,
    /// What the time source vouches for, nanoseconds; `None`: for nothing.
    pub bound_ns: Option<u64>,
    /// What the node itself thinks of it.
    pub standing: ClockStanding,
}

/// What a node thinks of its own clock: how much its word counts against another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ClockStanding {
    /// It relies on it, or has nothing against it but one other's word.
    ReliedOn,
    /// It has just started: it counts only among those that have.
    New,
    /// It knows it to be wrong: it counts against nobody.
    Doubted,
}

/// What a node says of an attempt that names it as coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CoordinatorState {
    /// It is being worked on.
    Working,
    /// Not known here, or ended: recover it.
    Unknown,
}

/// One partition that the sender of a heartbeat leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leading {
    /// Which.
    pub partition: PartitionId,
    /// In which term.
    pub term: Term,
    /// Its commit index, at most what the receiver is known to hold.
    pub commit: LogIndex,
}

/// A heartbeat of one node to another for all partitions that it leads and the other holds (patterns
/// HeartBeat, Lease; protocol R9).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Grows by one with each heartbeat of this sender since its start.
    pub sequence: u64,
    /// The promise that the sender asks for, the same for all these partitions.
    pub promise: Timestamp,
    /// What it leads.
    pub leading: Vec<Leading>,
}

/// The answer to a heartbeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The heartbeat's sequence.
    pub sequence: u64,
    /// The promise acknowledged: at most what was asked, at most the durable ceiling; `ZERO` if refused.
    pub acknowledged: Timestamp,
    /// The partitions in which the answerer has moved to a later term: nothing is acknowledged there.
    pub later: Vec<(PartitionId, Term)>,
    /// What the answerer leads and whether it should.
    pub standing: Standing,
}

impl HeartbeatReply {
    /// Tells a standing without having been asked: it answers no heartbeat, for those are numbered from 1.
    pub fn unasked(standing: Standing) -> HeartbeatReply {
        HeartbeatReply {
            sequence: 0,
            acknowledged: Timestamp::ZERO,
            later: Vec::new(),
            standing,
        }
    }
}
