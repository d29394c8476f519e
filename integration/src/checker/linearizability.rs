//! Linearizability of single registers by values (Herlihy and Wing, *Linearizability*, 1990).
//!
//! Every written value is unique and the store keeps all versions, so the order of the writes of one
//! register is known and a read tells its place in it: a write of version `i` stands at `2i`, a read of
//! it at `2i + 1`. The register is linearizable exactly if no operation stands before one that was
//! acknowledged before it began. An absence may be the beginning or any tombstone; the earliest place
//! that real time allows is taken, which leaves the most room for what follows.

use super::{StoredVersion, StoredVersions, Violation};
use crate::history::{Fate, History, Observation, Transaction, TransactionIndex};
use crate::workload::Register;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::keys::Key;
use wire::message::OperationKind;

const PROPERTY: &str = "linearizability of a register";

/// What an operation on one register saw or did.
enum Access<'a> {
    Read(Option<&'a Bytes>),
    Write(Option<&'a Bytes>),
}

struct Call<'a> {
    index: TransactionIndex,
    transaction: &'a Transaction,
    access: Access<'a>,
}

pub(super) fn check(history: &History, stored: &StoredVersions) -> Result<(), Violation> {
    let mut calls: BTreeMap<&Key, Vec<Call>> = BTreeMap::new();
    for (index, transaction) in history.iter() {
        let answered = matches!(
            transaction.fate(),
            Fate::Read { .. } | Fate::Committed { .. }
        );
        let counts = answered && !transaction.past;
        if transaction.workload == Register::NAME && counts {
            collect(index, transaction, &mut calls);
        }
    }
    for (key, calls) in &mut calls {
        let versions = stored.get(*key).map_or(&[][..], |versions| versions);
        calls.sort_by_key(|call| (call.transaction.invoked, call.index));
        check_register(key, calls, versions)?;
    }
    Ok(())
}

fn collect<'a>(
    index: TransactionIndex,
    transaction: &'a Transaction,
    calls: &mut BTreeMap<&'a Key, Vec<Call<'a>>>,
) {
    let mut push = |key, access| {
        calls.entry(key).or_default().push(Call {
            index,
            transaction,
            access,
        });
    };
    for observation in &transaction.reads {
        if let Observation::Get { key, .. } = observation {
            let written = transaction.operations.iter().any(|o| o.key == *key);
            // Read and written: the write stands right above the read, and the timestamps' checker
            // holds the two together.
            if !written {
                push(key, Access::Read(observation.value()));
            }
        }
    }
    for operation in &transaction.operations {
        match &operation.kind {
            OperationKind::Put(value) => push(&operation.key, Access::Write(Some(value))),
            OperationKind::Delete => push(&operation.key, Access::Write(None)),
            _ => {}
        }
    }
}

fn check_register(key: &Key, calls: &[Call], versions: &[StoredVersion]) -> Result<(), Violation> {
    let mut places: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for (place, (_, value)) in versions.iter().enumerate() {
        let Some(value) = value else { continue };
        if places.insert(value, place + 1).is_some() {
            let why = format!("{key} has the value {value:?} twice, which was written once");
            return Err(Violation::new(PROPERTY, &[], why));
        }
    }
    // Acknowledged calls, by the time of it: (time, position, who).
    let mut done: Vec<(Duration, usize, TransactionIndex)> = Vec::new();
    for call in calls {
        let before = done
            .iter()
            .filter(|(end, _, _)| *end < call.transaction.invoked);
        let highest = before.max_by_key(|(_, position, _)| *position).copied();
        let least = highest.map_or(0, |(_, position, _)| position);
        let Some(position) = position(call, &places, versions, least) else {
            let what = match &call.access {
                Access::Read(value) => format!("read {value:?}"),
                Access::Write(value) => format!("wrote {value:?}"),
            };
            let why = format!(
                "{:?} {what} in {key}, which has no such version",
                call.index
            );
            return Err(Violation::new(PROPERTY, &[call.index], why));
        };
        if let Some((_, _, earlier)) = highest.filter(|_| position < least) {
            let why = format!(
                "{earlier:?} was acknowledged before {:?} began, yet stands after it in {key}: position {least} and {position}",
                call.index
            );
            return Err(Violation::new(PROPERTY, &[earlier, call.index], why));
        }
        if let Some(end) = call.transaction.acknowledged() {
            done.push((end, position, call.index));
        }
    }
    Ok(())
}

fn position(
    call: &Call,
    places: &BTreeMap<&Bytes, usize>,
    versions: &[StoredVersion],
    least: usize,
) -> Option<usize> {
    match &call.access {
        Access::Read(Some(value)) => places.get(value).map(|place| 2 * place + 1),
        Access::Write(Some(value)) => places.get(value).map(|place| 2 * place),
        Access::Read(None) => {
            let tombstones = versions
                .iter()
                .enumerate()
                .filter(|(_, (_, value))| value.is_none());
            let absences = std::iter::once(0).chain(tombstones.map(|(place, _)| place + 1));
            let all: Vec<usize> = absences.map(|place| 2 * place + 1).collect();
            let allowed = all.iter().find(|position| **position >= least);
            allowed.or(all.last()).copied()
        }
        Access::Write(None) => {
            let at = call.transaction.committed_at()?;
            let place = versions.iter().position(|(timestamp, _)| *timestamp == at);
            // A delete of what was absent writes nothing and stands anywhere.
            Some(place.map_or(least, |place| 2 * (place + 1)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, during, get, history, key, read, ts};
    use super::*;
    use crate::workload::put;

    fn register(transaction: Transaction) -> Transaction {
        Transaction {
            workload: Register::NAME,
            ..transaction
        }
    }

    fn write(from: u64, to: u64, at: u64, value: &'static str) -> Transaction {
        register(during(from, to, commit(at, vec![put(&key("a"), value)])))
    }

    fn look(from: u64, to: u64, found: Option<&'static str>) -> Transaction {
        let reads = vec![get("a", found.map(|value| (1, value)))];
        register(during(from, to, read(1, reads)))
    }

    fn verdict(calls: Vec<Transaction>) -> Result<(), Violation> {
        let versions = vec![(ts(10), Some("1".into())), (ts(20), Some("2".into()))];
        check(
            &history(calls),
            &StoredVersions::from([(key("a"), versions)]),
        )
    }

    #[test]
    fn reads_beside_a_write_may_see_either_side_of_it() {
        let calls = |found| {
            vec![
                write(0, 1, 10, "1"),
                write(2, 9, 20, "2"),
                look(3, 4, found),
            ]
        };
        assert_eq!(verdict(calls(Some("1"))), Ok(()));
        assert_eq!(verdict(calls(Some("2"))), Ok(()));
        assert!(
            verdict(calls(None)).is_err(),
            "a read of what was before an acknowledged write"
        );
    }

    #[test]
    fn stale_reads_and_steps_back_are_found() {
        let stale = vec![
            write(0, 1, 10, "1"),
            write(2, 3, 20, "2"),
            look(4, 5, Some("1")),
        ];
        assert!(verdict(stale).is_err());
        let mut back = vec![write(0, 1, 10, "1"), write(2, 20, 20, "2")];
        back.extend([look(3, 4, Some("2")), look(5, 6, Some("1"))]);
        assert!(verdict(back).is_err());
    }

    #[test]
    fn writes_out_of_real_time_order_and_values_that_nobody_wrote_are_found() {
        assert!(verdict(vec![write(0, 1, 20, "2"), write(2, 3, 10, "1")]).is_err());
        assert!(verdict(vec![look(0, 1, Some("9"))]).is_err());
    }
}
