//! Consistency models, which is stronger than which, and which anomalies each forbids.
//!
//! From Adya (*Weak Consistency*, 1999: PL-1 to PL-SS), Adya, Liskov and O'Neil (*Generalized Isolation
//! Level Definitions*, 2000), Cerone, Bernardi and Gotsman (*A Framework for Transactional Consistency
//! Models with Atomic Visibility*, 2015), Bailis and others (*Highly Available Transactions*, 2013),
//! Daudjee and Salem (*Lazy Database Replication with Snapshot Isolation*, 2006), and the hierarchy at
//! <https://jepsen.io/consistency>. A history that shows an anomaly breaks each model that forbids it
//! and each stronger one.

use crate::anomaly::{Anomaly, closure, implied, implying};
use std::collections::BTreeSet;
use std::fmt;

/// A consistency model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Model(&'static str);

/// One row of the table.
struct Row {
    name: &'static str,
    /// Weaker models, directly.
    implies: &'static [&'static str],
    /// What it forbids beyond what weaker ones do.
    forbids: &'static [&'static str],
    /// In one line.
    meaning: &'static str,
}

/// Other names of models.
const ALIASES: &[(&str, &str)] = &[
    ("PL-1", "read-uncommitted"),
    ("PL-2", "read-committed"),
    ("PL-CS", "cursor-stability"),
    ("PL-2L", "monotonic-view"),
    ("PL-MSR", "monotonic-snapshot-read"),
    ("PL-2+", "consistent-view"),
    ("PL-FCV", "forward-consistent-view"),
    ("PL-2.99", "repeatable-read"),
    ("PL-3U", "update-serializable"),
    ("PL-SI", "snapshot-isolation"),
    ("PL-3", "serializable"),
    ("conflict-serializable", "serializable"),
    ("PL-SS", "strict-serializable"),
    ("strong-serializable", "strict-serializable"),
];

/// From weak to strong.
const MODELS: &[Row] = &[
    Row {
        name: "read-uncommitted",
        implies: &[],
        forbids: &[
            "G0",
            "duplicate-elements",
            "cyclic-versions",
            "garbage-read",
            "PL-1-cycle-exists",
        ],
        meaning: "writes of different transactions do not interleave",
    },
    Row {
        name: "read-committed",
        implies: &["read-uncommitted"],
        forbids: &["G1", "PL-2-cycle-exists"],
        meaning: "only what committed is read, in its last form",
    },
    Row {
        name: "monotonic-atomic-view",
        implies: &["read-committed"],
        forbids: &[],
        meaning: "once a transaction's effect is seen, all of them are",
    },
    Row {
        name: "read-atomic",
        implies: &["monotonic-atomic-view"],
        forbids: &["internal", "G1a", "future-read"],
        meaning: "all or nothing of each other transaction is seen",
    },
    Row {
        name: "update-atomic",
        implies: &["read-atomic"],
        forbids: &["lost-update"],
        meaning: "read-atomic without lost updates",
    },
    Row {
        name: "causal-cerone",
        implies: &["read-atomic"],
        forbids: &["internal", "G1a"],
        meaning: "read-atomic in an order that respects causes",
    },
    Row {
        name: "prefix",
        implies: &["causal-cerone"],
        forbids: &["internal", "G1a"],
        meaning: "every transaction sees a prefix of one order",
    },
    Row {
        name: "parallel-snapshot-isolation",
        implies: &["causal-cerone", "update-atomic"],
        forbids: &["internal", "G1a"],
        meaning: "snapshots per site, without lost updates",
    },
    Row {
        name: "cursor-stability",
        implies: &["read-committed"],
        forbids: &["G1", "lost-update"],
        meaning: "read-committed without lost updates",
    },
    Row {
        name: "monotonic-view",
        implies: &["read-committed"],
        forbids: &["G1"],
        meaning: "what is seen of others never goes back",
    },
    Row {
        name: "monotonic-snapshot-read",
        implies: &["read-committed"],
        forbids: &["G1"],
        meaning: "each read from a snapshot, and these never go back",
    },
    Row {
        name: "consistent-view",
        implies: &["cursor-stability", "monotonic-view"],
        forbids: &["G1", "G-single"],
        meaning: "no read skew",
    },
    Row {
        name: "forward-consistent-view",
        implies: &["consistent-view"],
        forbids: &["G1", "G-SIb"],
        meaning: "a consistent view that may be younger than the transaction's begin",
    },
    Row {
        name: "repeatable-read",
        implies: &["cursor-stability", "monotonic-atomic-view"],
        forbids: &["G1", "G2-item", "lost-update"],
        meaning: "no anomalies on single keys; scans may see phantoms",
    },
    Row {
        name: "update-serializable",
        implies: &["forward-consistent-view"],
        forbids: &["G1"],
        meaning: "transactions that write are serializable",
    },
    Row {
        name: "snapshot-isolation",
        implies: &[
            "forward-consistent-view",
            "monotonic-atomic-view",
            "monotonic-snapshot-read",
            "parallel-snapshot-isolation",
            "prefix",
        ],
        forbids: &["internal", "G1", "G-nonadjacent", "PL-SI-cycle-exists"],
        meaning: "each transaction reads one snapshot; write skew is allowed",
    },
    Row {
        name: "serializable",
        implies: &[
            "repeatable-read",
            "snapshot-isolation",
            "update-serializable",
        ],
        forbids: &["internal", "G1", "G2", "PL-3-cycle-exists"],
        meaning: "as if one after another, in some order",
    },
    Row {
        name: "strong-session-read-uncommitted",
        implies: &["read-uncommitted"],
        forbids: &["G0-process", "strong-session-PL-1-cycle-exists"],
        meaning: "read-uncommitted, in the order of each process",
    },
    Row {
        name: "strong-session-read-committed",
        implies: &["read-committed", "strong-session-read-uncommitted"],
        forbids: &["G1c-process", "strong-session-PL-2-cycle-exists"],
        meaning: "read-committed, in the order of each process",
    },
    Row {
        name: "strong-session-snapshot-isolation",
        implies: &["snapshot-isolation", "strong-session-read-committed"],
        forbids: &[
            "internal",
            "G1-process",
            "G-nonadjacent-process",
            "strong-session-snapshot-isolation-cycle-exists",
        ],
        meaning: "snapshot isolation, and a process sees what it did before",
    },
    Row {
        name: "strong-session-serializable",
        implies: &["serializable", "strong-session-snapshot-isolation"],
        forbids: &[
            "G1-process",
            "G2-process",
            "strong-session-serializable-cycle-exists",
        ],
        meaning: "serializable, in the order of each process",
    },
    Row {
        name: "strong-read-uncommitted",
        implies: &["strong-session-read-uncommitted"],
        forbids: &["G0-realtime", "strong-PL-1-cycle-exists"],
        meaning: "read-uncommitted, in the order of real time",
    },
    Row {
        name: "strong-read-committed",
        implies: &["strong-session-read-committed", "strong-read-uncommitted"],
        forbids: &["G1c-realtime", "strong-PL-2-cycle-exists"],
        meaning: "read-committed, in the order of real time",
    },
    Row {
        name: "strong-snapshot-isolation",
        implies: &["strong-session-snapshot-isolation", "strong-read-committed"],
        forbids: &[
            "internal",
            "G1-realtime",
            "G-nonadjacent-realtime",
            "strong-snapshot-isolation-cycle-exists",
        ],
        meaning: "snapshot isolation, and snapshots are of now",
    },
    Row {
        name: "strict-serializable",
        implies: &[
            "serializable",
            "strong-snapshot-isolation",
            "strong-session-serializable",
        ],
        forbids: &["G1-realtime", "G2-realtime", "PL-SS-cycle-exists"],
        meaning: "serializable, in the order of real time: what Horolog promises",
    },
];

impl Model {
    /// What Horolog promises.
    pub const STRICT_SERIALIZABLE: Model = Model("strict-serializable");

    /// All of them, weak ones first.
    pub fn all() -> impl Iterator<Item = Model> {
        MODELS.iter().map(|row| Model(row.name))
    }

    /// By its name or one of Adya's.
    pub fn from_name(name: &str) -> Option<Model> {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, name)| name);
        Model::all().find(|model| model.0 == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// What it promises, in one line.
    pub fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// The anomaly that says no more than that a cycle exists which this model forbids.
    pub(crate) fn cycle_exists(self) -> Option<&'static str> {
        let mut forbidden = self.row().forbids.iter().copied();
        forbidden.find(|name| name.ends_with("-cycle-exists"))
    }

    fn row(self) -> &'static Row {
        let row = MODELS.iter().find(|row| row.name == self.0);
        row.expect("a model is made from a row of the table")
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn rows_implied_by(name: &str) -> Vec<&'static str> {
    let row = MODELS.iter().find(|row| row.name == name);
    row.map_or_else(Vec::new, |row| row.implies.to_vec())
}

fn rows_implying(name: &str) -> Vec<&'static str> {
    let stronger = MODELS.iter().filter(|row| row.implies.contains(&name));
    stronger.map(|row| row.name).collect()
}

/// Every anomaly that one of these models forbids.
pub(crate) fn forbidden_by(models: &[Model]) -> BTreeSet<&'static str> {
    let all = closure(models.iter().map(|model| model.0), rows_implied_by);
    let rows = MODELS.iter().filter(|row| all.contains(row.name));
    implying(rows.flat_map(|row| row.forbids.iter().copied()))
}

/// Every model that these anomalies rule out.
pub(crate) fn ruled_out_by(anomalies: &[Anomaly]) -> BTreeSet<&'static str> {
    let all = implied(anomalies.iter().map(|anomaly| anomaly.name()));
    let rows = MODELS
        .iter()
        .filter(|row| row.forbids.iter().any(|name| all.contains(name)));
    closure(rows.map(|row| row.name), rows_implying)
}

/// The weakest models that these anomalies rule out, and the stronger ones that fall with them.
pub fn boundary(anomalies: &[Anomaly]) -> (Vec<Model>, Vec<Model>) {
    let out = ruled_out_by(anomalies);
    let is_weakest = |model: &Model| {
        let mut weaker = closure([model.0], rows_implied_by);
        weaker.remove(model.0);
        weaker.is_disjoint(&out)
    };
    Model::all()
        .filter(|model| out.contains(model.0))
        .partition(is_weakest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_found() {
        assert_eq!(Model::from_name("PL-SS"), Some(Model::STRICT_SERIALIZABLE));
        assert_eq!(
            Model::from_name("serializable").map(Model::name),
            Some("serializable")
        );
        assert_eq!(Model::from_name("perfect"), None);
        for (_, name) in ALIASES {
            assert!(Model::from_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_table_has_no_dead_end() {
        for row in MODELS {
            for name in row.implies {
                assert!(
                    MODELS.iter().any(|row| row.name == *name),
                    "{} implies {name}",
                    row.name
                );
                assert!(
                    !closure([*name], rows_implied_by).contains(row.name),
                    "{} is above itself",
                    row.name
                );
            }
        }
    }

    #[test]
    fn snapshot_isolation_allows_write_skew_and_strict_serializability_nothing() {
        let forbidden = |name| forbidden_by(&[Model::from_name(name).unwrap()]);
        assert!(!forbidden("snapshot-isolation").contains("G2-item"));
        assert!(forbidden("snapshot-isolation").contains("G-single-item"));
        assert!(!forbidden("serializable").contains("G-single-item-realtime"));
        let all = forbidden("strict-serializable");
        for name in [
            "G0",
            "G1a",
            "G2-item-realtime",
            "G-single-item-process",
            "garbage-read",
            "lost-update",
        ] {
            assert!(all.contains(name), "{name}");
        }
    }

    #[test]
    fn an_anomaly_draws_the_border_of_what_holds() {
        let names = |models: Vec<Model>| models.iter().map(|m| m.0).collect::<Vec<_>>();
        let (not, also) = boundary(&[Anomaly::new("G2-item-realtime")]);
        assert_eq!(
            (names(not), names(also)),
            (vec!["strict-serializable"], vec![])
        );
        let (not, _) = boundary(&[Anomaly::new("lost-update")]);
        assert_eq!(names(not), ["update-atomic", "cursor-stability"]);
        assert_eq!(boundary(&[]), (vec![], vec![]));
    }
}
