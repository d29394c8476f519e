//! The workloads: each a shape of history and a property that it must have, one a file.
//!
//! What an operation's `:f` and `:value` are stands at the head of each file, with the source of the
//! property. All but the first two need no model: they have one property, which every strictly
//! serializable store has.

mod bank;
mod comments;
mod counter;
mod exactly_once;
mod internal;
mod linearizability;
mod long_fork;
mod monotonic;
mod multi_register;
mod operations;
mod pages;
mod predicate;
mod register;
mod sequential;
mod set;
mod temporal;

use crate::history::{History, Malformed, Settled};
use crate::transactions::{self, Expectation};
use crate::verdict::{Finding, Findings, Verdict};

/// A workload.
#[derive(Debug)]
pub struct Workload {
    /// As `--workload` takes it.
    pub name: &'static str,
    /// What its histories hold and what is checked, in one line.
    pub meaning: &'static str,
    /// How it is checked.
    pub checker: Checker,
}

/// How a workload is checked.
#[derive(Debug)]
pub enum Checker {
    /// Against models of transactions.
    Models(fn(&History, &Expectation) -> Result<Verdict, Malformed>),
    /// For one property.
    Property(fn(&History) -> Result<Verdict, Malformed>),
    /// Not yet: it needs what is not built.
    WaitsFor(&'static str),
}

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "list-append",
        meaning: "transactions that append to lists and read them; cycles of every kind, under --model",
        checker: Checker::Models(transactions::check_list_append),
    },
    Workload {
        name: "rw-register",
        meaning: "transactions that write unique values to registers and read them; cycles, under --model",
        checker: Checker::Models(transactions::check_rw_register),
    },
    Workload {
        name: "bank",
        meaning: "transfers between accounts; every snapshot, old ones and followers' too, has the same total",
        checker: Checker::Property(bank::check),
    },
    Workload {
        name: "set",
        meaning: "elements that were added are in every read that begins afterwards, once",
        checker: Checker::Property(set::check),
    },
    Workload {
        name: "pages",
        meaning: "groups of elements, scanned page by page while they are added, are whole",
        checker: Checker::Property(pages::check),
    },
    Workload {
        name: "register",
        meaning: "reads, writes and compare-and-set are linearizable, key by key",
        checker: Checker::Property(register::check),
    },
    Workload {
        name: "multi-register",
        meaning: "transactions over a few registers are linearizable",
        checker: Checker::Property(multi_register::check),
    },
    Workload {
        name: "monotonic",
        meaning: "a value that only grows is never seen to shrink",
        checker: Checker::Property(monotonic::check),
    },
    Workload {
        name: "sequential",
        meaning: "what one client wrote in order is not seen out of order",
        checker: Checker::Property(sequential::check),
    },
    Workload {
        name: "comments",
        meaning: "a write is not seen without those that were acknowledged before it began",
        checker: Checker::Property(comments::check),
    },
    Workload {
        name: "long-fork",
        meaning: "readers do not see independent writes in opposite orders",
        checker: Checker::Property(long_fork::check),
    },
    Workload {
        name: "counter",
        meaning: "a counter lies within what its additions allow",
        checker: Checker::Property(counter::check),
    },
    Workload {
        name: "predicate",
        meaning: "of inserts that are guarded by an empty scan, one commits",
        checker: Checker::Property(predicate::check),
    },
    Workload {
        name: "internal",
        meaning: "a transaction sees its own writes, deletes and deletes of ranges",
        checker: Checker::Property(internal::check),
    },
    Workload {
        name: "exactly-once",
        meaning: "commits that are sent again or doubled are applied once, and all hear the same of them",
        checker: Checker::Property(exactly_once::check),
    },
    Workload {
        name: "temporal",
        meaning: "what a timestamp shows never changes",
        checker: Checker::Property(temporal::check),
    },
    Workload {
        name: "watch",
        meaning: "changes told in order, without gap or double, whole transactions, resumable",
        checker: Checker::WaitsFor("watches of key ranges"),
    },
    Workload {
        name: "lease",
        meaning: "at most one holder at a time",
        checker: Checker::WaitsFor("leases"),
    },
    Workload {
        name: "fencing",
        meaning: "nothing is written under an older token than one that was seen",
        checker: Checker::WaitsFor("leases"),
    },
];

impl Workload {
    /// By its name.
    pub fn from_name(name: &str) -> Option<&'static Workload> {
        WORKLOADS.iter().find(|workload| workload.name == name)
    }

    /// Checks a history with all that was said of its operations later; `None` if the checker waits for
    /// what is not built. The models are looked at by the checkers of transactions only.
    pub fn judge(
        &self,
        settled: &Settled,
        expectation: &Expectation,
    ) -> Option<Result<Verdict, Malformed>> {
        let judged = match self.checker {
            Checker::Models(check) => check(&settled.history, expectation),
            Checker::Property(check) => check(&settled.history),
            Checker::WaitsFor(_) => return None,
        };
        Some(judged.map(|mut verdict| {
            let mut findings = Findings::default();
            for contradiction in &settled.contradictions {
                findings.add(Finding::new("contradicting-outcomes", contradiction, &[]));
            }
            verdict.broken.splice(0..0, findings.into_all());
            verdict
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;

    #[test]
    fn a_first_answer_that_the_outcome_contradicts_breaks_every_workload() {
        let edn = "{:index 0, :process 0, :type :invoke, :f :add, :value 1}
            {:index 1, :process 0, :type :ok, :f :add, :value 1}
            {:index 2, :process :outcome, :type :info, :f :outcome, :value [0 :aborted]}";
        let settled = History::read_edn(edn.as_bytes())
            .unwrap()
            .settled()
            .unwrap();
        let workload = Workload::from_name("set").unwrap();
        let strict = Expectation::of(Model::STRICT_SERIALIZABLE);
        let verdict = workload.judge(&settled, &strict).unwrap().unwrap();
        assert_eq!(verdict.anomalies(), ["contradicting-outcomes"]);
        let waits = Workload::from_name("watch").unwrap();
        assert!(waits.judge(&settled, &strict).is_none());
    }
}
