//! One node's gateway: hands every event to the job that it is for (pattern Singular Update Queue:
//! one thread owns all of this, so no job ever sees another half done).
//!
//! Invariants:
//! - every request of a client is answered once, unless the client is gone;
//! - one coordinator and one recovery an id at a time;
//! - every table has its maximum ([`crate::limits`]), and what does not fit is refused or left to
//!   others, never queued.

use crate::coordinator::Coordinator;
use crate::held_locks::{HeldLocks, KeepLocks};
use crate::job::{Job, JobEvent};
use crate::limits::{
    COORDINATING_MAX, HELD_LOCKS_MAX, RECOVERIES_MAX, REQUESTS_MAX, RESOLUTIONS_MAX, RETRY_MS,
    check_asked, check_commit, check_key, check_keys, check_ranges, check_read,
};
use crate::locking::{GetForUpdate, Rollback, give_back};
use crate::outcome::AskOutcome;
use crate::recovery::Recovery;
use crate::refresh::ClientRefresh;
use crate::request_waiting_list::{Flow, JobId, Order, RecoveryEnd, RequestWaitingList, Turn};
use crate::resolution::{Resolution, ResolvePlan};
use crate::snapshot_read::SnapshotRead;
use crate::{ClientTag, GatewayConfig, GatewayContext, GatewayEffect, GatewayEvent};
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{Attempt, TransactionId};
use wire::keys::Key;
use wire::message::{
    ClientAnswer, ClientReply, ClientRequest, Commit, CoordinatorState, Lock, LockLost,
    RequestError, Snapshot, TransactionName,
};

/// One node's gateway.
pub struct Gateway {
    list: RequestWaitingList,
    jobs: BTreeMap<JobId, Job>,
    last_job: u64,
    committing: BTreeMap<TransactionId, JobId>,
    recovering: BTreeMap<TransactionId, JobId>,
    resolving: usize,
    held: HeldLocks,
}

impl Gateway {
    /// A gateway that has nothing under way.
    pub fn new(config: GatewayConfig) -> Gateway {
        Gateway {
            list: RequestWaitingList::new(config),
            jobs: BTreeMap::new(),
            last_job: 0,
            committing: BTreeMap::new(),
            recovering: BTreeMap::new(),
            resolving: 0,
            held: HeldLocks::default(),
        }
    }

    /// Takes one event and pushes what is to be done.
    pub fn step(
        &mut self,
        cx: &mut GatewayContext,
        event: GatewayEvent,
        out: &mut Vec<GatewayEffect>,
    ) {
        match event {
            GatewayEvent::Client { client, request } => self.on_client(cx, client, request, out),
            GatewayEvent::ClientGone { connection } => self.on_client_gone(cx, connection, out),
            GatewayEvent::Reply {
                number,
                partition,
                reply,
            } => {
                if let Some(job) = self.list.take(number) {
                    let event = JobEvent::Reply {
                        number,
                        partition,
                        reply,
                    };
                    self.deliver(cx, job, event, out);
                }
            }
            GatewayEvent::Unreachable {
                number,
                partition,
                waited,
            } => {
                if let Some(job) = self.list.take(number) {
                    let event = JobEvent::Unreachable {
                        number,
                        partition,
                        waited,
                    };
                    self.deliver(cx, job, event, out);
                }
            }
            GatewayEvent::AskedAbout {
                by,
                number,
                name,
                attempt,
            } => out.push(GatewayEffect::TellCoordinatorState {
                to: by,
                number,
                state: self.coordinator_state(&name, &attempt),
            }),
            GatewayEvent::CoordinatorState { number, state } => {
                if let Some(job) = self.list.take(number) {
                    self.deliver(cx, job, JobEvent::Coordinator(state), out);
                }
            }
            GatewayEvent::Push {
                key,
                holder,
                attempt,
                wound,
                ..
            } => self.recover(cx, holder, attempt, Some(key), None, wound, out),
            GatewayEvent::LockLost(lost) => self.on_locks_lost(&lost),
        }
        self.carry_out_orders(cx, out);
    }

    /// Lets time pass: retries and timeouts. About every 10 ms.
    pub fn tick(&mut self, cx: &mut GatewayContext, out: &mut Vec<GatewayEffect>) {
        self.list.ticked = cx.now.monotonic;
        while let Some((id, keys)) = self.held.take_due(cx.now.monotonic) {
            self.start(cx, out, |turn| {
                let (job, flow) = KeepLocks::begin(turn, id, keys);
                (Job::Keep(job), flow)
            });
        }
        while let Some(job) = self.list.take_due(cx.now) {
            self.deliver(cx, job, JobEvent::Timer, out);
            self.carry_out_orders(cx, out);
        }
    }

    /// When `tick` has something to do, on the monotonic clock.
    pub fn next_tick(&self) -> Option<Duration> {
        let signs = self.held.next_due();
        self.list.next_timer().into_iter().chain(signs).min()
    }

    /// How many commits it coordinates now.
    pub fn coordinating(&self) -> usize {
        self.committing.len()
    }

    /// Asserts what must hold between turns; for tests and simulation.
    pub fn invariants(&self) {
        let mut woken: BTreeSet<JobId> = self.list.timed_jobs().collect();
        for (number, job, _) in self.list.waiting_jobs() {
            assert!(
                self.jobs.contains_key(&job),
                "an answer waits for a job that is there: {number:?} for {job:?}"
            );
            woken.insert(job);
        }
        for job in self.jobs.values() {
            if let Job::Recovery(job) = job {
                woken.extend(job.waiters());
            }
        }
        for (id, job) in &self.jobs {
            assert!(
                woken.contains(id),
                "every job waits for an answer, a timer or a recovery, but {id:?} for nothing: {job:?}"
            );
        }
        self.held.invariants();
        let commits = self
            .jobs
            .values()
            .filter(|job| matches!(job, Job::Commit(_)));
        let commits = commits.count();
        assert_eq!(
            commits,
            self.committing.len(),
            "every coordinator is found by its transaction"
        );
        for (sequence, working) in &self.list.working {
            let job = self.committing.get(&working.id);
            let job = job.and_then(|id| self.jobs.get(id));
            assert!(
                matches!(job, Some(Job::Commit(job)) if job.incarnation.sequence == *sequence),
                "what is said to be worked on has a coordinator: {sequence} for {working:?}"
            );
        }
        let recoveries = self
            .jobs
            .values()
            .filter(|job| matches!(job, Job::Recovery(_)));
        assert_eq!(
            recoveries.count(),
            self.recovering.len(),
            "every recovery is found by its transaction"
        );
        let resolutions = self
            .jobs
            .values()
            .filter(|job| matches!(job, Job::Resolution(_)));
        assert_eq!(
            resolutions.count(),
            self.resolving,
            "resolutions are counted"
        );
        assert!(
            self.list.orders.is_empty(),
            "orders are carried out within the turn: {:?}",
            self.list.orders
        );
    }

    /// Asserts that no answer is waited for beyond its deadline. The driver ends what is asked for at its
    /// deadline, when it lets time pass after the gateway did.
    pub fn nothing_is_overdue(&self) {
        let ticked = self.list.ticked;
        for (number, job, deadline) in self.list.waiting_jobs() {
            assert!(
                deadline >= ticked,
                "{number:?} was to end at {deadline:?}, but {:?} still waits for it at {ticked:?}",
                self.jobs.get(&job)
            );
        }
    }

    fn coordinator_state(&self, name: &TransactionName, attempt: &Attempt) -> CoordinatorState {
        match self.list.works_on(name, attempt) {
            true => CoordinatorState::Working,
            false => CoordinatorState::Unknown,
        }
    }

    fn deliver(
        &mut self,
        cx: &mut GatewayContext,
        id: JobId,
        event: JobEvent,
        out: &mut Vec<GatewayEffect>,
    ) {
        let Some(mut job) = self.jobs.remove(&id) else {
            return;
        };
        let mut turn = Turn {
            job: id,
            cx,
            list: &mut self.list,
            out,
        };
        let flow = job.on_event(&mut turn, event);
        self.put(id, job, flow);
    }

    /// Keeps a job that has more to do; takes one that is over out of all tables.
    fn put(&mut self, id: JobId, job: Job, flow: Flow) {
        if flow == Flow::Waits {
            self.jobs.insert(id, job);
            return;
        }
        self.list.clear_timer(id);
        match job {
            Job::Commit(job) => {
                self.committing.remove(&job.commit.name.id);
            }
            Job::Recovery(job) => {
                self.recovering.remove(&job.id());
            }
            Job::Resolution(_) => self.resolving -= 1,
            _ => {}
        }
    }

    /// Starts a job in a turn of its own.
    fn start(
        &mut self,
        cx: &mut GatewayContext,
        out: &mut Vec<GatewayEffect>,
        begin: impl FnOnce(&mut Turn) -> (Job, Flow),
    ) -> JobId {
        self.last_job += 1;
        let id = JobId(self.last_job);
        let mut turn = Turn {
            job: id,
            cx,
            list: &mut self.list,
            out,
        };
        let (job, flow) = begin(&mut turn);
        match &job {
            Job::Commit(job) => {
                self.committing.insert(job.commit.name.id, id);
            }
            Job::Recovery(job) => {
                self.recovering.insert(job.id(), id);
            }
            Job::Resolution(_) => self.resolving += 1,
            _ => {}
        }
        self.put(id, job, flow);
        id
    }

    /// Does what the jobs of this turn asked of each other, until nothing is left.
    fn carry_out_orders(&mut self, cx: &mut GatewayContext, out: &mut Vec<GatewayEffect>) {
        while !self.list.orders.is_empty() {
            for order in std::mem::take(&mut self.list.orders) {
                match order {
                    Order::Recover {
                        name,
                        attempt,
                        waiter,
                    } => self.recover(cx, name, attempt, None, Some(waiter), false, out),
                    Order::LockGranted { id, key } => self.held.on_granted(id, &key),
                    Order::LockNotGranted {
                        id,
                        key,
                        maybe_held,
                    } => {
                        if self.held.on_not_granted(id, &key) && maybe_held {
                            self.give_back(cx, BTreeMap::from([(id, BTreeSet::from([key]))]), out);
                        }
                    }
                    Order::LocksLost(lost) => self.on_locks_lost(&lost),
                    Order::Resolve(plan) => self.resolve(cx, plan, out),
                    Order::TellRecovered { waiter, end } => {
                        self.deliver(cx, waiter, JobEvent::Recovered(end), out);
                    }
                }
            }
        }
    }

    fn resolve(
        &mut self,
        cx: &mut GatewayContext,
        plan: ResolvePlan,
        out: &mut Vec<GatewayEffect>,
    ) {
        let is_nothing = plan.keys.is_empty() && !plan.forget;
        if is_nothing || self.resolving >= RESOLUTIONS_MAX {
            return;
        }
        self.start(cx, out, |turn| {
            let (job, flow) = Resolution::begin(turn, plan);
            (Job::Resolution(Box::new(job)), flow)
        });
    }

    fn recover(
        &mut self,
        cx: &mut GatewayContext,
        name: TransactionName,
        attempt: Attempt,
        met: Option<Key>,
        waiter: Option<JobId>,
        wounds: bool,
        out: &mut Vec<GatewayEffect>,
    ) {
        let running = self.recovering.get(&name.id);
        if let Some(Job::Recovery(job)) = running.and_then(|id| self.jobs.get_mut(id)) {
            if job.join(attempt, met, waiter, wounds) {
                return;
            }
        } else if self.recovering.len() < RECOVERIES_MAX {
            self.start(cx, out, |turn| {
                let (job, flow) = Recovery::begin(turn, name, attempt, met, waiter, wounds);
                (Job::Recovery(Box::new(job)), flow)
            });
            return;
        }
        // Whoever pushed pushes again; whoever waits hears that it has to ask again.
        if let Some(waiter) = waiter {
            let end = RecoveryEnd::GaveUp {
                partition: cx.map.locate(&name.anchor).partition,
                waited: Duration::ZERO,
            };
            self.list.orders.push(Order::TellRecovered { waiter, end });
        }
    }

    fn on_client_gone(
        &mut self,
        cx: &mut GatewayContext,
        connection: u64,
        out: &mut Vec<GatewayEffect>,
    ) {
        for id in self.jobs.keys().copied().collect::<Vec<_>>() {
            let Some(mut job) = self.jobs.remove(&id) else {
                continue;
            };
            let mut turn = Turn {
                job: id,
                cx,
                list: &mut self.list,
                out,
            };
            let flow = job.on_client_gone(&mut turn, connection);
            self.put(id, job, flow);
        }
        let held = self.held.on_gone(connection);
        self.give_back(cx, held, out);
    }

    fn give_back(
        &mut self,
        cx: &mut GatewayContext,
        locks: BTreeMap<TransactionId, BTreeSet<Key>>,
        out: &mut Vec<GatewayEffect>,
    ) {
        let mut turn = Turn {
            job: JobId(0),
            cx,
            list: &mut self.list,
            out,
        };
        for (id, keys) in locks {
            give_back(&mut turn, id, &keys);
        }
    }

    fn on_locks_lost(&mut self, lost: &LockLost) {
        self.held.on_lost(lost);
        let job = self.committing.get(&lost.id);
        if let Some(Job::Commit(job)) = job.and_then(|id| self.jobs.get_mut(id)) {
            job.on_locks_lost(&lost.keys);
        }
    }

    fn on_client(
        &mut self,
        cx: &mut GatewayContext,
        client: ClientTag,
        request: ClientRequest,
        out: &mut Vec<GatewayEffect>,
    ) {
        if let Err(why) = self.begin(cx, client, request, out) {
            answer(out, client, Err(why));
        }
    }

    /// Begins to serve a request. An error is what the client is told at once.
    fn begin(
        &mut self,
        cx: &mut GatewayContext,
        client: ClientTag,
        request: ClientRequest,
        out: &mut Vec<GatewayEffect>,
    ) -> Result<(), RequestError> {
        match request {
            ClientRequest::Commit(commit) => return self.begin_commit(cx, client, commit, out),
            ClientRequest::Map | ClientRequest::Status | ClientRequest::Transfer { .. } => {
                let why = "the map, the status and transfers are the node's to answer".to_owned();
                return Err(RequestError::Invalid { why });
            }
            _ => {}
        }
        let others = self.committing.len() + self.recovering.len() + self.resolving;
        if self.jobs.len() - others >= REQUESTS_MAX {
            return Err(RequestError::Overloaded { retry_ms: RETRY_MS });
        }
        match request {
            ClientRequest::Read {
                reader,
                snapshot,
                requests,
            } => {
                check_read(&requests)?;
                if let Some(id) = reader {
                    self.held.step(id, client.connection, cx.now.monotonic)?;
                }
                let at = self.snapshot(cx, snapshot, out)?;
                self.start(cx, out, |turn| {
                    let (job, flow) = SnapshotRead::begin(turn, client, reader, at, requests);
                    (Job::Read(job), flow)
                });
            }
            ClientRequest::Lock {
                id,
                age,
                snapshot,
                key,
                wait,
            } => {
                check_key(&key)?;
                self.held.step(id, client.connection, cx.now.monotonic)?;
                if self.held.count(client.connection) >= HELD_LOCKS_MAX {
                    return Err(RequestError::Overloaded { retry_ms: RETRY_MS });
                }
                let lock = Lock {
                    id,
                    age,
                    key: key.clone(),
                    timestamp: self.snapshot(cx, snapshot, out)?,
                    gateway: self.list.config.me,
                    wait,
                };
                let now = cx.now.monotonic;
                self.held.add(client.connection, id, key, now);
                self.start(cx, out, |turn| {
                    let (job, flow) = GetForUpdate::begin(turn, client, lock);
                    (Job::Lock(job), flow)
                });
            }
            ClientRequest::Refresh {
                id,
                from,
                to,
                reads,
            } => {
                check_ranges(&reads)?;
                self.held.step(id, client.connection, cx.now.monotonic)?;
                if from > to {
                    let why = format!("a refresh from {from} back to {to}");
                    return Err(RequestError::Invalid { why });
                }
                self.snapshot(cx, Snapshot::At(to), out)?;
                self.start(cx, out, |turn| {
                    let (job, flow) = ClientRefresh::begin(turn, client, id, from, to, reads);
                    (Job::Refresh(job), flow)
                });
            }
            ClientRequest::Rollback { id, keys } => {
                check_keys(&keys)?;
                let mut all = self.held.take(id);
                all.extend(keys);
                self.start(cx, out, |turn| {
                    let (job, flow) = Rollback::begin(turn, client, id, all);
                    (Job::Rollback(job), flow)
                });
            }
            ClientRequest::Outcome { name } => {
                check_asked(cx.now, &name)?;
                self.start(cx, out, |turn| {
                    let (job, flow) = AskOutcome::begin(turn, client, name);
                    (Job::Outcome(job), flow)
                });
            }
            ClientRequest::Timestamp => {
                let timestamp = self.snapshot(cx, Snapshot::Fresh, out)?;
                answer(out, client, Ok(ClientAnswer::Timestamp(timestamp)));
            }
            ClientRequest::Commit(_)
            | ClientRequest::Map
            | ClientRequest::Status
            | ClientRequest::Transfer { .. } => {}
        }
        Ok(())
    }

    fn begin_commit(
        &mut self,
        cx: &mut GatewayContext,
        client: ClientTag,
        mut commit: Commit,
        out: &mut Vec<GatewayEffect>,
    ) -> Result<(), RequestError> {
        check_commit(cx.now, &commit)?;
        let held = self.held.take(commit.name.id);
        let listed: BTreeSet<Key> = commit.locked.drain(..).collect();
        commit.locked = held.into_iter().chain(listed).collect();
        commit.locked.sort();
        commit.locked.dedup();
        let under_way = self.committing.get(&commit.name.id).copied();
        if let Some(id) = under_way
            && let Some(Job::Commit(coordinator)) = self.jobs.get_mut(&id)
        {
            let mut turn = Turn {
                job: id,
                cx,
                list: &mut self.list,
                out,
            };
            coordinator.join(&mut turn, client, &commit);
            return Ok(());
        }
        if self.committing.len() >= COORDINATING_MAX {
            return Err(RequestError::Overloaded { retry_ms: RETRY_MS });
        }
        self.start(cx, out, |turn| {
            let (job, flow) = Coordinator::begin(turn, client, commit);
            (Job::Commit(Box::new(job)), flow)
        });
        Ok(())
    }

    fn snapshot(
        &mut self,
        cx: &mut GatewayContext,
        snapshot: Snapshot,
        out: &mut Vec<GatewayEffect>,
    ) -> Result<Timestamp, RequestError> {
        let mut turn = Turn {
            job: JobId(0),
            cx,
            list: &mut self.list,
            out,
        };
        turn.snapshot(snapshot)
    }
}

/// Answers at once, with what depends on no version.
fn answer(out: &mut Vec<GatewayEffect>, client: ClientTag, reply: ClientReply) {
    out.push(GatewayEffect::Answer {
        client,
        reply,
        depends_on: Timestamp::ZERO,
    });
}
