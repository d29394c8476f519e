//! What a leader does with requests: admits them, evaluates them, proposes, replies, and wakes those
//! that wait when what they wait for has come about.

use crate::asker::Asker;
use crate::collection::{self, Question};
use crate::committed_state::{MarkerState, Released};
use crate::effects::{self, Effect};
use crate::evaluation::{Evaluator, OUTCOME_RETENTION, StoreAnswers, Verdict};
use crate::event::{ReplicaContext, ReplicaEffect};
use crate::leadership::Leadership;
use crate::replica::Replica;
use crate::request_range;
use crate::request_waiting_list::{HeldBy, PushTiming, RequestWaitingList, WaitFor, Waiter};
use crate::unreplicated_locks::Dropped;
use crate::versions::{StoreAnswer, StoreQuery, StoreTask};
use clock::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::ids::{Attempt, Generation, LogIndex, NodeId, Term, TransactionId};
use wire::keys::{Key, KeyRange};
use wire::message::{PartitionError, PartitionReply, PartitionRequest, TransactionName};

impl Replica {
    /// Somebody asks.
    pub(crate) fn on_request(
        &mut self,
        cx: &ReplicaContext,
        asker: Asker,
        generation: Generation,
        request: PartitionRequest,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let Some(request) = self.maybe_hold_early(asker, generation, request) else {
            return;
        };
        if let Err(error) = self.check_admitted(generation, &request) {
            return reply(asker, PartitionReply::Error(error), out);
        }
        let waiting = self.leadership.as_mut().map(|l| &mut l.waiting);
        if waiting.is_some_and(|waiting| waiting.replace(asker, &request)) {
            return;
        }
        let waiter = Waiter {
            ticket: self.ticket(),
            asker,
            request,
            answers: StoreAnswers::default(),
            arrived: cx.now.monotonic,
            locked_since: None,
            crowded_out: None,
        };
        self.evaluate(cx, waiter, out);
    }

    fn check_admitted(
        &self,
        generation: Generation,
        request: &PartitionRequest,
    ) -> Result<(), PartitionError> {
        let partition = self.descriptor.partition;
        let Some(leadership) = &self.leadership else {
            return Err(self.not_leader());
        };
        if self.replication.handed_over_to().is_some() {
            return Err(self.not_leader());
        }
        let descriptor = &self.descriptor;
        if generation != descriptor.generation
            || !request_range::lies_in(request, &descriptor.range)
        {
            let descriptor = Some(descriptor.clone());
            return Err(PartitionError::WrongRange {
                partition,
                descriptor,
            });
        }
        let is_new_write = matches!(
            request,
            PartitionRequest::Commit(_) | PartitionRequest::Prepare(_)
        );
        if leadership.is_overloaded() || is_new_write && self.admission.is_backlogged {
            return Err(PartitionError::Overloaded { partition });
        }
        Ok(())
    }

    pub(crate) fn not_leader(&self) -> PartitionError {
        PartitionError::NotLeader {
            partition: self.descriptor.partition,
            leader: self.likely_leader(),
            term: self.term(),
        }
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Whether requests are evaluated now: it serves, is not about to hand over nor has handed over, and no
    /// change of members is under way. Otherwise they wait ([`WaitFor::Serving`]).
    fn may_evaluate(&self) -> bool {
        let leadership = self.leadership.as_ref();
        let is_free = leadership.is_some_and(|l| l.serving && l.change.proposed.is_none());
        is_free && !self.replication.is_draining() && self.replication.handed_over_to().is_none()
    }

    /// Evaluates a request from its first check on.
    fn evaluate(&mut self, cx: &ReplicaContext, mut waiter: Waiter, out: &mut Vec<ReplicaEffect>) {
        let query = self.ticket();
        let timing = self.timing;
        let may_evaluate = self.may_evaluate();
        let Some(leadership) = &mut self.leadership else {
            return reply(waiter.asker, PartitionReply::Error(self.not_leader()), out);
        };
        if !may_evaluate {
            let deadline = waiter.arrived + timing.wait_max;
            let waiting = &mut leadership.waiting;
            return waiting.insert(waiter, WaitFor::Serving, Some(deadline));
        }
        waiter.answers.retain_complete(&self.state);
        let patience = patience(&timing, &waiter.request);
        let since = waiter.locked_since;
        let (promise, closed) = (leadership.promise(), leadership.closed);
        let mut evaluator = Evaluator {
            partition: self.descriptor.partition,
            now: cx.now,
            drift_max: timing.drift_max,
            state: &self.state,
            overlay: &leadership.overlay,
            cache: &mut leadership.cache,
            unreplicated: &mut leadership.unreplicated,
            promise,
            closed,
            no_room: self.admission.no_room,
            answers: &waiter.answers,
            crowded_out: waiter.crowded_out,
            out_of_patience: since.is_some_and(|since| cx.now.monotonic >= since + patience),
            wanted: BTreeSet::new(),
            too_much: None,
            #[cfg(feature = "mutants")]
            mutant: self.mutant,
        };
        match evaluator.evaluate(&waiter.request) {
            Verdict::Reply(answer) => {
                leadership.let_go(&waiter.request);
                reply(waiter.asker, answer, out);
            }
            Verdict::Propose { effect, reply } => {
                self.propose(effect, Some((waiter.asker, reply)));
            }
            Verdict::Wait(reason) => {
                if let WaitFor::Lock { key, .. } = &reason
                    && let Some((leaves, waiting)) = leadership.waiting.crowd(key, &waiter)
                {
                    let other = leaves.and_then(|ticket| leadership.waiting.take(ticket));
                    let Some((mut other, _)) = other else {
                        waiter.crowded_out = Some(waiting);
                        return self.evaluate(cx, waiter, out);
                    };
                    let deadline = deadline(&mut waiter, &reason, cx.now.monotonic, &timing);
                    leadership.waiting.insert(waiter, reason, deadline);
                    other.crowded_out = Some(waiting);
                    return self.evaluate(cx, other, out);
                }
                let deadline = deadline(&mut waiter, &reason, cx.now.monotonic, &timing);
                leadership.waiting.insert(waiter, reason, deadline);
            }
            Verdict::Ask(queries) => {
                leadership.asked.insert(query, queries.clone());
                leadership
                    .waiting
                    .insert(waiter, WaitFor::Store(query), None);
                out.push(self.ask(query, queries));
            }
        }
    }

    fn ask(&self, ticket: u64, queries: Vec<StoreQuery>) -> ReplicaEffect {
        ReplicaEffect::Store(StoreTask::Query {
            partition: self.descriptor.partition,
            incarnation: self.incarnation,
            ticket,
            queries,
        })
    }

    /// Proposes an entry; whoever asked for it is told when it is committed.
    fn propose(&mut self, effect: Effect, asker: Option<(Asker, PartitionReply)>) {
        let index = self.replication.last().index.next();
        let Some(leadership) = &mut self.leadership else {
            panic!("only a leader evaluates, and this replica leads no more");
        };
        let body = effects::encode(std::slice::from_ref(&effect));
        if let Effect::Commit { name, .. } | Effect::Prepare { name, .. } = &effect {
            // What it writes holds the keys from here on.
            let keys = leadership.unreplicated.release_all(name.id);
            leadership.released.extend(keys);
        }
        #[cfg(feature = "mutants")]
        let registered = self.mutant != Some(crate::Mutant::LockAfterProposal);
        #[cfg(not(feature = "mutants"))]
        let registered = true;
        // The locks stand before the entry is proposed: nobody may slip in between (R5).
        leadership.overlay.insert(index, effect, registered);
        if let Some(asker) = asker {
            leadership.proposed.insert(index, asker);
        }
        let position = self.replication.propose(body, &mut self.effects);
        assert_eq!(
            position.map(|position| position.index),
            Some(index),
            "a proposal takes the place at the end of the log"
        );
    }

    /// Entries were fed: answers leave, and whoever waited for them begins anew.
    pub(crate) fn on_settled(
        &mut self,
        cx: &ReplicaContext,
        released: Released,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let up_to = self.fed.index;
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        for (key, at) in released.unchanged {
            // A key that was locked without a version did not change up to the commit (R7).
            leadership.cache.raise(&KeyRange::point(key), at, None);
        }
        while let Some(first) = leadership.proposed.first_entry()
            && *first.key() <= up_to
        {
            let (asker, answer) = first.remove();
            reply(asker, answer, out);
        }
        leadership.released.extend(released.keys);
        let changed = leadership.on_members_applied(up_to);
        self.maybe_serve(cx, out);
        if changed {
            self.wake_serving(cx, out);
            let promise = self.leadership.as_ref().map(Leadership::promise);
            self.wake(cx, out, |leadership| {
                leadership
                    .waiting
                    .take_promised(promise.unwrap_or_default())
            });
        }
        self.wake(cx, out, |leadership| {
            leadership.waiting.take_committed(up_to)
        });
        for id in released.ids {
            self.wake_transaction(cx, id, out);
        }
    }

    /// Begins anew every request that `take` gives.
    fn wake(
        &mut self,
        cx: &ReplicaContext,
        out: &mut Vec<ReplicaEffect>,
        mut take: impl FnMut(&mut Leadership) -> Option<Waiter>,
    ) {
        while let Some(waiter) = self.leadership.as_mut().and_then(&mut take) {
            self.evaluate(cx, waiter, out);
        }
    }

    /// Begins anew those who wait until requests are evaluated, if they are by now. Each only once: what has
    /// to wait again may wait for the same.
    pub(crate) fn wake_serving(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        if !self.may_evaluate() {
            return;
        }
        let waiting = self.leadership.as_ref().map(|l| &l.waiting);
        for ticket in waiting.map_or_else(Vec::new, RequestWaitingList::for_serving) {
            self.wake_ticket(cx, ticket, out);
        }
    }

    /// A refusal or an end may concern a prepare that waits for a lock.
    fn wake_transaction(
        &mut self,
        cx: &ReplicaContext,
        id: TransactionId,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let Some(leadership) = &self.leadership else {
            return;
        };
        for ticket in leadership.waiting.of_transaction(id) {
            self.wake_ticket(cx, ticket, out);
        }
    }

    fn wake_ticket(&mut self, cx: &ReplicaContext, ticket: u64, out: &mut Vec<ReplicaEffect>) {
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        let Some((waiter, reason)) = leadership.waiting.take(ticket) else {
            return;
        };
        match reason {
            // Its answer is on the way; it begins anew with that.
            WaitFor::Store(_) => leadership.waiting.insert(waiter, reason, None),
            _ => self.evaluate(cx, waiter, out),
        }
    }

    /// Begins anew those who wait for locks that were released: readers, then writers, the oldest
    /// first, until one of them holds the lock.
    pub(crate) fn wake_released(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        while let Some(leadership) = &mut self.leadership
            && let Some(key) = leadership.released.pop_front()
        {
            for (ticket, writes) in leadership.waiting.on_key(&key) {
                if writes && self.is_locked(&key) {
                    break;
                }
                self.wake_ticket(cx, ticket, out);
            }
        }
    }

    fn is_locked(&self, key: &Key) -> bool {
        let prepared = self.state.locks().holder(key).is_some();
        let leadership = self.leadership.as_ref();
        prepared
            || leadership.is_some_and(|leadership| {
                leadership.overlay.holder(key).is_some()
                    || leadership.unreplicated.holder(key).is_some()
            })
    }

    /// A member has acknowledged a promise.
    pub(crate) fn on_promise_acknowledged(
        &mut self,
        cx: &ReplicaContext,
        by: NodeId,
        term: Term,
        promise: Timestamp,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        if !leadership.on_acknowledged(by, term, promise) {
            return;
        }
        let promise = leadership.promise();
        self.maybe_serve(cx, out);
        self.wake(cx, out, |leadership| {
            leadership.waiting.take_promised(promise)
        });
    }

    /// Begins to answer, once an entry of the own term is committed and a promise holds (R9).
    fn maybe_serve(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        #[cfg(feature = "mutants")]
        let settled = self.replication.first_of_term_committed()
            || self.mutant == Some(crate::Mutant::ServesBeforeOwnEntry);
        #[cfg(not(feature = "mutants"))]
        let settled = self.replication.first_of_term_committed();
        if leadership.serving || !settled || leadership.promise() == Timestamp::ZERO {
            return;
        }
        let votes = self.replication.votes_promised();
        let votes = votes.expect("who leads was told promises by its voters");
        let before = self.replication.handed_over().unwrap_or(votes);
        #[cfg(feature = "mutants")]
        let before = self.stale_handover.unwrap_or(before);
        // Everything inherited is committed and fed by now, so this is the highest of the whole log.
        let low_water = before.max(self.state.highest());
        #[cfg(feature = "mutants")]
        let low_water = match self.mutant {
            Some(crate::Mutant::EmptyCacheOfNewLeader) => Timestamp::ZERO,
            _ => low_water,
        };
        leadership.serve(low_water, self.state.closed());
        tracing::info!(
            partition = %self.descriptor.partition,
            term = %leadership.term,
            waiting = leadership.waiting.len(),
            "serves"
        );
        self.wake_serving(cx, out);
    }

    /// The store has answered.
    pub(crate) fn on_store_answer(
        &mut self,
        cx: &ReplicaContext,
        ticket: u64,
        answer: StoreAnswer,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        let is_answer = |(asked, _): &mut (u64, Question)| *asked == ticket;
        if let Some((_, question)) = leadership.collecting.take_if(is_answer) {
            return self.collect(cx, &question, &answer);
        }
        let Some(queries) = leadership.asked.remove(&ticket) else {
            // It was asked in an earlier leadership.
            return;
        };
        if let Some(mut waiter) = leadership.waiting.take_answered(ticket) {
            waiter.answers.add(queries, answer);
            self.evaluate(cx, waiter, out);
        }
    }

    /// What time alone brings about for a leader.
    pub(crate) fn on_serving_tick(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        let now = cx.now.monotonic;
        // Draining was interrupted, perhaps: whoever waited for its end is served.
        self.wake_serving(cx, out);
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        let mut dropped = leadership.unreplicated.expire(now);
        dropped.extend(leadership.wound_younger(now, self.timing.push_after));
        for Dropped { gateway, lost } in dropped {
            leadership.released.extend(lost.keys.iter().cloned());
            out.push(ReplicaEffect::LockLost { gateway, lost });
        }
        self.wake_released(cx, out);
        self.on_overdue(cx, out);
        self.push_holders(now, out);
        self.maybe_collect(cx, out);
    }

    fn on_overdue(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        while let Some(leadership) = &mut self.leadership
            && let Some((waiter, reason)) = leadership.waiting.take_overdue(cx.now.monotonic)
        {
            match reason {
                // Its patience is over: evaluation says so.
                WaitFor::Lock { .. } => self.evaluate(cx, waiter, out),
                _ => {
                    // Nothing came of it here; perhaps another leads by now.
                    let error = PartitionError::NotLeader {
                        partition: self.descriptor.partition,
                        leader: None,
                        term: self.replication.term(),
                    };
                    reply(waiter.asker, PartitionReply::Error(error), out);
                }
            }
        }
    }

    /// Has the coordinators of locks looked after that are waited for (R8).
    fn push_holders(&mut self, now: Duration, out: &mut Vec<ReplicaEffect>) {
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        let state = &self.state;
        let holder = |key: &Key| {
            let lock = state.locks().holder(key)?;
            let age = match &state.marker(lock.name.id)?.state {
                MarkerState::Prepared(share) => share.age,
                _ => return None,
            };
            let (name, attempt) = (lock.name.clone(), lock.attempt);
            Some(HeldBy { name, attempt, age })
        };
        let timing = PushTiming {
            push_after: self.timing.push_after,
            wound_after: self.timing.wound_after,
            every: self.timing.push_every,
        };
        let pushes = leadership.waiting.due_pushes(now, timing, holder);
        out.extend(pushes.into_iter().map(|due| ReplicaEffect::Push {
            key: due.key,
            holder: due.name,
            attempt: due.attempt,
            wound: due.wound,
        }));
    }

    /// Every few seconds: looks whether something can be forgotten, and after what was abandoned.
    fn maybe_collect(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        let ticket = self.ticket();
        let now = cx.now.monotonic;
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        let stored = self.stored;
        let goes_on = leadership
            .sweeping
            .take_if(|index| *index <= stored)
            .is_some();
        if !leadership.serving || now < leadership.collect_due && !goes_on {
            return;
        }
        let is_long = self.replication.log_bytes() > self.timing.held_back_bytes_max;
        if now >= leadership.collect_due {
            leadership.collect_due = now
                + match is_long {
                    true => collection::COLLECT_LONG_EVERY,
                    false => collection::COLLECT_EVERY,
                };
            let abandoned = collection::abandoned(&self.state, cx.now.earliest());
            out.extend(abandoned.into_iter().map(push));
        }
        if leadership.collecting.is_some() {
            return;
        }
        // What a sweep under way removes would be found again.
        let swept = match leadership.sweeping {
            Some(_) => Timestamp::MAX,
            None => leadership.swept,
        };
        let question = Question::new(&self.state, swept);
        let queries = question.queries();
        if queries.is_empty() {
            let nothing = StoreAnswer {
                applied: LogIndex(0),
                newest: Timestamp::ZERO,
                results: Vec::new(),
            };
            return self.collect(cx, &question, &nothing);
        }
        leadership.collecting = Some((ticket, question));
        out.push(self.ask(ticket, queries));
    }

    fn collect(&mut self, cx: &ReplicaContext, question: &Question, found: &StoreAnswer) {
        if !self.may_evaluate() {
            // Nothing more is proposed: the next leader collects, or this one, the next time.
            return;
        }
        let held_back_max = self.timing.held_back_bytes_max;
        let replicated = self.replication.not_needed(held_back_max);
        let replicated = replicated.unwrap_or_default();
        let is_long = self.replication.log_bytes() > held_back_max;
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        let earliest = cx.now.earliest();
        let true_time = earliest.minus(collection::CLOSED_BEHIND);
        let closed = true_time.min(leadership.promise()).max(leadership.closed);
        let dropped = collection::outcomes_to_drop(&self.state, &question.slots, &found.results);
        let (outcomes, mut kept_from) = dropped.unwrap_or_else(|error| panic!("{error}"));
        if kept_from == Timestamp::ZERO {
            // The first time: nothing can have been over before.
            kept_from = closed.minus(OUTCOME_RETENTION);
        }
        let step = match is_long {
            true => 1,
            false => collection::REPLICATED_STEP,
        };
        let tombstones = collection::tombstones_to_sweep(question, &found.results);
        let tombstones = tombstones.unwrap_or_else(|error| panic!("{error}"));
        match question.tombstones_up_to {
            // There may be more: it looks again when the store has done with these.
            Some(_) if !tombstones.is_empty() => {
                leadership.sweeping = Some(self.replication.last().index.next());
            }
            Some(up_to) => leadership.swept = up_to,
            None => {}
        }
        // No further than a majority's clocks vouch for: one clock that runs ahead must not cost history.
        let vouched = earliest.min(leadership.promise());
        let retention = self.retention;
        #[cfg(feature = "mutants")]
        let retention = match self.mutant {
            Some(crate::Mutant::HorizonAboveRetention) => Some(Duration::ZERO),
            _ => retention,
        };
        let horizon = collection::horizon(&self.state, closed, vouched, retention);
        let worth = collection::is_worth_an_entry(&self.state, closed, replicated, step)
            || collection::is_horizon_worth_an_entry(&self.state, horizon, self.retention);
        if outcomes.is_empty() && tombstones.is_empty() && !worth {
            return;
        }
        leadership.closed = closed;
        let effect = Effect::Collect {
            closed,
            outcomes,
            outcomes_kept_from: kept_from,
            replicated,
            horizon,
            tombstones,
        };
        self.propose(effect, None);
    }
}

impl Leadership {
    /// After an answer: gives back what an `Unlock` names.
    fn let_go(&mut self, request: &PartitionRequest) {
        let PartitionRequest::Unlock { id, keys } = request else {
            return;
        };
        for key in keys {
            if self.unreplicated.release(key, *id) {
                self.released.push_back(key.clone());
            }
        }
    }
}

pub(crate) fn reply(to: Asker, reply: PartitionReply, out: &mut Vec<ReplicaEffect>) {
    out.push(ReplicaEffect::Reply { to, reply });
}

fn push((key, holder, attempt): (Key, TransactionName, Attempt)) -> ReplicaEffect {
    ReplicaEffect::Push {
        key,
        holder,
        attempt,
        wound: false,
    }
}

/// How long a request waits for locks.
fn patience(timing: &crate::ReplicaTiming, request: &PartitionRequest) -> Duration {
    let attempt = match request {
        PartitionRequest::Commit(commit) => commit.attempt,
        PartitionRequest::Prepare(prepare) => prepare.attempt,
        _ => return timing.wait_max,
    };
    if attempt.number <= 1 {
        timing.first_attempt_wait_max
    } else {
        timing.later_attempt_wait_max
    }
}

/// Until when a request may wait for this; `None` if what it waits for is sure to come, or leadership
/// is lost.
fn deadline(
    waiter: &mut Waiter,
    reason: &WaitFor,
    now: Duration,
    timing: &crate::ReplicaTiming,
) -> Option<Duration> {
    match reason {
        WaitFor::Lock { .. } => {
            let since = *waiter.locked_since.get_or_insert(now);
            Some(since + patience(timing, &waiter.request))
        }
        WaitFor::Promise(_) | WaitFor::Serving => Some(waiter.arrived + timing.wait_max),
        WaitFor::Entry(_) | WaitFor::Store(_) => None,
    }
}
