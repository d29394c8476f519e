//! After the decision (R7): every participant ends the attempt, then the record may go.
//!
//! Runs in the background, after the client was answered. If it is given up, nothing is lost: whoever
//! meets a lock that is left recovers the transaction from its record.
//!
//! Invariants: nothing is resolved as committed before the record says so (the caller's duty); the
//! record is forgotten only once every key is resolved.

use crate::plan;
use crate::request_waiting_list::{Flow, Turn};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::Attempt;
use wire::keys::Key;
use wire::message::{
    Decision, PartitionReply, PartitionRequest, RequestNumber, Resolve, TransactionName,
};

/// What is to be resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResolvePlan {
    pub(crate) name: TransactionName,
    pub(crate) attempt: Attempt,
    pub(crate) decision: Decision,
    /// The keys whose partitions are told.
    pub(crate) keys: BTreeSet<Key>,
    /// These are all keys that the record stands for: it may go afterwards.
    pub(crate) forget: bool,
}

/// A plan that is being carried out.
#[derive(Debug)]
pub(crate) struct Resolution {
    plan: ResolvePlan,
    /// `None`: the record is being forgotten.
    outstanding: BTreeMap<RequestNumber, Vec<Key>>,
    again: BTreeSet<Key>,
    is_resolved: bool,
    tries: u32,
    until: Duration,
}

impl Resolution {
    pub(crate) fn begin(turn: &mut Turn, plan: ResolvePlan) -> (Resolution, Flow) {
        let again = plan.keys.clone();
        let mut job = Resolution {
            plan,
            outstanding: BTreeMap::new(),
            again,
            is_resolved: false,
            tries: 0,
            until: turn.monotonic() + turn.list.config.timing.resolve_max,
        };
        let flow = job.send(turn);
        (job, flow)
    }

    /// Tells everyone who has not heard yet; then forgets the record.
    fn send(&mut self, turn: &mut Turn) -> Flow {
        let deadline = turn.request_deadline();
        let keys = std::mem::take(&mut self.again);
        for (partition, keys) in plan::group(&keys, turn.map()) {
            let body = PartitionRequest::Resolve(Resolve {
                name: self.plan.name.clone(),
                attempt: self.plan.attempt,
                decision: self.plan.decision,
            });
            let number = turn.ask(partition, body, deadline);
            self.outstanding.insert(number, keys);
        }
        self.maybe_forget(turn)
    }

    fn maybe_forget(&mut self, turn: &mut Turn) -> Flow {
        if !self.outstanding.is_empty() || !self.again.is_empty() {
            return Flow::Waits;
        }
        if self.is_resolved || !self.plan.forget {
            return Flow::Over;
        }
        self.is_resolved = true;
        let name = self.plan.name.clone();
        let partition = turn.map().locate(&name.anchor).partition;
        let deadline = turn.request_deadline();
        let number = turn.ask(partition, PartitionRequest::ForgetRecord { name }, deadline);
        self.outstanding.insert(number, Vec::new());
        Flow::Waits
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        reply: PartitionReply,
    ) -> Flow {
        match reply {
            // Refused: the id is known there under another name, so nothing of this one is there.
            PartitionReply::Done | PartitionReply::Refused { .. } => {
                self.outstanding.remove(&number);
                self.maybe_forget(turn)
            }
            PartitionReply::Error(_) => self.try_again(turn, number),
            other => unreachable!("a leader answered a resolve with {other:?}"),
        }
    }

    pub(crate) fn try_again(&mut self, turn: &mut Turn, number: RequestNumber) -> Flow {
        let keys = self.outstanding.remove(&number).unwrap_or_default();
        if turn.monotonic() >= self.until {
            for number in std::mem::take(&mut self.outstanding).into_keys() {
                turn.cancel(number);
            }
            return Flow::Over;
        }
        if self.is_resolved {
            self.is_resolved = false;
        }
        self.again.extend(keys);
        self.tries += 1;
        turn.back_off(self.tries);
        Flow::Waits
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        self.send(turn)
    }
}
