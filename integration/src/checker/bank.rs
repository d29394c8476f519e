//! Bank: every snapshot of all accounts has the same sum (Jepsen's bank workload; values only, no
//! timestamps).

use super::Violation;
use crate::history::{Fate, History, Observation, Transaction, number};
use crate::workload::Bank;

const PROPERTY: &str = "bank total";

pub(super) fn check(history: &History) -> Result<(), Violation> {
    let mut total: Option<(i64, crate::history::TransactionIndex)> = None;
    let answered =
        |t: &Transaction| t.workload == Bank::NAME && matches!(t.fate(), Fate::Read { .. });
    for (index, transaction) in history.iter().filter(|(_, t)| answered(t)) {
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
    use super::super::fixtures::{get, history, read};
    use super::*;

    fn look(balances: [&'static str; 2]) -> Transaction {
        let [a, b] = balances.map(|balance| Some((1, balance)));
        Transaction {
            workload: Bank::NAME,
            ..read(9, vec![get("a", a), get("b", b)])
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
