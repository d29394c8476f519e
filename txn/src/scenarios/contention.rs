//! Commits that meet others.

use super::fixture::*;
use clock::Timestamp;
use std::time::Duration;
use wire::message::{
    Commit, OutcomeAnswer, PartitionError, PartitionReply, RecordState, Refusal, Snapshot,
};

#[test]
fn contention_in_one_partition_is_another_attempt_at_a_later_snapshot() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1")]))
        .reply(1, contention("a"))
        .expect(["1 -> p2 commit #1@n1.1 at 0 reads [] guards [] writes [a=1]"]);
    s.back_off()
        .expect(["2 -> p2 commit #2@n1.1 at 200000 reads [] guards [] writes [a=1]"]);
    s.pass(Duration::from_secs(10))
        .reply(2, contention("a"))
        .expect([]);
    s.back_off()
        .expect(["answer 1.1: aborted if sent once, contention on a with 99, depends on 5"]);
    s.expect_idle();
}

#[test]
fn what_changed_under_a_clients_snapshot_is_the_clients_to_run_again() {
    let mut s = Scenario::new();
    let own = Commit {
        snapshot: Snapshot::At(at(0)),
        ..commit(vec![put("a", "1")])
    };
    s.commit(1, own).lines_pass();
    s.reply(1, refused(changed("a", 4)))
        .expect(["answer 1.1: aborted if sent once, a changed by the transaction that committed at 1790000000.000004+0, depends on 5"]);
    s.expect_idle();
}

#[test]
fn contention_then_locks_in_key_order_then_a_second_attempt() {
    let mut s = Scenario::new();
    let (first, second) = (attempt(1, 1, 1), attempt(2, 1, 1));
    s.commit(1, commit(vec![put("z", "2"), put("a", "1")])).expect([
        "1 -> p2 prepare #1@n1.1 at 0 reads [] guards [] writes [a=1] locks []",
        "2 -> p4 prepare #1@n1.1 at 0 reads [] guards [] writes [z=2] locks [] staging unbounded [a z]",
    ]);
    s.reply(2, prepared(first, 3, Some(Timestamp::MAX)))
        .reply(1, contention("a"))
        .expect(["3 -> p4 record staging #1@n1.1 unbounded => aborted #1@n1.1"]);
    // Nothing of the second attempt leaves before the first is durably dead.
    s.back_off().expect([]);
    s.reply(3, record(aborted(first), true)).expect([
        "4 -> p2 lock [a] for 7, age 7",
        "5 -> p4 resolve #1@n1.1 aborted",
    ]);
    s.asked_about(7, first).expect(["tell n2 500: Unknown"]);
    s.asked_about(7, second).expect(["tell n2 500: Working"]);
    s.done(5).expect([]);
    s.reply(4, PartitionReply::LockedAll)
        .expect(["6 -> p4 lock [z] for 7, age 7"]);
    s.reply(6, PartitionReply::LockedAll).expect([
        "7 -> p2 prepare #2@n1.1 at 200000 reads [] guards [] writes [a=1] locks []",
        "8 -> p4 prepare #2@n1.1 at 200000 reads [] guards [] writes [z=2] locks [] staging unbounded [a z]",
    ]);
    s.reply(7, prepared(second, 200_001, None))
        .reply(8, prepared(second, 200_000, Some(Timestamp::MAX)))
        .expect([
            "answer 1.1: committed at 200001 [None, None] attempts 2 partitions 2, depends on 200001",
            "9 -> p4 record staging #2@n1.1 unbounded => committed at 200001",
        ]);
}

#[test]
fn a_prepare_that_is_stored_under_another_attempt_does_not_count() {
    let mut s = Scenario::new();
    let n = attempt(1, 1, 1);
    s.commit(1, commit(vec![put("a", "1"), put("z", "2")]))
        .reply(1, prepared(n, 3, Some(Timestamp::MAX)))
        .lines_pass();
    s.reply(2, prepared(attempt(1, 1, 9), 3, None))
        .expect(["3 -> p2 record?"]);
    s.reply(3, record(staging(n, Timestamp::MAX), false))
        .expect(["4 -> p2 record staging #1@n1.1 unbounded => aborted #1@n1.1"]);
}

#[test]
fn a_stale_attempt_goes_on_from_the_record() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1"), put("z", "2")]))
        .lines_pass();
    s.reply(1, refused(Refusal::StaleAttempt))
        .expect(["cancel 2", "3 -> p2 record?"]);
    // A recoverer had met it and found it not prepared.
    s.reply(3, record(aborted(attempt(1, 1, 1)), false))
        .expect([
            "4 -> p2 lock [a] for 7, age 7",
            "5 -> p2 resolve #1@n1.1 aborted",
            "6 -> p4 resolve #1@n1.1 aborted",
        ]);
    s.reply(4, PartitionReply::LockedAll)
        .expect(["7 -> p4 lock [z] for 7, age 7"]);
    s.reply(7, PartitionReply::LockedAll).expect([
        "8 -> p2 prepare #2@n1.1 at 0+1 reads [] guards [] writes [a=1] locks [] staging unbounded [a z]",
        "9 -> p4 prepare #2@n1.1 at 0+1 reads [] guards [] writes [z=2] locks []",
    ]);
}

#[test]
fn a_closed_transaction_is_told_as_closed() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1"), put("z", "2")]))
        .lines_pass();
    s.reply(1, refused(Refusal::Closed))
        .expect(["cancel 2", "3 -> p2 record missing => closed"]);
    s.reply(3, record(RecordState::Closed, true)).expect([
        "answer 1.1: aborted for good, Closed, depends on 5",
        "4 -> p4 resolve #1@n1.1 aborted",
    ]);
}

#[test]
fn another_coordinators_attempt_is_recovered_before_the_next_is_staged() {
    let mut s = Scenario::new();
    let (mine, others) = (attempt(1, 1, 1), attempt(1, 2, 4));
    let again = Commit {
        resent: true,
        ..commit(vec![put("a", "1"), put("z", "2")])
    };
    s.commit(1, again).lines_pass();
    s.reply(1, PartitionReply::OtherCoordinator { attempt: others })
        .expect(["cancel 2", "3 -> n2 works on 7 #1@n2.4?"]);
    s.coordinator(3, wire::message::CoordinatorState::Unknown)
        .expect(["4 -> p2 record?"]);
    s.reply(4, record(staging(others, Timestamp::MAX), false))
        .expect([
            "5 -> p2 prepared #1@n2.4 [a]?",
            "6 -> p4 prepared #1@n2.4 [z]?",
        ]);
    s.reply(6, PartitionReply::Checked(wire::message::Checked::Refused))
        .expect([
            "cancel 5",
            "7 -> p2 record staging #1@n2.4 unbounded => aborted #1@n2.4",
        ]);
    s.reply(7, record(aborted(others), true)).expect([
        "8 -> p2 resolve #1@n2.4 aborted",
        "9 -> p4 resolve #1@n2.4 aborted",
        "10 -> p4 resolve #1@n1.1 aborted",
    ]);
    s.asked_about(7, mine).expect(["tell n2 500: Unknown"]);
    s.back_off().expect([
        "11 -> p2 prepare #2@n1.1 at 200000 reads [] guards [] writes [a=1] locks [] staging unbounded [a z]",
        "12 -> p4 prepare #2@n1.1 at 200000 reads [] guards [] writes [z=2] locks []",
    ]);
}

/// The error answers one copy; one that was sent before it may yet be evaluated.
#[test]
fn after_an_error_a_commit_counts_as_sent_before() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1")])).lines_pass();
    let error = PartitionError::LockWait {
        key: key("a"),
        rival: id(99),
    };
    s.reply(1, PartitionReply::Error(error)).expect([]);
    s.back_off()
        .expect(["2 -> p2 commit #1@n1.1 at 200000 reads [] guards [] writes [a=1] resent"]);
    s.reply(2, refused(Refusal::Expired))
        .expect(["3 -> p2 outcome of 7?"]);
    s.outcome(3, OutcomeAnswer::Committed { at: at(4) })
        .expect(["answer 1.1: committed at 4 [] attempts 2 partitions 1, depends on 4"]);
    s.expect_idle();
}

/// One request a partition, in key order, whatever the order of the operations.
#[test]
fn locks_of_one_partition_are_one_request_and_a_lost_one_is_taken_again() {
    let mut s = Scenario::new();
    let first = attempt(1, 1, 1);
    s.commit(1, commit(vec![put("z", "4"), put("c", "2"), put("a", "1")]))
        .lines_pass();
    s.reply(1, contention("a")).lines_pass();
    s.reply(3, record(aborted(first), true)).expect([
        "4 -> p2 lock [a c] for 7, age 7",
        "5 -> p4 resolve #1@n1.1 aborted",
    ]);
    s.reply(4, PartitionReply::LockedAll)
        .expect(["6 -> p4 lock [z] for 7, age 7"]);
    s.lost(7, "c").expect([]);
    s.reply(6, PartitionReply::LockedAll)
        .expect(["7 -> p2 lock [c] for 7, age 7"]);
    s.reply(7, PartitionReply::LockedAll).lines_pass();
}

#[test]
fn a_key_for_which_too_many_wait_is_named_to_the_client() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1")])).lines_pass();
    let hot = Refusal::HotKey {
        key: key("a"),
        waiting: 1024,
    };
    s.reply(1, refused(hot))
        .expect(["answer 1.1: aborted if sent once, 1024 wait for a, depends on 5"]);
    s.expect_idle();
}

/// The coordinator lives and says so; the attempt is ended all the same, through the record.
#[test]
fn a_wounded_attempt_is_recovered_although_its_coordinator_lives() {
    let mut s = Scenario::new();
    let others = attempt(1, 2, 4);
    s.wound("q", 9, others).expect(["1 -> p2 record?"]);
    s.reply(1, record(staging(others, Timestamp::MAX), false))
        .expect([
            "2 -> p2 prepared #1@n2.4 [a]?",
            "3 -> p4 prepared #1@n2.4 [z]?",
        ]);
    s.reply(3, PartitionReply::Checked(wire::message::Checked::Refused))
        .expect([
            "cancel 2",
            "4 -> p2 record staging #1@n2.4 unbounded => aborted #1@n2.4",
        ]);
}
