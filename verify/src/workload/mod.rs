//! The workloads: each a shape of history and a property that it must have, one a file.
//!
//! What an operation's `:f` and `:value` are stands at the head of each file, with the source of the
//! property. All but the first two need no model: they have one property, which every strictly
//! serializable store has.

use crate::history::{History, Malformed};
use crate::transactions::{self, Expectation};
use crate::verdict::Verdict;

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
}
