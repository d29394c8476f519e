//! The locks of prepared transactions, by key.
//!
//! A prepared transaction locks each of its keys exclusively, at its prepared timestamp `p`, until it
//! is resolved. A read at or above `p` waits for it, one below does not see it (R2); a write of another
//! transaction waits whatever its timestamp (R4).
//!
//! Invariant: at most one transaction holds a key.

use crate::effects::Share;
use clock::Timestamp;
use std::collections::BTreeMap;
use std::ops::Bound;
use wire::ids::{Attempt, TransactionId};
use wire::keys::{Key, KeyRange};
use wire::message::TransactionName;

/// One lock of a prepared transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PreparedLock {
    /// Who holds it.
    pub(crate) name: TransactionName,
    /// Under which attempt.
    pub(crate) attempt: Attempt,
    /// The prepared timestamp.
    pub(crate) at: Timestamp,
}

/// Who holds which key.
#[derive(Default, Debug)]
pub(crate) struct LockTable {
    by_key: BTreeMap<Key, PreparedLock>,
}

impl LockTable {
    /// Locks the keys of a share.
    pub(crate) fn insert(&mut self, name: &TransactionName, share: &Share) {
        for (key, _) in &share.locks {
            let lock = PreparedLock {
                name: name.clone(),
                attempt: share.attempt,
                at: share.at,
            };
            if let Some(before) = self.by_key.insert(key.clone(), lock) {
                assert_eq!(
                    before.name.id, name.id,
                    "two transactions hold the lock on {key}: {} and {}",
                    before.name.id, name.id
                );
            }
        }
    }

    /// Releases the keys of a share.
    pub(crate) fn remove(&mut self, id: TransactionId, share: &Share) {
        for (key, _) in &share.locks {
            if self.by_key.get(key).is_some_and(|lock| lock.name.id == id) {
                self.by_key.remove(key);
            }
        }
    }

    /// Who holds a key.
    pub(crate) fn holder(&self, key: &Key) -> Option<&PreparedLock> {
        self.by_key.get(key)
    }

    /// The first lock in a range at or below a timestamp that is not `reader`'s own.
    pub(crate) fn first_at_or_below(
        &self,
        range: &KeyRange,
        at: Timestamp,
        reader: Option<TransactionId>,
    ) -> Option<(&Key, &PreparedLock)> {
        in_range(&self.by_key, range)
            .find(|(_, lock)| lock.at <= at && Some(lock.name.id) != reader)
    }

    /// How many keys are locked.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// What a map by key holds of a range.
pub(crate) fn in_range<'a, T>(
    map: &'a BTreeMap<Key, T>,
    range: &KeyRange,
) -> impl DoubleEndedIterator<Item = (&'a Key, &'a T)> + use<'a, T> {
    let end = match &range.end {
        Some(end) => Bound::Excluded(end.clone()),
        None => Bound::Unbounded,
    };
    let bounds = (Bound::Included(range.start.clone()), end);
    // A map refuses bounds that are the wrong way round; an empty range holds nothing.
    (!range.is_empty())
        .then(|| map.range(bounds))
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::LockKind;
    use crate::fixtures::{attempt, id, key, name, range};

    fn share(keys: &[&str], at: u64) -> Share {
        Share {
            attempt: attempt(1),
            at: Timestamp::from_micros(at),
            age: id(1),
            locks: keys.iter().map(|k| (key(k), LockKind::Unchanged)).collect(),
            results: vec![],
        }
    }

    #[test]
    fn a_range_is_searched_at_a_timestamp_and_without_ones_own() {
        let mut locks = LockTable::default();
        locks.insert(&name(1), &share(&["a", "c"], 10));
        locks.insert(&name(2), &share(&["b"], 5));
        let found = |at, reader| {
            let at = Timestamp::from_micros(at);
            let first = locks.first_at_or_below(&range("a", "z"), at, reader);
            first.map(|(key, _)| key.clone())
        };
        assert_eq!(found(10, None), Some(key("a")));
        assert_eq!(found(10, Some(id(1))), Some(key("b")));
        assert_eq!(found(9, Some(id(2))), None);
        assert_eq!(found(4, None), None);
    }

    #[test]
    fn removing_a_share_leaves_what_another_holds() {
        let mut locks = LockTable::default();
        locks.insert(&name(1), &share(&["a"], 10));
        locks.remove(id(2), &share(&["a"], 10));
        assert_eq!(locks.len(), 1);
        locks.remove(id(1), &share(&["a"], 10));
        assert_eq!(locks.len(), 0);
    }

    #[test]
    #[should_panic(expected = "two transactions hold the lock")]
    fn a_key_has_one_holder() {
        let mut locks = LockTable::default();
        locks.insert(&name(1), &share(&["a"], 10));
        locks.insert(&name(2), &share(&["a"], 11));
    }
}
