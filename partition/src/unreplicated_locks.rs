//! Exclusive locks in the leader's memory: `get_for_update` (R3, R11).
//!
//! They order transactions that will want to write the same key, so that a hot key forms a queue and
//! not a storm of conflicts. Plain reads ignore them. Correctness never rests on them: prepare checks
//! everything again, so losing them with the leader costs at most a retry.
//!
//! Invariants: at most one transaction holds a key; a lock ends [`UNTOUCHED_MAX`] after it was last
//! touched.

use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::TransactionId;
use wire::keys::Key;

/// A lock that nobody touched for so long is dropped.
pub(crate) const UNTOUCHED_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Held {
    id: TransactionId,
    age: TransactionId,
    touched: Duration,
}

/// Who holds which key, in memory only.
#[derive(Default, Debug)]
pub(crate) struct UnreplicatedLocks {
    by_key: BTreeMap<Key, Held>,
    by_id: BTreeMap<TransactionId, Vec<Key>>,
}

impl UnreplicatedLocks {
    /// Who holds a key.
    pub(crate) fn holder(&self, key: &Key) -> Option<TransactionId> {
        self.by_key.get(key).map(|held| held.id)
    }

    /// Who holds a key, and its age.
    pub(crate) fn holder_with_age(&self, key: &Key) -> Option<(TransactionId, TransactionId)> {
        self.by_key.get(key).map(|held| (held.id, held.age))
    }

    /// Takes a lock that nobody else holds; touches all locks of the same transaction.
    pub(crate) fn take(&mut self, key: &Key, id: TransactionId, age: TransactionId, now: Duration) {
        match self.by_key.get(key) {
            Some(held) => assert_eq!(
                held.id, id,
                "the lock on {key} is taken by {id} while {} holds it",
                held.id
            ),
            None => {
                let held = Held {
                    id,
                    age,
                    touched: now,
                };
                self.by_key.insert(key.clone(), held);
                self.by_id.entry(id).or_default().push(key.clone());
            }
        }
        for key in self.by_id.get(&id).into_iter().flatten() {
            if let Some(held) = self.by_key.get_mut(key) {
                held.touched = now;
            }
        }
    }

    /// Gives back one key, if this transaction holds it.
    pub(crate) fn release(&mut self, key: &Key, id: TransactionId) -> bool {
        let held = self.holder(key) == Some(id);
        if held {
            self.by_key.remove(key);
            if let Some(keys) = self.by_id.get_mut(&id) {
                keys.retain(|other| other != key);
                if keys.is_empty() {
                    self.by_id.remove(&id);
                }
            }
        }
        held
    }

    /// Gives back everything that a transaction holds, and tells what that was.
    pub(crate) fn release_all(&mut self, id: TransactionId) -> Vec<Key> {
        let keys = self.by_id.remove(&id).unwrap_or_default();
        for key in &keys {
            self.by_key.remove(key);
        }
        keys
    }

    /// Drops what nobody touched for too long, and tells what that was.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Key> {
        let untouched = |held: &Held| now.saturating_sub(held.touched) >= UNTOUCHED_MAX;
        let gone: Vec<(Key, TransactionId)> = self
            .by_key
            .iter()
            .filter(|(_, held)| untouched(held))
            .map(|(key, held)| (key.clone(), held.id))
            .collect();
        for (key, id) in &gone {
            self.release(key, *id);
        }
        gone.into_iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{id, key};

    #[test]
    fn a_lock_ends_when_nobody_touches_its_transaction() {
        let mut locks = UnreplicatedLocks::default();
        locks.take(&key("a"), id(1), id(1), Duration::ZERO);
        locks.take(&key("b"), id(1), id(1), Duration::from_secs(3));
        assert_eq!(locks.expire(Duration::from_secs(7)), vec![]);
        let gone = locks.expire(Duration::from_secs(8));
        assert_eq!(gone, vec![key("a"), key("b")]);
        assert_eq!(locks.holder(&key("a")), None);
    }

    #[test]
    fn only_the_holder_gives_a_lock_back() {
        let mut locks = UnreplicatedLocks::default();
        locks.take(&key("a"), id(1), id(1), Duration::ZERO);
        assert!(!locks.release(&key("a"), id(2)));
        assert_eq!(locks.release_all(id(1)), vec![key("a")]);
        assert_eq!(locks.holder(&key("a")), None);
    }
}
