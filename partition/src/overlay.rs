//! What the leader has proposed and not yet seen committed.
//!
//! Evaluation is against the state at the *end* of the leader's log (R4). From proposal until a quorum
//! has it, an entry's writes are locks at their timestamp: a read at or above them waits, a later write
//! is placed above and may build on a version that is *committed once appended*, and everything that
//! touches the same transaction waits. The overlay holds entries of the leader's own term only: it
//! serves nothing before those that it inherited are committed (R9). It is dropped with leadership.

use crate::effects::Effect;
use crate::lock_table::{LockTable, PreparedLock, in_range};
use crate::recent_writes::Version;
use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeMap;
use std::ops::Bound;
use wire::ids::{LogIndex, TransactionId};
use wire::keys::{Key, KeyRange};

/// A version under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UnderWay {
    /// The entry.
    pub(crate) index: LogIndex,
    /// What it writes.
    pub(crate) version: Version,
}

/// Entries from the high-water mark to the end of the log.
#[derive(Default, Debug)]
pub(crate) struct Overlay {
    effects: BTreeMap<LogIndex, Effect>,
    writes: BTreeMap<Key, BTreeMap<Timestamp, (LogIndex, Option<Bytes>)>>,
    locks: LockTable,
    ids: BTreeMap<TransactionId, LogIndex>,
}

impl Overlay {
    /// Registers what the entry at `index` will do; without its locks and writes only for a mutant.
    pub(crate) fn insert(&mut self, index: LogIndex, effect: Effect, registered: bool) {
        if let Some(id) = effect.transaction() {
            let before = self.ids.insert(id, index);
            assert_eq!(
                before, None,
                "{id} is touched by entry {index} while another is under way"
            );
        }
        match &effect {
            _ if !registered => {}
            Effect::Commit { at, writes, .. } => {
                for (key, value) in writes {
                    let versions = self.writes.entry(key.clone()).or_default();
                    versions.insert(*at, (index, value.clone()));
                }
            }
            Effect::Prepare { name, share, .. } => self.locks.insert(name, share),
            _ => {}
        }
        self.effects.insert(index, effect);
    }

    /// Removes what the committed entry at `index` did; committed state has it now.
    pub(crate) fn remove(&mut self, index: LogIndex) {
        let Some(effect) = self.effects.remove(&index) else {
            return;
        };
        if let Some(id) = effect.transaction() {
            self.ids.remove(&id);
        }
        match effect {
            Effect::Commit { at, writes, .. } => {
                for (key, _) in writes {
                    let Some(versions) = self.writes.get_mut(&key) else {
                        continue;
                    };
                    versions.remove(&at);
                    if versions.is_empty() {
                        self.writes.remove(&key);
                    }
                }
            }
            Effect::Prepare { name, share, .. } => self.locks.remove(name.id, &share),
            _ => {}
        }
    }

    /// The entry under way that touches a transaction.
    pub(crate) fn entry_of(&self, id: TransactionId) -> Option<LogIndex> {
        self.ids.get(&id).copied()
    }

    /// The newest version under way of a key.
    pub(crate) fn newest(&self, key: &Key) -> Option<UnderWay> {
        let (timestamp, (index, value)) = self.writes.get(key)?.last_key_value()?;
        Some(UnderWay {
            index: *index,
            version: Version {
                timestamp: *timestamp,
                value: value.clone(),
            },
        })
    }

    /// The last entry that writes something of a range in `(above, up_to]`, and where.
    pub(crate) fn last_write_in(
        &self,
        range: &KeyRange,
        above: Timestamp,
        up_to: Timestamp,
    ) -> Option<(LogIndex, &Key)> {
        if above >= up_to {
            return None;
        }
        let bounds = (Bound::Excluded(above), Bound::Included(up_to));
        in_range(&self.writes, range)
            .flat_map(|(key, versions)| {
                let found = versions.range(bounds);
                found.map(move |(_, (index, _))| (*index, key))
            })
            .max_by_key(|(index, _)| *index)
    }

    /// Whose writes an entry holds, and when they are.
    pub(crate) fn writer(&self, index: LogIndex) -> Option<(TransactionId, Timestamp)> {
        match self.effects.get(&index)? {
            Effect::Commit { name, at, .. } => Some((name.id, *at)),
            _ => None,
        }
    }

    /// Locks of prepares under way.
    pub(crate) fn locks(&self) -> &LockTable {
        &self.locks
    }

    /// Who holds a key by a prepare under way.
    pub(crate) fn holder(&self, key: &Key) -> Option<&PreparedLock> {
        self.locks.holder(key)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// The first entry that is under way.
    pub(crate) fn first(&self) -> Option<LogIndex> {
        self.effects.first_key_value().map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{attempt, id, key, name, range, ts};

    fn commit(n: u64, at: u64) -> Effect {
        Effect::Commit {
            name: name(n),
            attempt: attempt(1),
            at: ts(at),
            writes: vec![(key("a"), Some("v".into()))],
        }
    }

    #[test]
    fn what_is_removed_leaves_no_trace() {
        let mut overlay = Overlay::default();
        overlay.insert(LogIndex(3), commit(1, 10), true);
        overlay.insert(LogIndex(4), commit(2, 11), true);
        assert_eq!(overlay.newest(&key("a")).unwrap().index, LogIndex(4));
        assert_eq!(overlay.entry_of(id(1)), Some(LogIndex(3)));
        let last = |above, up_to| {
            let found = overlay.last_write_in(&range("a", "b"), ts(above), ts(up_to));
            found.map(|(index, _)| index)
        };
        assert_eq!(last(0, 10), Some(LogIndex(3)));
        assert_eq!(last(10, 20), Some(LogIndex(4)));
        assert_eq!(last(11, 20), None);
        overlay.remove(LogIndex(3));
        overlay.remove(LogIndex(4));
        assert!(overlay.is_empty() && overlay.writes.is_empty() && overlay.ids.is_empty());
    }
}
