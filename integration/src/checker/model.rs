//! All committed transactions, run again one after another in the order of their commit timestamps: the
//! history that strict serializability says is the only one (protocol, *Why it is strictly
//! serializable*: `e = c`).
//!
//! Running them also checks what the server evaluated: guards hold just below the commit timestamp,
//! operations fit, and results are what the client was told.

use super::Violation;
use crate::history::{History, Told, Transaction, TransactionIndex, number};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeMap;
use wire::keys::{Key, KeyRange};
use wire::message::{Condition, Guard, Operation, OperationKind};

const PROPERTY: &str = "serializability (what the server evaluated)";

/// One version as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelVersion {
    /// The commit timestamp of its writer.
    pub timestamp: Timestamp,
    /// Its value; `None`: a tombstone.
    pub value: Option<Bytes>,
    /// Who wrote it.
    pub writer: TransactionIndex,
    /// The value is the one that was there before: the store need not write a version for it.
    pub changes_nothing: bool,
}

/// Every version of every key as it should be.
#[derive(Clone, Debug, Default)]
pub struct VersionModel {
    keys: BTreeMap<Key, Vec<ModelVersion>>,
}

impl VersionModel {
    /// Runs all committed transactions of a history again.
    pub fn replay(history: &History) -> Result<VersionModel, Violation> {
        let mut committed: Vec<(Timestamp, TransactionIndex, &Transaction)> = history
            .iter()
            .filter_map(|(index, t)| Some((t.committed_at()?, index, t)))
            .collect();
        committed.sort_by_key(|(at, index, _)| (*at, *index));
        let mut model = VersionModel::default();
        for (at, index, transaction) in &committed {
            model.run(*at, *index, transaction)?;
        }
        for (at, index, transaction) in &committed {
            for guard in &transaction.guards {
                model.check_guard(*at, *index, guard)?;
            }
        }
        Ok(model)
    }

    /// The versions of a key, oldest first.
    pub fn versions(&self, key: &Key) -> &[ModelVersion] {
        self.keys.get(key).map_or(&[], |versions| versions)
    }

    /// Every key that was ever written.
    pub fn keys(&self) -> impl Iterator<Item = (&Key, &[ModelVersion])> {
        self.keys.iter().map(|(key, versions)| (key, &versions[..]))
    }

    /// The newest version at or below a timestamp, tombstones included, and its place.
    pub fn at(&self, key: &Key, timestamp: Timestamp) -> Option<(usize, &ModelVersion)> {
        let versions = self.versions(key);
        let above = versions.partition_point(|v| v.timestamp <= timestamp);
        let place = above.checked_sub(1)?;
        Some((place, &versions[place]))
    }

    /// What a transaction reads of a key at its snapshot: the newest version at or below it that is not
    /// its own. A commit timestamp can equal the snapshot, and nobody reads his own write there.
    pub fn read_by(
        &self,
        reader: TransactionIndex,
        key: &Key,
        snapshot: Timestamp,
    ) -> Option<(usize, &ModelVersion)> {
        let (place, version) = self.at(key, snapshot)?;
        if version.writer != reader {
            return Some((place, version));
        }
        let place = place.checked_sub(1)?;
        Some((place, &self.versions(key)[place]))
    }

    /// The live keys of a range that a transaction reads at its snapshot, ascending.
    pub fn live(
        &self,
        reader: TransactionIndex,
        range: &KeyRange,
        snapshot: Timestamp,
    ) -> Vec<(&Key, &ModelVersion)> {
        self.in_range(range)
            .filter_map(|(key, _)| Some((key, self.read_by(reader, key, snapshot)?.1)))
            .filter(|(_, version)| version.value.is_some())
            .collect()
    }

    /// A version in a range with `above < timestamp <= up_to` that changes something and that another
    /// than `own` wrote.
    pub fn change_between(
        &self,
        range: &KeyRange,
        above: Timestamp,
        up_to: Timestamp,
        own: TransactionIndex,
    ) -> Option<(&Key, &ModelVersion)> {
        self.in_range(range).find_map(|(key, versions)| {
            let from = versions.partition_point(|v| v.timestamp <= above);
            let to = versions.partition_point(|v| v.timestamp <= up_to).max(from);
            let is_change = |v: &&ModelVersion| !v.changes_nothing && v.writer != own;
            let change = versions[from..to].iter().find(is_change)?;
            Some((key, change))
        })
    }

    fn in_range(&self, range: &KeyRange) -> impl Iterator<Item = (&Key, &Vec<ModelVersion>)> {
        let end = range.end.clone();
        self.keys
            .range(range.start.clone()..)
            .take_while(move |(key, _)| end.as_ref().is_none_or(|end| *key < end))
    }

    fn run(
        &mut self,
        at: Timestamp,
        index: TransactionIndex,
        transaction: &Transaction,
    ) -> Result<(), Violation> {
        let mut results = Vec::new();
        for operation in &transaction.operations {
            results.push(self.apply(at, index, operation)?);
        }
        let Told::Committed { results: told, .. } = &transaction.told else {
            return Ok(());
        };
        let expected = transaction.operations.iter().zip(results);
        for ((operation, expected), told) in expected.zip(told) {
            if told.is_some() && *told != expected {
                let why = format!(
                    "{index:?} was told {told:?} as the new value of {}, in the order of timestamps it is {expected:?}",
                    operation.key
                );
                return Err(Violation::new(PROPERTY, &[index], why));
            }
        }
        Ok(())
    }

    fn check_guard(
        &self,
        at: Timestamp,
        index: TransactionIndex,
        guard: &Guard,
    ) -> Result<(), Violation> {
        // Two transactions may stand at one timestamp if no key is written by both. Then one may have
        // seen the other, so what holds with or without that is right.
        let below = self.at(&guard.key, at.previous());
        let with_equals = self.read_by(index, &guard.key, at);
        let states = [below, with_equals].map(|found| found.map(|(_, version)| version));
        if states.iter().any(|state| holds(&guard.condition, *state)) {
            return Ok(());
        }
        let version = states[0];
        let why = format!(
            "{index:?} committed at {at} although its guard {:?} on {} did not hold: just below there was {version:?}",
            guard.condition, guard.key
        );
        let writer = version.map_or(index, |v| v.writer);
        Err(Violation::new(PROPERTY, &[index, writer], why))
    }

    fn apply(
        &mut self,
        at: Timestamp,
        index: TransactionIndex,
        operation: &Operation,
    ) -> Result<Option<Bytes>, Violation> {
        let newest = self.versions(&operation.key).last();
        if let Some(other) = newest.filter(|v| v.timestamp == at && v.writer != index) {
            let why = format!(
                "{} has two versions at {at}, of {:?} and {index:?}",
                operation.key, other.writer
            );
            return Err(Violation::new(PROPERTY, &[index, other.writer], why));
        }
        let before = newest.and_then(|v| v.value.clone());
        let Some(value) = evaluate(&operation.kind, before.as_ref()) else {
            let why = format!(
                "{index:?} committed at {at} although {:?} does not fit {before:?}, the value of {}",
                operation.kind, operation.key
            );
            return Err(Violation::new(PROPERTY, &[index], why));
        };
        let mut changes_nothing = value == before;
        let versions = self.keys.entry(operation.key.clone()).or_default();
        if let Some(own) = versions.pop_if(|v| v.timestamp == at) {
            // An earlier operation of the same transaction: they make one version.
            let earlier = versions.last().and_then(|v| v.value.as_ref());
            changes_nothing = value.as_ref() == earlier;
            debug_assert_eq!(own.writer, index);
        }
        versions.push(ModelVersion {
            timestamp: at,
            value: value.clone(),
            writer: index,
            changes_nothing,
        });
        Ok(value)
    }
}

fn holds(condition: &Condition, version: Option<&ModelVersion>) -> bool {
    let live = version.and_then(|v| v.value.as_ref().map(|value| (v, value)));
    let value = live.map(|(_, value)| value);
    let as_number = value.map_or(Some(0), number);
    match condition {
        Condition::Exists => value.is_some(),
        Condition::Absent => value.is_none(),
        Condition::Equals(wanted) => value == Some(wanted),
        Condition::NotEquals(unwanted) => value != Some(unwanted),
        Condition::VersionIs(None) => value.is_none(),
        Condition::VersionIs(Some(wanted)) => live.is_some_and(|(v, _)| {
            v.timestamp == *wanted || (v.changes_nothing && v.timestamp > *wanted)
        }),
        Condition::AtLeast(least) => as_number.is_some_and(|n| n >= *least),
        Condition::AtMost(most) => as_number.is_some_and(|n| n <= *most),
    }
}

/// The new value, `Some(None)` a tombstone; `None` if the operation does not fit.
fn evaluate(kind: &OperationKind, before: Option<&Bytes>) -> Option<Option<Bytes>> {
    let old = || before.map_or(Some(None), |value| number(value).map(Some));
    let decimal = |n: i64| Some(Some(Bytes::from(n.to_string())));
    match kind {
        OperationKind::Put(value) => Some(Some(value.clone())),
        OperationKind::Delete => Some(None),
        OperationKind::Add(delta) => decimal(old()?.unwrap_or(0).checked_add(*delta)?),
        OperationKind::Min(other) => decimal(old()?.map_or(*other, |n| n.min(*other))),
        OperationKind::Max(other) => decimal(old()?.map_or(*other, |n| n.max(*other))),
        OperationKind::Append(more) => {
            let mut bytes = before.map(|b| b.to_vec()).unwrap_or_default();
            bytes.extend_from_slice(more);
            Some(Some(bytes.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, history, key, ts};
    use super::*;
    use crate::workload::{add, guard, put};

    #[test]
    fn transactions_are_run_in_the_order_of_their_timestamps() {
        let history = history([
            commit(20, vec![add(&key("a"), 2)]),
            commit(10, vec![put(&key("a"), "5")]),
        ]);
        let model = VersionModel::replay(&history).unwrap();
        let values: Vec<_> = model
            .versions(&key("a"))
            .iter()
            .map(|v| v.value.clone())
            .collect();
        assert_eq!(values, [Some("5".into()), Some("7".into())]);
        assert_eq!(model.at(&key("a"), ts(15)).unwrap().1.timestamp, ts(10));
        assert_eq!(model.at(&key("a"), ts(9)), None);
    }

    #[test]
    fn two_versions_of_one_key_at_one_timestamp_are_found() {
        let history = history([
            commit(10, vec![put(&key("a"), "1")]),
            commit(10, vec![put(&key("a"), "2")]),
        ]);
        let violation = VersionModel::replay(&history).unwrap_err();
        assert!(violation.why.contains("two versions"), "{violation}");
    }

    #[test]
    fn a_commit_whose_guard_did_not_hold_is_found() {
        let mut late = commit(10, vec![put(&key("a"), "1")]);
        late.guards = vec![guard(&key("b"), Condition::Absent)];
        let history = history([commit(5, vec![put(&key("b"), "x")]), late]);
        let violation = VersionModel::replay(&history).unwrap_err();
        assert!(violation.why.contains("guard"), "{violation}");
    }

    #[test]
    fn a_guard_may_rest_on_a_write_at_the_very_commit_timestamp() {
        let mut guarded = commit(10, vec![put(&key("a"), "1")]);
        guarded.guards = vec![guard(&key("b"), Condition::Exists)];
        let history = history([guarded, commit(10, vec![put(&key("b"), "x")])]);
        assert!(VersionModel::replay(&history).is_ok());
    }

    #[test]
    fn a_wrong_result_of_an_addition_is_found() {
        let mut wrong = commit(20, vec![add(&key("a"), 1)]);
        if let Told::Committed { results, .. } = &mut wrong.told {
            *results = vec![Some("1".into())];
        }
        let history = history([commit(10, vec![add(&key("a"), 1)]), wrong]);
        assert!(VersionModel::replay(&history).is_err());
    }
}
