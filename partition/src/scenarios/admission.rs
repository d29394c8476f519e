//! A leader on a machine that is short of room, or that does not keep up.

use super::harness::*;
use crate::fixtures::attempt;
use crate::{Admission, NoRoom};
use clock::Timestamp;
use wire::ids::NodeId;
use wire::message::{
    CommitOne, Decision, PartitionError, PartitionReply, PartitionRequest, Refusal,
};

const SHORT: Admission = Admission {
    no_room: Some(NoRoom {
        node: NodeId(1),
        free: 10,
        reserve: 20,
    }),
    is_backlogged: false,
};

fn full() -> Refusal {
    Refusal::DiskFull {
        node: NodeId(1),
        free: 10,
        reserve: 20,
    }
}

#[test]
fn short_of_room_it_refuses_new_writes_and_ends_those_under_way() {
    let mut world = World::serving();
    let share = prepare(1, at(1), vec![put("b", "x")]);
    world.answer(PartitionRequest::Prepare(share));
    world.replica.set_admission(SHORT);
    let last = world.last();
    let new = commit(2, at(2), vec![put("c", "y")]);
    let reply = world.answer(PartitionRequest::Commit(new.clone()));
    assert_eq!(reply, refused(full(), false, Timestamp::ZERO));
    let share = prepare(3, at(2), vec![put("d", "y")]);
    let reply = world.answer(PartitionRequest::Prepare(share));
    assert_eq!(reply, refused(full(), false, Timestamp::ZERO));
    let read = world.answer(get(at(3), "c"));
    assert_eq!(read, value(None, Timestamp::ZERO));
    assert_eq!(world.last(), last, "nothing was written");

    let end = resolve(1, attempt(1), Decision::Committed(at(1)));
    assert_eq!(world.answer(end), PartitionReply::Done);
    let found = world.answer(get(at(4), "b"));
    assert_eq!(found, value(Some(version(at(1), "x")), at(1)));
    // A copy may be elsewhere: the refusal must hold there too.
    let resent = CommitOne {
        resent: true,
        ..commit(4, at(2), vec![put("c", "y")])
    };
    let reply = world.answer(PartitionRequest::Commit(resent.clone()));
    assert_eq!(reply, refused(full(), true, Timestamp::ZERO));

    world.replica.set_admission(Admission::default());
    let reply = world.answer(PartitionRequest::Commit(resent));
    assert_eq!(reply, refused(Refusal::Closed, true, Timestamp::ZERO));
    let reply = world.answer(PartitionRequest::Commit(new));
    assert!(
        matches!(reply, PartitionReply::Committed { .. }),
        "{reply:?}"
    );
}

#[test]
fn what_was_committed_is_told_also_when_there_is_no_room() {
    let mut world = World::serving();
    let commit = commit(1, at(1), vec![put("b", "x")]);
    let first = world.answer(PartitionRequest::Commit(commit.clone()));
    world.replica.set_admission(SHORT);
    let again = world.answer(PartitionRequest::Commit(commit));
    let (PartitionReply::Committed { at: first, .. }, PartitionReply::Committed { at: again, .. }) =
        (first, again)
    else {
        panic!("both are told that it is committed");
    };
    assert_eq!(first, again);
}

#[test]
fn with_too_much_waiting_for_the_disk_writes_come_again_and_reads_go_on() {
    let mut world = World::serving();
    world.replica.set_admission(Admission {
        is_backlogged: true,
        ..Admission::default()
    });
    let new = PartitionRequest::Commit(commit(1, at(1), vec![put("b", "x")]));
    let overloaded = PartitionError::Overloaded {
        partition: PARTITION,
    };
    assert_eq!(world.answer(new), PartitionReply::Error(overloaded));
    let read = world.answer(get(at(3), "b"));
    assert_eq!(read, value(None, Timestamp::ZERO));
}
