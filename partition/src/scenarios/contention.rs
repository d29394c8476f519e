use super::harness::*;
use crate::ReplicaEffect;
use crate::fixtures::{attempt, id, key, name};
use clock::Timestamp;
use wire::ids::{NodeId, TransactionId};
use wire::message::{
    CommitOne, Decision, Lock, Locked, PartitionReply, PartitionRequest, Prepare, Refusal,
};

fn lock(n: u64, timestamp: Timestamp) -> PartitionRequest {
    PartitionRequest::Lock(Lock {
        id: id(n),
        age: id(n),
        key: key("b"),
        timestamp,
        gateway: NodeId(9),
    })
}

fn unlock(id: TransactionId) -> PartitionRequest {
    PartitionRequest::Unlock {
        id,
        keys: keys(&["b"]),
    }
}

fn locked(value: Option<wire::message::VersionedValue>, newest: Timestamp) -> PartitionReply {
    PartitionReply::Locked(Locked { value, newest })
}

#[test]
fn writers_queue_by_age_and_the_oldest_goes_first() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Prepare(prepare(
        9,
        at(1),
        vec![put("b", "x")],
    )));
    let later = |n| {
        PartitionRequest::Prepare(Prepare {
            attempt: attempt(2),
            ..prepare(n, at(2), vec![put("b", "y")])
        })
    };
    let younger = world.ask(later(5));
    let older = world.ask(later(3));
    let ended = world.ask(resolve(9, attempt(1), Decision::Aborted));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![
            (ended, PartitionReply::Done),
            (older, prepared(at(2), attempt(2)))
        ]
    );
    world.ask(resolve(3, attempt(2), Decision::Aborted));
    world.settle();
    assert!(
        world
            .take_replies()
            .contains(&(younger, prepared(at(2), attempt(2))))
    );
}

#[test]
fn a_lock_that_is_waited_for_is_pushed_after_a_while_and_again() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Prepare(prepare(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    world.ask(get(at(5), "b"));
    world.ask(get(at(6), "b"));
    let push = ReplicaEffect::Push {
        key: key("b"),
        holder: name(1),
        attempt: attempt(1),
    };
    let mut pushes = vec![];
    for n in 0..75 {
        world.pass(10);
        for said in world.take_said() {
            assert_eq!(said, push);
            pushes.push(n * 10);
        }
    }
    assert_eq!(pushes, vec![100, 600], "once for all who wait");
}

#[test]
fn a_first_attempt_waits_shortly_and_is_refused_as_contended() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Prepare(prepare(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    let one = world.ask(PartitionRequest::Commit(commit(
        2,
        at(2),
        vec![put("b", "y")],
    )));
    let closed = world.ask(PartitionRequest::Commit(CommitOne {
        resent: true,
        ..commit(3, at(2), vec![put("b", "y")])
    }));
    world.pass(39);
    world.settle();
    assert_eq!(world.take_replies(), vec![]);
    world.pass(1);
    world.settle();
    let refusal = || Refusal::Contention {
        key: key("b"),
        rival: id(1),
    };
    assert_eq!(
        world.take_replies(),
        vec![
            (one, refused(refusal(), false, Timestamp::ZERO)),
            (closed, refused(refusal(), true, Timestamp::ZERO)),
        ]
    );
}

#[test]
fn a_lock_for_update_is_handed_on_when_it_is_given_back() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Commit(commit(
        9,
        at(5),
        vec![put("b", "x")],
    )));
    assert_eq!(
        world.answer(lock(1, at(1))),
        locked(Some(version(at(5), "x")), at(5))
    );
    let waits = world.ask(lock(2, at(6)));
    assert_eq!(world.take_replies(), vec![]);
    assert!(
        matches!(world.answer(get(at(7), "b")), PartitionReply::Read(_)),
        "reads ignore it"
    );
    let given = world.ask(unlock(id(1)));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![
            (given, PartitionReply::Unlocked),
            (waits, locked(Some(version(at(5), "x")), at(5))),
        ]
    );
}

#[test]
fn a_lock_for_update_goes_with_the_commit_of_its_holder() {
    let mut world = World::serving();
    world.answer(lock(1, at(1)));
    let waits = world.ask(lock(2, at(1)));
    let mine = world.ask(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![
            (mine, committed(at(1), vec![None])),
            (waits, locked(Some(version(at(1), "x")), at(1))),
        ]
    );
}

#[test]
fn a_lock_for_update_ends_when_nobody_touches_it() {
    let mut world = World::serving();
    world.answer(lock(1, at(1)));
    let waits = world.ask(lock(2, at(1)));
    world.pass(4_999);
    assert_eq!(world.take_replies(), vec![]);
    world.pass(1);
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![(waits, locked(None, Timestamp::ZERO))]
    );
}

#[test]
fn what_was_read_under_a_lock_is_not_overwritten_below() {
    let mut world = World::serving();
    world.answer(lock(1, at(8)));
    world.answer(unlock(id(1)));
    let write = commit(2, at(3), vec![put("b", "y")]);
    assert_eq!(
        world.answer(PartitionRequest::Commit(write)),
        committed(at(8).next(), vec![None])
    );
}

#[test]
fn an_older_one_takes_a_lock_for_update_from_a_younger_after_a_while() {
    let mut world = World::serving();
    world.answer(lock(5, at(1)));
    let younger = world.ask(lock(7, at(1)));
    let older = world.ask(lock(3, at(1)));
    world.pass(99);
    world.settle();
    assert_eq!(world.take_replies(), vec![]);
    world.pass(1);
    world.settle();
    let free = locked(None, Timestamp::ZERO);
    assert_eq!(world.take_replies(), vec![(older, free.clone())]);
    // The one that lost it finds it taken; the youngest still waits behind the oldest.
    world.pass(1_000);
    assert_eq!(world.take_replies(), vec![]);
    let given = world.ask(unlock(id(3)));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![(given, PartitionReply::Unlocked), (younger, free)]
    );
}
