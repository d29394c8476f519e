//! The proposer: one ballot at a time, first asking, then proposing, standing back when outbid.
//!
//! ```text
//!   Starting -> Waiting -> Preparing -> Accepting -> Done
//!                  ^            |            |
//!                  +-- outbid --+------------+      Founded, from anyone: Done
//! ```
//!
//! A phase that nobody outbids goes on with the same ballot for as long as it takes: silence is
//! answered by sending again, never by a higher ballot, so a founder that is cut off does not
//! disturb the others with its rounds when it comes back.

use super::founder::{Founder, Refusal};
use super::{BACK_OFF, BACK_OFF_MAX, RESEND_AFTER, ROUND_MAX, STAGGER};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::message::{Ballot, Founding, FoundingMessage};

/// What this founder is doing as a proposer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Proposer {
    /// Has not been told the time yet.
    Starting,
    /// Stands back.
    Waiting { until: Duration },
    /// Phase 1 runs.
    Preparing {
        ballot: Ballot,
        /// Places of the others that promised.
        promised: BTreeSet<usize>,
        /// The value accepted at the highest ballot so far.
        accepted: Option<(Ballot, Founding)>,
        resend_at: Duration,
    },
    /// Phase 2 runs.
    Accepting {
        ballot: Ballot,
        value: Founding,
        /// Places of the others that accepted.
        accepted: BTreeSet<usize>,
        resend_at: Duration,
    },
    /// The founding is known; it is still to be told to the node if this start recovered it.
    Done { announced: bool },
}

impl Founder {
    pub(super) fn on_started(&mut self, now: Duration) {
        let until = now + STAGGER * self.place as u32;
        self.proposer = Proposer::Waiting { until };
        if until <= now {
            self.begin_preparing(now);
        }
    }

    pub(super) fn begin_preparing(&mut self, now: Duration) {
        let ballot = Ballot {
            round: self.round_seen + 1,
            proposer: self.place as u32,
        };
        self.round_seen = ballot.round;
        let own = self.acceptor.on_prepare(ballot);
        assert!(
            matches!(own, FoundingMessage::Promise { .. }),
            "a new ballot {ballot:?} is above all that this founder promised, got {own:?}"
        );
        self.proposer = Proposer::Preparing {
            ballot,
            promised: BTreeSet::new(),
            accepted: self.acceptor.accepted().cloned(),
            resend_at: now,
        };
        self.ask_silent(now);
        self.maybe_begin_accepting(now);
    }

    /// Goes on to phase 2 if a majority promised and no founder is known to refuse the list.
    pub(super) fn maybe_begin_accepting(&mut self, now: Duration) {
        let Proposer::Preparing {
            ballot,
            promised,
            accepted,
            ..
        } = &self.proposer
        else {
            return;
        };
        let refused = self
            .plan
            .list
            .iter()
            .any(|address| self.refusals.contains_key(address));
        if promised.len() + 1 < self.majority() || refused {
            return;
        }
        let ballot = *ballot;
        let value = accepted
            .as_ref()
            .map_or(&self.proposal, |(_, value)| value)
            .clone();
        let own = self.acceptor.on_accept(ballot, value.clone());
        assert_eq!(
            own,
            FoundingMessage::Accepted { ballot },
            "a founder that promised another ballot has given up its own"
        );
        self.proposer = Proposer::Accepting {
            ballot,
            value,
            accepted: BTreeSet::new(),
            resend_at: now,
        };
        self.ask_silent(now);
        self.maybe_decide();
    }

    fn maybe_decide(&mut self) {
        let Proposer::Accepting {
            value, accepted, ..
        } = &self.proposer
        else {
            return;
        };
        if accepted.len() + 1 < self.majority() {
            return;
        }
        let value = value.clone();
        self.become_founded(value.clone());
        for to in self.other_addresses(&BTreeSet::new()) {
            let value = value.clone();
            self.send(&to, FoundingMessage::Founded { value }, false);
        }
    }

    /// Sends the question of the present phase to those that have not answered it.
    pub(super) fn ask_silent(&mut self, now: Duration) {
        let list = self.plan.list.clone();
        let (question, answered, resend_at) = match &mut self.proposer {
            Proposer::Preparing {
                ballot,
                promised,
                resend_at,
                ..
            } => {
                let ballot = *ballot;
                (
                    FoundingMessage::Prepare { list, ballot },
                    promised.clone(),
                    resend_at,
                )
            }
            Proposer::Accepting {
                ballot,
                value,
                accepted,
                resend_at,
            } => {
                let (ballot, value) = (*ballot, value.clone());
                let question = FoundingMessage::Accept {
                    list,
                    ballot,
                    value,
                };
                (question, accepted.clone(), resend_at)
            }
            Proposer::Starting | Proposer::Waiting { .. } | Proposer::Done { .. } => return,
        };
        *resend_at = now + RESEND_AFTER;
        for to in self.other_addresses(&answered) {
            self.send(&to, question.clone(), true);
        }
    }

    pub(super) fn on_answer(&mut self, now: Duration, from: &str, answer: FoundingMessage) {
        let Some(place) = self.plan.list.iter().position(|address| address == from) else {
            tracing::warn!(
                from,
                ?answer,
                "a founding answer from a node that was not asked"
            );
            return;
        };
        match answer {
            FoundingMessage::Promise { ballot, accepted } => {
                self.on_promise(place, ballot, accepted)
            }
            FoundingMessage::Accepted { ballot } => self.on_accepted(place, ballot),
            FoundingMessage::Outbid { ballot, promised } => self.on_outbid(now, ballot, promised),
            FoundingMessage::Founded { value } => return self.on_founded(from, value),
            FoundingMessage::OtherList { list } => {
                if self.founding().is_none() && list != self.plan.list {
                    self.refuse(from, Refusal::OtherList(list));
                }
                return;
            }
            FoundingMessage::Prepare { .. } | FoundingMessage::Accept { .. } => {
                unreachable!(
                    "step answers questions itself, this one came as an answer: {answer:?}"
                )
            }
        }
        self.refusals.remove(from);
    }

    fn on_promise(&mut self, place: usize, of: Ballot, found: Option<(Ballot, Founding)>) {
        let Proposer::Preparing {
            ballot,
            promised,
            accepted,
            ..
        } = &mut self.proposer
        else {
            return;
        };
        if *ballot != of || !promised.insert(place) {
            return;
        }
        let highest = accepted.as_ref().map(|(at, _)| *at);
        if found.as_ref().map(|(at, _)| *at) > highest {
            *accepted = found;
        }
    }

    fn on_accepted(&mut self, place: usize, of: Ballot) {
        if let Proposer::Accepting {
            ballot, accepted, ..
        } = &mut self.proposer
            && *ballot == of
        {
            accepted.insert(place);
            self.maybe_decide();
        }
    }

    fn on_outbid(&mut self, now: Duration, of: Ballot, promised: Ballot) {
        if promised.round > ROUND_MAX {
            return;
        }
        self.round_seen = self.round_seen.max(promised.round);
        if self.ballot() == Some(of) {
            self.stand_back(now);
        }
    }

    /// Another's ballot that is above everything promised so far is let go first.
    pub(super) fn maybe_stand_back(&mut self, now: Duration, ballot: Ballot) {
        self.round_seen = self.round_seen.max(ballot.round);
        if ballot > self.acceptor.promised() {
            self.stand_back(now);
        }
    }

    /// Waits for a random time, longer each time, so that of two proposers one gets through.
    fn stand_back(&mut self, now: Duration) {
        let most = BACK_OFF
            .saturating_mul(1 << self.outbid.min(8))
            .min(BACK_OFF_MAX);
        self.outbid += 1;
        let half = most.as_micros() as u64 / 2;
        let pause = Duration::from_micros(half + self.random.below(half));
        self.proposer = Proposer::Waiting { until: now + pause };
    }

    fn ballot(&self) -> Option<Ballot> {
        match &self.proposer {
            Proposer::Preparing { ballot, .. } | Proposer::Accepting { ballot, .. } => {
                Some(*ballot)
            }
            Proposer::Starting | Proposer::Waiting { .. } | Proposer::Done { .. } => None,
        }
    }
}
