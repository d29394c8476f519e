//! Predicate: of two transactions that insert only if a scan found nothing, one at most commits (Adya's
//! G2; Jepsen's `g2` workload).
//!
//! `:insert` `[key id]`: scans what belongs to the key, and inserts the id if nothing is there; `:ok` if
//! it inserted. `:read` → `[key [ids …]]`.
//!
//! - *phantom*: two inserts of one key committed, or are seen.
//! - *lost-insert*: an insert was acknowledged, and a read that began afterwards does not show it.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Malformed};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut inserted: BTreeMap<String, (String, &Call)> = BTreeMap::new();
    let mut phantom = |what: String, all: &[&Call]| {
        findings.add_with("phantom", || {
            Finding::new("phantom", format!("{what}\n{}", quotes(all)), &places(all))
        });
    };
    let mut reads: Vec<(String, Vec<String>, &Call)> = Vec::new();
    for call in calls.iter() {
        let wrong = || call.unknown("an :insert of [key id] or a :read of [key [ids]]");
        if !matches!(call.f, "insert" | "read") {
            return Err(wrong());
        }
        if !call.is_ok() {
            continue;
        }
        let [key, value] = call.told.tuple().ok_or_else(wrong)?;
        let key = key.to_string();
        if call.f == "insert" {
            let known = inserted.insert(key.clone(), (value.to_string(), call));
            if let Some((_, other)) = known {
                phantom(
                    format!("both inserted for key {key}, each having found nothing"),
                    &[other, call],
                );
            }
        } else {
            value.sequence().ok_or_else(wrong)?;
            let ids: Vec<String> = value.members().map(|id| id.to_string()).collect();
            if ids.len() > 1 {
                phantom(
                    format!("{} inserts for key {key} took effect", ids.len()),
                    &[call],
                );
            }
            reads.push((key, ids, call));
        }
    }
    for (key, ids, read) in reads {
        let Some((id, insert)) = inserted.get(&key) else {
            continue;
        };
        if insert.precedes(read) && !ids.contains(id) {
            findings.add_with("lost-insert", || {
                let why = format!(
                    "{id} was inserted for key {key} and is not there\n{}",
                    quotes(&[insert, read])
                );
                Finding::new("lost-insert", why, &places(&[insert, read]))
            });
        }
    }
    Ok(Verdict::of(findings, calls.len()))
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    fn with(second: &str, read: &str) -> Vec<&'static str> {
        let lines = format!(
            "0 invoke insert [1 10]\n1 invoke insert [1 11]\n0 ok insert [1 10]\n1 {second} insert [1 11]\n2 invoke read [1 nil]\n2 ok read [1 {read}]"
        );
        found(check, &lines)
    }

    #[test]
    fn one_insert_of_two_is_fine() {
        assert_eq!(with("fail", "[10]"), Vec::<&str>::new());
        assert_eq!(with("info", "[10]"), Vec::<&str>::new());
    }

    #[test]
    fn two_inserts_and_a_lost_one_are_found() {
        assert_eq!(with("ok", "[11]"), ["phantom"]);
        assert_eq!(with("info", "[10 11]"), ["phantom"]);
        assert_eq!(with("fail", "[]"), ["lost-insert"]);
    }
}
