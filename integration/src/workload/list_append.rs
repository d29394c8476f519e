//! Lists that grow by unique elements, several in one transaction, and are read whole (Kingsbury and
//! Alvaro, *Elle*, VLDB 2020: from lists the order of all writes can be read off).
//!
//! A list is a string of elements, each followed by a comma.

use super::{Letters, Plan, Workload, Writes, get, key, operation};
use wire::SplitMix64;
use wire::keys::Key;
use wire::message::{Operation, OperationKind};

/// The lists.
pub struct ListAppend {
    letters: Letters,
    lists: u64,
    elements: u64,
}

impl ListAppend {
    /// The workload's name.
    pub const NAME: &'static str = "list";

    /// So many lists, one at least.
    pub fn new(letters: Letters, lists: u64) -> ListAppend {
        ListAppend {
            letters,
            lists: lists.max(1),
            elements: 0,
        }
    }

    fn some_keys(&self, random: &mut SplitMix64) -> Vec<Key> {
        let count = 1 + random.below(3.min(self.lists));
        let first = random.below(self.lists);
        let number = |n| (first + n) % self.lists;
        (0..count)
            .map(|n| key(self.letters, Self::NAME, number(n)))
            .collect()
    }

    fn append(&mut self, key: &Key) -> Operation {
        self.elements += 1;
        operation(
            key,
            OperationKind::Append(format!("{},", self.elements).into()),
        )
    }
}

impl Workload for ListAppend {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn next(&mut self, random: &mut SplitMix64) -> Plan {
        let keys = self.some_keys(random);
        match random.below(4) {
            0 => Plan::read(Self::NAME, keys.iter().map(get).collect()),
            1 => {
                let reads = self.some_keys(random).iter().map(get).collect();
                let operations: Vec<_> = keys.iter().map(|key| self.append(key)).collect();
                Plan::interactive(Self::NAME, vec![reads], move |_| {
                    Some(Writes {
                        guards: vec![],
                        operations: operations.clone(),
                    })
                })
            }
            _ => {
                let operations = keys.iter().map(|key| self.append(key)).collect();
                Plan::one_shot(Self::NAME, vec![], operations)
            }
        }
    }
}
