//! Who this node is, shared by everything that shakes hands.

use crate::handshake::{Identity, Membership};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// Who this node is. The membership becomes known at the founding or on joining; connections made
/// before are then closed and dialled anew.
#[derive(Clone, Debug)]
pub struct SharedIdentity {
    identity: Arc<watch::Sender<Identity>>,
    sessions: Arc<AtomicU64>,
}

impl SharedIdentity {
    /// A node that listens at `address` (as others shall dial it), and is a member if it knows already.
    pub fn new(address: String, membership: Option<Membership>) -> SharedIdentity {
        let identity = Identity {
            address,
            membership,
        };
        SharedIdentity {
            identity: Arc::new(watch::Sender::new(identity)),
            sessions: Arc::new(AtomicU64::new(1)),
        }
    }

    /// From now on this node is that member. It never becomes another one.
    pub fn set_membership(&self, membership: Membership) {
        self.identity.send_if_modified(|identity| {
            let before = identity.membership.replace(membership);
            assert!(
                before.is_none_or(|before| before == membership),
                "a node never becomes another one: it was {before:?} and should be {membership:?}"
            );
            before.is_none()
        });
    }

    /// What is known now.
    pub fn get(&self) -> Identity {
        self.identity.borrow().clone()
    }

    /// The number of the next connection that this node dials.
    pub(super) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns once the membership is known.
    pub(super) async fn founded(&self) {
        let mut changes = self.identity.subscribe();
        // The sender lives in `self`, so this can only end with the membership known.
        let known = changes.wait_for(|identity| identity.membership.is_some());
        assert!(known.await.is_ok(), "the identity outlives its watchers");
    }
}
