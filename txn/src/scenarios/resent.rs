//! One commit, sent to two and three gateways, at every step of the protocol (R10).
//!
//! The first copy is let do so many steps, then the second copy goes to another gateway, after some
//! more steps the third to the last one, or a question for the outcome. Everything that was on its way
//! may arrive once more, late; the first gateway may die. However it goes: everyone who asks is
//! answered, all definite answers are the same one, what was asked is done once or never.

use super::fixture::{add, four_partitions, guard, key};
use super::simulation::World;
use clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::TransactionId;
use wire::keys::KeyRange;
use wire::message::{
    ClientRequest, Commit, Condition, Operation, RecordState, Snapshot, TransactionName,
};

/// The transaction that is sent again.
const OURS: u64 = 1;
/// One that is in its way.
const RIVAL: u64 = 2;
/// Steps before the second copy: more than the longest of the transactions takes on its own.
const FIRST_STEPS: u64 = 26;
/// Steps between the second and the third.
const SECOND_STEPS: [u64; 5] = [0, 1, 3, 7, 15];
/// In how many orders else.
const ORDERS: u64 = 2;
const EXPIRES_IN: Duration = Duration::from_millis(1_000);

/// What is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    OnePartition,
    /// Evaluated a second time its guard would not hold.
    OneWithAGuardOnItself,
    TwoPartitions,
    /// A guard on a partition that is not written, which the rival makes fail.
    GuardElsewhere,
    /// Reads what the rival writes: pushed, refreshed, or lost.
    Pushed,
}

const SHAPES: [Shape; 5] = [
    Shape::OnePartition,
    Shape::OneWithAGuardOnItself,
    Shape::TwoPartitions,
    Shape::GuardElsewhere,
    Shape::Pushed,
];

/// What happens besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Besides {
    Nothing,
    /// All that is under way when the second copy is sent arrives again, late.
    Doubled,
    /// The first gateway dies when the second copy is sent.
    Crash,
    /// Somebody asks for the outcome instead of a third copy.
    Question,
}

const BESIDES: [Besides; 4] = [
    Besides::Nothing,
    Besides::Doubled,
    Besides::Crash,
    Besides::Question,
];

fn commit(world: &World, random: u64, operations: Vec<Operation>) -> Commit {
    let time = world.now.latest();
    let id = TransactionId { time, random };
    Commit {
        name: TransactionName {
            id,
            expires: time.plus(EXPIRES_IN),
            anchor: operations[0].key.clone(),
        },
        age: id,
        snapshot: Snapshot::Fresh,
        reads: Vec::new(),
        guards: Vec::new(),
        operations,
        locked: Vec::new(),
        resent: false,
    }
}

fn ours(world: &World, shape: Shape) -> Commit {
    let one = || vec![add("a", -1), add("b", 1)];
    let two = || vec![add("a", -1), add("n", 1)];
    match shape {
        Shape::OnePartition => commit(world, OURS, one()),
        Shape::OneWithAGuardOnItself => Commit {
            guards: vec![guard("a", Condition::Absent)],
            ..commit(world, OURS, one())
        },
        Shape::TwoPartitions => commit(world, OURS, two()),
        Shape::GuardElsewhere => Commit {
            guards: vec![guard("u", Condition::Absent)],
            ..commit(world, OURS, two())
        },
        Shape::Pushed => Commit {
            snapshot: Snapshot::At(world.now.latest()),
            reads: vec![KeyRange::point(key("u"))],
            ..commit(world, OURS, two())
        },
    }
}

/// One run; the steps are taken in their order, or in one that `seed` gives.
struct Story {
    shape: Shape,
    besides: Besides,
    before_second: u64,
    before_third: u64,
    /// 0: in order.
    seed: u64,
}

impl Story {
    fn tell(&self) -> (World, u32) {
        let mut world = World::new(self.seed);
        let is_in_order = self.seed == 0;
        let ours = ours(&world, self.shape);
        let name = ours.name.clone();
        world.add_client(ours);
        world.send(0, OURS);
        for _ in 0..self.before_second {
            world.step(is_in_order);
        }
        let mut asked = 3;
        match self.besides {
            Besides::Doubled => world.double(),
            Besides::Crash => asked -= world.crash(0).len() as u32,
            Besides::Nothing | Besides::Question => {}
        }
        if matches!(self.shape, Shape::GuardElsewhere | Shape::Pushed) {
            let rival = commit(&world, RIVAL, vec![add("u", 1), add("n", -1)]);
            world.add_client(rival);
            world.send(2, RIVAL);
        }
        world.send(1, OURS);
        for _ in 0..self.before_third {
            world.step(is_in_order);
        }
        match self.besides {
            Besides::Question => {
                world.ask_gateway(2, 9, OURS, ClientRequest::Outcome { name });
            }
            _ => world.send(2, OURS),
        }
        world.heal();
        (world, asked)
    }
}

fn stories(seeds: std::ops::Range<u64>) -> impl Iterator<Item = Story> {
    seeds.flat_map(|seed| {
        SHAPES.into_iter().flat_map(move |shape| {
            BESIDES.into_iter().flat_map(move |besides| {
                (0..FIRST_STEPS).flat_map(move |before_second| {
                    SECOND_STEPS.into_iter().map(move |before_third| Story {
                        shape,
                        besides,
                        before_second,
                        before_third,
                        seed,
                    })
                })
            })
        })
    })
}

#[test]
fn sent_again_at_any_step_it_is_done_once_and_told_alike() {
    let mut ends: BTreeMap<(usize, bool), u64> = BTreeMap::new();
    for story in stories(0..1 + ORDERS) {
        let (mut world, asked) = story.tell();
        world.check();
        let client = &world.clients[&OURS];
        assert!(
            client.answers >= asked,
            "everyone who asks is answered: {} of {asked}, {:?} with {:?} after {} and {} steps",
            client.answers,
            story.shape,
            story.besides,
            story.before_second,
            story.before_third
        );
        let committed = matches!(client.said, Some(RecordState::Committed { .. }));
        let shape = SHAPES.iter().position(|shape| *shape == story.shape);
        *ends.entry((shape.unwrap(), committed)).or_default() += 1;
    }
    // The stories must reach both ends where both can be.
    for (place, shape) in SHAPES.iter().enumerate() {
        let committed = ends.get(&(place, true)).copied().unwrap_or(0);
        assert!(committed > 500, "{shape:?} committed {committed} times");
    }
    let refused: u64 = ends.iter().filter(|((_, c), _)| !c).map(|(_, n)| n).sum();
    assert!(refused > 100, "only {refused} were refused");
}

/// What was told stays told when nothing but the outcome is left, and when not even that is.
#[test]
fn sent_again_when_it_is_all_but_forgotten_nothing_else_is_told() {
    for shape in SHAPES {
        for is_forgotten in [false, true] {
            let mut world = World::new(0);
            let ours = ours(&world, shape);
            let name = ours.name.clone();
            world.add_client(ours);
            world.send(0, OURS);
            world.heal();
            let told = world.clients[&OURS].said;
            assert!(matches!(told, Some(RecordState::Committed { .. })));

            let closed = name.expires.plus(Duration::from_secs(1));
            assert!(world.now.earliest() > closed, "time has passed");
            let kept_from = match is_forgotten {
                true => closed,
                false => Timestamp::ZERO,
            };
            for descriptor in four_partitions().iter() {
                let partition = world.partitions.get_mut(&descriptor.partition).unwrap();
                partition.collect(closed, kept_from);
            }
            let answers = world.clients[&OURS].answers;
            world.send(1, OURS);
            world.ask_gateway(2, 9, OURS, ClientRequest::Outcome { name: name.clone() });
            world.heal();
            let client = &world.clients[&OURS];
            // A different answer has stopped the test; "no longer kept" is none.
            assert_eq!(client.said, told, "{shape:?}, forgotten: {is_forgotten}");
            assert_eq!(client.answers, answers + 2, "both were answered");
        }
    }
}
