//! Lists by their elements (Kingsbury and Alvaro, *Elle*, VLDB 2020: G1a, incompatible order, lost
//! update; values only).
//!
//! - Every read of a list is a prefix of the list in the end: all saw one order of the appends.
//! - Each committed append is there exactly once; no other is there.
//! - Two lists read at one snapshot show all or nothing of each append to both.

use super::{StoredVersions, Violation};
use crate::history::{Fate, History, Observation, Transaction, TransactionIndex};
use crate::workload::ListAppend;
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::keys::Key;
use wire::message::OperationKind;

const PROPERTY: &str = "list append";

/// Elements by list, each with its writer.
type Appends<'a> = BTreeMap<(&'a Key, &'a [u8]), TransactionIndex>;

pub(super) fn check(history: &History, stored: &StoredVersions) -> Result<(), Violation> {
    let of_lists = |(_, t): &(TransactionIndex, &Transaction)| t.workload == ListAppend::NAME;
    let mut appends = Appends::new();
    for (index, transaction) in history.iter().filter(of_lists) {
        if transaction.committed_at().is_some() {
            collect(index, transaction, &mut appends);
        }
    }
    let mut last: BTreeMap<&Key, Vec<&[u8]>> = BTreeMap::new();
    for key in appends.keys().map(|(key, _)| *key) {
        last.entry(key)
            .or_insert_with(|| elements(newest(stored, key)));
    }
    check_appends(&appends, &last)?;
    for (index, transaction) in history.iter().filter(of_lists) {
        let answered = matches!(
            transaction.fate(),
            Fate::Read { .. } | Fate::Committed { .. }
        );
        if answered {
            check_reads(index, transaction, &last)?;
            check_whole(index, transaction, history, &appends)?;
        }
    }
    Ok(())
}

fn newest<'a>(stored: &'a StoredVersions, key: &Key) -> Option<&'a Bytes> {
    stored.get(key)?.last()?.1.as_ref()
}

fn elements(value: Option<&Bytes>) -> Vec<&[u8]> {
    let bytes = value.map_or(&[][..], |value| value);
    bytes
        .split(|b| *b == b',')
        .filter(|e| !e.is_empty())
        .collect()
}

fn collect<'a>(index: TransactionIndex, transaction: &'a Transaction, appends: &mut Appends<'a>) {
    for operation in &transaction.operations {
        if let OperationKind::Append(element) = &operation.kind {
            let element = element.strip_suffix(b",").unwrap_or(element);
            appends.insert((&operation.key, element), index);
        }
    }
}

fn check_appends(appends: &Appends, last: &BTreeMap<&Key, Vec<&[u8]>>) -> Result<(), Violation> {
    for ((key, element), index) in appends {
        let times = last[key].iter().filter(|e| *e == element).count();
        if times != 1 {
            let why = format!(
                "{index:?} appended {} to {key}: it is there {times} times",
                element.escape_ascii()
            );
            return Err(Violation::new(PROPERTY, &[*index], why));
        }
    }
    for (key, elements) in last {
        for element in elements {
            if !appends.contains_key(&(*key, *element)) {
                let why = format!(
                    "{key} holds {}, which nobody appended and committed",
                    element.escape_ascii()
                );
                return Err(Violation::new(PROPERTY, &[], why));
            }
        }
    }
    Ok(())
}

fn check_reads(
    index: TransactionIndex,
    transaction: &Transaction,
    last: &BTreeMap<&Key, Vec<&[u8]>>,
) -> Result<(), Violation> {
    for observation in &transaction.reads {
        let Observation::Get { key, .. } = observation else {
            continue;
        };
        let seen = elements(observation.value());
        let whole = last.get(key).map_or(&[][..], |elements| elements);
        if !whole.starts_with(&seen) {
            let why = format!(
                "{index:?} read {:?} in {key}, which is no prefix of what the list became",
                observation.value()
            );
            return Err(Violation::new(PROPERTY, &[index], why));
        }
    }
    Ok(())
}

/// Of a writer whose append to one list is seen, the appends to the other lists are seen too.
fn check_whole(
    index: TransactionIndex,
    transaction: &Transaction,
    history: &History,
    appends: &Appends,
) -> Result<(), Violation> {
    let mut seen: BTreeMap<&Key, Vec<&[u8]>> = BTreeMap::new();
    for observation in &transaction.reads {
        if let Observation::Get { key, .. } = observation {
            seen.insert(key, elements(observation.value()));
        }
    }
    let elements_seen = seen
        .iter()
        .flat_map(|(key, all)| all.iter().map(|e| (*key, *e)));
    for writer in elements_seen.filter_map(|element| appends.get(&element)) {
        for operation in &history.get(*writer).operations {
            let OperationKind::Append(element) = &operation.kind else {
                continue;
            };
            let element = element.strip_suffix(b",").unwrap_or(element);
            let missing = seen
                .get(&operation.key)
                .is_some_and(|all| !all.contains(&element));
            if missing {
                let why = format!(
                    "{index:?} saw a part of {writer:?}, but not its append of {} to {}",
                    element.escape_ascii(),
                    operation.key
                );
                return Err(Violation::new(PROPERTY, &[index, *writer], why));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, get, history, key, read, ts};
    use super::*;
    use crate::workload::operation;

    fn of_lists(transaction: Transaction) -> Transaction {
        Transaction {
            workload: ListAppend::NAME,
            ..transaction
        }
    }

    fn append(at: u64, element: &'static str, keys: &[&str]) -> Transaction {
        let kind = OperationKind::Append(element.into());
        let operations = keys
            .iter()
            .map(|k| operation(&key(k), kind.clone()))
            .collect();
        of_lists(commit(at, operations))
    }

    fn verdict(reads: Vec<Observation>, a: &'static str) -> Result<(), Violation> {
        let all = [
            append(1, "1,", &["a"]),
            append(2, "2,", &["a", "b"]),
            of_lists(read(3, reads)),
        ];
        let stored = StoredVersions::from([
            (key("a"), vec![(ts(2), Some(a.into()))]),
            (key("b"), vec![(ts(2), Some("2,".into()))]),
        ]);
        check(&history(all), &stored)
    }

    #[test]
    fn prefixes_are_right_and_other_orders_are_found() {
        assert_eq!(verdict(vec![get("a", Some((1, "1,")))], "1,2,"), Ok(()));
        assert_eq!(verdict(vec![get("a", None)], "1,2,"), Ok(()));
        assert!(verdict(vec![get("a", Some((1, "2,")))], "1,2,").is_err());
    }

    #[test]
    fn lost_doubled_and_unknown_elements_are_found() {
        for wrong in ["1,", "1,2,2,", "1,2,3,"] {
            assert!(verdict(vec![], wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_half_seen_transaction_is_found() {
        let half = vec![get("a", Some((2, "1,2,"))), get("b", None)];
        assert!(verdict(half, "1,2,").is_err());
    }
}
