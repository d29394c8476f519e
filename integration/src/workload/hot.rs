//! Very few keys that everybody wants: one counter that the server adds to, one that clients read,
//! compute and write back, with and without locks, and sets of locks taken in any order, which would be
//! deadlocks if nothing ended them. Whatever is committed adds a known number to each key, so the end is
//! an exact sum, whichever way it was added.

use super::{Letters, Plan, Workload, Writes, add, get, key, put};
use crate::history::Observation;
use wire::SplitMix64;
use wire::keys::Key;
use wire::message::Operation;

/// The hot keys.
pub struct Hot {
    letters: Letters,
    keys: u64,
}

impl Hot {
    /// The workload's name.
    pub const NAME: &'static str = "hot";

    /// So many hot keys, two at least.
    pub fn new(letters: Letters, keys: u64) -> Hot {
        Hot {
            letters,
            keys: keys.max(2),
        }
    }

    fn key(&self, number: u64) -> Key {
        key(self.letters, Self::NAME, number % self.keys)
    }

    /// Two or three keys in any order, each once.
    fn some(&self, random: &mut SplitMix64) -> Vec<Key> {
        let first = random.below(self.keys);
        let count = 2 + random.below(2).min(self.keys - 2);
        let mut keys: Vec<Key> = (0..count).map(|n| self.key(first + n)).collect();
        if random.chance(1, 2) {
            keys.reverse();
        }
        keys
    }
}

impl Workload for Hot {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn next(&mut self, random: &mut SplitMix64) -> Plan {
        let hottest = self.key(0);
        let delta = 1 + random.below(9) as i64;
        match random.below(8) {
            0..=2 => Plan::one_shot(Self::NAME, vec![], vec![add(&hottest, delta)]),
            3 | 4 => {
                let key = self.key(random.below(2));
                Plan::interactive(Self::NAME, vec![vec![get(&key)]], move |seen| {
                    add_to_all(std::slice::from_ref(&key), delta, seen)
                })
            }
            5 => {
                let keys = self.some(random);
                let operations = keys.iter().map(|key| add(key, delta)).collect();
                Plan::one_shot(Self::NAME, vec![], operations)
            }
            _ => {
                // Locks in any order: two of these can hold what the other wants.
                let keys = self.some(random);
                let locks = keys.clone();
                let mut plan = Plan::interactive(Self::NAME, vec![], move |seen| {
                    add_to_all(&keys, delta, seen)
                });
                plan.locks = locks;
                plan
            }
        }
    }
}

fn add_to_all(keys: &[Key], delta: i64, seen: &[Observation]) -> Option<Writes> {
    let mut operations: Vec<Operation> = Vec::new();
    for (key, seen) in keys.iter().zip(seen) {
        operations.push(put(key, (seen.number()? + delta).to_string()));
    }
    (operations.len() == keys.len()).then(|| Writes {
        guards: vec![],
        operations,
    })
}
