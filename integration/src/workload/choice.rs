//! Which workloads a run has, and over how many keys: what can be written down of them.

use super::{Bank, Counter, Hot, Letters, ListAppend, Register, Workload, WriteSkew};
use serde::{Deserialize, Serialize};

/// One workload and the number of its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WorkloadChoice {
    /// [`Bank`].
    Bank {
        /// How many.
        accounts: u64,
    },
    /// [`WriteSkew`].
    WriteSkew {
        /// How many.
        pairs: u64,
    },
    /// [`ListAppend`].
    ListAppend {
        /// How many.
        lists: u64,
    },
    /// [`Counter`].
    Counter {
        /// How many.
        counters: u64,
    },
    /// [`Hot`].
    Hot {
        /// How many.
        keys: u64,
    },
    /// [`Register::new`].
    Register {
        /// How many hot ones.
        registers: u64,
    },
    /// [`Register::crossed`].
    CrossedRegister {
        /// How many.
        registers: u64,
    },
}

impl WorkloadChoice {
    /// The workload, its keys over these letters.
    pub fn build(self, letters: Letters) -> Box<dyn Workload> {
        match self {
            WorkloadChoice::Bank { accounts } => Box::new(Bank::new(letters, accounts)),
            WorkloadChoice::WriteSkew { pairs } => Box::new(WriteSkew::new(letters, pairs)),
            WorkloadChoice::ListAppend { lists } => Box::new(ListAppend::new(letters, lists)),
            WorkloadChoice::Counter { counters } => Box::new(Counter::new(letters, counters)),
            WorkloadChoice::Hot { keys } => Box::new(Hot::new(letters, keys)),
            WorkloadChoice::Register { registers } => Box::new(Register::new(letters, registers)),
            WorkloadChoice::CrossedRegister { registers } => {
                Box::new(Register::crossed(letters, registers))
            }
        }
    }

    /// Over how many keys it works (of write skew: pairs).
    pub fn keys(self) -> u64 {
        let mut copy = self;
        *copy.count()
    }

    /// The same over another number of keys.
    pub fn over(self, keys: u64) -> WorkloadChoice {
        let mut copy = self;
        *copy.count() = keys;
        copy
    }

    fn count(&mut self) -> &mut u64 {
        match self {
            WorkloadChoice::Bank { accounts: n }
            | WorkloadChoice::WriteSkew { pairs: n }
            | WorkloadChoice::ListAppend { lists: n }
            | WorkloadChoice::Counter { counters: n }
            | WorkloadChoice::Hot { keys: n }
            | WorkloadChoice::Register { registers: n }
            | WorkloadChoice::CrossedRegister { registers: n } => n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_keys_can_be_changed() {
        let bank = WorkloadChoice::Bank { accounts: 9 };
        assert_eq!(bank.keys(), 9);
        assert_eq!(bank.over(2), WorkloadChoice::Bank { accounts: 2 });
        assert_eq!(bank.build(Letters(2)).name(), Bank::NAME);
    }
}
