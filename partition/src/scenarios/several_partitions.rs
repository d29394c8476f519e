use super::harness::*;
use crate::fixtures::{attempt, attempt_of, id, key, name};
use clock::Timestamp;
use wire::message::{
    Checked, Condition, Decision, PartitionReply, PartitionRequest, Prepare, Prepared,
    RecordAnswer, RecordChange, RecordState, Refusal,
};

fn ask_prepare(world: &mut World, prepare: Prepare) -> PartitionReply {
    world.answer(PartitionRequest::Prepare(prepare))
}

fn staged(n: u64, number: u32, limit: Timestamp) -> Prepare {
    Prepare {
        attempt: attempt(number),
        staging: Some((limit, keys(&["a", "z"]))),
        ..prepare(n, at(1), vec![put("a", "x")])
    }
}

fn record(state: RecordState, keys: Vec<wire::keys::Key>, changed: bool) -> PartitionReply {
    PartitionReply::Record(RecordAnswer {
        state,
        keys,
        changed,
    })
}

fn stale() -> PartitionReply {
    refused(Refusal::StaleAttempt, false, Timestamp::ZERO)
}

#[test]
fn a_share_is_prepared_and_resolved_at_a_higher_timestamp() {
    let mut world = World::serving();
    let share = prepare(1, at(2), vec![put("b", "x")]);
    assert_eq!(ask_prepare(&mut world, share), prepared(at(2), attempt(1)));
    assert_eq!(world.replica.status().locks, 1);
    let done = world.answer(resolve(1, attempt(1), Decision::Committed(at(7))));
    assert_eq!(done, PartitionReply::Done);
    assert_eq!(world.replica.status().locks, 0);
    assert_eq!(world.answer(get(at(6), "b")), value(None, Timestamp::ZERO));
    assert_eq!(
        world.answer(get(at(7), "b")),
        value(Some(version(at(7), "x")), at(7))
    );
    // Said again, it changes nothing and needs no entry.
    let last = world.last();
    assert_eq!(
        world.answer(resolve(1, attempt(1), Decision::Committed(at(7)))),
        PartitionReply::Done
    );
    assert_eq!(world.last(), last);
}

#[test]
fn an_aborted_share_leaves_no_version_and_refuses_a_late_prepare() {
    let mut world = World::serving();
    let share = prepare(1, at(2), vec![put("b", "x")]);
    ask_prepare(&mut world, share.clone());
    world.answer(resolve(1, attempt(1), Decision::Aborted));
    assert_eq!(world.answer(get(at(9), "b")), value(None, Timestamp::ZERO));
    assert_eq!(ask_prepare(&mut world, share), stale());
}

#[test]
fn an_end_that_overtakes_its_prepare_refuses_it() {
    let mut world = World::serving();
    world.answer(resolve(1, attempt(1), Decision::Aborted));
    let share = prepare(1, at(2), vec![put("b", "x")]);
    assert_eq!(ask_prepare(&mut world, share), stale());
}

#[test]
fn the_same_attempt_again_is_told_what_was_stored() {
    let mut world = World::serving();
    let share = prepare(1, at(2), vec![add("b", 1)]);
    let stored = PartitionReply::Prepared(Prepared {
        timestamp: at(2),
        attempt: attempt(1),
        limit: None,
        results: vec![Some("1".into())],
    });
    let one = world.ask(PartitionRequest::Prepare(share.clone()));
    world.work();
    let two = world.ask(PartitionRequest::Prepare(share.clone()));
    assert_eq!(
        world.take_replies(),
        vec![],
        "not before its entry is committed"
    );
    world.settle();
    let last = world.last();
    assert_eq!(
        world.take_replies(),
        vec![(one, stored.clone()), (two, stored.clone())]
    );
    // Not evaluated anew, whatever was read since.
    world.answer(get(at(1), "b"));
    assert_eq!(ask_prepare(&mut world, share), stored);
    assert_eq!(world.last(), last);
}

#[test]
fn the_same_number_of_another_coordinator_is_refused() {
    let mut world = World::serving();
    let share = prepare(1, at(2), vec![put("b", "x")]);
    ask_prepare(&mut world, share.clone());
    let other = Prepare {
        attempt: attempt_of(1, 2),
        ..share.clone()
    };
    let found = PartitionReply::OtherCoordinator {
        attempt: attempt(1),
    };
    assert_eq!(ask_prepare(&mut world, other), found);
    let mut renamed = share;
    renamed.name.anchor = key("c");
    assert_eq!(
        ask_prepare(&mut world, renamed),
        refused(Refusal::OtherIdentity, false, Timestamp::ZERO)
    );
}

#[test]
fn a_later_attempt_replaces_what_the_earlier_one_locked() {
    let mut world = World::serving();
    ask_prepare(
        &mut world,
        prepare(1, at(2), vec![put("b", "x"), put("c", "x")]),
    );
    let waits = world.ask(get(at(5), "c"));
    let later = Prepare {
        attempt: attempt(2),
        ..prepare(1, at(4), vec![put("b", "y")])
    };
    let number = world.ask(PartitionRequest::Prepare(later));
    world.settle();
    let mut replies = world.take_replies();
    replies.sort_by_key(|(number, _)| *number);
    assert_eq!(
        replies,
        vec![
            (waits, value(None, Timestamp::ZERO)),
            (number, prepared(at(4), attempt(2))),
        ]
    );
    assert_eq!(world.replica.status().locks, 1);
    let earlier = prepare(1, at(2), vec![put("b", "x")]);
    assert_eq!(ask_prepare(&mut world, earlier), stale());
}

#[test]
fn what_is_not_prepared_is_refused_for_good() {
    let mut world = World::serving();
    let refused = PartitionReply::Checked(Checked::Refused);
    assert_eq!(world.answer(check(1, attempt(1), &["b"])), refused);
    let share = prepare(1, at(2), vec![put("b", "x")]);
    assert_eq!(ask_prepare(&mut world, share.clone()), stale());
    let later = Prepare {
        attempt: attempt(2),
        ..share
    };
    assert_eq!(ask_prepare(&mut world, later), prepared(at(2), attempt(2)));
    let last = world.last();
    let found = PartitionReply::Checked(Checked::Prepared(at(2)));
    assert_eq!(world.answer(check(1, attempt(2), &["b"])), found);
    // An earlier attempt than the one that is prepared is dead: the log says so already.
    assert_eq!(world.answer(check(1, attempt(1), &["b"])), refused);
    assert_eq!(world.last(), last);
    world.answer(resolve(1, attempt(2), Decision::Committed(at(3))));
    let ended = PartitionReply::Checked(Checked::Ended(Decision::Committed(at(3))));
    assert_eq!(world.answer(check(1, attempt(2), &["b"])), ended);
}

#[test]
fn a_refusal_reaches_a_prepare_that_waits_in_a_queue() {
    let mut world = World::serving();
    ask_prepare(&mut world, prepare(1, at(2), vec![put("b", "x")]));
    let waits = world.ask(PartitionRequest::Prepare(prepare(
        2,
        at(3),
        vec![put("b", "y")],
    )));
    let asked = world.ask(check(2, attempt(1), &["b"]));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![
            (asked, PartitionReply::Checked(Checked::Refused)),
            (waits, stale())
        ]
    );
}

#[test]
fn keys_that_are_guarded_or_read_are_locked_and_do_not_change_up_to_the_commit() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Commit(commit(
        9,
        at(1),
        vec![put("c", "1")],
    )));
    let mut share = prepare(1, at(2), vec![put("b", "x")]);
    share.guards = vec![guard("c", Condition::AtLeast(1))];
    share.locked_reads = keys(&["d"]);
    assert_eq!(ask_prepare(&mut world, share), prepared(at(2), attempt(1)));
    assert_eq!(world.replica.status().locks, 3);
    world.answer(resolve(1, attempt(1), Decision::Committed(at(8))));
    for (n, user) in [(2, "c"), (3, "d")] {
        let write = commit(n, at(3), vec![put(user, "2")]);
        assert_eq!(
            world.answer(PartitionRequest::Commit(write)),
            committed(at(8).next(), vec![None])
        );
    }
}

#[test]
fn a_locked_read_that_has_changed_is_refused() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Commit(commit(
        9,
        at(5),
        vec![put("d", "1")],
    )));
    let mut share = prepare(1, at(4), vec![put("b", "x")]);
    share.locked_reads = keys(&["d"]);
    assert_eq!(
        ask_prepare(&mut world, share.clone()),
        refused(changed("d", at(5)), false, at(5))
    );
    share.timestamp = at(5);
    assert_eq!(
        ask_prepare(&mut world, share),
        prepared(at(5).next(), attempt(1))
    );
}

#[test]
fn an_operation_is_never_evaluated_on_a_provisional_version() {
    let mut world = World::serving();
    ask_prepare(&mut world, prepare(1, at(2), vec![put("b", "5")]));
    let number = world.ask(PartitionRequest::Commit(commit(
        2,
        at(3),
        vec![add("b", 1)],
    )));
    world.settle();
    assert_eq!(world.take_replies(), vec![]);
    let ended = world.ask(resolve(1, attempt(1), Decision::Aborted));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![
            (ended, PartitionReply::Done),
            (number, committed(at(3), vec![Some("1".into())])),
        ]
    );
}

#[test]
fn the_record_is_staged_with_the_anchors_share_and_raised_by_compare_and_set() {
    let mut world = World::serving();
    let share = staged(1, 1, at(1));
    let stored = |limit| {
        PartitionReply::Prepared(Prepared {
            timestamp: at(1),
            attempt: attempt(1),
            limit: Some(limit),
            results: vec![None],
        })
    };
    let staging = |limit| RecordState::Staging {
        attempt: attempt(1),
        limit,
    };
    let both = || keys(&["a", "z"]);
    assert_eq!(ask_prepare(&mut world, share.clone()), stored(at(1)));
    let raise = |to| RecordChange::RaiseLimit { to };
    assert_eq!(
        world.answer(change(1, staging(at(1)), raise(at(4)))),
        record(staging(at(4)), both(), true)
    );
    // The whole value is compared: another limit is another record.
    let commit_on_old = change(1, staging(at(1)), RecordChange::Commit { at: at(1) });
    assert_eq!(
        world.answer(commit_on_old),
        record(staging(at(4)), both(), false)
    );
    // Sent again, it counts as made; the share again tells the limit as stored.
    assert_eq!(
        world.answer(change(1, staging(at(1)), raise(at(4)))),
        record(staging(at(4)), both(), true)
    );
    assert_eq!(ask_prepare(&mut world, share), stored(at(4)));
    assert_eq!(
        world.answer(change(1, staging(at(4)), raise(at(3)))),
        record(staging(at(4)), both(), false),
        "only upwards"
    );
    let done = RecordState::Committed { at: at(4) };
    assert_eq!(
        world.answer(change(
            1,
            staging(at(4)),
            RecordChange::Commit { at: at(4) }
        )),
        record(done, both(), true)
    );
    assert_eq!(
        world.answer(change(1, staging(at(4)), RecordChange::Close)),
        record(done, both(), false)
    );
    world.answer(PartitionRequest::ForgetRecord { name: name(1) });
    assert_eq!(
        world.answer(change(1, done, RecordChange::None)),
        record(done, vec![], false),
        "the outcome stays"
    );
}

#[test]
fn the_next_attempt_is_staged_only_when_the_one_before_is_aborted_in_the_log() {
    let mut world = World::serving();
    ask_prepare(&mut world, staged(1, 1, at(1)));
    let found = PartitionReply::OtherCoordinator {
        attempt: attempt(1),
    };
    assert_eq!(ask_prepare(&mut world, staged(1, 2, at(1))), found);
    let staging = RecordState::Staging {
        attempt: attempt(1),
        limit: at(1),
    };
    let abort = RecordChange::Abort {
        attempt: attempt(1),
    };
    world.answer(change(1, staging, abort));
    assert_eq!(ask_prepare(&mut world, staged(1, 1, at(1))), stale());
    let reply = ask_prepare(&mut world, staged(1, 2, at(3)));
    assert!(matches!(reply, PartitionReply::Prepared(p) if p.limit == Some(at(3))));
}

#[test]
fn an_attempt_that_was_aborted_before_it_came_is_refused() {
    let mut world = World::serving();
    let abort = RecordChange::Abort {
        attempt: attempt(1),
    };
    let dead = RecordState::Aborted {
        attempt: attempt(1),
    };
    assert_eq!(
        world.answer(change(1, RecordState::Missing, abort)),
        record(dead, vec![], true)
    );
    assert_eq!(ask_prepare(&mut world, staged(1, 1, at(1))), stale());
    world.answer(change(1, dead, RecordChange::Close));
    assert_eq!(
        ask_prepare(&mut world, staged(1, 2, at(1))),
        refused(Refusal::Closed, false, Timestamp::ZERO)
    );
}

#[test]
fn an_attempt_that_has_expired_is_refused() {
    let mut world = World::serving();
    let mut share = prepare(1, at(2), vec![put("b", "x")]);
    share.name.expires = at(2);
    assert_eq!(
        ask_prepare(&mut world, share),
        refused(Refusal::Expired, false, Timestamp::ZERO)
    );
}

#[test]
fn ones_own_prepared_locks_do_not_block() {
    let mut world = World::serving();
    ask_prepare(&mut world, prepare(1, at(2), vec![put("b", "x")]));
    let mut read = wire::message::Read {
        reader: Some(id(1)),
        timestamp: at(5),
        requests: vec![wire::message::ReadRequest::Get { key: key("b") }],
    };
    let reply = world.answer(PartitionRequest::Read(read.clone()));
    assert_eq!(reply, value(None, Timestamp::ZERO));
    read.reader = Some(id(2));
    world.ask(PartitionRequest::Read(read));
    world.settle();
    assert_eq!(world.take_replies(), vec![]);
}

#[test]
fn the_end_of_another_coordinators_attempt_of_the_same_number_leaves_a_share_alone() {
    let mut world = World::serving();
    ask_prepare(&mut world, prepare(1, at(2), vec![put("b", "x")]));
    let last = world.last();
    let other = resolve(1, attempt_of(1, 2), Decision::Aborted);
    assert_eq!(world.answer(other), PartitionReply::Done);
    assert_eq!(world.last(), last);
    let checked = world.answer(check(1, attempt(1), &["b"]));
    assert_eq!(checked, PartitionReply::Checked(Checked::Prepared(at(2))));
}
