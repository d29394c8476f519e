//! Changes of members (joint consensus; Ongaro 2014, chapter 4).
//!
//! ```text
//!   {1 2 3}  ─► {1 2 3} + 4 learns  ─► {1 2 4} and {1 2 3}, both decide  ─► {1 2 4}
//!               gets the log,           from the moment that the entry       once the one before
//!               decides nothing         is in the log                        is committed
//! ```
//!
//! A member without a replica hears `Join` and begins one; a member that is none any more hears `Removed`
//! when it asks anything of those who know.
//!
//! Invariants:
//! - one change at a time: the next entry that brings a configuration is proposed when the last one is
//!   committed, and an entry of the leader's own term is (*else two majorities that share nobody could
//!   each commit one*; Ongaro's correction of 2015);
//! - voters are exchanged by way of both sets only, and a new voter holds nearly all of the log;
//! - a leader that is no voter any more counts itself for nothing, and follows once that is committed;
//! - whoever is no member disturbs nobody: while a leader is heard, a stranger's `Vote` is not heard
//!   (section 4.2.3). A member's is: pre-votes have asked, and a planned transfer needs no flag;
//! - what a stranger answers counts for nothing;
//! - whoever hears a leader is a member, however old its log: leaders speak to members only. It does not go
//!   then. *One that was named anew, and went by the entry that removed it before, would drop what its leader
//!   counts on.*
//!
//! A candidate may be a stranger to a member whose log lacks the change, and is voted for like any other. A
//! member that its own log calls no voter stands nevertheless while that is not known to be committed:
//! it may be the only one with the entry (section 4.2.2).

use super::configuration::{ConfigurationEntry, without};
use super::leader::LostLearner;
use super::progress::Progress;
use super::{Replication, ReplicationEffect, RoleState};
use clock::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::ids::{LogIndex, NodeId};
use wire::message::{Configuration, Configured, LogPosition, ReplicationMessage};

/// A learner that lacks no more than so many entries of what is committed has caught up.
pub const CAUGHT_UP_ENTRIES: u64 = 256;

/// One step of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// These learn from now on, and nobody else.
    Learners(BTreeSet<NodeId>),
    /// These take the voters' place: both sets decide from now on. Whoever else learns does so no more.
    Voters(BTreeSet<NodeId>),
    /// The new set alone decides from now on.
    Leave,
    /// The same members once more, for learners that lost their memory: they may begin as new ones by it.
    Anew,
}

/// Why a change is not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeRefused {
    /// Only a leader changes members.
    #[error("this replica does not lead: ask its leader, {}", leader.map_or_else(|| "not known yet".to_owned(), |leader| leader.to_string()))]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// It has just been elected.
    #[error(
        "the leader has just been elected and has committed nothing yet: try again in a moment"
    )]
    Electing,
    /// One change at a time.
    #[error("a change of members is under way since entry {}: try again when it has ended", since.index)]
    UnderWay {
        /// The entry that began it.
        since: LogPosition,
    },
    /// The leadership is being handed over.
    #[error("the leadership is being handed over: ask the next leader")]
    Transferring,
    /// There is no set of voters without members.
    #[error("a partition cannot be without members: name at least one")]
    Empty,
    /// It has to learn first.
    #[error("{member} is no member yet: it has to learn before it votes")]
    UnknownMember {
        /// Who.
        member: NodeId,
    },
    /// It would hold up what is to be committed.
    #[error(
        "{member} lacks {entries} entries, or is not heard: is it up? It votes once it has caught up"
    )]
    NotCaughtUp {
        /// Who.
        member: NodeId,
        /// What it lacks, as far as is known.
        entries: u64,
    },
    /// A voter cannot become a learner.
    #[error("{member} votes, so it learns already")]
    VotesAlready {
        /// Who.
        member: NodeId,
    },
    /// All is as wanted.
    #[error("the members are already as wanted")]
    NothingChanges,
    /// The leadership ended with the change under way: the next leader ends it, or it never was.
    #[error(
        "the leadership was lost meanwhile: see whether the change came about, else ask the next leader"
    )]
    LeadershipLost,
}

impl Replication {
    /// The configuration that holds, and the entry that brought it.
    pub fn configured(&self) -> &Configured {
        self.configurations.latest()
    }

    /// The configuration as of an index that is not below the base.
    pub fn configured_at(&self, index: LogIndex) -> &Configured {
        self.configurations.up_to(index)
    }

    /// Whether the configuration that holds is committed.
    pub fn is_configuration_committed(&self) -> bool {
        self.configured().at == self.configured_at(self.commit()).at
    }

    /// What elections, commits and promises need.
    pub fn quorum(&self) -> &super::Quorum {
        &self.quorum
    }

    /// Makes one step of a change of members. `promised`: nothing was answered above it by this leader, or
    /// by any before that still may (protocol, R9), nor will be before the entry is committed.
    ///
    /// # Errors
    /// If this is not the time for it; then nothing has happened.
    pub fn propose_change(
        &mut self,
        now: Duration,
        change: &Change,
        promised: Timestamp,
        out: &mut Vec<ReplicationEffect>,
    ) -> Result<LogPosition, ChangeRefused> {
        let configuration = self.changed(now, change)?;
        let entry = ConfigurationEntry {
            configuration,
            promised,
        };
        let position = self.append_of_term(entry.encode(), out);
        self.follow_members(now);
        if let RoleState::Leader(leader) = &mut self.role {
            for lost in leader.lost_learners.values_mut() {
                lost.named.get_or_insert(position);
            }
        }
        Ok(position)
    }

    /// A learner asks what it may have forgotten. Others count on it for nothing, so it need not remember:
    /// it may begin as a new one, by an entry that is proposed from now on.
    pub(super) fn note_lost_learner(&mut self, learner: NodeId, nonce: u64) {
        let configuration = &self.configurations.latest().configuration;
        let is_learner = configuration.learners.contains(&learner);
        if let RoleState::Leader(leader) = &mut self.role
            && is_learner
        {
            let asks = LostLearner { nonce, named: None };
            let known = leader.lost_learners.entry(learner).or_insert(asks);
            if known.nonce != nonce {
                *known = asks;
            }
        }
    }

    /// Whether a learner has lost its memory and was not named since ([`Change::Anew`]).
    pub fn wants_naming_anew(&self) -> bool {
        match &self.role {
            RoleState::Leader(leader) => {
                let mut lost = leader.lost_learners.values();
                lost.any(|lost| lost.named.is_none())
            }
            _ => false,
        }
    }

    /// The question of a member's that the configuration that holds answers, if that is committed.
    fn named_since(&self, member: NodeId) -> Option<u64> {
        let RoleState::Leader(leader) = &self.role else {
            return None;
        };
        let lost = leader.lost_learners.get(&member)?;
        let is_named = lost.named.is_some_and(|at| at <= self.configured().at);
        (is_named && self.is_configuration_committed()).then_some(lost.nonce)
    }

    /// What the members are after a step of a change.
    fn changed(&self, now: Duration, change: &Change) -> Result<Configuration, ChangeRefused> {
        self.check_may_change()?;
        let present = &self.configured().configuration;
        match change {
            Change::Leave if present.is_joint() => {
                Ok(Configuration::of(present.voters.iter().copied()))
            }
            Change::Leave => Err(ChangeRefused::NothingChanges),
            Change::Anew if !self.wants_naming_anew() => Err(ChangeRefused::NothingChanges),
            _ if present.is_joint() => Err(ChangeRefused::UnderWay {
                since: self.configured().at,
            }),
            Change::Anew => Ok(present.clone()),
            Change::Learners(learners) if *learners == present.learners => {
                Err(ChangeRefused::NothingChanges)
            }
            Change::Learners(learners) => {
                if let Some(member) = learners.intersection(&present.voters).next() {
                    return Err(ChangeRefused::VotesAlready { member: *member });
                }
                let mut changed = present.clone();
                changed.learners.clone_from(learners);
                Ok(changed)
            }
            Change::Voters(voters) => {
                self.check_voters(now, present, voters)?;
                Ok(Configuration {
                    voters: voters.clone(),
                    outgoing: present.voters.clone(),
                    learners: BTreeSet::new(),
                })
            }
        }
    }

    /// One change at a time, and only by a leader that knows what is committed.
    fn check_may_change(&self) -> Result<(), ChangeRefused> {
        let RoleState::Leader(leader) = &self.role else {
            let leader = self.leader();
            return Err(ChangeRefused::NotLeader { leader });
        };
        if leader.transfer.is_some() {
            return Err(ChangeRefused::Transferring);
        }
        if !self.first_of_term_committed() {
            return Err(ChangeRefused::Electing);
        }
        if !self.is_configuration_committed() {
            let since = self.configured().at;
            return Err(ChangeRefused::UnderWay { since });
        }
        Ok(())
    }

    fn check_voters(
        &self,
        now: Duration,
        present: &Configuration,
        voters: &BTreeSet<NodeId>,
    ) -> Result<(), ChangeRefused> {
        if voters.is_empty() {
            return Err(ChangeRefused::Empty);
        }
        if *voters == present.voters {
            return Err(ChangeRefused::NothingChanges);
        }
        for member in without(voters, &present.voters) {
            if !present.learners.contains(&member) {
                return Err(ChangeRefused::UnknownMember { member });
            }
            if !self.has_caught_up(now, member) {
                let entries = self.commit().0.saturating_sub(self.matched_by(member).0);
                return Err(ChangeRefused::NotCaughtUp { member, entries });
            }
        }
        Ok(())
    }

    /// Whether a learner is heard and holds nearly everything, the entry that made it one included.
    fn has_caught_up(&self, now: Duration, member: NodeId) -> bool {
        let RoleState::Leader(leader) = &self.role else {
            return false;
        };
        let Some(progress) = leader.followers.get(&member) else {
            return false;
        };
        let is_heard = now.saturating_sub(progress.contact()) < self.timing.election_timeout;
        let lacks = self.commit().0.saturating_sub(progress.matched().0);
        let knows_of_it = progress.matched() >= self.configured().at.index;
        is_heard && knows_of_it && lacks <= CAUGHT_UP_ENTRIES
    }

    /// A leader replicates to all members, and to nobody else.
    fn follow_members(&mut self, now: Duration) {
        let next = self.last().index.next();
        let me = self.me;
        let members = self.configured().configuration.members();
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let gone = leader.followers.keys().filter(|f| !members.contains(f));
        leader.leaving = gone.copied().collect();
        leader.followers.retain(|f, _| members.contains(f));
        let learners = &self.configurations.latest().configuration.learners;
        leader.lost_learners.retain(|l, _| learners.contains(l));
        for member in members {
            if member != me && !leader.followers.contains_key(&member) {
                let progress = Progress::new(next, now);
                leader.followers.insert(member, progress);
            }
        }
    }

    /// Another configuration holds from now on.
    pub(super) fn reconfigure(&mut self) {
        self.quorum = super::configuration::quorum_of(&self.configured().configuration);
    }

    /// Whether this replica may lead: it votes, or did by the last configuration that is known to be
    /// committed.
    pub(super) fn may_stand(&self) -> bool {
        let committed = self.configured_at(self.commit());
        [self.configured(), committed]
            .iter()
            .any(|configured| configured.configuration.has_voter(self.me))
    }

    /// At the end of a turn: a leader that is no member any more has told everybody of it and makes room;
    /// whoever finds itself removed says so.
    pub(super) fn maybe_leave(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        let me = self.me;
        let configuration = &self.configured().configuration;
        let is_due = match &self.role {
            RoleState::Leader(leader) => !leader.leaving.is_empty() || !configuration.has_voter(me),
            _ => !self.is_removed && !configuration.has_member(me) && !self.hears_leader(now),
        };
        if !is_due || !self.is_configuration_committed() {
            return;
        }
        let (configured, as_of) = (self.configured().clone(), self.committed());
        if let RoleState::Leader(leader) = &mut self.role {
            for to in std::mem::take(&mut leader.leaving) {
                if to != me {
                    tell_removed(to, &configured, as_of, out);
                }
            }
            if configured.configuration.has_voter(me) {
                return;
            }
            self.follow(now, None, out);
        }
        // What no entry has said is the founding's business, not a removal.
        let is_change = configured.at > LogPosition::default();
        if is_change && !configured.configuration.has_member(me) && !self.has_forgotten() {
            self.maybe_be_removed(configured, as_of, out);
        }
    }

    /// Says once that this replica is removed.
    pub(super) fn maybe_be_removed(
        &mut self,
        configured: Configured,
        as_of: LogPosition,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if !self.is_removed {
            self.is_removed = true;
            out.push(ReplicationEffect::Removed { configured, as_of });
        }
    }

    /// Somebody says that this configuration is the last one up to a position, and both are committed. So
    /// what named this replica there or before is over, or never came about. It may be late: whoever hears a
    /// leader was named anew since, or asks again when it hears it no more.
    pub(super) fn on_removed(
        &mut self,
        now: Duration,
        told: Configured,
        as_of: LogPosition,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if self.is_asking() {
            return self.on_removed_while_asking(told, as_of, out);
        }
        let known = self.configured().at.max(self.floor());
        let names_me = told.configuration.has_member(self.me);
        if as_of >= known && !names_me && !self.hears_leader(now) {
            self.maybe_be_removed(told, as_of, out);
        }
    }

    /// The last position that is known to be committed.
    fn committed(&self) -> LogPosition {
        let index = self.commit();
        let term = self.term_at(index);
        let term = term.expect("the high-water mark is not below the base, nor beyond the end");
        LogPosition { term, index }
    }

    /// Whether a node is none of the members, by what is committed and by what holds: then it is told so,
    /// if it asks for something. Also by the founding's: it may have begun by a change that never came about.
    pub(super) fn maybe_tell_removed(&self, to: NodeId, out: &mut Vec<ReplicationEffect>) {
        let committed = self.configured_at(self.commit());
        let is_member = |configured: &Configured| configured.configuration.has_member(to);
        if self.commit() > LogIndex(0) && !is_member(committed) && !is_member(self.configured()) {
            tell_removed(to, committed, self.committed(), out);
        }
    }

    /// Says `Join` to members of whom nothing is heard: they may hold no replica.
    pub(super) fn invite(&self, strangers: Vec<NodeId>, out: &mut Vec<ReplicationEffect>) {
        if self.configured().at == LogPosition::default() {
            // Whoever was there at the founding holds a replica since.
            return;
        }
        for to in strangers {
            out.push(ReplicationEffect::Send {
                to,
                message: ReplicationMessage::Join {
                    configured: self.configured().clone(),
                    since: self.named_since(to),
                },
                after_log: false,
            });
        }
    }

    /// A learner that hears no leader asks whether it still is one: the voters that it knows, and every other
    /// node, since those may all have left.
    pub(super) fn ask_whether_member(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        self.restart_election_timer(now);
        let asked: BTreeSet<NodeId> = self.others().chain(self.other_nodes()).collect();
        for to in asked {
            out.push(ReplicationEffect::Send {
                to,
                // Nobody asks with this nonce for more than that.
                message: ReplicationMessage::AskMemory { nonce: 0 },
                after_log: false,
            });
        }
    }
}

fn tell_removed(
    to: NodeId,
    configured: &Configured,
    as_of: LogPosition,
    out: &mut Vec<ReplicationEffect>,
) {
    out.push(ReplicationEffect::Send {
        to,
        message: ReplicationMessage::Removed {
            configured: configured.clone(),
            as_of,
        },
        // A majority's logs have it already.
        after_log: false,
    });
}
