//! What happens to a node, and what it wants done: the closed enums that both drivers speak.

use partition::log::LogBatch;
use partition::versions::{StoreReport, StoreTask};
use std::collections::BTreeSet;
use wire::ids::{ClusterId, NodeId, PartitionId};
use wire::message::{ClientReply, ClientRequest, FoundingMessage, LogPosition, PeerFrame};

/// What happens to a node.
#[derive(Clone, Debug)]
pub enum Event {
    /// The time that [`crate::Node::next_wake`] named has come.
    Wake,
    /// A client asks.
    Client {
        /// Its connection; 0 is never used by a driver.
        connection: u64,
        /// The request's number on that connection.
        number: u64,
        /// What it asks.
        request: ClientRequest,
    },
    /// A client's connection is gone.
    ClientGone {
        /// Which.
        connection: u64,
    },
    /// Another node said something.
    Peer {
        /// Which node.
        from: NodeId,
        /// What.
        frame: PeerFrame,
    },
    /// The connection to another node stands: what is sent from now on arrives in order or it goes down.
    PeerUp {
        /// Which node.
        node: NodeId,
        /// Where it listens.
        address: String,
    },
    /// The connection to another node is gone; what was sent last may be lost.
    PeerDown {
        /// Which node.
        node: NodeId,
    },
    /// Another founder said something.
    Founding {
        /// Its address as the list of founders names it.
        from: String,
        /// What.
        message: FoundingMessage,
    },
    /// Log batches up to this one are durable.
    LogDurable {
        /// The last of them.
        sequence: u64,
    },
    /// The store did something.
    Store(StoreReport),
    /// The node is about to stop: it hands over what it leads, and takes no leadership any more.
    Leave,
    /// These nodes are to be the voters of a partition, if this node leads it; new ones learn first. Asked
    /// again at any leader, it goes on where it was. That it has come about is seen in
    /// [`partition::Replica::configured`].
    ChangeMembers {
        /// Which partition.
        partition: PartitionId,
        /// Its voters to be.
        voters: BTreeSet<NodeId>,
    },
}

/// What a node wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answer a client.
    Reply {
        /// Its connection.
        connection: u64,
        /// The request's number.
        number: u64,
        /// The answer.
        reply: ClientReply,
    },
    /// Send to another node, in order.
    Send {
        /// Which node.
        to: NodeId,
        /// What.
        frame: PeerFrame,
    },
    /// Send to another founder.
    Founding {
        /// Its address.
        to: String,
        /// What.
        message: FoundingMessage,
    },
    /// Write to the log, then say [`Event::LogDurable`].
    Log(LogBatch),
    /// The log need not keep a partition's entries up to here.
    Discard {
        /// Which partition.
        partition: PartitionId,
        /// Up to here.
        up_to: LogPosition,
    },
    /// Do something with the store, then say [`Event::Store`].
    Store(StoreTask),
    /// Who this node is, from now on.
    Identity {
        /// The cluster.
        cluster: ClusterId,
        /// The node.
        node: NodeId,
        /// How often it has started.
        start: u32,
        /// The founding members and their addresses.
        members: Vec<(NodeId, String)>,
    },
}
