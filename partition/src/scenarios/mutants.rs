//! Each rule that is switched off is noticed: by a random history, or by the scenario of its rule.

use super::harness::*;
use super::histories::caught;
use super::membership::{change_of_a_leader, placed_after};
use super::replication::elected;
use super::transfer::{committed_at, elected_after_a_handover_to_another_term};
use crate::Mutant;
use crate::fixtures::attempt;
use clock::Timestamp;
use wire::ids::NodeId;
use wire::message::{
    Checked, Decision, PartitionReply, PartitionRequest, RecordAnswer, RecordChange, RecordState,
};

#[test]
fn random_histories_notice_mutants() {
    for mutant in [
        Mutant::NoTimestampCache,
        Mutant::ReadSkipsLock,
        Mutant::LockAfterProposal,
        Mutant::EmptyCacheOfNewLeader,
    ] {
        let seed = caught(mutant, 400);
        assert!(seed.is_some(), "nothing notices {mutant:?}");
    }
}

#[test]
fn a_change_of_members_without_the_promise_lets_a_write_below_what_was_read() {
    let change = change_of_a_leader(Some(Mutant::MembersWithoutPromise));
    // The leader that made the change may have answered up to its promise.
    assert!(placed_after(&change) <= at(1_400));
}

#[test]
fn without_an_ended_marker_a_late_prepare_locks_again() {
    let mut world = World::without(Mutant::NoEndedMarker);
    let share = || PartitionRequest::Prepare(prepare(1, at(2), vec![put("b", "x")]));
    world.answer(share());
    let ended = world.answer(resolve(1, attempt(1), Decision::Aborted));
    assert_eq!(ended, PartitionReply::Done);
    assert_eq!(world.answer(share()), prepared(at(2), attempt(1)));
}

#[test]
fn without_waiting_for_the_own_entry_a_new_leader_answers_at_once() {
    let mut world = elected(Timestamp::ZERO);
    world.replica.mutant = Some(Mutant::ServesBeforeOwnEntry);
    world.promise_by(NodeId(1), START_MS + 1_400);
    world.promise_by(NodeId(2), START_MS + 1_400);
    let number = world.ask(get(at(1), "b"));
    world.work();
    let answer = (number, value(None, Timestamp::ZERO));
    assert_eq!(world.take_replies(), vec![answer]);
}

#[test]
fn what_was_handed_over_and_used_in_a_later_term_lets_a_write_below_what_was_read() {
    let mut world = elected_after_a_handover_to_another_term(Some(Mutant::HandoverInLaterTerm));
    world.ask(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    // Node 3 led in between and may have answered up to its promise.
    assert!(committed_at(&mut world) <= at(1_200));
}

#[test]
fn without_a_refusal_marker_a_late_prepare_completes_what_was_recovered_as_aborted() {
    let mut world = World::without(Mutant::NoRefusalMarker);
    let refused = PartitionReply::Checked(Checked::Refused);
    assert_eq!(world.answer(check(1, attempt(1), &["b"])), refused);
    let late = PartitionRequest::Prepare(prepare(1, at(2), vec![put("b", "x")]));
    assert_eq!(world.answer(late), prepared(at(2), attempt(1)));
}

#[test]
fn without_comparing_the_limit_recovery_aborts_what_was_acknowledged() {
    let mut world = World::without(Mutant::LimitNotCompared);
    let mut share = prepare(1, at(2), vec![put("b", "x")]);
    share.staging = Some((at(2), keys(&["b"])));
    world.answer(PartitionRequest::Prepare(share));
    let staging = |limit| RecordState::Staging {
        attempt: attempt(1),
        limit,
    };
    let raise = RecordChange::RaiseLimit { to: at(9) };
    let raised = world.answer(change(1, staging(at(2)), raise));
    assert!(
        matches!(
            raised,
            PartitionReply::Record(RecordAnswer { changed: true, .. })
        ),
        "{raised:?}"
    );
    // The coordinator acts on that. Recovery had read the record before.
    let abort = RecordChange::Abort {
        attempt: attempt(1),
    };
    let aborted = world.answer(change(1, staging(at(2)), abort));
    assert!(
        matches!(
            aborted,
            PartitionReply::Record(RecordAnswer { changed: true, .. })
        ),
        "{aborted:?}"
    );
}
