//! Bank: every snapshot of all accounts has the same sum (Jepsen's bank workload; values only, no
//! timestamps).

use super::Violation;
use crate::history::{Fate, History, Observation, Transaction, number};
use crate::workload::Bank;

const PROPERTY: &str = "bank total";

pub(super) fn check(history: &History) -> Result<(), Violation> {
    let mut total: Option<(i64, crate::history::TransactionIndex)> = None;
    for (index, transaction) in history.iter().filter(|(_, t)| sees_all(t)) {
        let sum = match sum_of(transaction) {
            Ok(sum) => sum,
            Err(why) => return Err(Violation::new(PROPERTY, &[index], why)),
        };
        match total {
            None => total = Some((sum, index)),
            Some((expected, first)) if expected != sum => {
                let why = format!("{first:?} saw a total of {expected}, {index:?} one of {sum}");
                return Err(Violation::new(PROPERTY, &[first, index], why));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether it read every account: only scans do, of which each reads one letter's.
fn sees_all(transaction: &Transaction) -> bool {
    let is_scan = |o: &Observation| matches!(o, Observation::Scan { .. });
    transaction.workload == Bank::NAME
        && matches!(transaction.fate(), Fate::Read { .. })
        && transaction.reads.iter().all(is_scan)
}

fn sum_of(transaction: &Transaction) -> Result<i64, String> {
    let rows = transaction.reads.iter().flat_map(Observation::found);
    rows.map(|(key, version)| {
        let balance = number(&version.value).filter(|balance| *balance >= 0);
        balance.ok_or_else(|| format!("{key} has the balance {:?}", version.value))
    })
    .sum()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{history, key, read, ts};
    use super::*;
    use wire::keys::KeyRange;
    use wire::message::{Row, VersionedValue};

    fn look(balances: [&'static str; 2]) -> Transaction {
        let scans = balances.map(|balance| Observation::Scan {
            range: KeyRange::all(),
            reverse: false,
            rows: vec![Row {
                key: key("a"),
                version: VersionedValue {
                    timestamp: ts(1),
                    value: balance.into(),
                },
            }],
            rest: None,
        });
        Transaction {
            workload: Bank::NAME,
            ..read(9, scans.to_vec())
        }
    }

    #[test]
    fn another_sum_or_a_negative_balance_is_found() {
        assert_eq!(
            check(&history([look(["5", "5"]), look(["9", "1"])])),
            Ok(())
        );
        assert!(check(&history([look(["5", "5"]), look(["9", "2"])])).is_err());
        assert!(check(&history([look(["11", "-1"])])).is_err());
    }
}
