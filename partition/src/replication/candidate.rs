//! Electing a leader (Ongaro 2014, sections 3.4 and 3.6; pre-vote: 9.6).
//!
//! ```text
//!   Follower ── silence ──► PreCandidate ── a quorum would ──► Candidate ── a quorum does ──► Leader
//!                            term as it was                     term + 1, own vote logged
//!   Follower ── leadership is handed to it (`transfer`) ──────► Candidate
//! ```
//!
//! A member that was cut off asks first whether it would be elected. It would not while others hear a
//! leader or know more, so its return disturbs nobody.
//!
//! Invariants:
//! - term and vote are durable before anybody is told of the vote. A candidate's own vote counts like
//!   the others, so its questions wait for its disk. *Elected without it, it could after a crash vote
//!   for another in the same term*;
//! - a vote goes only to a log that is at least as long in terms of (term, index);
//! - a voter tells the highest promise that it has acknowledged, at the real vote (protocol, R9).

use super::{Replication, ReplicationEffect, Role, RoleState};
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{NodeId, Term};
use wire::message::{LogPosition, ReplicationMessage};

/// The answers to one round of questions.
#[derive(Clone, Debug)]
pub(super) struct Canvass {
    answers: BTreeMap<NodeId, bool>,
    /// The highest promise told.
    promised: Timestamp,
    /// When the questions were sent last.
    asked_at: Duration,
    /// What the leader of the term before handed over, if that began this candidacy.
    pub(super) handed_over: Option<Timestamp>,
}

impl Canvass {
    /// With the yes of the one who asks.
    fn begun_by(me: NodeId, now: Duration) -> Canvass {
        Canvass {
            answers: BTreeMap::from([(me, true)]),
            promised: Timestamp::ZERO,
            asked_at: now,
            handed_over: None,
        }
    }

    /// A yes stays a yes: a late "no" to a doubled question does not take it back.
    fn on_answer(&mut self, from: NodeId, granted: bool, promised: Timestamp) {
        *self.answers.entry(from).or_insert(granted) |= granted;
        self.promised = self.promised.max(promised);
    }

    fn granted_by(&self, member: NodeId) -> bool {
        self.answers.get(&member) == Some(&true)
    }
}

impl Replication {
    /// No leader was heard for long, or a round of questions ended without a leader.
    pub(super) fn on_election_timeout(
        &mut self,
        now: Duration,
        promised: Timestamp,
        out: &mut Vec<ReplicationEffect>,
    ) {
        self.role = RoleState::PreCandidate(Canvass::begun_by(self.me, now));
        self.restart_election_timer(now);
        self.ask(out);
        self.maybe_become_candidate(now, promised, out);
    }

    fn maybe_become_candidate(
        &mut self,
        now: Duration,
        promised: Timestamp,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let RoleState::PreCandidate(canvass) = &self.role else {
            return;
        };
        if !self.quorum.is_reached(|member| canvass.granted_by(member)) {
            return;
        }
        self.stand(now, promised, None, out);
    }

    /// Asks for votes in the next term.
    pub(super) fn stand(
        &mut self,
        now: Duration,
        promised: Timestamp,
        handed_over: Option<Timestamp>,
        out: &mut Vec<ReplicationEffect>,
    ) {
        self.generation.maybe_move_to(self.term().next());
        self.generation.vote_for(self.me);
        self.role = RoleState::Candidate(Canvass {
            handed_over,
            ..Canvass::begun_by(self.me, now)
        });
        self.restart_election_timer(now);
        out.push(self.hard_state());
        self.maybe_drop_unfinished(out);
        out.push(ReplicationEffect::BecameCandidate { term: self.term() });
        self.ask(out);
        self.maybe_win(now, promised, out);
    }

    fn maybe_win(&mut self, now: Duration, promised: Timestamp, out: &mut Vec<ReplicationEffect>) {
        let RoleState::Candidate(canvass) = &self.role else {
            return;
        };
        if self.quorum.is_reached(|member| canvass.granted_by(member)) {
            let (told, handed_over) = (canvass.promised, canvass.handed_over);
            self.become_leader(now, told.max(promised), handed_over, out);
        }
    }

    /// Asks everybody who has not answered, again after a while: questions may be lost.
    pub(super) fn maybe_ask_again(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        let (RoleState::PreCandidate(canvass) | RoleState::Candidate(canvass)) = &mut self.role
        else {
            return;
        };
        if now.saturating_sub(canvass.asked_at) < self.timing.heartbeat {
            return;
        }
        canvass.asked_at = now;
        let answers: BTreeSet<NodeId> = canvass.answers.keys().copied().collect();
        self.ask(out);
        // A voter that lost its disk may not know that it is one, and may be needed.
        let silent = self.others().filter(|other| !answers.contains(other));
        self.invite(silent.collect(), out);
    }

    fn ask(&self, out: &mut Vec<ReplicationEffect>) {
        let last = self.last();
        let (canvass, message, after_log) = match &self.role {
            RoleState::PreCandidate(canvass) => {
                let term = self.term().next();
                (canvass, ReplicationMessage::PreVote { term, last }, false)
            }
            RoleState::Candidate(canvass) => {
                let term = self.term();
                (canvass, ReplicationMessage::Vote { term, last }, true)
            }
            _ => return,
        };
        for to in self.others() {
            if !canvass.answers.contains_key(&to) {
                let message = message.clone();
                out.push(ReplicationEffect::Send {
                    to,
                    message,
                    after_log,
                });
            }
        }
    }

    pub(super) fn on_pre_vote(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        last: LogPosition,
        out: &mut Vec<ReplicationEffect>,
    ) {
        self.maybe_tell_removed(from, out);
        let granted = term > self.term() && last >= self.least_end() && !self.hears_leader(now);
        let term = if granted { term } else { self.term() };
        out.push(ReplicationEffect::Send {
            to: from,
            message: ReplicationMessage::PreVoteReply { term, granted },
            after_log: false,
        });
    }

    /// Whether a leader was heard within the shortest election timeout. A leader hears itself.
    pub(super) fn hears_leader(&self, now: Duration) -> bool {
        let heard_lately = |heard| now.saturating_sub(heard) < self.timing.election_timeout;
        self.role() == Role::Leader || self.leader_heard.is_some_and(heard_lately)
    }

    pub(super) fn on_pre_vote_reply(
        &mut self,
        now: Duration,
        promised: Timestamp,
        from: NodeId,
        term: Term,
        granted: bool,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if !granted && term > self.term() {
            return self.become_follower(now, term, None, out);
        }
        let asked = self.term().next();
        let RoleState::PreCandidate(canvass) = &mut self.role else {
            return;
        };
        if granted && term != asked {
            return;
        }
        canvass.on_answer(from, granted, Timestamp::ZERO);
        self.maybe_become_candidate(now, promised, out);
    }

    pub(super) fn on_vote(
        &mut self,
        now: Duration,
        promised: Timestamp,
        from: NodeId,
        term: Term,
        last: LogPosition,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let is_stranger = !self.configured().configuration.has_voter(from);
        if is_stranger && self.hears_leader(now) {
            // It does not know that it was removed; heard, it would end one leadership after another.
            return self.maybe_tell_removed(from, out);
        }
        let moved = self.generation.maybe_move_to(term);
        let granted =
            term == self.term() && last >= self.least_end() && self.generation.may_vote_for(from);
        if granted {
            self.generation.vote_for(from);
            self.restart_election_timer(now);
        }
        // Also for a vote that was given before: it may not be durable yet, and its answer waits for
        // what is logged in this turn.
        if moved || granted {
            out.push(self.hard_state());
        }
        if moved {
            self.follow(now, None, out);
            self.maybe_drop_unfinished(out);
        }
        out.push(ReplicationEffect::Send {
            to: from,
            message: ReplicationMessage::VoteReply {
                term: self.term(),
                granted,
                promised,
            },
            after_log: true,
        });
    }

    pub(super) fn on_vote_reply(
        &mut self,
        now: Duration,
        promised: Timestamp,
        from: NodeId,
        term: Term,
        granted: bool,
        told: Timestamp,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if term > self.term() {
            return self.become_follower(now, term, None, out);
        }
        if term < self.term() {
            return;
        }
        if let RoleState::Candidate(canvass) = &mut self.role {
            canvass.on_answer(from, granted, told);
            self.maybe_win(now, promised, out);
        }
    }
}
