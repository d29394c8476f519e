//! Multi-register: transactions over a few registers take effect at one moment each (Jepsen's
//! `multi-register` model of Knossos; checked as [`super::linearizability`] says).
//!
//! `:txn` `[[:r key nil] [:w key value] …]` → the same with what was read. Any value may be written any
//! number of times; for histories of many keys and unique values `rw-register` is the better check.
//!
//! Registers that no transaction touches together are judged apart: linearizability is local (Herlihy and
//! Wing, 1990, theorem 1), so groups of registers that never mix are objects of their own, and a search
//! that is exponential in what is open together stays small.

use super::linearizability::{Object, Timed, judge, tell};
use super::operations::{Call, calls};
use crate::history::{History, Kind, Malformed};
use crate::verdict::{Findings, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut names = Names::default();
    let mut timed: Vec<Timed<Vec<Access>>> = Vec::new();
    for call in &calls {
        if call.outcome != Kind::Fail {
            timed.push(Timed {
                call,
                does: accesses(call, &mut names)?,
            });
        }
    }
    let mut findings = Findings::default();
    for (group, timed) in apart(names.keys.len(), timed) {
        let start = vec![None; group.len()];
        let judged = judge(&Registers, start, &timed);
        let show = |state: &Vec<Option<u32>>| names.state(&group, state);
        tell(judged, &timed, "", show, &mut findings);
    }
    Ok(Verdict::of(findings, calls.len()))
}

/// The transactions of one group of registers, which are numbered from 0 in it.
type Group<'a, 'h> = (Vec<usize>, Vec<Timed<'a, 'h, Vec<Access>>>);

/// Groups of registers that no transaction touches together.
fn apart<'a, 'h>(registers: usize, timed: Vec<Timed<'a, 'h, Vec<Access>>>) -> Vec<Group<'a, 'h>> {
    let mut joined: Vec<usize> = (0..registers).collect();
    fn root(joined: &[usize], mut register: usize) -> usize {
        while joined[register] != register {
            register = joined[register];
        }
        register
    }
    for timed in &timed {
        for pair in timed.does.windows(2) {
            let (a, b) = (
                root(&joined, pair[0].register()),
                root(&joined, pair[1].register()),
            );
            joined[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    let mut numbers = vec![0; registers];
    for (register, number) in numbers.iter_mut().enumerate() {
        let (group, _) = groups.entry(root(&joined, register)).or_default();
        *number = group.len();
        group.push(register);
    }
    for mut timed in timed {
        let Some(first) = timed.does.first() else {
            continue;
        };
        let group = root(&joined, first.register());
        for access in &mut timed.does {
            let (Access::Read(register, _) | Access::Write(register, _)) = access;
            *register = numbers[*register];
        }
        let group = groups.get_mut(&group).expect("each register has a group");
        group.1.push(timed);
    }
    groups.into_values().collect()
}

#[derive(Default)]
struct Names {
    keys: BTreeMap<String, usize>,
    values: BTreeMap<String, u32>,
}

impl Names {
    /// What a group of registers holds.
    fn state(&self, group: &[usize], state: &[Option<u32>]) -> String {
        let text = |value: Option<u32>| {
            let name = self
                .values
                .iter()
                .find(|(_, number)| Some(**number) == value);
            name.map_or("nil", |(text, _)| text)
        };
        let pairs: Vec<String> = self
            .keys
            .iter()
            .filter_map(|(key, at)| {
                let place = group.iter().position(|register| register == at)?;
                Some(format!("{key} {}", text(state[place])))
            })
            .collect();
        format!("{{{}}}", pairs.join(", "))
    }
}

fn accesses(call: &Call, names: &mut Names) -> Result<Vec<Access>, Malformed> {
    let mut all = Vec::new();
    for member in call.told.members() {
        let wrong = || call.unknown("a vector of [:r key value] and [:w key value]");
        let [f, key, value] = member.tuple().ok_or_else(wrong)?;
        let next = names.keys.len();
        let key = *names.keys.entry(key.to_string()).or_insert(next);
        let next = names.values.len() as u32;
        let value =
            (!value.is_nil()).then(|| *names.values.entry(value.to_string()).or_insert(next));
        match f.name() {
            Some("r") if call.is_ok() => all.push(Access::Read(key, value)),
            Some("r") => {}
            Some("w") => all.push(Access::Write(key, value)),
            _ => return Err(wrong()),
        }
    }
    Ok(all)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Read(usize, Option<u32>),
    Write(usize, Option<u32>),
}

impl Access {
    fn register(self) -> usize {
        match self {
            Access::Read(register, _) | Access::Write(register, _) => register,
        }
    }
}

struct Registers;

impl Object for Registers {
    type State = Vec<Option<u32>>;
    type Call = Vec<Access>;

    fn step(&self, state: &Self::State, call: &Vec<Access>) -> Option<Self::State> {
        let mut state = state.clone();
        for access in call {
            match access {
                Access::Read(key, seen) if state[*key] != *seen => return None,
                Access::Read(..) => {}
                Access::Write(key, value) => state[*key] = *value,
            }
        }
        Some(state)
    }

    fn only_reads(&self, call: &Vec<Access>) -> bool {
        call.iter().all(|access| matches!(access, Access::Read(..)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::{found, history};
    use super::*;

    fn reads(seen: &str) -> Vec<&'static str> {
        let write = "0 invoke txn [[:w :x 1] [:w :y 1]]";
        let lines = format!(
            "{write}\n1 invoke txn [[:r :x nil] [:r :y nil]]\n1 ok txn {seen}\n0 ok txn [[:w :x 1] [:w :y 1]]"
        );
        found(check, &lines)
    }

    #[test]
    fn all_or_nothing_of_a_transaction_is_seen() {
        assert_eq!(reads("[[:r :x nil] [:r :y nil]]"), Vec::<&str>::new());
        assert_eq!(reads("[[:r :x 1] [:r :y 1]]"), Vec::<&str>::new());
        assert_eq!(reads("[[:r :x 1] [:r :y nil]]"), ["not-linearizable"]);
    }

    #[test]
    fn reads_in_a_transaction_see_its_own_writes() {
        let own = |seen: &str| {
            format!("0 invoke txn [[:w :x 2] [:r :x nil]]\n0 ok txn [[:w :x 2] [:r :x {seen}]]")
        };
        assert_eq!(found(check, &own("2")), Vec::<&str>::new());
        assert_eq!(found(check, &own("nil")), ["not-linearizable"]);
    }

    #[test]
    fn groups_that_never_mix_are_judged_apart() {
        // Two groups; in the second a read is stale. What is open for ever in the first costs nothing.
        let mut lines = String::new();
        for process in 10..40 {
            lines += &format!("{process} invoke txn [[:w :a {process}]]\n");
        }
        lines += "0 invoke txn [[:w :x 1] [:w :y 1]]
            0 ok txn [[:w :x 1] [:w :y 1]]
            1 invoke txn [[:r :y nil] [:r :x nil]]
            1 ok txn [[:r :y nil] [:r :x 1]]";
        assert_eq!(found(check, &lines), ["not-linearizable"]);
        let verdict = check(&history(&lines)).unwrap();
        let why = &verdict.broken[0].examples[0].why;
        assert!(why.contains("{:x 1, :y 1}"), "{why}");
    }
}
