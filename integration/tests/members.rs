//! Members of a partition change in whole clusters without clients: replicas begin on nodes that had none, and
//! those that are members no more go.

use integration::simulation::{World, WorldOptions};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::ids::{NodeId, PartitionId};

const NODES: usize = 6;
const PARTITIONS: usize = 4;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A calm cluster of more nodes than a partition has replicas, in which every partition is served.
fn served(seed: u64) -> World {
    let one_way = Duration::from_millis(1);
    let mut options = WorldOptions::calm(seed, NODES, PARTITIONS as u8, one_way);
    options.timing.spread_every = None;
    let mut world = World::new(options);
    let all_served = |world: &World| world.serving().len() == PARTITIONS;
    assert!(world.run_until(s(10), all_served).unwrap(), "founded");
    world
}

/// The seats that hold a replica of a partition.
fn holders(world: &mut World, partition: PartitionId) -> BTreeSet<NodeId> {
    let statuses = world.state().unwrap().statuses.into_iter();
    let holds = |status: &wire::message::NodeStatus| {
        let mut replicas = status.replicas.iter();
        replicas.any(|replica| replica.descriptor.partition == partition)
    };
    let holders = statuses.filter(holds);
    holders.map(|status| status.node).collect()
}

fn leader(world: &World, partition: PartitionId) -> usize {
    let serving = world.serving();
    let leader = serving.iter().find(|(_, p)| *p == partition);
    leader.expect("it is served").0
}

#[track_caller]
fn change(world: &mut World, partition: PartitionId, voters: &BTreeSet<NodeId>) {
    world.change_members(partition, voters.clone());
    let limit = world.now() + s(20);
    let is_done = |world: &World| world.wanted_members() == 0;
    assert!(world.run_until(limit, is_done).unwrap(), "it comes about");
}

fn all() -> BTreeSet<NodeId> {
    (1..=NODES as u32).map(NodeId).collect()
}

/// A partition of the users', and who holds it.
fn some_partition(world: &mut World) -> (PartitionId, BTreeSet<NodeId>) {
    let partition = PartitionId(2);
    let members = holders(world, partition);
    assert_eq!(members.len(), 3);
    (partition, members)
}

fn is_settled(world: &mut World, partition: PartitionId, voters: &BTreeSet<NodeId>) {
    let limit = world.now() + s(5);
    while holders(world, partition) != *voters && world.now() < limit {
        let next = world.now() + Duration::from_millis(100);
        world.run_to(next).unwrap();
    }
    assert_eq!(holders(world, partition), *voters, "nobody else holds it");
    assert_eq!(world.serving().len(), PARTITIONS, "and it is served");
}

/// A member that does not lead loses power: its seat and its id.
fn crash_a_follower(
    world: &mut World,
    partition: PartitionId,
    members: &BTreeSet<NodeId>,
) -> (usize, NodeId) {
    let seat = leader(world, partition);
    let statuses = world.state().unwrap().statuses;
    let away = (0..NODES).find(|s| *s != seat && members.contains(&statuses[*s].node));
    let away = away.expect("another member");
    world.crash(away);
    (away, statuses[away].node)
}

#[test]
fn a_replica_moves_to_a_node_that_had_none() {
    let mut world = served(1);
    let (partition, members) = some_partition(&mut world);
    let spare = *all().difference(&members).next().expect("a spare node");
    let mut voters = members;
    voters.pop_first();
    voters.insert(spare);
    change(&mut world, partition, &voters);
    is_settled(&mut world, partition, &voters);
}

#[test]
fn all_members_are_replaced_and_come_back() {
    let mut world = served(2);
    let (partition, members) = some_partition(&mut world);
    let others: BTreeSet<NodeId> = all().difference(&members).copied().collect();
    for voters in [&others, &members, &others] {
        change(&mut world, partition, voters);
        is_settled(&mut world, partition, voters);
    }
}

#[test]
fn the_partition_that_describes_the_cluster_moves_like_any_other() {
    let mut world = served(3);
    let core = PartitionId(1);
    let members = holders(&mut world, core);
    let voters: BTreeSet<NodeId> = all().difference(&members).copied().collect();
    let voters = match voters.is_empty() {
        true => members.iter().copied().take(1).collect(),
        false => voters,
    };
    change(&mut world, core, &voters);
    is_settled(&mut world, core, &voters);
}

#[test]
fn a_leader_that_dies_with_a_change_half_made_leaves_it_to_the_next() {
    let mut world = served(4);
    let (partition, members) = some_partition(&mut world);
    let others: BTreeSet<NodeId> = all().difference(&members).copied().collect();
    let voters: BTreeSet<NodeId> = members.iter().take(1).chain(&others).copied().collect();
    world.change_members(partition, voters.clone());
    let seat = leader(&world, partition);
    let is_joint = |world: &World| {
        let configuration = world.configuration(seat, partition);
        configuration.is_some_and(|configuration| configuration.is_joint())
    };
    let limit = world.now() + s(10);
    assert!(world.run_until(limit, is_joint).unwrap(), "half made");
    world.crash(seat);
    let next = world.now() + s(2);
    world.run_to(next).unwrap();
    world.start(seat);
    let limit = world.now() + s(20);
    let is_done = |world: &World| world.wanted_members() == 0;
    assert!(world.run_until(limit, is_done).unwrap(), "it comes about");
    is_settled(&mut world, partition, &voters);
}

#[test]
fn a_member_that_was_away_when_it_was_removed_hears_of_it_and_disturbs_nobody() {
    let mut world = served(5);
    let (partition, members) = some_partition(&mut world);
    let (away, gone) = crash_a_follower(&mut world, partition, &members);
    let voters: BTreeSet<NodeId> = members.into_iter().filter(|m| *m != gone).collect();
    change(&mut world, partition, &voters);
    let term = |world: &mut World| {
        let statuses = world.state().unwrap().statuses;
        let replicas = statuses.iter().flat_map(|status| &status.replicas);
        let of = replicas.filter(|r| r.descriptor.partition == partition);
        of.map(|replica| replica.term).max()
    };
    let before = term(&mut world);
    world.start(away);
    is_settled(&mut world, partition, &voters);
    assert_eq!(term(&mut world), before, "no election came of it");
}

#[test]
fn a_member_that_missed_its_removal_and_is_named_anew_comes_back() {
    let mut world = served(6);
    let (partition, members) = some_partition(&mut world);
    let (away, gone) = crash_a_follower(&mut world, partition, &members);
    let rest: BTreeSet<NodeId> = members.iter().copied().filter(|m| *m != gone).collect();
    change(&mut world, partition, &rest);
    world.change_members(partition, members.clone());
    world.start(away);
    let limit = world.now() + s(20);
    let is_done = |world: &World| world.wanted_members() == 0;
    assert!(world.run_until(limit, is_done).unwrap(), "it comes about");
    is_settled(&mut world, partition, &members);
}

#[test]
fn founders_that_all_lose_their_disks_do_not_found_a_partition_again_that_lives_elsewhere() {
    let mut world = served(7);
    let (partition, founders) = some_partition(&mut world);
    let others: BTreeSet<NodeId> = all().difference(&founders).copied().collect();
    change(&mut world, partition, &others);
    is_settled(&mut world, partition, &others);
    // The other partitions move as well: nobody could give them back.
    for number in (1..=PARTITIONS as u32).filter(|number| *number != partition.0) {
        change(&mut world, PartitionId(number), &others);
    }
    let statuses = world.state().unwrap().statuses;
    let of_founders = |seat: &usize| founders.contains(&statuses[*seat].node);
    let seats: Vec<usize> = (0..NODES).filter(of_founders).collect();
    for seat in &seats {
        world.wipe(*seat);
    }
    for seat in seats {
        world.start(seat);
    }
    let limit = world.now() + s(10);
    world.run_to(limit).unwrap();
    is_settled(&mut world, partition, &others);
}

#[test]
fn a_member_that_is_gone_for_good_is_replaced_by_a_node_whose_disk_is_new() {
    let mut world = served(8);
    let (partition, members) = some_partition(&mut world);
    let spare = *all().difference(&members).next().expect("a spare node");
    let statuses = world.state().unwrap().statuses;
    let seat = (0..NODES).find(|seat| statuses[*seat].node == spare);
    let seat = seat.expect("it is up");
    let (_, gone) = crash_a_follower(&mut world, partition, &members);
    world.wipe(seat);
    world.start(seat);
    let mut voters: BTreeSet<NodeId> = members.into_iter().filter(|m| *m != gone).collect();
    voters.insert(spare);
    change(&mut world, partition, &voters);
    is_settled(&mut world, partition, &voters);
}
