//! Real-time order by timestamps (protocol, *Why it is strictly serializable*; Herlihy and Wing,
//! *Linearizability*, 1990, for the order itself).
//!
//! A transaction that wrote has `e = c`; one that only read has `e = min(r, true time of its
//! acknowledgement)`. If A was acknowledged before B was begun, then `e(A) < e(B)`, and `<=` if B only
//! read (it sees everything at or below its snapshot) or A did.

use super::Violation;
use crate::history::{Fate, History, Transaction, TransactionIndex};
use crate::simulation::clocks::true_timestamp;
use clock::Timestamp;
use std::time::Duration;

const PROPERTY: &str = "real-time order by timestamps";

struct Point {
    time: Duration,
    index: TransactionIndex,
    e: Timestamp,
    reads_only: bool,
    ends: bool,
}

pub(super) fn check(history: &History) -> Result<(), Violation> {
    let mut points: Vec<Point> = history.iter().flat_map(|(i, t)| points_of(i, t)).collect();
    // At one instant beginnings come first: what ends in the same instant is not before them.
    points.sort_by_key(|point| (point.time, point.ends));
    let mut highest: Option<(Timestamp, bool, TransactionIndex)> = None;
    for point in points {
        if point.ends {
            let this = (point.e, !point.reads_only, point.index);
            highest = highest.max(Some(this));
            continue;
        }
        let Some((e, wrote, earlier)) = highest else {
            continue;
        };
        let in_order = match wrote && !point.reads_only {
            true => e < point.e,
            false => e <= point.e,
        };
        if !in_order {
            let why = format!(
                "{earlier:?} was acknowledged before {:?} began, but stands at {e}, the later one at {}",
                point.index, point.e
            );
            return Err(Violation::new(PROPERTY, &[earlier, point.index], why));
        }
    }
    Ok(())
}

fn points_of(index: TransactionIndex, transaction: &Transaction) -> Vec<Point> {
    if transaction.past {
        return Vec::new();
    }
    let acknowledged = transaction.acknowledged();
    let (e, reads_only) = match (transaction.fate(), acknowledged) {
        (Fate::Committed { at }, _) => (at, false),
        (Fate::Read { at }, Some(end)) => (at.min(true_timestamp(end)), true),
        _ => return Vec::new(),
    };
    let point = |time, ends| Point {
        time,
        index,
        e,
        reads_only,
        ends,
    };
    let mut points = vec![point(transaction.invoked, false)];
    points.extend(acknowledged.map(|end| point(end, true)));
    points
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, during, history, key, read};
    use super::*;
    use crate::workload::put;

    fn write(at: u64) -> Transaction {
        commit(at, vec![put(&key("a"), "x")])
    }

    #[test]
    fn a_later_transaction_below_an_acknowledged_one_is_found() {
        let wrong = history([during(0, 5, write(20)), during(6, 9, write(10))]);
        assert!(check(&wrong).is_err());
        let stale = history([during(0, 5, write(20)), during(6, 9, read(10, vec![]))]);
        assert!(check(&stale).is_err());
    }

    #[test]
    fn concurrent_ones_may_stand_in_any_order() {
        let both = history([during(0, 7, write(20)), during(6, 9, write(10))]);
        assert_eq!(check(&both), Ok(()));
        let touching = history([during(0, 6, write(20)), during(6, 9, write(10))]);
        assert_eq!(check(&touching), Ok(()));
    }
}
