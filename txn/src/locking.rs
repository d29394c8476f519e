//! Locks that are taken before a commit: `get_for_update`, and those of a commit that met a conflict
//! (R3, R11).
//!
//! Such a lock is exclusive, in memory at the leader, and durable nowhere: correctness never rests on
//! it, for prepare checks again. It only turns a storm on a hot key into a queue. Further attempts of
//! a commit take theirs one after another in key order, so that those which retry form no cycle, and
//! keep the age of the first run, so that none starves.
//!
//! Invariant: a lock that a client may hold is given back when the client commits, rolls back, or is
//! gone.

use crate::ClientTag;
use crate::coordinator::{Coordinator, Failure, Phase};
use crate::hot_keys::LONG_WAIT;
use crate::patient_asks::PatientAsks;
use crate::plan;
use crate::request_waiting_list::{Flow, Turn};
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{PartitionId, TransactionId};
use wire::keys::Key;
use wire::message::{
    AbortReason, ClientAnswer, Lock, PartitionError, PartitionReply, PartitionRequest,
    RequestError, RequestNumber,
};

/// So many attempts follow each other as soon as their locks are held; later ones back off first.
const ATTEMPTS_AT_ONCE: u32 = 2;

/// What the clients of each connection may hold.
#[derive(Debug, Default)]
pub(crate) struct HeldLocks {
    by_connection: BTreeMap<u64, BTreeMap<TransactionId, BTreeSet<Key>>>,
}

impl HeldLocks {
    pub(crate) fn add(&mut self, connection: u64, id: TransactionId, key: Key) {
        let held = self.by_connection.entry(connection).or_default();
        held.entry(id).or_default().insert(key);
    }

    pub(crate) fn count(&self, connection: u64) -> usize {
        let held = self.by_connection.get(&connection);
        held.map_or(0, |held| held.values().map(BTreeSet::len).sum())
    }

    /// Takes what a transaction of a connection may hold.
    pub(crate) fn take(&mut self, connection: u64, id: TransactionId) -> BTreeSet<Key> {
        let Some(held) = self.by_connection.get_mut(&connection) else {
            return BTreeSet::new();
        };
        let keys = held.remove(&id).unwrap_or_default();
        if held.is_empty() {
            self.by_connection.remove(&connection);
        }
        keys
    }

    /// Takes everything of a connection.
    pub(crate) fn take_all(&mut self, connection: u64) -> BTreeMap<TransactionId, BTreeSet<Key>> {
        self.by_connection.remove(&connection).unwrap_or_default()
    }
}

/// Gives locks back without waiting for an answer.
pub(crate) fn give_back(turn: &mut Turn, id: TransactionId, keys: &BTreeSet<Key>) {
    for (partition, keys) in plan::group(keys, turn.map()) {
        turn.tell(partition, PartitionRequest::Unlock { id, keys });
    }
}

/// `get_for_update` of one key.
#[derive(Debug)]
pub(crate) struct GetForUpdate {
    pub(crate) client: ClientTag,
    lock: Lock,
    asks: PatientAsks<()>,
}

impl GetForUpdate {
    pub(crate) fn begin(turn: &mut Turn, client: ClientTag, lock: Lock) -> (GetForUpdate, Flow) {
        let mut job = GetForUpdate {
            client,
            lock,
            asks: PatientAsks::new(turn.request_deadline()),
        };
        job.send(turn);
        (job, Flow::Waits)
    }

    fn send(&mut self, turn: &mut Turn) {
        let partition = turn.map().locate(&self.lock.key).partition;
        let body = PartitionRequest::Lock(self.lock.clone());
        self.asks.ask(turn, partition, body, ());
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
            PartitionReply::Locked(locked) => {
                let depends_on = locked.newest;
                let at = self.lock.timestamp;
                let answer = ClientAnswer::Locked { at, locked };
                turn.answer(self.client, Ok(answer), depends_on);
                Flow::Over
            }
            PartitionReply::Error(error) => {
                let refused = self.asks.refused(turn, partition, error, ());
                refused.unwrap_or_else(|why| self.fail(turn, why))
            }
            other => unreachable!("a leader answered a lock with {other:?}"),
        }
    }

    pub(crate) fn on_unreachable(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        let why = turn.unavailable(partition, waited);
        self.fail(turn, why)
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        self.send(turn);
        Flow::Waits
    }

    fn fail(&mut self, turn: &mut Turn, why: RequestError) -> Flow {
        turn.answer(self.client, Err(why), Timestamp::ZERO);
        Flow::Over
    }

    pub(crate) fn abandon(&mut self, turn: &mut Turn) {
        self.asks.cancel(turn);
    }
}

/// Gives back what a transaction holds that will not commit.
#[derive(Debug)]
pub(crate) struct Rollback {
    pub(crate) client: ClientTag,
    id: TransactionId,
    asks: PatientAsks<Vec<Key>>,
}

impl Rollback {
    pub(crate) fn begin(
        turn: &mut Turn,
        client: ClientTag,
        id: TransactionId,
        keys: BTreeSet<Key>,
    ) -> (Rollback, Flow) {
        let mut job = Rollback {
            client,
            id,
            asks: PatientAsks::new(turn.request_deadline()),
        };
        job.send(turn, &keys);
        let flow = job.maybe_finish(turn);
        (job, flow)
    }

    fn send(&mut self, turn: &mut Turn, keys: &BTreeSet<Key>) {
        for (partition, keys) in plan::group(keys, turn.map()) {
            let body = PartitionRequest::Unlock {
                id: self.id,
                keys: keys.clone(),
            };
            self.asks.ask(turn, partition, body, keys);
        }
    }

    fn maybe_finish(&mut self, turn: &mut Turn) -> Flow {
        if !self.asks.is_done() {
            return Flow::Waits;
        }
        turn.answer(self.client, Ok(ClientAnswer::RolledBack), Timestamp::ZERO);
        Flow::Over
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        let keys = self.asks.take(number);
        match reply {
            PartitionReply::Unlocked => self.maybe_finish(turn),
            PartitionReply::Error(error) => {
                let refused = self.asks.refused(turn, partition, error, keys);
                refused.unwrap_or_else(|why| self.fail(turn, why))
            }
            other => unreachable!("a leader answered an unlock with {other:?}"),
        }
    }

    pub(crate) fn on_unreachable(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        let why = turn.unavailable(partition, waited);
        self.fail(turn, why)
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        let again = self.asks.take_again().into_iter().flatten().collect();
        self.send(turn, &again);
        Flow::Waits
    }

    fn fail(&mut self, turn: &mut Turn, why: RequestError) -> Flow {
        self.asks.cancel(turn);
        turn.answer(self.client, Err(why), Timestamp::ZERO);
        Flow::Over
    }
}

impl Coordinator {
    /// Before a further attempt: the locks on all that is written, in key order (R11).
    pub(crate) fn take_locks(&mut self, turn: &mut Turn) -> Flow {
        let written = self.written_keys().into_iter().cloned().collect();
        self.lock_all(turn, written)
    }

    /// Before the first attempt: the locks on what is written and was fought over of late. What it
    /// holds while it queues is then nothing but places in earlier queues.
    pub(crate) fn queue_for_hot_keys(&mut self, turn: &mut Turn) -> Option<Flow> {
        if self.has_locks {
            return None;
        }
        let (hot, now) = (&turn.list.hot, turn.cx.now.monotonic);
        let written = self.written_keys().into_iter();
        let hot: BTreeSet<Key> = written
            .filter(|key| hot.is_hot(key, now))
            .cloned()
            .collect();
        (!hot.is_empty()).then(|| self.lock_all(turn, hot))
    }

    fn written_keys(&self) -> BTreeSet<&Key> {
        self.commit.operations.iter().map(|o| &o.key).collect()
    }

    fn lock_all(&mut self, turn: &mut Turn, keys: BTreeSet<Key>) -> Flow {
        self.has_locks = true;
        self.phase = Phase::Locking {
            // Descending: the next one is the last.
            keys: keys.into_iter().rev().collect(),
            number: None,
            asked_at: turn.monotonic(),
        };
        self.take_next_lock(turn)
    }

    pub(crate) fn take_next_lock(&mut self, turn: &mut Turn) -> Flow {
        if self.has_expired(turn) {
            return self.expire(turn);
        }
        let Phase::Locking {
            keys,
            number,
            asked_at,
        } = &mut self.phase
        else {
            return Flow::Waits;
        };
        let Some(key) = keys.last() else {
            // Should even that meet conflicts again and again, it does so at a measured pace.
            return match self.attempts > ATTEMPTS_AT_ONCE {
                true => self.back_off(turn),
                false => self.begin_attempt(turn),
            };
        };
        let partition = turn.map().locate(key).partition;
        let body = PartitionRequest::Lock(Lock {
            id: self.commit.name.id,
            age: self.commit.age,
            key: key.clone(),
            timestamp: self.r,
            gateway: turn.me(),
        });
        *number = Some(turn.ask(partition, body, self.expires_at));
        *asked_at = turn.monotonic();
        Flow::Waits
    }

    pub(crate) fn on_lock_reply(&mut self, turn: &mut Turn, reply: PartitionReply) -> Flow {
        let Phase::Locking {
            keys,
            number,
            asked_at,
        } = &mut self.phase
        else {
            return Flow::Waits;
        };
        *number = None;
        match reply {
            PartitionReply::Locked(_) => {
                let now = turn.monotonic();
                let locked = keys.pop();
                if let Some(key) = locked.filter(|_| now >= *asked_at + LONG_WAIT) {
                    turn.list.hot.note(key, now);
                }
                self.take_next_lock(turn)
            }
            PartitionReply::Error(error) => {
                if let PartitionError::LockWait { key, rival } = error {
                    self.failure = Some(Failure::new(AbortReason::Contention { key, rival }));
                }
                turn.back_off(self.attempts);
                Flow::Waits
            }
            other => unreachable!("a leader answered a lock with {other:?}"),
        }
    }

    /// Locks are a courtesy: whether the attempt succeeds without them is seen when it is prepared.
    pub(crate) fn on_lock_unreachable(&mut self, turn: &mut Turn) -> Flow {
        self.begin_attempt(turn)
    }
}
