//! Which connection of each other node is the newest (pattern Single-Socket Channel).
//!
//! Invariant: for a node, messages are taken from one connection at a time, and never again from an
//! older one after a newer one has shaken hands.

use crate::handshake::HandshakeError;
use crate::ids::NodeId;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// A connection of a node: its start count and its session within that, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Session {
    pub(super) start: u32,
    pub(super) session: u64,
}

/// The newest connection of each node.
#[derive(Default)]
pub(super) struct SessionRegistry {
    newest: BTreeMap<NodeId, (Session, CancellationToken)>,
}

impl SessionRegistry {
    /// A connection shakes hands: it replaces an older one, or is refused as stale. The token is
    /// cancelled when a newer one replaces it.
    pub(super) fn enter(
        &mut self,
        node: NodeId,
        session: Session,
    ) -> Result<CancellationToken, HandshakeError> {
        if let Some((newest, replaced)) = self.newest.get(&node) {
            if session <= *newest {
                return Err(HandshakeError::Stale {
                    node,
                    start: newest.start,
                    session: newest.session,
                });
            }
            replaced.cancel();
        }
        let token = CancellationToken::new();
        self.newest.insert(node, (session, token.clone()));
        Ok(token)
    }

    /// Whether messages of this connection are still taken.
    pub(super) fn is_newest(&self, node: NodeId, session: Session) -> bool {
        self.newest
            .get(&node)
            .is_some_and(|(newest, _)| *newest == session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(start: u32, session: u64) -> Session {
        Session { start, session }
    }

    #[test]
    fn only_the_newest_connection_of_a_node_is_listened_to() {
        let (mut registry, node) = (SessionRegistry::default(), NodeId(2));
        let first = registry.enter(node, session(1, 5)).unwrap();
        let second = registry.enter(node, session(1, 6)).unwrap();
        assert!(first.is_cancelled() && !second.is_cancelled());
        assert!(!registry.is_newest(node, session(1, 5)));
        let stale = registry.enter(node, session(1, 5)).unwrap_err();
        let (start, newest) = (1, 6);
        assert_eq!(
            stale,
            HandshakeError::Stale {
                node,
                start,
                session: newest
            }
        );
        // A restarted node counts its sessions from the beginning; its start count is higher.
        registry.enter(node, session(2, 1)).unwrap();
        assert!(second.is_cancelled() && registry.is_newest(node, session(2, 1)));
        registry.enter(NodeId(3), session(1, 1)).unwrap();
        assert!(registry.is_newest(node, session(2, 1)));
    }
}
