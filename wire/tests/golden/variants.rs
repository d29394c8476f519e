//! The variants of every enum that crosses a connection. The matches are exhaustive: a new variant
//! does not compile until it is named here, and then fails the test until it has an instance.

use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use wire::frame::FrameKind;
use wire::handshake::{Goodbye, HandshakeError, HelloReply, Role};
use wire::message::*;

/// An enum whose variants have names.
pub(crate) trait Variants {
    const ALL: &'static [&'static str];
    fn variant(&self) -> &'static str;
}

macro_rules! variants {
    ($($name:ident: $($variant:ident)*;)*) => {$(
        impl Variants for $name {
            const ALL: &'static [&'static str] = &[$(stringify!($variant)),*];

            fn variant(&self) -> &'static str {
                match self {
                    $($name::$variant { .. } => stringify!($variant),)*
                }
            }
        }
    )*};
}

variants! {
    FrameKind: Hello HelloReply ClientRequest ClientReply Peer Founding Goodbye Ping Pong;
    Role: Client Peer Founder;
    HelloReply: Welcome Refused;
    HandshakeError: NoCommonVersion WrongCluster Stale SameNode AddressTooLong TooManyConnections NoHello;
    Goodbye: BadFrame NumberNotRising Misplaced Replaced Founded;
    Snapshot: Fresh At;
    ClientRequest: Read Lock Refresh Rollback Commit Outcome Timestamp Map Status Transfer;
    AbortReason: Guard Operation Changed HotKey Contention Expired Closed OtherIdentity BelowHorizon
        DiskFull;
    LockWait: Queue Refuse;
    LockLoss: Wounded Dropped;
    Rival: Version Transaction;
    RequestError: KeyTooLong ValueTooLong TransactionTooLarge ReadTooLarge NoSuchKeyspace Invalid BelowHorizon TooFarAhead
        ClockUnusable LockWait HotKey LockLost Unavailable Overloaded OtherIdentity NotFounded
        NotTransferred;
    ClientAnswer: Read Locked Taken Refreshed RolledBack Committed Aborted Outcome Timestamp Map Status
        Transferred;
    ReplicaRole: Follower Candidate LeaderStarting Leader;
    Unfit: Starting DiskStalls NoClock Leaving Rebuilding DiskShort;
    TransferFailure: NotLeader NoSuchPartition Electing NotMember LeadsAlready Unreachable Unfit
        NobodyFit UnderWay Behind NotSettled NotTakenUp LeadershipLost;
    FoundingMessage: Prepare Promise Accept Accepted Outbid Founded OtherList;
    PartitionRequest: Read Lock LockAll KeepLocks Unlock Commit Prepare Refresh ChangeRecord CheckPrepared Resolve
        ForgetRecord Outcome;
    Checked: Prepared Refused Ended;
    Refusal: Guard Operation Changed Contention HotKey Expired StaleAttempt Closed OtherIdentity
        DiskFull;
    PartitionReply: Read Locked Taken LockedAll Kept Unlocked Committed Unchanged Refused OtherCoordinator Prepared
        Refreshed Record Checked Done Outcome Error;
    PartitionError: NotLeader LeadershipLost WrongRange TooFarAhead BelowHorizon LockWait HotKey Overloaded
        ReadTooLarge;
    PeerMessage: Request Reply Replication Heartbeat HeartbeatReply AskCoordinator CoordinatorState LockLost Cancel
        ClockProbe ClockReading;
    ClockStanding: ReliedOn New Doubted;
    ClockCause: Unproven NotVouched BoundTooWide Stepped Drifted Contradicted Behind;
    CoordinatorState: Working Unknown;
    RecordState: Missing Staging Aborted Closed Committed;
    RecordChange: None Abort Close Commit RaiseLimit;
    Decision: Committed Aborted;
    OutcomeAnswer: Committed Aborted Staging NoLongerKept;
    ReplicationMessage: PreVote PreVoteReply Vote VoteReply Append Appended AppendRefused HandOver
        Snapshot SnapshotReceived AskMemory Memory Join Removed;
    ReadRequest: Get Scan;
    ReadResult: Value Rows;
    Condition: Exists Absent Equals NotEquals VersionIs AtLeast AtMost;
    OperationKind: Put Delete Add Min Max Append;
}

/// All instances of one enum.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) variants: &'static [&'static str],
    pub(crate) instances: Vec<Instance>,
}

/// One message.
pub(crate) struct Instance {
    pub(crate) variant: &'static str,
    pub(crate) hex: String,
    /// It does not come back as what it was.
    pub(crate) problem: Option<String>,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn instance<T>(variant: &'static str, message: &T) -> Instance
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let bytes = postcard::to_stdvec(message).expect("every message can be encoded");
    let back: Result<T, _> = postcard::from_bytes(&bytes);
    let same = back.as_ref().is_ok_and(|back| back == message);
    Instance {
        variant,
        hex: hex(&bytes),
        problem: (!same).then(|| format!("{message:?} came back as {back:?}")),
    }
}

pub(crate) fn group<T>(name: &'static str, messages: Vec<T>) -> Group
where
    T: Variants + Serialize + DeserializeOwned + PartialEq + Debug,
{
    Group {
        name,
        variants: T::ALL,
        instances: messages.iter().map(|m| instance(m.variant(), m)).collect(),
    }
}
