//! Comments: if a write was begun after another had been acknowledged, nobody sees it without that other
//! one (Jepsen's `comments` workload, CockroachDB beta-20160829, 2016: strict serializability, where
//! serializability alone allows the *causal reverse*).
//!
//! `:write` `id`, each unique, spread over partitions. `:read` → `[ids …]` or `#{…}`: all of them in one
//! transaction.
//!
//! - *causal-reverse*: the later write is seen, the earlier one is not.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Kind, Malformed};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut writes: BTreeMap<String, &Call> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.f == "write") {
        writes.insert(call.asked.to_string(), call);
    }
    // Acknowledged writes in the order of their acknowledgement.
    let mut acknowledged: Vec<(&String, &Call)> =
        writes.iter().map(|(id, call)| (id, *call)).collect();
    acknowledged.retain(|(_, call)| call.is_ok());
    acknowledged.sort_by_key(|(_, call)| call.end);
    for call in &calls {
        match call.f {
            "write" => continue,
            "read" if call.outcome != Kind::Ok => continue,
            "read" if call.told.sequence().is_some() => {}
            _ => return Err(call.unknown("a :write of an id or a :read of a set of ids")),
        }
        let seen: BTreeSet<String> = call.told.members().map(|id| id.to_string()).collect();
        // The write that was seen and was begun last: the most must be seen with it.
        let latest = seen
            .iter()
            .filter_map(|id| writes.get(id))
            .max_by_key(|write| write.begin);
        let Some(latest) = latest else {
            continue;
        };
        let before = acknowledged.partition_point(|(_, write)| write.end < latest.begin);
        let missing = acknowledged[..before]
            .iter()
            .find(|(id, _)| !seen.contains(*id));
        if let Some((id, earlier)) = missing {
            findings.add_with("causal-reverse", || {
                let all = [*earlier, latest, call];
                let why = format!("{id} was acknowledged before the second was begun, and is missing where that is seen\n{}", quotes(&all));
                Finding::new("causal-reverse", why, &places(&all))
            });
        }
    }
    Ok(Verdict::of(findings, calls.len()))
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    #[test]
    fn the_later_without_the_earlier_is_found_and_nothing_else() {
        let read = |seen: &str| {
            format!(
                "2 invoke read nil\n0 invoke write 1\n0 ok write 1\n1 invoke write 2\n1 ok write 2\n2 ok read {seen}"
            )
        };
        for seen in ["#{}", "#{1}", "#{1 2}"] {
            assert_eq!(found(check, &read(seen)), Vec::<&str>::new(), "{seen}");
        }
        assert_eq!(found(check, &read("#{2}")), ["causal-reverse"]);
        let beside = "0 invoke write 1\n1 invoke write 2\n0 ok write 1\n1 ok write 2\n2 invoke read nil\n2 ok read [2]";
        assert_eq!(
            found(check, beside),
            Vec::<&str>::new(),
            "writes beside each other have no order"
        );
    }
}
