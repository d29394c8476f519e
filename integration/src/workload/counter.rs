//! Counters that only the server adds to: in the end each is exactly the sum of what was committed.
//!
//! Additions to one hot key are the path on which one entry builds on entries under way (R4, R11), and
//! a commit that is applied twice, or lost, shows in the sum. Some add to two counters at once.

use super::{Letters, Plan, Workload, add, get, guard, key, operation, two_of};
use wire::SplitMix64;
use wire::message::{Condition, OperationKind};

/// The counters.
pub struct Counter {
    letters: Letters,
    counters: u64,
}

impl Counter {
    /// The workload's name.
    pub const NAME: &'static str = "counter";

    /// So many counters, two at least.
    pub fn new(letters: Letters, counters: u64) -> Counter {
        Counter {
            letters,
            counters: counters.max(2),
        }
    }
}

impl Workload for Counter {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn next(&mut self, random: &mut SplitMix64) -> Plan {
        let (one, other) = two_of(random, self.counters);
        let (one, other) = (
            key(self.letters, Self::NAME, one),
            key(self.letters, Self::NAME, other),
        );
        let delta = 1 + random.below(9) as i64;
        match random.below(10) {
            0..=4 => Plan::one_shot(Self::NAME, vec![], vec![add(&one, delta)]),
            5 => {
                // Twice the same key in one transaction: its operations apply in their order.
                Plan::one_shot(Self::NAME, vec![], vec![add(&one, delta), add(&one, 1)])
            }
            6 | 7 => Plan::one_shot(
                Self::NAME,
                vec![],
                vec![add(&one, delta), add(&other, -delta)],
            ),
            8 => {
                let bounded = [
                    guard(&one, Condition::AtMost(20)),
                    guard(&other, Condition::Exists),
                ];
                let raise = operation(&one, OperationKind::Max(delta));
                Plan::one_shot(Self::NAME, bounded.to_vec(), vec![raise])
            }
            _ => Plan::read(Self::NAME, vec![get(&one), get(&other)]),
        }
    }
}
