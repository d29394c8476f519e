//! Strict serializability by cycles (Adya, *Weak Consistency*, 1999: direct serialization graph;
//! Kingsbury and Alvaro, *Elle*, VLDB 2020: with real-time edges).
//!
//! ```text
//!   ww  who wrote a version → who wrote the next      wr  who wrote a version → who read it
//!   rw  who read a version → who wrote the next       rt  acknowledged → begun later
//! ```
//!
//! Strictly serializable exactly if there is no cycle. The order of versions is the store's; which
//! version somebody read or wrote is told by its value where values are unique (registers, lists), else
//! by the version's timestamp. Real time is drawn through *moments*, one for each acknowledgement, so
//! its edges stay few. Absences of keys in scans are not drawn; the check by timestamps sees those.

use super::{StoredVersion, StoredVersions, Violation};
use crate::history::{Fate, History, Observation, Transaction, TransactionIndex};
use crate::workload::{ListAppend, Register};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wire::keys::Key;
use wire::message::OperationKind;

const PROPERTY: &str = "strict serializability by cycles";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Edge {
    WriteWrite,
    WriteRead,
    ReadWrite,
    RealTime,
}

impl Edge {
    fn word(self) -> &'static str {
        match self {
            Edge::WriteWrite => "overwritten by",
            Edge::WriteRead => "read by",
            Edge::ReadWrite => "read what was overwritten by",
            Edge::RealTime => "acknowledged before the begin of",
        }
    }
}

struct Graph {
    transactions: usize,
    edges: Vec<Vec<(usize, Edge)>>,
}

/// With or without the order of real time.
pub(super) fn check(
    history: &History,
    stored: &StoredVersions,
    in_real_time: bool,
) -> Result<(), Violation> {
    let mut graph = Graph {
        transactions: history.len(),
        edges: vec![Vec::new(); history.len()],
    };
    let writers = writers(history, stored);
    for (key, versions) in stored {
        let chain: Vec<Option<usize>> = (0..versions.len())
            .map(|place| writers.get(&(key, place)).map(|index| index.0))
            .collect();
        for pair in chain.windows(2) {
            if let [Some(one), Some(next)] = pair {
                graph.add(*one, *next, Edge::WriteWrite);
            }
        }
    }
    for (index, transaction) in history.iter() {
        if matches!(
            transaction.fate(),
            Fate::Read { .. } | Fate::Committed { .. }
        ) {
            graph.add_reads(index, transaction, stored, &writers);
        }
    }
    if in_real_time {
        graph.add_real_time(history);
    }
    match graph.find_cycle() {
        None => Ok(()),
        Some(cycle) => Err(graph.explain(&cycle)),
    }
}

type Writers<'a> = BTreeMap<(&'a Key, usize), TransactionIndex>;

fn writers<'a>(history: &'a History, stored: &'a StoredVersions) -> Writers<'a> {
    let mut writers = Writers::new();
    for (index, transaction) in history.iter() {
        let Some(at) = transaction.committed_at() else {
            continue;
        };
        for operation in &transaction.operations {
            let Some((key, versions)) = stored.get_key_value(&operation.key) else {
                continue;
            };
            let place = match &operation.kind {
                OperationKind::Put(value) if transaction.workload == Register::NAME => {
                    versions.iter().position(|(_, v)| v.as_ref() == Some(value))
                }
                OperationKind::Append(element) if transaction.workload == ListAppend::NAME => {
                    versions
                        .iter()
                        .position(|(_, v)| holds(v.as_ref(), element))
                }
                _ => place_of(versions, at),
            };
            if let Some(place) = place {
                writers.insert((key, place), index);
            }
        }
    }
    writers
}

fn holds(value: Option<&Bytes>, element: &Bytes) -> bool {
    value.is_some_and(|value| {
        value.ends_with(element)
            && (value.len() == element.len() || value[value.len() - element.len() - 1] == b',')
    })
}

fn place_of(versions: &[StoredVersion], at: Timestamp) -> Option<usize> {
    versions
        .binary_search_by_key(&at, |(timestamp, _)| *timestamp)
        .ok()
}

impl Graph {
    fn add(&mut self, from: usize, to: usize, edge: Edge) {
        if from != to {
            self.edges[from].push((to, edge));
        }
    }

    fn add_reads(
        &mut self,
        index: TransactionIndex,
        transaction: &Transaction,
        stored: &StoredVersions,
        writers: &Writers,
    ) {
        let unique = [Register::NAME, ListAppend::NAME].contains(&transaction.workload);
        for observation in &transaction.reads {
            for (key, version) in observation.found() {
                let versions = stored.get(key).map_or(&[][..], |versions| versions);
                let place = match unique {
                    true => versions
                        .iter()
                        .position(|(_, v)| v.as_ref() == Some(&version.value)),
                    false => place_of(versions, version.timestamp),
                };
                if let Some(place) = place {
                    self.add_read(index, stored, writers, key, Some(place));
                }
            }
            if let Observation::Get { key, found: None } = observation {
                let versions = stored.get(key).map_or(&[][..], |versions| versions);
                let place = match versions.iter().any(|(_, value)| value.is_none()) {
                    false => None,
                    true => {
                        let at = transaction.snapshot.unwrap_or(Timestamp::ZERO);
                        versions.partition_point(|(t, _)| *t <= at).checked_sub(1)
                    }
                };
                self.add_read(index, stored, writers, key, place);
            }
        }
    }

    /// The transaction read the version at `place`, or what was before all versions.
    fn add_read(
        &mut self,
        index: TransactionIndex,
        stored: &StoredVersions,
        writers: &Writers,
        key: &Key,
        place: Option<usize>,
    ) {
        let Some((key, _)) = stored.get_key_value(key) else {
            return;
        };
        if let Some(writer) = place.and_then(|place| writers.get(&(key, place))) {
            self.add(writer.0, index.0, Edge::WriteRead);
        }
        let next = place.map_or(0, |place| place + 1);
        if let Some(writer) = writers.get(&(key, next)) {
            self.add(index.0, writer.0, Edge::ReadWrite);
        }
    }

    /// Acknowledged → its moment → later moments → begun.
    fn add_real_time(&mut self, history: &History) {
        let answered =
            |t: &Transaction| matches!(t.fate(), Fate::Read { .. } | Fate::Committed { .. });
        let counts = |t: &Transaction| answered(t) && !t.past;
        let mut points: Vec<(Duration, bool, usize)> = Vec::new();
        for (index, transaction) in history.iter().filter(|(_, t)| counts(t)) {
            points.push((transaction.invoked, false, index.0));
            points.extend(transaction.acknowledged().map(|end| (end, true, index.0)));
        }
        points.sort();
        let mut latest: Option<usize> = None;
        for (_, ends, index) in points {
            if ends {
                self.edges.push(Vec::new());
                let moment = self.edges.len() - 1;
                self.add(index, moment, Edge::RealTime);
                if let Some(before) = latest {
                    self.add(before, moment, Edge::RealTime);
                }
                latest = Some(moment);
            } else if let Some(moment) = latest {
                self.add(moment, index, Edge::RealTime);
            }
        }
    }

    fn find_cycle(&self) -> Option<Vec<(usize, Edge)>> {
        let component = self.components().into_iter().find(|c| c.len() > 1)?;
        let inside: std::collections::BTreeSet<usize> = component.iter().copied().collect();
        let starts = component.iter().filter(|node| **node < self.transactions);
        starts
            .filter_map(|start| self.shortest_cycle(*start, &inside))
            .min_by_key(Vec::len)
    }

    fn shortest_cycle(
        &self,
        start: usize,
        inside: &std::collections::BTreeSet<usize>,
    ) -> Option<Vec<(usize, Edge)>> {
        let mut came: BTreeMap<usize, (usize, Edge)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for (to, edge) in self.edges[node]
                .iter()
                .filter(|(to, _)| inside.contains(to))
            {
                if *to == start {
                    let mut cycle = vec![(node, *edge)];
                    let mut at = node;
                    while at != start {
                        let (from, edge) = came[&at];
                        cycle.push((from, edge));
                        at = from;
                    }
                    cycle.reverse();
                    return Some(cycle);
                }
                if !came.contains_key(to) {
                    came.insert(*to, (node, *edge));
                    queue.push_back(*to);
                }
            }
        }
        None
    }

    /// Strongly connected components (Tarjan, *Depth-First Search and Linear Graph Algorithms*, 1972),
    /// without recursion.
    fn components(&self) -> Vec<Vec<usize>> {
        const NEVER: usize = usize::MAX;
        let count = self.edges.len();
        let (mut number, mut low) = (vec![NEVER; count], vec![0; count]);
        let mut on_stack = vec![false; count];
        let (mut stack, mut components, mut next) = (Vec::new(), Vec::new(), 0);
        for root in 0..count {
            if number[root] != NEVER {
                continue;
            }
            let mut path = vec![(root, 0)];
            while let Some((node, child)) = path.pop() {
                if child == 0 {
                    (number[node], low[node]) = (next, next);
                    next += 1;
                    stack.push(node);
                    on_stack[node] = true;
                }
                if let Some((to, _)) = self.edges[node].get(child) {
                    path.push((node, child + 1));
                    if number[*to] == NEVER {
                        path.push((*to, 0));
                    } else if on_stack[*to] {
                        low[node] = low[node].min(number[*to]);
                    }
                    continue;
                }
                if low[node] == number[node] {
                    let start = stack
                        .iter()
                        .rposition(|n| *n == node)
                        .expect("it was pushed");
                    let component = stack.split_off(start);
                    for member in &component {
                        on_stack[*member] = false;
                    }
                    components.push(component);
                }
                if let Some((parent, _)) = path.last() {
                    low[*parent] = low[*parent].min(low[node]);
                }
            }
        }
        components
    }

    fn explain(&self, cycle: &[(usize, Edge)]) -> Violation {
        let of_transactions = |(node, _): &&(usize, Edge)| *node < self.transactions;
        let members: Vec<TransactionIndex> = cycle
            .iter()
            .filter(of_transactions)
            .map(|(node, _)| TransactionIndex(*node))
            .collect();
        let mut why = String::from("a cycle: ");
        for (node, edge) in cycle.iter().filter(of_transactions) {
            why.push_str(&format!("{:?} {} ", TransactionIndex(*node), edge.word()));
        }
        why.push_str(&format!("{:?}", members[0]));
        Violation::new(PROPERTY, &members, why)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, during, get, history, key, read, ts};
    use super::*;
    use crate::workload::put;

    fn stored() -> StoredVersions {
        StoredVersions::from([
            (
                key("a"),
                vec![(ts(10), Some("1".into())), (ts(20), Some("2".into()))],
            ),
            (key("b"), vec![(ts(15), Some("x".into()))]),
        ])
    }

    fn writes() -> Vec<Transaction> {
        vec![
            during(0, 1, commit(10, vec![put(&key("a"), "1")])),
            during(2, 3, commit(15, vec![put(&key("b"), "x")])),
            during(4, 9, commit(20, vec![put(&key("a"), "2")])),
        ]
    }

    fn verdict(more: Vec<Transaction>) -> Result<(), Violation> {
        let mut all = writes();
        all.extend(more);
        check(&history(all), &stored(), true)
    }

    #[test]
    fn one_order_for_all_has_no_cycle() {
        let look = read(
            17,
            vec![get("a", Some((10, "1"))), get("b", Some((15, "x")))],
        );
        assert_eq!(verdict(vec![during(5, 6, look)]), Ok(()));
    }

    #[test]
    fn two_readers_that_disagree_on_the_order_are_found() {
        // One sees b's write and not a's second, the other the other way round, both beside them.
        let stored = StoredVersions::from([
            (key("a"), vec![(ts(10), Some("1".into()))]),
            (key("b"), vec![(ts(15), Some("x".into()))]),
        ]);
        let all = history([
            during(0, 99, commit(10, vec![put(&key("a"), "1")])),
            during(0, 99, commit(15, vec![put(&key("b"), "x")])),
            during(
                0,
                99,
                read(17, vec![get("a", Some((10, "1"))), get("b", None)]),
            ),
            during(
                0,
                99,
                read(17, vec![get("a", None), get("b", Some((15, "x")))]),
            ),
        ]);
        let violation = check(&all, &stored, true).unwrap_err();
        assert_eq!(violation.transactions.len(), 4, "{violation}");
    }

    #[test]
    fn a_read_that_misses_what_was_acknowledged_before_it_began_is_found() {
        let stale = during(10, 11, read(17, vec![get("a", Some((10, "1")))]));
        let violation = verdict(vec![stale]).unwrap_err();
        assert!(violation.why.contains("acknowledged before"), "{violation}");
    }
}
