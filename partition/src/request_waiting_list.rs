//! Requests that cannot be evaluated yet, and what each waits for (pattern Request Waiting List).
//!
//! A request waits for one thing at a time; when that comes about it begins anew, from the first check.
//! Requests that wait for a lock queue on its key: readers first, then writers by age, the oldest
//! first, so that a hot key forms a queue and not a storm (R11).
//!
//! Invariants
//! - A waiter stands under exactly one reason, and in at most one index of each kind.
//! - At most [`WAITING_MAX`] wait.

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

/// What a request waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum WaitFor {
    /// The replica is elected, but does not serve yet (R9).
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
}

impl Waiter {
    /// Whose request it is, if it would write or lock; orders it among those that wait for a lock.
    fn age(&self) -> Option<TransactionId> {
        match &self.request {
            PartitionRequest::Commit(commit) => Some(commit.age),
            PartitionRequest::Prepare(prepare) => Some(prepare.age),
            PartitionRequest::Lock(lock) => Some(lock.age),
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
    /// Who holds the key, since when it was seen, and when it was last pushed.
    holder: Option<(TransactionId, Attempt, Duration)>,
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

    /// Takes the first request that waits for the replica to serve.
    pub(crate) fn take_serving(&mut self) -> Option<Waiter> {
        let ticket = *self.serving.first()?;
        Some(self.must_take(ticket))
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

    /// The prepared locks that were waited for long enough to see whether their coordinator lives:
    /// at first after `after`, then every `every`.
    pub(crate) fn due_pushes(
        &mut self,
        now: Duration,
        after: Duration,
        every: Duration,
        holder: impl Fn(&Key) -> Option<(TransactionName, Attempt)>,
    ) -> Vec<(Key, TransactionName, Attempt)> {
        let mut pushes = Vec::new();
        for (key, queue) in &mut self.keys {
            let Some((name, attempt)) = holder(key) else {
                queue.holder = None;
                continue;
            };
            match &mut queue.holder {
                Some((id, known, due)) if *id == name.id && *known == attempt => {
                    if now >= *due {
                        *due = now + every;
                        pushes.push((key.clone(), name, attempt));
                    }
                }
                other => *other = Some((name.id, attempt, now + after)),
            }
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
