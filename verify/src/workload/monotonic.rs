//! Monotonic: a value that only grows is never seen to shrink (Jepsen's `monotonic` workload, FaunaDB
//! 2.5.4, 2019).
//!
//! `:inc` → `value` after it, or `[key value]`. `:read` → `value` or `[key value]`, `nil` for none.
//!
//! - *went-back*: an operation that began after another had been answered saw less than that one.
//! - *not-grown*: an `:inc` that began after another operation had been answered gave no more than it saw.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Malformed};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut keys: BTreeMap<String, Vec<(&Call, i64)>> = BTreeMap::new();
    for call in &calls {
        if !matches!(call.f, "inc" | "read") {
            return Err(call.unknown("an :inc or a :read"));
        }
        if call.is_ok() {
            let (key, value) = match call.told.tuple() {
                Some([key, value]) => (key.to_string(), value),
                None => (String::new(), call.told),
            };
            let number = if value.is_nil() {
                Some(i64::MIN)
            } else {
                value.int()
            };
            let number =
                number.ok_or_else(|| call.unknown("a number, or a pair of key and number"))?;
            keys.entry(key).or_default().push((call, number));
        }
    }
    for of_key in keys.values() {
        check_key(of_key, &mut findings);
    }
    Ok(Verdict::of(findings, calls.len()))
}

/// Calls in the order of their beginnings; beside them those of the ends, with the most seen so far.
fn check_key(all: &[(&Call, i64)], findings: &mut Findings) {
    let mut ended: Vec<(&Call, i64)> = all.to_vec();
    ended.sort_by_key(|(call, _)| call.end);
    let mut next = 0;
    let mut most: Option<(&Call, i64)> = None;
    for (call, value) in all {
        while ended
            .get(next)
            .is_some_and(|(earlier, _)| earlier.precedes(call))
        {
            if most.is_none_or(|(_, known)| ended[next].1 > known) {
                most = Some(ended[next]);
            }
            next += 1;
        }
        let Some((earlier, known)) = most else {
            continue;
        };
        let anomaly = match call.f {
            _ if *value < known => "went-back",
            "inc" if *value == known => "not-grown",
            _ => continue,
        };
        findings.add_with(anomaly, || {
            let why = format!(
                "the second began after the first had been answered\n{}",
                quotes(&[earlier, call])
            );
            Finding::new(anomaly, why, &places(&[earlier, call]))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    #[test]
    fn values_that_grow_are_fine_and_reads_beside_an_increment_see_either() {
        let lines = |seen: u32| {
            format!(
                "0 invoke inc nil\n0 ok inc 1\n0 invoke inc nil\n1 invoke read nil\n1 ok read {seen}\n0 ok inc 2"
            )
        };
        assert_eq!(found(check, &lines(1)), Vec::<&str>::new());
        assert_eq!(found(check, &lines(2)), Vec::<&str>::new());
        let keys = "0 invoke inc [:a nil]\n0 ok inc [:a 5]\n0 invoke inc [:b nil]\n0 ok inc [:b 1]";
        assert_eq!(found(check, keys), Vec::<&str>::new());
    }

    #[test]
    fn steps_back_and_increments_without_effect_are_found() {
        let then =
            |line: &str| format!("0 invoke inc nil\n0 ok inc 2\n1 invoke {line} nil\n1 ok {line} ");
        assert_eq!(found(check, &(then("read") + "1")), ["went-back"]);
        assert_eq!(found(check, &(then("read") + "nil")), ["went-back"]);
        assert_eq!(found(check, &(then("inc") + "2")), ["not-grown"]);
    }
}
