use super::harness::*;
use crate::ReplicaEffect;
use crate::fixtures::{attempt, key, name};
use clock::Timestamp;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{
    LogPosition, PartitionError, PartitionReply, PartitionRequest, ReplicaRole, ReplicationMessage,
};

pub(super) fn three() -> World {
    World::of([1, 2, 3].map(NodeId).to_vec())
}

/// Elected in term 1 by node 2, which had acknowledged a promise up to `promised`; its first entry is
/// logged.
pub(super) fn elected(promised: Timestamp) -> World {
    let mut world = three();
    world.pass(1_000);
    let said = world.take_said();
    assert!(
        said.iter().all(|effect| matches!(
            effect,
            ReplicaEffect::Send {
                message: ReplicationMessage::PreVote { .. },
                ..
            }
        )),
        "{said:?}"
    );
    let granted = true;
    world.receive(
        2,
        ReplicationMessage::PreVoteReply {
            term: Term(1),
            granted,
        },
    );
    world.sync();
    let vote = ReplicationMessage::VoteReply {
        term: Term(1),
        granted,
        promised,
    };
    world.receive(2, vote);
    assert_eq!(world.replica.status().role, ReplicaRole::LeaderStarting);
    world.take_said();
    world
}

pub(super) fn appended(world: &mut World) {
    let matched = world.last();
    world.receive(
        2,
        ReplicationMessage::Appended {
            term: Term(1),
            matched,
        },
    );
}

/// Serving, with what it said so far forgotten.
pub(super) fn serving(promised: Timestamp) -> World {
    let mut world = elected(promised);
    world.sync();
    appended(&mut world);
    world.promise_by(NodeId(1), START_MS + 1_400);
    world.promise_by(NodeId(2), START_MS + 1_400);
    world.work();
    world.take_said();
    assert_eq!(world.replica.status().role, ReplicaRole::Leader);
    world
}

pub(super) fn answers(world: &mut World) -> Vec<PartitionReply> {
    let said = world.take_said().into_iter();
    said.filter_map(|effect| match effect {
        ReplicaEffect::Reply { reply, .. } => Some(reply),
        _ => None,
    })
    .collect()
}

#[test]
fn nothing_is_answered_before_the_own_entry_is_committed_and_a_promise_holds() {
    let mut world = elected(Timestamp::ZERO);
    world.ask(get(at(1), "b"));
    world.promise_by(NodeId(1), START_MS + 1_400);
    world.promise_by(NodeId(2), START_MS + 1_400);
    world.work();
    assert_eq!(answers(&mut world), vec![]);
    world.sync();
    assert_eq!(answers(&mut world), vec![], "its own disk is no majority");
    appended(&mut world);
    world.work();
    assert_eq!(answers(&mut world), vec![value(None, Timestamp::ZERO)]);
}

#[test]
fn one_acknowledgement_of_three_is_no_promise() {
    let mut world = elected(Timestamp::ZERO);
    world.sync();
    appended(&mut world);
    world.promise_by(NodeId(1), START_MS + 1_400);
    assert_eq!(world.replica.status().promise, Timestamp::ZERO);
    assert_eq!(world.replica.status().role, ReplicaRole::LeaderStarting);
}

#[test]
fn a_new_leader_places_nothing_at_or_below_what_its_voters_promised() {
    let mut world = serving(at(1_200));
    world.ask(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    world.sync();
    appended(&mut world);
    assert_eq!(
        answers(&mut world),
        vec![committed(at(1_200).next(), vec![None])]
    );
}

#[test]
fn a_commit_is_answered_when_a_majority_has_it() {
    let mut world = serving(Timestamp::ZERO);
    world.ask(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    let said = world.take_said();
    let sends = said.iter().filter(|effect| {
        matches!(
            effect,
            ReplicaEffect::Send {
                message: ReplicationMessage::Append { .. },
                after_log: false,
                ..
            }
        )
    });
    assert!(sends.count() >= 1, "beside the own disk: {said:?}");
    world.sync();
    assert_eq!(answers(&mut world), vec![]);
    appended(&mut world);
    assert_eq!(answers(&mut world), vec![committed(at(1), vec![None])]);
}

#[test]
fn a_commit_may_be_answered_before_the_own_disk_but_is_not_applied_before() {
    let mut world = serving(Timestamp::ZERO);
    let stored = world.replica.status().stored;
    world.ask(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    let matched = world.last();
    for node in [2, 3] {
        world.receive(
            node,
            ReplicationMessage::Appended {
                term: Term(1),
                matched,
            },
        );
    }
    assert_eq!(answers(&mut world), vec![committed(at(1), vec![None])]);
    world.work();
    assert_eq!(world.replica.status().stored, stored);
    world.sync();
    world.work();
    assert_eq!(world.replica.status().stored, matched);
}

#[test]
fn whoever_waits_is_told_once_that_leadership_is_lost() {
    let mut world = serving(Timestamp::ZERO);
    let mut numbers = vec![
        world.ask(PartitionRequest::Commit(commit(
            1,
            at(1),
            vec![put("b", "x")],
        ))),
        world.ask(get(at(2), "b")),
        world.ask(get(at(2), "c")),
        world.ask(get(at(1_401), "d")),
        world.ask(PartitionRequest::Prepare(prepare(
            2,
            at(1),
            vec![put("e", "x")],
        ))),
        world.ask(PartitionRequest::Commit(commit(
            3,
            at(1),
            vec![put("e", "y")],
        ))),
        world.ask(get(at(2), "e")),
    ];
    world.take_said();
    let append = ReplicationMessage::Append {
        term: Term(2),
        previous: LogPosition::default(),
        entries: vec![],
        commit: LogIndex(0),
    };
    world.receive(3, append);
    let lost = PartitionReply::Error(PartitionError::LeadershipLost {
        partition: PARTITION,
    });
    let mut lost_by = vec![];
    let mut ended = 0;
    for effect in world.take_said() {
        match effect {
            ReplicaEffect::Reply { to, reply } => {
                assert_eq!(reply, lost);
                lost_by.push(to.number.0);
            }
            ReplicaEffect::LostLeadership => ended += 1,
            _ => {}
        }
    }
    lost_by.sort_unstable();
    numbers.sort_unstable();
    assert_eq!((lost_by, ended), (numbers, 1));
    // What the store and the disk say late reaches nobody.
    world.work();
    world.sync();
    assert_eq!(answers(&mut world), vec![]);
    let not_leader = PartitionReply::Error(PartitionError::NotLeader {
        partition: PARTITION,
        leader: Some(NodeId(3)),
        term: Term(2),
    });
    world.ask(get(at(1), "b"));
    assert_eq!(answers(&mut world), vec![not_leader]);
}

#[test]
fn a_follower_keeps_the_state_that_the_leader_commits() {
    use crate::effects::{self, Effect, LockKind, Share};
    use wire::message::Entry;
    let mut world = three();
    let share = Share {
        attempt: attempt(1),
        at: at(1),
        age: name(1).id,
        locks: vec![(key("b"), LockKind::Write(Some("x".into())))],
        results: vec![None],
    };
    let effect = Effect::Prepare {
        name: name(1),
        share,
        staging: None,
    };
    let entry = Entry {
        term: Term(1),
        index: LogIndex(1),
        body: effects::encode(&[effect]),
    };
    let append = |entries, commit| ReplicationMessage::Append {
        term: Term(1),
        previous: LogPosition::default(),
        entries,
        commit: LogIndex(commit),
    };
    world.receive(2, append(vec![entry.clone()], 0));
    world.sync();
    assert_eq!(
        world.replica.status().locks,
        0,
        "not above the high-water mark"
    );
    world.receive(2, append(vec![entry], 1));
    assert_eq!(world.replica.status().locks, 1);
}

#[test]
fn a_leader_whose_promise_no_longer_grows_makes_room() {
    // Its followers answer every heartbeat, but acknowledge nothing new: its clock vouches for nothing,
    // or its disk hangs.
    let stalled = START_MS + 1_400;
    let mut world = serving(at(0));
    for _ in 0..4 {
        world.pass(100);
        world.promise_by(NodeId(2), stalled);
    }
    assert_eq!(world.replica.status().role, ReplicaRole::Leader);
    world.pass(100);
    world.promise_by(NodeId(2), stalled);
    assert_eq!(world.replica.status().role, ReplicaRole::Follower);
    // One whose promise grows stays.
    let mut world = serving(at(0));
    for step in 1..20 {
        world.pass(100);
        world.promise_by(NodeId(2), stalled + step * 100);
    }
    assert_eq!(world.replica.status().role, ReplicaRole::Leader);
}
