//! Whether a leader takes new writes, as far as that depends on the machine it runs on.
//!
//! What is refused is new: a transaction that is prepared already is resolved, and records are changed,
//! or locks would stay for ever on a node that is short of room.

use wire::ids::NodeId;
use wire::message::Refusal;

/// What the node says to its leaders.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Admission {
    /// The node's disk is nearly full: writes are refused.
    pub no_room: Option<NoRoom>,
    /// The log or the store has more to write than it keeps up with: writes are to come again.
    pub is_backlogged: bool,
}

/// A disk that is nearly full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom {
    /// Whose disk.
    pub node: NodeId,
    /// What is free, bytes.
    pub free: u64,
    /// What is to stay free, bytes.
    pub reserve: u64,
}

impl NoRoom {
    pub(crate) fn refusal(self) -> Refusal {
        let NoRoom {
            node,
            free,
            reserve,
        } = self;
        Refusal::DiskFull {
            node,
            free,
            reserve,
        }
    }
}
