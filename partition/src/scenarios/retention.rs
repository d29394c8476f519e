//! What becomes unreadable, and what is removed then.

use super::harness::*;
use crate::fixtures::{id, key};
use clock::Timestamp;
use std::time::Duration;
use wire::message::{
    CommitOne, Lock, LockWait, Operation, OperationKind, PartitionError, PartitionReply,
    PartitionRequest, Refresh,
};

const RETENTION: Duration = Duration::from_secs(60);

fn delete(user: &str) -> Operation {
    Operation {
        key: key(user),
        kind: OperationKind::Delete,
    }
}

/// Seconds pass, five at a time, while the promise holds and the disk keeps up.
fn later(world: &mut World, seconds: u64) {
    for _ in 0..seconds / 5 {
        let now = world.now.physical.as_millis() as u64;
        world.promise_by(ME, now + 5_500);
        world.pass(5_000);
        world.settle();
    }
}

fn write(world: &mut World, n: u64, operation: Operation) -> Timestamp {
    let request = PartitionRequest::Commit(commit(n, at(1), vec![operation]));
    match world.answer(request) {
        PartitionReply::Committed { at, .. } => at,
        other => panic!("it is committed, not {other:?}"),
    }
}

fn below(timestamp: Timestamp, horizon: Timestamp) -> PartitionReply {
    PartitionReply::Error(PartitionError::BelowHorizon { timestamp, horizon })
}

#[test]
fn below_the_horizon_nothing_is_answered_and_at_it_everything_is() {
    let mut world = World::serving();
    world.replica.set_retention(RETENTION);
    let old = write(&mut world, 1, put("b", "x"));
    write(&mut world, 2, delete("b"));
    let kept = write(&mut world, 3, put("c", "y"));
    later(&mut world, 100);
    let horizon = world.replica.horizon();
    assert!(horizon > kept && horizon <= world.replica.state.closed());

    let reply = world.answer(get(old, "b"));
    assert_eq!(reply, below(old, horizon));
    let lock = PartitionRequest::Lock(Lock {
        id: id(4),
        age: id(4),
        gateway: wire::ids::NodeId(9),
        timestamp: old,
        key: key("b"),
        wait: LockWait::Queue,
    });
    assert_eq!(world.answer(lock), below(old, horizon));
    let checked = CommitOne {
        reads: vec![point("b")],
        ..commit(5, old, vec![put("d", "z")])
    };
    let reply = world.answer(PartitionRequest::Commit(checked));
    assert_eq!(reply, below(old, horizon));
    let refresh = PartitionRequest::Refresh(Refresh {
        reader: id(6),
        from: old,
        to: horizon,
        reads: vec![point("b")],
    });
    assert_eq!(world.answer(refresh), below(old, horizon));

    let reply = world.answer(get(horizon, "c"));
    assert_eq!(reply, value(Some(version(kept, "y")), kept));
    // What writes blindly is placed above what is closed, whatever its snapshot.
    assert!(write(&mut world, 7, put("b", "again")) > horizon);
}

#[test]
fn a_tombstone_below_the_horizon_is_swept_with_all_that_it_hides() {
    let mut world = World::serving();
    world.replica.set_retention(RETENTION);
    write(&mut world, 1, put("b", "x"));
    write(&mut world, 2, put("b", "y"));
    write(&mut world, 3, delete("b"));
    let kept = write(&mut world, 4, put("b", "z"));
    write(&mut world, 5, delete("c"));
    later(&mut world, 30);
    assert_eq!(
        world.store.versions(1).count(),
        5,
        "the horizon is not there yet"
    );
    later(&mut world, 70);
    let left: Vec<_> = world.store.versions(1).collect();
    let left: Vec<_> = left
        .into_iter()
        .map(|row| (row.key, row.timestamp))
        .collect();
    assert_eq!(left, [(key("b"), kept)]);
    let last = world.last();
    later(&mut world, 100);
    assert_eq!(world.last(), last, "then there is nothing more to say");
}

#[test]
fn more_tombstones_than_one_entry_takes_are_swept_one_entry_after_another() {
    let mut world = World::serving();
    world.replica.set_retention(RETENTION);
    let number = 2 * crate::collection::TOMBSTONES_SWEPT_MAX + 7;
    for n in 0..number as u64 {
        write(&mut world, n + 1, delete(&format!("b{n}")));
    }
    later(&mut world, 55);
    assert_eq!(world.store.versions(1).count(), number);
    let before = world.last().0;
    later(&mut world, 15);
    // Each round of the disk brings the next, without waiting for the next look.
    for _ in 0..6 {
        world.pass(10);
        world.settle();
    }
    assert_eq!(world.store.versions(1).count(), 0);
    assert!(world.last().0 >= before + 3);
}

#[test]
fn without_knowing_the_retention_nothing_is_removed() {
    let mut world = World::serving();
    write(&mut world, 1, put("b", "x"));
    write(&mut world, 2, delete("b"));
    later(&mut world, 200);
    assert_eq!(world.replica.horizon(), Timestamp::ZERO);
    assert_eq!(world.store.versions(1).count(), 2);
}

/// Begins anew as a leader whose recent writes are empty, so that reads ask the store.
fn restart(world: &mut World) {
    world.persist();
    world.restart();
    world.pass(3_000);
    world.sync();
    let now = world.now.physical.as_millis() as u64;
    world.promise_by(ME, now + 500);
    world.settle();
    world.take_said();
}

#[test]
fn the_horizon_survives_a_restart_and_never_falls() {
    let mut world = World::serving();
    world.replica.set_retention(RETENTION);
    let old = write(&mut world, 1, put("b", "x"));
    later(&mut world, 100);
    let horizon = world.replica.horizon();
    assert!(horizon > old);
    restart(&mut world);
    assert_eq!(world.replica.horizon(), horizon);
    world.replica.set_retention(10 * RETENTION);
    write(&mut world, 2, put("b", "y"));
    later(&mut world, 100);
    assert_eq!(world.replica.horizon(), horizon);
    assert_eq!(world.answer(get(old, "b")), below(old, horizon));
}

#[test]
fn a_read_that_the_horizon_overtakes_while_the_store_is_asked_is_refused() {
    let mut world = World::serving();
    let old = write(&mut world, 1, put("b", "x"));
    later(&mut world, 100);
    restart(&mut world);
    let number = world.ask(get(old, "b"));
    world.replica.set_retention(RETENTION);
    let now = world.now.physical.as_millis() as u64;
    world.promise_by(ME, now + 6_500);
    world.pass(6_000);
    world.sync();
    let horizon = world.replica.horizon();
    assert!(horizon > old, "raised while the store was asked");
    world.settle();
    assert_eq!(world.take_replies(), vec![(number, below(old, horizon))]);
}
