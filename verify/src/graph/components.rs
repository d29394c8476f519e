//! Adjacency in two arrays, and strongly connected components by Tarjan (*Depth-First Search and Linear
//! Graph Algorithms*, 1972), without recursion: a chain of 100,000 transactions is no exception.

/// Successors of `v` stand at `targets[offsets[v]..offsets[v + 1]]`.
pub(crate) struct Csr {
    offsets: Vec<u32>,
    targets: Vec<u32>,
}

const UNSEEN: u32 = u32::MAX;

impl Csr {
    /// By counting: the edges are walked through twice.
    pub(crate) fn new<I: Iterator<Item = (u32, u32)>>(
        vertices: usize,
        edges: impl Fn() -> I,
    ) -> Csr {
        let mut offsets = vec![0u32; vertices + 2];
        let mut count = 0u64;
        for (from, _) in edges() {
            offsets[from as usize + 2] += 1;
            count += 1;
        }
        assert!(
            count < u64::from(u32::MAX),
            "a graph holds fewer than 2^32 edges: {count}"
        );
        for v in 2..offsets.len() {
            offsets[v] += offsets[v - 1];
        }
        let mut targets = vec![0; count as usize];
        for (from, to) in edges() {
            let place = &mut offsets[from as usize + 1];
            targets[*place as usize] = to;
            *place += 1;
        }
        offsets.pop();
        Csr { offsets, targets }
    }

    pub(crate) fn vertices(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn successors(&self, v: u32) -> &[u32] {
        &self.targets[self.offsets[v as usize] as usize..self.offsets[v as usize + 1] as usize]
    }

    /// Strongly connected components of more than one vertex, members in ascending order; the
    /// component that holds the least vertex first.
    pub(crate) fn components(&self) -> Vec<Vec<u32>> {
        let count = self.vertices();
        let mut index = vec![UNSEEN; count];
        let mut low = vec![0u32; count];
        let mut on_stack = vec![false; count];
        let mut stack: Vec<u32> = Vec::new();
        // The path of the search: a vertex, and which of its edges comes next.
        let mut path: Vec<(u32, u32)> = Vec::new();
        let mut next_index = 0;
        let mut components = Vec::new();
        for root in 0..count as u32 {
            if index[root as usize] != UNSEEN {
                continue;
            }
            path.push((root, self.offsets[root as usize]));
            while let Some((v, edge)) = path.last_mut() {
                let (v, at) = (*v as usize, *edge);
                if index[v] == UNSEEN {
                    index[v] = next_index;
                    low[v] = next_index;
                    next_index += 1;
                    stack.push(v as u32);
                    on_stack[v] = true;
                }
                if at < self.offsets[v + 1] {
                    *edge += 1;
                    let to = self.targets[at as usize] as usize;
                    if index[to] == UNSEEN {
                        path.push((to as u32, self.offsets[to]));
                    } else if on_stack[to] {
                        low[v] = low[v].min(index[to]);
                    }
                    continue;
                }
                path.pop();
                if let Some((parent, _)) = path.last() {
                    let parent = *parent as usize;
                    low[parent] = low[parent].min(low[v]);
                }
                if low[v] == index[v] {
                    let place = stack.iter().rposition(|member| *member as usize == v);
                    let place = place.expect("the root of a component is on the stack");
                    let mut members = stack.split_off(place);
                    members.iter().for_each(|m| on_stack[*m as usize] = false);
                    if members.len() > 1 {
                        members.sort_unstable();
                        components.push(members);
                    }
                }
            }
        }
        components.sort_unstable_by_key(|members| members[0]);
        components
    }

    /// Of each vertex the number of its component among those of [`Csr::components`]; `u32::MAX` if it
    /// stands alone.
    pub(crate) fn component_numbers(&self) -> Vec<u32> {
        let mut numbers = vec![UNSEEN; self.vertices()];
        for (number, members) in self.components().iter().enumerate() {
            for member in members {
                numbers[*member as usize] = number as u32;
            }
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(vertices: usize, edges: &[(u32, u32)]) -> Vec<Vec<u32>> {
        Csr::new(vertices, || edges.iter().copied()).components()
    }

    #[test]
    fn successors_stand_together() {
        let csr = Csr::new(3, || [(2, 0), (0, 1), (2, 1)].into_iter());
        let successors: Vec<&[u32]> = (0..3).map(|v| csr.successors(v)).collect();
        assert_eq!(successors, [&[1][..], &[], &[0, 1]]);
    }

    #[test]
    fn components_of_more_than_one_are_found() {
        assert_eq!(
            components(4, &[(0, 1), (1, 2), (2, 3)]),
            Vec::<Vec<u32>>::new()
        );
        let two = components(
            7,
            &[
                (0, 1),
                (1, 0),
                (1, 2),
                (2, 3),
                (3, 4),
                (4, 2),
                (5, 6),
                (4, 5),
            ],
        );
        assert_eq!(two, [vec![0, 1], vec![2, 3, 4]]);
    }

    #[test]
    fn a_long_circle_needs_no_deep_stack() {
        let count = 200_000;
        let circle: Vec<(u32, u32)> = (0..count).map(|v| (v, (v + 1) % count)).collect();
        assert_eq!(components(count as usize, &circle)[0].len(), count as usize);
    }

    /// Against the definition: two vertices belong together if each reaches the other.
    #[test]
    fn components_are_what_the_definition_says() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let count = 2 + random(8) as usize;
            let edges: Vec<(u32, u32)> = (0..random(20))
                .map(|_| (random(count as u64) as u32, random(count as u64) as u32))
                .collect();
            let mut reach = vec![vec![false; count]; count];
            for (from, to) in &edges {
                reach[*from as usize][*to as usize] = true;
            }
            for via in 0..count {
                for from in 0..count {
                    for to in 0..count {
                        reach[from][to] |= reach[from][via] && reach[via][to];
                    }
                }
            }
            let numbers = Csr::new(count, || edges.iter().copied()).component_numbers();
            for a in 0..count {
                for b in 0..count {
                    let together = a != b && reach[a][b] && reach[b][a];
                    assert_eq!(
                        together,
                        a != b && numbers[a] != UNSEEN && numbers[a] == numbers[b]
                    );
                }
            }
        }
    }
}
