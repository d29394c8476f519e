//! Bank: however money is moved, every snapshot of all accounts has the same sum (Jepsen's `bank`
//! workload, first used on Galera, 2015).
//!
//! `:read` → `{account balance …}`, all accounts, at any snapshot: now, of long ago, from a follower
//! (whatever the function's name, an `:ok` whose value is a map is a read). `:transfer`
//! `{:from a :to b :amount n}` is not looked at: only its effect is.
//!
//! Not checked: that transfers that were acknowledged happened.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Malformed, Sequence};
use crate::verdict::{Finding, Findings, Verdict};

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let is_read = |call: &&Call| {
        call.is_ok() && call.told.sequence() == Some(Sequence::Map) && call.f != "transfer"
    };
    let mut first: Option<(&Call, i64, Vec<String>)> = None;
    for call in calls.iter().filter(is_read) {
        let mut sum = 0i64;
        let mut accounts: Vec<String> = Vec::new();
        for (account, balance) in call.told.entries() {
            let balance = balance
                .int()
                .ok_or_else(|| call.unknown("a map of accounts and whole numbers"))?;
            sum = sum
                .checked_add(balance)
                .ok_or_else(|| call.unknown("a map whose sum fits 64 bits"))?;
            accounts.push(account.to_string());
            if balance < 0 {
                findings.add_with("negative-balance", || {
                    let why = format!("account {account} has {balance}\n{}", call.quote());
                    Finding::new("negative-balance", why, &places(&[call]))
                });
            }
        }
        accounts.sort();
        let Some((whole, total, known)) = &first else {
            first = Some((call, sum, accounts));
            continue;
        };
        let mut add = |anomaly, what: String| {
            findings.add_with(anomaly, || {
                let why = format!("{what}\n{}", quotes(&[whole, call]));
                Finding::new(anomaly, why, &places(&[whole, call]))
            });
        };
        if accounts != *known {
            add(
                "wrong-accounts",
                "the two reads show other accounts".to_owned(),
            );
        } else if sum != *total {
            add(
                "wrong-total",
                format!("the first read has a total of {total}, the second one of {sum}"),
            );
        }
    }
    Ok(Verdict::of(findings, calls.len()))
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    #[test]
    fn sums_that_stay_are_fine_whoever_reads_them() {
        let lines = "0 invoke read nil\n0 ok read {0 5, 1 5}\n0 invoke transfer {:from 0 :to 1 :amount 2}
            0 ok transfer {:from 0 :to 1 :amount 2}\n1 invoke read-follower nil\n1 ok read-follower {1 7, 0 3}";
        assert_eq!(found(check, lines), Vec::<&str>::new());
    }

    #[test]
    fn another_total_other_accounts_and_debts_are_found() {
        let read = |balances: &str| {
            format!(
                "0 invoke read nil\n0 ok read {{0 5, 1 5}}\n0 invoke read nil\n0 ok read {balances}"
            )
        };
        assert_eq!(found(check, &read("{0 5, 1 6}")), ["wrong-total"]);
        assert_eq!(found(check, &read("{0 10}")), ["wrong-accounts"]);
        assert_eq!(found(check, &read("{0 11, 1 -1}")), ["negative-balance"]);
    }
}
