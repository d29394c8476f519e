//! Locks that are taken before a commit: `get_for_update`, and those of a commit that met a conflict
//! (R3, R11).
//!
//! Such a lock is exclusive, in memory at the leader, and durable nowhere: correctness never rests on
//! it, for prepare checks again. It only turns a storm on a hot key into a queue. Further attempts of
//! a commit take theirs in key order, with one request a partition (partitions are ranges, so their order
//! is that of the keys), so that those which retry form no cycle, and keep the age of the first run, so
//! that none starves.

use crate::ClientTag;
use crate::coordinator::{Coordinator, Failure, Phase};
use crate::hot_keys::LONG_WAIT;
use crate::patient_asks::PatientAsks;
use crate::plan;
use crate::request_waiting_list::{Flow, Order, Turn};
use clock::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::ids::{PartitionId, TransactionId};
use wire::keys::Key;
use wire::message::{
    AbortReason, ClientAnswer, Lock, LockAll, PartitionError, PartitionReply, PartitionRequest,
    RequestError, RequestNumber,
};

/// So many attempts follow each other as soon as their locks are held; later ones back off first.
const ATTEMPTS_AT_ONCE: u32 = 2;

/// The locks that a commit collects before an attempt.
#[derive(Debug)]
pub(crate) struct Locking {
    /// Not held yet.
    keys: BTreeSet<Key>,
    /// What is asked for now.
    asked: Option<(RequestNumber, Vec<Key>)>,
    asked_at: Duration,
}

impl Locking {
    /// Whether nothing is out: it waits for the timer.
    pub(crate) fn is_paused(&self) -> bool {
        self.asked.is_none()
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
                turn.order(Order::LockGranted {
                    id: self.lock.id,
                    key: self.lock.key.clone(),
                });
                let at = self.lock.timestamp;
                let answer = ClientAnswer::Locked { at, locked };
                turn.answer(self.client, Ok(answer), depends_on);
                Flow::Over
            }
            PartitionReply::Taken { key, rival } => {
                self.order_not_granted(turn, false);
                let answer = ClientAnswer::Taken { key, rival };
                turn.answer(self.client, Ok(answer), Timestamp::ZERO);
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

    /// The leader may hold it all the same: its answer is lost, or it locked and then waited in vain.
    fn fail(&mut self, turn: &mut Turn, why: RequestError) -> Flow {
        self.order_not_granted(turn, true);
        turn.answer(self.client, Err(why), Timestamp::ZERO);
        Flow::Over
    }

    fn order_not_granted(&self, turn: &mut Turn, maybe_held: bool) {
        turn.order(Order::LockNotGranted {
            id: self.lock.id,
            key: self.lock.key.clone(),
            maybe_held,
        });
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
        self.phase = Phase::Locking(Locking {
            keys,
            asked: None,
            asked_at: turn.monotonic(),
        });
        self.take_next_locks(turn)
    }

    pub(crate) fn take_next_locks(&mut self, turn: &mut Turn) -> Flow {
        if self.has_expired(turn) {
            return self.expire(turn);
        }
        let Phase::Locking(locking) = &mut self.phase else {
            return Flow::Waits;
        };
        let groups = plan::group(&locking.keys, turn.map()).into_iter();
        let first = groups.min_by(|(_, one), (_, other)| one.first().cmp(&other.first()));
        let Some((partition, keys)) = first else {
            // Should even that meet conflicts again and again, it does so at a measured pace.
            return match self.attempts > ATTEMPTS_AT_ONCE {
                true => self.back_off(turn),
                false => self.begin_attempt(turn),
            };
        };
        let body = PartitionRequest::LockAll(LockAll {
            id: self.commit.name.id,
            age: self.commit.age,
            keys: keys.clone(),
            gateway: turn.me(),
        });
        let number = turn.ask(partition, body, self.expires_at);
        locking.asked = Some((number, keys));
        locking.asked_at = turn.monotonic();
        Flow::Waits
    }

    pub(crate) fn on_lock_reply(&mut self, turn: &mut Turn, reply: PartitionReply) -> Flow {
        let Phase::Locking(locking) = &mut self.phase else {
            return Flow::Waits;
        };
        let asked = locking.asked.take();
        match reply {
            PartitionReply::LockedAll => {
                let now = turn.monotonic();
                let waited_long = now >= locking.asked_at + LONG_WAIT;
                for key in asked.into_iter().flat_map(|(_, keys)| keys) {
                    locking.keys.remove(&key);
                    if waited_long {
                        turn.list.hot.note(key, now);
                    }
                }
                self.take_next_locks(turn)
            }
            PartitionReply::Error(PartitionError::HotKey { key, waiting }) => {
                self.fail(turn, Failure::new(AbortReason::HotKey { key, waiting }))
            }
            PartitionReply::Error(error) => {
                if let PartitionError::LockWait { key, rival } = error {
                    self.failure = Some(Failure::new(AbortReason::Contention { key, rival }));
                }
                turn.back_off(self.attempts);
                Flow::Waits
            }
            other => unreachable!("a leader answered a request for locks with {other:?}"),
        }
    }

    /// A leader dropped locks: those are taken again, if they are still being collected. After that it
    /// makes no difference, for prepare checks again.
    pub(crate) fn on_locks_lost(&mut self, keys: &[Key]) {
        let written: BTreeSet<Key> = self.written_keys().into_iter().cloned().collect();
        if let Phase::Locking(locking) = &mut self.phase {
            let again = keys.iter().filter(|key| written.contains(key));
            locking.keys.extend(again.cloned());
        }
    }

    /// Locks are a courtesy: whether the attempt succeeds without them is seen when it is prepared.
    pub(crate) fn on_lock_unreachable(&mut self, turn: &mut Turn) -> Flow {
        self.begin_attempt(turn)
    }
}
