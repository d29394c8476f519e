//! What a run, or many, amounted to.

use super::marks::{Mark, Marks};
use super::nemesis::FaultKind;
use crate::history::{Fate, History, Told};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Its seed.
    pub seed: u64,
    /// How long it was, virtual time.
    pub virtual_time: Duration,
    /// Transactions that clients were told committed or answered.
    pub acknowledged: usize,
    /// Of these, the ones that wrote.
    pub committed: usize,
    /// Transactions over several partitions that committed.
    pub across: usize,
    /// Transactions that certainly had no effect.
    pub without_effect: usize,
    /// Commits whose outcome had to be asked for.
    pub asked_for: usize,
    /// Versions that stores removed because nobody could read them any more.
    pub removed: usize,
    /// How often each kind of fault struck.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The rare branches that were seen.
    pub marks: Marks,
    /// The hash of everything that happened.
    pub hash: u64,
    /// How many events that was.
    pub events: u64,
}

impl Summary {
    /// Counts a history.
    pub(super) fn of(seed: u64, history: &History) -> Summary {
        let mut summary = Summary {
            seed,
            virtual_time: Duration::ZERO,
            acknowledged: history.acknowledged(),
            committed: 0,
            across: 0,
            without_effect: 0,
            asked_for: 0,
            removed: 0,
            faults: BTreeMap::new(),
            marks: Marks::default(),
            hash: 0,
            events: 0,
        };
        for (_, transaction) in history.iter() {
            if let Told::Committed { partitions, .. } = transaction.told {
                summary.committed += 1;
                summary.across += usize::from(partitions > 1);
            }
            summary.without_effect += usize::from(transaction.fate() == Fate::NoEffect);
            let unknown = transaction.told == Told::Nothing && transaction.settled.is_some();
            summary.asked_for += usize::from(unknown);
        }
        summary
    }
}

/// Many runs together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// How many seeds.
    pub seeds: u64,
    /// Virtual time of all.
    pub virtual_time: Duration,
    /// As in [`Summary`].
    pub acknowledged: usize,
    /// As in [`Summary`].
    pub committed: usize,
    /// As in [`Summary`].
    pub across: usize,
    /// As in [`Summary`].
    pub without_effect: usize,
    /// As in [`Summary`].
    pub asked_for: usize,
    /// As in [`Summary`].
    pub removed: usize,
    /// As in [`Summary`].
    pub faults: BTreeMap<FaultKind, u64>,
    /// As in [`Summary`].
    pub marks: Marks,
    /// As in [`Summary`].
    pub events: u64,
}

impl Totals {
    /// One run more.
    pub fn add(&mut self, summary: &Summary) {
        self.seeds += 1;
        self.virtual_time += summary.virtual_time;
        self.acknowledged += summary.acknowledged;
        self.committed += summary.committed;
        self.across += summary.across;
        self.without_effect += summary.without_effect;
        self.asked_for += summary.asked_for;
        self.removed += summary.removed;
        self.events += summary.events;
        self.marks.add(&summary.marks);
        for (kind, count) in &summary.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds, {:.0} virtual seconds, {} events",
            self.seeds,
            self.virtual_time.as_secs_f64(),
            self.events
        )?;
        writeln!(
            f,
            "{} transactions acknowledged ({} committed, {} of them over several partitions), {} without effect, {} outcomes asked for, {} old versions removed",
            self.acknowledged,
            self.committed,
            self.across,
            self.without_effect,
            self.asked_for,
            self.removed
        )?;
        let faults: u64 = self.faults.values().sum();
        write!(f, "{faults} faults:")?;
        for (kind, count) in &self.faults {
            write!(f, " {} {count},", kind.name())?;
        }
        write!(f, "\nmarks:")?;
        for mark in Mark::ALL {
            write!(f, " {} {},", mark.name(), self.marks.count(*mark))?;
        }
        let missing: Vec<&str> = self.marks.missing().iter().map(|m| m.name()).collect();
        match missing.is_empty() {
            true => write!(f, "\nevery one of the {} marks was hit", Mark::ALL.len())?,
            false => write!(f, "\nnever seen: {}", missing.join(", "))?,
        }
        writeln!(f)
    }
}
