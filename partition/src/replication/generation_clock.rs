//! The term and the vote cast in it (pattern Generation Clock; Ongaro 2014, section 3.4).
//!
//! Invariants:
//! - the term never moves back;
//! - within a term the vote, once given, is never given to another member.

use wire::ids::{NodeId, Term};

/// Term and vote of one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GenerationClock {
    term: Term,
    voted_for: Option<NodeId>,
}

impl GenerationClock {
    /// As the log remembers it.
    pub(super) fn new(term: Term, voted_for: Option<NodeId>) -> GenerationClock {
        GenerationClock { term, voted_for }
    }

    pub(super) fn term(&self) -> Term {
        self.term
    }

    pub(super) fn voted_for(&self) -> Option<NodeId> {
        self.voted_for
    }

    /// Moves to a term if it is later, with no vote cast in it yet; says whether it was.
    pub(super) fn maybe_move_to(&mut self, term: Term) -> bool {
        if term <= self.term {
            return false;
        }
        self.term = term;
        self.voted_for = None;
        true
    }

    /// Whether `candidate` may still have this term's vote.
    pub(super) fn may_vote_for(&self, candidate: NodeId) -> bool {
        self.voted_for.is_none_or(|voted| voted == candidate)
    }

    /// Casts this term's vote.
    pub(super) fn vote_for(&mut self, candidate: NodeId) {
        assert!(
            self.may_vote_for(candidate),
            "one vote a term: {:?} has this replica's vote of {}, so {candidate} cannot",
            self.voted_for,
            self.term
        );
        self.voted_for = Some(candidate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_term_has_no_vote_cast() {
        let mut clock = GenerationClock::new(Term(3), Some(NodeId(2)));
        assert!(!clock.maybe_move_to(Term(3)));
        assert!(!clock.may_vote_for(NodeId(1)));
        assert!(clock.may_vote_for(NodeId(2)));
        assert!(clock.maybe_move_to(Term(4)));
        assert_eq!(clock.voted_for(), None);
        clock.vote_for(NodeId(1));
        assert_eq!(clock, GenerationClock::new(Term(4), Some(NodeId(1))));
    }

    #[test]
    #[should_panic(expected = "one vote a term")]
    fn a_second_vote_in_a_term_is_refused() {
        let mut clock = GenerationClock::new(Term(3), Some(NodeId(2)));
        clock.vote_for(NodeId(1));
    }
}
