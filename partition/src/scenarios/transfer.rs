//! Leadership is handed over with the true high water of the timestamp cache.

use super::harness::*;
use super::replication::{answers, appended, serving, three};
use crate::ReplicaEffect;
use clock::Timestamp;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{
    LogPosition, PartitionError, PartitionReply, PartitionRequest, ReplicaRole, ReplicationMessage,
};

fn not_leader(leader: u32, term: u64) -> PartitionReply {
    PartitionReply::Error(PartitionError::NotLeader {
        partition: PARTITION,
        leader: Some(NodeId(leader)),
        term: Term(term),
    })
}

fn hand_over(term: u64, high_water: Timestamp) -> ReplicationMessage {
    let term = Term(term);
    ReplicationMessage::HandOver { term, high_water }
}

fn handed_over(said: &[ReplicaEffect]) -> Vec<ReplicationMessage> {
    let message = |effect: &ReplicaEffect| match effect {
        ReplicaEffect::Send { message, .. } => Some(message.clone()),
        _ => None,
    };
    let is_hand_over = |m: &ReplicationMessage| matches!(m, ReplicationMessage::HandOver { .. });
    said.iter()
        .filter_map(message)
        .filter(is_hand_over)
        .collect()
}

fn leads(world: &mut World, leader: u32, term: u64) {
    let append = ReplicationMessage::Append {
        term: Term(term),
        previous: LogPosition::default(),
        entries: vec![],
        commit: LogIndex(0),
    };
    world.receive(leader, append);
}

fn votes(world: &mut World, from: u32, term: u64, promised: Timestamp) {
    let vote = ReplicationMessage::VoteReply {
        term: Term(term),
        granted: true,
        promised,
    };
    world.receive(from, vote);
}

/// The elected replica's first entry is committed and its promise holds.
fn begin_to_serve(world: &mut World) {
    world.sync();
    let (term, matched) = (world.replica.term(), world.last());
    world.receive(2, ReplicationMessage::Appended { term, matched });
    world.promise_by(NodeId(1), START_MS + 1_900);
    world.promise_by(NodeId(2), START_MS + 1_900);
    world.work();
    assert_eq!(world.replica.status().role, ReplicaRole::Leader);
}

/// The timestamp of the one commit that was asked for.
pub(super) fn committed_at(world: &mut World) -> Timestamp {
    world.sync();
    let (term, matched) = (world.replica.term(), world.last());
    world.receive(2, ReplicationMessage::Appended { term, matched });
    match answers(world).as_slice() {
        [PartitionReply::Committed { at, .. }] => *at,
        other => panic!("one commit, not {other:?}"),
    }
}

/// What was handed over for term 2 found node 3 elected in it, which promised up to `at(1_200)`; then
/// this replica is elected in term 3, and serves.
pub(super) fn elected_after_a_handover_to_another_term(
    #[cfg(feature = "mutants")] mutant: Option<crate::Mutant>,
) -> World {
    let mut world = three();
    #[cfg(feature = "mutants")]
    {
        world.replica.mutant = mutant;
    }
    leads(&mut world, 2, 1);
    world.receive(2, hand_over(1, at(100)));
    world.sync();
    leads(&mut world, 3, 2);
    world.pass(1_000);
    let granted = true;
    let term = Term(3);
    world.receive(2, ReplicationMessage::PreVoteReply { term, granted });
    world.sync();
    votes(&mut world, 2, 3, at(1_200));
    begin_to_serve(&mut world);
    world.take_said();
    world
}

#[test]
fn the_highest_read_is_handed_over_and_then_nothing_is_answered() {
    let mut world = serving(at(900));
    world.ask(get(at(1_100), "b"));
    world.work();
    answers(&mut world);
    assert_eq!(world.transfer(2), Ok(()));
    let said = world.take_said();
    assert_eq!(handed_over(&said), vec![hand_over(1, at(1_100))]);
    world.ask(get(at(950), "b"));
    assert_eq!(answers(&mut world), vec![not_leader(2, 1)]);
    // Whatever is acknowledged to it now is of no use.
    world.promise_by(NodeId(2), START_MS + 1_900);
    world.ask(get(at(950), "c"));
    assert_eq!(answers(&mut world), vec![not_leader(2, 1)]);
}

#[test]
fn what_the_leader_started_from_is_handed_over_if_nothing_was_read() {
    let mut world = serving(at(900));
    assert_eq!(world.transfer(2), Ok(()));
    let said = world.take_said();
    assert_eq!(handed_over(&said), vec![hand_over(1, at(900))]);
}

#[test]
fn what_is_under_way_is_committed_first_and_who_comes_meanwhile_goes_to_the_target() {
    let mut world = serving(Timestamp::ZERO);
    let commit = |n, user| PartitionRequest::Commit(commit(n, at(1), vec![put(user, "x")]));
    world.ask(commit(1, "b"));
    assert_eq!(world.transfer(2), Ok(()));
    world.ask(commit(2, "c"));
    world.sync();
    let said = world.take_said();
    assert_eq!(handed_over(&said), vec![], "node 2 may not have it yet");
    appended(&mut world);
    let said = world.take_said();
    assert_eq!(handed_over(&said), vec![hand_over(1, at(1))]);
    let replies: Vec<_> = said
        .into_iter()
        .filter_map(|effect| match effect {
            ReplicaEffect::Reply { reply, .. } => Some(reply),
            _ => None,
        })
        .collect();
    assert_eq!(
        replies,
        vec![committed(at(1), vec![None]), not_leader(2, 1)]
    );
}

#[test]
fn a_target_that_is_slow_to_settle_costs_a_short_silence_and_gets_the_leadership_later() {
    let mut world = serving(Timestamp::ZERO);
    let commit = |n, user| PartitionRequest::Commit(commit(n, at(1), vec![put(user, "x")]));
    world.ask(commit(1, "b"));
    assert_eq!(world.transfer(2), Ok(()));
    world.ask(get(at(2), "c"));
    assert_eq!(answers(&mut world), vec![]);
    world.pass(50);
    world.work();
    assert_eq!(
        answers(&mut world),
        vec![value(None, Timestamp::ZERO)],
        "it serves again"
    );
    world.sync();
    appended(&mut world);
    assert_eq!(handed_over(&world.take_said()), vec![], "for a while");
    world.pass(50);
    assert_eq!(
        handed_over(&world.take_said()),
        vec![hand_over(1, at(2))],
        "then it tries once more"
    );
}

#[test]
fn the_target_starts_from_what_was_handed_over_and_not_from_the_promises() {
    let mut world = three();
    leads(&mut world, 2, 1);
    world.receive(2, hand_over(1, at(100)));
    // Its first requests come before its votes do: they wait.
    let early = PartitionRequest::Commit(commit(1, at(1), vec![put("b", "x")]));
    world.ask(early);
    world.sync();
    assert_eq!(answers(&mut world), vec![]);
    votes(&mut world, 3, 2, at(1_200));
    begin_to_serve(&mut world);
    assert_eq!(committed_at(&mut world), at(100).next());
}

#[test]
fn a_target_that_is_not_elected_sends_its_early_requests_on() {
    let mut world = three();
    leads(&mut world, 2, 1);
    world.receive(2, hand_over(1, at(100)));
    world.ask(get(at(1), "b"));
    leads(&mut world, 3, 2);
    assert_eq!(answers(&mut world), vec![not_leader(3, 2)]);
}

#[test]
fn in_a_later_term_the_promises_count() {
    let mut world = elected_after_a_handover_to_another_term(
        #[cfg(feature = "mutants")]
        None,
    );
    world.ask(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    assert_eq!(committed_at(&mut world), at(1_200).next());
}
