//! Leading (pattern Leader and Followers; Ongaro 2014, sections 3.5, 3.6.2, 6.2 and 10.2.1).
//!
//! ```text
//!   propose ─┬─► own log ───────────► own disk ──► durable ─┐
//!            └─► end of turn: Append ─► follower's disk ─► matched ─┴─► a majority ─► committed
//! ```
//!
//! The own disk works beside the followers' and counts like theirs.
//!
//! Invariants:
//! - a leader appends an empty entry of its term first, and never replaces an entry;
//! - only entries of its own term are committed by counting; those before them come along. *Counted
//!   themselves, they could still be replaced by a leader of a later term* (figure 3.7 there);
//! - a leader that is out of touch with a majority for an election timeout steps down (check-quorum).

use super::progress::{APPEND_ENTRIES_MAX, Progress, Ready, counted_bytes};
use super::replicated_log::ReplicatedLog;
use super::snapshot_sending::SnapshotSending;
use super::transfer::Transfer;
use super::{Replication, ReplicationEffect, RoleState};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{Entry, LogPosition, ReplicationMessage};

/// What a leader knows.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    pub(super) followers: BTreeMap<NodeId, Progress>,
    first_of_term: LogIndex,
    votes_promised: Timestamp,
    /// What the leader before handed over for this leadership.
    handed_over: Option<Timestamp>,
    /// Of the own leadership, to another.
    pub(super) transfer: Option<Transfer>,
    /// The snapshot on its way to a follower.
    pub(super) sending: Option<SnapshotSending>,
    pub(super) snapshots_begun: u64,
    pub(super) snapshot_last_to: Option<NodeId>,
    /// Who is no member by the last change, to be told once that is committed.
    pub(super) leaving: Vec<NodeId>,
    /// Learners that have asked what they may have forgotten.
    pub(super) lost_learners: BTreeMap<NodeId, LostLearner>,
}

/// A learner that has lost its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LostLearner {
    /// Of its question.
    pub(super) nonce: u64,
    /// The first entry since that names it.
    pub(super) named: Option<LogPosition>,
}

impl Leader {
    pub(super) fn first_of_term(&self) -> LogIndex {
        self.first_of_term
    }

    pub(super) fn votes_promised(&self) -> Timestamp {
        self.votes_promised
    }

    pub(super) fn handed_over(&self) -> Option<Timestamp> {
        self.handed_over
    }

    /// How far a follower is known to hold the log; zero for a stranger.
    pub(super) fn matched(&self, follower: NodeId) -> LogIndex {
        self.followers
            .get(&follower)
            .map_or(LogIndex(0), Progress::matched)
    }

    /// The least that any follower is known to hold, if there is one.
    pub(super) fn matched_min(&self) -> Option<LogIndex> {
        self.followers.values().map(Progress::matched).min()
    }

    pub(super) fn needs_snapshot(&self, follower: NodeId) -> bool {
        self.followers
            .get(&follower)
            .is_some_and(Progress::needs_snapshot)
    }

    /// Up to where the log is not needed by those who get a snapshot, or catch up after one.
    pub(super) fn needed_after_snapshots(&self) -> Option<LogIndex> {
        let sending = self.sending.as_ref().and_then(SnapshotSending::holds);
        let catching_up = self.followers.values().filter(|p| p.is_catching_up());
        catching_up.map(Progress::matched).chain(sending).min()
    }

    /// Asserts what must hold if the leader's log ends at `last`.
    pub(super) fn invariants(&self, last: LogIndex) {
        assert!(
            self.first_of_term <= last,
            "a leader's log holds an entry of its term: from {} on, but it ends at {last}",
            self.first_of_term
        );
        for progress in self.followers.values() {
            progress.invariants(last);
        }
    }
}

impl Replication {
    pub(super) fn become_leader(
        &mut self,
        now: Duration,
        votes_promised: Timestamp,
        handed_over: Option<Timestamp>,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let next = self.last().index.next();
        let me = self.me;
        let followers = self.members().filter(|member| *member != me);
        let followers = followers.map(|follower| (follower, Progress::new(next, now)));
        let followers = followers.collect();
        self.role = RoleState::Leader(Box::new(Leader {
            followers,
            first_of_term: next,
            votes_promised,
            handed_over,
            transfer: None,
            sending: None,
            snapshots_begun: 0,
            snapshot_last_to: None,
            leaving: Vec::new(),
            lost_learners: BTreeMap::new(),
        }));
        // It holds everything that is committed.
        self.drop_snapshot(out);
        out.push(ReplicationEffect::BecameLeader { term: self.term() });
        self.append_of_term(Bytes::new(), out);
    }

    /// Appends an entry of the present term.
    pub(super) fn append_of_term(
        &mut self,
        body: Bytes,
        out: &mut Vec<ReplicationEffect>,
    ) -> LogPosition {
        let entry = Entry {
            term: self.term(),
            index: self.last().index.next(),
            body,
        };
        self.append(entry, out);
        self.last()
    }

    /// At the end of a turn: sends what followers lack and may have on the way.
    pub(super) fn send_appends(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        let (term, commit) = (self.term(), self.commit());
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        for (to, progress) in &mut leader.followers {
            while let Some(ready) = progress.maybe_ready(self.log.base().index) {
                let entries = take_entries(&self.log, ready);
                if entries.is_empty() && !progress.wants_empty(commit) {
                    break;
                }
                progress.on_sent(&entries, commit, now);
                out.push(ReplicationEffect::Send {
                    to: *to,
                    message: ReplicationMessage::Append {
                        term,
                        previous: position_before(&self.log, ready.next),
                        entries,
                        commit,
                    },
                    after_log: false,
                });
            }
        }
    }

    pub(super) fn on_appended(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        matched: LogIndex,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let last = self.last();
        let Some(progress) = self.progress_in(now, from, term, out) else {
            return;
        };
        assert!(
            matched <= last.index,
            "a follower holds what it was sent: {from} says {matched}, the log ends at {last:?}"
        );
        if progress.on_appended(matched, now) {
            self.maybe_commit_by_counting(out);
            self.maybe_drain(now);
        }
    }

    pub(super) fn on_append_refused(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        previous: LogPosition,
        hint: LogIndex,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let base = self.base().index;
        if let Some(progress) = self.progress_in(now, from, term, out) {
            progress.on_refused(previous.index, hint, base, now);
        }
    }

    /// The progress of a follower, for an answer that it gave in `term`: none if this replica does not
    /// lead in that term, or no longer after hearing of a later one.
    pub(super) fn progress_in(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        out: &mut Vec<ReplicationEffect>,
    ) -> Option<&mut Progress> {
        if term > self.term() {
            self.become_follower(now, term, None, out);
        }
        let is_present = term == self.term();
        match &mut self.role {
            RoleState::Leader(leader) if is_present => leader.followers.get_mut(&from),
            _ => None,
        }
    }

    pub(super) fn contact(&mut self, now: Duration, from: NodeId, term: Term) {
        let is_present = term == self.term();
        if let RoleState::Leader(leader) = &mut self.role
            && is_present
            && let Some(progress) = leader.followers.get_mut(&from)
        {
            progress.on_contact(now);
        }
    }

    /// Commits what a quorum has on its disks, if it is of this term.
    pub(super) fn maybe_commit_by_counting(&mut self, out: &mut Vec<ReplicationEffect>) {
        let RoleState::Leader(leader) = &self.role else {
            return;
        };
        let reached = self
            .quorum
            .highest_reached_by_quorum(|member| match member == self.me {
                true => self.log.durable(),
                false => leader.matched(member),
            });
        if reached >= leader.first_of_term {
            self.maybe_commit(reached, out);
        }
    }

    /// Check-quorum and overdue answers.
    pub(super) fn on_leader_tick(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        let timing = self.timing;
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let in_touch_since = self.quorum.highest_reached_by_quorum(|member| {
            leader.followers.get(&member).map_or(now, Progress::contact)
        });
        if now.saturating_sub(in_touch_since) >= timing.election_timeout {
            return self.follow(now, None, out);
        }
        let mut strangers = Vec::new();
        for (member, progress) in &mut leader.followers {
            let is_overdue = progress.maybe_resend(now, timing.resend_after);
            if is_overdue && progress.is_silent(now, timing.election_timeout) {
                strangers.push(*member);
            }
        }
        self.invite(strangers, out);
        self.on_transfer_tick(now, out);
        self.tick_snapshot(now, out);
    }
}

/// The entries of one message.
fn take_entries(log: &ReplicatedLog, ready: Ready) -> Vec<Entry> {
    let mut bytes = 0;
    log.entries(ready.next..=log.last().index)
        .take(APPEND_ENTRIES_MAX)
        .take_while(|entry| {
            let is_first = bytes == 0;
            bytes += counted_bytes(entry);
            is_first || bytes <= ready.bytes_max
        })
        .cloned()
        .collect()
}

/// The position before `next`, which is not below the base.
fn position_before(log: &ReplicatedLog, next: LogIndex) -> LogPosition {
    let index = LogIndex(next.0 - 1);
    let term = log.term_at(index).unwrap_or_else(|| {
        panic!(
            "only what follows the base is sent: {next} is not in {:?}..={:?}",
            log.base(),
            log.last()
        )
    });
    LogPosition { term, index }
}
