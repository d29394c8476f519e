//! `get_for_update`: an exclusive lock in memory, and the newest committed version (R3, R11).
//!
//! The answer is a read at max(r, newest version), and the cache is raised like for any other; a lock
//! alone promises nothing.

use super::{Evaluated, Evaluator, Verdict};
use crate::request_waiting_list::WaitFor;
use wire::ids::TransactionId;
use wire::keys::{Key, KeyRange};
use wire::message::{Lock, LockAll, LockWait, Locked, PartitionReply};

impl Evaluator<'_> {
    pub(super) fn lock(&mut self, lock: &Lock) -> Evaluated<Verdict> {
        self.check_retained(lock.timestamp)?;
        self.check_not_ahead(lock.timestamp)?;
        self.check_promised(lock.timestamp)?;
        if lock.wait == LockWait::Refuse
            && let Some(rival) = self.rival_on(&lock.key, lock.id)
        {
            let key = lock.key.clone();
            return Ok(Verdict::Reply(PartitionReply::Taken { key, rival }));
        }
        self.check_unlocked(&lock.key, lock.id)?;
        // Held from now on, so that nobody takes it while the store or an entry is waited for.
        let now = self.now.monotonic;
        self.unreplicated
            .take(&lock.key, lock.id, lock.age, lock.gateway, now);
        let newest = self.newest(&lock.key);
        self.check_answered()?;
        let newest = newest.expect("what is not known is asked of the store");
        if let Some(index) = newest.under_way {
            return Err(WaitFor::Entry(index).into());
        }
        let at = lock.timestamp.max(newest.timestamp());
        self.check_promised(at)?;
        let point = KeyRange::point(lock.key.clone());
        self.cache.raise(&point, at, Some(lock.id));
        Ok(Verdict::Reply(PartitionReply::Locked(Locked {
            value: newest.value(),
            newest: newest.timestamp(),
        })))
    }

    /// Many keys, in their order: what is locked stays so while the next one is waited for, so those
    /// that lock in key order form no cycle.
    pub(super) fn lock_all(&mut self, lock: &LockAll) -> Evaluated<Verdict> {
        let now = self.now.monotonic;
        for key in &lock.keys {
            self.check_unlocked(key, lock.id)?;
            self.unreplicated
                .take(key, lock.id, lock.age, lock.gateway, now);
        }
        Ok(Verdict::Reply(PartitionReply::LockedAll))
    }

    pub(super) fn keep_locks(&mut self, id: TransactionId, keys: &[Key]) -> Verdict {
        self.unreplicated.touch(id, self.now.monotonic);
        let is_lost = |key: &&Key| self.unreplicated.holder(key) != Some(id);
        Verdict::Reply(PartitionReply::Kept {
            lost: keys.iter().filter(is_lost).cloned().collect(),
        })
    }
}
