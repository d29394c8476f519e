//! Commits that meet nobody, or are only pushed.

use super::fixture::*;
use clock::Timestamp;
use std::time::Duration;
use wire::keys::KeyRange;
use wire::message::PartitionError;
use wire::message::{
    Commit, Condition, OutcomeAnswer, PartitionReply, ReadAnswer, ReadResult, RecordState, Refusal,
    Snapshot,
};

fn read_one(found: Option<wire::message::VersionedValue>) -> PartitionReply {
    PartitionReply::Read(ReadAnswer {
        results: vec![ReadResult::Value(found)],
        depends_on: at(3),
    })
}

/// Reads `q` at 0 on a partition that it does not write, and writes two others.
fn with_a_read_elsewhere() -> Commit {
    Commit {
        snapshot: Snapshot::At(at(0)),
        reads: vec![KeyRange::point(key("q"))],
        ..commit(vec![put("a", "1"), put("z", "2")])
    }
}

#[test]
fn one_partition_is_one_request() {
    let mut s = Scenario::new();
    let guarded = Commit {
        guards: vec![guard("b", Condition::Absent)],
        ..commit(vec![put("a", "1"), add("c", 5)])
    };
    s.commit(1, guarded)
        .expect(["1 -> p2 commit #1@n1.1 at 0 reads [] guards [b Absent] writes [a=1 c+5]"]);
    s.reply(
        1,
        PartitionReply::Committed {
            at: at(4),
            results: vec![None, Some("5".into())],
        },
    )
    .expect([
        "answer 1.1: committed at 4 [None, Some(b\"5\")] attempts 1 partitions 1, depends on 4",
    ])
    .expect_idle();
}

#[test]
fn a_transfer_over_two_partitions_takes_one_round() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![add("z", 5), add("a", -5)])).expect([
        "1 -> p2 prepare #1@n1.1 at 0 reads [] guards [] writes [a-5] locks []",
        "2 -> p4 prepare #1@n1.1 at 0 reads [] guards [] writes [z+5] locks [] staging unbounded [a z]",
    ]);
    let n = attempt(1, 1, 1);
    let with = |value: &'static str, micros, limit| {
        let PartitionReply::Prepared(mut answer) = prepared(n, micros, limit) else {
            unreachable!()
        };
        answer.results = vec![Some(value.into())];
        PartitionReply::Prepared(answer)
    };
    s.reply(1, with("95", 30, None)).expect([]);
    s.asked_about(7, n).expect(["tell n2 500: Working"]);
    s.reply(2, with("105", 20, Some(Timestamp::MAX))).expect([
        "answer 1.1: committed at 30 [Some(b\"105\"), Some(b\"95\")] attempts 1 partitions 2, depends on 30",
        "3 -> p4 record staging #1@n1.1 unbounded => committed at 30",
    ]);
    s.asked_about(7, n).expect(["tell n2 500: Working"]);
    s.reply(3, record(RecordState::Committed { at: at(30) }, true))
        .expect([
            "4 -> p2 resolve #1@n1.1 committed at 30",
            "5 -> p4 resolve #1@n1.1 committed at 30",
        ]);
    s.asked_about(7, n).expect(["tell n2 500: Unknown"]);
    s.done(4).expect([]);
    s.done(5).expect(["6 -> p4 forget record of 7"]);
    s.done(6).expect_idle();
}

/// A deposed leader of the anchor has not heard of the transaction, or only of its beginning.
#[test]
fn nothing_is_resolved_before_the_record_says_committed() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![add("z", 5), add("a", -5)]))
        .lines_pass();
    let n = attempt(1, 1, 1);
    s.reply(1, prepared(n, 30, None))
        .reply(2, prepared(n, 20, Some(Timestamp::MAX)))
        .lines_pass();
    let again = "p4 record staging #1@n1.1 unbounded => committed at 30";
    s.reply(3, record(RecordState::Missing, false)).expect([]);
    s.pass(Duration::from_secs(1))
        .expect([&*format!("4 -> {again}")]);
    s.reply(4, record(staging(n, at(10)), false)).expect([]);
    s.pass(Duration::from_secs(1))
        .expect([&*format!("5 -> {again}")]);
    s.reply(5, record(RecordState::Committed { at: at(30) }, true))
        .expect([
            "6 -> p2 resolve #1@n1.1 committed at 30",
            "7 -> p4 resolve #1@n1.1 committed at 30",
        ]);
}

#[test]
fn reads_on_written_partitions_are_locked_and_need_no_refresh() {
    let mut s = Scenario::new();
    let reading = Commit {
        snapshot: Snapshot::At(at(0)),
        reads: vec![KeyRange::point(key("a")), KeyRange::point(key("b"))],
        guards: vec![guard("y", Condition::Exists)],
        ..commit(vec![put("a", "1"), put("z", "2")])
    };
    s.commit(1, reading).expect([
        "1 -> p2 prepare #1@n1.1 at 0 reads [a b] guards [] writes [a=1] locks [b] staging unbounded [a b y z]",
        "2 -> p4 prepare #1@n1.1 at 0 reads [] guards [y Exists] writes [z=2] locks []",
    ]);
}

#[test]
fn pushed_and_refreshed() {
    let mut s = Scenario::new();
    s.commit(1, with_a_read_elsewhere()).expect([
        "1 -> p2 prepare #1@n1.1 at 0 reads [] guards [] writes [a=1] locks [] staging 0 [a z]",
        "2 -> p4 prepare #1@n1.1 at 0 reads [] guards [] writes [z=2] locks []",
    ]);
    let n = attempt(1, 1, 1);
    s.reply(1, prepared(n, 0, Some(at(0))))
        .reply(2, prepared(n, 40, None))
        .expect(["3 -> p3 refresh [q] from 0 to 40"]);
    s.reply(3, PartitionReply::Refreshed { changed: None })
        .expect(["4 -> p2 record staging #1@n1.1 0 => limit 40"]);
    s.reply(4, record(staging(n, at(40)), true)).expect([
        "answer 1.1: committed at 40 [None, None] attempts 1 partitions 2, depends on 40",
        "5 -> p2 record staging #1@n1.1 40 => committed at 40",
    ]);
}

#[test]
fn pushed_and_changed() {
    let mut s = Scenario::new();
    let n = attempt(1, 1, 1);
    s.commit(1, with_a_read_elsewhere())
        .reply(1, prepared(n, 0, Some(at(0))))
        .reply(2, prepared(n, 40, None))
        .lines_pass();
    s.reply(
        3,
        PartitionReply::Refreshed {
            changed: Some(change("q", 8)),
        },
    )
    .expect(["4 -> p2 record staging #1@n1.1 0 => closed"]);
    s.reply(4, record(RecordState::Closed, true)).expect([
        "answer 1.1: aborted for good, q changed by the transaction that committed at 1790000000.000008+0, depends on 40",
        "5 -> p2 resolve #1@n1.1 aborted",
        "6 -> p4 resolve #1@n1.1 aborted",
    ]);
    s.done(5).done(6).expect(["7 -> p2 forget record of 7"]);
}

#[test]
fn the_limit_is_raised_but_a_recoverer_was_first() {
    let mut s = Scenario::new();
    let n = attempt(1, 1, 1);
    s.commit(1, with_a_read_elsewhere())
        .reply(1, prepared(n, 0, Some(at(0))))
        .reply(2, prepared(n, 40, None))
        .reply(3, PartitionReply::Refreshed { changed: None })
        .lines_pass();
    s.reply(4, record(aborted(n), false)).expect([
        "5 -> p2 resolve #1@n1.1 aborted",
        "6 -> p4 resolve #1@n1.1 aborted",
    ]);
    s.back_off().expect([
        "7 -> p2 prepare #2@n1.1 at 0 reads [] guards [] writes [a=1] locks [] staging 0 [a z]",
        "8 -> p4 prepare #2@n1.1 at 0 reads [] guards [] writes [z=2] locks []",
    ]);
}

#[test]
fn a_guard_elsewhere_is_read_before_any_prepare() {
    let guarded = Commit {
        guards: vec![guard("q", Condition::AtLeast(5))],
        ..commit(vec![put("a", "1"), put("z", "2")])
    };
    let mut s = Scenario::new();
    s.commit(1, guarded.clone())
        .expect(["1 -> p3 read 7 at 0 [Get { key: q }]"]);
    s.reply(1, read_one(value("4", 2)))
        .expect(["answer 1.1: aborted if sent once, guard q found 4@2, depends on 3"]);
    s.expect_idle();

    let mut s = Scenario::new();
    s.commit(1, guarded).lines_pass();
    s.reply(1, read_one(value("5", 2))).expect([
        "2 -> p2 prepare #1@n1.1 at 0 reads [] guards [] writes [a=1] locks [] staging 0 [a z]",
        "3 -> p4 prepare #1@n1.1 at 0 reads [] guards [] writes [z=2] locks []",
    ]);
    // Pushed: the guard's key counts as read.
    let n = attempt(1, 1, 1);
    s.reply(2, prepared(n, 0, Some(at(0))))
        .reply(3, prepared(n, 9, None))
        .expect(["4 -> p3 refresh [q] from 0 to 9"]);
    // Changed: with a snapshot of its own choice the gateway begins anew at a later one.
    s.reply(
        4,
        PartitionReply::Refreshed {
            changed: Some(change("q", 8)),
        },
    )
    .expect(["5 -> p2 record staging #1@n1.1 0 => aborted #1@n1.1"]);
    s.reply(5, record(aborted(n), true)).expect([
        "6 -> p2 resolve #1@n1.1 aborted",
        "7 -> p4 resolve #1@n1.1 aborted",
    ]);
    s.back_off()
        .expect(["8 -> p3 read 7 at 200000 [Get { key: q }]"]);
}

#[test]
fn guards_on_too_much_end_the_commit_with_the_reason() {
    let guarded = Commit {
        guards: vec![guard("q", Condition::Exists)],
        ..commit(vec![put("a", "1"), put("z", "2")])
    };
    let mut s = Scenario::new();
    s.commit(1, guarded).lines_pass();
    let too_large = PartitionError::ReadTooLarge { key: key("q") };
    s.reply(1, PartitionReply::Error(too_large)).expect([
        "answer 1.1: aborted if sent once, Operation { key: q, why: \"up to here the values that guards depend on have more than 67108864 bytes (64 MiB): divide the transaction\" }, depends on nothing",
    ]);
    s.expect_idle();
}

#[test]
fn a_failed_guard_of_a_commit_that_was_sent_before_is_closed_first() {
    let mut s = Scenario::new();
    let guarded = Commit {
        guards: vec![guard("q", Condition::Exists)],
        resent: true,
        ..commit(vec![put("a", "1"), put("z", "2")])
    };
    s.commit(1, guarded).reply(1, read_one(None)).expect([
        "1 -> p3 read 7 at 0 [Get { key: q }]",
        "2 -> p2 outcome of 7?",
    ]);
    s.outcome(2, OutcomeAnswer::Aborted)
        .expect(["answer 1.1: aborted for good, guard q found none, depends on 3"]);
    s.expect_idle();
}

#[test]
fn a_failed_guard_on_a_participant_closes_the_record_before_it_is_told() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1"), put("z", "2")]))
        .lines_pass();
    let refusal = Refusal::Guard {
        key: key("z"),
        found: None,
    };
    s.reply(2, refused(refusal))
        .expect(["cancel 1", "3 -> p2 record missing => closed"]);
    // The anchor's prepare was there already: the compare fails, and is made anew.
    let n = attempt(1, 1, 1);
    s.reply(3, record(staging(n, Timestamp::MAX), false))
        .expect(["4 -> p2 record staging #1@n1.1 unbounded => closed"]);
    s.reply(4, record(RecordState::Closed, true)).expect([
        "answer 1.1: aborted for good, guard z found none, depends on 5",
        "5 -> p2 resolve #1@n1.1 aborted",
    ]);
    s.done(5).expect(["6 -> p2 forget record of 7"]);
    s.done(6).expect_idle();
}

#[test]
fn once_an_abort_was_sent_only_the_record_counts() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1"), put("z", "2")]))
        .reply(2, refused(Refusal::Expired))
        .lines_pass();
    s.reply(3, record(RecordState::Committed { at: at(77) }, false))
        .expect(["answer 1.1: committed at 77 [] attempts 1 partitions 2, depends on 77"]);
    s.expect_idle();
}

#[test]
fn an_unreachable_participant_is_asked_until_it_expires_and_then_the_record_is_closed() {
    let mut s = Scenario::new();
    let n = attempt(1, 1, 1);
    s.commit(1, commit(vec![put("a", "1"), put("z", "2")]))
        .reply(1, prepared(n, 3, Some(Timestamp::MAX)))
        .lines_pass();
    s.unreachable(2)
        .expect(["3 -> p4 prepare #1@n1.1 at 0 reads [] guards [] writes [z=2] locks []"]);
    s.pass(Duration::from_secs(10)).expect([]);
    s.unreachable(3)
        .expect(["4 -> p2 record staging #1@n1.1 unbounded => closed"]);
    s.pass(Duration::from_secs(10)).expect([]);
    s.unreachable(4)
        .expect(["5 -> p2 record staging #1@n1.1 unbounded => closed"]);
    s.pass(Duration::from_secs(10)).unreachable(5).expect([
        "answer 1.1: error: partition p2 (from key ) has had no reachable leader for 10000 ms: are a majority of its nodes [n1, n2, n3] up?, depends on nothing",
    ]);
    s.expect_idle();
}

#[test]
fn one_partition_that_does_not_answer_is_asked_for_the_outcome() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1")])).lines_pass();
    s.pass(Duration::from_secs(10))
        .unreachable(1)
        .expect(["2 -> p2 outcome of 7?"]);
    s.outcome(2, OutcomeAnswer::Committed { at: at(8) })
        .expect(["answer 1.1: committed at 8 [] attempts 1 partitions 1, depends on 8"]);
    s.expect_idle();
}

#[test]
fn a_commit_sent_twice_to_one_gateway_has_one_coordinator_and_two_answers() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1")])).lines_pass();
    let again = Commit {
        resent: true,
        ..commit(vec![put("a", "1")])
    };
    s.commit(2, again).expect([]);
    // Now a refusal must be durable before it is told.
    let refusal = Refusal::Operation {
        key: key("a"),
        why: "no".to_owned(),
    };
    s.reply(1, refused(refusal))
        .expect(["2 -> p2 outcome of 7?"]);
    s.outcome(2, OutcomeAnswer::Aborted).expect([
        "answer 1.1: aborted for good, Operation { key: a, why: \"no\" }, depends on 5",
        "answer 1.2: aborted for good, Operation { key: a, why: \"no\" }, depends on 5",
    ]);
    s.expect_idle();
}

#[test]
fn too_many_keys_are_not_staged_and_the_explicit_record_decides() {
    let mut s = Scenario::new();
    let long = "x".repeat(4_000);
    let mut operations: Vec<_> = (10..28).map(|n| put(&format!("a{n}{long}"), "1")).collect();
    operations.push(put("z", "2"));
    s.commit(1, commit(operations)).lines_pass();
    let n = attempt(1, 1, 1);
    s.reply(1, prepared(n, 3, None))
        .reply(2, prepared(n, 6, None))
        .expect(["3 -> p2 record missing => committed at 6"]);
    s.reply(3, record(RecordState::Committed { at: at(6) }, true));
    let answer = s.take_first();
    assert!(answer.starts_with("answer 1.1: committed at 6"), "{answer}");
    s.expect([
        "4 -> p2 resolve #1@n1.1 committed at 6",
        "5 -> p4 resolve #1@n1.1 committed at 6",
    ]);
}

#[test]
fn locks_on_keys_that_are_not_written_are_given_back() {
    let mut s = Scenario::new();
    let locking = Commit {
        locked: vec![key("a"), key("q")],
        ..commit(vec![put("a", "1")])
    };
    s.commit(1, locking).lines_pass();
    s.reply(
        1,
        PartitionReply::Committed {
            at: at(4),
            results: vec![None],
        },
    )
    .expect([
        "answer 1.1: committed at 4 [None] attempts 1 partitions 1, depends on 4",
        "2 -> p3 unlock [q] for 7",
    ]);
    s.expect_idle();
}

#[test]
#[should_panic(expected = "is recorded at the same timestamp")]
fn a_record_that_contradicts_what_was_told_stops_the_node() {
    let mut s = Scenario::new();
    let n = attempt(1, 1, 1);
    s.commit(1, commit(vec![put("a", "1"), put("z", "2")]))
        .reply(1, prepared(n, 3, Some(Timestamp::MAX)))
        .reply(2, prepared(n, 6, None))
        .reply(3, record(RecordState::Committed { at: at(7) }, false));
}
