//! Histories of transactions over keys, checked by cycles in the manner of Elle (Kingsbury and Alvaro,
//! *Elle: Inferring Isolation Anomalies from Experimental Observations*, VLDB 2020).
//!
//! A transaction is a vector of micro-operations, in Jepsen's notation:
//!
//! ```text
//! [[:append 4 17] [:r 4 [3 17]]]     list-append: lists that grow by unique elements
//! [[:w 4 17] [:r 4 17]]              rw-register: registers that are overwritten by unique values
//! ```
//!
//! - [`table`]: the transactions of a history, keys and versions as numbers.
//! - [`list_append`]: the order of versions read off the lists; [`rw_register`]: inferred.
//! - [`judge`](fn@judge): from anomalies and a graph to a verdict under models.
//!
//! What each transaction did is known from its last event: of an `:ok` all, of a `:fail` only that it
//! wrote nothing, of an `:info` what it would have written. An `:info` counts as committed exactly if
//! somebody read what it wrote; one that nobody saw is left out, for it may never have happened.

mod internal;
pub(crate) mod list_append;
mod lost_update;
pub(crate) mod rw_register;
mod table;

use crate::anomaly::Anomaly;
use crate::graph::{
    Cycle, Graph, Relation, Span, process_order, real_time_order, search_component,
};
use crate::history::{History, Kind, Malformed, Problem};
use crate::model::{Model, forbidden_by, ruled_out_by};
use crate::verdict::{Finding, Findings, Picture, Verdict};
use std::collections::BTreeSet;
use table::Table;

/// What is asked of a transactional history.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The models that should hold.
    pub models: Vec<Model>,
    /// Further anomalies that should not be there, by name.
    pub anomalies: Vec<String>,
    /// For registers: what may be assumed of keys, to know more of the order of versions.
    pub assumptions: Assumptions,
    /// Whether a read of a value that nobody wrote is an anomaly. Elle takes such values of registers
    /// for unknown initial ones; Horolog's keys begin absent.
    pub unwritten_values: UnwrittenValues,
}

/// What a read of a value is that nobody wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnwrittenValues {
    /// The anomaly `garbage-read`.
    Anomaly,
    /// An initial value that the history does not show.
    Initial,
}

/// Assumptions about registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Assumptions {
    /// Each key by itself is linearizable: real time orders its versions.
    pub linearizable_keys: bool,
    /// Each key by itself is sequentially consistent: processes order its versions.
    pub sequential_keys: bool,
    /// A transaction that read a version and wrote another wrote the later one.
    pub writes_follow_reads: bool,
}

impl Expectation {
    /// One model, nothing assumed.
    pub fn of(model: Model) -> Expectation {
        Expectation {
            models: vec![model],
            anomalies: Vec::new(),
            assumptions: Assumptions::default(),
            unwritten_values: UnwrittenValues::Anomaly,
        }
    }

    /// Every anomaly that breaks the expectation.
    fn forbidden(&self) -> BTreeSet<&str> {
        let named = self.anomalies.iter().map(String::as_str);
        let mut forbidden: BTreeSet<&str> = crate::anomaly::implying(named);
        forbidden.extend(forbidden_by(&self.models));
        forbidden
    }
}

/// What a checker of one workload found, before it is judged.
struct Analysis<'h, E> {
    table: Table<'h>,
    /// Its vertices are the transactions of the table.
    graph: Graph,
    explainer: E,
    findings: Findings,
}

/// Says why one transaction stands before another.
trait Explainer {
    /// Where one transaction read from another and also overwrote it, the read tells the kind of a
    /// cycle: it was seen, the order of the writes only inferred.
    const SEEN_BEFORE_INFERRED: bool;

    /// In words; the transactions are called `a` and `b`.
    fn data(
        &self,
        table: &Table,
        from: u32,
        to: u32,
        relation: Relation,
        names: [&str; 2],
    ) -> String;
}

/// Adds the orders that the models speak of, searches for cycles, and says what holds.
fn judge<E: Explainer>(
    mut analysis: Analysis<'_, E>,
    expectation: &Expectation,
) -> Result<Verdict, Malformed> {
    let forbidden = expectation.forbidden();
    let wants = |suffix: &str| forbidden.iter().any(|name| name.ends_with(suffix));
    let (real_time, process) = (wants("-realtime"), wants("-process"));
    if let Some(disorder) = analysis.table.disorder.take() {
        // Real time needs no processes if it is known what belongs together.
        let is_overlap = disorder.problem == Problem::OverlappingOperations;
        let harms_real_time = !(is_overlap && analysis.table.pairs_are_certain);
        if real_time && harms_real_time || !real_time && process {
            return Err(disorder);
        }
    }
    let (vertices, spans) = spans(&analysis.table);
    if real_time || process {
        let mut orders = Graph::new(vertices.len());
        match real_time {
            true => real_time_order(&spans, &mut orders),
            false => process_order(&spans, &mut orders),
        }
        let relation = if real_time {
            Relation::RealTime
        } else {
            Relation::Process
        };
        for (from, to) in orders.edges(relation) {
            analysis
                .graph
                .link(vertices[*from as usize], vertices[*to as usize], relation);
        }
    }
    if analysis.graph.is_empty() {
        let why = "no transaction follows another in any way that was looked at: whatever the store did, the history would look like this".to_owned();
        analysis
            .findings
            .add(Finding::new("empty-transaction-graph", why, &[]));
    }
    let mut exists: BTreeSet<Anomaly> = BTreeSet::new();
    for component in analysis.graph.components() {
        let search = search_component(&component, E::SEEN_BEFORE_INFERRED);
        exists.extend(search.exists);
        if search.cut_short {
            let why = format!(
                "{} transactions depend on each other in circles",
                component.members.len()
            );
            analysis
                .findings
                .add(Finding::new("cycle-search-limit", why, &[]));
        }
        for cycle in search.cycles {
            let finding = explain(&analysis.table, &analysis.explainer, cycle);
            analysis.findings.add(finding);
        }
    }
    add_what_exists(&mut analysis.findings, &exists);
    Ok(verdict(
        analysis.findings,
        &forbidden,
        analysis.table.transactions.len(),
    ))
}

/// The transactions that took part, and when.
fn spans(table: &Table) -> (Vec<u32>, Vec<Span>) {
    let part = table
        .transactions
        .iter()
        .enumerate()
        .filter(|(_, t)| t.counts);
    part.map(|(number, t)| {
        let end = (t.outcome == Kind::Ok).then_some(t.last);
        let (begin, process) = (t.begin, t.process);
        (
            number as u32,
            Span {
                begin,
                end,
                process,
            },
        )
    })
    .unzip()
}

/// Tells that a model's cycle exists only where no finding rules out the model by itself.
fn add_what_exists(findings: &mut Findings, exists: &BTreeSet<Anomaly>) {
    let known: Vec<Anomaly> = findings.anomalies();
    let out = ruled_out_by(&known);
    let mut told: Vec<Anomaly> = Vec::new();
    // Weak models first: what rules out a weak one rules out the strong ones above it.
    for model in Model::all() {
        let found = exists
            .iter()
            .find(|found| Some(found.name()) == model.cycle_exists());
        let Some(anomaly) = found else {
            continue;
        };
        if !out.contains(model.name()) && !ruled_out_by(&told).contains(model.name()) {
            told.push(*anomaly);
            let why = format!(
                "{model} forbids a circle in which transactions depend on each other here, though no finding above says so"
            );
            findings.add(Finding::new(anomaly.name(), why, &[]));
        }
    }
}

fn verdict(findings: Findings, forbidden: &BTreeSet<&str>, transactions: usize) -> Verdict {
    let (not, also_not) = crate::model::boundary(&findings.anomalies());
    let tells_nothing = ["empty-transaction-graph", "cycle-search-limit"];
    let (mut broken, rest): (Vec<_>, Vec<_>) = findings
        .into_all()
        .into_iter()
        .partition(|all| forbidden.contains(all.anomaly.name()));
    let (unknown, harmless): (Vec<_>, Vec<_>) = rest
        .into_iter()
        .partition(|all| tells_nothing.contains(&all.anomaly.name()));
    broken.sort_by_key(|all| all.anomaly.order());
    Verdict {
        operations: transactions,
        broken,
        unknown,
        harmless,
        not,
        also_not,
    }
}

fn explain<E: Explainer>(table: &Table, explainer: &E, cycle: Cycle) -> Finding {
    let names: Vec<String> = (1..=cycle.steps.len()).map(|n| format!("T{n}")).collect();
    let mut why = String::from("Let\n");
    let mut places = Vec::new();
    for ((transaction, _), name) in cycle.steps.iter().zip(&names) {
        why += &format!("  {name} = {}\n", table.quote(*transaction));
        places.push(table.transactions[*transaction as usize].last as usize);
    }
    why += "Then\n";
    let mut edges = Vec::new();
    for (place, (from, relation)) in cycle.steps.iter().enumerate() {
        let next = (place + 1) % cycle.steps.len();
        let (to, _) = cycle.steps[next];
        let (a, b) = (names[place].as_str(), names[next].as_str());
        let (first, second) = (
            &table.transactions[*from as usize],
            &table.transactions[to as usize],
        );
        let because = match relation {
            Relation::RealTime => format!(
                "{a} had been answered (event {}) before {b} was begun (event {})",
                table.index(first.last),
                table.index(second.begin)
            ),
            Relation::Process => format!("process {} did {a} before {b}", first.process),
            data => explainer.data(table, *from, to, *data, [a, b]),
        };
        let end = if next == 0 { ": a circle" } else { "" };
        why += &format!(
            "  {a} before {b} ({}), for {because}{end}.\n",
            relation.name()
        );
        edges.push((relation.name(), because));
    }
    let nodes = cycle.steps.iter().map(|(t, _)| table.quote(*t)).collect();
    let mut finding = Finding::new(cycle.anomaly.name(), why.trim_end().to_owned(), &places);
    finding.picture = Some(Picture { nodes, edges });
    finding
}

/// Checks lists that grow by appends.
pub fn check_list_append(
    history: &History,
    expectation: &Expectation,
) -> Result<Verdict, Malformed> {
    judge(list_append::analyse(history, expectation)?, expectation)
}

/// Checks registers that are overwritten.
pub fn check_rw_register(
    history: &History,
    expectation: &Expectation,
) -> Result<Verdict, Malformed> {
    judge(rw_register::analyse(history, expectation)?, expectation)
}
