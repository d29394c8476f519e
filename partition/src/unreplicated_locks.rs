//! Exclusive locks in the leader's memory: `get_for_update` (R3, R11).
//!
//! They order transactions that will want to write the same key, so that a hot key forms a queue and
//! not a storm of conflicts. Plain reads ignore them. Correctness never rests on them: prepare checks
//! everything again, so losing them with the leader costs at most a retry.
//!
//! A lock that its holder did not give back is dropped when nobody touched it for [`UNTOUCHED_MAX`] (the
//! gateway touches those of open transactions), or when an older transaction needs it; its gateway is
//! told either way.
//!
//! Invariants:
//! - at most one transaction holds a key;
//! - a lock ends [`UNTOUCHED_MAX`] after its transaction was last touched;
//! - to take, to touch and to give back costs the same however many keys the transaction holds (up to a
//!   logarithm): whole requests of many keys stay linear.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{NodeId, TransactionId};
use wire::keys::Key;
use wire::message::{LockLoss, LockLost};

/// A lock that nobody touched for so long is dropped.
pub(crate) const UNTOUCHED_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Held {
    id: TransactionId,
    age: TransactionId,
    gateway: NodeId,
}

/// What one transaction holds; its locks are touched together.
#[derive(Debug)]
struct Holder {
    keys: BTreeSet<Key>,
    touched: Duration,
}

/// Locks that were dropped, and the gateway to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dropped {
    pub(crate) gateway: NodeId,
    pub(crate) lost: LockLost,
}

/// Who holds which key, in memory only.
#[derive(Default, Debug)]
pub(crate) struct UnreplicatedLocks {
    by_key: BTreeMap<Key, Held>,
    by_id: BTreeMap<TransactionId, Holder>,
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
    pub(crate) fn take(
        &mut self,
        key: &Key,
        id: TransactionId,
        age: TransactionId,
        gateway: NodeId,
        now: Duration,
    ) {
        match self.by_key.get(key) {
            Some(held) => assert_eq!(
                held.id, id,
                "the lock on {key} is taken by {id} while {} holds it",
                held.id
            ),
            None => {
                self.by_key.insert(key.clone(), Held { id, age, gateway });
            }
        }
        let holder = self.by_id.entry(id).or_insert_with(|| Holder {
            keys: BTreeSet::new(),
            touched: now,
        });
        holder.keys.insert(key.clone());
        holder.touched = now;
    }

    /// The transaction's gateway gave a sign: it is still open.
    pub(crate) fn touch(&mut self, id: TransactionId, now: Duration) {
        if let Some(holder) = self.by_id.get_mut(&id) {
            holder.touched = now;
        }
    }

    /// Takes a lock from its holder, because an older transaction waits for it.
    pub(crate) fn wound(&mut self, key: &Key, by: TransactionId) -> Option<Dropped> {
        let held = self.by_key.get(key)?;
        let (id, gateway) = (held.id, held.gateway);
        self.release(key, id);
        let lost = LockLost {
            id,
            keys: vec![key.clone()],
            loss: LockLoss::Wounded { by },
        };
        Some(Dropped { gateway, lost })
    }

    /// Gives back one key, if this transaction holds it.
    pub(crate) fn release(&mut self, key: &Key, id: TransactionId) -> bool {
        let held = self.holder(key) == Some(id);
        if held {
            self.by_key.remove(key);
            if let Some(holder) = self.by_id.get_mut(&id) {
                holder.keys.remove(key);
                if holder.keys.is_empty() {
                    self.by_id.remove(&id);
                }
            }
        }
        held
    }

    /// Gives back everything that a transaction holds, and tells what that was.
    pub(crate) fn release_all(&mut self, id: TransactionId) -> BTreeSet<Key> {
        let holder = self.by_id.remove(&id);
        let keys = holder.map(|holder| holder.keys).unwrap_or_default();
        for key in &keys {
            self.by_key.remove(key);
        }
        keys
    }

    /// Drops what nobody touched for too long, and tells what that was.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Dropped> {
        let untouched = |holder: &Holder| now.saturating_sub(holder.touched) >= UNTOUCHED_MAX;
        let mut gone: BTreeMap<(TransactionId, NodeId), Vec<Key>> = BTreeMap::new();
        for (id, holder) in self.by_id.iter().filter(|(_, holder)| untouched(holder)) {
            for key in &holder.keys {
                let held = self.by_key.get(key);
                let held = held.expect("a key that a transaction holds says by whom it is held");
                let keys = gone.entry((*id, held.gateway)).or_default();
                keys.push(key.clone());
            }
        }
        let dropped = gone.into_iter().map(|((id, gateway), keys)| {
            for key in &keys {
                self.release(key, id);
            }
            let loss = LockLoss::Dropped;
            let lost = LockLost { id, keys, loss };
            Dropped { gateway, lost }
        });
        dropped.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{id, key};

    #[test]
    fn a_lock_ends_when_nobody_touches_its_transaction() {
        let mut locks = UnreplicatedLocks::default();
        let take = |locks: &mut UnreplicatedLocks, of: &str, now| {
            locks.take(&key(of), id(1), id(1), NodeId(9), Duration::from_secs(now));
        };
        take(&mut locks, "a", 0);
        take(&mut locks, "b", 3);
        assert_eq!(locks.expire(Duration::from_secs(7)), vec![]);
        locks.touch(id(1), Duration::from_secs(7));
        assert_eq!(locks.expire(Duration::from_secs(11)), vec![]);
        let gone = locks.expire(Duration::from_secs(12));
        let lost = LockLost {
            id: id(1),
            keys: vec![key("a"), key("b")],
            loss: LockLoss::Dropped,
        };
        let gateway = NodeId(9);
        assert_eq!(gone, vec![Dropped { gateway, lost }]);
        assert_eq!(locks.holder(&key("a")), None);
    }

    #[test]
    fn only_the_holder_gives_a_lock_back() {
        let mut locks = UnreplicatedLocks::default();
        locks.take(&key("a"), id(1), id(1), NodeId(9), Duration::ZERO);
        assert!(!locks.release(&key("a"), id(2)));
        assert_eq!(locks.release_all(id(1)), BTreeSet::from([key("a")]));
        assert_eq!(locks.holder(&key("a")), None);
    }

    /// The node's thread does nothing else meanwhile. Work that grows with the square of the keys takes
    /// minutes here, work that grows with the keys a fraction of a second.
    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "it is real work that is measured"
    )]
    fn fifty_thousand_locks_of_one_transaction_are_taken_and_given_back_in_linear_time() {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let in_time = || assert!(std::time::Instant::now() < deadline, "it takes too long");
        let keys: Vec<Key> = (0..50_000).map(|n| key(&format!("{n:05}"))).collect();
        let mut locks = UnreplicatedLocks::default();
        for key in &keys {
            locks.take(key, id(1), id(1), NodeId(9), Duration::ZERO);
            in_time();
        }
        for key in keys.iter().rev() {
            assert!(locks.release(key, id(1)), "{key} was held");
            in_time();
        }
        assert!(locks.by_key.is_empty() && locks.by_id.is_empty());
    }
}
