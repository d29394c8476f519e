use super::harness::*;
use crate::ReplicaEffect;
use crate::fixtures::{attempt, id, key, name, ts};
use crate::meta_rows::outcome_key;
use crate::versions::{Store, StoreQuery, StoreResult};
use wire::message::{ChangeRecord, PartitionRequest, Prepare, RecordChange, RecordState};

#[test]
fn what_is_prepared_past_its_expiry_is_looked_after_though_nobody_waits() {
    let mut world = World::serving();
    let mut share = Prepare {
        staging: Some((at(9), keys(&["a", "z"]))),
        ..prepare(1, at(1), vec![put("a", "x")])
    };
    share.name.expires = at(10_000);
    let mut holder = name(1);
    holder.expires = at(10_000);
    world.answer(PartitionRequest::Prepare(share));
    world.pass(5_000);
    assert_eq!(world.take_said(), vec![]);
    world.pass(5_001);
    let push = ReplicaEffect::Push {
        key: key("a"),
        holder,
        attempt: attempt(1),
        wound: false,
    };
    assert_eq!(
        world.take_said(),
        vec![push.clone(), push],
        "for its share and for its record"
    );
    // It stays prepared, whatever is closed and collected.
    for _ in 0..10 {
        let now = world.now.physical.as_millis() as u64;
        world.promise_by(ME, now + 5_500);
        world.pass(5_000);
        world.settle();
    }
    assert_eq!(world.replica.status().locks, 1);
    assert!(world.replica.state.closed() > at(10_000));
}

#[test]
fn markers_and_dead_records_go_once_closed_has_passed_their_expiry() {
    let mut world = World::serving();
    let mut share = prepare(1, at(1), vec![put("b", "x")]);
    share.name.expires = at(10_000);
    let name = share.name.clone();
    world.answer(PartitionRequest::CheckPrepared(
        wire::message::CheckPrepared {
            name: name.clone(),
            attempt: attempt(1),
            keys: keys(&["b"]),
        },
    ));
    assert!(world.replica.state.marker(name.id).is_some());
    for _ in 0..6 {
        let now = world.now.physical.as_millis() as u64;
        world.promise_by(ME, now + 5_500);
        world.pass(5_000);
        world.settle();
    }
    assert!(world.replica.state.marker(name.id).is_none());
    // A late prepare is still refused, now because nothing is placed at or below closed.
    let reply = world.answer(PartitionRequest::Prepare(share));
    let expired = wire::message::Refusal::Expired;
    assert_eq!(reply, refused(expired, false, clock::Timestamp::ZERO));
}

#[test]
fn an_idle_partition_writes_nothing() {
    let mut world = World::serving();
    let last = world.last();
    for _ in 0..20 {
        let now = world.now.physical.as_millis() as u64;
        world.promise_by(ME, now + 5_500);
        world.pass(5_000);
        world.settle();
    }
    assert_eq!((world.last(), world.take_said()), (last, vec![]));
}

/// Such a record lists no keys: a push of it could end nothing, and would come again every time.
#[test]
fn a_record_born_committed_is_not_looked_after() {
    let mut world = World::serving();
    let mut expiring = name(1);
    expiring.expires = at(10_000);
    let dead = RecordState::Aborted {
        attempt: attempt(1),
    };
    let abort = RecordChange::Abort {
        attempt: attempt(1),
    };
    let commit = RecordChange::Commit { at: at(5) };
    for (expected, made) in [(RecordState::Missing, abort), (dead, commit)] {
        let change = ChangeRecord {
            name: expiring.clone(),
            expected,
            change: made,
        };
        world.answer(PartitionRequest::ChangeRecord(change));
    }
    world.pass(10_001);
    assert_eq!(world.take_said(), vec![]);
    assert!(
        world.replica.state.record(expiring.id).is_some(),
        "it stays until every key is resolved"
    );
}

/// The store is asked about slots of time, a collection is committed, and then the answer comes.
#[test]
fn an_answer_about_old_outcomes_is_read_for_the_slots_that_were_asked_about() {
    let mut world = World::serving();
    world.promise_by(ME, 2_000_000);
    let expiries = [310_000, 295_000, 500_000, 700_000, 807_000];
    for (n, expires) in (1..).zip(expiries) {
        let mut commit = commit(n, at(n), vec![put("b", "x")]);
        commit.name.expires = ts(expires);
        world.answer(PartitionRequest::Commit(commit));
    }
    let old = outcome_key(ts(295_000), id(2));
    let row = |world: &World| {
        let query = StoreQuery::Meta { key: old.clone() };
        let answer = world.store.query(PARTITION, 1, &[query]).unwrap();
        answer.results
    };
    // Outcomes are kept from 11 s on; closed is 311 s, then 585 s.
    for ms in [226_000, 274_000] {
        world.pass(ms);
        world.settle();
    }
    world.pass(220_000);
    world.work();
    // The first collection is not yet durable when the store is asked again about the same slots.
    world.pass(5_000);
    world.sync();
    assert!(world.replica.state.closed() == ts(805_000));
    world.settle();
    assert!(matches!(row(&world)[..], [StoreResult::Meta(Some(_))]));
    world.pass(5_000);
    world.settle();
    assert_eq!(row(&world), vec![StoreResult::Meta(None)]);
}
