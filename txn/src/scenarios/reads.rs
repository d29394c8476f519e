//! Reads over partitions, locks of clients, and what is refused at once.

use super::fixture::*;
use crate::limits::HELD_LOCKS_MAX;
use std::time::Duration;
use wire::keys::{KeyRange, READ_BYTES_MAX, VALUE_BYTES_MAX};
use wire::message::{
    ClientRequest, Commit, LockWait, Locked, PartitionError, PartitionReply, ReadAnswer,
    ReadRequest, ReadResult, Row, Snapshot, TransactionName,
};

fn read(requests: Vec<ReadRequest>) -> ClientRequest {
    ClientRequest::Read {
        reader: None,
        snapshot: Snapshot::Fresh,
        requests,
    }
}

fn scan(reverse: bool, limit: u32) -> ReadRequest {
    ReadRequest::Scan {
        range: range("b", "x"),
        reverse,
        limit,
        bytes_max: 1_000,
    }
}

fn rows(users: &[&str], rest: Option<KeyRange>) -> ReadResult {
    let row = |user: &&str| Row {
        key: key(user),
        version: value("v", 1).unwrap(),
    };
    ReadResult::Rows {
        rows: users.iter().map(row).collect(),
        rest,
    }
}

fn answer(results: Vec<ReadResult>, micros: u64) -> PartitionReply {
    PartitionReply::Read(ReadAnswer {
        results,
        depends_on: at(micros),
    })
}

#[test]
fn points_go_out_at_once_and_come_back_in_order() {
    let mut s = Scenario::new();
    let get = |user| ReadRequest::Get { key: key(user) };
    s.client(1, read(vec![get("z"), get("a"), get("y")]))
        .expect([
            "1 -> p2 read at 0 [Get { key: a }]",
            "2 -> p4 read at 0 [Get { key: z }, Get { key: y }]",
        ]);
    let found = vec![ReadResult::Value(value("1", 7)), ReadResult::Value(None)];
    s.reply(2, answer(found, 7)).expect([]);
    s.reply(1, answer(vec![ReadResult::Value(value("2", 6))], 6))
        .expect(["answer 1.1: read at 0 [1@7 2@6 none], depends on 7"]);
    s.expect_idle();
}

#[test]
fn a_scan_over_three_partitions_stops_at_its_limit() {
    let mut s = Scenario::new();
    s.client(1, read(vec![scan(false, 3)])).expect([
        "1 -> p2 read at 0 [Scan { range: [b, m), reverse: false, limit: 3, bytes_max: 1000 }]",
    ]);
    s.reply(1, answer(vec![rows(&["b", "c"], None)], 2))
        .expect([
            "2 -> p3 read at 0 [Scan { range: [m, t), reverse: false, limit: 1, bytes_max: 988 }]",
        ]);
    // A row of five bytes of full key and one of value, twice.
    let rest = Some(KeyRange::new(key("n\0"), Some(key("t"))));
    s.reply(2, answer(vec![rows(&["n"], rest)], 9))
        .expect(["answer 1.1: read at 0 [[b c n] rest Some([n\\x00, x))], depends on 9"]);
    s.expect_idle();
}

#[test]
fn a_scan_in_reverse_begins_in_the_last_partition() {
    let mut s = Scenario::new();
    s.client(1, read(vec![scan(true, 3)])).expect([
        "1 -> p4 read at 0 [Scan { range: [t, x), reverse: true, limit: 3, bytes_max: 1000 }]",
    ]);
    s.reply(1, answer(vec![rows(&["w"], None)], 2)).expect([
        "2 -> p3 read at 0 [Scan { range: [m, t), reverse: true, limit: 2, bytes_max: 994 }]",
    ]);
    s.reply(2, answer(vec![rows(&[], None)], 2)).expect([
        "3 -> p2 read at 0 [Scan { range: [b, m), reverse: true, limit: 2, bytes_max: 994 }]",
    ]);
    let rest = Some(range("b", "k"));
    s.reply(3, answer(vec![rows(&["l", "k"], rest)], 3))
        .expect(["answer 1.1: read at 0 [[w l k] rest Some([b, k))], depends on 3"]);
    s.expect_idle();
}

#[test]
fn a_scan_that_reaches_its_end_has_no_rest() {
    let mut s = Scenario::new();
    s.client(1, read(vec![scan(false, 9), scan(false, 0)]))
        .reply(1, answer(vec![rows(&["b"], None)], 1))
        .reply(2, answer(vec![rows(&[], None)], 1))
        .lines_pass();
    s.reply(3, answer(vec![rows(&["u"], None)], 1))
        .expect(["answer 1.1: read at 0 [[b u] rest None [] rest Some([b, x))], depends on 1"]);
}

#[test]
fn a_map_that_moved_is_asked_again() {
    let mut s = Scenario::new();
    let moved = PartitionReply::Error(PartitionError::WrongRange {
        partition: wire::ids::PartitionId(2),
        descriptor: None,
    });
    s.client(
        1,
        read(vec![ReadRequest::Get { key: key("a") }, scan(false, 1)]),
    )
    .lines_pass();
    s.reply(1, moved).expect([]);
    s.back_off().expect([
        "2 -> p2 read at 0 [Get { key: a }, Scan { range: [b, m), reverse: false, limit: 1, bytes_max: 1000 }]",
    ]);
}

#[test]
fn a_lock_is_given_back_when_its_client_is_gone() {
    let mut s = Scenario::new();
    let lock = |user| ClientRequest::Lock {
        id: id(5),
        age: id(4),
        snapshot: Snapshot::Fresh,
        key: key(user),
        wait: LockWait::Queue,
    };
    s.client(1, lock("a"))
        .expect(["1 -> p2 lock a for 5 at 0, age 4"]);
    let locked = Locked {
        value: value("v", 3),
        newest: at(3),
    };
    s.reply(1, PartitionReply::Locked(locked))
        .expect(["answer 1.1: locked at 0 v@3, depends on 3"]);
    s.client(2, lock("z")).lines_pass();
    s.event(crate::GatewayEvent::ClientGone { connection: 1 })
        .expect([
            "cancel 2",
            "3 -> p2 unlock [a] for 5",
            "4 -> p4 unlock [z] for 5",
        ]);
    s.expect_idle();
}

fn lock(random: u64, user: &str, wait: LockWait) -> ClientRequest {
    ClientRequest::Lock {
        id: id(random),
        age: id(random),
        snapshot: Snapshot::Fresh,
        key: key(user),
        wait,
    }
}

/// Its client has nothing to roll back then, so nothing else ends the transaction here.
#[test]
fn locks_that_others_hold_do_not_use_up_what_a_connection_may_hold() {
    let mut s = Scenario::new();
    let rounds = HELD_LOCKS_MAX as u64 + 1;
    for n in 1..=rounds {
        let taken = PartitionReply::Taken {
            key: key("a"),
            rival: id(0),
        };
        s.client(n, lock(n, "a", LockWait::Refuse))
            .reply(n, taken)
            .lines_pass();
    }
    s.expect_idle();
}

/// The answer may be what is lost, and the lock be held.
#[test]
fn a_lock_whose_fate_is_unknown_is_given_back_and_forgotten() {
    let mut s = Scenario::new();
    s.client(1, lock(5, "a", LockWait::Queue)).lines_pass();
    s.unreachable(1);
    s.take_first();
    s.expect(["2 -> p2 unlock [a] for 5"]).expect_idle();
}

#[test]
fn a_commit_goes_on_without_its_client() {
    let mut s = Scenario::new();
    s.commit(1, commit(vec![put("a", "1")])).lines_pass();
    s.event(crate::GatewayEvent::ClientGone { connection: 1 })
        .expect([]);
    let done = PartitionReply::Committed {
        at: at(4),
        results: vec![None],
    };
    s.reply(1, done).expect_idle();
}

#[test]
fn a_rollback_gives_back_what_the_client_may_hold() {
    let mut s = Scenario::new();
    let keys = vec![key("a"), key("z")];
    s.client(1, ClientRequest::Rollback { id: id(5), keys })
        .expect(["1 -> p2 unlock [a] for 5", "2 -> p4 unlock [z] for 5"]);
    s.reply(1, PartitionReply::Unlocked)
        .reply(2, PartitionReply::Unlocked)
        .expect(["answer 1.1: RolledBack, depends on nothing"]);
    s.expect_idle();
}

#[test]
fn a_client_moves_its_snapshot_up_if_nothing_changed() {
    let mut s = Scenario::new();
    let refresh = ClientRequest::Refresh {
        id: id(5),
        from: at(0),
        to: at(9),
        reads: vec![range("b", "x")],
    };
    s.client(1, refresh).expect([
        "1 -> p2 refresh [[b, m)] from 0 to 9",
        "2 -> p3 refresh [[m, t)] from 0 to 9",
        "3 -> p4 refresh [[t, x)] from 0 to 9",
    ]);
    s.reply(1, PartitionReply::Refreshed { changed: None });
    let changed = Some(change("q", 8));
    s.reply(2, PartitionReply::Refreshed { changed }).expect([
        "cancel 3",
        "answer 1.1: Refreshed { changed: Some(Change { key: q, rival: Version { at: 1790000000.000008+0 } }) }, depends on 9",
    ]);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_asked() {
    let refused = |commit: Commit, why: &str| {
        let mut s = Scenario::new();
        s.commit(1, commit);
        let said = s.take_first();
        assert!(said.contains(why), "{said} should say: {why}");
        s.expect_idle();
    };
    let sound = || commit(vec![put("a", "1")]);
    let mut nothing = sound();
    nothing.operations.clear();
    refused(nothing, "writes nothing");
    let mut anchor = sound();
    anchor.name.anchor = key("b");
    refused(anchor, "the anchor must be a key");
    let mut late = sound();
    late.name = TransactionName {
        expires: at(61_000_000),
        ..late.name
    };
    refused(late, "more than 60 s from now");
    let mut past = sound();
    past.name.expires = at(0);
    refused(past, "aborted if sent once, Expired");
    let mut reads = sound();
    reads.reads = vec![KeyRange::point(key("a"))];
    refused(reads, "must say at which snapshot");
    let mut ahead = sound();
    ahead.snapshot = Snapshot::At(at(500_001));
    refused(ahead, "lies in the future");
    refused(commit(vec![put(&"k".repeat(4097), "1")]), "has 4097 bytes");
    let long = "v".repeat(VALUE_BYTES_MAX + 1);
    refused(commit(vec![put("a", &long)]), "has 8388609 bytes");
}

#[test]
fn a_clock_that_vouches_for_nothing_begins_nothing() {
    let mut s = Scenario::new();
    s.vouch_for_nothing();
    let why = "error: node n1 cannot vouch for its clock: its time source vouches for no bound";
    let line = format!("answer 1.1: {why}, depends on nothing");
    s.client(1, read(vec![ReadRequest::Get { key: key("a") }]))
        .expect([&line]);
    s.commit(1, commit(vec![put("a", "1")])).expect([&line]);
    s.client(1, ClientRequest::Timestamp).expect([&line]);
    s.expect_idle();
    s.pass(Duration::from_secs(1)).expect([]);
}

#[test]
fn what_a_read_gathers_from_all_partitions_together_is_bounded() {
    let mut s = Scenario::new();
    let get = |user| ReadRequest::Get { key: key(user) };
    s.client(1, read(vec![get("a"), get("z")])).expect([
        "1 -> p2 read at 0 [Get { key: a }]",
        "2 -> p4 read at 0 [Get { key: z }]",
    ]);
    let large = |bytes| {
        let mut found = value("v", 1).expect("there is one");
        found.value = vec![b'x'; bytes].into();
        answer(vec![ReadResult::Value(Some(found))], 1)
    };
    s.reply(1, large(READ_BYTES_MAX)).expect([]);
    s.reply(2, large(1)).expect([
        "answer 1.1: error: with z, one request reads more than 67108864 bytes of keys and values (64 MiB): ask for fewer keys at a time, or scan in pages, depends on 1",
    ]);
    s.expect_idle();
}
