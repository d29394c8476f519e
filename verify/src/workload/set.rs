//! Set: what was added is seen by every read that began afterwards, and stays (Jepsen's `set-full`
//! checker; here with reads that must be of now).
//!
//! `:add` `element`, each unique. `:read` → `[elements …]` or `#{…}`.
//!
//! - *lost-element*: added and acknowledged, and missing in all reads that began afterwards.
//! - *stale-read*: missing in a read that began after the acknowledgement, or after another read that
//!   showed it; a later read has it.
//! - *phantom-element*: read, but never added, or by an add that failed, or before the add began.
//! - *duplicate-element*: twice in one read.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Kind, Malformed, Value};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut adds: BTreeMap<String, &Call> = BTreeMap::new();
    let mut reads: Vec<Read> = Vec::new();
    for call in &calls {
        match call.f {
            "add" => {
                adds.insert(call.asked.to_string(), call);
            }
            "read" if call.is_ok() => {
                if call.told.sequence().is_none() {
                    return Err(call.unknown("a set or vector of elements"));
                }
                reads.push(Read::new(call, &mut findings));
            }
            "read" => {}
            _ => return Err(call.unknown("an :add or a :read")),
        }
    }
    for read in &reads {
        read.check_phantoms(&adds, &mut findings);
    }
    for (element, add) in &adds {
        check_element(element, add, &reads, &mut findings);
    }
    Ok(Verdict::of(findings, calls.len()))
}

/// One read of the whole set.
pub(super) struct Read<'a, 'h> {
    pub(super) call: &'a Call<'h>,
    pub(super) elements: BTreeSet<String>,
}

impl<'a, 'h> Read<'a, 'h> {
    fn new(call: &'a Call<'h>, findings: &mut Findings) -> Read<'a, 'h> {
        Read::of(call, call.told.members(), findings)
    }

    pub(super) fn of(
        call: &'a Call<'h>,
        members: impl Iterator<Item = Value<'h>>,
        findings: &mut Findings,
    ) -> Read<'a, 'h> {
        let mut elements = BTreeSet::new();
        for element in members {
            if !elements.insert(element.to_string()) {
                findings.add_with("duplicate-element", || {
                    let why = format!("{element} is there twice\n{}", call.quote());
                    Finding::new("duplicate-element", why, &places(&[call]))
                });
            }
        }
        Read { call, elements }
    }

    pub(super) fn check_phantoms(&self, adds: &BTreeMap<String, &Call>, findings: &mut Findings) {
        for element in &self.elements {
            let why = match adds.get(element) {
                None => "was never added",
                Some(add) if add.outcome == Kind::Fail => "was added by an operation that failed",
                Some(add) if self.call.end < add.begin => "was read before it was added",
                Some(_) => continue,
            };
            findings.add_with("phantom-element", || {
                let mut all = vec![self.call];
                all.extend(adds.get(element).copied());
                let why = format!("{element} {why}\n{}", quotes(&all));
                Finding::new("phantom-element", why, &places(&all))
            });
        }
    }
}

/// From when it is known to be there, every read that begins shows it.
pub(super) fn check_element(element: &str, add: &Call, reads: &[Read], findings: &mut Findings) {
    let shown = reads.iter().filter(|read| read.elements.contains(element));
    let first = shown.clone().min_by_key(|read| read.call.end);
    let known = match (add.is_ok(), first) {
        (true, Some(read)) if read.call.end < add.end => read.call,
        (true, _) => add,
        (false, Some(read)) => read.call,
        (false, None) => return,
    };
    let missing = reads
        .iter()
        .filter(|read| known.precedes(read.call) && !read.elements.contains(element));
    let Some(worst) = missing.max_by_key(|read| read.call.begin) else {
        return;
    };
    let again = shown.max_by_key(|read| read.call.begin);
    let is_back = again.is_some_and(|read| read.call.begin > worst.call.begin);
    let (anomaly, what) = match is_back {
        true => ("stale-read", "a later read shows it"),
        false => ("lost-element", "no later read shows it"),
    };
    findings.add_with(anomaly, || {
        let why = format!(
            "{element} was there and is missing in a read that began afterwards; {what}\n{}",
            quotes(&[known, worst.call])
        );
        Finding::new(anomaly, why, &places(&[known, worst.call]))
    });
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    const ADDED: &str =
        "0 invoke add 1\n0 ok add 1\n1 invoke add 2\n1 info add 2\n2 invoke add 3\n2 fail add 3\n";

    fn with(lines: &str) -> Vec<&'static str> {
        found(check, &(ADDED.to_owned() + lines))
    }

    #[test]
    fn what_is_added_may_be_seen_and_what_is_unknown_may_not() {
        assert_eq!(
            with("0 invoke read nil\n0 ok read #{1}"),
            Vec::<&str>::new()
        );
        let late = "0 invoke read nil\n0 ok read [1]\n0 invoke read nil\n0 ok read [2 1]";
        assert_eq!(with(late), Vec::<&str>::new());
        let beside = "0 invoke add 1\n1 invoke read nil\n1 ok read []\n0 ok add 1";
        assert_eq!(found(check, beside), Vec::<&str>::new());
    }

    #[test]
    fn what_is_lost_stale_doubled_or_from_nowhere_is_found() {
        assert_eq!(with("0 invoke read nil\n0 ok read []"), ["lost-element"]);
        let back = "0 invoke read nil\n0 ok read []\n0 invoke read nil\n0 ok read [1]";
        assert_eq!(with(back), ["stale-read"]);
        let vanished = "0 invoke read nil\n0 ok read [1 2]\n0 invoke read nil\n0 ok read [1]";
        assert_eq!(with(vanished), ["lost-element"]);
        assert_eq!(
            with("0 invoke read nil\n0 ok read [1 3]"),
            ["phantom-element"]
        );
        assert_eq!(
            with("0 invoke read nil\n0 ok read [1 9]"),
            ["phantom-element"]
        );
        assert_eq!(
            with("0 invoke read nil\n0 ok read [1 1]"),
            ["duplicate-element"]
        );
        let early = "0 invoke read nil\n0 ok read [1]\n1 invoke add 1\n1 ok add 1";
        assert_eq!(found(check, early), ["phantom-element"]);
    }
}
