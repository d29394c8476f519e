//! The transactions over lists once more, as a recorded history: what clients asked and were told, in
//! real-time order, and nothing that only the simulator knows. The crate `verify` judges it, in the
//! manner of Elle; timestamps and the store's contents play no part.
//!
//! Left out are reads of the past (they are not of now, and other checkers look at them), and attempts
//! that failed and were made again with the same elements: a history writes an element once. If such an
//! attempt took effect all the same, its elements are there twice.

use super::Violation;
use crate::history::{History, Observation, Told, Transaction, TransactionIndex};
use crate::workload::ListAppend;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use verify::history::{Form, Kind};
use verify::{Expectation, Model};
use wire::keys::Key;
use wire::message::OperationKind;

const PROPERTY: &str = "no anomaly of lists";

pub(super) fn check(history: &History, in_real_time: bool) -> Result<(), Violation> {
    let (recorded, who) = recorded(history);
    let model = match in_real_time {
        true => Model::STRICT_SERIALIZABLE,
        false => Model::from_name("serializable").expect("the model is in the table"),
    };
    let verdict = verify::check_list_append(&recorded, &Expectation::of(model));
    let verdict =
        verdict.unwrap_or_else(|malformed| panic!("the simulator wrote this: {malformed}"));
    let Some(found) = verdict.broken.first() else {
        return Ok(());
    };
    let example = &found.examples[0];
    let transactions: Vec<TransactionIndex> = example.events.iter().map(|at| who[*at]).collect();
    let why = format!("{} under {model}: {}", found.anomaly, example.why);
    Err(Violation::new(PROPERTY, &transactions, why))
}

/// The history as clients would have recorded it, and of each event whose it is.
pub fn recorded(history: &History) -> (verify::history::History, Vec<TransactionIndex>) {
    let mut events: Vec<(Duration, bool, TransactionIndex)> = Vec::new();
    let again = made_again(history);
    for (index, transaction) in history.iter() {
        if transaction.workload != ListAppend::NAME || transaction.past || again.contains(&index) {
            continue;
        }
        events.push((transaction.invoked, false, index));
        let ended = transaction
            .completed
            .filter(|_| kind(transaction) != Kind::Info);
        events.extend(ended.map(|at| (at, true, index)));
    }
    // What ends and begins at one moment is beside each other: beginnings first.
    events.sort();
    let mut recorded = verify::history::History::new();
    let mut who = Vec::new();
    for (_, ends, index) in events {
        let transaction = history.get(index);
        let kind = if ends {
            kind(transaction)
        } else {
            Kind::Invoke
        };
        // Each transaction is a process of its own: real time holds the order of processes.
        recorded.push(
            index.0 as i64,
            kind,
            "txn",
            &micro_operations(transaction, kind),
        );
        who.push(index);
    }
    (recorded, who)
}

/// Attempts that failed, and whose elements another one appends.
pub(crate) fn made_again(history: &History) -> BTreeSet<TransactionIndex> {
    let mut writers: BTreeMap<(&Key, &[u8]), Vec<TransactionIndex>> = BTreeMap::new();
    for (index, transaction) in history
        .iter()
        .filter(|(_, t)| t.workload == ListAppend::NAME)
    {
        for operation in &transaction.operations {
            if let OperationKind::Append(element) = &operation.kind {
                writers
                    .entry((&operation.key, element))
                    .or_default()
                    .push(index);
            }
        }
    }
    let several = writers.into_values().filter(|writers| writers.len() > 1);
    several
        .flat_map(|mut writers| {
            // All failed: the last one stands for them.
            let failed = |index: &TransactionIndex| kind(history.get(*index)) == Kind::Fail;
            if writers.iter().all(failed) {
                writers.pop();
            }
            writers.retain(failed);
            writers
        })
        .collect()
}

/// What a client knows of a transaction.
pub(crate) fn kind(transaction: &Transaction) -> Kind {
    match &transaction.told {
        Told::Read | Told::Committed { .. } => Kind::Ok,
        Told::Aborted { .. } | Told::NotServed(_) | Told::GivenUp => Kind::Fail,
        Told::Nothing => Kind::Info,
    }
}

/// What a transaction did to lists, as a history has it.
pub(crate) fn micro_operations(transaction: &Transaction, kind: Kind) -> Form {
    let reads = transaction.reads.iter().filter_map(|observation| {
        let Observation::Get { key, .. } = observation else {
            return None;
        };
        let seen = match kind {
            Kind::Ok => Form::vector(elements(observation)),
            _ => Form::Nil,
        };
        Some([Form::keyword("r"), Form::Text(key.to_string()), seen])
    });
    let appends = transaction.operations.iter().filter_map(|operation| {
        let OperationKind::Append(element) = &operation.kind else {
            return None;
        };
        let element = text(element.strip_suffix(b",").unwrap_or(element));
        Some([
            Form::keyword("append"),
            Form::Text(operation.key.to_string()),
            element,
        ])
    });
    Form::vector(reads.chain(appends).map(Form::vector))
}

fn elements(observation: &Observation) -> Vec<Form> {
    let bytes = observation.value().map_or(&[][..], |value| value);
    let all = bytes
        .split(|b| *b == b',')
        .filter(|element| !element.is_empty());
    all.map(text).collect()
}

fn text(element: &[u8]) -> Form {
    Form::Text(String::from_utf8_lossy(element).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, during, get, history, key, read};
    use super::*;
    use crate::workload::operation;

    fn list(transaction: Transaction) -> Transaction {
        Transaction {
            workload: ListAppend::NAME,
            ..transaction
        }
    }

    fn append(from: u64, to: u64, element: &'static str) -> Transaction {
        let kind = OperationKind::Append(element.into());
        list(during(
            from,
            to,
            commit(from, vec![operation(&key("a"), kind)]),
        ))
    }

    fn look(from: u64, to: u64, found: Option<&'static str>) -> Transaction {
        list(during(
            from,
            to,
            read(1, vec![get("a", found.map(|list| (1, list)))]),
        ))
    }

    #[test]
    fn what_clients_were_told_is_recorded_in_real_time_order() {
        let mut lost = append(2, 9, "2,");
        lost.told = Told::Nothing;
        let all = history([append(0, 3, "1,"), lost, look(3, 5, Some("1,2,"))]);
        let (recorded, who) = recorded(&all);
        let lines = recorded.to_edn();
        let values: Vec<&str> = lines
            .lines()
            .map(|line| &line[line.find(":type").unwrap()..])
            .collect();
        assert_eq!(
            values,
            [
                ":type :invoke, :process 0, :f :txn, :value [[:append \"a\" \"1\"]]}",
                ":type :invoke, :process 1, :f :txn, :value [[:append \"a\" \"2\"]]}",
                ":type :invoke, :process 2, :f :txn, :value [[:r \"a\" nil]]}",
                ":type :ok, :process 0, :f :txn, :value [[:append \"a\" \"1\"]]}",
                ":type :ok, :process 2, :f :txn, :value [[:r \"a\" [\"1\" \"2\"]]]}",
            ]
        );
        assert_eq!(who[4], TransactionIndex(2));
        assert_eq!(check(&all, true), Ok(()));
    }

    #[test]
    fn an_attempt_that_failed_and_was_made_again_is_one() {
        let mut failed = append(0, 1, "1,");
        failed.told = Told::GivenUp;
        let all = history([failed, append(2, 3, "1,"), look(4, 5, Some("1,"))]);
        assert_eq!(check(&all, true), Ok(()));
        let mut twice = append(0, 1, "1,");
        twice.told = Told::GivenUp;
        let all = history([twice, append(2, 3, "1,"), look(4, 5, Some("1,1,"))]);
        assert!(
            check(&all, true)
                .unwrap_err()
                .why
                .starts_with("duplicate-elements")
        );
    }

    #[test]
    fn a_stale_read_is_found_in_real_time_only() {
        let all = history([
            append(0, 1, "1,"),
            append(2, 3, "2,"),
            look(4, 5, Some("1,")),
        ]);
        let violation = check(&all, true).unwrap_err();
        assert!(
            violation.why.starts_with("G-single-item-realtime"),
            "{violation}"
        );
        assert!(
            violation.transactions.contains(&TransactionIndex(2)),
            "{violation:?}"
        );
        assert_eq!(check(&all, false), Ok(()));
    }

    #[test]
    fn a_read_of_what_was_aborted_is_found() {
        let mut aborted = append(0, 1, "1,");
        aborted.told = Told::GivenUp;
        let all = history([aborted, look(2, 3, Some("1,"))]);
        assert!(check(&all, false).unwrap_err().why.starts_with("G1a"));
    }
}
