//! Replication of one partition's log: the members elect a leader, the leader appends, and what a
//! majority has on its disks is committed (patterns Replicated Log, Leader and Followers, Generation
//! Clock, Majority Quorum, High-Water Mark; Ongaro, *Consensus: Bridging Theory and Practice*, 2014).
//!
//! A state machine without IO. Bodies of entries are opaque. Its driver ends every turn with
//! [`Replication::flush`] and performs the effects in their order:
//!
//! ```text
//!   step, tick, propose,     ┌───────────┐ LogEntry, LogHardState ─► log ─┬─► on_durable
//!   on_heartbeat …       ───►│Replication│ Send ──────────► peers         │
//!   flush (ends a turn)      └───────────┘ Send, after_log ──── waits ────┴─► peers
//!
//!   base <= commit <= last      base <= durable <= last      commit and durable: either may be ahead
//! ```
//!
//! Invariants:
//! - at most one leader a term (`candidate`);
//! - logs that agree at an index and term agree below it (`follower`);
//! - a leader never replaces an entry of its log, and commits by counting only entries of its own term
//!   (`leader`);
//! - the high-water mark never moves back, and nothing at or below it is ever replaced;
//! - whatever others are told (a vote, an acknowledgement) is durable before it leaves.
//!
//! Heartbeats are none of its messages: one between two nodes speaks for all partitions (protocol, R9)
//! and comes in through [`Replication::on_heartbeat`], its answer through [`Replication::on_contact`] or
//! [`Replication::on_later_term`]. A partition whose leader is not heard for an election timeout elects
//! another.
//!
//! Whoever lacks what is discarded gets a snapshot (`snapshot_sending`, `snapshot_receiving`).
//!
//! Whoever has lost its memory takes no part until it may (`forgotten`).
//!
//! Members change by entries of the log (`configuration`, `joint_consensus`).

mod candidate;
mod configuration;
mod effect;
mod follower;
mod forgotten;
mod generation_clock;
mod high_water_mark;
mod joint_consensus;
mod leader;
mod majority_quorum;
mod progress;
mod replicated_log;
mod snapshot_receiving;
mod snapshot_sending;
mod transfer;

pub use configuration::{ConfigurationEntry, MARK};
pub use effect::{Recollection, ReplicationConfig, ReplicationEffect, ReplicationTiming, Role};
pub use joint_consensus::{CAUGHT_UP_ENTRIES, Change, ChangeRefused};
pub use majority_quorum::Quorum;
pub use progress::{
    APPEND_BYTES_MAX, APPEND_ENTRIES_MAX, IN_FLIGHT_APPENDS_MAX, IN_FLIGHT_BYTES_MAX,
    PROBE_BYTES_MAX,
};
pub use snapshot_receiving::Installed;
pub use snapshot_sending::{SNAPSHOT_CHUNKS_MAX, SNAPSHOT_HELD_TIMES};

use bytes::Bytes;
use candidate::Canvass;
use clock::Timestamp;
use configuration::{Configurations, quorum_of};
use follower::Follower;
use forgotten::Forgotten;
use generation_clock::GenerationClock;
use high_water_mark::HighWaterMark;
use leader::Leader;
use replicated_log::ReplicatedLog;
use snapshot_receiving::SnapshotReceiving;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{Entry, LogPosition, ReplicationMessage};

/// The replication core of one replica.
#[derive(Clone, Debug)]
pub struct Replication {
    me: NodeId,
    configurations: Configurations,
    /// All nodes of the cluster, members or not.
    nodes: BTreeSet<NodeId>,
    /// Of the configuration that holds.
    quorum: Quorum,
    timing: ReplicationTiming,
    random: SplitMix64,
    generation: GenerationClock,
    log: ReplicatedLog,
    commit: HighWaterMark,
    role: RoleState,
    /// When votes are asked for (or asked for again) if no leader is heard before.
    election_due: Duration,
    /// When a leader was heard last.
    leader_heard: Option<Duration>,
    /// Whether an entry was logged since the last flush.
    logged_in_turn: bool,
    /// Whether it may ask for votes.
    electable: bool,
    /// A snapshot that comes in.
    receiving: Option<SnapshotReceiving>,
    /// It has lost its memory.
    forgotten: Option<Forgotten>,
    /// It has said that it is no member any more.
    is_removed: bool,
}

#[derive(Clone, Debug)]
enum RoleState {
    Follower(Follower),
    PreCandidate(Canvass),
    Candidate(Canvass),
    Leader(Box<Leader>),
}

impl Replication {
    /// A replica as its log remembers it: all given entries are durable and follow `base`.
    ///
    /// `commit` is what is known to be committed, for example because the store holds it. The store
    /// may hold more than the log where an entry was applied before the own disk had it: what lies
    /// beyond the end of the log is not counted, and comes again from the others.
    ///
    /// `now` is monotonic time. A replica without others elects itself at the first tick.
    pub fn new(
        config: ReplicationConfig,
        term: Term,
        voted_for: Option<NodeId>,
        base: LogPosition,
        entries: Vec<Entry>,
        commit: LogIndex,
        now: Duration,
    ) -> Replication {
        let ReplicationConfig {
            me,
            configured,
            carried,
            told,
            nodes,
            timing,
            seed,
            memory,
        } = config;
        assert!(
            timing.heartbeat * 2 <= timing.election_timeout,
            "a lost heartbeat is no reason for an election: {:?} against {:?}",
            timing.heartbeat,
            timing.election_timeout
        );
        let mut configurations = Configurations::new(configured, carried, &entries);
        let log = ReplicatedLog::new(base, entries);
        if let Some(told) = told {
            configurations.on_told(&told, log.last());
        }
        assert!(
            term >= log.last().term,
            "the term is logged before its entries: {term} against {:?}",
            log.last()
        );
        let commit = commit.clamp(base.index, log.last().index);
        let mut replication = Replication {
            me,
            quorum: quorum_of(&configurations.latest().configuration),
            configurations,
            nodes,
            timing,
            random: SplitMix64::new(seed),
            generation: GenerationClock::new(term, voted_for),
            role: RoleState::Follower(Follower::of(None, commit, log.durable())),
            log,
            commit: HighWaterMark::new(commit),
            election_due: now,
            leader_heard: None,
            logged_in_turn: false,
            electable: true,
            receiving: None,
            forgotten: None,
            is_removed: false,
        };
        replication.forgotten = match memory {
            Recollection::Whole => None,
            Recollection::Lost => {
                let nonce = replication.random.next_u64().max(1);
                Some(Forgotten::new(nonce))
            }
            Recollection::BegunAt(position) => Some(Forgotten::begun_at(position)),
        };
        replication.restart_election_timer(now);
        replication
    }

    /// A message of another member came in.
    ///
    /// `promised` is the highest promise that this node has acknowledged to anyone (protocol, R9).
    pub fn step(
        &mut self,
        now: Duration,
        promised: Timestamp,
        from: NodeId,
        message: ReplicationMessage,
        out: &mut Vec<ReplicationEffect>,
    ) {
        use ReplicationMessage as M;
        if from == self.me || self.is_to_be_ignored(from, &message) {
            return;
        }
        // Whoever starts from a change of members has heard of the promise that it carried (R9).
        let promised = promised.max(self.configurations.promised());
        match message {
            M::Join { configured, since } => self.on_join(from, &configured, since, out),
            M::Removed { configured, as_of } => self.on_removed(now, configured, as_of, out),
            M::AskMemory { nonce } => self.on_ask_memory(promised, from, nonce, out),
            M::Memory { nonce, memory } => self.on_memory(from, nonce, memory, out),
            M::PreVote { term, last } => self.on_pre_vote(now, from, term, last, out),
            M::PreVoteReply { term, granted } => {
                self.on_pre_vote_reply(now, promised, from, term, granted, out);
            }
            M::Vote { term, last } => self.on_vote(now, promised, from, term, last, out),
            M::VoteReply {
                term,
                granted,
                promised: told,
            } => self.on_vote_reply(now, promised, from, term, granted, told, out),
            M::Append {
                term,
                previous,
                entries,
                commit,
            } => self.on_append(now, from, term, previous, entries, commit, out),
            M::Appended { term, matched } => self.on_appended(now, from, term, matched, out),
            M::AppendRefused {
                term,
                previous,
                hint,
            } => self.on_append_refused(now, from, term, previous, hint, out),
            // Whoever has forgotten stands for nothing.
            M::HandOver { .. } if self.has_forgotten() => {}
            M::HandOver { term, high_water } => {
                self.on_hand_over(now, promised, from, term, high_water, out);
            }
            M::Snapshot {
                term,
                number,
                chunk,
            } => self.on_snapshot(now, from, term, number, chunk, out),
            M::SnapshotReceived {
                term,
                number,
                chunks,
            } => self.on_snapshot_received(now, from, term, number, chunks, out),
        }
    }

    /// Whether a message says nothing to this replica.
    fn is_to_be_ignored(&mut self, from: NodeId, message: &ReplicationMessage) -> bool {
        use ReplicationMessage as M;
        if self.is_asking() {
            // It cannot know what it would contradict. But who leads can tell it who its members are.
            if let M::Append { .. } | M::Snapshot { .. } = message {
                self.ask_also(from);
            }
            return !matches!(
                message,
                M::AskMemory { .. } | M::Memory { .. } | M::Join { .. } | M::Removed { .. }
            );
        }
        let is_answer = matches!(
            message,
            M::PreVoteReply { .. }
                | M::VoteReply { .. }
                | M::Appended { .. }
                | M::AppendRefused { .. }
                | M::SnapshotReceived { .. }
        );
        is_answer && !self.configured().configuration.has_member(from)
    }

    /// Time has passed: elections, check-quorum, overdue answers.
    pub fn tick(&mut self, now: Duration, promised: Timestamp, out: &mut Vec<ReplicationEffect>) {
        let promised = promised.max(self.configurations.promised());
        self.ask_for_memory(now, out);
        if let RoleState::Leader(_) = self.role {
            self.on_leader_tick(now, out);
        } else if self.is_asking() {
            // It stands for nothing, and asks already.
        } else if now < self.election_due {
            self.maybe_ask_again(now, out);
        } else if self.has_forgotten() || !self.may_stand() {
            self.ask_whether_member(now, out);
        } else if self.electable {
            self.on_election_timeout(now, promised, out);
        }
    }

    /// Appends an entry if this replica leads, and says where. It is sent at the end of the turn
    /// ([`Replication::flush`]), beside the own disk. How much may wait to be committed is bounded by
    /// the caller.
    pub fn propose(
        &mut self,
        body: Bytes,
        out: &mut Vec<ReplicationEffect>,
    ) -> Option<LogPosition> {
        assert!(
            !self.is_draining() && self.handed_over_to().is_none(),
            "a leader that hands over proposes nothing more in {}",
            self.term()
        );
        match self.role {
            RoleState::Leader(_) => Some(self.append_of_term(body, out)),
            _ => None,
        }
    }

    /// Ends a turn: a leader sends to its followers what was appended or committed in it, a follower
    /// answers what it was sent. Must be called at the end of every turn, after all else.
    pub fn flush(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        if self.may_be_heard() {
            self.send_appends(now, out);
            self.send_snapshot(now, out);
        }
        self.maybe_leave(now, out);
        self.acknowledge(out);
        self.maybe_remember(out);
        self.logged_in_turn = false;
    }

    /// The own disk has everything up to here. A position that the log does not hold is ignored.
    pub fn on_durable(&mut self, position: LogPosition, out: &mut Vec<ReplicationEffect>) {
        if self.log.maybe_raise_durable(position) {
            self.maybe_commit_by_counting(out);
        }
    }

    /// A node-wide heartbeat says that `from` leads here, and that `commit` is committed and known to
    /// be held by this replica.
    ///
    /// # Errors
    /// This replica's term, if it is later: then nothing is acknowledged to `from`.
    pub fn on_heartbeat(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        commit: LogIndex,
        out: &mut Vec<ReplicationEffect>,
    ) -> Result<(), Term> {
        if self.is_asking() {
            // Nothing is acknowledged, and there is nothing to teach.
            return Err(Term(0));
        }
        if term < self.term() {
            return Err(self.term());
        }
        self.on_leader_heard(now, from, term, out);
        self.maybe_commit(commit, out);
        Ok(())
    }

    /// `from` has answered a heartbeat of this replica in this term.
    pub fn on_contact(&mut self, now: Duration, from: NodeId, term: Term) {
        self.contact(now, from, term);
    }

    /// The answer to a heartbeat names a later term: whoever led before it steps down.
    pub fn on_later_term(&mut self, now: Duration, term: Term, out: &mut Vec<ReplicationEffect>) {
        if term > self.term() && !self.is_asking() {
            self.become_follower(now, term, None, out);
        }
    }

    /// Asks for votes at the next tick, without waiting for a leader's silence: for a partition that was
    /// just founded, or whose nodes have perhaps all started again. Others still vote as they see fit, and
    /// those who hear a leader refuse the pre-vote.
    pub fn stand_now(&mut self, now: Duration) {
        self.election_due = now;
    }

    /// Follows nobody from now on, if it leads. The others notice by its silence.
    pub fn resign(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        if let RoleState::Leader(_) = self.role {
            self.follow(now, None, out);
        }
    }

    /// Whether it may ask for votes when it hears no leader. A node whose time source vouches for
    /// nothing takes no leadership (protocol, *Clocks talk*). True at first.
    pub fn set_electable(&mut self, electable: bool) {
        self.electable = electable;
    }

    /// Whether others may hear that it leads in its term: always, unless it elected itself alone and its
    /// vote may not be on its disk yet. *Heard of before, its term could after a crash be another's, or
    /// begin anew with other entries.*
    pub fn may_be_heard(&self) -> bool {
        match &self.role {
            RoleState::Leader(leader) => {
                let is_alone = self.quorum.is_reached(|member| member == self.me);
                !is_alone || self.durable() >= leader.first_of_term()
            }
            _ => false,
        }
    }

    /// What it is.
    pub fn role(&self) -> Role {
        match &self.role {
            RoleState::Follower(follower) => Role::Follower {
                leader: follower.leader(),
            },
            RoleState::PreCandidate(_) => Role::PreCandidate,
            RoleState::Candidate(_) => Role::Candidate,
            RoleState::Leader(_) => Role::Leader,
        }
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.generation.term()
    }

    /// Who leads in this term, as far as it knows.
    pub fn leader(&self) -> Option<NodeId> {
        match self.role() {
            Role::Follower { leader } => leader,
            Role::Leader => Some(self.me),
            Role::PreCandidate | Role::Candidate => None,
        }
    }

    /// Who leads in this term or, before anybody is known to, who has this follower's vote in it: whoever
    /// looks for the leader does best to ask there.
    pub fn likely_leader(&self) -> Option<NodeId> {
        let voted_for = match self.role {
            RoleState::Follower(_) => self.generation.voted_for(),
            _ => None,
        };
        let other = voted_for.filter(|member| *member != self.me);
        self.leader().or(other)
    }

    /// All members, this one included if it is one.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.configured().configuration.members().into_iter()
    }

    /// The high-water mark: everything up to it is durable at a majority.
    pub fn commit(&self) -> LogIndex {
        self.commit.index()
    }

    /// The end of the log.
    pub fn last(&self) -> LogPosition {
        self.log.last()
    }

    /// Up to here the own disk has reported everything.
    pub fn durable(&self) -> LogIndex {
        self.log.durable()
    }

    /// The last position that was discarded.
    pub fn base(&self) -> LogPosition {
        self.log.base()
    }

    /// The term of the entry at an index, if it is the base or above and not beyond the end.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }

    /// The entries of a range, without what is discarded or not yet there.
    pub fn entries(&self, range: RangeInclusive<LogIndex>) -> impl Iterator<Item = &Entry> {
        self.log.entries(range)
    }

    /// Whether it leads and an entry of its own term is committed: from then on its high-water mark
    /// is at or above that of every leader before it (Ongaro 2014, section 6.4).
    pub fn first_of_term_committed(&self) -> bool {
        match &self.role {
            RoleState::Leader(leader) => self.commit() >= leader.first_of_term(),
            _ => false,
        }
    }

    /// The highest promise told by its voters, itself included, when it became leader (protocol, R9).
    /// `None` if it does not lead.
    pub fn votes_promised(&self) -> Option<Timestamp> {
        match &self.role {
            RoleState::Leader(leader) => Some(leader.votes_promised()),
            _ => None,
        }
    }

    /// The high water that the leader before handed over for this very leadership (protocol, R9,
    /// *planned transfer*): it stands for all promises of leaders before. `None` if this replica was
    /// elected otherwise, or does not lead.
    pub fn handed_over(&self) -> Option<Timestamp> {
        match &self.role {
            RoleState::Leader(leader) => leader.handed_over(),
            _ => None,
        }
    }

    /// The lowest index that any member is known to hold durably, itself included: below it nobody
    /// needs the log. `None` if it does not lead: only a leader knows.
    pub fn matched_min(&self) -> Option<LogIndex> {
        match &self.role {
            RoleState::Leader(leader) => {
                let own = self.durable();
                Some(leader.matched_min().map_or(own, |others| others.min(own)))
            }
            _ => None,
        }
    }

    /// The commit index that a heartbeat may tell a follower: no more than the follower is known to
    /// hold. Zero if this replica does not lead.
    pub fn heartbeat_commit_for(&self, follower: NodeId) -> LogIndex {
        match &self.role {
            RoleState::Leader(leader) => leader.matched(follower).min(self.commit()),
            _ => LogIndex(0),
        }
    }

    /// Whether it leads and this follower has refused the base of the leader's log: the entries that
    /// it lacks are discarded.
    pub fn needs_snapshot(&self, follower: NodeId) -> bool {
        match &self.role {
            RoleState::Leader(leader) => leader.needs_snapshot(follower),
            _ => false,
        }
    }

    /// Forgets entries in memory, up to a committed position (pattern Low-Water Mark).
    pub fn discard(&mut self, up_to: LogPosition) {
        assert!(
            up_to.index <= self.commit(),
            "what is not committed may still be needed or replaced: {up_to:?} above {}",
            self.commit()
        );
        self.log.discard(up_to);
        self.configurations.on_discarded(self.log.base().index);
    }

    /// Asserts what must hold between any two turns, as far as it is cheap.
    pub fn invariants(&self) {
        let (base, commit) = (self.base(), self.commit());
        let (durable, last) = (self.durable(), self.last());
        assert!(
            base.index <= commit && commit <= last.index,
            "base {base:?} <= commit {commit} <= last {last:?}"
        );
        assert!(
            base.index <= durable && durable <= last.index,
            "base {base:?} <= durable {durable} <= last {last:?}"
        );
        assert!(
            last.term <= self.term(),
            "no entry is of a later term than its log: {last:?} against {}",
            self.term()
        );
        self.configurations.invariants(base.index, last);
        assert_eq!(
            self.quorum,
            quorum_of(&self.configured().configuration),
            "it counts by the configuration that holds, of {:?}",
            self.configured().at
        );
        match &self.role {
            RoleState::Leader(leader) => {
                assert_eq!(
                    last.term,
                    self.term(),
                    "a leader's last entry is of its term"
                );
                assert_eq!(
                    self.generation.voted_for(),
                    Some(self.me),
                    "a leader has its own vote"
                );
                leader.invariants(last.index);
            }
            RoleState::Candidate(_) => assert_eq!(
                self.generation.voted_for(),
                Some(self.me),
                "a candidate has its own vote"
            ),
            RoleState::Follower(follower) => follower.invariants(last.index),
            RoleState::PreCandidate(_) => {}
        }
    }

    /// Sets the next election timeout anew, at random in [t, 2t). A replica without others does not
    /// wait for them.
    fn restart_election_timer(&mut self, now: Duration) {
        if self.others().next().is_none() {
            self.election_due = now;
            return;
        }
        let timeout = self.timing.election_timeout;
        let extra = self.random.below(timeout.as_nanos() as u64);
        self.election_due = now + timeout + Duration::from_nanos(extra);
    }

    /// All voters but this one.
    fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.me;
        self.quorum
            .members()
            .into_iter()
            .filter(move |member| *member != me)
    }

    /// What is written to the log whenever term or vote change.
    fn hard_state(&self) -> ReplicationEffect {
        ReplicationEffect::LogHardState {
            term: self.generation.term(),
            voted_for: self.generation.voted_for(),
        }
    }

    /// Adds an entry to the log in memory and on disk.
    fn append(&mut self, entry: Entry, out: &mut Vec<ReplicationEffect>) {
        self.log.append(entry.clone());
        if self.configurations.on_appended(&entry) {
            self.reconfigure();
        }
        self.logged_in_turn = true;
        out.push(ReplicationEffect::LogEntry(entry));
    }

    /// Raises the high-water mark, if that is higher. Says whether.
    fn maybe_commit(&mut self, index: LogIndex, out: &mut Vec<ReplicationEffect>) -> bool {
        assert!(
            index <= self.last().index,
            "what is committed is in the log: {index} lies beyond {:?}",
            self.last()
        );
        let rose = self.commit.maybe_raise(index);
        if rose {
            out.push(ReplicationEffect::Committed { up_to: index });
        }
        rose
    }
}

#[cfg(test)]
mod tests;
