//! Who waits for the answer to which request (pattern Request Waiting List).
//!
//! Problem: one gateway has thousands of transactions under way, each with several requests out at
//! once (pattern Request Pipeline). Every request has a number of its own; an answer finds the *job*
//! that asked by it, and whatever arrives under an unknown number is too late and means nothing.
//!
//! Invariants:
//! - a number is given out once, over all starts of a gateway;
//! - a number waits for exactly one job, and leaves the list with its answer or when it is cancelled;
//! - a job has at most one timer;
//! - nothing is waited for without a deadline.

use crate::hot_keys::HotKeys;
use crate::resolution::ResolvePlan;
use crate::{ClientTag, GatewayConfig, GatewayContext, GatewayEffect};
use clock::{Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::{Attempt, CoordinatorIncarnation, NodeId, PartitionId, TransactionId};
use wire::keys::{Key, RangeMap};
use wire::message::{
    ClientReply, LockLost, PartitionRequest, RecordState, RequestError, RequestNumber, Snapshot,
    TransactionName,
};

/// Numbers of one start of a gateway; the start stands above them, so that an answer to a question
/// of an earlier start means nothing to this one.
pub(crate) const START_SHIFT: u32 = 40;

/// One piece of work of a gateway: a read, a commit, a recovery, ….
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct JobId(pub(crate) u64);

/// What one job asks of another; carried out when the turn of the asking job is over.
#[derive(Debug)]
pub(crate) enum Order {
    /// Recover an attempt (R8); the waiter hears how it ended.
    Recover {
        name: TransactionName,
        attempt: Attempt,
        waiter: JobId,
    },
    /// Resolve an attempt in the background (R7).
    Resolve(ResolvePlan),
    /// A transaction's lock was granted.
    LockGranted { id: TransactionId, key: Key },
    /// A transaction's lock was not granted, as far as its client knows; the leader may hold it.
    LockNotGranted {
        id: TransactionId,
        key: Key,
        maybe_held: bool,
    },
    /// Locks of a transaction were lost.
    LocksLost(LockLost),
    /// A recovery has ended for one who waited for it.
    TellRecovered { waiter: JobId, end: RecoveryEnd },
}

/// How a recovery ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecoveryEnd {
    /// The record says this, durably.
    Decided(RecordState),
    /// A partition could not be reached in time, or the coordinator works on for too long.
    GaveUp {
        partition: PartitionId,
        waited: Duration,
    },
}

/// Whether a job has more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Flow {
    /// It waits for something.
    Waits,
    /// It is over.
    Over,
}

/// What the coordinators of this gateway are working on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Working {
    pub(crate) id: TransactionId,
    pub(crate) number: u32,
}

/// The list, and the numbers that are given out.
pub(crate) struct RequestWaitingList {
    pub(crate) config: GatewayConfig,
    pub(crate) orders: Vec<Order>,
    /// By sequence of the incarnation; the attempt number is the one under way.
    pub(crate) working: BTreeMap<u64, Working>,
    pub(crate) hot: HotKeys,
    last_number: u64,
    last_sequence: u64,
    /// Who waits for each answer, and until when at the latest, on the monotonic clock.
    waiting: BTreeMap<RequestNumber, (JobId, Duration)>,
    /// When time was last let pass: nothing that was due by then waits any more.
    pub(crate) ticked: Duration,
    timers: BTreeSet<(Duration, JobId)>,
    timer_of: BTreeMap<JobId, Duration>,
    random: SplitMix64,
}

impl RequestWaitingList {
    pub(crate) fn new(config: GatewayConfig) -> RequestWaitingList {
        RequestWaitingList {
            config,
            orders: Vec::new(),
            working: BTreeMap::new(),
            hot: HotKeys::default(),
            last_number: u64::from(config.start) << START_SHIFT,
            last_sequence: 0,
            waiting: BTreeMap::new(),
            ticked: Duration::ZERO,
            timers: BTreeSet::new(),
            timer_of: BTreeMap::new(),
            random: SplitMix64::new(config.seed),
        }
    }

    pub(crate) fn next_number(&mut self) -> RequestNumber {
        self.last_number += 1;
        RequestNumber(self.last_number)
    }

    /// A coordinator that never was before.
    pub(crate) fn next_incarnation(&mut self) -> CoordinatorIncarnation {
        self.last_sequence += 1;
        CoordinatorIncarnation {
            node: self.config.me,
            start: self.config.start,
            sequence: self.last_sequence,
        }
    }

    /// Takes the job that waits for an answer off the list.
    pub(crate) fn take(&mut self, number: RequestNumber) -> Option<JobId> {
        self.waiting.remove(&number).map(|(job, _)| job)
    }

    /// Takes one job whose timer is due.
    pub(crate) fn take_due(&mut self, now: &Now) -> Option<JobId> {
        let (at, job) = *self.timers.first()?;
        if at > now.monotonic {
            return None;
        }
        self.clear_timer(job);
        Some(job)
    }

    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn clear_timer(&mut self, job: JobId) {
        if let Some(at) = self.timer_of.remove(&job) {
            self.timers.remove(&(at, job));
        }
    }

    /// Whether a coordinator of this gateway works on exactly this attempt.
    pub(crate) fn works_on(&self, name: &TransactionName, attempt: &Attempt) -> bool {
        let by = &attempt.coordinator;
        by.node == self.config.me
            && by.start == self.config.start
            && self
                .working
                .get(&by.sequence)
                .is_some_and(|working| working.id == name.id && attempt.number >= working.number)
    }

    /// Everything that still waits for an answer, for the invariants.
    pub(crate) fn waiting_jobs(&self) -> impl Iterator<Item = (&RequestNumber, JobId, Duration)> {
        let waiting = self.waiting.iter();
        waiting.map(|(number, (job, deadline))| (number, *job, *deadline))
    }

    /// The jobs that have a timer set.
    pub(crate) fn timed_jobs(&self) -> impl Iterator<Item = JobId> {
        self.timer_of.keys().copied()
    }
}

/// One job's turn: what it sees and what it can do.
pub(crate) struct Turn<'a, 'c> {
    pub(crate) job: JobId,
    pub(crate) cx: &'a mut GatewayContext<'c>,
    pub(crate) list: &'a mut RequestWaitingList,
    pub(crate) out: &'a mut Vec<GatewayEffect>,
}

impl<'c> Turn<'_, 'c> {
    pub(crate) fn map(&self) -> &'c RangeMap {
        self.cx.map
    }

    pub(crate) fn now(&self) -> &'c Now {
        self.cx.now
    }

    pub(crate) fn me(&self) -> NodeId {
        self.list.config.me
    }

    pub(crate) fn monotonic(&self) -> Duration {
        self.cx.now.monotonic
    }

    /// The deadline of a request that begins now.
    pub(crate) fn request_deadline(&self) -> Duration {
        self.monotonic() + self.list.config.timing.request_max
    }

    /// A number under which this job hears something, by a deadline.
    fn wait_until(&mut self, deadline: Duration) -> RequestNumber {
        let number = self.list.next_number();
        let deadline = deadline.max(self.monotonic());
        self.list.waiting.insert(number, (self.job, deadline));
        number
    }

    /// Asks a partition; this job hears the answer.
    pub(crate) fn ask(
        &mut self,
        partition: PartitionId,
        body: PartitionRequest,
        deadline: Duration,
    ) -> RequestNumber {
        let number = self.wait_until(deadline);
        self.out.push(GatewayEffect::Ask {
            number,
            partition,
            body,
            deadline,
        });
        number
    }

    /// Asks a partition for something whose answer changes nothing.
    pub(crate) fn tell(&mut self, partition: PartitionId, body: PartitionRequest) {
        let number = self.list.next_number();
        let deadline = self.request_deadline();
        self.out.push(GatewayEffect::Ask {
            number,
            partition,
            body,
            deadline,
        });
    }

    /// Asks a coordinator's node about an attempt; this job hears the answer.
    pub(crate) fn ask_coordinator(
        &mut self,
        name: &TransactionName,
        attempt: Attempt,
    ) -> RequestNumber {
        let number = self.wait_until(self.request_deadline());
        self.out.push(GatewayEffect::AskCoordinator {
            number,
            node: attempt.coordinator.node,
            name: name.clone(),
            attempt,
        });
        number
    }

    /// No longer wants an answer.
    pub(crate) fn cancel(&mut self, number: RequestNumber) {
        if self.list.waiting.remove(&number).is_some() {
            self.out.push(GatewayEffect::Cancel { number });
        }
    }

    pub(crate) fn answer(&mut self, client: ClientTag, reply: ClientReply, depends_on: Timestamp) {
        self.out.push(GatewayEffect::Answer {
            client,
            reply,
            depends_on,
        });
    }

    /// Sets this job's one timer.
    pub(crate) fn wake_in(&mut self, wait: Duration) {
        self.list.clear_timer(self.job);
        let at = self.monotonic() + wait;
        self.list.timers.insert((at, self.job));
        self.list.timer_of.insert(self.job, at);
    }

    /// Sets this job's timer to the wait before try number `tries` (from 1), with jitter so that those
    /// who collided do not collide again.
    pub(crate) fn back_off(&mut self, tries: u32) {
        let timing = &self.list.config.timing;
        let doubled = timing
            .backoff_first
            .saturating_mul(1 << tries.saturating_sub(1).min(16))
            .min(timing.backoff_max);
        let half = doubled / 2;
        let jitter = self.list.random.below(half.as_micros() as u64 + 1);
        self.wake_in(half + Duration::from_micros(jitter));
    }

    pub(crate) fn order(&mut self, order: Order) {
        self.list.orders.push(order);
    }

    /// A timestamp from the clock (R1).
    pub(crate) fn draw(&mut self) -> Result<Timestamp, RequestError> {
        self.check_clock()?;
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::SnapshotFromMiddle) {
            let (earliest, latest) = (self.cx.now.earliest(), self.cx.now.latest());
            return Ok(earliest.plus(latest.since(earliest) / 2));
        }
        self.cx
            .clock
            .timestamp(self.cx.now)
            .map_err(|why| RequestError::ClockUnusable {
                node: self.list.config.me,
                why: why.to_string(),
                begun: false,
            })
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn is(&self, mutant: crate::Mutant) -> bool {
        self.list.config.mutant == Some(mutant)
    }

    /// The timestamp of a snapshot: drawn, or the client's own if it is not too far ahead.
    pub(crate) fn snapshot(&mut self, snapshot: Snapshot) -> Result<Timestamp, RequestError> {
        match snapshot {
            Snapshot::Fresh => self.draw(),
            Snapshot::At(timestamp) => {
                self.check_clock()?;
                self.check_not_ahead(timestamp)?;
                Ok(timestamp)
            }
        }
    }

    pub(crate) fn check_not_ahead(&self, timestamp: Timestamp) -> Result<(), RequestError> {
        let checked = self.cx.clock.check_drift(self.cx.now, timestamp);
        checked.map_err(|drift| RequestError::TooFarAhead {
            timestamp,
            latest: drift.latest,
        })
    }

    fn check_clock(&self) -> Result<(), RequestError> {
        if self.cx.now.is_vouched() {
            return Ok(());
        }
        Err(RequestError::ClockUnusable {
            node: self.list.config.me,
            why: "its time source vouches for no bound".to_owned(),
            begun: false,
        })
    }

    /// What a client is told of a partition that could not be reached.
    pub(crate) fn unavailable(&self, partition: PartitionId, waited: Duration) -> RequestError {
        let descriptor = self.cx.map.get(partition);
        RequestError::Unavailable {
            partition,
            start: descriptor.map_or_else(Key::least, |d| d.range.start.clone()),
            members: descriptor.map_or_else(Vec::new, |d| d.members.clone()),
            waited_ms: waited.as_millis() as u64,
        }
    }
}
