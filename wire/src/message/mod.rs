//! Everything that is said on a connection.
//!
//! | message | from → to | idempotent? | durable before the reply? |
//! | --- | --- | --- | --- |
//! | [`ClientRequest`] | client → gateway | reads yes; a commit by its id | a commit: at a quorum of each partition |
//! | [`PartitionRequest::Read`], `Refresh`, `Lock`, `Unlock` | gateway → leader | yes | no |
//! | [`PartitionRequest::Commit`], `Prepare` | gateway → leader | by id and attempt: the stored answer | at a quorum |
//! | [`PeerMessage::Cancel`] | gateway → leader | yes | no answer |
//! | [`PartitionRequest::ChangeRecord`] | gateway or recoverer → leader of the anchor | compare-and-set on the whole value | at a quorum |
//! | [`PartitionRequest::CheckPrepared`] | recoverer → leader | yes | "not prepared": at a quorum; "prepared": it was already |
//! | [`PartitionRequest::Resolve`], `ForgetRecord` | gateway or recoverer → leader | yes | at a quorum |
//! | [`ReplicationMessage::Append`] | leader → follower | yes | on the follower's disk |
//! | [`ReplicationMessage::Vote`] | candidate → member | yes | on the voter's disk |
//! | [`ReplicationMessage::HandOver`] | leader → follower | yes: it counts in its term only | the follower's log, before it is sent |
//! | [`ReplicationMessage::Join`] | leader → member without a replica | yes: an earlier one than what is known changes nothing | the receiver's log, before it says anything |
//! | [`ReplicationMessage::Removed`] | member or former member → former member | yes: likewise | a quorum's logs, before it is sent |
//! | [`Heartbeat`] | leading node → member node | yes | the answer is bounded by the durable ceiling |
//! | [`PeerMessage::ClockProbe`], `ClockReading` | node → node | yes; it is heard whatever the frame's stamp | no |
//! | [`FoundingMessage`] | founder → founder | yes | ballots and values are on the acceptor's disk |
//!
//! Enums are append-only and structs are frozen within a protocol version: postcard cannot add fields.

mod client;
mod founding;
mod partition;
mod peer;
mod record;
mod replication;
mod transaction;
mod transfer;

pub use client::{
    AbortReason, Aborted, ClientAnswer, ClientReply, ClientRequest, ClockCause, ClockTrouble,
    Commit, Committed, InstallingStatus, MapAnswer, MemberAddress, NodeStatus, PeerClock,
    PeerStatus, ReplicaRole, ReplicaStatus, RequestError, Snapshot,
};
pub use founding::{Ballot, Founding, FoundingMember, FoundingMessage};
pub use partition::{
    CheckPrepared, Checked, CommitOne, Lock, LockAll, LockLoss, LockLost, LockWait, Locked,
    PartitionError, PartitionReply, PartitionRequest, Prepare, Prepared, Read, ReadAnswer, Refresh,
    Refusal, Resolve,
};
pub use peer::{
    ClockReading, ClockStanding, CoordinatorState, Heartbeat, HeartbeatReply, Leading, PeerFrame,
    PeerMessage, RequestNumber,
};
pub use record::{ChangeRecord, Decision, OutcomeAnswer, RecordAnswer, RecordChange, RecordState};
pub use replication::{
    Configuration, Configured, Entry, LogPosition, Memory, ReplicationMessage, SnapshotChunk,
};
pub use transaction::{
    Change, Condition, Guard, Operation, OperationKind, ReadRequest, ReadResult, Rival, Row,
    TransactionName, VersionedValue,
};
pub use transfer::{Standing, TransferFailure, Transferred, Unfit};
