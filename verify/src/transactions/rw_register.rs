//! Registers that are overwritten by unique values (Kingsbury and Alvaro, *Elle*, VLDB 2020, section
//! 5: recoverable, not traceable objects).
//!
//! A read tells whose write it saw, but not what was there before. So only part of the order of
//! versions is known: that of the initial `nil`, which precedes all others, and what the assumptions
//! give ([`Assumptions`](super::Assumptions)):
//!
//! | assumed of each key | then |
//! | --- | --- |
//! | writes follow reads | a version that a transaction read precedes the one it wrote |
//! | sequential | versions that one process met follow each other as it met them |
//! | linearizable | versions of which one was met before the other was begun follow each other so |
//!
//! An assumption that makes the versions of a key a circle is wrong about that key: it is told
//! (`cyclic-versions`) and not used for it. From each known pair of versions come edges ww (writer to
//! writer) and rw (reader to writer); from each read one wr.

use super::table::{Access, MicroOperation, NONE, Table, Vocabulary};
use super::{Analysis, Expectation, Explainer, UnwrittenValues, internal, lost_update};
use crate::graph::{Csr, Graph, Relation, Span, order_of_spans};
use crate::history::{History, Kind, Malformed};
use crate::verdict::{Finding, Findings};

pub(super) fn analyse<'h>(
    history: &'h History,
    expectation: &Expectation,
) -> Result<Analysis<'h, Versions>, Malformed> {
    let mut table = Table::new(history, Vocabulary::Registers)?;
    let seen: Vec<u32> = table
        .committed()
        .flat_map(|transaction| table.of(transaction))
        .filter_map(|one| match one.access {
            Access::Register(version) if version != NONE => Some(version),
            _ => None,
        })
        .collect();
    seen.into_iter().for_each(|version| table.observe(version));
    let mut findings = Findings::default();
    internal::check(&table, &mut findings);
    lost_update::check(&table, &mut findings);
    check_reads(&table, expectation.unwritten_values, &mut findings);
    let versions = Versions::new(&table, expectation, &mut findings);
    let graph = versions.draw(&table);
    Ok(Analysis {
        table,
        graph,
        explainer: versions,
        findings,
    })
}

fn check_reads(table: &Table, unwritten: UnwrittenValues, findings: &mut Findings) {
    for transaction in table.committed() {
        for one in table.of(transaction) {
            let Access::Register(version) = one.access else {
                continue;
            };
            if version == NONE {
                continue;
            }
            let writer = table.writers[version as usize];
            let mut found = |anomaly, others: &[u32], what: &str| {
                findings.add_with(anomaly, || {
                    let (key, value) = (table.key_text(one.key), table.value_text(version));
                    let quotes: Vec<String> = others
                        .iter()
                        .map(|t| format!("\n  {}", table.quote(*t)))
                        .collect();
                    let why = format!(
                        "{}\n  read key {key} as {value}, {what}{}",
                        table.quote(transaction),
                        quotes.concat()
                    );
                    let mut who = vec![transaction];
                    who.extend(others);
                    Finding::new(anomaly, why, &table.places(&who))
                });
            };
            match table.writer_outcome(version) {
                None if unwritten == UnwrittenValues::Anomaly => {
                    found("garbage-read", &[], "which nobody ever wrote");
                }
                Some(Kind::Fail) => {
                    found("G1a", &[writer], "which a transaction wrote that failed")
                }
                _ => {}
            }
            if table.intermediate[version as usize] && writer != transaction {
                found("G1b", &[writer], "which its writer overwrote itself");
            }
        }
    }
}

/// What a transaction read of a key before it wrote it, and what it wrote last.
#[derive(Clone, Copy)]
struct External {
    key: u32,
    /// The node of what was read.
    read: Option<u32>,
    written: Option<u32>,
}

impl External {
    fn first(self) -> Option<u32> {
        self.read.or(self.written)
    }

    fn last(self) -> Option<u32> {
        self.written.or(self.read)
    }
}

/// A partial order of versions. A node is a version, or behind all of these, for each key, `nil`.
pub(super) struct Versions {
    nil: u32,
    /// Pairs of nodes, sorted.
    order: Vec<(u32, u32)>,
    /// `(node, transaction)`, sorted: who read it from outside.
    readers: Vec<(u32, u32)>,
}

impl Versions {
    fn new(table: &Table, expectation: &Expectation, findings: &mut Findings) -> Versions {
        let mut versions = Versions {
            nil: table.writers.len() as u32,
            order: Vec::new(),
            readers: Vec::new(),
        };
        let mut touched: Vec<(u32, u32, External)> = Vec::new();
        for transaction in table.counting() {
            for external in externals(table, versions.nil, transaction) {
                touched.push((external.key, transaction, external));
                if let Some(read) = external.read {
                    versions.readers.push((read, transaction));
                }
            }
        }
        versions.readers.sort_unstable();
        touched.sort_unstable_by_key(|(key, transaction, _)| (*key, *transaction));
        let assumed = expectation.assumptions;
        let sources: [(&str, bool, Source); 4] = [
            ("every key begins with nil", true, initial),
            (
                "writes follow reads",
                assumed.writes_follow_reads,
                writes_follow_reads,
            ),
            (
                "keys are sequentially consistent",
                assumed.sequential_keys,
                sequential,
            ),
            (
                "keys are linearizable",
                assumed.linearizable_keys,
                linearizable,
            ),
        ];
        let mut words: Vec<&str> = Vec::new();
        for (assumption, _, source) in sources.into_iter().filter(|source| source.1) {
            words.push(assumption);
            versions.assume(table, &touched, source, &words, findings);
        }
        versions
    }

    /// Adds what an assumption gives, but for keys whose versions it makes a circle.
    fn assume(
        &mut self,
        table: &Table,
        touched: &[(u32, u32, External)],
        source: Source,
        words: &[&str],
        findings: &mut Findings,
    ) {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for of_key in touched.chunk_by(|a, b| a.0 == b.0) {
            source(table, self.nil, of_key, &mut pairs);
        }
        pairs.retain(|(from, to)| from != to);
        let nodes = self.nil as usize + table.keys();
        let both = || self.order.iter().chain(&pairs).copied();
        let circles = Csr::new(nodes, both).components();
        let mut bad: Vec<u32> = Vec::new();
        for circle in circles {
            let key = self.key_of(table, circle[0]);
            bad.push(key);
            findings.add_with("cyclic-versions", || {
                let nodes: Vec<String> =
                    circle.iter().map(|node| self.text(table, *node)).collect();
                let why = format!(
                    "if {}, then the versions {} of key {} follow each other in a circle",
                    words.join(", and "),
                    nodes.join(", "),
                    table.key_text(key)
                );
                Finding::new("cyclic-versions", why, &[])
            });
        }
        bad.sort_unstable();
        pairs.retain(|(from, _)| bad.binary_search(&self.key_of(table, *from)).is_err());
        self.order.append(&mut pairs);
        self.order.sort_unstable();
        self.order.dedup();
    }

    fn key_of(&self, table: &Table, node: u32) -> u32 {
        match node >= self.nil {
            true => node - self.nil,
            false => table.versions.get(node).0,
        }
    }

    fn text(&self, table: &Table, node: u32) -> String {
        match node >= self.nil {
            true => "nil".to_owned(),
            false => table.value_text(node),
        }
    }

    fn readers(&self, node: u32) -> &[(u32, u32)] {
        let from = self.readers.partition_point(|one| one.0 < node);
        let to = self.readers.partition_point(|one| one.0 <= node);
        &self.readers[from..to]
    }

    /// Who wrote a version so that others can see it.
    fn writer(&self, table: &Table, node: u32) -> Option<u32> {
        if node >= self.nil || table.intermediate[node as usize] {
            return None;
        }
        table.committed_writer(node)
    }

    fn draw(&self, table: &Table) -> Graph {
        let mut graph = Graph::new(table.transactions.len());
        for (node, reader) in &self.readers {
            if let Some(writer) = self.writer(table, *node) {
                graph.link(writer, *reader, Relation::WriteRead);
            }
        }
        for (from, to) in &self.order {
            let Some(next) = self.writer(table, *to) else {
                continue;
            };
            if let Some(writer) = self.writer(table, *from) {
                graph.link(writer, next, Relation::WriteWrite);
            }
            for (_, reader) in self.readers(*from) {
                graph.link(*reader, next, Relation::ReadWrite);
            }
        }
        graph
    }
}

/// What a transaction did with each key, as others can see it.
fn externals(table: &Table, nil: u32, transaction: u32) -> impl Iterator<Item = External> {
    let knows_reads = table.transactions[transaction as usize].outcome == Kind::Ok;
    let all: &[MicroOperation] = table.of(transaction);
    all.iter().enumerate().filter_map(move |(place, one)| {
        if all[..place].iter().any(|earlier| earlier.key == one.key) {
            return None;
        }
        let read = match one.access {
            Access::Register(NONE) => Some(nil + one.key),
            Access::Register(version) => Some(version),
            _ => None,
        };
        let written = all[place..]
            .iter()
            .rev()
            .find_map(|later| match later.access {
                Access::Write(version) if later.key == one.key => Some(version),
                _ => None,
            });
        Some(External {
            key: one.key,
            read: read.filter(|_| knows_reads),
            written,
        })
    })
}

/// Pairs of versions of one key.
type Source = fn(&Table, u32, &[(u32, u32, External)], &mut Vec<(u32, u32)>);

fn initial(_: &Table, nil: u32, of_key: &[(u32, u32, External)], pairs: &mut Vec<(u32, u32)>) {
    for (key, _, external) in of_key {
        let nil = nil + key;
        let others = [external.read, external.written].into_iter().flatten();
        pairs.extend(others.map(|version| (nil, version)));
    }
}

fn writes_follow_reads(
    _: &Table,
    _: u32,
    of_key: &[(u32, u32, External)],
    pairs: &mut Vec<(u32, u32)>,
) {
    for (_, _, external) in of_key {
        if let (Some(read), Some(written)) = (external.read, external.written) {
            pairs.push((read, written));
        }
    }
}

fn sequential(table: &Table, _: u32, of_key: &[(u32, u32, External)], pairs: &mut Vec<(u32, u32)>) {
    let mut order: Vec<(i64, u32, External)> = of_key
        .iter()
        .map(|(_, transaction, external)| {
            (
                table.transactions[*transaction as usize].process,
                *transaction,
                *external,
            )
        })
        .collect();
    order.sort_unstable_by_key(|(process, transaction, _)| (*process, *transaction));
    for pair in order.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        if let (Some(last), Some(first)) = (pair[0].2.last(), pair[1].2.first()) {
            pairs.push((last, first));
        }
    }
}

fn linearizable(
    table: &Table,
    _: u32,
    of_key: &[(u32, u32, External)],
    pairs: &mut Vec<(u32, u32)>,
) {
    let spans: Vec<Span> = of_key
        .iter()
        .map(|(_, transaction, _)| {
            let t = &table.transactions[*transaction as usize];
            Span {
                begin: t.begin,
                end: (t.outcome == Kind::Ok).then_some(t.last),
                process: t.process,
            }
        })
        .collect();
    order_of_spans(&spans, |from, to| {
        let (last, first) = (
            of_key[from as usize].2.last(),
            of_key[to as usize].2.first(),
        );
        if let (Some(last), Some(first)) = (last, first) {
            pairs.push((last, first));
        }
    });
}

impl Explainer for Versions {
    const SEEN_BEFORE_INFERRED: bool = true;

    fn data(
        &self,
        table: &Table,
        from: u32,
        to: u32,
        relation: Relation,
        [a, b]: [&str; 2],
    ) -> String {
        let why = externals(table, self.nil, from).find_map(|ours| {
            let theirs = externals(table, self.nil, to).find(|theirs| theirs.key == ours.key)?;
            let key = table.key_text(ours.key);
            let text = |node| self.text(table, node);
            match relation {
                Relation::WriteRead => {
                    let written = ours
                        .written
                        .filter(|written| theirs.read == Some(*written))?;
                    Some(format!(
                        "{b} read key {key} as {}, which {a} wrote",
                        text(written)
                    ))
                }
                Relation::WriteWrite => {
                    let (first, second) = (ours.written?, theirs.written?);
                    self.order.binary_search(&(first, second)).ok()?;
                    Some(format!(
                        "{a} wrote key {key} as {} and {b} as {}, the later version",
                        text(first),
                        text(second)
                    ))
                }
                _ => {
                    let (first, second) = (ours.read?, theirs.written?);
                    self.order.binary_search(&(first, second)).ok()?;
                    Some(format!(
                        "{a} read key {key} as {} and {b} wrote {}, the later version",
                        text(first),
                        text(second)
                    ))
                }
            }
        });
        why.expect("each edge was drawn because of micro-operations of its two transactions")
    }
}
