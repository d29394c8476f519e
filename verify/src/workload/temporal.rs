//! Temporal: what a timestamp shows never changes: reading it again, anywhere, gives the same bytes
//! (versioned values: protocol R1 and R6).
//!
//! `:read-at` → `[timestamp key value]`, `nil` for nothing there. `:write` → `[key value timestamp]`, the
//! commit timestamp that was told; others are not looked at.
//!
//! - *history-changed*: two reads of one key at one timestamp differ.
//! - *missing-version*: at the timestamp of an acknowledged write another value than the written one.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Malformed};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut known: BTreeMap<(String, String), (String, &Call)> = BTreeMap::new();
    let mut written: BTreeMap<(String, String), (String, &Call)> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.is_ok()) {
        match call.f {
            "write" => {
                let wrong = || call.unknown("a triple of key, value and timestamp");
                let [key, value, timestamp] = call.told.tuple().ok_or_else(wrong)?;
                let place = (timestamp.to_string(), key.to_string());
                written.insert(place, (value.to_string(), call));
            }
            "read-at" => {
                let wrong = || call.unknown("a triple of timestamp, key and value");
                let [timestamp, key, value] = call.told.tuple().ok_or_else(wrong)?;
                let place = (timestamp.to_string(), key.to_string());
                let value = value.to_string();
                match known.get(&place) {
                    None => {
                        known.insert(place, (value, call));
                    }
                    Some((before, first)) if *before != value => {
                        let what = format!("key {key} at {timestamp} was {before} and is {value}");
                        add(&mut findings, "history-changed", what, &[first, call]);
                    }
                    Some(_) => {}
                }
            }
            _ => return Err(call.unknown("a :read-at or a :write")),
        }
    }
    for (place, (value, write)) in &written {
        if let Some((seen, read)) = known.get(place).filter(|(seen, _)| seen != value) {
            let what = format!(
                "key {} was written at {} as {value} and is {seen} there",
                place.1, place.0
            );
            add(&mut findings, "missing-version", what, &[write, read]);
        }
    }
    Ok(Verdict::of(findings, calls.len()))
}

fn add(findings: &mut Findings, anomaly: &'static str, what: String, all: &[&Call]) {
    findings.add_with(anomaly, || {
        Finding::new(anomaly, format!("{what}\n{}", quotes(all)), &places(all))
    });
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    fn with(first: &str, second: &str) -> Vec<&'static str> {
        let lines = format!(
            "0 invoke write [:x 1 nil]\n0 ok write [:x 1 \"7+0\"]\n1 invoke read-at nil\n1 ok read-at {first}\n1 invoke read-at nil\n1 ok read-at {second}"
        );
        found(check, &lines)
    }

    #[test]
    fn the_same_again_is_fine() {
        assert_eq!(with("[\"7+0\" :x 1]", "[\"7+0\" :x 1]"), Vec::<&str>::new());
        assert_eq!(
            with("[\"6+0\" :x nil]", "[\"8+0\" :x 1]"),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn a_changed_past_and_a_missing_version_are_found() {
        assert_eq!(
            with("[\"6+0\" :x nil]", "[\"6+0\" :x 1]"),
            ["history-changed"]
        );
        assert_eq!(
            with("[\"7+0\" :x nil]", "[\"7+0\" :x nil]"),
            ["missing-version"]
        );
    }
}
