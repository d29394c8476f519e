//! The cost of a planned transfer of leadership, in messages and disk writes: with fixed delays, and
//! whenever a commit comes, it waits for the steps of the hand-over and for no timer.
//!
//! ```text
//!   commit ─► old leader ─► gateway ─► target             Vote ─► ◄─ yes   own entry ─► ◄─ held
//!                 HandOver ──────────► (logs its vote) ──► (logs it)        (on two disks) ─► serves
//! ```

use bytes::Bytes;
use integration::simulation::{World, WorldOptions};
use std::time::Duration;
use wire::ids::{NodeId, PartitionId, TransactionId};
use wire::keys::{DEFAULT_KEYSPACE, Key};
use wire::message::{
    ClientAnswer, ClientRequest, Commit, Operation, OperationKind, Snapshot, TransactionName,
};

const NODES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(5);
/// The partition of the letter `a`; the first is the system's own.
const PARTITION: PartitionId = PartitionId(2);
/// Messages one after the other: the hand-over, votes (2), the first entry (2), the commit's own (2), its
/// answer. The commit's way by the old leader to the target lies beside them.
const MESSAGES_MAX: u32 = 8;
/// Writes to disks one after the other: the target's vote, the voters', the first entry, the commit.
const FLUSHES_MAX: u32 = 4;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn put(world: &World, random: u64) -> ClientRequest {
    let key = Key::new(DEFAULT_KEYSPACE, b"a/probe");
    let id = TransactionId {
        time: integration::simulation::clocks::true_timestamp(world.now()),
        random,
    };
    ClientRequest::Commit(Commit {
        name: TransactionName {
            id,
            expires: id.time.plus(Duration::from_secs(10)),
            anchor: key.clone(),
        },
        age: id,
        snapshot: Snapshot::Fresh,
        reads: vec![],
        guards: vec![],
        operations: vec![Operation {
            key,
            kind: OperationKind::Put(Bytes::from_static(b"x")),
        }],
        locked: vec![],
        resent: false,
    })
}

fn leader(world: &World) -> Option<usize> {
    let serving = world.serving();
    let led = serving.iter().find(|(_, led)| *led == PARTITION);
    led.map(|(seat, _)| *seat)
}

/// How long the slowest of many commits took, each of which came so many milliseconds after a hand-over
/// began, at each node in turn.
fn slowest(seed: u64, one_way: Duration, flush: Duration) -> Duration {
    let mut options = WorldOptions::calm(seed, NODES, 4, one_way);
    options.flush.least = flush;
    options.timing.spread_every = None;
    let mut world = World::new(options);
    world.run_to(Duration::from_secs(8)).unwrap();
    let ids: Vec<NodeId> = world
        .state()
        .unwrap()
        .statuses
        .iter()
        .map(|s| s.node)
        .collect();
    let mut slowest = Duration::ZERO;
    for round in 0..180 {
        let (gateway, after) = (round as usize % NODES, ms(round / NODES as u64));
        let rested = |world: &World| leader(world).is_some();
        let limit = world.now() + Duration::from_secs(2);
        assert!(world.run_until(limit, rested).unwrap(), "it is led again");
        world.run_to(world.now() + ms(300)).unwrap();
        let led = leader(&world).expect("nothing disturbs it");
        let to = ids[(led + 1 + round as usize % 2) % NODES];
        world.begin_transfer(led, PARTITION, Some(to));
        world.run_to(world.now() + after).unwrap();
        let request = put(&world, 1 + round);
        let answer = world.ask(gateway, request, PATIENCE).unwrap();
        let answer = answer.expect("it is answered");
        assert!(
            matches!(answer.reply, Ok(ClientAnswer::Committed(_))),
            "round {round}: {:?}",
            answer.reply
        );
        assert_ne!(leader(&world), Some(led), "round {round}: it moved");
        slowest = slowest.max(answer.took);
    }
    slowest
}

/// How long it takes until the third node leads, when a transfer is under way to one that cannot take it
/// and the leader should lead nothing any more.
fn third_leads_after(dies: bool) -> Duration {
    let mut options = WorldOptions::calm(7, NODES, 4, ms(1));
    options.timing.spread_every = None;
    let mut world = World::new(options);
    world.run_to(Duration::from_secs(8)).unwrap();
    let led = leader(&world).expect("nothing disturbs it");
    let (target, third) = ((led + 1) % NODES, (led + 2) % NODES);
    let to = world.state().unwrap().statuses[target].node;
    world.pause(target, Duration::from_secs(20));
    let request = put(&world, 1);
    let answer = world.ask(led, request, PATIENCE).unwrap();
    let answer = answer.expect("it is answered").reply;
    assert!(
        matches!(answer, Ok(ClientAnswer::Committed(_))),
        "{answer:?}"
    );
    // The target lacks the commit, so this drains.
    world.begin_transfer(led, PARTITION, Some(to));
    world.set_free_space(led, Some(world.disk_reserve() - 1));
    world.run_to(world.now() + ms(20)).unwrap();
    assert_eq!(leader(&world), Some(led), "it is not handed over");
    if dies {
        world.crash(target);
    }
    let begun = world.now();
    let limit = begun + Duration::from_secs(10);
    let is_third = |world: &World| leader(world) == Some(third);
    assert!(world.run_until(limit, is_third).unwrap(), "the third leads");
    world.now() - begun
}

#[test]
fn a_target_that_dies_or_hangs_does_not_keep_the_third_from_leading() {
    let died = third_leads_after(true);
    assert!(died <= ms(300), "after {died:?}");
    let hung = third_leads_after(false);
    assert!(hung <= ms(1_300), "after {hung:?}");
}

#[test]
fn a_commit_waits_for_messages_of_the_hand_over_and_for_no_timer() {
    for seed in 0..3 {
        let (one_way, flush) = (ms(5), Duration::ZERO);
        let took = slowest(seed, one_way, flush);
        let most = one_way * MESSAGES_MAX;
        assert!(took <= most, "seed {seed}: {took:?}, at most {most:?}");
    }
}

#[test]
fn a_commit_waits_for_the_disks_of_the_hand_over_and_for_no_timer() {
    for seed in 0..3 {
        let (one_way, flush) = (ms(1), ms(6));
        let took = slowest(seed, one_way, flush);
        let most = one_way * MESSAGES_MAX + flush * FLUSHES_MAX;
        assert!(took <= most, "seed {seed}: {took:?}, at most {most:?}");
    }
}
