use super::harness::*;
use crate::ReplicaEffect;
use crate::fixtures::{attempt, id, key, name};
use crate::request_waiting_list::WAITING_ON_KEY_MAX;
use clock::Timestamp;
use wire::ids::{NodeId, TransactionId};
use wire::message::{
    CommitOne, Decision, Lock, LockAll, LockLoss, LockLost, LockWait, Locked, PartitionError,
    PartitionReply, PartitionRequest, Prepare, Refusal,
};

fn lock(n: u64, timestamp: Timestamp) -> PartitionRequest {
    PartitionRequest::Lock(Lock {
        id: id(n),
        age: id(n),
        key: key("b"),
        timestamp,
        gateway: NodeId(9),
        wait: LockWait::Queue,
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
        wound: false,
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
    assert_eq!(world.take_lost().len(), 1, "its gateway is told");
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
    assert_eq!(world.take_lost().len(), 1, "its gateway is told");
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

#[test]
fn a_key_that_is_held_can_be_passed_by() {
    let mut world = World::serving();
    let at_once = |n| {
        let PartitionRequest::Lock(lock) = lock(n, at(1)) else {
            unreachable!("it is a lock");
        };
        let wait = LockWait::Refuse;
        PartitionRequest::Lock(Lock { wait, ..lock })
    };
    let free = locked(None, Timestamp::ZERO);
    assert_eq!(world.answer(at_once(1)), free);
    assert_eq!(world.answer(at_once(1)), free, "its own lock is no rival");
    let taken = |n| PartitionReply::Taken {
        key: key("b"),
        rival: id(n),
    };
    assert_eq!(world.answer(at_once(2)), taken(1));
    world.answer(unlock(id(1)));
    world.answer(PartitionRequest::Prepare(prepare(
        3,
        at(1),
        vec![put("b", "x")],
    )));
    assert_eq!(world.answer(at_once(2)), taken(3));
}

fn lock_all(n: u64, users: &[&str]) -> PartitionRequest {
    PartitionRequest::LockAll(LockAll {
        id: id(n),
        age: id(n),
        keys: keys(users),
        gateway: NodeId(9),
    })
}

#[test]
fn many_keys_are_locked_in_their_order_and_held_while_the_next_is_waited_for() {
    let mut world = World::serving();
    world.answer(lock(1, at(1)));
    let all = world.ask(lock_all(2, &["a", "b", "c"]));
    let first = world.ask(lock_all(3, &["a"]));
    let last = world.ask(lock_all(4, &["c"]));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![(last, PartitionReply::LockedAll)],
        "what lies behind the one that is waited for is free"
    );
    world.answer(PartitionRequest::Unlock {
        id: id(4),
        keys: keys(&["c"]),
    });
    world.ask(unlock(id(1)));
    world.settle();
    assert!(
        world
            .take_replies()
            .contains(&(all, PartitionReply::LockedAll))
    );
    world.ask(PartitionRequest::Unlock {
        id: id(2),
        keys: keys(&["a", "b", "c"]),
    });
    world.settle();
    assert!(
        world
            .take_replies()
            .contains(&(first, PartitionReply::LockedAll))
    );
}

#[test]
fn a_lock_is_kept_by_signs_and_its_gateway_told_when_it_lapses() {
    let mut world = World::serving();
    world.answer(lock(1, at(1)));
    let keep = |users: &[&str]| PartitionRequest::KeepLocks {
        id: id(1),
        keys: keys(users),
    };
    world.pass(4_000);
    assert_eq!(
        world.answer(keep(&["a", "b"])),
        PartitionReply::Kept { lost: keys(&["a"]) }
    );
    world.pass(4_999);
    assert_eq!(world.take_said(), vec![]);
    world.pass(1);
    let lost = LockLost {
        id: id(1),
        keys: keys(&["b"]),
        loss: LockLoss::Dropped,
    };
    let gateway = NodeId(9);
    assert_eq!(
        world.take_said(),
        vec![ReplicaEffect::LockLost { gateway, lost }]
    );
}

#[test]
fn the_gateway_of_a_wounded_lock_is_told_who_needed_it() {
    let mut world = World::serving();
    world.answer(lock(5, at(1)));
    world.ask(lock(3, at(1)));
    world.pass(100);
    let lost = LockLost {
        id: id(5),
        keys: keys(&["b"]),
        loss: LockLoss::Wounded { by: id(3) },
    };
    let gateway = NodeId(9);
    assert_eq!(
        world.take_said(),
        vec![ReplicaEffect::LockLost { gateway, lost }]
    );
}

#[test]
fn an_older_one_has_a_younger_prepared_holder_ended_and_a_younger_does_not() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Prepare(prepare(
        5,
        at(1),
        vec![put("b", "x")],
    )));
    world.ask(lock(7, at(1)));
    let wounds = |world: &mut World, ms: u64| {
        let mut found = 0;
        for _ in 0..ms / 10 {
            world.pass(10);
            for said in world.take_said() {
                match said {
                    ReplicaEffect::Push { wound, .. } => found += u64::from(wound),
                    other => panic!("{other:?}"),
                }
            }
        }
        found
    };
    assert_eq!(wounds(&mut world, 1_000), 0, "7 is younger than 5");
    world.ask(lock(3, at(1)));
    assert_eq!(wounds(&mut world, 240), 0, "a few commit times are granted");
    assert_eq!(wounds(&mut world, 600), 2, "and again, should that fail");
}

/// Writers beyond the most are refused, the youngest first; an older one takes its place.
#[test]
fn the_queue_for_a_key_is_bounded_and_the_youngest_leaves_it() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Prepare(prepare(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    let most = WAITING_ON_KEY_MAX as u64;
    let asked: Vec<_> = (0..most).map(|n| world.ask(lock(100 + n, at(1)))).collect();
    assert_eq!(world.take_replies(), vec![]);
    let crowded = || PartitionError::HotKey {
        key: key("b"),
        waiting: most as u32,
    };
    let late = world.ask(lock(100 + most, at(1)));
    assert_eq!(
        world.take_replies(),
        vec![(late, PartitionReply::Error(crowded()))]
    );
    let write = commit(9_999, at(2), vec![put("b", "y")]);
    let late = world.ask(PartitionRequest::Commit(write));
    let refusal = Refusal::HotKey {
        key: key("b"),
        waiting: most as u32,
    };
    assert_eq!(
        world.take_replies(),
        vec![(late, refused(refusal, false, Timestamp::ZERO))]
    );
    world.ask(lock(50, at(1)));
    let youngest = asked[most as usize - 1];
    assert_eq!(
        world.take_replies(),
        vec![(youngest, PartitionReply::Error(crowded()))]
    );
}
