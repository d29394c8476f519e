//! What a gateway is told and what it wants done: the two closed enums that `node` drives.

use clock::{HybridClock, Now, Timestamp};
use std::time::Duration;
use wire::ids::{Attempt, NodeId, PartitionId};
use wire::keys::{Key, RangeMap};
use wire::message::{
    ClientReply, ClientRequest, CoordinatorState, LockLost, PartitionReply, PartitionRequest,
    RequestNumber, TransactionName,
};

/// Who a gateway is and how patient it is.
#[derive(Clone, Copy, Debug)]
pub struct GatewayConfig {
    /// This node.
    pub me: NodeId,
    /// How often this node had started; makes its coordinators' incarnations its own.
    pub start: u32,
    /// Seeds the jitter of retries.
    pub seed: u64,
    /// Its waits.
    pub timing: GatewayTiming,
    /// A rule that it does not keep.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::Mutant>,
}

/// How long a gateway waits for what.
#[derive(Clone, Copy, Debug)]
pub struct GatewayTiming {
    /// A read, lock, refresh or look at a record may take so long at one partition.
    pub request_max: Duration,
    /// After `expires` a commit whose fate is not known is asked about for so long, then the client
    /// is told that it is not known.
    pub after_expires_max: Duration,
    /// The first wait before something that failed is tried again; it doubles.
    pub backoff_first: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// One recovery may take so long; whoever still waits on the lock will push again.
    pub recovery_max: Duration,
    /// Resolving is tried for so long; after that the next one to meet a lock recovers it.
    pub resolve_max: Duration,
}

impl Default for GatewayTiming {
    fn default() -> Self {
        GatewayTiming {
            request_max: Duration::from_secs(10),
            after_expires_max: Duration::from_secs(20),
            backoff_first: Duration::from_millis(2),
            backoff_max: Duration::from_millis(200),
            recovery_max: Duration::from_secs(30),
            resolve_max: Duration::from_secs(60),
        }
    }
}

/// What is given to a gateway with every event.
pub struct GatewayContext<'a> {
    /// The time.
    pub now: &'a Now,
    /// Draws timestamps.
    pub clock: &'a mut HybridClock,
    /// Which partition holds which keys, as this node knows it.
    pub map: &'a RangeMap,
}

/// Who gets the answer to a client's request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClientTag {
    /// The client's connection, as the node numbers it.
    pub connection: u64,
    /// The request on that connection.
    pub number: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum GatewayEvent {
    /// A client asks, anything but `Map` and `Status`.
    Client {
        /// Who.
        client: ClientTag,
        /// What.
        request: ClientRequest,
    },
    /// A client's connection is gone.
    ClientGone {
        /// Which connection.
        connection: u64,
    },
    /// The answer to an `Ask`.
    Reply {
        /// The number of the `Ask`.
        number: RequestNumber,
        /// The partition that was asked.
        partition: PartitionId,
        /// What it says.
        reply: PartitionReply,
    },
    /// The node gave up on an `Ask` at its deadline. Whether it was served is not known.
    Unreachable {
        /// The number of the `Ask`.
        number: RequestNumber,
        /// The partition that was asked.
        partition: PartitionId,
        /// How long it was tried.
        waited: Duration,
    },
    /// Another node, or a local replica, asks about an attempt that names this node as coordinator.
    /// Answered at once with `TellCoordinatorState`.
    AskedAbout {
        /// Who asks.
        by: NodeId,
        /// The question's number there.
        number: RequestNumber,
        /// Which transaction.
        name: TransactionName,
        /// Which attempt.
        attempt: Attempt,
    },
    /// The answer to an `AskCoordinator`; `Unknown` also if none came in time.
    CoordinatorState {
        /// The question's number.
        number: RequestNumber,
        /// What the coordinator's node says.
        state: CoordinatorState,
    },
    /// A request waits on a prepared lock at a local replica (R8).
    Push {
        /// The partition that holds the lock.
        partition: PartitionId,
        /// The locked key.
        key: Key,
        /// The transaction that holds it.
        holder: TransactionName,
        /// The attempt that holds it.
        attempt: Attempt,
        /// An older transaction waits: the attempt is to end, even if its coordinator lives.
        wound: bool,
    },
    /// A leader dropped locks of a transaction that this gateway serves.
    LockLost(LockLost),
}

/// What a gateway wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GatewayEffect {
    /// Ask the leader of a partition; the node finds it, and gives exactly one `Reply` or
    /// `Unreachable`.
    Ask {
        /// Pairs it with the reply.
        number: RequestNumber,
        /// Which partition.
        partition: PartitionId,
        /// What.
        body: PartitionRequest,
        /// Give up at this time on the monotonic clock.
        deadline: Duration,
    },
    /// Ask a coordinator's node whether it still works on an attempt.
    AskCoordinator {
        /// Pairs it with the answer.
        number: RequestNumber,
        /// The coordinator's node.
        node: NodeId,
        /// Which transaction.
        name: TransactionName,
        /// Which attempt.
        attempt: Attempt,
    },
    /// The answer to an `AskedAbout`.
    TellCoordinatorState {
        /// Who asked.
        to: NodeId,
        /// The question's number there.
        number: RequestNumber,
        /// What this gateway knows.
        state: CoordinatorState,
    },
    /// Answer a client. The node holds it until `earliest > depends_on` (R6).
    Answer {
        /// Whom.
        client: ClientTag,
        /// What.
        reply: ClientReply,
        /// The newest version that the answer depends on.
        depends_on: Timestamp,
    },
    /// The answer to an `Ask` is no longer wanted; none will be delivered.
    Cancel {
        /// The number of the `Ask`.
        number: RequestNumber,
    },
}
