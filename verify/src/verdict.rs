//! What a checker says: what was found, in words, and which models fall with it.

use crate::anomaly::Anomaly;
use crate::model::Model;

/// Of each anomaly so many findings are told in full; the rest is counted.
pub const EXAMPLES_MAX: usize = 8;

/// One thing that was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it is.
    pub anomaly: Anomaly,
    /// In words: which operations, which keys, and why that is wrong.
    pub why: String,
    /// The operations concerned: places in [`crate::history::History::events`].
    pub events: Vec<usize>,
    /// A cycle, to be drawn.
    pub picture: Option<Picture>,
}

impl Finding {
    pub(crate) fn new(anomaly: &'static str, why: impl Into<String>, events: &[usize]) -> Finding {
        Finding {
            anomaly: Anomaly::new(anomaly),
            why: why.into(),
            events: events.to_vec(),
            picture: None,
        }
    }
}

/// A cycle: transactions, and of each why the next one follows.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Each transaction in the words of the history.
    pub nodes: Vec<String>,
    /// From each node to the next: the relation, and why.
    pub edges: Vec<(&'static str, String)>,
}

/// All findings of one anomaly.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub anomaly: Anomaly,
    /// The first [`EXAMPLES_MAX`].
    pub examples: Vec<Finding>,
    /// How many there are.
    pub count: usize,
}

impl Found {
    /// What it is, in one sentence.
    pub fn meaning(&self) -> &'static str {
        self.anomaly.meaning()
    }
}

/// Findings by anomaly, in the order in which they were first met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(Vec<Found>);

impl Findings {
    pub(crate) fn add(&mut self, finding: Finding) {
        let anomaly = finding.anomaly;
        self.add_with(anomaly.name(), || finding);
    }

    /// Counts a finding; its words are made only for the first few.
    pub(crate) fn add_with(&mut self, anomaly: &'static str, finding: impl FnOnce() -> Finding) {
        let anomaly = Anomaly::new(anomaly);
        let place = self.0.iter().position(|found| found.anomaly == anomaly);
        let place = place.unwrap_or_else(|| {
            let (examples, count) = (Vec::new(), 0);
            self.0.push(Found {
                anomaly,
                examples,
                count,
            });
            self.0.len() - 1
        });
        let found = &mut self.0[place];
        found.count += 1;
        if found.examples.len() < EXAMPLES_MAX {
            found.examples.push(finding());
        }
    }

    pub(crate) fn anomalies(&self) -> Vec<Anomaly> {
        self.0.iter().map(|found| found.anomaly).collect()
    }

    pub(crate) fn into_all(self) -> Vec<Found> {
        self.0
    }
}

/// What a history proves about what was expected of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How many operations of clients were looked at.
    pub operations: usize,
    /// What breaks the expectation, the worst first.
    pub broken: Vec<Found>,
    /// Why nothing can be said, if nothing is broken.
    pub unknown: Vec<Found>,
    /// What was found and is allowed.
    pub harmless: Vec<Found>,
    /// The weakest models that do not hold.
    pub not: Vec<Model>,
    /// Stronger ones, which fall with them.
    pub also_not: Vec<Model>,
}

impl Verdict {
    /// Of a workload whose property is no model of transactions.
    pub(crate) fn of(findings: Findings, operations: usize) -> Verdict {
        let is_limit = |found: &Found| found.anomaly.name().ends_with("-search-limit");
        let (unknown, broken) = findings.into_all().into_iter().partition(is_limit);
        Verdict {
            operations,
            broken,
            unknown,
            harmless: Vec::new(),
            not: Vec::new(),
            also_not: Vec::new(),
        }
    }

    /// `true`: holds; `false`: broken; `None`: the history cannot tell.
    pub fn is_valid(&self) -> Option<bool> {
        match (self.broken.is_empty(), self.unknown.is_empty()) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        }
    }

    /// The anomalies that break the expectation, and those that keep it from being known.
    pub fn anomalies(&self) -> Vec<&'static str> {
        let all = self.broken.iter().chain(&self.unknown);
        let mut names: Vec<&str> = all.map(|found| found.anomaly.name()).collect();
        names.sort_unstable();
        names
    }
}
