//! What a majority has reached (pattern Majority Quorum).
//!
//! A quorum is written as a set of majorities, all of which must agree. One set in quiet times; during
//! a change of members two, the old and the new one (joint consensus; Ongaro 2014, section 4.3).
//!
//! ```text
//!   matched:  n1 = 9   n2 = 7   n3 = 4          highest first: 9 7 4
//!   a majority of three is two, so 7 is reached by a quorum ─────┘
//! ```
//!
//! Any two quorums of one `Quorum` share a member; that is all that safety rests on.

use std::collections::BTreeSet;
use wire::ids::NodeId;

/// Sets of members, of each of which a majority must agree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quorum {
    majorities: Vec<BTreeSet<NodeId>>,
}

impl Quorum {
    /// A majority of these members.
    pub fn of(members: impl IntoIterator<Item = NodeId>) -> Quorum {
        Quorum::all_of(vec![members.into_iter().collect()])
    }

    /// A majority of each of these sets.
    pub fn all_of(majorities: Vec<BTreeSet<NodeId>>) -> Quorum {
        assert!(
            !majorities.is_empty() && majorities.iter().all(|set| !set.is_empty()),
            "nobody is a majority of an empty set: {majorities:?}"
        );
        Quorum { majorities }
    }

    /// Everybody who is asked, without doubles.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.majorities.iter().flatten().copied().collect()
    }

    /// Whether a node is among them.
    pub fn has_member(&self, node: NodeId) -> bool {
        self.majorities.iter().any(|set| set.contains(&node))
    }

    /// The highest value that a quorum has reached, if `of` says what each member has reached.
    ///
    /// For match indexes: what is committed. For promises: what the leader may rely on. For times of
    /// contact: since when a quorum has been in touch.
    pub fn highest_reached_by_quorum<T: Ord + Copy>(&self, of: impl Fn(NodeId) -> T) -> T {
        let reached_by_majority = |set: &BTreeSet<NodeId>| {
            let mut reached: Vec<T> = set.iter().map(|member| of(*member)).collect();
            reached.sort_unstable_by(|a, b| b.cmp(a));
            reached[set.len() / 2]
        };
        self.majorities
            .iter()
            .map(reached_by_majority)
            .min()
            .expect("a quorum has at least one majority")
    }

    /// Whether those for whom `is_so` holds are a majority of any of the sets.
    pub fn has_majority_of(&self, is_so: impl Fn(NodeId) -> bool) -> bool {
        let is_majority =
            |set: &BTreeSet<NodeId>| set.iter().filter(|m| is_so(**m)).count() > set.len() / 2;
        self.majorities.iter().any(is_majority)
    }

    /// Whether those for whom `says_yes` holds are a quorum.
    pub fn is_reached(&self, says_yes: impl Fn(NodeId) -> bool) -> bool {
        self.highest_reached_by_quorum(says_yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quorum(members: &[u32]) -> Quorum {
        Quorum::of(members.iter().map(|n| NodeId(*n)))
    }

    fn reached(quorum: &Quorum, values: &[u64]) -> u64 {
        quorum.highest_reached_by_quorum(|member| values[member.0 as usize - 1])
    }

    #[test]
    fn a_majority_is_more_than_half() {
        assert_eq!(reached(&quorum(&[1]), &[5]), 5);
        assert_eq!(reached(&quorum(&[1, 2]), &[5, 3]), 3);
        assert_eq!(reached(&quorum(&[1, 2, 3]), &[9, 7, 4]), 7);
        assert_eq!(reached(&quorum(&[1, 2, 3, 4]), &[1, 2, 3, 4]), 2);
        assert_eq!(reached(&quorum(&[1, 2, 3, 4, 5]), &[1, 9, 3, 8, 5]), 5);
    }

    #[test]
    fn votes_are_the_same_arithmetic() {
        let five = quorum(&[1, 2, 3, 4, 5]);
        assert!(five.is_reached(|n| n.0 <= 3));
        assert!(!five.is_reached(|n| n.0 <= 2));
    }

    #[test]
    fn joint_majorities_must_both_agree() {
        let set = |members: &[u32]| members.iter().map(|n| NodeId(*n)).collect();
        let joint = Quorum::all_of(vec![set(&[1, 2, 3]), set(&[3, 4, 5])]);
        assert!(!joint.is_reached(|n| n.0 <= 3));
        assert!(!joint.is_reached(|n| n.0 >= 3));
        assert!(joint.is_reached(|n| [2, 3, 4].contains(&n.0)));
        assert_eq!(reached(&joint, &[9, 9, 1, 2, 3]), 2);
        assert!(joint.has_majority_of(|n| n.0 >= 4) && !joint.has_majority_of(|n| n.0 == 3));
        assert_eq!(joint.members().len(), 5);
    }

    #[test]
    #[should_panic(expected = "nobody is a majority")]
    fn an_empty_set_is_refused() {
        quorum(&[]);
    }
}
