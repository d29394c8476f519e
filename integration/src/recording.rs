//! A run's history in the forms of the crate `verify`, one for each workload that has one: what
//! `horolog verify check` reads, and other checkers of Jepsen's histories too.
//!
//! | workload here | form | left out |
//! | --- | --- | --- |
//! | lists | `list-append` | reads of the past; attempts that failed and were made again |
//! | bank | `bank` | nothing |
//! | registers | `register` | reads of the past |
//! | registers | `temporal` | reads of those that wrote: they may commit where they read |
//! | hot keys | `counter` | reads of the past |
//!
//! Counters are also raised to a maximum, which no form has; pairs of write skew hold sums, which are not
//! unique. Both are checked by the simulator alone ([`crate::checker`]).
//!
//! What one transaction does to several registers or counters is written as an operation for each, all
//! from its beginning to its end: whatever is linearizable as a whole is so key by key.

use crate::checker::anomalies::{kind, made_again, micro_operations};
use crate::history::{History, Observation, Told, Transaction, TransactionIndex};
use crate::workload::{Bank, Hot, ListAppend, Register};
use clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use verify::history::{Form, Kind, Misuse, Recorder};
use wire::keys::Key;
use wire::message::OperationKind;

/// A history of one workload.
pub struct Recording {
    /// The workload, as `horolog verify check --workload` takes it.
    pub workload: &'static str,
    /// The history, one event a line of EDN.
    pub edn: Vec<u8>,
    /// How many operations it has.
    pub operations: usize,
}

/// One operation of a client.
struct Call {
    index: TransactionIndex,
    f: &'static str,
    asked: Form,
    /// What it was told if it is ok.
    told: Form,
    kind: Kind,
}

/// Every form that the workloads of a run have.
pub fn recordings(history: &History) -> Vec<Recording> {
    let forms: [(&'static str, &'static str, fn(&History) -> Vec<Call>); 5] = [
        ("list-append", ListAppend::NAME, lists),
        ("bank", Bank::NAME, bank),
        ("register", Register::NAME, registers),
        ("temporal", Register::NAME, versions),
        ("counter", Hot::NAME, hot),
    ];
    let mut recordings = Vec::new();
    for (form, workload, calls) in forms {
        if history.iter().any(|(_, t)| t.workload == workload) {
            let calls = calls(history);
            recordings.push(Recording {
                workload: form,
                operations: calls.len(),
                edn: written(history, calls).expect("calls are recorded in order, into memory"),
            });
        }
    }
    recordings
}

/// In real-time order; what ends and begins at one moment is beside each other.
fn written(history: &History, calls: Vec<Call>) -> Result<Vec<u8>, Misuse> {
    let mut events: Vec<(Duration, bool, usize)> = Vec::new();
    for (process, call) in calls.iter().enumerate() {
        let transaction = history.get(call.index);
        events.push((transaction.invoked, false, process));
        let ended = transaction.completed.filter(|_| call.kind != Kind::Info);
        events.extend(ended.map(|at| (at, true, process)));
    }
    events.sort();
    let mut recorder = Recorder::new(Vec::new());
    for (at, ends, place) in events {
        let call = &calls[place];
        let (time, process) = (at.as_nanos() as i64, place as i64);
        match (ends, call.kind) {
            (false, _) => recorder.invoke(time, process, call.f, &call.asked)?,
            (true, Kind::Ok) => recorder.ok(time, process, &call.told)?,
            (true, _) => recorder.fail(time, process, &call.asked)?,
        }
    }
    recorder.finish()
}

fn of<'h>(
    history: &'h History,
    workload: &'static str,
) -> impl Iterator<Item = (TransactionIndex, &'h Transaction)> {
    history
        .iter()
        .filter(move |(_, transaction)| transaction.workload == workload)
}

fn lists(history: &History) -> Vec<Call> {
    let again = made_again(history);
    let all = of(history, ListAppend::NAME);
    let kept = all.filter(|(index, t)| !t.past && !again.contains(index));
    let call = |(index, transaction): (TransactionIndex, &Transaction)| Call {
        index,
        f: "txn",
        asked: micro_operations(transaction, Kind::Invoke),
        told: micro_operations(transaction, Kind::Ok),
        kind: kind(transaction),
    };
    kept.map(call).collect()
}

fn text(key: &Key) -> Form {
    Form::Text(key.to_string())
}

fn bank(history: &History) -> Vec<Call> {
    let keys = of(history, Bank::NAME).flat_map(|(_, t)| t.operations.iter().map(|o| &o.key));
    let accounts: BTreeSet<&Key> = keys.collect();
    let mut calls = Vec::new();
    for (index, transaction) in of(history, Bank::NAME) {
        let asked: Vec<Form> = transaction
            .operations
            .iter()
            .map(|o| text(&o.key))
            .collect();
        let call = match asked.is_empty() {
            // An account that is absent is empty.
            true => Call {
                index,
                f: "read",
                asked: Form::Nil,
                told: Form::map(accounts.iter().map(|account| {
                    let found = transaction.reads.iter().flat_map(Observation::found);
                    let mut of_account = found.filter(|(key, _)| key == account);
                    let balance = of_account.next().map(|(_, found)| &found.value);
                    let balance = balance.and_then(crate::history::number);
                    (text(account), Form::Int(balance.unwrap_or(0)))
                })),
                kind: match is_whole(transaction) {
                    true => kind(transaction),
                    false => Kind::Fail,
                },
            },
            false => Call {
                index,
                f: "transfer",
                asked: Form::vector(asked.clone()),
                told: Form::vector(asked),
                kind: kind(transaction),
            },
        };
        calls.push(call);
    }
    calls
}

/// Whether all accounts were read: a transfer that was not made read two.
fn is_whole(transaction: &Transaction) -> bool {
    let whole = |seen: &Observation| matches!(seen, Observation::Scan { rest: None, .. });
    !transaction.reads.is_empty() && transaction.reads.iter().all(whole)
}

/// What each key of a transaction was before it, as far as it looked, and what it made of it.
struct Touched<'t> {
    read: Option<Form>,
    written: Option<&'t OperationKind>,
}

fn touched(transaction: &Transaction) -> BTreeMap<&Key, Touched<'_>> {
    let mut all: BTreeMap<&Key, Touched<'_>> = BTreeMap::new();
    for seen in &transaction.reads {
        if let Observation::Get { key, found } = seen {
            let value = found.as_ref().map(|f| value(&f.value));
            let read = Some(value.unwrap_or(Form::Nil));
            all.insert(
                key,
                Touched {
                    read,
                    written: None,
                },
            );
        }
    }
    for operation in &transaction.operations {
        let touched = all.entry(&operation.key).or_insert(Touched {
            read: None,
            written: None,
        });
        touched.written = Some(&operation.kind);
    }
    all
}

fn value(bytes: &bytes::Bytes) -> Form {
    Form::Text(String::from_utf8_lossy(bytes).into_owned())
}

fn put(kind: &OperationKind) -> Form {
    match kind {
        OperationKind::Put(bytes) => value(bytes),
        OperationKind::Delete => Form::Nil,
        other => unreachable!("registers are put and deleted, not {other:?}"),
    }
}

fn registers(history: &History) -> Vec<Call> {
    let mut calls = Vec::new();
    for (index, transaction) in of(history, Register::NAME).filter(|(_, t)| !t.past) {
        for (key, Touched { read, written }) in touched(transaction) {
            let (f, asked, told) = match (read, written) {
                // What it read still held where it committed (R4, R5).
                (Some(old), Some(new)) => {
                    let both = Form::vector([old, put(new)]);
                    ("cas", both.clone(), both)
                }
                (None, Some(new)) => ("write", put(new), put(new)),
                (Some(seen), None) => ("read", Form::Nil, seen),
                (None, None) => continue,
            };
            let pair = |value| Form::vector([text(key), value]);
            calls.push(Call {
                index,
                f,
                asked: pair(asked),
                told: pair(told),
                kind: kind(transaction),
            });
        }
    }
    calls
}

fn versions(history: &History) -> Vec<Call> {
    let stamp = |at: Timestamp| Form::Int(at.to_bits() as i64);
    let mut calls = Vec::new();
    for (index, transaction) in of(history, Register::NAME) {
        let kind = kind(transaction);
        let only_reads = transaction.operations.is_empty();
        let mut push = |f, form: Form| {
            calls.push(Call {
                index,
                f,
                asked: form.clone(),
                told: form,
                kind,
            });
        };
        for (key, Touched { read, written }) in touched(transaction) {
            if let Some((seen, at)) = read.zip(transaction.snapshot.filter(|_| only_reads)) {
                push("read-at", Form::vector([stamp(at), text(key), seen]));
            }
            if let (Some(new), Told::Committed { at, .. }) = (written, &transaction.told) {
                push("write", Form::vector([text(key), put(new), stamp(*at)]));
            }
        }
    }
    calls
}

fn hot(history: &History) -> Vec<Call> {
    let number = |form: &Form| match form {
        Form::Text(text) => text.parse().ok(),
        _ => Some(0),
    };
    let mut calls = Vec::new();
    for (index, transaction) in of(history, Hot::NAME).filter(|(_, t)| !t.past) {
        for (key, Touched { read, written }) in touched(transaction) {
            let read = read.as_ref().and_then(number);
            let added = match written {
                Some(OperationKind::Add(n)) => Some(*n),
                Some(OperationKind::Put(bytes)) => crate::history::number(bytes)
                    .zip(read)
                    .map(|(new, old)| new - old),
                _ => None,
            };
            let pair = |n: Option<i64>| Form::vector([text(key), Form::from(n)]);
            let mut push = |f, n: i64| {
                calls.push(Call {
                    index,
                    f,
                    asked: pair(Some(n).filter(|_| f == "add")),
                    told: pair(Some(n)),
                    kind: kind(transaction),
                });
            };
            // One that reads and writes reads before it adds.
            match (read, added) {
                (_, Some(n)) => push("add", n),
                (Some(seen), None) => push("read", seen),
                (None, None) => {}
            }
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Scenario, SimulationOptions, perform};
    use crate::workload::WorkloadChoice;
    use verify::{Checker, Expectation, Model, Workload};

    #[test]
    fn the_checkers_of_verify_pass_what_a_run_recorded() {
        let options = SimulationOptions {
            // Long enough for a hundred transactions between the faults that any seed may draw.
            duration: Duration::from_secs(10),
            acknowledged_min: 100,
            faults_min: 0,
            ..SimulationOptions::default()
        };
        let mut scenario = Scenario::draw(5, &options);
        scenario.workloads = vec![
            WorkloadChoice::Bank { accounts: 6 },
            WorkloadChoice::ListAppend { lists: 4 },
            WorkloadChoice::Register { registers: 4 },
            WorkloadChoice::Hot { keys: 3 },
        ];
        let report = perform(&scenario, false);
        assert!(report.verdict.is_ok(), "{:?}", report.verdict.err());
        let all = recordings(&report.history);
        let names: Vec<&str> = all.iter().map(|recording| recording.workload).collect();
        assert_eq!(
            names,
            ["list-append", "bank", "register", "temporal", "counter"]
        );
        for recording in &all {
            let history = verify::history::History::read_edn(&recording.edn[..]);
            let history = history.expect("the recorder wrote it");
            let name = recording.workload;
            let workload = Workload::from_name(name).expect("it is in the table");
            let expectation = Expectation::of(Model::STRICT_SERIALIZABLE);
            let verdict = match workload.checker {
                Checker::Models(check) => check(&history, &expectation),
                Checker::Property(check) => check(&history),
                Checker::WaitsFor(what) => panic!("{name} waits for {what}"),
            };
            let verdict = verdict.unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
            let shown = verify::report::text(&verdict, name);
            assert_eq!(verdict.is_valid(), Some(true), "{name}: {shown}");
            assert!(
                recording.operations > 20,
                "{name}: {}",
                recording.operations
            );
        }
    }
}
