//! Requests that cannot be evaluated yet, and what each waits for (pattern Request Waiting List).
//!
//! A request waits for one thing at a time; when that comes about it begins anew, from the first check.
//! Requests that wait for a lock queue on its key: readers first, then writers by age, the oldest
//! first, so that a hot key forms a queue and not a storm (R11).
//!
//! Invariants
//! - A waiter stands under exactly one reason, and in at most one index of each kind.
//! - At most [`WAITING_MAX`] wait; at most [`WAITING_ON_KEY_MAX`] writers and as many readers for one
//!   key. If one more comes, the youngest goes: an old transaction never loses its place to young ones.

use crate::asker::Asker;
use crate::evaluation::StoreAnswers;
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{Attempt, LogIndex, TransactionId};
use wire::keys::Key;
use wire::message::{PartitionRequest, TransactionName};

/// The most requests that wait at one replica.
pub(crate) const WAITING_MAX: usize = 16 * 1024;

/// The most writers, and the most readers, that wait for the lock on one key.
pub(crate) const WAITING_ON_KEY_MAX: usize = 1024;

/// What a request waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum WaitFor {
    /// The replica is elected, but does not serve yet (R9), or evaluates nothing for a while: it is about to
    /// hand over, or its members change.
    Serving,
    /// The promise reaches this timestamp.
    Promise(Timestamp),
    /// The entry at this index is committed.
    Entry(LogIndex),
    /// The lock on this key is released.
    Lock {
        /// The key.
        key: Key,
        /// Who held it when the wait began.
        rival: TransactionId,
    },
    /// The store answers the query with this ticket.
    Store(u64),
}

/// A request, and what was found out for it so far.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Given at arrival; later ones are greater.
    pub(crate) ticket: u64,
    pub(crate) asker: Asker,
    pub(crate) request: PartitionRequest,
    /// What the store said.
    pub(crate) answers: StoreAnswers,
    /// When it arrived.
    pub(crate) arrived: Duration,
    /// Since when locks are in its way.
    pub(crate) locked_since: Option<Duration>,
    /// It had to leave the queue for a key, for which so many wait.
    pub(crate) crowded_out: Option<u32>,
}

impl Waiter {
    /// Whose request it is, if it would write or lock; orders it among those that wait for a lock.
    fn age(&self) -> Option<TransactionId> {
        match &self.request {
            PartitionRequest::Commit(commit) => Some(commit.age),
            PartitionRequest::Prepare(prepare) => Some(prepare.age),
            PartitionRequest::Lock(lock) => Some(lock.age),
            PartitionRequest::LockAll(lock) => Some(lock.age),
            _ => None,
        }
    }

    /// The transaction whose marker or record may end the wait.
    fn transaction(&self) -> Option<TransactionId> {
        match &self.request {
            PartitionRequest::Commit(commit) => Some(commit.name.id),
            PartitionRequest::Prepare(prepare) => Some(prepare.name.id),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    waiter: Waiter,
    reason: WaitFor,
    deadline: Option<Duration>,
}

/// Those who wait for the lock on one key.
#[derive(Default, Debug)]
struct Queue {
    /// Readers have no age and stand first.
    waiters: BTreeSet<(Option<TransactionId>, u64)>,
    /// How many of them are readers.
    readers: usize,
    /// The prepared transaction that holds the key.
    holder: Option<Holder>,
}

/// A prepared holder that is waited for.
#[derive(Debug)]
struct Holder {
    id: TransactionId,
    attempt: Attempt,
    /// When to see next whether its coordinator lives.
    push_due: Duration,
    /// When to end it next, if it is younger than who waits.
    wound_due: Duration,
}

/// What is known of a prepared lock that is waited for.
pub(crate) struct HeldBy {
    pub(crate) name: TransactionName,
    pub(crate) attempt: Attempt,
    pub(crate) age: TransactionId,
}

/// A prepared lock whose transaction is to be looked after.
pub(crate) struct PushDue {
    pub(crate) key: Key,
    pub(crate) name: TransactionName,
    pub(crate) attempt: Attempt,
    /// An older transaction has waited for long: its attempt is to end.
    pub(crate) wound: bool,
}

/// When prepared holders are looked after.
#[derive(Clone, Copy)]
pub(crate) struct PushTiming {
    pub(crate) push_after: Duration,
    pub(crate) wound_after: Duration,
    pub(crate) every: Duration,
}

/// Requests that wait.
#[derive(Default, Debug)]
pub(crate) struct RequestWaitingList {
    by_ticket: BTreeMap<u64, Waiting>,
    by_asker: BTreeMap<Asker, u64>,
    serving: BTreeSet<u64>,
    promises: BTreeSet<(Timestamp, u64)>,
    entries: BTreeSet<(LogIndex, u64)>,
    keys: BTreeMap<Key, Queue>,
    stores: BTreeMap<u64, u64>,
    deadlines: BTreeSet<(Duration, u64)>,
    transactions: BTreeSet<(TransactionId, u64)>,
}

impl RequestWaitingList {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.by_ticket.len()
    }

    /// Lets a request wait; from `deadline` on [`RequestWaitingList::take_overdue`] gives it back.
    pub(crate) fn insert(&mut self, waiter: Waiter, reason: WaitFor, deadline: Option<Duration>) {
        let ticket = waiter.ticket;
        match &reason {
            WaitFor::Serving => drop(self.serving.insert(ticket)),
            WaitFor::Promise(at) => drop(self.promises.insert((*at, ticket))),
            WaitFor::Entry(index) => drop(self.entries.insert((*index, ticket))),
            WaitFor::Store(query) => drop(self.stores.insert(*query, ticket)),
            WaitFor::Lock { key, .. } => {
                let queue = self.keys.entry(key.clone()).or_default();
                queue.readers += usize::from(waiter.age().is_none());
                queue.waiters.insert((waiter.age(), ticket));
            }
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, ticket));
        }
        if let Some(id) = waiter.transaction() {
            self.transactions.insert((id, ticket));
        }
        let waiting = Waiting {
            waiter,
            reason,
            deadline,
        };
        self.by_asker.insert(waiting.waiter.asker, ticket);
        let before = self.by_ticket.insert(ticket, waiting);
        assert!(before.is_none(), "request {ticket} waits twice");
    }

    /// Whether a request finds room in the queue for a key. If not, who has to leave it, perhaps the
    /// request itself (`None`), and how many wait there.
    pub(crate) fn crowd(&self, key: &Key, waiter: &Waiter) -> Option<(Option<u64>, u32)> {
        let queue = self.keys.get(key)?;
        let reads = waiter.age().is_none();
        let alike = match reads {
            true => queue.readers,
            false => queue.waiters.len() - queue.readers,
        };
        if alike < WAITING_ON_KEY_MAX {
            return None;
        }
        let waiting = queue.waiters.len() as u32;
        let youngest = queue.waiters.last().filter(|_| !reads);
        let leaves = youngest.filter(|last| **last > (waiter.age(), waiter.ticket));
        Some((leaves.map(|(_, ticket)| *ticket), waiting))
    }

    /// Another copy of a request that waits already came in: one of them is enough. The later copy may
    /// say that it was sent before. `false`: none waits.
    pub(crate) fn replace(&mut self, asker: Asker, request: &PartitionRequest) -> bool {
        let ticket = self.by_asker.get(&asker);
        let Some(waiting) = ticket.and_then(|ticket| self.by_ticket.get_mut(ticket)) else {
            return false;
        };
        waiting.waiter.request = request.clone();
        true
    }

    /// Drops the request of an asker, if it waits.
    pub(crate) fn cancel(&mut self, asker: Asker) {
        if let Some(ticket) = self.by_asker.get(&asker).copied() {
            self.take(ticket);
        }
    }

    /// Takes one request out.
    pub(crate) fn take(&mut self, ticket: u64) -> Option<(Waiter, WaitFor)> {
        let waiting = self.by_ticket.remove(&ticket)?;
        self.by_asker.remove(&waiting.waiter.asker);
        match &waiting.reason {
            WaitFor::Serving => drop(self.serving.remove(&ticket)),
            WaitFor::Promise(at) => drop(self.promises.remove(&(*at, ticket))),
            WaitFor::Entry(index) => drop(self.entries.remove(&(*index, ticket))),
            WaitFor::Store(query) => drop(self.stores.remove(query)),
            WaitFor::Lock { key, .. } => {
                if let Some(queue) = self.keys.get_mut(key) {
                    queue.waiters.remove(&(waiting.waiter.age(), ticket));
                    queue.readers -= usize::from(waiting.waiter.age().is_none());
                    if queue.waiters.is_empty() {
                        self.keys.remove(key);
                    }
                }
            }
        }
        if let Some(deadline) = waiting.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        if let Some(id) = waiting.waiter.transaction() {
            self.transactions.remove(&(id, ticket));
        }
        Some((waiting.waiter, waiting.reason))
    }

    /// Takes the first request that waits for an entry up to this one.
    pub(crate) fn take_committed(&mut self, up_to: LogIndex) -> Option<Waiter> {
        let (index, ticket) = *self.entries.first()?;
        (index <= up_to).then(|| self.must_take(ticket))
    }

    /// Takes the first request that waits for a promise up to this one.
    pub(crate) fn take_promised(&mut self, promise: Timestamp) -> Option<Waiter> {
        let (at, ticket) = *self.promises.first()?;
        (at <= promise).then(|| self.must_take(ticket))
    }

    /// Who waits until requests are evaluated, in the order of arrival.
    pub(crate) fn for_serving(&self) -> Vec<u64> {
        self.serving.iter().copied().collect()
    }

    /// Takes the request that waits for this answer of the store.
    pub(crate) fn take_answered(&mut self, query: u64) -> Option<Waiter> {
        let ticket = *self.stores.get(&query)?;
        Some(self.must_take(ticket))
    }

    /// Takes the first request whose deadline has come.
    pub(crate) fn take_overdue(&mut self, now: Duration) -> Option<(Waiter, WaitFor)> {
        let (deadline, ticket) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.take(ticket)
    }

    /// Takes any request.
    pub(crate) fn take_any(&mut self) -> Option<Waiter> {
        let ticket = *self.by_ticket.first_key_value()?.0;
        Some(self.must_take(ticket))
    }

    /// Who waits for the lock on a key, in order; whether each would write.
    pub(crate) fn on_key(&self, key: &Key) -> Vec<(u64, bool)> {
        let queue = self.keys.get(key);
        let waiters = queue.into_iter().flat_map(|queue| &queue.waiters);
        waiters
            .map(|(age, ticket)| (*ticket, age.is_some()))
            .collect()
    }

    /// Requests to commit or prepare a transaction.
    pub(crate) fn of_transaction(&self, id: TransactionId) -> Vec<u64> {
        let all = self.transactions.range((id, 0)..=(id, u64::MAX));
        all.map(|(_, ticket)| *ticket).collect()
    }

    /// The prepared locks that were waited for long enough: to see whether their coordinator lives, or to
    /// end them if an older transaction waits (wound-wait, R11).
    pub(crate) fn due_pushes(
        &mut self,
        now: Duration,
        timing: PushTiming,
        holder: impl Fn(&Key) -> Option<HeldBy>,
    ) -> Vec<PushDue> {
        let mut pushes = Vec::new();
        for (key, queue) in &mut self.keys {
            let Some(HeldBy { name, attempt, age }) = holder(key) else {
                queue.holder = None;
                continue;
            };
            let is_same = |known: &Holder| known.id == name.id && known.attempt == attempt;
            let Some(known) = queue.holder.as_mut().filter(|known| is_same(known)) else {
                queue.holder = Some(Holder {
                    id: name.id,
                    attempt,
                    push_due: now + timing.push_after,
                    wound_due: now + timing.wound_after,
                });
                continue;
            };
            let oldest = queue.waiters.iter().find_map(|(age, ticket)| {
                let since = self.by_ticket.get(ticket)?.waiter.locked_since?;
                age.map(|age| (age, since))
            });
            let is_older = |(oldest, since): (TransactionId, Duration)| {
                oldest < age && now >= since + timing.wound_after
            };
            let wound = now >= known.wound_due && oldest.is_some_and(is_older);
            if wound {
                known.wound_due = now + timing.every;
            } else if now < known.push_due {
                continue;
            }
            known.push_due = now + timing.every;
            pushes.push(PushDue {
                key: key.clone(),
                name,
                attempt,
                wound,
            });
        }
        pushes
    }

    /// For each key the oldest writer that waits for its lock, if it has waited for so long.
    pub(crate) fn oldest_writers(
        &self,
        now: Duration,
        after: Duration,
    ) -> Vec<(Key, TransactionId)> {
        let oldest = self.keys.iter().filter_map(|(key, queue)| {
            let writers = queue.waiters.iter();
            let (age, ticket) = writers
                .filter_map(|(age, ticket)| Some((age.as_ref()?, ticket)))
                .next()?;
            let since = self.by_ticket.get(ticket)?.waiter.locked_since?;
            (now >= since + after).then(|| (key.clone(), *age))
        });
        oldest.collect()
    }

    fn must_take(&mut self, ticket: u64) -> Waiter {
        let taken = self.take(ticket);
        taken.expect("an index names only requests that wait").0
    }

    /// Asserts what must hold.
    pub(crate) fn invariants(&self) {
        for (key, queue) in &self.keys {
            let readers = queue.waiters.iter().filter(|(age, _)| age.is_none());
            assert_eq!(
                readers.count(),
                queue.readers,
                "readers of {key} are counted"
            );
            let writers = queue.waiters.len() - queue.readers;
            assert!(
                queue.readers.max(writers) <= WAITING_ON_KEY_MAX,
                "{} readers and {writers} writers wait for {key}, at most {WAITING_ON_KEY_MAX} may",
                queue.readers
            );
        }
        let queued: usize = self.keys.values().map(|queue| queue.waiters.len()).sum();
        let indexed = self.serving.len()
            + self.promises.len()
            + self.entries.len()
            + self.stores.len()
            + queued;
        assert_eq!(
            indexed,
            self.by_ticket.len(),
            "every waiter stands under one reason"
        );
        assert!(
            self.len() <= WAITING_MAX,
            "{} requests wait, at most {WAITING_MAX} may",
            self.len()
        );
    }
}
