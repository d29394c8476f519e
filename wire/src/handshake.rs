//! The handshake: the first frame in either direction of every connection.
//!
//! Whoever dials says which protocol versions it speaks, which cluster it means and what it is; the
//! other side takes the highest common version and says who it is, or refuses with a reason.
//!
//! Invariants:
//! - nobody of one cluster exchanges a message with somebody of another;
//! - of the connections that a node dialled, only the newest is listened to: connections are ordered
//!   by the dialler's start count and the session number within it (pattern Single-Socket Channel).
//!
//! Before a cluster is founded its nodes have addresses but no ids; then they dial as [`Role::Founder`].
//! A node that knows its cluster dials as [`Role::Peer`] also to one that does not yet; such a
//! connection carries founding messages only, and both sides shake hands anew once the id is known.

use crate::frame::PROTOCOL_VERSION;
use crate::ids::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

/// The longest address that a node may give, bytes.
pub const ADDRESS_BYTES_MAX: usize = 512;

/// What a dialling side says first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The lowest and the highest protocol version that it speaks.
    pub versions: (u8, u8),
    /// The cluster that it means; `None`: whichever this is.
    pub cluster: Option<ClusterId>,
    /// What it is.
    pub role: Role,
}

/// What dials.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Role {
    /// A client.
    Client,
    /// A node of the cluster.
    Peer {
        /// Which.
        node: NodeId,
        /// How often it has started.
        start: u32,
        /// Grows with every connection that it dials within this start.
        session: u64,
        /// Where it listens.
        address: String,
    },
    /// A node that knows no cluster yet.
    Founder {
        /// Where it listens.
        address: String,
    },
}

/// The answer to a [`Hello`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HelloReply {
    /// The connection stands.
    Welcome(Welcome),
    /// It does not.
    Refused(HandshakeError),
}

/// Who answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version of everything that follows.
    pub version: u8,
    /// Its cluster; `None`: not founded yet.
    pub cluster: Option<ClusterId>,
    /// Its id in it.
    pub node: Option<NodeId>,
    /// Where it listens, as it names itself.
    pub address: String,
    /// How often it has started.
    pub start: u32,
}

/// Why a connection was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum HandshakeError {
    /// No protocol version is common to both.
    #[error("speaks protocol versions {ours:?}, the other side {theirs:?}: none is common")]
    NoCommonVersion {
        /// Lowest and highest of the answering side.
        ours: (u8, u8),
        /// Lowest and highest of the dialling side.
        theirs: (u8, u8),
    },
    /// The two belong to different clusters.
    #[error("belongs to cluster {ours}, the other side means cluster {theirs}")]
    WrongCluster {
        /// The answering side's cluster.
        ours: ClusterId,
        /// The one that was meant.
        theirs: ClusterId,
    },
    /// A newer connection of the same node is known.
    #[error(
        "knows a newer connection of {node} (start {start}, session {session}): this one is stale"
    )]
    Stale {
        /// Which node dialled.
        node: NodeId,
        /// The newest start count known.
        start: u32,
        /// The newest session known in it.
        session: u64,
    },
    /// A node dialled itself, or another with the same id.
    #[error("is {node} itself: two processes with one id, or an address that leads back")]
    SameNode {
        /// The id.
        node: NodeId,
    },
    /// An address is too long.
    #[error("takes addresses of at most {ADDRESS_BYTES_MAX} bytes, this one has {bytes}")]
    AddressTooLong {
        /// Its length.
        bytes: u64,
    },
    /// Too many connections stand.
    #[error("has {connections} connections, which is its most: close some, or ask another node")]
    TooManyConnections {
        /// How many stand.
        connections: u64,
    },
    /// The first frame was not a hello.
    #[error("expected a hello as the first frame")]
    NoHello,
}

/// Why one side closes a connection after the handshake: its last frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Goodbye {
    /// A frame could not be read.
    #[error("it could not read a frame: {why}")]
    BadFrame {
        /// What was wrong with it.
        why: String,
    },
    /// A client's request numbers did not grow.
    #[error("request number {number} came after {last}: numbers must grow on a connection")]
    NumberNotRising {
        /// The number that came.
        number: u64,
        /// The highest one before.
        last: u64,
    },
    /// A frame of this kind has no place on this connection.
    #[error("a {kind} frame has no place on a connection of this role")]
    Misplaced {
        /// Its kind.
        kind: String,
    },
    /// A newer connection of the same node has taken over.
    #[error("a newer connection of the same node has taken over")]
    Replaced,
    /// The cluster has become known: shake hands anew.
    #[error("the cluster was founded: dial again")]
    Founded,
}

/// What a node knows of itself; the membership comes with the founding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Where it listens, as others shall dial it.
    pub address: String,
    /// Its place in a cluster, once known.
    pub membership: Option<Membership>,
}

/// A node's place in a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub node: NodeId,
    /// How often it has started.
    pub start: u32,
}

impl Identity {
    /// What this node says when it dials another.
    pub fn hello(&self, session: u64) -> Hello {
        let address = self.address.clone();
        Hello {
            versions: (PROTOCOL_VERSION, PROTOCOL_VERSION),
            cluster: self.membership.map(|m| m.cluster),
            role: match self.membership {
                None => Role::Founder { address },
                Some(Membership { node, start, .. }) => Role::Peer {
                    node,
                    start,
                    session,
                    address,
                },
            },
        }
    }

    /// What this node answers to a hello.
    pub fn check_hello(&self, hello: &Hello) -> Result<Welcome, HandshakeError> {
        let version = common_version(hello.versions)?;
        if let (Some(us), Some(theirs)) = (self.membership, hello.cluster)
            && us.cluster != theirs
        {
            let ours = us.cluster;
            return Err(HandshakeError::WrongCluster { ours, theirs });
        }
        match &hello.role {
            Role::Client => {}
            Role::Founder { address } => check_address(address)?,
            Role::Peer { node, address, .. } => {
                check_address(address)?;
                if self.membership.is_some_and(|us| us.node == *node) {
                    return Err(HandshakeError::SameNode { node: *node });
                }
            }
        }
        Ok(Welcome {
            version,
            cluster: self.membership.map(|m| m.cluster),
            node: self.membership.map(|m| m.node),
            address: self.address.clone(),
            start: self.membership.map_or(0, |m| m.start),
        })
    }
}

/// What a client says when it dials.
pub fn client_hello(cluster: Option<ClusterId>) -> Hello {
    Hello {
        versions: (PROTOCOL_VERSION, PROTOCOL_VERSION),
        cluster,
        role: Role::Client,
    }
}

fn common_version(theirs: (u8, u8)) -> Result<u8, HandshakeError> {
    if (theirs.0..=theirs.1).contains(&PROTOCOL_VERSION) {
        return Ok(PROTOCOL_VERSION);
    }
    let ours = (PROTOCOL_VERSION, PROTOCOL_VERSION);
    Err(HandshakeError::NoCommonVersion { ours, theirs })
}

fn check_address(address: &str) -> Result<(), HandshakeError> {
    if address.len() <= ADDRESS_BYTES_MAX {
        return Ok(());
    }
    let bytes = address.len() as u64;
    Err(HandshakeError::AddressTooLong { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: Option<u128>) -> Identity {
        Identity {
            address: "here:1".into(),
            membership: cluster.map(|cluster| Membership {
                cluster: ClusterId(cluster),
                node: NodeId(1),
                start: 3,
            }),
        }
    }

    fn peer(cluster: u128, node: u32) -> Hello {
        Hello {
            versions: (1, 4),
            cluster: Some(ClusterId(cluster)),
            role: Role::Peer {
                node: NodeId(node),
                start: 1,
                session: 1,
                address: "there:1".into(),
            },
        }
    }

    #[test]
    fn clusters_do_not_mix_and_both_are_named() {
        let refused = identity(Some(1)).check_hello(&peer(2, 2)).unwrap_err();
        let (ours, theirs) = (ClusterId(1), ClusterId(2));
        assert_eq!(refused, HandshakeError::WrongCluster { ours, theirs });
        assert!(identity(Some(1)).check_hello(&peer(1, 2)).is_ok());
    }

    #[test]
    fn a_node_that_knows_no_cluster_yet_takes_anyone_and_says_so() {
        let welcome = identity(None).check_hello(&peer(2, 2)).unwrap();
        assert_eq!((welcome.cluster, welcome.node), (None, None));
        let founder = identity(None).hello(1);
        assert!(identity(Some(1)).check_hello(&founder).is_ok());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut newer = peer(1, 2);
        newer.versions = (2, 3);
        assert_eq!(
            identity(Some(1)).check_hello(&newer),
            Err(HandshakeError::NoCommonVersion {
                ours: (1, 1),
                theirs: (2, 3)
            })
        );
        assert_eq!(
            identity(Some(1)).check_hello(&peer(1, 1)),
            Err(HandshakeError::SameNode { node: NodeId(1) })
        );
        let founder = Hello {
            role: Role::Founder {
                address: "x".repeat(600),
            },
            ..peer(1, 2)
        };
        assert_eq!(
            identity(None).check_hello(&founder),
            Err(HandshakeError::AddressTooLong { bytes: 600 })
        );
    }

    #[test]
    fn a_hello_carries_the_membership() {
        assert!(matches!(identity(None).hello(5).role, Role::Founder { .. }));
        let role = identity(Some(9)).hello(5).role;
        assert!(matches!(
            role,
            Role::Peer {
                node: NodeId(1),
                start: 3,
                session: 5,
                ..
            }
        ));
    }
}
