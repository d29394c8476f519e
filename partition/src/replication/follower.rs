//! Following a leader (Ongaro 2014, sections 3.5 and 10.2).
//!
//! ```text
//!   Append ──► log (in memory, LogEntry) ──► end of turn: Appended ··· held until the disk has it ···►
//! ```
//!
//! One `Appended` answers all `Append`s of a turn. It says no more than what is durable when it
//! leaves: everything, if it waits for the disk together with entries of this turn (the log on disk is
//! one ordered file); else what the disk has reported. The rest is said when the disk reports it.
//!
//! Invariants:
//! - nothing at or below the high-water mark is replaced;
//! - what is acknowledged is durable and equal to the leader's log;
//! - an `Append` is refused only for a real gap or mismatch, or by a later term.

use super::{Replication, ReplicationEffect, RoleState};
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{Entry, LogPosition, ReplicationMessage};

/// What a follower knows of its leader.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    leader: Option<NodeId>,
    /// Up to here the log is known to be this leader's.
    matched: LogIndex,
    /// The highest index acknowledged to this leader.
    told: LogIndex,
    /// Whether an `Append` waits for its answer.
    owes_answer: bool,
}

impl Follower {
    /// Of a leader of whom nothing is known but that it holds what is committed.
    pub(super) fn of(leader: Option<NodeId>, commit: LogIndex, durable: LogIndex) -> Follower {
        Follower {
            leader,
            matched: commit,
            told: commit.min(durable),
            owes_answer: false,
        }
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The leader waits to hear that everything up to here is held.
    pub(super) fn owe_answer(&mut self, matched: LogIndex) {
        self.matched = self.matched.max(matched);
        self.owes_answer = true;
    }

    /// Asserts what must hold if the log ends at `last`.
    pub(super) fn invariants(&self, last: LogIndex) {
        assert!(
            self.told <= self.matched && self.matched <= last,
            "acknowledged {} <= known to match {} <= last {last}",
            self.told,
            self.matched
        );
    }
}

impl Replication {
    /// Moves to the term if it is later, and follows `leader` in it.
    pub(super) fn become_follower(
        &mut self,
        now: Duration,
        term: Term,
        leader: Option<NodeId>,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if self.generation.maybe_move_to(term) {
            out.push(self.hard_state());
        }
        self.follow(now, leader, out);
        self.maybe_drop_unfinished(out);
    }

    /// Follows `leader` in the present term.
    pub(super) fn follow(
        &mut self,
        now: Duration,
        leader: Option<NodeId>,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if !matches!(self.role, RoleState::Follower(_)) {
            self.restart_election_timer(now);
        }
        self.end_transfer(out);
        let (commit, durable) = (self.commit(), self.durable());
        self.role = RoleState::Follower(Follower::of(leader, commit, durable));
        out.push(ReplicationEffect::BecameFollower {
            term: self.term(),
            leader,
        });
    }

    /// A leader of this term or a later one was heard.
    pub(super) fn on_leader_heard(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let known = self.leader();
        if term > self.term() || known.is_none() {
            self.become_follower(now, term, Some(from), out);
        } else {
            assert_eq!(
                known,
                Some(from),
                "at most one leader a term: {from} says that it leads in {term}"
            );
        }
        self.leader_heard = Some(now);
        self.restart_election_timer(now);
    }

    pub(super) fn on_append(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        previous: LogPosition,
        entries: Vec<Entry>,
        commit: LogIndex,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if term < self.term() {
            let hint = self.last().index;
            return self.refuse(from, previous, hint, out);
        }
        self.on_leader_heard(now, from, term, out);
        if previous.index > self.commit() && !self.log.holds(previous) {
            let hint = self.hint(previous);
            self.speak_of_snapshot(out);
            return self.refuse(from, previous, hint, out);
        }
        let is_news_only = entries.is_empty();
        let matched = LogIndex(previous.index.0 + entries.len() as u64);
        if !self.maybe_take_entries(entries, out) {
            return;
        }
        let rose = self.maybe_commit(commit.min(matched), out);
        let RoleState::Follower(follower) = &mut self.role else {
            unreachable!("whoever heard a leader follows it");
        };
        follower.matched = follower.matched.max(matched);
        // A message that only brought a higher commit index needs no answer, or each commit would
        // cost one more.
        let answered_before = is_news_only && rose && follower.told >= previous.index;
        follower.owes_answer |= !answered_before;
    }

    /// Appends what the log lacks, in place of what conflicts. Takes nothing while entries that would
    /// be replaced are still on their way to the disk: the leader sends again.
    fn maybe_take_entries(
        &mut self,
        entries: Vec<Entry>,
        out: &mut Vec<ReplicationEffect>,
    ) -> bool {
        let known = entries
            .iter()
            .take_while(|entry| {
                entry.index <= self.base().index || self.log.holds(entry.position())
            })
            .count();
        let Some(first) = entries.get(known) else {
            return true;
        };
        if first.index <= self.last().index {
            assert!(
                first.index > self.commit(),
                "what is committed is never replaced: {:?}, the high-water mark is {}",
                first.position(),
                self.commit()
            );
            if self.durable() < self.last().index {
                return false;
            }
            self.log.truncate_from(first.index);
            self.configurations.on_truncated(first.index);
            self.reconfigure();
        }
        for entry in entries.into_iter().skip(known) {
            self.append(entry, out);
        }
        true
    }

    /// Where the leader should try next: below what cannot match, and no lower than what is committed.
    ///
    /// Of a run of entries of an older term than the leader's, none is likely to match, so the whole
    /// run is skipped; should the leader hold a part of it, it is sent once more in vain.
    fn hint(&self, previous: LogPosition) -> LogIndex {
        let last = self.last().index;
        if previous.index > last {
            return last;
        }
        let here = self
            .term_at(previous.index)
            .expect("what is above the high-water mark and not beyond the end is in the log");
        let cannot_match = |term: Term| match here > previous.term {
            true => term > previous.term,
            false => term == here,
        };
        let mut hint = previous.index;
        while hint > self.commit() && self.term_at(hint).is_some_and(cannot_match) {
            hint = LogIndex(hint.0 - 1);
        }
        hint
    }

    fn refuse(
        &self,
        to: NodeId,
        previous: LogPosition,
        hint: LogIndex,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let message = ReplicationMessage::AppendRefused {
            term: self.term(),
            previous,
            hint,
        };
        out.push(ReplicationEffect::Send {
            to,
            message,
            after_log: false,
        });
    }

    /// At the end of a turn: answers its `Append`s, and says what has become durable.
    pub(super) fn acknowledge(&mut self, out: &mut Vec<ReplicationEffect>) {
        let (term, durable) = (self.term(), self.durable());
        let RoleState::Follower(follower) = &mut self.role else {
            return;
        };
        let Some(to) = follower.leader else { return };
        let matched = match self.logged_in_turn {
            true => follower.matched,
            false => follower.matched.min(durable),
        };
        if !follower.owes_answer && matched <= follower.told {
            return;
        }
        follower.owes_answer = false;
        follower.told = follower.told.max(matched);
        out.push(ReplicationEffect::Send {
            to,
            message: ReplicationMessage::Appended { term, matched },
            after_log: true,
        });
    }
}
