//! Hot keys: in the end each is the sum of what every committed transaction added to it, whether the
//! server added or the client read, added and wrote back (lost updates, doubled commits; values only).

use super::{StoredVersions, Violation};
use crate::history::{History, Transaction, TransactionIndex, number};
use crate::workload::Hot;
use std::collections::BTreeMap;
use wire::keys::Key;
use wire::message::{Operation, OperationKind};

const PROPERTY: &str = "hot total";

pub(super) fn check(history: &History, stored: &StoredVersions) -> Result<(), Violation> {
    let mut sums: BTreeMap<&Key, (i64, Vec<TransactionIndex>)> = BTreeMap::new();
    for (index, transaction) in history.iter() {
        if transaction.workload != Hot::NAME || transaction.committed_at().is_none() {
            continue;
        }
        for operation in &transaction.operations {
            let Some(added) = added(transaction, operation) else {
                let why = format!("{index:?} wrote {operation:?} without a number read before");
                return Err(Violation::new(PROPERTY, &[index], why));
            };
            let (sum, adders) = sums.entry(&operation.key).or_default();
            *sum += added;
            adders.push(index);
        }
    }
    for (key, (sum, adders)) in sums {
        let newest = stored.get(key).and_then(|versions| versions.last());
        let value = newest.and_then(|(_, value)| value.as_ref());
        if value.map_or(Some(0), number) != Some(sum) {
            let why = format!("{key} is {value:?} in the end, what was committed adds up to {sum}");
            return Err(Violation::new(PROPERTY, &adders, why));
        }
    }
    Ok(())
}

fn added(transaction: &Transaction, operation: &Operation) -> Option<i64> {
    match &operation.kind {
        OperationKind::Add(delta) => Some(*delta),
        OperationKind::Put(value) => {
            let read = transaction.reads.iter().find_map(|read| {
                let is_it = read.covered().as_point() == Some(&operation.key);
                is_it.then(|| read.number()).flatten()
            })?;
            Some(number(value)? - read)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, history, key, ts};
    use super::*;
    use crate::history::Observation;
    use crate::workload::{add, put};

    #[test]
    fn an_update_that_was_lost_is_found() {
        let hot = |transaction| Transaction {
            workload: Hot::NAME,
            ..transaction
        };
        let read_nothing = Observation::Get {
            key: key("a"),
            found: None,
        };
        let wrote = Transaction {
            reads: vec![read_nothing],
            ..commit(2, vec![put(&key("a"), "4")])
        };
        let both = history([hot(commit(1, vec![add(&key("a"), 3)])), hot(wrote)]);
        let stored = |value: &'static str| {
            StoredVersions::from([(key("a"), vec![(ts(2), Some(value.into()))])])
        };
        assert_eq!(check(&both, &stored("7")), Ok(()));
        assert!(check(&both, &stored("4")).is_err());
    }
}
