//! Who leads, in whole clusters without clients: disks that stall, nodes that stand still, and leaders
//! that are spread.

use integration::simulation::{World, WorldOptions};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::{NodeId, PartitionId, Term};
use wire::message::{ClientRequest, RequestError, TransferFailure, Unfit};

const NODES: usize = 3;
const PARTITIONS: usize = 7;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A calm cluster in which every partition is served.
fn served(seed: u64, spread_every: Option<Duration>) -> World {
    served_by(NODES, seed, spread_every)
}

fn served_by(nodes: usize, seed: u64, spread_every: Option<Duration>) -> World {
    let mut options = WorldOptions::calm(seed, nodes, PARTITIONS as u8, ms(1));
    options.timing.spread_every = spread_every;
    options.timing.settle = s(1);
    let mut world = World::new(options);
    assert!(world.run_until(s(10), all_served).unwrap(), "founded");
    world
}

fn all_served(world: &World) -> bool {
    world.serving().len() == PARTITIONS
}

fn led_by(world: &World, seat: usize) -> usize {
    world.serving().iter().filter(|(s, _)| *s == seat).count()
}

fn pass(world: &mut World, time: Duration) {
    let until = world.now() + time;
    world.run_to(until).unwrap();
}

fn terms(world: &mut World) -> BTreeMap<PartitionId, Term> {
    let state = world.state().unwrap();
    let replicas = state.statuses.iter().flat_map(|status| &status.replicas);
    let mut terms = BTreeMap::new();
    for replica in replicas {
        let known: &mut Term = terms.entry(replica.descriptor.partition).or_default();
        *known = replica.term.max(*known);
    }
    terms
}

/// The id of the node at a seat.
fn node(world: &mut World, seat: usize) -> NodeId {
    world.state().unwrap().statuses[seat].node
}

#[test]
fn a_leader_whose_disk_stalls_makes_room_and_stays_out_of_the_way() {
    let mut world = served(1, None);
    let (stalled, _) = world.serving()[0];
    assert!(led_by(&world, stalled) > 0);
    world.stall_disk(stalled, s(6));
    // Its ceiling is written once a second, so the disk is found to hang within two; heartbeats go on.
    let others = |world: &World| led_by(world, stalled) == 0 && all_served(world);
    let limit = world.now() + ms(2_300);
    assert!(world.run_until(limit, others).unwrap(), "led by others");
    let before = terms(&mut world);
    for _ in 0..30 {
        pass(&mut world, ms(100));
        assert_eq!(
            led_by(&world, stalled),
            0,
            "it leads nothing while it hangs"
        );
        assert!(all_served(&world));
    }
    assert_eq!(terms(&mut world), before, "it disturbs nobody");
}

#[test]
fn a_node_short_of_disk_hands_over_what_it_leads_and_leads_when_nobody_else_can() {
    let mut world = served(5, Some(ms(300)));
    pass(&mut world, s(2));
    let (short, _) = world.serving()[0];
    let too_little = Some(world.disk_reserve() - 1);
    world.set_free_space(short, too_little);
    let others = |world: &World| led_by(world, short) == 0 && all_served(world);
    let limit = world.now() + ms(300);
    assert!(world.run_until(limit, others).unwrap(), "led by others");
    let status = &world.state().unwrap().statuses[short];
    assert_eq!(status.unfit, Some(Unfit::DiskShort));
    for _ in 0..30 {
        pass(&mut world, ms(100));
        assert!(others(&world), "nothing is given back meanwhile");
    }
    // When all are short, each leads on what it leads: reads are served.
    for seat in 0..NODES {
        world.set_free_space(seat, too_little);
    }
    pass(&mut world, s(2));
    let before = terms(&mut world);
    pass(&mut world, s(2));
    assert!(all_served(&world));
    assert_eq!(terms(&mut world), before, "nobody hands over in vain");
    // An operator may still move them, and a node that is about to stop hands them over.
    let (leader, partition) = world.serving()[0];
    let target = node(&mut world, short);
    let transfer = ClientRequest::Transfer {
        partition,
        to: Some(target),
    };
    let told = world.ask(leader, transfer, s(1)).unwrap();
    let told = told.expect("it answers").reply;
    assert!(told.is_ok(), "{told:?}");
    world.leave(short);
    let limit = world.now() + ms(500);
    assert!(world.run_until(limit, others).unwrap(), "handed over");
    world.crash(short);
    world.start(short);
    // With room again, it leads its share.
    for seat in 0..NODES {
        world.set_free_space(seat, None);
    }
    let shares = |world: &World| all_served(world) && led_by(world, short) > 0;
    let limit = world.now() + s(20);
    assert!(world.run_until(limit, shares).unwrap(), "it is given some");
}

#[test]
fn a_leader_that_stood_still_serves_nothing_and_disturbs_nobody_when_it_goes_on() {
    let mut world = served(2, None);
    let (paused, _) = world.serving()[0];
    world.pause(paused, s(5));
    pass(&mut world, ms(4_900));
    let others = world.serving().iter().filter(|(s, _)| *s != paused).count();
    assert_eq!(others, PARTITIONS, "everything is led by others meanwhile");
    pass(&mut world, ms(400));
    let before = terms(&mut world);
    assert_eq!(led_by(&world, paused), 0, "it has learned of it");
    pass(&mut world, s(3));
    assert!(all_served(&world));
    assert_eq!(terms(&mut world), before, "no further election");
}

#[test]
fn leaders_are_spread_and_then_stay_where_they_are() {
    let mut world = served(3, Some(ms(300)));
    let first = node(&mut world, 0);
    pass(&mut world, s(2));
    for (seat, partition) in world.serving() {
        if seat != 0 {
            world.begin_transfer(seat, partition, Some(first));
        }
    }
    let gathered = |world: &World| led_by(world, 0) >= PARTITIONS - 1;
    let limit = world.now() + s(1);
    assert!(
        world.run_until(limit, gathered).unwrap(),
        "one leads almost all"
    );
    let even = |world: &World| all_served(world) && (0..NODES).all(|seat| led_by(world, seat) >= 2);
    let limit = world.now() + s(10);
    assert!(
        world.run_until(limit, even).unwrap(),
        "each leads its share"
    );
    let before = terms(&mut world);
    pass(&mut world, s(20));
    assert_eq!(terms(&mut world), before, "and nothing moves any more");
}

#[test]
fn a_node_that_lost_its_data_is_given_no_leadership_before_it_holds_it_again() {
    let (nodes, absent, wiped) = (5, 3, 4);
    let mut world = served_by(nodes, 4, Some(ms(300)));
    let target = node(&mut world, wiped);
    pass(&mut world, s(2));
    // What it may have forgotten is asked of all, so it stays as it is while one is away.
    world.crash(absent);
    world.wipe(wiped);
    world.start(wiped);
    pass(&mut world, s(5));
    // Partition 1 is on all nodes. Two of the others have two of their three copies on these two nodes.
    let is_as_it_can_be = |world: &World| {
        let serving = world.serving();
        let others = serving.iter().filter(|(seat, _)| *seat != wiped);
        serving.len() == PARTITIONS - 2 && others.count() == serving.len()
    };
    assert!(is_as_it_can_be(&world), "{:?}", world.serving());
    let before = terms(&mut world);
    let partition = PartitionId(1);
    let serving = world.serving();
    let leader = serving.iter().find(|(_, led)| *led == partition);
    let (leader, _) = leader.expect("it is served");
    let transfer = ClientRequest::Transfer {
        partition,
        to: Some(target),
    };
    let told = world.ask(*leader, transfer, s(1)).unwrap();
    let why = TransferFailure::Unfit {
        target,
        why: Unfit::Rebuilding,
    };
    let error = RequestError::NotTransferred { partition, why };
    assert_eq!(told.expect("it answers").reply, Err(error));
    for _ in 0..50 {
        pass(&mut world, ms(100));
        assert!(is_as_it_can_be(&world), "{:?}", world.serving());
    }
    assert_eq!(terms(&mut world), before, "nothing is handed to it");
    world.start(absent);
    let shares = |world: &World| all_served(world) && led_by(world, wiped) > 0;
    let limit = world.now() + s(10);
    assert!(
        world.run_until(limit, shares).unwrap(),
        "then it leads its share"
    );
}
