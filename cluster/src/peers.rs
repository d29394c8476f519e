//! The other nodes as this one hears them (pattern HeartBeat).
//!
//! Whoever says anything is alive: heartbeats only make sure that something is said. A node that has
//! been silent for [`ALIVE_WITHIN`] is taken for dead, whether or not a connection to it stands; one
//! that was heard of late is alive even if the connection just broke. This is a guess that only
//! availability rests on: a push on a lock asks a coordinator that is alive and recovers at once
//! behind one that is not, and both are right.

use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::NodeId;
use wire::message::PeerStatus;

/// A node is alive if something was heard from it within this time: ten heartbeats.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(1);

/// The most other nodes that are kept track of; a cluster has no more.
pub const PEERS_MAX: usize = 10_000;

/// One other node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Where it listens.
    pub address: String,
    /// Whether a connection to it stands.
    pub connected: bool,
    /// When something was last heard from it, monotonic; `None` if never.
    pub heard: Option<Duration>,
}

/// Liveness of all other nodes.
#[derive(Clone, Debug)]
pub struct Peers {
    me: NodeId,
    peers: BTreeMap<NodeId, Peer>,
}

impl Peers {
    /// Nobody is known yet.
    pub fn new(me: NodeId) -> Peers {
        Peers {
            me,
            peers: BTreeMap::new(),
        }
    }

    /// A node exists, and listens there. A known one only changes its address.
    ///
    /// # Panics
    /// With more than [`PEERS_MAX`] nodes.
    pub fn on_introduced(&mut self, node: NodeId, address: &str) {
        if node == self.me {
            return;
        }
        let peer = self.peers.entry(node).or_insert_with(|| Peer {
            address: String::new(),
            connected: false,
            heard: None,
        });
        address.clone_into(&mut peer.address);
        let known = self.peers.len();
        assert!(
            known <= PEERS_MAX,
            "a cluster has at most {PEERS_MAX} other nodes, {known} are introduced"
        );
    }

    /// A connection to a node stands: it answered the handshake, so it was heard.
    pub fn on_connected(&mut self, now: Duration, node: NodeId, address: &str) {
        self.on_introduced(node, address);
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = true;
        }
        self.on_heard(now, node);
    }

    /// The connection to a node is gone. What was heard before still counts.
    pub fn on_disconnected(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = false;
        }
    }

    /// Something came from a node; a node that was never introduced is ignored.
    pub fn on_heard(&mut self, now: Duration, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.heard = peer.heard.max(Some(now));
        }
    }

    /// Whether a node is taken for alive; this node always is.
    pub fn alive(&self, now: Duration, node: NodeId) -> bool {
        let heard = self.peers.get(&node).and_then(|peer| peer.heard);
        node == self.me || heard.is_some_and(|at| now.saturating_sub(at) < ALIVE_WITHIN)
    }

    /// What is known of a node.
    pub fn get(&self, node: NodeId) -> Option<&Peer> {
        self.peers.get(&node)
    }

    /// All other nodes, by id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Peer)> {
        self.peers.iter().map(|(node, peer)| (*node, peer))
    }

    /// How this node sees the others, for its status; their clocks are somebody else's knowledge.
    pub fn status(&self, now: Duration) -> Vec<PeerStatus> {
        self.iter()
            .map(|(node, peer)| PeerStatus {
                node,
                address: peer.address.clone(),
                connected: peer.connected,
                heard_ms: peer
                    .heard
                    .map(|at| now.saturating_sub(at).as_millis() as u64),
                clock: None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: NodeId = NodeId(2);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_node_is_alive_while_it_is_heard() {
        let mut peers = Peers::new(NodeId(1));
        assert!(peers.alive(ms(0), NodeId(1)), "this node itself");
        assert!(!peers.alive(ms(0), OTHER), "unknown");
        peers.on_introduced(OTHER, "b:1");
        assert!(!peers.alive(ms(0), OTHER), "introduced, never heard");
        peers.on_connected(ms(100), OTHER, "b:1");
        assert!(peers.alive(ms(1_099), OTHER));
        assert!(!peers.alive(ms(1_100), OTHER), "silent for a second");
        peers.on_heard(ms(2_000), OTHER);
        assert!(peers.alive(ms(2_000), OTHER));
    }

    #[test]
    fn a_broken_connection_alone_does_not_make_a_node_dead() {
        let mut peers = Peers::new(NodeId(1));
        peers.on_connected(ms(100), OTHER, "b:1");
        peers.on_disconnected(OTHER);
        assert!(peers.alive(ms(500), OTHER));
        let status = PeerStatus {
            node: OTHER,
            address: "b:1".into(),
            connected: false,
            heard_ms: Some(400),
            clock: None,
        };
        assert_eq!(peers.status(ms(500)), [status]);
    }

    #[test]
    fn late_news_never_makes_a_node_older_and_addresses_change() {
        let mut peers = Peers::new(NodeId(1));
        peers.on_connected(ms(100), OTHER, "b:1");
        peers.on_heard(ms(50), OTHER);
        peers.on_introduced(OTHER, "b:2");
        peers.on_introduced(NodeId(1), "a:1");
        let expected = Peer {
            address: "b:2".into(),
            connected: true,
            heard: Some(ms(100)),
        };
        assert_eq!(peers.get(OTHER), Some(&expected));
        assert_eq!(peers.get(NodeId(1)), None, "this node is no peer of itself");
    }
}
