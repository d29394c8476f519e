//! Disks that are full or damaged, in whole clusters without other clients: who says what, what goes on,
//! and how it ends.

use bytes::Bytes;
use integration::checker::check_cluster;
use integration::simulation::clocks::true_timestamp;
use integration::simulation::marks::Mark;
use integration::simulation::{World, WorldOptions};
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::{NodeId, PartitionId, TransactionId};
use wire::keys::{DEFAULT_KEYSPACE, Key};
use wire::message::{
    AbortReason, Aborted, ClientAnswer, ClientRequest, Commit, Operation, OperationKind,
    ReadRequest, ReadResult, Snapshot, TransactionName,
};

const NODES: usize = 3;
const PARTITIONS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A calm cluster in which every partition is served.
fn served(seed: u64) -> World {
    let mut options = WorldOptions::calm(seed, NODES, PARTITIONS as u8, ms(1));
    options.timing.spread_every = None;
    options.segment_bytes = 4 << 10;
    let mut world = World::new(options);
    let is_served = |world: &World| world.serving().len() == PARTITIONS;
    assert!(world.run_until(ms(10_000), is_served).unwrap(), "founded");
    world
}

fn key() -> Key {
    Key::new(DEFAULT_KEYSPACE, b"a/key")
}

fn put(world: &mut World, seat: usize, number: u64) -> ClientAnswer {
    let id = TransactionId {
        time: true_timestamp(world.now()),
        random: number,
    };
    let operation = Operation {
        key: key(),
        kind: OperationKind::Put(number.to_string().into()),
    };
    let commit = Commit {
        name: TransactionName {
            id,
            expires: id.time.plus(Duration::from_secs(10)),
            anchor: key(),
        },
        age: id,
        snapshot: Snapshot::Fresh,
        reads: Vec::new(),
        guards: Vec::new(),
        operations: vec![operation],
        locked: Vec::new(),
        resent: false,
    };
    let answer = world.ask(seat, ClientRequest::Commit(commit), PATIENCE);
    let answer = answer.unwrap().expect("the node answers");
    answer.reply.expect("the node serves")
}

fn read(world: &mut World, seat: usize) -> Option<Bytes> {
    let request = ClientRequest::Read {
        reader: None,
        snapshot: Snapshot::Fresh,
        requests: vec![ReadRequest::Get { key: key() }],
    };
    let answer = world.ask(seat, request, PATIENCE).unwrap()?;
    let Ok(ClientAnswer::Read { results, .. }) = answer.reply else {
        return None;
    };
    match &results[..] {
        [ReadResult::Value(value)] => value.as_ref().map(|found| found.value.clone()),
        other => panic!("one value was asked for, not {other:?}"),
    }
}

fn is_committed(answer: &ClientAnswer) -> bool {
    matches!(answer, ClientAnswer::Committed(_))
}

fn leader(world: &World) -> usize {
    let serving = world.serving();
    let users = serving.iter().find(|(_, p)| *p != PartitionId(1));
    users.expect("the users' partition is served").0
}

#[test]
fn full_disks_refuse_writes_by_name_answer_reads_and_recover_by_themselves() {
    let mut world = served(1);
    assert!(is_committed(&put(&mut world, 0, 1)));
    let reserve = world.disk_reserve();
    for seat in 0..NODES {
        world.set_free_space(seat, Some(reserve / 2));
    }
    let soon = world.now() + ms(100);
    world.run_to(soon).unwrap();
    let refused = put(&mut world, 0, 2);
    let ClientAnswer::Aborted(Aborted {
        reason: AbortReason::DiskFull { free, reserve, .. },
        ..
    }) = refused
    else {
        panic!("no room, and {refused:?}");
    };
    assert_eq!(
        (free, reserve),
        (world.disk_reserve() / 2, world.disk_reserve())
    );
    assert_eq!(read(&mut world, 0), Some("1".into()), "reads go on");
    for seat in 0..NODES {
        world.set_free_space(seat, None);
    }
    let soon = world.now() + ms(100);
    world.run_to(soon).unwrap();
    assert!(is_committed(&put(&mut world, 0, 3)));
    assert_eq!(read(&mut world, 0), Some("3".into()));
}

#[test]
fn a_follower_without_room_takes_nothing_and_catches_up_when_it_has_some() {
    let mut world = served(2);
    let follower = (leader(&world) + 1) % NODES;
    world.set_free_space(follower, Some(0));
    for number in 1..20 {
        let from = leader(&world);
        assert!(is_committed(&put(&mut world, from, number)));
    }
    let last = |world: &mut World, seat: usize| {
        let state = world.state().unwrap();
        let replicas = &state.statuses[seat].replicas;
        let users = replicas
            .iter()
            .find(|r| r.descriptor.partition != PartitionId(1));
        users.expect("it holds one").last
    };
    let from = leader(&world);
    let ahead = last(&mut world, from);
    assert!(last(&mut world, follower).0 + 19 <= ahead.0);
    world.set_free_space(follower, None);
    let later = world.now() + ms(2_000);
    world.run_to(later).unwrap();
    assert!(last(&mut world, follower) >= ahead);
}

/// Many writes, and a node that is damaged; then all is as before.
fn rebuilt(seed: u64, log: bool, found: Mark) {
    let mut world = served(seed);
    for number in 1..=40 {
        let from = leader(&world);
        assert!(is_committed(&put(&mut world, from, number)));
    }
    let later = world.now() + ms(3_000);
    world.run_to(later).unwrap();
    let damaged = leader(&world);
    let mut random = SplitMix64::new(seed);
    assert!(
        world.damage(damaged, log, &mut random),
        "there is something"
    );
    world.start(damaged);
    let limit = world.now() + ms(20_000);
    let other = (damaged + 1) % NODES;
    // It leads again if it can, so that reads come upon the damage.
    let mut asked = 0;
    while world.marks().count(found) == 0 && world.now() < limit {
        let to = NodeId(damaged as u32 + 1);
        for (seat, partition) in world.serving() {
            if seat != damaged {
                world.begin_transfer(seat, partition, Some(to));
            }
        }
        let later = world.now() + ms(300);
        world.run_to(later).unwrap();
        if let Some(value) = read(&mut world, other) {
            assert_eq!(value, "40", "damage is never served");
            asked += 1;
        }
    }
    assert_eq!(world.marks().count(found), 1, "after {asked} reads");
    let is_well = |world: &World| world.unwell().is_empty() && world.serving().len() == PARTITIONS;
    assert!(world.run_until(limit, is_well).unwrap(), "rebuilt");
    assert_eq!(world.marks().count(Mark::Rebuilt), 1);
    assert_eq!(read(&mut world, other), Some("40".into()));
    let later = world.now() + ms(25_000);
    world.run_to(later).unwrap();
    let state = world.state().unwrap();
    assert_eq!(check_cluster(&state), Ok(()));
}

#[test]
fn a_node_whose_log_is_damaged_does_not_start_until_it_is_rebuilt() {
    rebuilt(3, true, Mark::LogDamageFound);
}

#[test]
fn a_node_that_reads_a_damaged_table_stops_and_is_rebuilt() {
    rebuilt(4, false, Mark::TableDamageFound);
}
