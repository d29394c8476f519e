//! The orders of real time and of processes, with few edges.
//!
//! Real time orders all pairs of which one ended before the other began: of `n` transactions about
//! n²/2. Drawn are only those that do not follow from others. Walk through the events in order and keep
//! the *frontier*: the transactions that ended and that no other which ended since follows. Whoever
//! begins follows each of the frontier; whoever ends takes the place of those that it follows. With `p`
//! processes the frontier holds at most `p`, so there are O(n·p) edges (Kingsbury and Alvaro, *Elle*,
//! VLDB 2020, section 5.1).
//!
//! ```text
//!   a |--|       d follows b and c, not a: a stands before b already
//!   b     |--|
//!   c   |-----|
//!   d           |--|
//! ```

use super::{Graph, Relation};

/// When a transaction was open, in places of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) begin: u32,
    /// `None`: its outcome is unknown, it may take effect at any later time.
    pub(crate) end: Option<u32>,
    pub(crate) process: i64,
}

/// Draws the order of real time.
pub(crate) fn real_time_order(spans: &[Span], graph: &mut Graph) {
    let mut edges: Vec<(u32, u32)> = Vec::new();
    order_of_spans(spans, |from, to| edges.push((from, to)));
    for (from, to) in edges {
        graph.link(from, to, Relation::RealTime);
    }
}

/// Gives each pair of the reduced order.
pub(crate) fn order_of_spans(spans: &[Span], mut follows: impl FnMut(u32, u32)) {
    let mut moments: Vec<(u32, bool, u32)> = Vec::with_capacity(2 * spans.len());
    for (number, span) in spans.iter().enumerate() {
        moments.push((span.begin, true, number as u32));
        if let Some(end) = span.end {
            moments.push((end, false, number as u32));
        }
    }
    moments.sort_unstable();
    // `(end, who)`, ascending: whoever began after an end follows it.
    let mut frontier: Vec<(u32, u32)> = Vec::new();
    for (at, begins, number) in moments {
        if begins {
            for (_, earlier) in &frontier {
                follows(*earlier, number);
            }
        } else {
            let begin = spans[number as usize].begin;
            frontier.retain(|(end, _)| *end > begin);
            frontier.push((at, number));
        }
    }
}

/// Draws the order of each process.
pub(crate) fn process_order(spans: &[Span], graph: &mut Graph) {
    let mut order: Vec<(i64, u32, u32)> = spans
        .iter()
        .enumerate()
        .map(|(number, span)| (span.process, span.begin, number as u32))
        .collect();
    order.sort_unstable();
    for pair in order.windows(2) {
        let follows = pair[0].0 == pair[1].0 && spans[pair[0].2 as usize].end.is_some();
        if follows {
            graph.link(pair[0].2, pair[1].2, Relation::Process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(u32, Option<u32>)]) -> Vec<Span> {
        let span = |(begin, end): &(u32, Option<u32>)| Span {
            begin: *begin,
            end: *end,
            process: 0,
        };
        pairs.iter().map(span).collect()
    }

    fn reduced(spans: &[Span]) -> Vec<(u32, u32)> {
        let mut edges = Vec::new();
        order_of_spans(spans, |from, to| edges.push((from, to)));
        edges.sort_unstable();
        edges
    }

    #[test]
    fn only_edges_that_follow_from_no_others_are_drawn() {
        let drawing = spans(&[(0, Some(2)), (3, Some(5)), (1, Some(6)), (7, Some(8))]);
        assert_eq!(reduced(&drawing), [(0, 1), (1, 3), (2, 3)]);
    }

    #[test]
    fn an_unknown_outcome_precedes_nothing() {
        let open = spans(&[(0, None), (1, Some(2)), (3, None)]);
        assert_eq!(reduced(&open), [(1, 2)]);
    }

    /// The transitive closure of what is drawn is the whole order, and no edge can be spared.
    #[test]
    fn what_is_drawn_is_the_transitive_reduction() {
        let mut state = 3u64;
        let mut random = |below: u32| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u32 % below
        };
        for _ in 0..100 {
            let mut places: Vec<u32> = (0..24).collect();
            for i in (1..places.len()).rev() {
                places.swap(i, random(i as u32 + 1) as usize);
            }
            let pairs: Vec<_> = places
                .chunks(2)
                .map(|pair| (pair[0].min(pair[1]), Some(pair[0].max(pair[1]))))
                .collect();
            let spans = spans(&pairs);
            let before = |a: u32, b: u32| spans[a as usize].end.unwrap() < spans[b as usize].begin;
            let needed =
                |a: u32, b: u32| before(a, b) && !(0..12).any(|c| before(a, c) && before(c, b));
            let mut expected: Vec<(u32, u32)> = (0..12)
                .flat_map(|a| (0..12).map(move |b| (a, b)))
                .filter(|(a, b)| needed(*a, *b))
                .collect();
            expected.sort_unstable();
            assert_eq!(reduced(&spans), expected);
        }
    }

    #[test]
    fn a_process_orders_what_it_did() {
        let mut graph = Graph::new(3);
        let spans = [
            Span {
                begin: 0,
                end: Some(1),
                process: 7,
            },
            Span {
                begin: 2,
                end: Some(5),
                process: 8,
            },
            Span {
                begin: 3,
                end: None,
                process: 7,
            },
        ];
        process_order(&spans, &mut graph);
        assert_eq!(graph.count(Relation::Process), 1);
    }
}
