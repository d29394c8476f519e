//! Exactly once (protocol R10, idempotent receiver): what a client was told, what the store says of the
//! outcome later, and what the store holds, agree.
//!
//! - Told committed at `c`: the outcome is committed at `c`. Told aborted: the outcome is aborted.
//! - Whoever sent the same commit again elsewhere, or asked for its outcome, heard the same; a copy that
//!   is marked as sent before is refused for good or not at all.
//! - No id committed twice: no two transactions share one.

use super::{StoredVersions, VersionModel, Violation};
use crate::history::{Fate, History, Told, Transaction, TransactionIndex, Verdict};
use std::collections::BTreeMap;
use wire::ids::TransactionId;
use wire::message::OutcomeAnswer;

const PROPERTY: &str = "exactly-once";

pub(super) fn check(
    history: &History,
    model: &VersionModel,
    stored: &StoredVersions,
) -> Result<(), Violation> {
    let mut ids: BTreeMap<TransactionId, TransactionIndex> = BTreeMap::new();
    for (index, transaction) in history.iter() {
        let Some(name) = &transaction.name else {
            continue;
        };
        if let Some(other) = ids.insert(name.id, index) {
            let why = format!("{other:?} and {index:?} have the same id {}", name.id);
            return Err(Violation::new(PROPERTY, &[other, index], why));
        }
        check_heard(index, transaction)?;
        let Some(settled) = &transaction.settled else {
            continue;
        };
        let agrees = match (&transaction.told, settled.answer) {
            (Told::Committed { at: told, .. }, OutcomeAnswer::Committed { at }) => *told == at,
            (Told::Committed { .. }, _) => false,
            (Told::Nothing, OutcomeAnswer::Committed { .. } | OutcomeAnswer::Aborted) => true,
            (Told::Nothing, _) => false,
            (_, answer) => answer == OutcomeAnswer::Aborted,
        };
        if !agrees {
            let why = format!(
                "{index:?} was told {:?}, and asked for the outcome the store said {:?}",
                transaction.told, settled.answer
            );
            return Err(Violation::new(PROPERTY, &[index], why));
        }
    }
    check_all_or_nothing(history, model, stored)
}

/// All that was heard beside what the client was told agrees with what is known in the end.
fn check_heard(index: TransactionIndex, transaction: &Transaction) -> Result<(), Violation> {
    let fate = transaction.fate();
    for heard in &transaction.heard {
        let agrees = match (heard.verdict, fate) {
            (Verdict::Committed { at }, Fate::Committed { at: known }) => at == known,
            (Verdict::Aborted, Fate::NoEffect) => true,
            (Verdict::Committed { .. } | Verdict::Aborted, Fate::Unknown) => true,
            _ => false,
        };
        if !agrees {
            let why = format!(
                "{index:?} was told {:?}, later {:?}, but who sent it again elsewhere heard {heard:?}",
                transaction.told, transaction.settled
            );
            return Err(Violation::new(PROPERTY, &[index], why));
        }
    }
    Ok(())
}

/// Whatever committed left a version of each of its changes, at its one timestamp.
fn check_all_or_nothing(
    history: &History,
    model: &VersionModel,
    stored: &StoredVersions,
) -> Result<(), Violation> {
    for (index, transaction) in history.iter() {
        let Some(at) = transaction.committed_at() else {
            continue;
        };
        for operation in &transaction.operations {
            let changes = model
                .at(&operation.key, at)
                .is_some_and(|(_, v)| !v.changes_nothing);
            let versions = stored.get(&operation.key).map_or(&[][..], |v| v);
            if changes && !versions.iter().any(|(timestamp, _)| *timestamp == at) {
                let why = format!(
                    "{index:?} committed at {at}, but its write of {} is not there: a part of it is missing",
                    operation.key
                );
                return Err(Violation::new(PROPERTY, &[index], why));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, history, key, ts};
    use super::*;
    use crate::history::{Heard, Settled};
    use crate::workload::put;
    use std::time::Duration;

    fn verdict(told: Told, answer: OutcomeAnswer) -> Result<(), Violation> {
        let at = Duration::from_secs(1);
        let one = Transaction {
            told,
            settled: Some(Settled { at, answer }),
            ..commit(10, vec![put(&key("a"), "1")])
        };
        let history = history([one]);
        let model = VersionModel::replay(&history).unwrap();
        let stored = StoredVersions::from([(key("a"), vec![(ts(10), Some("1".into()))])]);
        check(&history, &model, &stored)
    }

    #[test]
    fn what_was_told_and_the_outcome_must_agree() {
        let committed = |at| Told::Committed {
            at: ts(at),
            results: vec![],
            partitions: 1,
            resent: false,
        };
        assert_eq!(
            verdict(committed(10), OutcomeAnswer::Committed { at: ts(10) }),
            Ok(())
        );
        assert!(verdict(committed(10), OutcomeAnswer::Committed { at: ts(11) }).is_err());
        assert!(verdict(committed(10), OutcomeAnswer::Aborted).is_err());
        assert!(verdict(Told::GivenUp, OutcomeAnswer::Committed { at: ts(10) }).is_err());
        assert_eq!(verdict(Told::GivenUp, OutcomeAnswer::Aborted), Ok(()));
    }

    #[test]
    fn what_another_copy_heard_must_agree() {
        let heard = |verdict| {
            let at = Duration::from_secs(1);
            let one = Transaction {
                heard: vec![Heard { at, verdict }],
                ..commit(10, vec![put(&key("a"), "1")])
            };
            check_heard(TransactionIndex(0), &one)
        };
        assert_eq!(heard(Verdict::Committed { at: ts(10) }), Ok(()));
        assert!(heard(Verdict::Committed { at: ts(11) }).is_err());
        assert!(heard(Verdict::Aborted).is_err());
        assert!(heard(Verdict::RefusedForNow).is_err());
    }
}
