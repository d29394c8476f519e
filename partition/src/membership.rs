//! Changes of a partition's members, as its leader drives them (joint consensus; Ongaro 2014, chapter 4;
//! protocol, R9).
//!
//! ```text
//!   wanted {1 2 4}:  4 learns ─► caught up ─► {1 2 4} and {1 2 3} ─► applied ─► {1 2 4} ─► applied: ended
//!                    (serves)                 [evaluates nothing]     (serves)   [evaluates nothing]
//! ```
//!
//! A new voter may never have heard of the promise that the old ones acknowledged, and could become a leader
//! that places writes below what its predecessor, cut off, still reads. So each change of voters carries the
//! promise as an entry of the log: whoever is elected by new voters holds the entry, and starts above it.
//!
//! Invariants
//! - From the proposal of a change of voters until it is applied, nothing is evaluated and the promise is
//!   not extended. The entry carries at least that promise, and what this leader itself started from.
//! - In between, and after, the promise is what the majorities that hold have acknowledged.
//! - Requests wait meanwhile, as they do for a transfer: none was evaluated.
//! - A leader that is to be no voter hands over first if it can; the next one ends the change.
//! - Whoever asked is told once what became of it; a leader that is elected with a change half made ends it
//!   whether anybody asks or not.
//!
//! Learners alone change no majority: their coming and going holds up nothing.

use crate::committed_state::CommittedState;
use crate::event::{ReplicaContext, ReplicaEffect};
use crate::replica::Replica;
use crate::replication::{Change, ChangeRefused};
use clock::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::ids::{LogIndex, NodeId};
use wire::keys::Descriptor;
use wire::message::{Configuration, Configured, LogPosition};

/// So long new members may take to catch up.
pub(crate) const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);

/// What a leader was asked for.
#[derive(Debug)]
struct Wanted {
    voters: BTreeSet<NodeId>,
    /// Until when its learners may take.
    due: Duration,
}

/// A leader's changes of members.
#[derive(Debug, Default)]
pub(crate) struct MembersChange {
    wanted: Option<Wanted>,
    /// The entry that changes the voters, until it is applied.
    pub(crate) proposed: Option<LogIndex>,
    /// It tried to hand over before it leaves, once.
    has_tried_transfer: bool,
}

impl MembersChange {
    /// Whoever asked hears that another leader has to go on.
    pub(crate) fn on_leadership_lost(&self, out: &mut Vec<ReplicaEffect>) {
        if let Some(wanted) = &self.wanted {
            out.push(ReplicaEffect::ChangeEnded {
                voters: wanted.voters.clone(),
                ended: Err(ChangeRefused::LeadershipLost),
            });
        }
    }
}

/// The members by what is applied, and the highest promise that a change of them carried.
pub(crate) fn members_of(
    state: &CommittedState,
    descriptor: &Descriptor,
) -> (Configured, Timestamp) {
    match state.members() {
        Some(members) => (members.configured.clone(), members.promised),
        None => {
            let configured = Configured {
                configuration: Configuration::of(descriptor.members.iter().copied()),
                at: LogPosition::default(),
            };
            (configured, Timestamp::ZERO)
        }
    }
}

impl Replica {
    /// Begins to make these nodes the partition's voters; new ones learn first. How it ends is told by
    /// [`ReplicaEffect::ChangeEnded`]. Asked again at another leader, it goes on where it was.
    ///
    /// # Errors
    /// If this replica does not lead or does not serve yet, if another change is under way or the leadership
    /// is being handed over, if nobody is named, or if all is as wanted.
    pub fn change_members(
        &mut self,
        cx: &ReplicaContext,
        voters: BTreeSet<NodeId>,
    ) -> Result<(), ChangeRefused> {
        let leader = self.leader();
        let is_transferring =
            self.replication.is_transferring() || self.replication.handed_over_to().is_some();
        let configured = self.replication.configured();
        let since = configured.at;
        let configuration = &configured.configuration;
        let is_there = configuration.voters == voters && configuration.learners.is_empty();
        let is_joint = configuration.is_joint();
        let Some(leadership) = &mut self.leadership else {
            return Err(ChangeRefused::NotLeader { leader });
        };
        if !leadership.serving {
            return Err(ChangeRefused::Electing);
        }
        if voters.is_empty() {
            return Err(ChangeRefused::Empty);
        }
        if is_transferring {
            return Err(ChangeRefused::Transferring);
        }
        if leadership.change.wanted.is_some() || is_joint {
            return Err(ChangeRefused::UnderWay { since });
        }
        if is_there {
            return Err(ChangeRefused::NothingChanges);
        }
        leadership.change.wanted = Some(Wanted {
            voters,
            due: cx.now.monotonic + CATCH_UP_WITHIN,
        });
        Ok(())
    }

    /// All members, learners too.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.replication.members()
    }

    /// Whether the members are committed, and no others are on their way.
    pub fn is_configuration_committed(&self) -> bool {
        self.replication.is_configuration_committed()
    }

    /// Who decides, and who learns.
    pub fn configured(&self) -> &Configured {
        self.replication.configured()
    }

    /// Goes on with a change, if it is time to.
    pub(crate) fn on_change_tick(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        let configured = self.replication.configured();
        let is_applied = configured.at.index <= self.fed.index;
        let is_free =
            !self.replication.is_transferring() && self.replication.handed_over_to().is_none();
        if !self.is_serving() || !is_applied || !is_free {
            return;
        }
        if configured.configuration.is_joint() {
            self.leave(cx, out);
        } else if self.replication.wants_naming_anew() {
            if let Err(why) = self.propose_change(cx, &Change::Anew) {
                tracing::debug!("a learner without memory is not named yet: {why}");
            }
        } else {
            self.go_on(cx, out);
        }
    }

    /// Both sets decide: on to the new one alone.
    fn leave(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        let configuration = &self.replication.configured().configuration;
        let stays = configuration.voters.contains(&self.me);
        let next = configuration.voters.iter().copied();
        let next = next.max_by_key(|voter| self.replication.matched_by(*voter));
        let Some(leadership) = &mut self.leadership else {
            return;
        };
        let change = &mut leadership.change;
        if !stays && !std::mem::replace(&mut change.has_tried_transfer, true) {
            let to = next.expect("a configuration has voters");
            match self.begin_transfer(cx, to, out) {
                Ok(()) => return,
                Err(why) => tracing::info!(
                    partition = %self.descriptor.partition,
                    %to,
                    "leaves without handing over: {why}"
                ),
            }
        }
        if let Err(why) = self.propose_change(cx, &Change::Leave) {
            self.end_change(Err(why), out);
        }
    }

    /// One set decides: what is wanted?
    fn go_on(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        let change = self.leadership.as_ref().map(|l| &l.change);
        let Some(wanted) = change.and_then(|change| change.wanted.as_ref()) else {
            return;
        };
        let (voters, is_late) = (wanted.voters.clone(), cx.now.monotonic >= wanted.due);
        let present = &self.replication.configured().configuration;
        let new: BTreeSet<NodeId> = voters.difference(&present.voters).copied().collect();
        let step = match () {
            () if present.voters == voters && present.learners.is_empty() => {
                return self.end_change(Ok(()), out);
            }
            () if present.learners != new => Change::Learners(new),
            () => Change::Voters(voters),
        };
        match self.propose_change(cx, &step) {
            Ok(()) => {}
            Err(ChangeRefused::NotCaughtUp { .. }) if !is_late => {}
            Err(why) => {
                // Whoever did not catch up need not go on to learn.
                let nobody = Change::Learners(BTreeSet::new());
                if let Err(other) = self.propose_change(cx, &nobody) {
                    tracing::debug!("learners stay until the next change: {other}");
                }
                self.end_change(Err(why), out);
            }
        }
    }

    fn propose_change(&mut self, cx: &ReplicaContext, step: &Change) -> Result<(), ChangeRefused> {
        let Some(leadership) = &self.leadership else {
            let leader = self.leader();
            return Err(ChangeRefused::NotLeader { leader });
        };
        let promised = leadership.high_water();
        #[cfg(feature = "mutants")]
        let promised = match self.mutant {
            Some(crate::Mutant::MembersWithoutPromise) => Timestamp::ZERO,
            _ => promised,
        };
        let (now, effects) = (cx.now.monotonic, &mut self.effects);
        let replication = &mut self.replication;
        let position = replication.propose_change(now, step, promised, effects)?;
        tracing::info!(
            partition = %self.descriptor.partition,
            index = %position.index,
            members = ?replication.configured().configuration,
            "changes its members"
        );
        let changes_voters = matches!(step, Change::Voters(_) | Change::Leave);
        if let Some(leadership) = &mut self.leadership
            && changes_voters
        {
            let quorum = replication.quorum().clone();
            leadership.on_members_proposed(quorum, position.index);
        }
        Ok(())
    }

    fn end_change(&mut self, ended: Result<(), ChangeRefused>, out: &mut Vec<ReplicaEffect>) {
        let change = self.leadership.as_mut().map(|l| &mut l.change);
        if let Some(wanted) = change.and_then(|change| change.wanted.take()) {
            let voters = wanted.voters;
            out.push(ReplicaEffect::ChangeEnded { voters, ended });
        }
    }
}
