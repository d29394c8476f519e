//! Transactions with too many keys to list: prepared first, then the record is born committed.

use super::harness::*;
use crate::fixtures::{attempt, attempt_of, name};
use clock::Timestamp;
use wire::message::{
    ChangeRecord, CheckPrepared, Decision, OutcomeAnswer, PartitionError, PartitionReply,
    PartitionRequest, Prepare, RecordAnswer, RecordChange, RecordState,
};

const COMMIT: RecordChange = RecordChange::Commit {
    at: Timestamp::from_micros((START_MS + 5) * 1000),
};

fn record(state: RecordState, changed: bool) -> PartitionReply {
    PartitionReply::Record(RecordAnswer {
        state,
        keys: vec![],
        changed,
    })
}

fn committed_record() -> RecordState {
    RecordState::Committed { at: at(5) }
}

fn dead(number: u32) -> RecordState {
    RecordState::Aborted {
        attempt: attempt(number),
    }
}

fn abort(number: u32) -> RecordChange {
    RecordChange::Abort {
        attempt: attempt(number),
    }
}

/// Prepares an attempt of transaction 1 at the anchor, without a record.
fn prepare_anchor(world: &mut World, number: u32) {
    let share = Prepare {
        attempt: attempt(number),
        ..prepare(1, at(2), vec![put("a", "x")])
    };
    let reply = world.answer(PartitionRequest::Prepare(share));
    assert_eq!(reply, prepared(at(2), attempt(number)));
}

#[test]
fn a_record_is_born_committed_once_and_the_share_is_resolved() {
    let mut world = World::serving();
    prepare_anchor(&mut world, 1);
    let commit = change(1, RecordState::Missing, COMMIT);
    let born = record(committed_record(), true);
    assert_eq!(world.answer(commit.clone()), born);
    let last = world.last();
    assert_eq!(world.answer(commit), born, "sent again, it counts as made");
    assert_eq!(world.last(), last);
    world.answer(resolve(1, attempt(1), Decision::Committed(at(5))));
    assert_eq!(
        world.answer(get(at(9), "a")),
        value(Some(version(at(5), "x")), at(5))
    );
    world.answer(PartitionRequest::ForgetRecord { name: name(1) });
    let outcome = world.answer(PartitionRequest::Outcome { name: name(1) });
    let said = OutcomeAnswer::Committed { at: at(5) };
    assert_eq!(outcome, PartitionReply::Outcome(said));
}

#[test]
fn a_record_born_committed_outlives_a_restart_and_refuses_every_abort() {
    let mut world = World::serving();
    prepare_anchor(&mut world, 1);
    world.answer(change(1, RecordState::Missing, COMMIT));
    world.restart();
    world.elect(at(500));
    world.promise_by(ME, START_MS + 1000);
    world.settle();
    world.take_said();
    for (expected, made) in [
        (RecordState::Missing, abort(1)),
        (RecordState::Missing, RecordChange::Close),
        (committed_record(), RecordChange::Close),
    ] {
        assert_eq!(
            world.answer(change(1, expected, made)),
            record(committed_record(), false),
            "{made:?} from {expected:?}"
        );
    }
}

#[test]
fn a_recovery_that_found_no_record_stops_the_commit() {
    let mut world = World::serving();
    prepare_anchor(&mut world, 1);
    world.answer(change(1, RecordState::Missing, abort(1)));
    let commit = change(1, RecordState::Missing, COMMIT);
    assert_eq!(world.answer(commit), record(dead(1), false));
}

#[test]
fn the_next_attempt_is_committed_from_the_end_of_the_one_before() {
    let mut world = World::serving();
    prepare_anchor(&mut world, 1);
    world.answer(change(1, RecordState::Missing, abort(1)));
    prepare_anchor(&mut world, 2);
    // A commit of the first attempt that was under way, and one after a recovery of the second.
    let late = change(1, RecordState::Missing, COMMIT);
    assert_eq!(world.answer(late), record(dead(1), false));
    let commit = change(1, dead(1), COMMIT);
    assert_eq!(
        world.answer(commit.clone()),
        record(committed_record(), true)
    );
    assert_eq!(
        world.answer(change(1, dead(1), abort(2))),
        record(committed_record(), false)
    );
    assert_eq!(world.answer(commit), record(committed_record(), true));
}

#[test]
fn the_next_attempt_that_was_recovered_is_not_committed() {
    let mut world = World::serving();
    world.answer(change(1, RecordState::Missing, abort(1)));
    prepare_anchor(&mut world, 2);
    world.answer(change(1, dead(1), abort(2)));
    assert_eq!(
        world.answer(change(1, dead(1), COMMIT)),
        record(dead(2), false)
    );
}

/// What was never heard of is called aborted without an entry once `closed` has passed `expires`: no
/// commit may come after that.
#[test]
fn nothing_is_committed_after_it_may_have_been_called_aborted() {
    let mut world = World::serving();
    let mut expiring = name(3);
    expiring.expires = at(100);
    world.answer(PartitionRequest::CheckPrepared(CheckPrepared {
        name: expiring,
        attempt: attempt(1),
        keys: keys(&["b"]),
    }));
    world.promise_by(ME, START_MS + 60_000);
    world.pass(30_000);
    world.settle();
    assert_eq!(world.take_said(), vec![]);
    assert!(
        world.replica.state.closed() > at(100),
        "the refused marker of another transaction is worth an entry that closes"
    );

    let mut forgotten = name(2);
    forgotten.expires = at(50);
    let asked = PartitionRequest::Outcome {
        name: forgotten.clone(),
    };
    let aborted = PartitionReply::Outcome(OutcomeAnswer::Aborted);
    assert_eq!(world.answer(asked), aborted);
    let late = PartitionRequest::ChangeRecord(ChangeRecord {
        name: forgotten,
        expected: RecordState::Missing,
        change: COMMIT,
    });
    assert_eq!(world.answer(late), record(RecordState::Missing, false));
}

#[test]
fn a_commit_counts_as_made_only_for_the_attempt_that_made_it() {
    let mut world = World::serving();
    let share = Prepare {
        staging: Some((Timestamp::MAX, keys(&["a", "z"]))),
        ..prepare(1, at(2), vec![put("a", "x")])
    };
    world.answer(PartitionRequest::Prepare(share));
    let staging = |attempt| RecordState::Staging {
        attempt,
        limit: Timestamp::MAX,
    };
    let listed = |changed| {
        PartitionReply::Record(RecordAnswer {
            state: committed_record(),
            keys: keys(&["a", "z"]),
            changed,
        })
    };
    let mine = change(1, staging(attempt(1)), COMMIT);
    assert_eq!(world.answer(mine.clone()), listed(true));
    let last = world.last();
    assert_eq!(world.answer(mine), listed(true), "sent again");
    for other in [staging(attempt_of(1, 2)), RecordState::Missing, dead(1)] {
        assert_eq!(
            world.answer(change(1, other, COMMIT)),
            listed(false),
            "{other:?}"
        );
    }
    assert_eq!(world.last(), last);
}

#[test]
fn a_record_born_committed_is_not_taken_for_a_commit_of_the_attempt_before() {
    let mut world = World::serving();
    let share = Prepare {
        staging: Some((Timestamp::MAX, keys(&["a", "z"]))),
        ..prepare(1, at(2), vec![put("a", "x")])
    };
    world.answer(PartitionRequest::Prepare(share));
    let staging = RecordState::Staging {
        attempt: attempt(1),
        limit: Timestamp::MAX,
    };
    world.answer(change(1, staging, abort(1)));
    prepare_anchor(&mut world, 2);
    let born = record(committed_record(), true);
    assert_eq!(world.answer(change(1, dead(1), COMMIT)), born);
    for other in [staging, RecordState::Missing, dead(2)] {
        assert_eq!(
            world.answer(change(1, other, COMMIT)),
            record(committed_record(), false),
            "{other:?}"
        );
    }
}

/// An entry that commits what is not prepared would end every replica that applies it.
#[test]
fn only_what_is_prepared_under_the_very_attempt_is_resolved_as_committed() {
    let mut world = World::serving();
    let late = resolve(2, attempt(1), Decision::Committed(at(5)));
    let last = world.last();
    // A leader that is deposed and has not heard of a share knows as little: it is not done.
    let unknown = PartitionReply::Error(PartitionError::LeadershipLost {
        partition: PARTITION,
    });
    assert_eq!(world.answer(late), unknown.clone(), "nothing is known");
    prepare_anchor(&mut world, 1);
    let other = resolve(1, attempt_of(1, 2), Decision::Committed(at(5)));
    assert_eq!(world.answer(other.clone()), unknown.clone());
    assert_eq!(world.replica.status().locks, 1);
    world.answer(resolve(1, attempt(1), Decision::Aborted));
    assert_eq!(world.answer(other), unknown, "ended otherwise");
    assert_eq!(world.last().0, last.0 + 2, "prepared and ended");
    assert_eq!(world.answer(get(at(9), "a")), value(None, Timestamp::ZERO));
}
