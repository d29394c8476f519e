use super::harness::*;
use crate::fixtures::{attempt, id, key, range, ts};
use clock::Timestamp;
use wire::ids::Generation;
use wire::keys::VALUE_BYTES_MAX;
use wire::message::{
    Change, Condition, Decision, Operation, OperationKind, PartitionError, PartitionReply,
    PartitionRequest, Read, ReadRequest, ReadResult, Refresh, Refusal, Rival, Row,
};

#[test]
fn a_value_is_read_as_of_a_timestamp() {
    let mut world = World::serving();
    let first = commit(1, at(1), vec![put("b", "old")]);
    assert_eq!(
        world.answer(PartitionRequest::Commit(first)),
        committed(at(1), vec![None])
    );
    let second = commit(2, at(5), vec![put("b", "new")]);
    world.answer(PartitionRequest::Commit(second));
    assert_eq!(
        world.answer(get(at(4), "b")),
        value(Some(version(at(1), "old")), at(1))
    );
    assert_eq!(
        world.answer(get(at(5), "b")),
        value(Some(version(at(5), "new")), at(5))
    );
    assert_eq!(world.answer(get(at(0), "b")), value(None, Timestamp::ZERO));
}

#[test]
fn an_absence_that_is_a_tombstone_depends_on_it() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    let delete = Operation {
        key: key("b"),
        kind: OperationKind::Delete,
    };
    world.answer(PartitionRequest::Commit(commit(2, at(2), vec![delete])));
    assert_eq!(world.answer(get(at(3), "b")), value(None, at(2)));
}

#[test]
fn a_timestamp_above_the_promise_waits_and_one_far_ahead_is_refused() {
    let mut world = World::serving();
    world.pass(50);
    let number = world.ask(get(at(501), "b"));
    assert_eq!(world.take_replies(), vec![]);
    world.pass(50);
    world.promise_by(ME, START_MS + 600);
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![(number, value(None, Timestamp::ZERO))]
    );

    let refused = PartitionReply::Error(PartitionError::TooFarAhead {
        timestamp: at(601),
        latest: at(100),
    });
    assert_eq!(world.answer(get(at(601), "b")), refused);
    // It was refused before anything was touched: the cache is as it was.
    let write = commit(1, at(502), vec![put("b", "x")]);
    assert_eq!(
        world.answer(PartitionRequest::Commit(write)),
        committed(at(502), vec![None])
    );
}

#[test]
fn a_read_waits_for_a_lock_at_or_below_it_and_ignores_one_above() {
    let mut world = World::serving();
    let share = prepare(1, at(10), vec![put("b", "x")]);
    assert_eq!(
        world.answer(PartitionRequest::Prepare(share)),
        prepared(at(10), attempt(1))
    );
    assert_eq!(world.answer(get(at(9), "b")), value(None, Timestamp::ZERO));
    let waits = world.ask(get(at(20), "b"));
    let sees_nothing = world.ask(get(at(12), "b"));
    world.settle();
    assert_eq!(world.take_replies(), vec![]);
    // Committed above the first of the two readers' snapshots: that one does not see it.
    world.ask(resolve(1, attempt(1), Decision::Committed(at(15))));
    world.settle();
    let mut replies = world.take_replies();
    replies.sort_by_key(|(number, _)| *number);
    assert_eq!(
        replies,
        vec![
            (waits, value(Some(version(at(15), "x")), at(15))),
            (sees_nothing, value(None, Timestamp::ZERO)),
            (sees_nothing + 1, PartitionReply::Done),
        ]
    );
}

#[test]
fn a_read_waits_for_an_entry_under_way_at_or_below_it() {
    let mut world = World::serving();
    let write = world.ask(PartitionRequest::Commit(commit(
        1,
        at(5),
        vec![put("b", "x")],
    )));
    let below = world.ask(get(at(4), "b"));
    world.work();
    assert_eq!(
        world.take_replies(),
        vec![(below, value(None, Timestamp::ZERO))]
    );
    let above = world.ask(get(at(6), "b"));
    assert_eq!(world.take_replies(), vec![]);
    world.sync();
    let seen = value(Some(version(at(5), "x")), at(5));
    assert_eq!(
        world.take_replies(),
        vec![(write, committed(at(5), vec![None])), (above, seen)]
    );
}

#[test]
fn the_store_is_asked_only_for_what_is_not_recent() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Commit(commit(
        1,
        at(5),
        vec![put("b", "x")],
    )));
    let recent = world.ask(get(at(6), "b"));
    let seen = value(Some(version(at(5), "x")), at(5));
    assert_eq!(
        world.take_replies(),
        vec![(recent, seen)],
        "without the store"
    );
    let cold = world.ask(get(at(6), "c"));
    assert_eq!(world.take_replies(), vec![]);
    // What is committed while the store is asked is placed above: the cache was raised before.
    world.ask(PartitionRequest::Commit(commit(
        2,
        at(5),
        vec![put("c", "y")],
    )));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![
            (cold + 1, committed(at(6).next(), vec![None])),
            (cold, value(None, Timestamp::ZERO)),
        ]
    );
}

fn scan(start: &str, end: &str, reverse: bool, limit: u32) -> PartitionRequest {
    PartitionRequest::Read(Read {
        reader: None,
        timestamp: at(100),
        requests: vec![ReadRequest::Scan {
            range: range(start, end),
            reverse,
            limit,
            bytes_max: 1 << 20,
        }],
    })
}

#[test]
fn a_scan_joins_store_and_memory_and_says_what_is_left() {
    let mut world = World::serving();
    let all = ["b", "c", "d", "e"].map(|user| put(user, "x"));
    world.answer(PartitionRequest::Commit(commit(1, at(1), all.to_vec())));
    let delete = Operation {
        key: key("c"),
        kind: OperationKind::Delete,
    };
    world.answer(PartitionRequest::Commit(commit(2, at(2), vec![delete])));
    let mut rows_of = |request| match world.answer(request) {
        PartitionReply::Read(answer) => {
            let ReadResult::Rows { rows, rest } = answer.results.into_iter().next().unwrap() else {
                panic!("a scan gives rows");
            };
            let keys: Vec<_> = rows.into_iter().map(|Row { key, .. }| key).collect();
            (keys, rest, answer.depends_on)
        }
        other => panic!("{other:?}"),
    };
    let users = |users: &[&str]| users.iter().map(|user| key(user)).collect::<Vec<_>>();
    assert_eq!(
        rows_of(scan("a", "m", false, 10)),
        (users(&["b", "d", "e"]), None, at(2))
    );
    let (keys, rest, _) = rows_of(scan("a", "m", false, 2));
    assert_eq!(keys, users(&["b", "d"]));
    assert_eq!(rest.unwrap().start, key("d").successor());
    let (keys, rest, _) = rows_of(scan("a", "m", true, 2));
    assert_eq!(keys, users(&["e", "d"]));
    assert_eq!(rest, Some(range("a", "d")));
    assert_eq!(
        rows_of(scan("a", "m", false, 0)),
        (vec![], Some(range("a", "m")), ts(0))
    );
}

#[test]
fn a_limited_scan_does_not_wait_for_a_lock_that_it_does_not_reach() {
    let mut world = World::serving();
    let all = ["b", "c"].map(|user| put(user, "x"));
    world.answer(PartitionRequest::Commit(commit(1, at(1), all.to_vec())));
    world.answer(PartitionRequest::Prepare(prepare(
        2,
        at(2),
        vec![put("c", "y")],
    )));
    assert!(matches!(
        world.answer(scan("a", "m", false, 1)),
        PartitionReply::Read(_)
    ));
    world.ask(scan("a", "m", false, 2));
    world.settle();
    assert_eq!(world.take_replies(), vec![]);
}

#[test]
fn a_refresh_finds_versions_locks_and_entries_under_way() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Commit(commit(
        1,
        at(5),
        vec![put("b", "x")],
    )));
    world.answer(PartitionRequest::Prepare(prepare(
        2,
        at(6),
        vec![put("c", "y")],
    )));
    world.ask(PartitionRequest::Commit(commit(
        3,
        at(7),
        vec![put("d", "z")],
    )));
    let mut changed = |reader: u64, user: &str, from, to| {
        let refresh = Refresh {
            reader: id(reader),
            from: at(from),
            to: at(to),
            reads: vec![point(user)],
        };
        world.ask(PartitionRequest::Refresh(refresh));
        world.work();
        match world.take_replies().pop() {
            Some((_, PartitionReply::Refreshed { changed })) => changed,
            other => panic!("{other:?}"),
        }
    };
    let by = |user: &str, rival| {
        let key = key(user);
        Some(Change { key, rival })
    };
    let under_way = |n, ms| Rival::Transaction {
        id: id(n),
        at: at(ms),
    };
    let version = Rival::Version { at: at(5) };
    assert_eq!(changed(9, "b", 4, 5), by("b", version));
    assert_eq!(changed(9, "b", 5, 8), None);
    assert_eq!(changed(9, "c", 4, 6), by("c", under_way(2, 6)));
    assert_eq!(changed(2, "c", 4, 6), None, "one's own lock is no change");
    assert_eq!(changed(9, "c", 4, 5), None);
    assert_eq!(changed(9, "d", 4, 7), by("d", under_way(3, 7)));
    // The cache was raised: a later write lies above.
    world.settle();
    world.take_replies();
    let write = commit(4, at(5), vec![put("b", "x")]);
    assert_eq!(
        world.answer(PartitionRequest::Commit(write)),
        committed(at(8).next(), vec![None])
    );
}

#[test]
fn another_generation_or_a_foreign_key_is_told_the_range() {
    let mut world = World::serving();
    let wrong = PartitionReply::Error(PartitionError::WrongRange {
        partition: PARTITION,
        descriptor: Some(world.replica.descriptor().clone()),
    });
    assert_eq!(world.answer(get(at(1), "n")), wrong);
    world.step(crate::ReplicaEvent::Request {
        from: asker(77),
        generation: Generation(2),
        request: get(at(1), "b"),
    });
    assert_eq!(world.take_replies(), vec![(77, wrong)]);
}

#[test]
fn a_read_that_waits_too_long_is_told_who_is_in_the_way() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Prepare(prepare(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    let number = world.ask(get(at(2), "b"));
    world.pass(7_999);
    world.take_said();
    world.pass(1);
    let error = PartitionError::LockWait {
        key: key("b"),
        rival: id(1),
    };
    let said = world.take_said();
    let reply = crate::ReplicaEffect::Reply {
        to: asker(number),
        reply: PartitionReply::Error(error),
    };
    assert!(said.contains(&reply), "{said:?}");
}

#[test]
fn reading_logs_nothing() {
    let mut world = World::serving();
    let last = world.last();
    world.answer(get(at(1), "b"));
    assert_eq!(world.last(), last);
}

/// Values of the greatest length under `k0` to `k8`: together more than one request reads.
fn large_values(world: &mut World) -> Vec<String> {
    let keys: Vec<String> = (0..9).map(|number| format!("k{number}")).collect();
    for (number, user) in (1..).zip(&keys) {
        let put = Operation {
            key: key(user),
            kind: OperationKind::Put(vec![b'x'; VALUE_BYTES_MAX].into()),
        };
        world.answer(PartitionRequest::Commit(commit(
            number,
            at(number),
            vec![put],
        )));
    }
    keys
}

fn get_all(keys: &[String]) -> PartitionRequest {
    let requests = keys.iter().map(|user| ReadRequest::Get { key: key(user) });
    PartitionRequest::Read(Read {
        reader: None,
        timestamp: at(400),
        requests: requests.collect(),
    })
}

#[test]
fn what_one_request_gathers_is_bounded_in_memory_and_in_the_store() {
    let mut world = World::serving();
    let keys = large_values(&mut world);
    let again = vec!["k8".to_owned(); 9];
    let too_large = |user: &str| {
        let key = key(user);
        PartitionReply::Error(PartitionError::ReadTooLarge { key })
    };
    let values = |reply: PartitionReply| match reply {
        PartitionReply::Read(answer) => answer.results.len(),
        other => panic!("{other:?}"),
    };
    for _ in ["in memory", "in the store"] {
        // Not with `assert_eq`, which would print 64 MiB.
        assert_eq!(values(world.answer(get_all(&keys[..8]))), 8);
        assert!(world.answer(get_all(&keys)) == too_large("k8"));
        assert!(world.answer(get_all(&again)) == too_large("k8"));
        world.persist();
        world.restart();
        world.elect(at(500));
        world.promise_by(ME, START_MS + 1000);
        world.settle();
        world.take_said();
    }
    let mut guarded = commit(20, at(400), vec![put("m", "x")]);
    let exists = |user: &String| guard(user, Condition::Exists);
    guarded.guards = keys.iter().map(exists).collect();
    let reply = world.answer(PartitionRequest::Commit(guarded));
    let refusal = match reply {
        PartitionReply::Refused {
            refusal,
            depends_on,
            ..
        } => {
            assert_eq!(depends_on, at(8), "the newest that was found");
            refusal
        }
        other => panic!("it was not refused: {other:?}"),
    };
    let Refusal::Operation { key: at_key, why } = refusal else {
        panic!("refused for another reason: {refusal:?}");
    };
    assert_eq!(at_key, key("k8"));
    assert!(why.contains("divide the transaction"), "{why}");
}
