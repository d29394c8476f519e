//! A member that lost its memory: its disk was replaced, or what it held was damaged and dropped. It has
//! forgotten its votes, its entries and its promises, and others may still count on each of them.
//!
//! ```text
//!   forgot, durably ─► AskMemory to every other member ─► all answered ─► term above all that were told,
//!     votes for nobody, acknowledges nothing                              promise as high as any told
//!                                                                              │
//!   remembers, durably ◄── its log reaches the furthest end that was told ◄────┘ votes only for logs
//!                          (entries or a snapshot)                               that reach it; never stands
//! ```
//!
//! Why nothing is lost (docs/decisions/0010 has the proof at length):
//! - **Votes.** Whoever it may have voted for had durably entered that term, and tells it. It never votes
//!   in a term at or below the highest told, and whatever it said before, in such a term, counts for
//!   nobody who leads in a later one.
//! - **Entries.** What was committed with its help lies on another member that remembers, so the furthest
//!   log of all that remember holds it (the election restriction; Ongaro 2014, section 3.6). It votes
//!   only for logs that reach as far.
//! - **Promises.** What it promised was asked for by another, who tells how far it asked.
//!
//! - **Members.** Whoever answers tells the latest configuration in its log, and that of the furthest log says
//!   who must answer. A change that was committed lies with another member of the configuration before it, so
//!   from the members that it happens to know it comes to those that count; and only their ends are demanded.
//!
//! A new member without a replica (`Join`) has forgotten nothing: it begins at the entry that made it one,
//! and only votes for logs that reach it. Such a log holds the change that removed it before, if it was
//! a member once, so nothing that it did then counts for anybody whom it votes for now.
//!
//! The same for a learner that has lost its memory: its leader hears that it asks, names it once more, and says
//! so (`Join`) when that is committed. In terms after that of this entry nobody was elected before, or it could
//! not be committed; so what the learner did before it asked, it did in that term or earlier, where it counts
//! only below the entry. *Otherwise no voter that is gone for good could be replaced by a node whose disk is
//! new: that would wait for all voters.*
//!
//! All this needs one member that remembers in every quorum. Others that have forgotten too are waited
//! for until that holds; except if no node of the whole cluster, member or not, has ever heard of a term:
//! then the partition is new, or every copy of it is gone. *If the members alone were asked, those of the
//! founding would found a partition again, empty, beside the one that had moved away from them.*

use super::configuration::quorum_of;
use super::{Replication, ReplicationEffect};
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ids::{NodeId, Term};
use wire::message::{Configuration, Configured, LogPosition, Memory, ReplicationMessage};

/// Nodes that are asked though they are not known to be members.
const ALSO_ASKED_MAX: usize = 16;

/// What a member that lost its memory has been told so far.
#[derive(Clone, Debug)]
pub(super) struct Forgotten {
    /// Of this round of questions: answers to an earlier one say nothing.
    nonce: u64,
    /// `None`: it has forgotten too.
    answers: BTreeMap<NodeId, Option<Memory>>,
    asked_at: Option<Duration>,
    /// When those were asked again who had answered, or all for the first time.
    all_asked_at: Option<Duration>,
    /// Who leads, it seems, though it is none of the members known so far.
    also_asked: BTreeSet<NodeId>,
    /// What it was removed by, if somebody says that it was: up to where that is the last configuration.
    removed: Option<(Configured, LogPosition)>,
    /// The furthest end of any log, once all have answered.
    end: Option<LogPosition>,
    /// It is a new member by the entry at this position, and has forgotten nothing.
    begun_at: Option<LogPosition>,
}

impl Forgotten {
    pub(super) fn new(nonce: u64) -> Forgotten {
        Forgotten {
            nonce,
            answers: BTreeMap::new(),
            asked_at: None,
            all_asked_at: None,
            also_asked: BTreeSet::new(),
            removed: None,
            end: None,
            begun_at: None,
        }
    }

    pub(super) fn begun_at(position: LogPosition) -> Forgotten {
        Forgotten {
            end: Some(position),
            begun_at: Some(position),
            ..Forgotten::new(0)
        }
    }

    /// Nobody who answered so far has heard of a term.
    fn seems_new(&self) -> bool {
        let mut memories = self.answers.values().flatten();
        memories.all(|memory| memory.term == Term(0))
    }

    /// Whether this one has answered, and others may count on what it told.
    fn remembers(&self, node: NodeId) -> bool {
        matches!(self.answers.get(&node), Some(Some(memory)) if memory.remembers)
    }

    /// Whether each of these has answered.
    fn has_heard(&self, mut nodes: impl Iterator<Item = NodeId>) -> bool {
        nodes.all(|node| self.answers.contains_key(&node))
    }
}

impl Replication {
    /// Whether it takes no part yet, because it has forgotten and not everybody has told it enough.
    pub fn is_asking(&self) -> bool {
        self.forgotten.as_ref().is_some_and(|f| f.end.is_none())
    }

    /// Whether it has forgotten what others may count on.
    pub fn has_forgotten(&self) -> bool {
        self.forgotten.is_some()
    }

    /// Every node of the cluster but this one.
    pub(super) fn other_nodes(&self) -> impl Iterator<Item = NodeId> {
        let me = self.me;
        self.nodes.iter().copied().filter(move |node| *node != me)
    }

    /// How far a log must reach to get this replica's vote, besides as far as its own.
    pub(super) fn least_end(&self) -> LogPosition {
        let told = self.forgotten.as_ref().and_then(|f| f.end);
        self.last().max(told.unwrap_or_default())
    }

    /// Where it began as a new member, until its log reaches that.
    pub(super) fn floor(&self) -> LogPosition {
        let begun_at = self.forgotten.as_ref().and_then(|f| f.begun_at);
        begun_at.unwrap_or_default()
    }

    /// A leader invites this replica, which exists: that tells one without memory who is a member. If it was
    /// named a new one by an entry that was proposed after it asked, and is committed, it need not remember.
    pub(super) fn on_join(
        &mut self,
        from: NodeId,
        configured: &Configured,
        since: Option<u64>,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if !self.is_asking() {
            return;
        }
        self.learn(configured);
        let Some(nonce) = self.forgotten.as_ref().map(|forgotten| forgotten.nonce) else {
            return;
        };
        if !configured.configuration.learners.contains(&self.me) {
            return;
        }
        if since != Some(nonce) {
            return ask(from, nonce, out);
        }
        let at = configured.at;
        self.forgotten = Some(Forgotten::begun_at(at));
        // Late answers of the life before name this term or an earlier one, and must not count.
        if self.generation.maybe_move_to(at.term.next()) {
            out.push(self.hard_state());
        }
        out.push(ReplicationEffect::Begins { at });
    }

    /// Takes a configuration that others tell, if it is newer.
    fn learn(&mut self, configured: &Configured) {
        let last = self.last();
        if self.configurations.on_told(configured, last) {
            self.reconfigure();
        }
    }

    /// Asks this one too.
    pub(super) fn ask_also(&mut self, leader: NodeId) {
        let is_member = self.configured().configuration.has_voter(leader);
        if let Some(forgotten) = &mut self.forgotten
            && !is_member
            && forgotten.also_asked.len() < ALSO_ASKED_MAX
        {
            forgotten.also_asked.insert(leader);
        }
    }

    /// Asks whoever has not told what it remembers, again and again; and now and then all others too: what they
    /// told grows old. *A voter that it named may be gone for good and be none any more.*
    pub(super) fn ask_for_memory(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        let mut others: BTreeSet<NodeId> = self.others().collect();
        let deciding = self.deciding();
        others.extend(deciding.voters.iter().chain(&deciding.outgoing));
        let timing = self.timing;
        let Some(forgotten) = &mut self.forgotten else {
            return;
        };
        let is_due = |asked: Option<Duration>, after| {
            asked.is_none_or(|asked| now.saturating_sub(asked) >= after)
        };
        if forgotten.end.is_some() || !is_due(forgotten.asked_at, timing.heartbeat) {
            return;
        }
        forgotten.asked_at = Some(now);
        let asks_all = is_due(forgotten.all_asked_at, timing.election_timeout);
        if asks_all {
            forgotten.all_asked_at = Some(now);
        }
        let nonce = forgotten.nonce;
        others.extend(&forgotten.also_asked);
        if asks_all || forgotten.seems_new() {
            // It may have moved away: whoever holds it now need be none of the members known so far.
            others.extend(&self.nodes);
        }
        others.remove(&self.me);
        for to in others {
            if asks_all || !forgotten.remembers(to) {
                ask(to, nonce, out);
            }
        }
        self.maybe_end_asking(out);
    }

    pub(super) fn on_ask_memory(
        &mut self,
        promised: Timestamp,
        from: NodeId,
        nonce: u64,
        out: &mut Vec<ReplicationEffect>,
    ) {
        self.maybe_tell_removed(from, out);
        if nonce == 0 {
            return;
        }
        self.note_lost_learner(from, nonce);
        let is_new = |forgotten: &Forgotten| forgotten.begun_at.is_some();
        let remembers = self.forgotten.as_ref().is_none_or(is_new);
        let memory = remembers.then(|| Memory {
            term: self.term(),
            promised,
            last: self.last(),
            configured: self.configured().clone(),
            remembers: true,
        });
        out.push(ReplicationEffect::Send {
            to: from,
            message: ReplicationMessage::Memory { nonce, memory },
            // What is told must outlive a crash: the asker will vote for nobody who holds less.
            after_log: true,
        });
    }

    pub(super) fn on_memory(
        &mut self,
        from: NodeId,
        nonce: u64,
        memory: Option<Memory>,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let Some(forgotten) = self.forgotten.as_mut().filter(|f| f.nonce == nonce) else {
            return;
        };
        if forgotten.end.is_some() {
            return;
        }
        let configured = memory.as_ref().map(|memory| memory.configured.clone());
        let known = forgotten.answers.entry(from).or_default();
        // Each of its answers was given after the loss, so any of them will do. Whoever has remembered since says
        // so; a late word that it had forgotten takes nothing back.
        let reach =
            |memory: &Option<Memory>| memory.as_ref().map(|m| (m.remembers, m.last, m.term));
        if reach(&memory) > reach(known) {
            *known = memory;
        }
        if let Some(configured) = configured {
            self.learn(&configured);
        }
        self.maybe_end_asking(out);
    }

    /// Somebody says, while it asks, that it was removed. It may be named since and not know it, and hears no
    /// leader: so it is only learnt, until those have answered who decide now.
    pub(super) fn on_removed_while_asking(
        &mut self,
        told: Configured,
        as_of: LogPosition,
        out: &mut Vec<ReplicationEffect>,
    ) {
        self.learn(&told);
        if let Some(forgotten) = &mut self.forgotten
            && forgotten
                .removed
                .as_ref()
                .is_none_or(|(_, known)| as_of > *known)
        {
            forgotten.removed = Some((told, as_of));
        }
        self.maybe_end_asking(out);
    }

    /// Whether it was removed, as a quorum says that remembers: then by what, and up to where that holds. What
    /// named it after that, if it was committed before they answered, is in one of their logs.
    fn removed_for_sure(&self) -> Option<(Configured, LogPosition)> {
        let forgotten = self.forgotten.as_ref()?;
        let (removed, as_of) = forgotten.removed.as_ref()?;
        let deciding = self.deciding();
        let is_named = deciding.has_member(self.me) || *as_of < self.configured().at;
        let is_known = quorum_of(deciding).is_reached(|voter| forgotten.remembers(voter));
        (is_known && !is_named).then(|| (removed.clone(), *as_of))
    }

    fn maybe_end_asking(&mut self, out: &mut Vec<ReplicationEffect>) {
        if let Some((removed, as_of)) = self.removed_for_sure() {
            return self.maybe_be_removed(removed, as_of, out);
        }
        let Some(forgotten) = &self.forgotten else {
            return;
        };
        let me = self.me;
        let answers = &forgotten.answers;
        let deciding = self.deciding();
        let mut voters = deciding.voters.iter().chain(&deciding.outgoing);
        if voters.any(|voter| *voter != me && !answers.contains_key(voter)) {
            return;
        }
        let memories = answers.values().flatten();
        let term = memories.clone().map(|m| m.term).max().unwrap_or_default();
        // Of either set, while one takes the other's place: the old one may have decided alone.
        let is_nowhere = quorum_of(deciding).has_majority_of(|member| !forgotten.remembers(member));
        if is_nowhere && (term > Term(0) || !forgotten.has_heard(self.other_nodes())) {
            return;
        }
        let promised = memories.map(|m| m.promised).max();
        let of_voters = answers.iter().filter(|(by, _)| deciding.has_voter(**by));
        let ends = of_voters.filter_map(|(_, memory)| Some(memory.as_ref()?.last));
        let end = ends.max().unwrap_or_default();
        if let Some(forgotten) = &mut self.forgotten {
            forgotten.end = Some(end);
        }
        if term > Term(0) && self.generation.maybe_move_to(term.next()) {
            out.push(self.hard_state());
        }
        out.push(ReplicationEffect::Promised {
            promised: promised.unwrap_or_default(),
        });
        self.maybe_remember(out);
    }

    /// The members that count: those of the furthest log that was told of. What is committed with this
    /// replica's help lies in that log; a change that it lacks never came about.
    fn deciding(&self) -> &Configuration {
        let answers = self.forgotten.iter().flat_map(|f| f.answers.values());
        let furthest = answers.flatten().max_by_key(|memory| memory.last);
        let configured = furthest.map(|memory| &memory.configured);
        &configured.unwrap_or(self.configured()).configuration
    }

    /// Ends it all once the own disk holds everything that others may count on.
    pub(super) fn maybe_remember(&mut self, out: &mut Vec<ReplicationEffect>) {
        let Some(end) = self.forgotten.as_ref().and_then(|f| f.end) else {
            return;
        };
        let index = self.durable();
        let term = self.term_at(index).expect("what is durable is held");
        if (LogPosition { term, index }) >= end {
            self.forgotten = None;
            self.configurations.forget_told();
            self.reconfigure();
            out.push(ReplicationEffect::Remembered);
        }
    }
}

fn ask(to: NodeId, nonce: u64, out: &mut Vec<ReplicationEffect>) {
    out.push(ReplicationEffect::Send {
        to,
        message: ReplicationMessage::AskMemory { nonce },
        after_log: false,
    });
}
