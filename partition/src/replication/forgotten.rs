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
//! All this needs one member that remembers in every quorum. Others that have forgotten too are waited
//! for until that holds; except if nobody who remembers has ever heard of a term: then the partition is
//! new, or every copy of it is gone.

use super::{Replication, ReplicationEffect};
use clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::{NodeId, Term};
use wire::message::{LogPosition, Memory, ReplicationMessage};

/// What a member that lost its memory has been told so far.
#[derive(Clone, Debug)]
pub(super) struct Forgotten {
    /// Of this round of questions: answers to an earlier one say nothing.
    nonce: u64,
    /// `None`: it has forgotten too.
    answers: BTreeMap<NodeId, Option<Memory>>,
    asked_at: Option<Duration>,
    /// The furthest end of any log, once all have answered.
    end: Option<LogPosition>,
}

impl Forgotten {
    pub(super) fn new(nonce: u64) -> Forgotten {
        Forgotten {
            nonce,
            answers: BTreeMap::new(),
            asked_at: None,
            end: None,
        }
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

    /// How far a log must reach to get this replica's vote, besides as far as its own.
    pub(super) fn least_end(&self) -> LogPosition {
        let told = self.forgotten.as_ref().and_then(|f| f.end);
        self.last().max(told.unwrap_or_default())
    }

    /// Asks whoever has not told what it remembers, again and again.
    pub(super) fn ask_for_memory(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        let others: Vec<NodeId> = self.others().collect();
        let heartbeat = self.timing.heartbeat;
        let Some(forgotten) = &mut self.forgotten else {
            return;
        };
        let is_early = |asked| now.saturating_sub(asked) < heartbeat;
        if forgotten.end.is_some() || forgotten.asked_at.is_some_and(is_early) {
            return;
        }
        forgotten.asked_at = Some(now);
        let nonce = forgotten.nonce;
        for to in others {
            if !matches!(forgotten.answers.get(&to), Some(Some(_))) {
                out.push(ReplicationEffect::Send {
                    to,
                    message: ReplicationMessage::AskMemory { nonce },
                    after_log: false,
                });
            }
        }
        self.maybe_end_asking(out);
    }

    pub(super) fn on_ask_memory(
        &self,
        promised: Timestamp,
        from: NodeId,
        nonce: u64,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let memory = (!self.has_forgotten()).then(|| Memory {
            term: self.term(),
            promised,
            last: self.last(),
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
        // Whoever has remembered since says so; a late word that it had forgotten takes nothing back.
        let known = forgotten.answers.entry(from).or_insert(memory);
        *known = memory.or(*known);
        self.maybe_end_asking(out);
    }

    fn maybe_end_asking(&mut self, out: &mut Vec<ReplicationEffect>) {
        let Some(forgotten) = &self.forgotten else {
            return;
        };
        let answers = &forgotten.answers;
        if self.others().any(|other| !answers.contains_key(&other)) {
            return;
        }
        let remembers = |member: NodeId| matches!(answers.get(&member), Some(Some(_)));
        let memories = answers.values().flatten();
        let term = memories.clone().map(|m| m.term).max().unwrap_or_default();
        let is_nowhere = self.quorum.is_reached(|member| !remembers(member));
        if is_nowhere && term > Term(0) {
            return;
        }
        let promised = memories.clone().map(|m| m.promised).max();
        let end = memories.map(|m| m.last).max().unwrap_or_default();
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

    /// Ends it all once the own disk holds everything that others may count on.
    pub(super) fn maybe_remember(&mut self, out: &mut Vec<ReplicationEffect>) {
        let Some(end) = self.forgotten.as_ref().and_then(|f| f.end) else {
            return;
        };
        let index = self.durable();
        let term = self.term_at(index).expect("what is durable is held");
        if (LogPosition { term, index }) >= end {
            self.forgotten = None;
            out.push(ReplicationEffect::Remembered);
        }
    }
}
