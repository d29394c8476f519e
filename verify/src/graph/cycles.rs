//! Cycles of each kind in one strongly connected component.
//!
//! Which kinds exist is decided exactly, in time linear in the edges:
//!
//! | kind | a cycle exists exactly if |
//! | --- | --- |
//! | G0 | the graph of ww has a component |
//! | G1c | the graph of ww and wr has a component with a wr edge |
//! | G-single, G-nonadjacent | the *doubled* graph has a component with an rw edge |
//! | G2-item | the graph of ww, wr and rw has a component with an rw edge |
//!
//! The doubled graph has each transaction twice: arrived at by an rw edge, and by another. From the
//! first no rw edge goes on. So a walk in it never takes two rw edges in a row, and the shortest closed
//! one passes no transaction twice: cut where it does, one of the two halves would be closed already.
//! That is Elle's test for snapshot isolation (*Elle*, section 4; Cerone and Gotsman, *Analysing
//! Snapshot Isolation*, 2016) without a product of edges.
//!
//! Only a cycle with exactly one rw edge is dearer: a search from each such edge. It gets a budget of
//! steps, the same on every machine; what it did not look at is told.
//!
//! A kind is searched for only if no kind that implies it was found in the same component, the worst
//! first: as in Elle, one cycle a component tells the most.

use super::{Component, Csr, RW, Relation, Relations, WR, WW};
use crate::anomaly::{Anomaly, implied};
use std::collections::BTreeSet;

/// Edges looked at in one component in search of cycles with one rw edge.
const STEPS_MAX: u64 = 40_000_000;
/// From so many edges cycles are closed, to show a short one.
const CANDIDATES_MAX: usize = 64;

/// A cycle: each transaction, and why the next one follows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cycle {
    pub(crate) anomaly: Anomaly,
    /// Transactions of the whole graph.
    pub(crate) steps: Vec<(u32, Relation)>,
}

/// What was found in a component.
#[derive(Default)]
pub(crate) struct Search {
    /// One of each kind that no other implies.
    pub(crate) cycles: Vec<Cycle>,
    /// Models' `…-cycle-exists`: proven without showing the cycle.
    pub(crate) exists: Vec<Anomaly>,
    /// The budget was used up.
    pub(crate) cut_short: bool,
}

/// The suffix of a kind and the relations that it may use beside those of the data.
const VARIANTS: [(&str, Relations); 3] = [("", 0), ("-process", 8), ("-realtime", 16)];

/// Relations, and whether rw edges may stand between them, of which no cycle may consist under a model.
const MODELS: &[(&str, Relations, bool)] = &[
    ("PL-1-cycle-exists", WW, false),
    ("PL-2-cycle-exists", WW | WR, false),
    ("PL-SI-cycle-exists", WW | WR, true),
    ("PL-3-cycle-exists", WW | WR | RW, false),
    ("strong-session-PL-1-cycle-exists", WW | 8, false),
    ("strong-session-PL-2-cycle-exists", WW | WR | 8, false),
    (
        "strong-session-snapshot-isolation-cycle-exists",
        WW | WR | 8,
        true,
    ),
    (
        "strong-session-serializable-cycle-exists",
        WW | WR | RW | 8,
        false,
    ),
    ("strong-PL-1-cycle-exists", WW | 16, false),
    ("strong-PL-2-cycle-exists", WW | WR | 16, false),
    ("strong-snapshot-isolation-cycle-exists", WW | WR | 16, true),
    ("PL-SS-cycle-exists", WW | WR | RW | 16, false),
];

/// Searches a component. With `seen_before_inferred` an edge that is wr and ww counts as wr when a
/// cycle is named.
pub(crate) fn search_component(component: &Component, seen_before_inferred: bool) -> Search {
    let mut searcher = Searcher {
        component,
        seen_before_inferred,
        redundant: BTreeSet::new(),
        found: Search::default(),
    };
    searcher.find_what_exists();
    let present = component.edges.iter().fold(0, |all, edge| all | edge.2);
    for (suffix, extra) in VARIANTS {
        if extra == 0 || present & extra != 0 {
            searcher.search_variant(suffix, extra);
        }
    }
    searcher.found
}

struct Searcher<'a> {
    component: &'a Component,
    seen_before_inferred: bool,
    /// Kinds that what was found implies.
    redundant: BTreeSet<&'static str>,
    found: Search,
}

impl Searcher<'_> {
    fn find_what_exists(&mut self) {
        for (name, relations, with_rw) in MODELS {
            let exists = match with_rw {
                false => !self.csr(*relations).components().is_empty(),
                true => !self.doubled(*relations).components().is_empty(),
            };
            if exists {
                self.found.exists.push(Anomaly::new(name));
            }
        }
    }

    fn search_variant(&mut self, suffix: &'static str, extra: Relations) {
        if self.wanted("G0", suffix) {
            let csr = self.csr(WW | extra);
            self.close_cycle(&csr, WW | extra, WW);
        }
        if self.wanted("G1c", suffix) {
            let csr = self.csr(WW | WR | extra);
            self.close_cycle(&csr, WW | WR | extra, WR);
        }
        let plain = WW | WR | extra;
        if self.wanted("G-single-item", suffix) || self.wanted("G-nonadjacent-item", suffix) {
            self.search_nonadjacent(plain, suffix);
        }
        if self.wanted("G2-item", suffix) {
            let csr = self.csr(plain | RW);
            self.close_cycle(&csr, plain | RW, RW);
        }
    }

    fn wanted(&self, kind: &str, suffix: &str) -> bool {
        !self.redundant.contains(format!("{kind}{suffix}").as_str())
    }

    fn csr(&self, relations: Relations) -> Csr {
        let edges = &self.component.edges;
        Csr::new(self.component.members.len(), || {
            let within = edges.iter().filter(move |edge| edge.2 & relations != 0);
            within.map(|edge| (edge.0, edge.1))
        })
    }

    /// `2v`: arrived at by one of the relations; `2v + 1`: by rw.
    fn doubled(&self, plain: Relations) -> Csr {
        let edges = &self.component.edges;
        Csr::new(2 * self.component.members.len(), || {
            edges.iter().flat_map(move |(from, to, relations)| {
                let is_plain = relations & plain != 0;
                let is_rw = relations & RW != 0;
                let after_plain = is_plain.then_some((2 * from, 2 * to));
                let after_rw = is_plain.then_some((2 * from + 1, 2 * to));
                let by_rw = is_rw.then_some((2 * from, 2 * to + 1));
                [after_plain, after_rw, by_rw].into_iter().flatten()
            })
        })
    }

    /// Closes cycles over edges of the needed relation and keeps the shortest of those that are of a
    /// kind not told yet.
    fn close_cycle(&mut self, csr: &Csr, allowed: Relations, needed: Relations) {
        let numbers = csr.component_numbers();
        let mut paths = Paths::new(csr.vertices());
        let mut best: Option<Cycle> = None;
        let mut tried = 0;
        for (from, to, relations) in &self.component.edges {
            // An edge of a stronger relation too counts as that one.
            let weakest = relations & allowed;
            let is_needed = weakest & needed != 0 && weakest & (needed - 1) == 0;
            let together = numbers[*from as usize] != u32::MAX
                && numbers[*from as usize] == numbers[*to as usize];
            if !is_needed || !together {
                continue;
            }
            tried += 1;
            if tried > CANDIDATES_MAX {
                break;
            }
            let path = paths.shortest(csr, *to, *from, &mut u64::MAX.clone());
            let path = path.expect("both ends of an edge in a component reach each other");
            let cycle = self.classify(&path, allowed);
            self.prefer_shorter(&mut best, cycle);
        }
        self.keep(best);
    }

    fn search_nonadjacent(&mut self, plain: Relations, suffix: &'static str) {
        let doubled = self.doubled(plain);
        let numbers = doubled.component_numbers();
        // Edges rw over which a walk without two rw in a row closes.
        let candidates: Vec<(u32, u32)> = self
            .component
            .edges
            .iter()
            .filter(|(from, to, relations)| {
                let (before, after) = (2 * *from as usize, 2 * *to as usize + 1);
                relations & RW != 0
                    && relations & plain & (WW | WR) == 0
                    && numbers[before] != u32::MAX
                    && numbers[before] == numbers[after]
            })
            .map(|(from, to, _)| (*from, *to))
            .collect();
        if candidates.is_empty() {
            return;
        }
        if self.wanted("G-single-item", suffix) {
            self.close_with_one_rw(plain, &candidates);
        }
        if self.wanted("G-nonadjacent-item", suffix) {
            self.close_without_adjacent_rw(&doubled, plain, &candidates);
        }
    }

    fn close_with_one_rw(&mut self, plain: Relations, candidates: &[(u32, u32)]) {
        let csr = self.csr(plain);
        let mut paths = Paths::new(csr.vertices());
        let mut steps = STEPS_MAX;
        let mut best: Option<Cycle> = None;
        let mut closed = 0;
        for (from, to) in candidates {
            if let Some(path) = paths.shortest(&csr, *to, *from, &mut steps) {
                closed += 1;
                let cycle = self.classify(&path, plain | RW);
                self.prefer_shorter(&mut best, cycle);
            }
            if closed >= CANDIDATES_MAX || steps == 0 {
                break;
            }
        }
        self.found.cut_short |= steps == 0;
        self.keep(best);
    }

    fn close_without_adjacent_rw(
        &mut self,
        doubled: &Csr,
        plain: Relations,
        candidates: &[(u32, u32)],
    ) {
        let mut paths = Paths::new(doubled.vertices());
        let mut best: Option<Cycle> = None;
        for (from, to) in candidates.iter().take(CANDIDATES_MAX) {
            let path = paths.shortest(doubled, 2 * to + 1, 2 * from, &mut u64::MAX.clone());
            let path = path.expect("both ends of an edge in a component reach each other");
            let path: Vec<u32> = path.iter().map(|v| v / 2).collect();
            let mut once = path.clone();
            once.sort_unstable();
            once.dedup();
            if once.len() == path.len() {
                let cycle = self.classify(&path, plain | RW);
                self.prefer_shorter(&mut best, cycle);
            }
        }
        self.keep(best);
    }

    /// Takes a cycle that is new and the shortest.
    fn prefer_shorter(&self, best: &mut Option<Cycle>, cycle: Cycle) {
        let is_new = !self.redundant.contains(cycle.anomaly.name());
        let known = best.as_ref().map_or(usize::MAX, |best| best.steps.len());
        if is_new && cycle.steps.len() < known {
            *best = Some(cycle);
        }
    }

    fn keep(&mut self, cycle: Option<Cycle>) {
        if let Some(cycle) = cycle {
            self.redundant.extend(implied([cycle.anomaly.name()]));
            self.found.cycles.push(cycle);
        }
    }

    /// Names a cycle by its edges, of each the strongest relation: ww before wr before rw before the
    /// orders of processes and real time. So it is named by what the data shows, as Elle does, even if
    /// real time would have led the same way.
    fn classify(&self, vertices: &[u32], allowed: Relations) -> Cycle {
        let next = |place: usize| vertices[(place + 1) % vertices.len()];
        let relation = |place: usize| {
            let pair = (vertices[place], next(place));
            let edges = &self.component.edges;
            let at = edges.partition_point(|edge| (edge.0, edge.1) < pair);
            let data = WW | WR | RW;
            let used = edges[at].2 & (allowed | data);
            if self.seen_before_inferred && used & WR != 0 {
                return Relation::WriteRead;
            }
            *Relation::ALL
                .iter()
                .find(|relation| used & relation.bit() != 0)
                .expect("a cycle is made of edges that may be used")
        };
        let relations: Vec<Relation> = (0..vertices.len()).map(relation).collect();
        let steps = vertices
            .iter()
            .map(|v| self.component.members[*v as usize])
            .zip(relations.iter().copied())
            .collect();
        Cycle {
            anomaly: kind_of(&relations),
            steps,
        }
    }
}

/// The kind of a cycle that consists of these relations.
pub(crate) fn kind_of(relations: &[Relation]) -> Anomaly {
    let has = |relation| relations.contains(&relation);
    let is_rw = |place: usize| relations[place % relations.len()] == Relation::ReadWrite;
    let count = (0..relations.len()).filter(|place| is_rw(*place)).count();
    let adjacent = (0..relations.len()).any(|place| is_rw(place) && is_rw(place + 1));
    let names = match (count, adjacent) {
        (0, _) if has(Relation::WriteRead) => ["G1c", "G1c-process", "G1c-realtime"],
        (0, _) => ["G0", "G0-process", "G0-realtime"],
        (1, _) => [
            "G-single-item",
            "G-single-item-process",
            "G-single-item-realtime",
        ],
        (_, false) => [
            "G-nonadjacent-item",
            "G-nonadjacent-item-process",
            "G-nonadjacent-item-realtime",
        ],
        (_, true) => ["G2-item", "G2-item-process", "G2-item-realtime"],
    };
    Anomaly::new(match (has(Relation::RealTime), has(Relation::Process)) {
        (true, _) => names[2],
        (false, true) => names[1],
        (false, false) => names[0],
    })
}

/// Breadth-first search with memory that is used again.
struct Paths {
    parents: Vec<u32>,
    stamps: Vec<u32>,
    stamp: u32,
    queue: Vec<u32>,
}

impl Paths {
    fn new(vertices: usize) -> Paths {
        Paths {
            parents: vec![0; vertices],
            stamps: vec![0; vertices],
            stamp: 0,
            queue: Vec::new(),
        }
    }

    /// A shortest path, both ends included; each edge looked at costs a step.
    fn shortest(&mut self, csr: &Csr, from: u32, to: u32, steps: &mut u64) -> Option<Vec<u32>> {
        self.stamp += 1;
        self.queue.clear();
        self.queue.push(from);
        self.stamps[from as usize] = self.stamp;
        let mut head = 0;
        while head < self.queue.len() {
            let v = self.queue[head];
            head += 1;
            if v == to {
                let mut path = vec![to];
                let mut at = to;
                while at != from {
                    at = self.parents[at as usize];
                    path.push(at);
                }
                path.reverse();
                return Some(path);
            }
            let successors = csr.successors(v);
            *steps = steps.saturating_sub(successors.len() as u64);
            if *steps == 0 {
                return None;
            }
            for next in successors {
                if self.stamps[*next as usize] != self.stamp {
                    self.stamps[*next as usize] = self.stamp;
                    self.parents[*next as usize] = v;
                    self.queue.push(*next);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use Relation::{Process, ReadWrite as Rw, RealTime, WriteRead as Wr, WriteWrite as Ww};

    fn kinds(vertices: usize, edges: &[(u32, u32, Relation)]) -> Vec<&'static str> {
        let mut graph = Graph::new(vertices);
        for (from, to, relation) in edges {
            graph.link(*from, *to, *relation);
        }
        let mut kinds: Vec<&str> = graph
            .components()
            .iter()
            .flat_map(|component| search_component(component, false).cycles)
            .map(|cycle| cycle.anomaly.name())
            .collect();
        kinds.sort_unstable();
        kinds
    }

    #[test]
    fn each_kind_is_found_and_named() {
        assert_eq!(kinds(2, &[(0, 1, Ww), (1, 0, Ww)]), ["G0"]);
        assert_eq!(kinds(2, &[(0, 1, Ww), (1, 0, Wr)]), ["G1c"]);
        assert_eq!(kinds(2, &[(0, 1, Wr), (1, 0, Rw)]), ["G-single-item"]);
        assert_eq!(kinds(2, &[(0, 1, Rw), (1, 0, Rw)]), ["G2-item"]);
        let fork = [(0, 1, Wr), (1, 2, Rw), (2, 3, Wr), (3, 0, Rw)];
        assert_eq!(kinds(4, &fork), ["G-nonadjacent-item"]);
        assert_eq!(kinds(2, &[(0, 1, RealTime), (1, 0, Ww)]), ["G0-realtime"]);
        assert_eq!(kinds(2, &[(0, 1, Process), (1, 0, Wr)]), ["G1c-process"]);
        assert_eq!(
            kinds(2, &[(0, 1, RealTime), (1, 0, Rw)]),
            ["G-single-item-realtime"]
        );
        let skew = [(0, 1, Rw), (1, 2, Rw), (2, 0, RealTime)];
        assert_eq!(kinds(3, &skew), ["G2-item-realtime"]);
        let fork = [(0, 1, RealTime), (1, 2, Rw), (2, 3, Wr), (3, 0, Rw)];
        assert_eq!(kinds(4, &fork), ["G-nonadjacent-item-realtime"]);
    }

    #[test]
    fn nothing_is_imagined_where_there_is_no_cycle() {
        assert_eq!(
            kinds(3, &[(0, 1, Ww), (1, 2, Rw), (0, 2, RealTime)]),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn the_worst_kind_of_a_component_stands_for_those_it_implies() {
        // A circle of ww, and through the same two transactions one of ww and rw.
        let edges = [(0, 1, Ww), (1, 0, Ww), (1, 2, Wr), (2, 0, Rw)];
        assert_eq!(kinds(3, &edges), ["G-single-item", "G0"]);
        let edges = [(0, 1, Wr), (1, 0, Rw), (1, 2, Rw), (2, 1, Rw)];
        assert_eq!(
            kinds(3, &edges),
            ["G-single-item"],
            "write skew goes without saying"
        );
    }

    #[test]
    fn an_edge_counts_as_its_strongest_relation() {
        assert_eq!(kinds(2, &[(0, 1, Ww), (0, 1, Rw), (1, 0, Ww)]), ["G0"]);
        assert_eq!(
            kinds(2, &[(0, 1, Rw), (0, 1, RealTime), (1, 0, Wr)]),
            ["G-single-item"]
        );
    }

    #[test]
    fn what_was_seen_may_name_the_cycle() {
        let mut graph = Graph::new(2);
        for (from, to, relation) in [(0, 1, Ww), (0, 1, Wr), (1, 0, RealTime)] {
            graph.link(from, to, relation);
        }
        let component = &graph.components()[0];
        let name = |seen| search_component(component, seen).cycles[0].anomaly.name();
        assert_eq!((name(false), name(true)), ("G0-realtime", "G1c-realtime"));
    }

    #[test]
    fn write_skew_beside_a_walk_that_passes_a_transaction_twice_is_no_fork() {
        // 0 -rw-> 1 -rw-> 0 and 1 -ww-> 2 -rw-> 1 … the second circle has one rw edge.
        let edges = [(0, 1, Rw), (1, 0, Rw), (1, 2, Ww), (2, 1, Rw)];
        assert_eq!(kinds(3, &edges), ["G-single-item"]);
    }

    /// Against all simple cycles of small graphs, listed one by one.
    #[test]
    fn the_kinds_found_are_those_of_all_cycles() {
        let mut state = 11u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..3_000 {
            let count = 2 + random(4) as usize;
            let mut edges: Vec<(u32, u32, Relation)> = Vec::new();
            for _ in 0..random(10) {
                let (from, to) = (random(count as u64) as u32, random(count as u64) as u32);
                let known = edges.iter().any(|e| (e.0, e.1) == (from, to));
                if from != to && !known {
                    edges.push((from, to, [Ww, Wr, Rw][random(3) as usize]));
                }
            }
            let all = all_kinds(count as u32, &edges);
            let found = kinds(count, &edges);
            for kind in &found {
                assert!(all.contains(kind), "round {round}: {kind} in {edges:?}");
            }
            for kind in all {
                let told = implied_by_any(&found, kind);
                assert!(
                    told,
                    "round {round}: {kind} is missing from {found:?} of {edges:?}"
                );
            }
        }
    }

    fn implied_by_any(found: &[&'static str], kind: &str) -> bool {
        implied(found.iter().copied()).contains(kind)
    }

    fn all_kinds(count: u32, edges: &[(u32, u32, Relation)]) -> BTreeSet<&'static str> {
        fn walk(
            edges: &[(u32, u32, Relation)],
            path: &mut Vec<u32>,
            relations: &mut Vec<Relation>,
            kinds: &mut BTreeSet<&'static str>,
        ) {
            let last = path[path.len() - 1];
            for (from, to, relation) in edges {
                if *from != last {
                    continue;
                }
                relations.push(*relation);
                if *to == path[0] {
                    kinds.insert(kind_of(relations).name());
                } else if !path.contains(to) {
                    path.push(*to);
                    walk(edges, path, relations, kinds);
                    path.pop();
                }
                relations.pop();
            }
        }
        let mut kinds = BTreeSet::new();
        for start in 0..count {
            walk(edges, &mut vec![start], &mut Vec::new(), &mut kinds);
        }
        kinds
    }
}
