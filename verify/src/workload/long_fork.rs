//! Long fork: two readers never see two independent writes in opposite order (Sovran and others,
//! *Transactional storage for geo-replicated systems*, 2011; Jepsen's `long-fork` workload).
//!
//! `:txn` `[[:w key 1]]`: each key is written once. `:txn` `[[:r key nil] …]` → the same with what was
//! read: a group of keys at once.
//!
//! - *long-fork*: of two reads one saw the first key and not the second, the other the second and not
//!   the first.
//! - *duplicate-write*: a key is written twice; then the reads tell nothing.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Malformed};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut written: BTreeMap<String, &Call> = BTreeMap::new();
    let mut groups: BTreeMap<Vec<String>, Vec<(&Call, BTreeSet<String>)>> = BTreeMap::new();
    for call in &calls {
        let mut keys: Vec<String> = Vec::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for member in call.told.members() {
            let wrong = || call.unknown("a vector of [:r key value] or [:w key value]");
            let [f, key, value] = member.tuple().ok_or_else(wrong)?;
            let key = key.to_string();
            match f.name() {
                Some("w") => {
                    if let Some(other) = written.insert(key.clone(), call) {
                        let why = format!("key {key} is written twice\n{}", quotes(&[other, call]));
                        findings.add(Finding::new(
                            "duplicate-write",
                            why,
                            &places(&[other, call]),
                        ));
                    }
                }
                Some("r") if call.is_ok() => {
                    if !value.is_nil() {
                        seen.insert(key.clone());
                    }
                    keys.push(key);
                }
                Some("r") => {}
                _ => return Err(wrong()),
            }
        }
        if keys.len() > 1 {
            keys.sort();
            groups.entry(keys).or_default().push((call, seen));
        }
    }
    for reads in groups.values() {
        check_group(reads, &mut findings);
    }
    Ok(Verdict::of(findings, calls.len()))
}

/// All that readers of a group saw must lie one in the other. Sorted by size only neighbours need a
/// look: if each contains the one before, all do.
fn check_group(reads: &[(&Call, BTreeSet<String>)], findings: &mut Findings) {
    let mut sorted: Vec<&(&Call, BTreeSet<String>)> = reads.iter().collect();
    sorted.sort_by_key(|(call, seen)| (seen.len(), call.begin));
    for pair in sorted.windows(2) {
        let ((small, fewer), (large, more)) = (pair[0], pair[1]);
        if let Some(missing) = fewer.difference(more).next() {
            let other = more.difference(fewer).next();
            let other = other.map_or_else(String::new, |other| {
                format!(", the second {other} and not {missing}")
            });
            findings.add_with("long-fork", || {
                let why = format!(
                    "the first read saw {missing}{other}\n{}",
                    quotes(&[small, large])
                );
                Finding::new("long-fork", why, &places(&[small, large]))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    fn reads(one: &str, other: &str) -> Vec<&'static str> {
        found(
            check,
            &format!(
                "0 invoke txn [[:w 1 1]]\n1 invoke txn [[:w 2 1]]\n0 ok txn [[:w 1 1]]\n1 ok txn [[:w 2 1]]
                0 invoke txn [[:r 1 nil] [:r 2 nil]]\n0 ok txn {one}\n1 invoke txn [[:r 2 nil] [:r 1 nil]]\n1 ok txn {other}"
            ),
        )
    }

    #[test]
    fn readers_that_agree_on_an_order_are_fine() {
        assert_eq!(
            reads("[[:r 1 1] [:r 2 nil]]", "[[:r 2 1] [:r 1 1]]"),
            Vec::<&str>::new()
        );
        assert_eq!(
            reads("[[:r 1 nil] [:r 2 nil]]", "[[:r 2 1] [:r 1 nil]]"),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn readers_that_see_opposite_orders_are_found() {
        assert_eq!(
            reads("[[:r 1 1] [:r 2 nil]]", "[[:r 2 1] [:r 1 nil]]"),
            ["long-fork"]
        );
        let twice = "0 invoke txn [[:w 1 1]]\n0 ok txn [[:w 1 1]]\n0 invoke txn [[:w 1 2]]\n0 ok txn [[:w 1 2]]";
        assert_eq!(found(check, twice), ["duplicate-write"]);
    }
}
