use super::harness::*;
use crate::effects::{self, Effect};
use crate::fixtures::{attempt, attempt_of, id, key, name, range, ts};
use bytes::Bytes;
use clock::Timestamp;
use wire::keys::VALUE_BYTES_MAX;
use wire::message::{
    ChangeRecord, CommitOne, Condition, Operation, OperationKind, OutcomeAnswer, PartitionReply,
    PartitionRequest, Read, ReadRequest, RecordAnswer, RecordChange, RecordState, Refusal,
    TransactionName,
};

fn ask_commit(world: &mut World, commit: CommitOne) -> PartitionReply {
    world.answer(PartitionRequest::Commit(commit))
}

#[test]
fn a_blind_put_is_one_entry_with_versions_and_outcome() {
    let mut world = World::serving();
    let before = world.log.len();
    let reply = ask_commit(&mut world, commit(1, at(3), vec![put("b", "x")]));
    assert_eq!(reply, committed(at(3), vec![None]));
    assert_eq!(world.log.len(), before + 1);
    let effects = effects::decode(&world.log.last().unwrap().body).unwrap();
    assert_eq!(
        effects,
        vec![Effect::Commit {
            name: name(1),
            attempt: attempt(1),
            at: at(3),
            writes: vec![(key("b"), Some("x".into()))],
        }]
    );
}

#[test]
fn a_write_lies_above_the_newest_version_and_what_others_read() {
    let mut world = World::serving();
    ask_commit(&mut world, commit(1, at(5), vec![put("b", "x")]));
    let reply = ask_commit(&mut world, commit(2, at(3), vec![put("b", "y")]));
    assert_eq!(reply, committed(at(5).next(), vec![None]));
    world.answer(get(at(9), "b"));
    let reply = ask_commit(&mut world, commit(3, at(6), vec![put("b", "z")]));
    assert_eq!(reply, committed(at(9).next(), vec![None]));
}

#[test]
fn nobody_is_pushed_by_its_own_read() {
    let mut world = World::serving();
    let read = Read {
        reader: Some(id(1)),
        timestamp: at(5),
        requests: vec![ReadRequest::Get { key: key("b") }],
    };
    world.answer(PartitionRequest::Read(read));
    let mut mine = commit(1, at(5), vec![put("b", "x")]);
    mine.reads = vec![point("b")];
    assert_eq!(ask_commit(&mut world, mine), committed(at(5), vec![None]));
}

#[test]
fn write_skew_is_prevented() {
    let mut world = World::serving();
    let get = |user| ReadRequest::Get { key: key(user) };
    for n in [1, 2] {
        let read = Read {
            reader: Some(id(n)),
            timestamp: at(5),
            requests: vec![get("b"), get("c")],
        };
        world.answer(PartitionRequest::Read(read));
    }
    let mut first = commit(1, at(5), vec![put("b", "x")]);
    first.reads = vec![point("b"), point("c")];
    let mut second = commit(2, at(5), vec![put("c", "y")]);
    second.reads = vec![range("b", "d")];
    let one = world.ask(PartitionRequest::Commit(first));
    let two = world.ask(PartitionRequest::Commit(second));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![
            (one, committed(at(5).next(), vec![None])),
            (
                two,
                refused(changed("b", at(5).next()), false, at(5).next())
            ),
        ]
    );
}

#[test]
fn a_change_of_what_was_read_is_found_also_in_the_store() {
    let mut world = World::serving();
    ask_commit(&mut world, commit(1, at(5), vec![put("b", "x")]));
    world.persist();
    world.restart();
    world.tick();
    world.sync();
    world.promise_by(ME, START_MS + 500);
    world.take_said();
    let mut late = commit(2, at(4), vec![put("c", "y")]);
    late.reads = vec![point("b")];
    let refusal = changed("b", at(5));
    let reply = ask_commit(&mut world, late);
    assert_eq!(reply, refused(refusal, false, at(5)));
}

#[test]
fn an_operation_builds_on_entries_under_way() {
    let mut world = World::serving();
    let results = |n: i64| vec![Some(Bytes::from(n.to_string()))];
    for n in 1..=3 {
        world.ask(PartitionRequest::Commit(commit(
            n,
            at(1),
            vec![add("b", 10)],
        )));
        world.work();
    }
    assert_eq!(world.take_replies(), vec![], "nothing is committed yet");
    world.sync();
    assert_eq!(
        world.take_replies(),
        vec![
            (1, committed(at(1), results(10))),
            (2, committed(at(1).next(), results(20))),
            (3, committed(at(1).next().next(), results(30))),
        ]
    );
}

#[test]
fn operations_on_one_key_build_on_each_other() {
    let mut world = World::serving();
    let reply = ask_commit(
        &mut world,
        commit(1, at(1), vec![put("b", "4"), add("b", 3)]),
    );
    assert_eq!(reply, committed(at(1), vec![None, Some("7".into())]));
    assert_eq!(
        world.answer(get(at(2), "b")),
        value(Some(version(at(1), "7")), at(1))
    );
}

#[test]
fn a_failed_guard_waits_for_what_it_saw_and_leaves_no_entry() {
    let mut world = World::serving();
    let write = world.ask(PartitionRequest::Commit(commit(
        1,
        at(5),
        vec![put("b", "x")],
    )));
    let mut guarded = commit(2, at(3), vec![put("c", "y")]);
    guarded.guards = vec![guard("b", Condition::Absent)];
    let number = world.ask(PartitionRequest::Commit(guarded));
    assert_eq!(world.take_replies(), vec![]);
    let last = world.last();
    world.settle();
    let refusal = Refusal::Guard {
        key: key("b"),
        found: Some(version(at(5), "x")),
    };
    assert_eq!(
        world.take_replies(),
        vec![
            (write, committed(at(5), vec![None])),
            (number, refused(refusal, false, at(5))),
        ]
    );
    assert_eq!(world.last(), last);
    // It was a read at 5: a later write lies above.
    let reply = ask_commit(&mut world, commit(3, at(2), vec![put("b", "z")]));
    assert_eq!(reply, committed(at(5).next(), vec![None]));
}

#[test]
fn nothing_to_write_is_an_answer_and_no_refusal() {
    let mut world = World::serving();
    ask_commit(&mut world, commit(1, at(5), vec![put("b", "x")]));
    let mut guarded = commit(2, at(3), vec![]);
    guarded.guards = vec![guard("b", Condition::Exists)];
    assert_eq!(
        ask_commit(&mut world, guarded),
        PartitionReply::Unchanged { at: at(5) }
    );
}

#[test]
fn a_commit_again_is_told_the_outcome_and_happens_once() {
    let mut world = World::serving();
    let first = commit(1, at(1), vec![add("b", 1)]);
    let again = CommitOne {
        attempt: attempt_of(2, 5),
        resent: true,
        ..first.clone()
    };
    let one = world.ask(PartitionRequest::Commit(first));
    world.work();
    let two = world.ask(PartitionRequest::Commit(again));
    world.settle();
    assert_eq!(
        world.take_replies(),
        vec![
            (one, committed(at(1), vec![Some("1".into())])),
            (two, committed(at(1), vec![])),
        ]
    );
    assert_eq!(
        world.answer(get(at(9), "b")),
        value(Some(version(at(1), "1")), at(1))
    );
}

#[test]
fn a_refusal_of_what_was_sent_before_is_closed_in_the_log_first() {
    let mut world = World::serving();
    let mut guarded = commit(1, at(3), vec![put("b", "y")]);
    guarded.guards = vec![guard("c", Condition::Exists)];
    guarded.resent = true;
    let last = world.last();
    let refusal = Refusal::Guard {
        key: key("c"),
        found: None,
    };
    let reply = ask_commit(&mut world, guarded.clone());
    assert_eq!(reply, refused(refusal, true, Timestamp::ZERO));
    assert_eq!(world.last(), last.next());
    guarded.guards.clear();
    let reply = ask_commit(&mut world, guarded);
    assert_eq!(reply, refused(Refusal::Closed, true, Timestamp::ZERO));
}

#[test]
fn the_same_id_with_another_expiry_is_refused() {
    let mut world = World::serving();
    ask_commit(&mut world, commit(1, at(1), vec![put("b", "x")]));
    let mut other = commit(1, at(1), vec![put("b", "x")]);
    other.name.expires = ts(999_999);
    let reply = ask_commit(&mut world, other);
    assert_eq!(
        reply,
        refused(Refusal::OtherIdentity, false, Timestamp::ZERO)
    );
}

#[test]
fn nothing_is_placed_at_or_above_expires() {
    let mut world = World::serving();
    let mut late = commit(1, at(3), vec![put("b", "x")]);
    late.name.expires = at(3);
    let reply = ask_commit(&mut world, late);
    assert_eq!(reply, refused(Refusal::Expired, false, Timestamp::ZERO));
}

fn outcome(name: TransactionName) -> PartitionRequest {
    PartitionRequest::Outcome { name }
}

#[test]
fn asking_for_an_outcome_closes_what_is_not_known() {
    let mut world = World::serving();
    ask_commit(&mut world, commit(1, at(1), vec![put("b", "x")]));
    let known = OutcomeAnswer::Committed { at: at(1) };
    assert_eq!(
        world.answer(outcome(name(1))),
        PartitionReply::Outcome(known)
    );
    let aborted = PartitionReply::Outcome(OutcomeAnswer::Aborted);
    assert_eq!(world.answer(outcome(name(2))), aborted);
    let late = ask_commit(&mut world, commit(2, at(1), vec![put("b", "y")]));
    assert_eq!(late, refused(Refusal::Closed, true, Timestamp::ZERO));
}

#[test]
fn an_outcome_is_kept_in_the_store_after_it_left_memory_and_goes_at_last() {
    let mut world = World::serving();
    let mut short = commit(1, at(1), vec![put("b", "x")]);
    short.name.expires = at(10_000);
    let name = short.name.clone();
    ask_commit(&mut world, short.clone());
    let known = PartitionReply::Outcome(OutcomeAnswer::Committed { at: at(1) });
    world.pass(30_000);
    world.promise_by(ME, START_MS + 30_500);
    world.pass(5_000);
    world.settle();
    assert!(world.replica.state.outcome(name.id).is_none(), "collected");
    assert!(world.replica.state.closed() > name.expires);
    assert_eq!(world.answer(outcome(name.clone())), known);
    assert_eq!(
        ask_commit(&mut world, short.clone()),
        committed(at(1), vec![])
    );

    for n in 2..80 {
        let now = world.now.physical.as_millis() as u64;
        world.promise_by(ME, now + 5_000);
        let mut other = commit(n, ts(now), vec![put("c", "y")]);
        other.name.expires = ts(now + 1_000);
        ask_commit(&mut world, other);
        world.pass(5_000);
        world.settle();
    }
    let gone = PartitionReply::Outcome(OutcomeAnswer::NoLongerKept);
    assert_eq!(world.answer(outcome(name.clone())), gone);

    // A coordinator that stood still so long ends its attempt, but must not call the whole aborted.
    let change = |expected, change| {
        PartitionRequest::ChangeRecord(ChangeRecord {
            name: name.clone(),
            expected,
            change,
        })
    };
    let record = |state, changed| {
        PartitionReply::Record(RecordAnswer {
            state,
            keys: vec![],
            changed,
        })
    };
    let missing = RecordState::Missing;
    let attempt = attempt_of(1, 1);
    let aborted = RecordState::Aborted { attempt };
    let close = change(missing, RecordChange::Close);
    assert_eq!(world.answer(close), record(missing, false));
    let abort = change(missing, RecordChange::Abort { attempt });
    assert_eq!(world.answer(abort), record(aborted, true));
    let close = change(aborted, RecordChange::Close);
    assert_eq!(world.answer(close), record(aborted, false));
    assert_eq!(
        world.answer(outcome(name.clone())),
        PartitionReply::Outcome(OutcomeAnswer::NoLongerKept)
    );
}

#[test]
fn what_is_known_of_an_id_is_told_whatever_the_timestamp_of_the_copy() {
    let mut world = World::serving();
    ask_commit(&mut world, commit(1, at(3), vec![put("b", "x")]));
    let ahead = at(3_600_000);
    let copy = commit(1, ahead, vec![put("b", "x")]);
    assert_eq!(ask_commit(&mut world, copy), committed(at(3), vec![]));
    let share = prepare(2, at(4), vec![put("c", "x")]);
    world.answer(PartitionRequest::Prepare(share));
    let copy = prepare(2, ahead, vec![put("c", "x")]);
    assert_eq!(
        world.answer(PartitionRequest::Prepare(copy)),
        prepared(at(4), attempt(1))
    );
    let first = commit(3, ahead, vec![put("d", "x")]);
    let reply = ask_commit(&mut world, first);
    let PartitionReply::Error(error) = reply else {
        panic!("what is not known is checked against the clock: {reply:?}");
    };
    assert!(
        matches!(error, wire::message::PartitionError::TooFarAhead { .. }),
        "{error:?}"
    );
}

/// A few bytes on the wire would otherwise make an entry that fits into no frame, or fill the memory.
#[test]
fn what_operations_make_is_bounded_as_what_clients_send() {
    let mut world = World::serving();
    let large = |user: &str| Operation {
        key: key(user),
        kind: OperationKind::Put(vec![b'v'; VALUE_BYTES_MAX - 1000].into()),
    };
    let append = |user: &str| Operation {
        key: key(user),
        kind: OperationKind::Append(Bytes::from_static(b"x")),
    };
    ask_commit(&mut world, commit(1, at(3), vec![large("b")]));
    let entries = world.log.len();
    let many = vec![append("b"); 5];
    let few = vec![append("b"); 3];
    let refusals = [
        ask_commit(&mut world, commit(2, at(4), many.clone())),
        world.answer(PartitionRequest::Prepare(prepare(3, at(4), many))),
    ];
    for reply in refusals {
        let PartitionReply::Refused {
            refusal: Refusal::Operation { key: at_key, why },
            durable: false,
            depends_on,
        } = reply
        else {
            panic!("it is refused, not {reply:?}");
        };
        assert_eq!((at_key, depends_on), (key("b"), at(3)));
        assert!(why.contains("64 MiB"), "{why}");
    }
    assert_eq!(world.log.len(), entries, "a refusal leaves nothing");
    let reply = ask_commit(&mut world, commit(4, at(5), few));
    assert!(
        matches!(reply, PartitionReply::Committed { .. }),
        "three fit"
    );
}
