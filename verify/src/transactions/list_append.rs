//! Lists that grow by unique elements: each read shows the order of all writes before it (Kingsbury and
//! Alvaro, *Elle*, VLDB 2020, section 4: traceable objects).
//!
//! Of each key the longest list that anybody read gives the order of versions. From it
//!
//! ```text
//!   ww  who appended an element → who appended the next
//!   wr  who appended the last element of a list → who read the list
//!   rw  who read a list → who appended the next element
//! ```
//!
//! An append that nobody read stands, if it committed, behind all that were read: it is written after
//! the last of them and missed by all who read the whole list. Several such of one key are unordered
//! among themselves, so a run should end with reads of every key.
//!
//! Beside the cycles: aborted and intermediate reads, dirty updates, incompatible orders, elements
//! twice, elements that nobody appended.

use super::table::{Access, NONE, Table, Vocabulary};
use super::{Analysis, Expectation, Explainer, internal, lost_update};
use crate::graph::{Graph, Relation};
use crate::history::{History, Kind, Malformed};
use crate::verdict::{Finding, Findings};

pub(super) fn analyse<'h>(
    history: &'h History,
    _expectation: &Expectation,
) -> Result<Analysis<'h, Orders>, Malformed> {
    let mut table = Table::new(history, Vocabulary::Lists)?;
    let mut findings = Findings::default();
    internal::check(&table, &mut findings);
    lost_update::check(&table, &mut findings);
    let orders = Orders::new(&mut table);
    check_reads(&table, &orders, &mut findings);
    check_dirty_updates(&table, &orders, &mut findings);
    let graph = draw(&table, &orders);
    Ok(Analysis {
        table,
        graph,
        explainer: orders,
        findings,
    })
}

/// The order of versions of each key.
pub(super) struct Orders {
    /// Of each key the longest list that was read: a stretch of the table's elements.
    longest: Vec<(u32, u32)>,
    /// Of each key where its order begins in `versions`; one more at the end.
    starts: Vec<u32>,
    /// The versions of all keys, key by key, in order, each once; [`NONE`] for one that nobody wrote.
    versions: Vec<u32>,
    /// Of each version its place in `versions`.
    places: Vec<u32>,
}

impl Orders {
    fn new(table: &mut Table) -> Orders {
        let mut longest = vec![(0, 0); table.keys()];
        let mut reads: Vec<(u32, u32, u32)> = Vec::new();
        for transaction in table.committed() {
            for one in table.of(transaction) {
                if let Access::List { from, to } = one.access {
                    let known = &mut longest[one.key as usize];
                    if to - from > known.1 - known.0 {
                        *known = (from, to);
                    }
                    reads.push((one.key, from, to));
                }
            }
        }
        let mut orders = Orders {
            longest,
            starts: Vec::with_capacity(table.keys() + 1),
            versions: Vec::new(),
            places: vec![NONE; table.writers.len()],
        };
        for key in 0..table.keys() as u32 {
            orders.starts.push(orders.versions.len() as u32);
            let (from, to) = orders.longest[key as usize];
            for at in from..to {
                let element = table.elements[at as usize];
                let version = table.versions.find((key, element)).unwrap_or(NONE);
                if version != NONE {
                    if orders.places[version as usize] != NONE {
                        continue;
                    }
                    orders.places[version as usize] = orders.versions.len() as u32;
                    table.observe(version);
                }
                orders.versions.push(version);
            }
        }
        orders.starts.push(orders.versions.len() as u32);
        for (key, from, to) in reads {
            if !orders.is_prefix(table, key, from, to) {
                for at in from..to {
                    let element = table.elements[at as usize];
                    if let Some(version) = table.versions.find((key, element)) {
                        table.observe(version);
                    }
                }
            }
        }
        orders
    }

    /// The order of a key.
    fn of(&self, key: u32) -> &[u32] {
        let (from, to) = (self.starts[key as usize], self.starts[key as usize + 1]);
        &self.versions[from as usize..to as usize]
    }

    fn longest<'a>(&self, table: &'a Table, key: u32) -> &'a [u64] {
        let (from, to) = self.longest[key as usize];
        &table.elements[from as usize..to as usize]
    }

    fn is_prefix(&self, table: &Table, key: u32, from: u32, to: u32) -> bool {
        self.longest(table, key)
            .starts_with(&table.elements[from as usize..to as usize])
    }

    /// The version whose write made a list what was read; `None` for the empty list, [`NONE`] if nobody
    /// wrote its last element.
    fn last_version(&self, table: &Table, key: u32, from: u32, to: u32) -> Option<u32> {
        let element = *table.elements[from as usize..to as usize].last()?;
        Some(table.versions.find((key, element)).unwrap_or(NONE))
    }

    /// What stands right behind a version, or first in a key; `Err` if that is not known.
    fn next(&self, key: u32, version: Option<u32>) -> Result<Option<u32>, ()> {
        let end = self.starts[key as usize + 1];
        let place = match version {
            None => self.starts[key as usize],
            Some(NONE) => return Err(()),
            Some(version) => match self.places[version as usize] {
                NONE => return Err(()),
                place => place + 1,
            },
        };
        Ok((place < end).then(|| self.versions[place as usize]))
    }

    /// What stands right before a version. A version that nobody read stands behind all others.
    fn previous(&self, key: u32, version: u32) -> Option<u32> {
        match self.places[version as usize] {
            NONE => self.of(key).last().copied(),
            place if place == self.starts[key as usize] => None,
            place => Some(self.versions[place as usize - 1]),
        }
    }
}

/// The lists that a transaction read, if it certainly committed.
fn lists<'a>(
    table: &'a Table,
    transaction: u32,
) -> impl Iterator<Item = (u32, u32, u32)> + use<'a> {
    table
        .of(transaction)
        .iter()
        .filter_map(|one| match one.access {
            Access::List { from, to } => Some((one.key, from, to)),
            _ => None,
        })
}

fn check_reads(table: &Table, orders: &Orders, findings: &mut Findings) {
    let flaws: Vec<Flaws> = (0..table.keys() as u32)
        .map(|key| Flaws::of_order(table, orders, key))
        .collect();
    let mut incompatible: Vec<bool> = vec![false; table.keys()];
    for transaction in table.committed() {
        for (key, from, to) in lists(table, transaction) {
            let list = &table.elements[from as usize..to as usize];
            let compatible = orders.is_prefix(table, key, from, to);
            if !compatible && !std::mem::replace(&mut incompatible[key as usize], true) {
                findings.add(incompatible_order(table, orders, transaction, key, list));
            }
            let read = Read {
                table,
                transaction,
                key,
                list,
            };
            match compatible {
                true => read.check(&flaws[key as usize], findings),
                false => read.check(&Flaws::of_list(table, key, list), findings),
            }
            read.check_last(findings);
        }
    }
}

/// Where in a list something first stands that should not be there, as lengths that include it.
struct Flaws {
    aborted: usize,
    garbage: usize,
    twice: usize,
}

impl Flaws {
    fn of_order(table: &Table, orders: &Orders, key: u32) -> Flaws {
        Flaws::of_list(table, key, orders.longest(table, key))
    }

    fn of_list(table: &Table, key: u32, list: &[u64]) -> Flaws {
        let first = |is_flaw: &dyn Fn(u64) -> bool| {
            list.iter()
                .position(|element| is_flaw(*element))
                .map_or(usize::MAX, |at| at + 1)
        };
        let version = |element| table.versions.find((key, element));
        let outcome = |element| version(element).and_then(|v| table.writer_outcome(v));
        let mut sorted: Vec<(u64, usize)> = list.iter().copied().zip(1..).collect();
        sorted.sort_unstable();
        let again = sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        Flaws {
            aborted: first(&|element| outcome(element) == Some(Kind::Fail)),
            garbage: first(&|element| outcome(element).is_none()),
            twice: again.map(|pair| pair[1].1).min().unwrap_or(usize::MAX),
        }
    }
}

/// One read of a list.
struct Read<'a, 'h> {
    table: &'a Table<'h>,
    transaction: u32,
    key: u32,
    list: &'a [u64],
}

impl Read<'_, '_> {
    fn found(&self, anomaly: &'static str, others: &[u32], what: String) -> Finding {
        let (table, key) = (self.table, self.table.key_text(self.key));
        let quotes: Vec<String> = others
            .iter()
            .map(|t| format!("\n  {}", table.quote(*t)))
            .collect();
        let why = format!(
            "{}\n  read key {key}: {what}{}",
            table.quote(self.transaction),
            quotes.concat()
        );
        let mut who = vec![self.transaction];
        who.extend(others);
        Finding::new(anomaly, why, &table.places(&who))
    }

    fn element(&self, length: usize) -> (String, Option<u32>) {
        let element = self.list[length - 1];
        let version = self.table.versions.find((self.key, element));
        (self.table.element_text(element), version)
    }

    fn check(&self, flaws: &Flaws, findings: &mut Findings) {
        if self.list.len() >= flaws.aborted {
            findings.add_with("G1a", || {
                let (element, version) = self.element(flaws.aborted);
                let writer = version.map(|v| self.table.writers[v as usize]);
                let what =
                    format!("its element {element} was appended by a transaction that failed");
                self.found("G1a", &writer.into_iter().collect::<Vec<_>>(), what)
            });
        }
        if self.list.len() >= flaws.garbage {
            findings.add_with("garbage-read", || {
                let (element, _) = self.element(flaws.garbage);
                self.found(
                    "garbage-read",
                    &[],
                    format!("nobody ever appended its element {element}"),
                )
            });
        }
        if self.list.len() >= flaws.twice {
            findings.add_with("duplicate-elements", || {
                let (element, _) = self.element(flaws.twice);
                let what = format!(
                    "its element {element} is there more than once, and was appended once: {}",
                    self.table.list_text(self.list)
                );
                self.found("duplicate-elements", &[], what)
            });
        }
    }

    /// Its last element must be its writer's last append to the key.
    fn check_last(&self, findings: &mut Findings) {
        let Some(element) = self.list.last() else {
            return;
        };
        let Some(version) = self.table.versions.find((self.key, *element)) else {
            return;
        };
        let writer = self.table.writers[version as usize];
        if self.table.intermediate[version as usize] && writer != self.transaction {
            findings.add_with("G1b", || {
                let what = format!(
                    "it ends in {}, after which its writer appended to the key again",
                    self.table.element_text(*element)
                );
                self.found("G1b", &[writer], what)
            });
        }
    }
}

fn incompatible_order(
    table: &Table,
    orders: &Orders,
    transaction: u32,
    key: u32,
    list: &[u64],
) -> Finding {
    let longest = orders.longest(table, key);
    let (from, to) = orders.longest[key as usize];
    let who = table
        .committed()
        .find(|t| lists(table, *t).any(|read| read == (key, from, to)));
    let same = list.iter().zip(longest).take_while(|(a, b)| a == b).count();
    let why = format!(
        "key {} was read as {} and as {}: they part after {same} elements, so they cannot come from one order of appends\n  {}{}",
        table.key_text(key),
        table.list_text(list),
        table.list_text(longest),
        table.quote(transaction),
        who.map_or_else(String::new, |who| format!("\n  {}", table.quote(who))),
    );
    let mut all = vec![transaction];
    all.extend(who);
    Finding::new("incompatible-order", why, &table.places(&all))
}

/// A committed append behind one of a failed transaction, with none between them that committed.
fn check_dirty_updates(table: &Table, orders: &Orders, findings: &mut Findings) {
    for key in 0..table.keys() as u32 {
        let mut failed: Option<u32> = None;
        for version in orders.of(key).iter().filter(|version| **version != NONE) {
            match (table.writer_outcome(*version), failed) {
                (Some(Kind::Fail), None) => failed = Some(*version),
                (Some(Kind::Ok), Some(dirty)) => {
                    findings.add_with("dirty-update", || {
                        let pair = [table.writers[dirty as usize], table.writers[*version as usize]];
                        let why = format!(
                            "in key {} the append of {} by a failed transaction is followed by that of {} by a committed one\n  {}\n  {}",
                            table.key_text(key),
                            table.value_text(dirty),
                            table.value_text(*version),
                            table.quote(pair[0]),
                            table.quote(pair[1]),
                        );
                        Finding::new("dirty-update", why, &table.places(&pair))
                    });
                    failed = None;
                }
                _ => {}
            }
        }
    }
}

fn draw(table: &Table, orders: &Orders) -> Graph {
    let mut graph = Graph::new(table.transactions.len());
    let unread = unread_appends(table, orders);
    for key in 0..table.keys() as u32 {
        for pair in orders.of(key).windows(2) {
            link(table, &mut graph, pair[0], pair[1]);
        }
        let last = orders.of(key).last().copied().unwrap_or(NONE);
        for version in of_key(&unread, key) {
            link(table, &mut graph, last, version.1);
        }
    }
    for transaction in table.counting() {
        for (key, from, to) in lists(table, transaction) {
            let seen = orders.last_version(table, key, from, to);
            if let Some(writer) = seen
                .filter(|v| *v != NONE)
                .and_then(|v| table.committed_writer(v))
            {
                graph.link(writer, transaction, Relation::WriteRead);
            }
            match orders.next(key, seen) {
                Err(()) | Ok(Some(NONE)) => {}
                Ok(Some(next)) => {
                    if let Some(writer) = table.committed_writer(next) {
                        graph.link(transaction, writer, Relation::ReadWrite);
                    }
                }
                Ok(None) => {
                    for (_, next) in of_key(&unread, key) {
                        graph.link(
                            transaction,
                            table.writers[*next as usize],
                            Relation::ReadWrite,
                        );
                    }
                }
            }
        }
    }
    graph
}

fn link(table: &Table, graph: &mut Graph, from: u32, to: u32) {
    if from == NONE || to == NONE {
        return;
    }
    if let (Some(from), Some(to)) = (table.committed_writer(from), table.committed_writer(to)) {
        graph.link(from, to, Relation::WriteWrite);
    }
}

/// `(key, version)` of committed appends that nobody read, by key.
fn unread_appends(table: &Table, orders: &Orders) -> Vec<(u32, u32)> {
    let mut unread = Vec::new();
    for transaction in table.counting() {
        for one in table.of(transaction) {
            match one.access {
                Access::Write(version) if orders.places[version as usize] == NONE => {
                    unread.push((one.key, version));
                }
                _ => {}
            }
        }
    }
    unread.sort_unstable();
    unread
}

fn of_key(sorted: &[(u32, u32)], key: u32) -> &[(u32, u32)] {
    let from = sorted.partition_point(|one| one.0 < key);
    let to = sorted.partition_point(|one| one.0 <= key);
    &sorted[from..to]
}

impl Explainer for Orders {
    const SEEN_BEFORE_INFERRED: bool = false;

    fn data(
        &self,
        table: &Table,
        from: u32,
        to: u32,
        relation: Relation,
        [a, b]: [&str; 2],
    ) -> String {
        let by_a = |version: Option<u32>| {
            version.is_some_and(|v| v != NONE && table.writers[v as usize] == from)
        };
        let why = match relation {
            Relation::WriteRead => lists(table, to).find_map(|(key, start, end)| {
                let seen = self.last_version(table, key, start, end);
                let version = seen.filter(|_| by_a(seen))?;
                let list = table.list_text(&table.elements[start as usize..end as usize]);
                let (key, value) = (table.key_text(key), table.value_text(version));
                Some(format!("{b} read key {key} as {list}, and {a} appended {value}"))
            }),
            _ => table.of(to).iter().find_map(|one| {
                let Access::Write(version) = one.access else {
                    return None;
                };
                let previous = self.previous(one.key, version);
                let unread = match self.places[version as usize] {
                    NONE => ", which nobody read and which so stands behind all that was read",
                    _ => "",
                };
                let (key, value) = (table.key_text(one.key), table.value_text(version));
                if relation == Relation::WriteWrite {
                    let before = previous.filter(|_| by_a(previous))?;
                    let before = table.value_text(before);
                    return Some(format!("in key {key}, {a} appended {before} and {b} appended {value} behind it{unread}"));
                }
                let missed = |(k, start, end): &(u32, u32, u32)| {
                    *k == one.key && self.last_version(table, *k, *start, *end) == previous
                };
                let (_, start, end) = lists(table, from).find(missed)?;
                let list = table.list_text(&table.elements[start as usize..end as usize]);
                Some(format!("{a} read key {key} as {list} and so did not see {value}, which {b} appended next{unread}"))
            }),
        };
        why.expect("each edge was drawn because of micro-operations of its two transactions")
    }
}
