//! Counter: in the end each counter is what the committed transactions make of it, applied once each;
//! while additions alone touch it, their order does not matter (Jepsen's counter workload; values only).

use super::{StoredVersions, Violation};
use crate::history::{History, TransactionIndex, number};
use crate::workload::Counter;
use std::collections::BTreeMap;
use wire::keys::Key;
use wire::message::OperationKind;

const PROPERTY: &str = "counter total";

pub(super) fn check(history: &History, stored: &StoredVersions) -> Result<(), Violation> {
    let mut sums: BTreeMap<&Key, (i64, Vec<TransactionIndex>, bool)> = BTreeMap::new();
    for (index, transaction) in history.iter() {
        if transaction.workload != Counter::NAME || transaction.committed_at().is_none() {
            continue;
        }
        for operation in &transaction.operations {
            let (sum, adders, additions_only) =
                sums.entry(&operation.key).or_insert((0, vec![], true));
            match operation.kind {
                OperationKind::Add(delta) => *sum += delta,
                _ => *additions_only = false,
            }
            adders.push(index);
        }
    }
    for (key, (sum, adders, additions_only)) in sums {
        let newest = stored.get(key).and_then(|versions| versions.last());
        let value = newest.and_then(|(_, value)| value.as_ref());
        let found = value.map_or(Some(0), number);
        if additions_only && found != Some(sum) {
            let why = format!("{key} is {value:?} in the end, the committed additions make {sum}");
            return Err(Violation::new(PROPERTY, &adders, why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, history, key, ts};
    use super::*;
    use crate::history::Transaction;
    use crate::workload::add;

    #[test]
    fn a_lost_or_doubled_addition_is_found() {
        let one = |at| Transaction {
            workload: Counter::NAME,
            ..commit(at, vec![add(&key("a"), 3)])
        };
        let both = history([one(1), one(2)]);
        let stored = |value: &'static str| {
            StoredVersions::from([(key("a"), vec![(ts(2), Some(value.into()))])])
        };
        assert_eq!(check(&both, &stored("6")), Ok(()));
        assert!(check(&both, &stored("3")).is_err());
        assert!(check(&both, &stored("9")).is_err());
    }
}
