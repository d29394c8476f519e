//! `get_for_update`: an exclusive lock in memory, and the newest committed version (R3, R11).
//!
//! The answer is a read at max(r, newest version), and the cache is raised like for any other; a lock
//! alone promises nothing.

use super::{Evaluated, Evaluator, Verdict};
use crate::request_waiting_list::WaitFor;
use wire::keys::KeyRange;
use wire::message::{Lock, Locked, PartitionReply};

impl Evaluator<'_> {
    pub(super) fn lock(&mut self, lock: &Lock) -> Evaluated<Verdict> {
        self.check_not_ahead(lock.timestamp)?;
        self.check_promised(lock.timestamp)?;
        self.check_unlocked(&lock.key, lock.id)?;
        // Held from now on, so that nobody takes it while the store or an entry is waited for.
        self.unreplicated
            .take(&lock.key, lock.id, lock.age, self.now.monotonic);
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
}
