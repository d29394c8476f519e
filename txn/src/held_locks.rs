//! What the open transactions of this gateway's clients hold by `get_for_update` (R3, R11; pattern Lease).
//!
//! Problem: such a lock lives in a leader's memory, and its holder is a client that may think, stand
//! still, or vanish. The leader drops a lock of which it hears nothing for 5 s. So the gateway gives a
//! sign for each open transaction, for as long as its client takes a step now and then; and if a lock is
//! lost all the same, the client hears it at its transaction's next step.
//!
//! Invariants:
//! - a lock that a client may hold is given back when its transaction commits, rolls back, or when the
//!   last connection that it used is gone;
//! - no sign is given for a transaction whose client took no step for [`OPEN_MAX`];
//! - only locks that were granted are kept, and only those can be lost;
//! - what was asked for and not granted is forgotten, and so is a transaction of which nothing else is
//!   known;
//! - the count of a connection is that of its transactions' locks, one for a transaction without any:
//!   whoever never rolls back meets [`crate::limits::HELD_LOCKS_MAX`].

use crate::patient_asks::PatientAsks;
use crate::plan;
use crate::request_waiting_list::{Flow, Order, Turn};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{PartitionId, TransactionId};
use wire::keys::Key;
use wire::message::{
    LockLoss, LockLost, PartitionReply, PartitionRequest, RequestError, RequestNumber,
};

/// Between two signs for one transaction; a leader waits for three of them.
const KEEP_EVERY: Duration = Duration::from_millis(1_500);
/// A transaction whose client takes no step for so long is no longer kept.
pub(crate) const OPEN_MAX: Duration = Duration::from_secs(30);

/// One key that a transaction asked for.
#[derive(Debug, Default)]
struct Asked {
    granted: bool,
    /// So many requests for it are not answered yet.
    unanswered: usize,
}

#[derive(Debug)]
struct Held {
    connections: BTreeSet<u64>,
    keys: BTreeMap<Key, Asked>,
    lost: Option<(Key, LockLoss)>,
    last_step: Duration,
    keep_due: Duration,
}

impl Held {
    /// As how many locks it counts.
    fn weight(&self) -> usize {
        self.keys.len().max(1)
    }
}

/// The transactions that used a connection.
#[derive(Debug, Default)]
struct Connection {
    ids: BTreeSet<TransactionId>,
    /// The sum of their weights.
    count: usize,
}

/// What open transactions hold.
#[derive(Debug, Default)]
pub(crate) struct HeldLocks {
    by_id: BTreeMap<TransactionId, Held>,
    by_connection: BTreeMap<u64, Connection>,
    due: BTreeSet<(Duration, TransactionId)>,
}

impl HeldLocks {
    /// A transaction asks for a lock.
    pub(crate) fn add(&mut self, connection: u64, id: TransactionId, key: Key, now: Duration) {
        self.by_id.entry(id).or_insert_with(|| Held {
            connections: BTreeSet::new(),
            keys: BTreeMap::new(),
            lost: None,
            last_step: now,
            keep_due: now + KEEP_EVERY,
        });
        self.join(connection, id);
        let keep_due = self.change(id, |held| {
            held.keys.entry(key).or_default().unanswered += 1;
            held.keep_due
        });
        self.due.extend(keep_due.map(|due| (due, id)));
    }

    /// A transaction uses a connection.
    fn join(&mut self, connection: u64, id: TransactionId) {
        if let Some(held) = self.by_id.get_mut(&id)
            && held.connections.insert(connection)
        {
            let joined = self.by_connection.entry(connection).or_default();
            joined.ids.insert(id);
            joined.count += held.weight();
        }
    }

    /// Changes what a transaction holds, and the counts of its connections with it.
    fn change<T>(&mut self, id: TransactionId, change: impl FnOnce(&mut Held) -> T) -> Option<T> {
        let held = self.by_id.get_mut(&id)?;
        let before = held.weight();
        let changed = change(held);
        let after = held.weight();
        for connection in &held.connections {
            let joined = self.by_connection.get_mut(connection);
            let joined = joined.expect("a connection that a transaction used is counted");
            joined.count = joined.count + after - before;
        }
        Some(changed)
    }

    /// A lock was granted.
    pub(crate) fn on_granted(&mut self, id: TransactionId, key: &Key) {
        let held = self.by_id.get_mut(&id);
        if let Some(asked) = held.and_then(|held| held.keys.get_mut(key)) {
            asked.granted = true;
            asked.unanswered = asked.unanswered.saturating_sub(1);
        }
    }

    /// A lock was asked for and not granted. Whether it is forgotten: it was not granted before, and no
    /// other request for it is under way.
    pub(crate) fn on_not_granted(&mut self, id: TransactionId, key: &Key) -> bool {
        let forgotten = self.change(id, |held| {
            let Some(asked) = held.keys.get_mut(key) else {
                return false;
            };
            asked.unanswered = asked.unanswered.saturating_sub(1);
            let is_nothing = !asked.granted && asked.unanswered == 0;
            if is_nothing {
                held.keys.remove(key);
            }
            is_nothing
        });
        let held = self.by_id.get(&id);
        if held.is_some_and(|held| held.keys.is_empty() && held.lost.is_none()) {
            self.take(id);
        }
        forgotten.unwrap_or(false)
    }

    /// Locks were dropped by their leader.
    pub(crate) fn on_lost(&mut self, lost: &LockLost) {
        self.change(lost.id, |held| {
            for key in &lost.keys {
                if held.keys.remove(key).is_some() {
                    held.lost.get_or_insert((key.clone(), lost.loss));
                }
            }
        });
    }

    /// A transaction takes a step over a connection.
    ///
    /// # Errors
    /// If it has lost a lock.
    pub(crate) fn step(
        &mut self,
        id: TransactionId,
        connection: u64,
        now: Duration,
    ) -> Result<(), RequestError> {
        self.join(connection, id);
        let Some(held) = self.by_id.get_mut(&id) else {
            return Ok(());
        };
        held.last_step = now;
        if self.due.insert((held.keep_due, id)) {
            // It was no longer kept: the next tick gives a sign again.
            self.due.remove(&(held.keep_due, id));
            held.keep_due = held.keep_due.max(now);
            self.due.insert((held.keep_due, id));
        }
        match held.lost.clone() {
            Some((key, loss)) => Err(RequestError::LockLost { key, loss }),
            None => Ok(()),
        }
    }

    /// How many locks the transactions of a connection have asked for; a transaction without any counts
    /// as one.
    pub(crate) fn count(&self, connection: u64) -> usize {
        let joined = self.by_connection.get(&connection);
        joined.map_or(0, |joined| joined.count)
    }

    /// Takes what a transaction may hold.
    pub(crate) fn take(&mut self, id: TransactionId) -> BTreeSet<Key> {
        let Some(held) = self.by_id.remove(&id) else {
            return BTreeSet::new();
        };
        self.due.remove(&(held.keep_due, id));
        for connection in &held.connections {
            self.leave(*connection, id, held.weight());
        }
        held.keys.into_keys().collect()
    }

    fn leave(&mut self, connection: u64, id: TransactionId, weight: usize) {
        if let Some(joined) = self.by_connection.get_mut(&connection) {
            joined.ids.remove(&id);
            joined.count -= weight;
            if joined.ids.is_empty() {
                self.by_connection.remove(&connection);
            }
        }
    }

    /// A connection is gone: takes everything of transactions that used no other one.
    pub(crate) fn on_gone(&mut self, connection: u64) -> BTreeMap<TransactionId, BTreeSet<Key>> {
        let gone = self.by_connection.remove(&connection).unwrap_or_default();
        let mut abandoned = BTreeMap::new();
        for id in gone.ids {
            let Some(held) = self.by_id.get_mut(&id) else {
                continue;
            };
            held.connections.remove(&connection);
            if held.connections.is_empty() {
                abandoned.insert(id, self.take(id));
            }
        }
        abandoned
    }

    /// When the next sign is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes a transaction for which a sign is due, and its granted locks.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<(TransactionId, BTreeSet<Key>)> {
        loop {
            let (due, id) = *self.due.first()?;
            if due > now {
                return None;
            }
            self.due.pop_first();
            let held = self.by_id.get_mut(&id);
            let held = held.expect("only a transaction that holds something has a sign due");
            if now >= held.last_step + OPEN_MAX {
                // Its locks lapse; the leader says so, and then the client is told.
                continue;
            }
            held.keep_due = now + KEEP_EVERY;
            self.due.insert((held.keep_due, id));
            let granted = held.keys.iter().filter(|(_, asked)| asked.granted);
            let keys: BTreeSet<Key> = granted.map(|(key, _)| key.clone()).collect();
            if !keys.is_empty() {
                return Some((id, keys));
            }
        }
    }

    /// Asserts what must hold.
    pub(crate) fn invariants(&self) {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for (id, held) in &self.by_id {
            assert!(
                !held.keys.is_empty() || held.lost.is_some(),
                "{id} holds a lock, asks for one, or has lost one"
            );
            for connection in &held.connections {
                let joined = self.by_connection.get(connection);
                assert!(
                    joined.is_some_and(|joined| joined.ids.contains(id)),
                    "{id} is found by its connection {connection}"
                );
                *counts.entry(*connection).or_default() += held.weight();
            }
        }
        let counted = self.by_connection.iter();
        let counted: BTreeMap<u64, usize> = counted.map(|(c, joined)| (*c, joined.count)).collect();
        assert_eq!(counted, counts, "the locks of each connection are counted");
        for (due, id) in &self.due {
            let held = self.by_id.get(id).map(|held| held.keep_due);
            assert_eq!(held, Some(*due), "the sign for {id} is due once");
        }
    }
}

/// A sign to the leaders that hold a transaction's locks; what they no longer hold is lost.
#[derive(Debug)]
pub(crate) struct KeepLocks {
    id: TransactionId,
    asks: PatientAsks<()>,
}

impl KeepLocks {
    pub(crate) fn begin(
        turn: &mut Turn,
        id: TransactionId,
        keys: BTreeSet<Key>,
    ) -> (KeepLocks, Flow) {
        let mut asks = PatientAsks::new(turn.monotonic() + KEEP_EVERY);
        for (partition, keys) in plan::group(&keys, turn.map()) {
            let body = PartitionRequest::KeepLocks { id, keys };
            asks.ask(turn, partition, body, ());
        }
        (KeepLocks { id, asks }, Flow::Waits)
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        self.asks.take(number);
        match reply {
            PartitionReply::Kept { lost } if lost.is_empty() => {}
            PartitionReply::Kept { lost } => turn.order(Order::LocksLost(LockLost {
                id: self.id,
                keys: lost,
                loss: LockLoss::Dropped,
            })),
            // The next sign says it again, by the map as it then is.
            PartitionReply::Error(error) => {
                tracing::debug!(id = %self.id, %partition, %error, "a sign for locks was not taken");
            }
            other => unreachable!("a leader answered a sign for locks with {other:?}"),
        }
        self.flow()
    }

    pub(crate) fn on_unreachable(&mut self, number: RequestNumber) -> Flow {
        self.asks.take(number);
        self.flow()
    }

    fn flow(&self) -> Flow {
        match self.asks.is_done() {
            true => Flow::Over,
            false => Flow::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Timestamp;
    use wire::keys::DEFAULT_KEYSPACE;

    fn id(n: u64) -> TransactionId {
        TransactionId {
            time: Timestamp::ZERO,
            random: n,
        }
    }

    fn key(user: &str) -> Key {
        Key::new(DEFAULT_KEYSPACE, user.as_bytes())
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lost(n: u64, user: &str) -> LockLost {
        LockLost {
            id: id(n),
            keys: vec![key(user)],
            loss: LockLoss::Dropped,
        }
    }

    #[test]
    fn granted_locks_are_kept_while_the_client_takes_steps() {
        let mut held = HeldLocks::default();
        held.add(1, id(7), key("a"), at(0));
        assert_eq!(held.take_due(at(2)), None, "nothing is granted yet");
        held.on_granted(id(7), &key("a"));
        let kept = Some((id(7), BTreeSet::from([key("a")])));
        assert_eq!(held.take_due(at(4)), kept);
        assert_eq!(held.take_due(at(5)), None);
        assert_eq!(held.take_due(at(29)), kept);
        assert_eq!(
            held.take_due(at(31)),
            None,
            "nobody took a step for so long"
        );
        assert_eq!(held.next_due(), None);
        assert_eq!(held.step(id(7), 1, at(32)), Ok(()));
        assert_eq!(held.take_due(at(34)), kept);
        held.invariants();
    }

    #[test]
    fn a_lost_lock_is_told_at_the_next_step_and_gone() {
        let mut held = HeldLocks::default();
        held.add(1, id(7), key("a"), at(0));
        held.on_granted(id(7), &key("a"));
        held.on_lost(&lost(8, "a"));
        held.on_lost(&lost(7, "b"));
        assert_eq!(
            held.step(id(7), 1, at(1)),
            Ok(()),
            "another's, and one not held"
        );
        held.on_lost(&lost(7, "a"));
        let told = RequestError::LockLost {
            key: key("a"),
            loss: LockLoss::Dropped,
        };
        assert_eq!(held.step(id(7), 1, at(1)), Err(told));
        assert_eq!(held.take(id(7)), BTreeSet::new());
        assert_eq!(held.step(id(7), 1, at(1)), Ok(()));
        held.invariants();
    }

    #[test]
    fn a_lock_that_was_not_granted_is_forgotten_and_its_transaction_with_it() {
        let mut held = HeldLocks::default();
        held.add(1, id(7), key("a"), at(0));
        held.add(1, id(7), key("b"), at(0));
        held.on_granted(id(7), &key("a"));
        assert!(held.on_not_granted(id(7), &key("b")));
        held.invariants();
        assert_eq!(held.count(1), 1);
        held.add(1, id(7), key("a"), at(1));
        assert!(!held.on_not_granted(id(7), &key("a")), "held from before");
        held.add(1, id(8), key("c"), at(1));
        held.add(1, id(8), key("c"), at(1));
        assert!(!held.on_not_granted(id(8), &key("c")), "asked for again");
        assert_eq!(held.count(1), 2);
        assert!(held.on_not_granted(id(8), &key("c")));
        held.invariants();
        assert_eq!(held.take(id(7)), BTreeSet::from([key("a")]));
        assert!(held.by_id.is_empty() && held.by_connection.is_empty() && held.due.is_empty());
    }

    #[test]
    fn a_transaction_that_lost_its_locks_and_never_rolls_back_still_counts() {
        let mut held = HeldLocks::default();
        for n in 0..3 {
            held.add(1, id(n), key("a"), at(0));
            held.on_granted(id(n), &key("a"));
            held.on_lost(&lost(n, "a"));
            held.invariants();
        }
        assert_eq!(held.count(1), 3);
        held.take(id(0));
        assert_eq!(held.count(1), 2);
        held.invariants();
    }

    #[test]
    fn locks_go_with_the_last_connection_of_their_transaction() {
        let mut held = HeldLocks::default();
        held.add(1, id(7), key("a"), at(0));
        assert_eq!(held.step(id(7), 2, at(1)), Ok(()));
        assert_eq!((held.count(1), held.count(2)), (1, 1));
        assert_eq!(held.on_gone(1), BTreeMap::new());
        held.invariants();
        let all = BTreeMap::from([(id(7), BTreeSet::from([key("a")]))]);
        assert_eq!(held.on_gone(2), all);
        assert!(held.by_id.is_empty() && held.by_connection.is_empty() && held.due.is_empty());
    }
}
