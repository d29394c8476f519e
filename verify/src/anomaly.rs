//! The names of what can be wrong with a transactional history, and which of them implies which.
//!
//! The names are Elle's, so that a verdict can be held against the literature and against other tools:
//! Adya's phenomena (*Weak Consistency*, 1999: G0, G1a, G1b, G1c, G-single, G2-item, G2), those that only
//! lists show (dirty update, incompatible order), and what is worse than any of them (a value that
//! nobody wrote). A cycle that needs the order of one process carries `-process`, one that needs real
//! time `-realtime`.
//!
//! `a` implies `b`: who forbids `b` forbids `a` too. So a model names only what it adds over weaker ones.

use std::collections::BTreeSet;
use std::fmt;

/// A named anomaly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Anomaly(&'static str);

impl Anomaly {
    pub(crate) const fn new(name: &'static str) -> Anomaly {
        Anomaly(name)
    }

    /// Its name, as Elle writes it.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// What it needs beside the data (nothing before processes before real time), and its name.
    fn parts(self) -> (u8, &'static str) {
        let needs = |suffix, rank| self.0.strip_suffix(suffix).map(|base| (rank, base));
        needs("-realtime", 2)
            .or(needs("-process", 1))
            .unwrap_or((0, self.0))
    }

    /// To tell the worst first: what the data alone shows, in the order of [`MEANINGS`].
    pub(crate) fn order(self) -> (u8, usize) {
        let (needs, base) = self.parts();
        let place = MEANINGS.iter().position(|(name, _)| *name == base);
        (needs, place.unwrap_or(MEANINGS.len()))
    }

    /// What it is, in one sentence.
    pub fn meaning(self) -> &'static str {
        let (_, base) = self.parts();
        let mut all = MEANINGS.iter().chain(OF_PROPERTIES);
        all.find(|(name, _)| *name == base).map_or(
            "a cycle exists that this model forbids; it was not singled out",
            |(_, meaning)| meaning,
        )
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Anomalies in one sentence, the worst of transactions first.
const MEANINGS: &[(&str, &str)] = &[
    (
        "G0",
        "dirty write: transactions overwrote each other in a circle",
    ),
    (
        "G1a",
        "aborted read: a transaction read what a failed one wrote",
    ),
    (
        "G1b",
        "intermediate read: a transaction read a value that its writer overwrote before it committed",
    ),
    (
        "G1c",
        "circular information flow: each transaction of a circle saw or overwrote what the one before wrote",
    ),
    (
        "G-single-item",
        "read skew: a transaction read an old version though it follows, by way of others, the transaction that replaced it",
    ),
    (
        "G-nonadjacent-item",
        "long fork: several transactions read old versions, none of them right after another; no snapshot explains it",
    ),
    (
        "G2-item",
        "write skew: transactions read old versions that others of the circle replaced",
    ),
    (
        "internal",
        "a transaction contradicts its own earlier reads and writes",
    ),
    (
        "future-read",
        "a transaction read what it wrote only afterwards",
    ),
    (
        "dirty-update",
        "a committed transaction built upon the write of a failed one",
    ),
    (
        "incompatible-order",
        "two reads of one list cannot come from one order of appends",
    ),
    (
        "duplicate-elements",
        "an element that was appended once is in a list twice",
    ),
    (
        "lost-update",
        "several transactions read the same version of a key and all wrote the key",
    ),
    (
        "cyclic-versions",
        "the versions of one key follow each other in a circle",
    ),
    (
        "garbage-read",
        "a transaction read a value that nobody wrote",
    ),
    (
        "empty-transaction-graph",
        "no transaction depends on another: the history proves nothing",
    ),
    (
        "cycle-search-limit",
        "the search for cycles of each kind was cut short; what was found is true, kinds may be missing",
    ),
];

/// Those of single properties, in one sentence.
const OF_PROPERTIES: &[(&str, &str)] = &[
    ("applied-twice", "a commit took effect twice"),
    (
        "causal-reverse",
        "a write was seen without one that had been acknowledged before it began",
    ),
    (
        "contradicting-outcomes",
        "of one commit different ends were told",
    ),
    ("duplicate-element", "an element is in one read twice"),
    (
        "duplicate-write",
        "a key that is written once was written twice",
    ),
    (
        "history-changed",
        "two reads of one key at one timestamp differ",
    ),
    (
        "later-without-earlier",
        "a write of a client was seen without one that it made before",
    ),
    (
        "linearizability-search-limit",
        "too many operations were open together to search all their orders",
    ),
    (
        "long-fork",
        "two readers saw independent writes in opposite orders",
    ),
    ("lost-commit", "a commit was acknowledged and has no effect"),
    (
        "lost-element",
        "an element was there and is missing in all later reads",
    ),
    (
        "lost-insert",
        "an insert was acknowledged and a later read does not show it",
    ),
    (
        "missing-version",
        "at the timestamp of an acknowledged write there is another value",
    ),
    ("negative-balance", "an account went below zero"),
    (
        "not-grown",
        "an increment gave no more than had been seen before it began",
    ),
    (
        "not-linearizable",
        "no order of the operations that respects real time explains an answer",
    ),
    (
        "out-of-bounds",
        "a counter was read that no order of its additions gives",
    ),
    (
        "phantom",
        "two inserts that were each guarded by an empty scan both took effect",
    ),
    ("phantom-commit", "something was applied that nobody sent"),
    (
        "phantom-element",
        "an element was read that was never added",
    ),
    (
        "refused-and-applied",
        "a commit that was refused took effect",
    ),
    (
        "stale-read",
        "a read shows less than what was acknowledged before it began",
    ),
    (
        "torn-group",
        "a part of a transaction's writes was seen without the rest",
    ),
    ("went-back", "a value that only grows was seen to shrink"),
    ("wrong-accounts", "two reads show other accounts"),
    ("wrong-total", "money was made or lost"),
];

/// `(a, what a implies directly)`.
const IMPLICATIONS: &[(&str, &[&str])] = &[
    ("G0", &["G1c", "G0-process"]),
    ("G0-process", &["G1c-process", "G0-realtime"]),
    ("G0-realtime", &["G1c-realtime"]),
    ("G1a", &["G1"]),
    ("G1b", &["G1"]),
    ("G1c", &["G1", "G1c-process"]),
    ("G1c-process", &["G1c-realtime", "G1-process"]),
    ("G1c-realtime", &["G1-realtime"]),
    ("G1", &["G1-process"]),
    ("G1-process", &["G1-realtime"]),
    (
        "G-single-item",
        &["G-single", "G-single-item-process", "G-nonadjacent-item"],
    ),
    (
        "G-single-item-process",
        &[
            "G-single-process",
            "G-single-item-realtime",
            "G-nonadjacent-item-process",
        ],
    ),
    (
        "G-single-item-realtime",
        &["G-single-realtime", "G-nonadjacent-item-realtime"],
    ),
    ("G-single", &["G-nonadjacent", "G-SIb", "G-single-process"]),
    (
        "G-single-process",
        &["G-nonadjacent-process", "G-single-realtime"],
    ),
    ("G-single-realtime", &["G-nonadjacent-realtime"]),
    (
        "G-nonadjacent-item",
        &["G-nonadjacent", "G2-item", "G-nonadjacent-item-process"],
    ),
    (
        "G-nonadjacent-item-process",
        &[
            "G-nonadjacent-process",
            "G2-item-process",
            "G-nonadjacent-item-realtime",
        ],
    ),
    (
        "G-nonadjacent-item-realtime",
        &["G-nonadjacent-realtime", "G2-item-realtime"],
    ),
    ("G-nonadjacent", &["G2", "G-nonadjacent-process"]),
    (
        "G-nonadjacent-process",
        &["G2-process", "G-nonadjacent-realtime"],
    ),
    ("G-nonadjacent-realtime", &["G2-realtime"]),
    ("G2-item", &["G2", "G2-item-process"]),
    ("G2-item-process", &["G2-process", "G2-item-realtime"]),
    ("G2-item-realtime", &["G2-realtime"]),
    ("G2", &["G2-process"]),
    ("G2-process", &["G2-realtime"]),
    ("incompatible-order", &["G1a"]),
    ("dirty-update", &["G1a"]),
    ("future-read", &["G1c"]),
    ("lost-update", &["G2-item"]),
];

/// All that these imply, themselves included.
pub(crate) fn implied<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    closure(names, |name| {
        IMPLICATIONS
            .iter()
            .filter(move |(from, _)| *from == name)
            .flat_map(|(_, to)| to.iter().copied())
            .collect()
    })
}

/// All that imply one of these, themselves included.
pub(crate) fn implying<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    closure(names, |name| {
        IMPLICATIONS
            .iter()
            .filter(move |(_, to)| to.contains(&name))
            .map(|(from, _)| *from)
            .collect()
    })
}

/// Everything that can be reached.
pub(crate) fn closure<'a>(
    from: impl IntoIterator<Item = &'a str>,
    next: impl Fn(&str) -> Vec<&'static str>,
) -> BTreeSet<&'a str> {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = from.into_iter().collect();
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(next(name));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_implies_the_lesser() {
        let of = |name| implied([name]);
        assert!(of("G0").is_superset(&BTreeSet::from([
            "G1c",
            "G1",
            "G0-realtime",
            "G1c-realtime"
        ])));
        assert!(of("G-single-item").is_superset(&BTreeSet::from([
            "G2-item",
            "G2-realtime",
            "G-SIb"
        ])));
        assert!(!of("G2-item").contains("G-single-item-realtime"));
        assert!(
            implying(["G2-item"]).is_superset(&BTreeSet::from(["lost-update", "G-single-item"]))
        );
    }

    #[test]
    fn no_anomaly_implies_itself_by_way_of_others() {
        for (from, to) in IMPLICATIONS {
            assert!(!implied(to.iter().copied()).contains(from), "{from}");
        }
    }
}
