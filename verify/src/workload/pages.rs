//! Pages: elements are added in groups, each by one transaction; a scan that reads page after page while
//! that goes on shows whole groups (Jepsen's `pages` workload, FaunaDB 2.5.4, 2019).
//!
//! `:add` `[elements …]`, one group, each element unique. `:read` → `[[page] [page] …]`, or all elements
//! in one vector.
//!
//! - *torn-group*: a read shows a part of a group.
//! - What the set workload finds of single elements is found here too.

use super::operations::{Call, calls, places, quotes};
use super::set::{Read, check_element};
use crate::history::{History, Malformed};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut adds: BTreeMap<String, &Call> = BTreeMap::new();
    let mut reads: Vec<Read> = Vec::new();
    for call in &calls {
        match call.f {
            "add" => {
                if call.asked.sequence().is_none() {
                    return Err(call.unknown("a vector of elements to add"));
                }
                adds.extend(
                    call.asked
                        .members()
                        .map(|element| (element.to_string(), call)),
                );
            }
            "read" if call.is_ok() => {
                let elements = call.told.members().flat_map(|page| {
                    let whole = page.sequence().is_none().then_some(page);
                    let inside = page.sequence().map(|_| page.members());
                    whole.into_iter().chain(inside.into_iter().flatten())
                });
                reads.push(Read::of(call, elements, &mut findings));
            }
            "read" => {}
            _ => return Err(call.unknown("an :add of a group or a :read")),
        }
    }
    for read in &reads {
        read.check_phantoms(&adds, &mut findings);
        check_groups(read, &adds, &mut findings);
    }
    for (element, add) in &adds {
        check_element(element, add, &reads, &mut findings);
    }
    Ok(Verdict::of(findings, calls.len()))
}

fn check_groups(read: &Read, adds: &BTreeMap<String, &Call>, findings: &mut Findings) {
    let mut torn: Vec<&Call> = Vec::new();
    for element in &read.elements {
        let Some(add) = adds.get(element) else {
            continue;
        };
        let whole = add
            .asked
            .members()
            .all(|other| read.elements.contains(&other.to_string()));
        if !whole && !torn.iter().any(|known| known.begin == add.begin) {
            torn.push(add);
        }
    }
    for add in torn {
        findings.add_with("torn-group", || {
            let missing = add.asked.members().map(|other| other.to_string());
            let missing: Vec<String> = missing
                .filter(|other| !read.elements.contains(other))
                .collect();
            let why = format!(
                "of a group {} are missing\n{}",
                missing.join(" "),
                quotes(&[add, read.call])
            );
            Finding::new("torn-group", why, &places(&[add, read.call]))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    const ADDED: &str =
        "0 invoke add [1 2]\n0 ok add [1 2]\n1 invoke add [3 4]\n1 info add [3 4]\n";

    fn with(read: &str) -> Vec<&'static str> {
        found(
            check,
            &format!("{ADDED}0 invoke read nil\n0 ok read {read}"),
        )
    }

    #[test]
    fn whole_groups_are_fine_over_any_pages() {
        assert_eq!(with("[[1] [2]]"), Vec::<&str>::new());
        assert_eq!(with("[[4 1] [3 2]]"), Vec::<&str>::new());
        assert_eq!(with("[1 2]"), Vec::<&str>::new());
    }

    #[test]
    fn torn_and_lost_groups_are_found() {
        assert_eq!(with("[[1 2] [3]]"), ["torn-group"]);
        assert_eq!(with("[[1]]"), ["lost-element", "torn-group"]);
        assert_eq!(with("[]"), ["lost-element"]);
        assert_eq!(with("[[1 2] [2]]"), ["duplicate-element"]);
    }
}
