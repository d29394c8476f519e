//! Damage to what a node holds, done while it is down.
//!
//! The log's bytes are really changed, and its own recovery has to notice ([`super::disk`]). A table's
//! are not there to be changed: a row of the twin is marked, and whatever would read it fails as the store
//! on disk does when a block's checksum is wrong (`partition/src/versions/io/bad_disk_test.rs`). Either
//! way the node stops or does not start, and somebody has it rebuilt, once all others are well: of what
//! two hold alone, nobody could heal the loss of one (`horolog rebuild`, decision 0010).

use partition::versions::{StoreQuery, StoreTask};
use wire::keys::{Key, KeyRange};

/// What is damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Damage {
    /// The log.
    Log,
    /// Nothing is, but the node issued timestamps far ahead while it was alone with a clock that was wrong:
    /// the others refuse what it says until that time has come, or until its data directory is replaced.
    Ahead,
    /// A row in a table.
    Row {
        /// Under which incarnation.
        incarnation: u32,
        /// Every version of this key.
        key: Key,
    },
}

impl Damage {
    /// Whether the store would read what is damaged.
    pub(super) fn is_met_by(&self, task: &StoreTask) -> bool {
        let Damage::Row { incarnation, key } = self else {
            return false;
        };
        let is_in = |range: &KeyRange| range.contains(key);
        match task {
            StoreTask::Query {
                incarnation: of,
                queries,
                ..
            } => {
                let reads = |query: &StoreQuery| match query {
                    StoreQuery::Get { key: read, .. } => read == key,
                    StoreQuery::Scan { range, .. } | StoreQuery::Changed { range, .. } => {
                        is_in(range)
                    }
                    StoreQuery::Meta { .. }
                    | StoreQuery::MetaPrefix { .. }
                    | StoreQuery::MetaRange { .. } => false,
                };
                of == incarnation && queries.iter().any(reads)
            }
            StoreTask::ReadSnapshot(read) => read.incarnation == *incarnation && is_in(&read.range),
            StoreTask::Apply(_)
            | StoreTask::CloseSnapshot { .. }
            | StoreTask::Persist
            | StoreTask::Live(_) => false,
        }
    }
}
