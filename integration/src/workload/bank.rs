//! Accounts and transfers between them: the sum of all balances never changes, at any snapshot.
//!
//! Transfers come as one request (guarded adds that the server evaluates), as read, read, write, write
//! (the client evaluates), and with both accounts locked first (`get_for_update`). Some empty an
//! account, so that tombstones and absences count too.

use super::{
    Letters, Plan, Workload, Writes, add, get, guard, key, operation, put, ranges, scan, two_of,
};
use crate::history::Observation;
use bytes::Bytes;
use wire::SplitMix64;
use wire::keys::Key;
use wire::message::{Condition, Operation, OperationKind};

/// What each account holds at the beginning.
const OPENING_BALANCE: i64 = 100;

/// The bank.
pub struct Bank {
    letters: Letters,
    accounts: u64,
}

impl Bank {
    /// The workload's name.
    pub const NAME: &'static str = "bank";

    /// A bank with so many accounts, two at least.
    pub fn new(letters: Letters, accounts: u64) -> Bank {
        Bank {
            letters,
            accounts: accounts.max(2),
        }
    }

    fn account(&self, number: u64) -> Key {
        key(self.letters, Self::NAME, number)
    }

    fn read_all(&self, random: &mut SplitMix64) -> Plan {
        let reverse = random.chance(1, 3);
        let scans = ranges(self.letters, Self::NAME).into_iter();
        let mut requests: Vec<_> = scans.map(|range| scan(range, reverse)).collect();
        if reverse {
            requests.reverse();
        }
        let mut plan = Plan::read(Self::NAME, requests);
        if random.chance(1, 3) {
            // The same snapshot, one request after another: time passes between them.
            plan.rounds = plan
                .rounds
                .remove(0)
                .into_iter()
                .map(|one| vec![one])
                .collect();
        }
        plan
    }
}

impl Workload for Bank {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn setup(&mut self) -> Vec<Plan> {
        let open = |number| put(&self.account(number), OPENING_BALANCE.to_string());
        let mut plan = Plan::one_shot(Self::NAME, vec![], (0..self.accounts).map(open).collect());
        plan.until_committed = true;
        vec![plan]
    }

    fn next(&mut self, random: &mut SplitMix64) -> Plan {
        let (from, to) = two_of(random, self.accounts);
        let (from, to) = (self.account(from), self.account(to));
        let amount = 1 + random.below(30) as i64;
        match random.below(10) {
            0..=2 => self.read_all(random),
            3..=6 => {
                let guards = vec![guard(&from, Condition::AtLeast(amount))];
                Plan::one_shot(
                    Self::NAME,
                    guards,
                    vec![add(&from, -amount), add(&to, amount)],
                )
            }
            7 | 8 => {
                let rounds = if random.chance(1, 2) {
                    vec![vec![get(&from), get(&to)]]
                } else {
                    vec![vec![get(&from)], vec![get(&to)]]
                };
                Plan::interactive(Self::NAME, rounds, move |seen| {
                    transfer(&from, &to, amount, seen)
                })
            }
            _ => {
                // Half of those in the other order: they wait for each other over two partitions, and
                // the older one is served (R11).
                let swapped = to < from && random.chance(1, 2);
                let locks = if swapped { [&to, &from] } else { [&from, &to] };
                let locks = locks.map(Key::clone).to_vec();
                let mut plan = Plan::interactive(Self::NAME, vec![], move |seen| {
                    let mut seen = seen.to_vec();
                    if swapped {
                        seen.reverse();
                    }
                    transfer(&from, &to, amount, &seen)
                });
                plan.locks = locks;
                plan
            }
        }
    }
}

fn transfer(from: &Key, to: &Key, amount: i64, seen: &[Observation]) -> Option<Writes> {
    let (here, there) = (seen.first()?.number()?, seen.get(1)?.number()?);
    if here == 0 {
        return None;
    }
    let amount = amount.min(here);
    Some(Writes {
        guards: vec![],
        operations: vec![balance(from, here - amount), balance(to, there + amount)],
    })
}

fn balance(key: &Key, amount: i64) -> Operation {
    match amount {
        0 => operation(key, OperationKind::Delete),
        _ => put(key, Bytes::from(amount.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Observation;
    use clock::Timestamp;
    use wire::message::VersionedValue;

    fn seen(key: &Key, value: &'static str) -> Observation {
        let timestamp = Timestamp::from_micros(1);
        let value = Bytes::from_static(value.as_bytes());
        let found = Some(VersionedValue { timestamp, value });
        Observation::Get {
            key: key.clone(),
            found,
        }
    }

    #[test]
    fn a_transfer_moves_no_more_than_is_there_and_leaves_an_empty_account_absent() {
        let bank = Bank::new(Letters(3), 5);
        let (a, b) = (bank.account(0), bank.account(1));
        let writes = transfer(&a, &b, 30, &[seen(&a, "20"), seen(&b, "5")]).unwrap();
        assert_eq!(
            writes.operations,
            [operation(&a, OperationKind::Delete), put(&b, "25")]
        );
    }
}
