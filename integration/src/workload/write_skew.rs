//! Pairs of accounts whose sum must never be negative, each withdrawal looking at both and touching one
//! (Berenson et al., *A Critique of ANSI SQL Isolation Levels*, 1995: A5B write skew). Under snapshot
//! isolation two withdrawals pass each other; under serializability they cannot.

use super::{Letters, Plan, Workload, Writes, get, key, put};
use wire::SplitMix64;
use wire::keys::Key;

/// The pairs.
pub struct WriteSkew {
    letters: Letters,
    pairs: u64,
}

impl WriteSkew {
    /// The workload's name.
    pub const NAME: &'static str = "skew";

    /// So many pairs, one at least. The two keys of a pair lie in neighbouring partitions.
    pub fn new(letters: Letters, pairs: u64) -> WriteSkew {
        WriteSkew {
            letters,
            pairs: pairs.max(1),
        }
    }

    fn pair(&self, pair: u64) -> [Key; 2] {
        [2 * pair, 2 * pair + 1].map(|number| key(self.letters, Self::NAME, number))
    }
}

impl Workload for WriteSkew {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn next(&mut self, random: &mut SplitMix64) -> Plan {
        let keys = self.pair(random.below(self.pairs));
        let reads = keys.iter().map(get).collect();
        if random.chance(1, 4) {
            return Plan::read(Self::NAME, reads);
        }
        let here = random.below(2) as usize;
        let (deposit, amount) = (random.chance(2, 5), 1 + random.below(50) as i64);
        Plan::interactive(Self::NAME, vec![reads], move |seen| {
            let balances = [seen.first()?.number()?, seen.get(1)?.number()?];
            let change = if deposit { amount } else { -amount };
            if balances[0] + balances[1] + change < 0 {
                return None;
            }
            Some(Writes {
                guards: vec![],
                operations: vec![put(&keys[here], (balances[here] + change).to_string())],
            })
        })
    }
}
