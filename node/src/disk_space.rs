//! Room on the disk, and what a node still does when it is short of it.
//!
//! ```text
//!   free   ───── reserve ─────────────────── floor ───────────────── 0
//!   everything  │ its leaders refuse writes, │ it appends nothing     │ the log cannot grow:
//!               │ it follows others as before │ for other leaders     │ the node stops
//! ```
//!
//! A snapshot counts like entries. Reads go on all along. Nothing of this is remembered: when there is room again, everything goes on.

use partition::NoRoom;
use wire::ids::NodeId;
use wire::message::ReplicationMessage;

/// Below this part of the reserve a node no longer appends what other leaders send.
const FLOOR_PART: u64 = 4;

/// What was seen of the disk.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DiskSpace {
    /// Bytes that are free for the node.
    pub free: u64,
    /// Bytes that are to stay free; 0: it does not matter.
    pub reserve: u64,
}

impl DiskSpace {
    /// Whether its leaders refuse writes.
    pub fn is_short(self) -> bool {
        self.free < self.reserve
    }

    /// What leaders are told.
    pub(crate) fn no_room(self, node: NodeId) -> Option<NoRoom> {
        self.is_short().then_some(NoRoom {
            node,
            free: self.free,
            reserve: self.reserve,
        })
    }

    /// Whether a message of another replica is still taken: entries and snapshots need room.
    pub(crate) fn takes(self, message: &ReplicationMessage) -> bool {
        match message {
            ReplicationMessage::Append { entries, .. } => {
                entries.is_empty() || self.free >= self.reserve / FLOOR_PART
            }
            ReplicationMessage::Snapshot { .. } => self.free >= self.reserve / FLOOR_PART,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::ids::{LogIndex, Term};
    use wire::message::{Entry, LogPosition};

    fn append(entries: usize) -> ReplicationMessage {
        let entry = Entry {
            term: Term(1),
            index: LogIndex(1),
            body: Bytes::new(),
        };
        ReplicationMessage::Append {
            term: Term(1),
            previous: LogPosition::default(),
            entries: vec![entry; entries],
            commit: LogIndex(0),
        }
    }

    #[test]
    fn less_room_means_fewer_writes_and_never_fewer_reads() {
        let space = |free| DiskSpace { free, reserve: 400 };
        assert_eq!(space(400).no_room(NodeId(1)), None);
        let no_room = NoRoom {
            node: NodeId(1),
            free: 399,
            reserve: 400,
        };
        assert_eq!(space(399).no_room(NodeId(1)), Some(no_room));
        assert!(space(100).takes(&append(1)));
        assert!(!space(99).takes(&append(1)));
        assert!(space(0).takes(&append(0)), "a commit index needs no room");
        assert!(
            !DiskSpace {
                free: 0,
                reserve: 0
            }
            .is_short()
        );
    }
}
