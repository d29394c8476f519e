//! Counter: each read lies between what was certainly added before it and what may have been added by
//! its end (Jepsen's `counter` checker).
//!
//! `:add` `n`, also negative. `:read` → `n`. With keys, values are pairs: `[key n]`.
//!
//! - *out-of-bounds*: a read is below or above what any order of the additions gives. If every addition
//!   was answered and none runs beside it, that is its exact total.

use super::operations::{Call, calls, places, quotes};
use crate::history::{History, Kind, Malformed, Value};
use crate::verdict::{Finding, Findings, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    let mut keys: BTreeMap<String, Vec<(&Call, i64)>> = BTreeMap::new();
    for call in &calls {
        let value = match call.f {
            "add" => call.asked,
            "read" if call.is_ok() => call.told,
            "read" => continue,
            _ => return Err(call.unknown("an :add or a :read")),
        };
        let (key, value) = match value.tuple() {
            Some([key, value]) => (key.to_string(), value),
            None => (String::new(), value),
        };
        keys.entry(key)
            .or_default()
            .push((call, number(call, value)?));
    }
    for of_key in keys.values() {
        check_key(of_key, &mut findings);
    }
    Ok(Verdict::of(findings, calls.len()))
}

fn number(call: &Call, value: Value) -> Result<i64, Malformed> {
    let number = if value.is_nil() && call.f == "read" {
        Some(0)
    } else {
        value.int()
    };
    number.ok_or_else(|| call.unknown("a number, or a pair of key and number"))
}

/// What happens at a place of the history.
enum Moment<'a, 'h> {
    /// An addition may take effect from here on.
    MayHappen(i64),
    /// It certainly has.
    Happened(i64),
    ReadBegins(usize),
    ReadEnds(usize, &'a Call<'h>, i64),
}

/// Walks through the events with the least and the most that the counter can be.
fn check_key(all: &[(&Call, i64)], findings: &mut Findings) {
    let mut moments: Vec<(usize, Moment)> = Vec::new();
    for (number, (call, value)) in all.iter().enumerate() {
        match (call.f, call.outcome) {
            ("read", _) => {
                moments.push((call.begin, Moment::ReadBegins(number)));
                moments.push((call.end, Moment::ReadEnds(number, call, *value)));
            }
            (_, Kind::Fail) => {}
            _ => {
                moments.push((call.begin, Moment::MayHappen(*value)));
                if call.is_ok() {
                    moments.push((call.end, Moment::Happened(*value)));
                }
            }
        }
    }
    moments.sort_by_key(|(at, _)| *at);
    // In 128 bits: 2^32 additions of 64 bits do not overflow them.
    let (mut least, mut most) = (0i128, 0i128);
    let mut open: BTreeMap<usize, (i128, i128)> = BTreeMap::new();
    for (_, moment) in moments {
        match moment {
            Moment::MayHappen(n) if n >= 0 => most += i128::from(n),
            Moment::MayHappen(n) => least += i128::from(n),
            Moment::Happened(n) if n >= 0 => least += i128::from(n),
            Moment::Happened(n) => most += i128::from(n),
            Moment::ReadBegins(number) => {
                open.insert(number, (least, most));
            }
            Moment::ReadEnds(number, call, seen) => {
                let (least, most) = open.remove(&number).expect("a read ends after it began");
                if !(least..=most).contains(&i128::from(seen)) {
                    findings.add_with("out-of-bounds", || {
                        let why = format!(
                            "the counter was between {least} and {most}\n{}",
                            quotes(&[call])
                        );
                        Finding::new("out-of-bounds", why, &places(&[call]))
                    });
                }
            }
        }
        for (low, high) in open.values_mut() {
            *low = least.min(*low);
            *high = most.max(*high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    fn read(before: &str, seen: i64) -> Vec<&'static str> {
        found(
            check,
            &format!("{before}\n9 invoke read nil\n9 ok read {seen}"),
        )
    }

    #[test]
    fn answered_additions_count_exactly_and_unknown_ones_may() {
        let both =
            "0 invoke add 2\n0 ok add 2\n0 invoke add 3\n0 ok add 3\n1 invoke add 9\n1 fail add 9";
        assert_eq!(read(both, 5), Vec::<&str>::new());
        for wrong in [2, 4, 6, 14] {
            assert_eq!(read(both, wrong), ["out-of-bounds"], "{wrong}");
        }
        let unknown = "0 invoke add 2\n0 ok add 2\n0 invoke add -3\n0 info add -3";
        for fine in [2, -1] {
            assert_eq!(read(unknown, fine), Vec::<&str>::new(), "{fine}");
        }
        assert_eq!(read(unknown, 3), ["out-of-bounds"]);
    }

    #[test]
    fn an_addition_beside_a_read_may_be_seen() {
        let beside =
            |seen: i64| format!("0 invoke read nil\n1 invoke add 2\n1 ok add 2\n0 ok read {seen}");
        assert_eq!(found(check, &beside(0)), Vec::<&str>::new());
        assert_eq!(found(check, &beside(2)), Vec::<&str>::new());
        assert_eq!(found(check, &beside(4)), ["out-of-bounds"]);
    }
}
