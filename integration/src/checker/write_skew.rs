//! Write skew: the sum of a pair is never negative, though each withdrawal touches one of the two
//! (Berenson et al., *A Critique of ANSI SQL Isolation Levels*, 1995: A5B; values only).

use super::Violation;
use crate::history::{Fate, History, Observation};
use crate::workload::WriteSkew;

const PROPERTY: &str = "write skew";

pub(super) fn check(history: &History) -> Result<(), Violation> {
    let looked = history.iter().filter(|(_, t)| {
        let counts = matches!(t.fate(), Fate::Read { .. } | Fate::Committed { .. });
        t.workload == WriteSkew::NAME && counts
    });
    for (index, transaction) in looked {
        let balances: Vec<i64> = transaction
            .reads
            .iter()
            .filter_map(Observation::number)
            .collect();
        if balances.iter().sum::<i64>() < 0 {
            let why = format!("{index:?} saw the balances {balances:?}, whose sum is negative");
            return Err(Violation::new(PROPERTY, &[index], why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{get, history, read};
    use super::*;
    use crate::history::Transaction;

    #[test]
    fn a_negative_sum_is_found() {
        let look = |a, b| {
            let reads = vec![get("a", Some((1, a))), get("b", Some((2, b)))];
            let looked = Transaction {
                workload: WriteSkew::NAME,
                ..read(9, reads)
            };
            check(&history([looked]))
        };
        assert_eq!(look("5", "-5"), Ok(()));
        assert!(look("5", "-6").is_err());
    }
}
