//! Reading all rows of a replica as they stood at one instant, page by page: what a follower is sent
//! whose entries nobody has any more.
//!
//! The store holds one view open under a name while its pages are read. A view that nobody reads from is
//! let go after a while; who then asks for the next page is told that it is lost, and begins anew.

use super::store::{AppliedState, VersionRow};
use bytes::Bytes;
use clock::Timestamp;
use wire::ids::PartitionId;
use wire::keys::{Key, KeyRange};

/// Asks for a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotRead {
    /// The partition.
    pub partition: PartitionId,
    /// Names the replica's rows in this store.
    pub incarnation: u32,
    /// The replica's range.
    pub range: KeyRange,
    /// The name of the view, one that this replica never used before.
    pub view: u64,
    /// Where the page before ended; `None` opens the view and begins.
    pub after: Option<SnapshotCursor>,
    /// No further row once keys and values reach this many bytes; one row is given in any case.
    pub bytes_max: usize,
}

/// The last row of a page. Small rows come first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotCursor {
    /// A small row.
    Meta(Bytes),
    /// A version.
    Version(Key, Timestamp),
}

/// Some rows of a replica.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotPage {
    /// What the whole view contains.
    pub state: AppliedState,
    /// Small rows, ascending.
    pub meta: Vec<(Bytes, Bytes)>,
    /// Versions, by key, and of a key the newest first.
    pub versions: Vec<VersionRow>,
    /// Where the next page begins; `None`: this was the last, and the view is closed.
    pub next: Option<SnapshotCursor>,
}

impl SnapshotPage {
    /// An empty page of a view.
    pub(super) fn of(state: AppliedState) -> SnapshotPage {
        SnapshotPage {
            state,
            meta: Vec::new(),
            versions: Vec::new(),
            next: None,
        }
    }
}

/// Counts what goes onto a page.
pub(super) struct PageRoom {
    bytes: usize,
    bytes_max: usize,
}

impl PageRoom {
    pub(super) fn new(bytes_max: usize) -> PageRoom {
        PageRoom {
            bytes: 0,
            bytes_max,
        }
    }

    /// Whether a further row goes onto the page.
    pub(super) fn is_left(&self) -> bool {
        self.bytes < self.bytes_max.max(1)
    }

    /// A row was put there.
    pub(super) fn take(&mut self, key: &[u8], value: Option<&Bytes>) {
        // A row has some weight also if it is empty.
        self.bytes += key.len() + value.map_or(0, Bytes::len) + 16;
    }
}
