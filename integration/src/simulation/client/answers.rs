//! What a client makes of answers, of silence, and of errors.

use super::{Client, ClientContext, ClientEffect, Phase, TRIES_MAX, Want};
use crate::history::{Observation, Settled, Told};
use clock::Timestamp;
use wire::message::{
    AbortReason, Aborted, ClientAnswer, ClientReply, Committed, Locked, OutcomeAnswer, ReadResult,
    RequestError,
};

/// Whether a transaction that ended so may succeed if it is run again.
pub(super) fn is_worth_another_run(reason: &AbortReason) -> bool {
    match reason {
        AbortReason::Changed { .. }
        | AbortReason::HotKey { .. }
        | AbortReason::Contention { .. }
        | AbortReason::BelowHorizon { .. }
        | AbortReason::Expired
        | AbortReason::Closed => true,
        AbortReason::Guard { .. }
        | AbortReason::Operation { .. }
        | AbortReason::OtherIdentity
        | AbortReason::DiskFull { .. } => false,
    }
}

impl Client {
    pub(super) fn on_reply(
        &mut self,
        cx: &mut ClientContext,
        want: Want,
        reply: ClientReply,
        out: &mut Vec<ClientEffect>,
    ) {
        let answer = match reply {
            Ok(answer) => answer,
            Err(error) => return self.on_error(cx, want, error, out),
        };
        match (want, answer) {
            (Want::Lock, ClientAnswer::Locked { at, locked }) => {
                self.on_locked(cx, at, locked, out);
            }
            (Want::Move { to }, ClientAnswer::Refreshed { changed: None }) => {
                self.run_mut().snapshot = Some(to);
                self.advance(cx, out);
            }
            (Want::Move { .. }, ClientAnswer::Refreshed { .. }) => {
                self.ask(cx, Want::Rollback, out);
            }
            (Want::Round, ClientAnswer::Read { at, results }) => {
                self.on_read(cx, at, results, out);
            }
            (Want::Commit, ClientAnswer::Committed(committed)) => {
                self.on_committed(cx, committed, out);
            }
            (Want::Commit, ClientAnswer::Aborted(aborted)) => self.on_aborted(cx, aborted, out),
            (Want::Outcome, ClientAnswer::Outcome(answer)) => self.on_outcome(cx, answer, out),
            (Want::Rollback, ClientAnswer::RolledBack) => self.end(cx, Told::GivenUp, out),
            (want, answer) => {
                panic!("the answer does not fit what was asked: {want:?}, {answer:?}")
            }
        }
    }

    fn run_mut(&mut self) -> &mut super::Run {
        self.run.as_mut().expect("a plan is carried out")
    }

    fn on_locked(
        &mut self,
        cx: &mut ClientContext,
        at: Timestamp,
        locked: Locked,
        out: &mut Vec<ClientEffect>,
    ) {
        let run = self.run_mut();
        let first = run.snapshot.is_none();
        let key = run.plan.locks[run.locked.len()].clone();
        run.locked.push(key.clone());
        if first {
            run.snapshot = Some(at.max(locked.newest));
        }
        let held = run.snapshot.expect("set above");
        let moves = locked.newest > held;
        let found = locked.value;
        if moves {
            // What was read before must hold at the new snapshot too; the new key is read there.
            let request = Want::Move { to: locked.newest };
            self.ask(cx, request, out);
            self.run_mut().seen.push(Observation::Get { key, found });
        } else {
            run.seen.push(Observation::Get { key, found });
            self.advance(cx, out);
        }
    }

    fn on_read(
        &mut self,
        cx: &mut ClientContext,
        at: Timestamp,
        results: Vec<ReadResult>,
        out: &mut Vec<ClientEffect>,
    ) {
        let run = self.run_mut();
        let held = *run.snapshot.get_or_insert(at);
        assert_eq!(
            held, at,
            "a read was answered at another snapshot than asked for"
        );
        let requests = &run.plan.rounds[run.rounds_done];
        assert_eq!(
            requests.len(),
            results.len(),
            "a read of so many things has so many results"
        );
        for (request, result) in requests.iter().zip(results) {
            let observation = Observation::new(request, result);
            run.seen
                .push(observation.expect("a result fits its request"));
        }
        run.rounds_done += 1;
        self.advance(cx, out);
    }

    fn on_committed(
        &mut self,
        cx: &mut ClientContext,
        committed: Committed,
        out: &mut Vec<ClientEffect>,
    ) {
        let resent = self.run_mut().sends > 1;
        let told = Told::Committed {
            at: committed.at,
            results: committed.results,
            partitions: committed.partitions,
            resent,
        };
        self.end(cx, told, out);
    }

    fn on_aborted(
        &mut self,
        cx: &mut ClientContext,
        aborted: Aborted,
        out: &mut Vec<ClientEffect>,
    ) {
        let Aborted { reason, durable } = aborted;
        if durable || self.run_mut().sends == 1 {
            return self.end(cx, Told::Aborted { reason, durable }, out);
        }
        self.commit_again_or_leave(cx, out);
    }

    fn commit_again_or_leave(&mut self, cx: &mut ClientContext, out: &mut Vec<ClientEffect>) {
        if self.run_mut().sends < self.timing.sends_max {
            self.pause(Want::Commit, out);
        } else {
            self.leave_unknown(cx, out);
        }
    }

    fn on_outcome(
        &mut self,
        cx: &mut ClientContext,
        answer: OutcomeAnswer,
        out: &mut Vec<ClientEffect>,
    ) {
        assert!(
            !matches!(answer, OutcomeAnswer::Staging { .. }),
            "a gateway tells no client that a transaction is staging: {answer:?}"
        );
        let question = self.asking.take().expect("an outcome was asked for");
        let transaction = cx.history.get_mut(question.index);
        transaction.settled = Some(Settled { at: cx.now, answer });
        let committed = matches!(answer, OutcomeAnswer::Committed { .. });
        match self.run.take() {
            Some(run) if run.plan.until_committed && !committed => {
                self.begin(cx, run.plan, run.age, run.reruns + 1, out);
            }
            Some(_) => self.think(out),
            None => self.ask_next_outcome(cx, out),
        }
    }

    /// No answer came in time, or the connection was lost.
    pub(super) fn on_silence(
        &mut self,
        cx: &mut ClientContext,
        want: Want,
        out: &mut Vec<ClientEffect>,
    ) {
        self.move_on();
        self.try_again(cx, want, out);
    }

    fn on_error(
        &mut self,
        cx: &mut ClientContext,
        want: Want,
        error: RequestError,
        out: &mut Vec<ClientEffect>,
    ) {
        let unknown = matches!(
            error,
            RequestError::Unavailable { .. } | RequestError::ClockUnusable { begun: true, .. }
        );
        let once = self.run.as_ref().is_some_and(|run| run.sends == 1);
        match (want, &error) {
            (Want::Commit, _) if once && !unknown => self.end(cx, Told::NotServed(error), out),
            (Want::Lock | Want::Round | Want::Move { .. }, RequestError::BelowHorizon { .. }) => {
                self.end(cx, Told::NotServed(error), out);
            }
            _ => {
                if self.random.chance(1, 2) {
                    self.move_on();
                }
                self.try_again(cx, want, out);
            }
        }
    }

    fn try_again(&mut self, cx: &mut ClientContext, want: Want, out: &mut Vec<ClientEffect>) {
        match want {
            Want::Commit => self.commit_again_or_leave(cx, out),
            Want::Outcome => self.pause(want, out),
            Want::Rollback => self.end(cx, Told::GivenUp, out),
            // A lock asked for twice could stand at a place that nobody gives back in time.
            Want::Lock | Want::Move { .. } => self.ask(cx, Want::Rollback, out),
            Want::Round => {
                let run = self.run_mut();
                run.tries += 1;
                if run.tries < TRIES_MAX {
                    self.pause(want, out);
                } else if run.locked.is_empty() {
                    self.end(cx, Told::GivenUp, out);
                } else {
                    self.ask(cx, Want::Rollback, out);
                }
            }
        }
        debug_assert!(!matches!(self.phase, Phase::Waiting(_)) || self.connected);
    }
}
