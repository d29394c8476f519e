//! Register: each key is a linearizable register with compare-and-set (Jepsen's `register` workload;
//! checked as [`super::linearizability`] says).
//!
//! `:read` → `value`, `nil` for none. `:write` `value`. `:cas` `[old new]`: `:ok` if it was `old`,
//! `:fail` if it was not done. With keys, values are pairs, as Jepsen's independent keys write them:
//! `:read` → `[key value]`, `:write` `[key value]`, `:cas` `[key [old new]]`; a history has keys if a
//! `:read` or `:write` has a pair, or a `:cas` a pair in a pair.

use super::linearizability::{Object, Timed, judge, tell};
use super::operations::{Call, calls};
use crate::history::{History, Kind, Malformed, Value};
use crate::verdict::{Findings, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let keyed = calls.iter().any(has_key);
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut registers: BTreeMap<String, Vec<Timed<Access>>> = BTreeMap::new();
    for call in &calls {
        let (key, value) = match keyed {
            true => pair(call, if call.is_ok() { call.told } else { call.asked })?,
            false => (
                String::new(),
                if call.is_ok() { call.told } else { call.asked },
            ),
        };
        if let Some(does) = access(call, value, &mut numbers)? {
            registers.entry(key).or_default().push(Timed { call, does });
        }
    }
    let names: Vec<String> = {
        let mut names: Vec<(u32, String)> =
            numbers.into_iter().map(|(text, n)| (n, text)).collect();
        names.sort();
        names.into_iter().map(|(_, text)| text).collect()
    };
    let mut findings = Findings::default();
    for (key, timed) in &registers {
        let of = if keyed {
            format!(" of key {key}")
        } else {
            String::new()
        };
        let judged = judge(&Register, None, timed);
        let show =
            |state: &Option<u32>| state.map_or("nil".to_owned(), |n| names[n as usize].clone());
        tell(judged, timed, &of, show, &mut findings);
    }
    Ok(Verdict::of(findings, calls.len()))
}

fn has_key(call: &Call) -> bool {
    let value = if call.is_ok() { call.told } else { call.asked };
    match (call.f, value.tuple::<2>()) {
        ("cas", Some([_, inner])) => inner.sequence().is_some(),
        (_, pair) => pair.is_some(),
    }
}

fn pair<'h>(call: &Call<'h>, value: Value<'h>) -> Result<(String, Value<'h>), Malformed> {
    let [key, value] = value
        .tuple()
        .ok_or_else(|| call.unknown("a pair of a key and a value"))?;
    Ok((key.to_string(), value))
}

/// What a call did, values by number; `None`: nothing that counts.
fn access(
    call: &Call,
    value: Value,
    numbers: &mut BTreeMap<String, u32>,
) -> Result<Option<Access>, Malformed> {
    let mut number = |value: Value| {
        let next = numbers.len() as u32;
        (!value.is_nil()).then(|| *numbers.entry(value.to_string()).or_insert(next))
    };
    if call.outcome == Kind::Fail {
        return Ok(None);
    }
    match call.f {
        "read" if !call.is_ok() => Ok(None),
        "read" => Ok(Some(Access::Read(number(value)))),
        "write" => Ok(Some(Access::Write(number(value)))),
        "cas" => {
            let [old, new] = value
                .tuple()
                .ok_or_else(|| call.unknown("a pair of old and new"))?;
            Ok(Some(Access::CompareAndSet(number(old), number(new))))
        }
        _ => Err(call.unknown("a :read, :write or :cas")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Read(Option<u32>),
    Write(Option<u32>),
    CompareAndSet(Option<u32>, Option<u32>),
}

struct Register;

impl Object for Register {
    type State = Option<u32>;
    type Call = Access;

    fn step(&self, state: &Option<u32>, call: &Access) -> Option<Option<u32>> {
        match call {
            Access::Read(seen) => (seen == state).then_some(*state),
            Access::Write(value) => Some(*value),
            Access::CompareAndSet(old, new) => (old == state).then_some(*new),
        }
    }

    fn only_reads(&self, call: &Access) -> bool {
        matches!(call, Access::Read(_))
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    #[test]
    fn calls_beside_each_other_may_take_effect_in_any_order() {
        let read = |seen: &str| {
            format!(
                "0 invoke write 1\n0 ok write 1\n0 invoke write 2\n1 invoke read nil\n1 ok read {seen}\n0 ok write 2"
            )
        };
        assert_eq!(found(check, &read("1")), Vec::<&str>::new());
        assert_eq!(found(check, &read("2")), Vec::<&str>::new());
        assert_eq!(found(check, &read("nil")), ["not-linearizable"]);
        assert_eq!(found(check, &read("3")), ["not-linearizable"]);
    }

    #[test]
    fn a_stale_read_and_a_step_back_are_found() {
        let stale = "0 invoke write 1\n0 ok write 1\n1 invoke read nil\n1 ok read nil";
        assert_eq!(found(check, stale), ["not-linearizable"]);
        let back = "0 invoke write 1\n1 invoke read nil\n1 ok read 1\n1 invoke read nil\n1 ok read nil\n0 ok write 1";
        assert_eq!(found(check, back), ["not-linearizable"]);
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_or_never_but_once() {
        let late = |last: &str| {
            format!("0 invoke write 1\n0 info write 1\n1 invoke write 2\n1 ok write 2\n1 invoke read nil\n1 ok read 2
                1 invoke read nil\n1 ok read 1\n1 invoke write 2\n1 ok write 2\n1 invoke read nil\n1 ok read {last}")
        };
        assert_eq!(found(check, &late("2")), Vec::<&str>::new());
        assert_eq!(found(check, &late("1")), ["not-linearizable"]);
    }

    #[test]
    fn a_write_of_what_is_there_may_be_needed_later() {
        let lines = "0 invoke write 1\n0 ok write 1\n0 invoke write 1\n1 invoke read nil\n1 ok read 1\n1 invoke write 2
            1 ok write 2\n1 invoke read nil\n1 ok read 2\n1 invoke read nil\n1 ok read 1\n0 ok write 1";
        assert_eq!(found(check, lines), Vec::<&str>::new());
    }

    /// Against all orders of a few random calls, tried one by one.
    #[test]
    fn the_verdict_is_that_of_trying_every_order() {
        let mut state = 5u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut counts = [0, 0];
        for _ in 0..2_000 {
            let mut open: Vec<Option<String>> = vec![None; 3];
            let mut lines = String::new();
            let mut process = 0;
            let mut names = [0, 0, 0];
            for _ in 0..12 {
                let who = random(3) as usize;
                match open[who].take() {
                    None => {
                        process += 1;
                        names[who] = process;
                        let (a, b) = (random(3), random(3));
                        let call = [
                            format!("read {a}"),
                            format!("write {a}"),
                            format!("cas [{a} {b}]"),
                        ][random(3) as usize]
                            .clone();
                        lines += &format!("{process} invoke {call}\n");
                        open[who] = Some(call);
                    }
                    Some(call) => {
                        let kind = ["ok", "ok", "ok", "info", "fail"][random(5) as usize];
                        lines += &format!("{} {kind} {call}\n", names[who]);
                    }
                }
            }
            let expected = every_order(&lines);
            counts[usize::from(expected)] += 1;
            assert_eq!(found(check, &lines).is_empty(), expected, "{lines}");
        }
        assert!(
            counts[0] > 200 && counts[1] > 200,
            "both verdicts occur: {counts:?}"
        );
    }

    /// Whether some order of the calls explains what they returned.
    fn every_order(lines: &str) -> bool {
        let history = super::super::operations::fixtures::history(lines);
        let calls = calls(&history).unwrap();
        let mut numbers = BTreeMap::new();
        let does: Vec<Option<Access>> = calls
            .iter()
            .map(|call| access(call, call.told, &mut numbers).unwrap())
            .collect();
        let left = (0..calls.len())
            .filter(|number| does[*number].is_some())
            .collect();
        place(&calls, &does, left, None)
    }

    fn place(
        calls: &[Call],
        does: &[Option<Access>],
        left: Vec<usize>,
        state: Option<u32>,
    ) -> bool {
        if left.iter().all(|number| calls[*number].end == usize::MAX) {
            return true;
        }
        left.iter().any(|number| {
            let first = left
                .iter()
                .all(|other| !calls[*other].precedes(&calls[*number]));
            let next = does[*number]
                .as_ref()
                .and_then(|does| Register.step(&state, does));
            let rest = left
                .iter()
                .copied()
                .filter(|other| other != number)
                .collect();
            first && next.is_some_and(|next| place(calls, does, rest, next))
        })
    }

    #[test]
    fn compare_and_set_needs_what_it_compares_with() {
        let cas = |old: u32| {
            format!("0 invoke write 1\n0 ok write 1\n0 invoke cas [{old} 3]\n0 ok cas [{old} 3]")
        };
        assert_eq!(found(check, &cas(1)), Vec::<&str>::new());
        assert_eq!(found(check, &cas(2)), ["not-linearizable"]);
    }

    #[test]
    fn keys_are_registers_of_their_own() {
        let lines = |seen: &str| {
            format!(
                "0 invoke write [:a 1]\n0 ok write [:a 1]\n0 invoke read [:b nil]\n0 ok read [:b {seen}]\n0 invoke cas [:a [1 2]]\n0 ok cas [:a [1 2]]"
            )
        };
        assert_eq!(found(check, &lines("nil")), Vec::<&str>::new());
        assert_eq!(found(check, &lines("1")), ["not-linearizable"]);
    }
}
