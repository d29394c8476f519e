//! The graph of dependencies between transactions (Adya's direct serialization graph), with the orders
//! of processes and of real time beside it.
//!
//! Transactions are numbers, edges pairs of them, one list for each relation. Everything is linear in
//! the number of edges; only inside strongly connected components, where the anomalies are, are cycles
//! searched for.

mod components;
mod cycles;
mod real_time;

pub(crate) use components::Csr;
pub(crate) use cycles::{Cycle, search_component};
pub(crate) use real_time::{Span, order_of_spans, process_order, real_time_order};

/// Why one transaction stands before another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Relation {
    /// The second overwrote what the first wrote.
    WriteWrite = 0,
    /// The second read what the first wrote.
    WriteRead = 1,
    /// The second overwrote what the first read.
    ReadWrite = 2,
    /// The same process did the first before the second.
    Process = 3,
    /// The first ended before the second began.
    RealTime = 4,
}

impl Relation {
    pub(crate) const ALL: [Relation; 5] = [
        Relation::WriteWrite,
        Relation::WriteRead,
        Relation::ReadWrite,
        Relation::Process,
        Relation::RealTime,
    ];

    /// Its short name.
    pub(crate) fn name(self) -> &'static str {
        ["ww", "wr", "rw", "process", "realtime"][self as usize]
    }

    pub(crate) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Sets of relations.
pub(crate) type Relations = u8;
pub(crate) const WW: Relations = 1;
pub(crate) const WR: Relations = 2;
pub(crate) const RW: Relations = 4;

/// A graph over the transactions `0..vertices`.
pub(crate) struct Graph {
    pub(crate) vertices: usize,
    edges: [Vec<(u32, u32)>; 5],
}

impl Graph {
    pub(crate) fn new(vertices: usize) -> Graph {
        Graph {
            vertices,
            edges: Default::default(),
        }
    }

    /// All edges of a relation.
    pub(crate) fn edges(&self, relation: Relation) -> &[(u32, u32)] {
        &self.edges[relation as usize]
    }

    /// Draws an edge; none from a transaction to itself.
    pub(crate) fn link(&mut self, from: u32, to: u32, relation: Relation) {
        if from != to {
            self.edges[relation as usize].push((from, to));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.edges.iter().all(Vec::is_empty)
    }

    #[cfg(test)]
    pub(crate) fn count(&self, relation: Relation) -> usize {
        self.edges[relation as usize].len()
    }

    /// The strongly connected components of more than one transaction, each as a graph of its own.
    pub(crate) fn components(&self) -> Vec<Component> {
        let csr = Csr::new(self.vertices, || self.edges.iter().flatten().copied());
        let mut components: Vec<Component> = Vec::new();
        // Of each transaction the component and its number there.
        let mut places = vec![(u32::MAX, 0u32); self.vertices];
        for members in csr.components() {
            let component = components.len() as u32;
            for (place, member) in members.iter().enumerate() {
                places[*member as usize] = (component, place as u32);
            }
            components.push(Component {
                members,
                edges: Vec::new(),
            });
        }
        if components.is_empty() {
            return components;
        }
        for relation in Relation::ALL {
            for (from, to) in &self.edges[relation as usize] {
                let (a, from) = places[*from as usize];
                let (b, to) = places[*to as usize];
                if a == b && a != u32::MAX {
                    components[a as usize]
                        .edges
                        .push((from, to, relation.bit()));
                }
            }
        }
        for component in &mut components {
            component.merge();
        }
        components
    }
}

/// One strongly connected component: transactions renumbered, edges between the same two merged.
pub(crate) struct Component {
    /// The transactions, by their number here.
    pub(crate) members: Vec<u32>,
    /// `(from, to, relations)`, sorted.
    pub(crate) edges: Vec<(u32, u32, Relations)>,
}

impl Component {
    fn merge(&mut self) {
        self.edges.sort_unstable();
        self.edges.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                kept.2 |= next.2;
            }
            same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_cut_out_with_all_their_edges() {
        let mut graph = Graph::new(6);
        for (from, to, relation) in [
            (0, 1, Relation::WriteWrite),
            (1, 2, Relation::WriteRead),
            (2, 1, Relation::ReadWrite),
            (2, 1, Relation::RealTime),
            (2, 3, Relation::WriteWrite),
            (4, 5, Relation::WriteWrite),
            (5, 4, Relation::WriteWrite),
            (3, 3, Relation::WriteWrite),
        ] {
            graph.link(from, to, relation);
        }
        let components = graph.components();
        let mut members: Vec<Vec<u32>> = components.iter().map(|c| c.members.clone()).collect();
        members.iter_mut().for_each(|m| m.sort_unstable());
        members.sort();
        assert_eq!(members, [vec![1, 2], vec![4, 5]]);
        let of_two = components.iter().find(|c| c.members.contains(&1)).unwrap();
        let mut relations: Vec<u8> = of_two.edges.iter().map(|e| e.2).collect();
        relations.sort_unstable();
        assert_eq!(relations, [WR, RW | Relation::RealTime.bit()]);
        assert_eq!(
            graph.count(Relation::WriteWrite),
            4,
            "an edge to itself is none"
        );
    }
}
