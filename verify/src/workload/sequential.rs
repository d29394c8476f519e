//! Sequential: what one client wrote one after another is never seen in another order (Jepsen's
//! `sequential` workload, CockroachDB beta-20160829, 2016).
//!
//! `:write` `key`: one client writes the sub-keys of a key in their order, each in a transaction of its
//! own. `:read` → `[key [seen …]]`: another client reads them in the *reverse* order, each in a
//! transaction of its own, `nil` for what is not there.
//!
//! - *later-without-earlier*: the later sub-key was seen, and afterwards the earlier one was not there.

use super::operations::{calls, places};
use crate::history::{History, Malformed};
use crate::verdict::{Finding, Findings, Verdict};

pub(super) fn check(history: &History) -> Result<Verdict, Malformed> {
    let calls = calls(history)?;
    let mut findings = Findings::default();
    for call in &calls {
        match call.f {
            "write" => continue,
            "read" if !call.is_ok() => continue,
            "read" => {}
            _ => return Err(call.unknown("a :write or a :read")),
        }
        let seen = call
            .told
            .tuple()
            .filter(|[_, seen]| seen.sequence().is_some());
        let [_, seen] = seen.ok_or_else(|| {
            call.unknown("a pair of a key and what was seen, the last sub-key first")
        })?;
        let from_last: Vec<bool> = seen.members().map(|value| !value.is_nil()).collect();
        let later = from_last.iter().position(|there| *there);
        let earlier = later.and_then(|later| {
            from_last[later..]
                .iter()
                .position(|there| !there)
                .map(|at| later + at)
        });
        if let (Some(later), Some(earlier)) = (later, earlier) {
            findings.add_with("later-without-earlier", || {
                let why = format!(
                    "sub-key {} was seen, and then sub-key {}, written before it, was not there\n{}",
                    from_last.len() - later,
                    from_last.len() - earlier,
                    call.quote()
                );
                Finding::new("later-without-earlier", why, &places(&[call]))
            });
        }
    }
    Ok(Verdict::of(findings, calls.len()))
}

#[cfg(test)]
mod tests {
    use super::super::operations::fixtures::found;
    use super::*;

    fn read(seen: &str) -> Vec<&'static str> {
        found(
            check,
            &format!(
                "0 invoke write :k\n0 ok write :k\n1 invoke read [:k nil]\n1 ok read [:k {seen}]"
            ),
        )
    }

    #[test]
    fn any_number_of_the_first_may_be_seen() {
        for seen in ["[nil nil nil]", "[nil nil :a]", "[nil :b :a]", "[:c :b :a]"] {
            assert_eq!(read(seen), Vec::<&str>::new(), "{seen}");
        }
    }

    #[test]
    fn a_later_one_without_an_earlier_one_is_found() {
        for seen in ["[:c nil nil]", "[:c nil :a]", "[nil :b nil]"] {
            assert_eq!(read(seen), ["later-without-earlier"], "{seen}");
        }
    }
}
