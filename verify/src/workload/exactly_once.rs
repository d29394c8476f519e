//! Exactly once: a commit that is sent again, doubled on the way or asked for later is applied once, and
//! everybody is told the same (protocol R10; *Idempotent Receiver* of Joshi, *Patterns of Distributed
//! Systems*).
//!
//! `:commit` `id`, each unique: adds the id once to a log, however often it is sent. `:outcome` →
//! `[id :committed]` or `[id :aborted]`: what the store says of it later. `:read` → `[ids …]`, the log,
//! an id as often as it was applied.
//!
//! - *applied-twice*: an id is in a log twice.
//! - *lost-commit*: told `:ok`, or by an outcome, before a read began that does not show it.
//! - *refused-and-applied*: told `:fail`, or aborted by an outcome, and in a log.
//! - *contradicting-outcomes*: told `:ok` and aborted, `:fail` and committed, or two outcomes.
//! - *phantom-commit*: in a log, and nobody ever sent it.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Kind, Malformed};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::BTreeMap;

/// What was told of one id.
#[derive(Default)]
struct Told<'a, 'h> {
    sent: Option<&'a Call<'h>>,
    /// The earliest that said so.
    committed: Option<&'a Call<'h>>,
    aborted: Option<&'a Call<'h>>,
}

fn earliest<'a, 'h>(known: &mut Option<&'a Call<'h>>, call: &'a Call<'h>) {
    if known.is_none_or(|known| call.end < known.end) {
        *known = Some(call);
    }
}

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut ids: BTreeMap<String, Told> = BTreeMap::new();
    let mut reads: Vec<&Call> = Vec::new();
    for call in &calls {
        match call.f {
            "commit" => {
                let told = ids.entry(call.asked.to_string()).or_default();
                told.sent = Some(call);
                match call.outcome {
                    Kind::Ok => earliest(&mut told.committed, call),
                    Kind::Fail => earliest(&mut told.aborted, call),
                    Kind::Info | Kind::Invoke => {}
                }
            }
            "outcome" if call.is_ok() => {
                let wrong = || call.unknown("a pair of an id and :committed or :aborted");
                let [id, outcome] = call.told.tuple().ok_or_else(wrong)?;
                let told = ids.entry(id.to_string()).or_default();
                match outcome.name() {
                    Some("committed") => earliest(&mut told.committed, call),
                    Some("aborted") => earliest(&mut told.aborted, call),
                    _ => return Err(wrong()),
                }
            }
            "read" if call.is_ok() => reads.push(call),
            "outcome" | "read" => {}
            _ => return Err(call.unknown("a :commit, an :outcome or a :read")),
        }
    }
    for (id, told) in &ids {
        if let (Some(yes), Some(no)) = (told.committed, told.aborted) {
            add(
                &mut findings,
                "contradicting-outcomes",
                format!("of {id} both was told"),
                &[yes, no],
            );
        }
    }
    for read in reads {
        check_log(read, &ids, &mut findings);
    }
    Ok(Verdict::of(findings, calls.len()))
}

fn add(findings: &mut Findings, anomaly: &'static str, what: String, all: &[&Call]) {
    findings.add_with(anomaly, || {
        Finding::new(anomaly, format!("{what}\n{}", quotes(all)), &places(all))
    });
}

fn check_log(read: &Call, ids: &BTreeMap<String, Told>, findings: &mut Findings) {
    let mut log: BTreeMap<String, usize> = BTreeMap::new();
    for id in read.told.members() {
        *log.entry(id.to_string()).or_default() += 1;
    }
    for (id, times) in &log {
        let told = ids.get(id);
        if *times > 1 {
            let mut all = vec![read];
            all.extend(told.and_then(|told| told.sent));
            add(
                findings,
                "applied-twice",
                format!("{id} is there {times} times"),
                &all,
            );
        }
        match told {
            Some(told) if told.sent.is_some() => {
                if let Some(no) = told.aborted {
                    add(
                        findings,
                        "refused-and-applied",
                        format!("{id} was refused and is there"),
                        &[no, read],
                    );
                }
            }
            _ => add(
                findings,
                "phantom-commit",
                format!("nobody sent {id}"),
                &[read],
            ),
        }
    }
    for (id, told) in ids {
        if let Some(yes) = told
            .committed
            .filter(|yes| yes.precedes(read) && !log.contains_key(id))
        {
            add(
                findings,
                "lost-commit",
                format!("{id} was committed and is not there"),
                &[yes, read],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    const SENT: &str = "0 invoke commit 1\n0 ok commit 1\n0 invoke commit 2\n0 fail commit 2\n1 invoke commit 3\n1 info commit 3\n";

    fn with(outcome: &str, log: &str) -> Vec<&'static str> {
        let lines = format!(
            "{SENT}2 invoke outcome [3 nil]\n2 ok outcome {outcome}\n2 invoke read nil\n2 ok read {log}"
        );
        found(check, &lines)
    }

    #[test]
    fn what_was_told_and_what_is_there_agree() {
        assert_eq!(with("[3 :committed]", "[1 3]"), Vec::<&str>::new());
        assert_eq!(with("[3 :aborted]", "[1]"), Vec::<&str>::new());
    }

    #[test]
    fn doubled_lost_refused_and_contradicted_commits_are_found() {
        assert_eq!(with("[3 :committed]", "[1 1 3]"), ["applied-twice"]);
        assert_eq!(with("[3 :committed]", "[1]"), ["lost-commit"]);
        assert_eq!(
            with("[3 :aborted]", "[3]"),
            ["lost-commit", "refused-and-applied"]
        );
        assert_eq!(with("[3 :aborted]", "[1 2]"), ["refused-and-applied"]);
        assert_eq!(
            with("[1 :aborted]", "[1]"),
            ["contradicting-outcomes", "refused-and-applied"]
        );
        assert_eq!(
            with("[2 :committed]", "[1 9]"),
            ["contradicting-outcomes", "lost-commit", "phantom-commit"]
        );
    }
}
