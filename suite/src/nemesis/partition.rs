//! Cuts between nodes.
//!
//! A cut is silent or resets connections, drawn anew each time. Of three nodes the ring and the bridge
//! are the same cut (one pair); they differ from five on.

use super::{Arena, Harm, Undo, leading, names};
use crate::error::SuiteError;
use crate::io::proxy::{Cut, Dialler, Rule, Seat};
use wire::SplitMix64;

/// Which links are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One node from everybody, clients too: as if its cable were pulled.
    One,
    /// A minority from the others; clients reach all.
    Halves,
    /// Every node sees a majority, no two the same one.
    Ring,
    /// Two halves that only one node sees both of.
    Bridge,
    /// One node hears the others and is not heard, or the other way round; clients reach all.
    OneWay,
    /// The leader of a partition from one other node, which coordinates for its clients.
    LeaderFromCoordinator,
}

/// The directed links between nodes that a shape cuts, of nodes in a drawn order.
pub(super) fn links(shape: Shape, order: &[Seat], outwards: bool) -> Vec<(Seat, Seat)> {
    let size = order.len();
    let both = |a: Seat, b: Seat| [(a, b), (b, a)];
    let between = |one: &[Seat], other: &[Seat]| -> Vec<(Seat, Seat)> {
        let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b)));
        pairs.flat_map(|(a, b)| both(a, b)).collect()
    };
    let half = (size - 1) / 2;
    match shape {
        Shape::One => between(&order[..1], &order[1..]),
        Shape::Halves => between(&order[..half.max(1)], &order[half.max(1)..]),
        Shape::Bridge => {
            let (halves, bridge) = order.split_at(size - 1);
            assert_eq!(bridge.len(), 1, "a bridge is one node");
            between(&halves[..half], &halves[half..])
        }
        Shape::Ring if size <= 3 => both(order[0], order[1]).to_vec(),
        // Each keeps the nearest on both sides, as many as make a majority with itself.
        Shape::Ring => {
            let reach = (size / 2).div_ceil(2);
            let apart = |a: usize, b: usize| a.abs_diff(b).min(size - a.abs_diff(b));
            let all = (0..size).flat_map(|a| (a + 1..size).map(move |b| (a, b)));
            let far = all.filter(|(a, b)| apart(*a, *b) > reach);
            far.flat_map(|(a, b)| both(order[a], order[b])).collect()
        }
        Shape::OneWay => {
            let others = order[1..].iter();
            let link = |other: &Seat| match outwards {
                true => (order[0], *other),
                false => (*other, order[0]),
            };
            others.map(link).collect()
        }
        Shape::LeaderFromCoordinator => both(order[0], order[1]).to_vec(),
    }
}

pub(super) async fn begin(
    shape: Shape,
    arena: &Arena,
    random: &mut SplitMix64,
) -> Result<Harm, SuiteError> {
    let leaders = arena.watcher.leaders().await;
    let size = arena.size().await;
    if size < 2 {
        return Err(SuiteError::Cluster(
            "a partition needs at least two nodes".to_owned(),
        ));
    }
    let all: Vec<Seat> = (0..size).collect();
    let mut order = super::draw(&all, size, random);
    if shape == Shape::LeaderFromCoordinator {
        let seats: Vec<Seat> = leaders.values().copied().collect();
        if let Some(leader) = super::draw(&seats, 1, random).first() {
            order.retain(|seat| seat != leader);
            order.insert(0, *leader);
        }
    }
    let how = match random.chance(1, 2) {
        true => Cut::Silent,
        false => Cut::Reset,
    };
    let outwards = random.chance(1, 2);
    let cut = links(shape, &order, outwards);
    let mut rules: Vec<Rule> = cut
        .iter()
        .map(|(from, to)| Rule::Cut {
            from: Dialler::Node(*from),
            to: *to,
            how,
        })
        .collect();
    if shape == Shape::One {
        let (from, to) = (Dialler::Client, order[0]);
        rules.push(Rule::Cut { from, to, how });
    }
    let alone = &order[..1];
    let led = leaders.iter().filter(|(_, seat)| alone.contains(seat));
    let led: Vec<_> = led.map(|(partition, _)| *partition).collect();
    let detail = match shape {
        Shape::One => format!("{} cut off from everybody{}", names(alone), leading(&led)),
        Shape::OneWay if outwards => format!("{} is not heard by the others", names(alone)),
        Shape::OneWay => format!("{} does not hear the others", names(alone)),
        _ => format!("{} cut", pairs(&cut)),
    };
    let how = match how {
        Cut::Silent => "silently",
        Cut::Reset => "by resets",
    };
    Ok(Harm {
        detail: format!("{detail}, {how}"),
        undo: vec![Undo::Rules(arena.proxy.add(rules))],
        led,
    })
}

fn pairs(cut: &[(Seat, Seat)]) -> String {
    let once = cut.iter().filter(|(a, b)| a < b);
    let names: Vec<String> = once
        .map(|(a, b)| format!("n{}-n{}", a + 1, b + 1))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(cut: &[(Seat, Seat)], size: usize, seat: Seat) -> Vec<Seat> {
        let others = (0..size).filter(|other| *other != seat);
        others
            .filter(|other| !cut.contains(&(seat, *other)))
            .collect()
    }

    #[test]
    fn one_node_is_alone_and_the_others_are_not() {
        let cut = links(Shape::One, &[2, 0, 1], true);
        assert!(seen(&cut, 3, 2).is_empty());
        assert_eq!(seen(&cut, 3, 0), [1]);
    }

    #[test]
    fn in_a_ring_everyone_sees_a_majority_and_no_two_the_same() {
        for size in [5, 7] {
            let order: Vec<Seat> = (0..size).collect();
            let cut = links(Shape::Ring, &order, true);
            let mut views: Vec<Vec<Seat>> = Vec::new();
            for seat in 0..size {
                let mut view = seen(&cut, size, seat);
                view.push(seat);
                view.sort_unstable();
                assert!(view.len() > size / 2, "n{seat} of {size} sees {view:?}");
                assert!(view.len() < size, "n{seat} of {size} sees all");
                assert!(!views.contains(&view), "{view:?} is seen twice");
                views.push(view);
            }
        }
        assert_eq!(links(Shape::Ring, &[0, 1, 2], true), [(0, 1), (1, 0)]);
    }

    #[test]
    fn a_bridge_sees_both_halves() {
        let cut = links(Shape::Bridge, &[0, 1, 2, 3, 4], true);
        assert_eq!(seen(&cut, 5, 4).len(), 4);
        assert_eq!(seen(&cut, 5, 0), [1, 4]);
        assert_eq!(seen(&cut, 5, 2), [3, 4]);
        assert_eq!(links(Shape::Bridge, &[0, 1, 2], true), [(0, 1), (1, 0)]);
    }

    #[test]
    fn one_way_is_one_way() {
        assert_eq!(links(Shape::OneWay, &[1, 0, 2], true), [(1, 0), (1, 2)]);
        assert_eq!(links(Shape::OneWay, &[1, 0, 2], false), [(0, 1), (2, 1)]);
    }
}
