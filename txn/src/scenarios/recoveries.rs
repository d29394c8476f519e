//! Abandoned transactions, and questions for outcomes.

use super::fixture::*;
use crate::limits::ASKED_EXPIRES_AHEAD_MAX;
use clock::Timestamp;
use wire::message::{
    Checked, ClientRequest, CoordinatorState, Decision, OutcomeAnswer, PartitionReply,
    RecordAnswer, RecordState, TransactionName,
};

fn checked(checked: Checked) -> PartitionReply {
    PartitionReply::Checked(checked)
}

/// A lock on `z` of transaction 5 that a coordinator of node 2 left behind; its record is read.
fn pushed() -> Scenario {
    let mut s = Scenario::new();
    s.push("z", 5, attempt(1, 2, 1))
        .expect(["1 -> n2 works on 5 #1@n2.1?"]);
    s.coordinator(1, CoordinatorState::Unknown)
        .expect(["2 -> p2 record?"]);
    s
}

#[test]
fn a_coordinator_that_works_is_left_alone() {
    let mut s = Scenario::new();
    s.push("z", 5, attempt(1, 2, 1)).lines_pass();
    s.coordinator(1, CoordinatorState::Working).expect_idle();
}

#[test]
fn this_gateways_own_transaction_is_left_alone_and_that_of_its_last_start_is_not() {
    let mut s = Scenario::new();
    let mut own = commit(vec![put("a", "1"), put("z", "2")]);
    own.name = name(5, "a");
    s.commit(1, own).lines_pass();
    s.push("z", 5, attempt(1, 1, 1)).expect([]);
    let mut before = attempt(1, 1, 1);
    before.coordinator.start = 0;
    s.push("z", 5, before).expect(["3 -> p2 record?"]);
}

#[test]
fn a_lost_coordinators_transaction_is_recovered_to_committed() {
    let mut s = pushed();
    let n = attempt(1, 2, 1);
    s.reply(2, record(staging(n, Timestamp::MAX), false))
        .expect([
            "3 -> p2 prepared #1@n2.1 [a]?",
            "4 -> p4 prepared #1@n2.1 [z]?",
        ]);
    s.reply(3, checked(Checked::Prepared(at(30))))
        .reply(4, checked(Checked::Prepared(at(20))))
        .expect(["5 -> p2 record staging #1@n2.1 unbounded => committed at 30"]);
    s.reply(5, record(RecordState::Committed { at: at(30) }, true))
        .expect([
            "6 -> p2 resolve #1@n2.1 committed at 30",
            "7 -> p4 resolve #1@n2.1 committed at 30",
        ]);
    s.done(6).done(7).expect(["8 -> p2 forget record of 5"]);
    s.done(8).expect_idle();
}

#[test]
fn what_is_prepared_above_the_limit_is_recovered_to_aborted() {
    let mut s = pushed();
    let n = attempt(1, 2, 1);
    s.reply(2, record(staging(n, at(25)), false))
        .reply(3, checked(Checked::Prepared(at(30))))
        .reply(4, checked(Checked::Prepared(at(20))))
        .expect([
            "3 -> p2 prepared #1@n2.1 [a]?",
            "4 -> p4 prepared #1@n2.1 [z]?",
            "5 -> p2 record staging #1@n2.1 25 => aborted #1@n2.1",
        ]);
    s.reply(5, record(aborted(n), true)).expect([
        "6 -> p2 resolve #1@n2.1 aborted",
        "7 -> p4 resolve #1@n2.1 aborted",
    ]);
    s.done(6).done(7).expect_idle();
}

#[test]
fn what_is_not_prepared_everywhere_is_recovered_to_aborted() {
    let mut s = pushed();
    let n = attempt(1, 2, 1);
    s.reply(2, record(staging(n, Timestamp::MAX), false))
        .lines_pass();
    s.reply(3, checked(Checked::Refused)).expect([
        "cancel 4",
        "5 -> p2 record staging #1@n2.1 unbounded => aborted #1@n2.1",
    ]);
}

#[test]
fn what_another_attempt_of_its_number_ended_can_never_be_prepared() {
    let mut s = pushed();
    let n = attempt(1, 2, 1);
    s.reply(2, record(staging(n, Timestamp::MAX), false))
        .lines_pass();
    // Left by attempt 1 of another coordinator: the record still says staging.
    s.reply(4, checked(Checked::Ended(Decision::Aborted)))
        .expect([
            "cancel 3",
            "5 -> p2 record staging #1@n2.1 unbounded => aborted #1@n2.1",
        ]);
}

#[test]
fn without_a_record_the_attempt_is_aborted_where_it_was_met() {
    let mut s = pushed();
    s.reply(2, record(RecordState::Missing, false))
        .expect(["3 -> p2 record missing => aborted #1@n2.1"]);
    s.reply(3, record(aborted(attempt(1, 2, 1)), true))
        .expect(["4 -> p4 resolve #1@n2.1 aborted"]);
    s.done(4).expect_idle();
}

#[test]
fn a_later_attempt_is_aborted_although_an_earlier_one_was() {
    let mut s = Scenario::new();
    s.push("z", 5, attempt(2, 2, 1))
        .coordinator(1, CoordinatorState::Unknown)
        .lines_pass();
    s.reply(2, record(aborted(attempt(1, 2, 1)), false))
        .expect(["3 -> p2 record aborted #1@n2.1 => aborted #2@n2.1"]);
}

#[test]
fn recovery_races_the_coordinator_that_raises_its_limit() {
    let mut s = pushed();
    let n = attempt(1, 2, 1);
    s.reply(2, record(staging(n, at(25)), false))
        .reply(3, checked(Checked::Prepared(at(30))))
        .reply(4, checked(Checked::Prepared(at(20))))
        .lines_pass();
    // The whole value is compared: with the limit raised, the abort is refused, and all begins anew.
    s.reply(5, record(staging(n, at(30)), false)).expect([
        "6 -> p2 prepared #1@n2.1 [a]?",
        "7 -> p4 prepared #1@n2.1 [z]?",
    ]);
    s.reply(6, checked(Checked::Prepared(at(30))))
        .reply(7, checked(Checked::Prepared(at(20))))
        .expect(["8 -> p2 record staging #1@n2.1 30 => committed at 30"]);
    // The coordinator was first again, with the same answer.
    s.reply(8, record(RecordState::Committed { at: at(30) }, true))
        .expect([
            "9 -> p2 resolve #1@n2.1 committed at 30",
            "10 -> p4 resolve #1@n2.1 committed at 30",
        ]);
}

#[test]
fn a_participant_that_was_resolved_sends_the_recoverer_back_to_the_record() {
    let mut s = pushed();
    let n = attempt(1, 2, 1);
    s.reply(2, record(staging(n, Timestamp::MAX), false))
        .lines_pass();
    s.reply(3, checked(Checked::Ended(Decision::Committed(at(30)))))
        .expect(["cancel 4"]);
    s.back_off().expect(["5 -> p2 record?"]);
    // The record does not say under which attempt: only what is still prepared is resolved.
    s.reply(5, record(RecordState::Committed { at: at(30) }, false))
        .expect(["6 -> p4 prepared #1@n2.1 [z]?"]);
    s.reply(6, checked(Checked::Prepared(at(20))))
        .expect(["7 -> p4 resolve #1@n2.1 committed at 30"]);
    s.done(7).expect_idle();
}

#[test]
fn what_a_later_attempt_replaced_is_not_resolved_as_committed() {
    let mut s = pushed();
    s.reply(2, record(RecordState::Committed { at: at(30) }, false))
        .expect(["3 -> p4 prepared #1@n2.1 [z]?"]);
    s.reply(3, checked(Checked::Refused)).expect_idle();
}

#[test]
fn an_attempt_beside_the_staged_one_is_dead() {
    let mut s = pushed();
    s.reply(2, record(staging(attempt(2, 3, 1), Timestamp::MAX), false))
        .expect(["3 -> p4 resolve #1@n2.1 aborted"]);
    s.done(3).expect_idle();
}

#[test]
fn several_pushes_are_one_recovery() {
    let mut s = pushed();
    s.push("y", 5, attempt(1, 2, 1)).expect([]);
    s.reply(2, record(RecordState::Closed, false))
        .expect(["3 -> p4 resolve #1@n2.1 aborted"]);
    s.done(3).expect_idle();
}

#[test]
fn the_outcome_of_an_unknown_transaction_is_aborted() {
    let mut s = Scenario::new();
    s.client(1, ClientRequest::Outcome { name: name(5, "a") })
        .expect(["1 -> p2 outcome of 5?"]);
    s.outcome(1, OutcomeAnswer::Aborted)
        .expect(["answer 1.1: Outcome(Aborted), depends on nothing"]);
    s.expect_idle();
}

/// The question would close it, and what is closed is kept until it expires.
#[test]
fn an_outcome_is_not_asked_for_with_an_expiry_beyond_what_commits_may_have() {
    let mut s = Scenario::new();
    let most = at(ASKED_EXPIRES_AHEAD_MAX.as_micros() as u64);
    for expires in [most.next(), Timestamp::MAX] {
        let name = TransactionName {
            expires,
            ..name(5, "a")
        };
        s.client(1, ClientRequest::Outcome { name });
        let answer = s.take_first();
        assert!(answer.contains("more than 120 s from now"), "{answer}");
        s.expect_idle();
    }
    let name = TransactionName {
        expires: most,
        ..name(5, "a")
    };
    s.client(1, ClientRequest::Outcome { name })
        .expect(["1 -> p2 outcome of 5?"]);
}

#[test]
fn an_outcome_that_is_staged_is_recovered_and_asked_for_again() {
    let mut s = Scenario::new();
    let n = attempt(1, 2, 1);
    s.client(1, ClientRequest::Outcome { name: name(5, "a") })
        .lines_pass();
    let answer = OutcomeAnswer::Staging {
        attempt: n,
        gateway: wire::ids::NodeId(2),
    };
    s.outcome(1, answer).expect(["2 -> n2 works on 5 #1@n2.1?"]);
    // Its coordinator lives: it is given a little time.
    s.coordinator(2, CoordinatorState::Working).expect([]);
    s.back_off().expect(["3 -> n2 works on 5 #1@n2.1?"]);
    s.coordinator(3, CoordinatorState::Unknown)
        .expect(["4 -> p2 record?"]);
    s.reply(4, record(RecordState::Committed { at: at(9) }, false))
        .expect(["5 -> p2 outcome of 5?"]);
    s.outcome(5, OutcomeAnswer::Committed { at: at(9) });
    let answer = s.take_first();
    assert!(answer.ends_with("depends on 9"), "{answer}");
    s.expect_idle();
}

/// *Committed at 30*, of a transaction whose keys are `a` and `z`.
fn committed_with_keys(changed: bool) -> PartitionReply {
    PartitionReply::Record(RecordAnswer {
        state: RecordState::Committed { at: at(30) },
        keys: vec![key("a"), key("z")],
        changed,
    })
}

#[test]
fn a_record_left_committed_is_resolved_everywhere_and_forgotten() {
    let mut s = pushed();
    s.reply(2, committed_with_keys(false))
        .expect(["3 -> p2 record staging #1@n2.1 unbounded => committed at 30"]);
    s.reply(3, committed_with_keys(true)).expect([
        "4 -> p2 resolve #1@n2.1 committed at 30",
        "5 -> p4 resolve #1@n2.1 committed at 30",
    ]);
    s.done(4).expect([]);
    s.done(5).expect(["6 -> p2 forget record of 5"]);
    s.done(6).expect_idle();
}

#[test]
fn a_record_committed_under_another_attempt_is_left_to_whoever_meets_that() {
    let mut s = pushed();
    s.reply(2, committed_with_keys(false)).lines_pass();
    s.reply(3, committed_with_keys(false))
        .expect(["4 -> p4 prepared #1@n2.1 [z]?"]);
    s.reply(4, checked(Checked::Refused)).expect_idle();
}

/// Both attempts have the same timestamp, and the other one was committed between read and change.
#[test]
fn a_commit_that_was_not_made_here_is_not_resolved_from_here() {
    let mut s = pushed();
    let n = attempt(1, 2, 1);
    s.reply(2, record(staging(n, Timestamp::MAX), false))
        .reply(3, checked(Checked::Prepared(at(30))))
        .reply(4, checked(Checked::Prepared(at(20))))
        .lines_pass();
    s.reply(5, committed_with_keys(false))
        .expect(["6 -> p4 prepared #1@n2.1 [z]?"]);
    s.reply(6, checked(Checked::Refused)).expect_idle();
}
