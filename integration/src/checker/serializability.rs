//! Serializability by timestamps (protocol, *Why it is strictly serializable*; Adya, *Weak
//! Consistency*, 1999, for what a read may return).
//!
//! - Whatever was read at a snapshot is the state at that snapshot, also if the transaction was
//!   aborted afterwards: values, versions, absences and the completeness of scans.
//! - A transaction that wrote reads what stands just below its commit timestamp: nothing that it read
//!   changed between its snapshot and its commit.

use super::{ModelVersion, VersionModel, Violation};
use crate::history::{Fate, History, Observation, Transaction, TransactionIndex};
use clock::Timestamp;
use wire::keys::Key;
use wire::message::VersionedValue;

const PROPERTY: &str = "serializability by timestamps";

pub(super) fn check(history: &History, model: &VersionModel) -> Result<(), Violation> {
    for (index, transaction) in history.iter() {
        let Some(snapshot) = transaction.snapshot else {
            continue;
        };
        let committed = transaction.committed_at();
        if committed.is_none() && transaction.locking {
            continue;
        }
        for observation in &transaction.reads {
            check_observation(index, snapshot, observation, model)?;
        }
        if let Fate::Committed { at } = transaction.fate() {
            check_still_holds(index, transaction, snapshot, at, model)?;
        }
    }
    Ok(())
}

fn check_observation(
    index: TransactionIndex,
    snapshot: Timestamp,
    observation: &Observation,
    model: &VersionModel,
) -> Result<(), Violation> {
    match observation {
        Observation::Get { key, found } => {
            let expected = model.read_by(index, key, snapshot);
            if !is_same(model.versions(key), expected, found.as_ref()) {
                return Err(differs(index, snapshot, key, found.as_ref(), expected));
            }
            Ok(())
        }
        Observation::Scan { reverse, rows, .. } => {
            let covered = observation.covered();
            let mut expected = model.live(index, &covered, snapshot);
            if *reverse {
                expected.reverse();
            }
            let keys_match = expected
                .iter()
                .map(|(key, _)| *key)
                .eq(rows.iter().map(|r| &r.key));
            if !keys_match {
                let why = format!(
                    "{index:?} scanned {covered:?} at {snapshot} and found {:?}; the state there has {:?}",
                    rows.iter().map(|r| &r.key).collect::<Vec<_>>(),
                    expected.iter().map(|(key, _)| *key).collect::<Vec<_>>()
                );
                return Err(Violation::new(PROPERTY, &[index], why));
            }
            for row in rows {
                let expected = model.read_by(index, &row.key, snapshot);
                if !is_same(model.versions(&row.key), expected, Some(&row.version)) {
                    return Err(differs(
                        index,
                        snapshot,
                        &row.key,
                        Some(&row.version),
                        expected,
                    ));
                }
            }
            Ok(())
        }
    }
}

/// Whether what was found is the expected version. A write that changed nothing may have left no
/// version of its own, so the one that it repeated counts too.
fn is_same(
    versions: &[ModelVersion],
    expected: Option<(usize, &ModelVersion)>,
    found: Option<&VersionedValue>,
) -> bool {
    let Some((mut place, newest)) = expected else {
        return found.is_none();
    };
    let Some(found) = found else {
        return newest.value.is_none();
    };
    if newest.value.as_ref() != Some(&found.value) {
        return false;
    }
    loop {
        let version = &versions[place];
        if version.timestamp == found.timestamp {
            return true;
        }
        if !version.changes_nothing || place == 0 {
            return false;
        }
        place -= 1;
    }
}

fn differs(
    index: TransactionIndex,
    snapshot: Timestamp,
    key: &Key,
    found: Option<&VersionedValue>,
    expected: Option<(usize, &ModelVersion)>,
) -> Violation {
    let writer = expected.map_or(index, |(_, version)| version.writer);
    let why = format!(
        "{index:?} read {key} at {snapshot} and found {found:?}; the state there is {:?}",
        expected.map(|(_, version)| version)
    );
    Violation::new(PROPERTY, &[index, writer], why)
}

fn check_still_holds(
    index: TransactionIndex,
    transaction: &Transaction,
    snapshot: Timestamp,
    at: Timestamp,
    model: &VersionModel,
) -> Result<(), Violation> {
    for observation in &transaction.reads {
        let change = model.change_between(&observation.covered(), snapshot, at, index);
        if let Some((key, version)) = change {
            let why = format!(
                "{index:?} read {key} at {snapshot} and committed at {at}, but {:?} changed it at {} in between",
                version.writer, version.timestamp
            );
            return Err(Violation::new(PROPERTY, &[index, version.writer], why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, get, history, key, read, ts};
    use super::*;
    use crate::history::Observation;
    use crate::workload::put;
    use wire::keys::KeyRange;

    fn verdict(transactions: Vec<Transaction>) -> Result<(), Violation> {
        let history = history(transactions);
        check(&history, &VersionModel::replay(&history).unwrap())
    }

    fn two_writes() -> Vec<Transaction> {
        vec![
            commit(10, vec![put(&key("a"), "1")]),
            commit(20, vec![put(&key("a"), "2")]),
        ]
    }

    #[test]
    fn a_read_of_the_state_at_its_snapshot_is_right() {
        let mut all = two_writes();
        all.push(read(15, vec![get("a", Some((10, "1"))), get("b", None)]));
        assert_eq!(verdict(all), Ok(()));
    }

    #[test]
    fn a_stale_a_future_and_an_invented_value_are_found() {
        for wrong in [Some((10, "1")), Some((20, "1")), Some((10, "2")), None] {
            let mut all = two_writes();
            all.push(read(25, vec![get("a", wrong)]));
            assert!(verdict(all).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_row_missing_from_a_scan_is_found() {
        let mut all = two_writes();
        let scan = Observation::Scan {
            range: KeyRange::new(key("a"), Some(key("c"))),
            reverse: false,
            rows: vec![],
            rest: None,
        };
        all.push(read(25, vec![scan]));
        assert!(verdict(all).is_err());
    }

    #[test]
    fn a_change_between_snapshot_and_commit_is_found() {
        let mut all = two_writes();
        let mut skewed = commit(30, vec![put(&key("b"), "x")]);
        skewed.snapshot = Some(ts(15));
        skewed.reads = vec![get("a", Some((10, "1")))];
        all.push(skewed);
        let violation = verdict(all).unwrap_err();
        assert!(violation.why.contains("in between"), "{violation}");
    }
}
