use super::harness::*;
use crate::ReplicaEffect;
use crate::fixtures::attempt;
use clock::Timestamp;
use wire::message::{Checked, Decision, PartitionReply, PartitionRequest, Prepare, Refusal};

/// Starts again and serves.
fn restarted(world: &mut World) {
    world.restart();
    world.tick();
    world.sync();
    let now = world.now.physical.as_millis() as u64;
    world.promise_by(ME, now + 500);
    world.settle();
    world.take_said();
}

fn fill(world: &mut World) {
    world.answer(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    world.answer(PartitionRequest::Prepare(prepare(
        2,
        at(2),
        vec![put("c", "y")],
    )));
    world.answer(check(3, attempt(1), &["d"]));
    let staged = Prepare {
        staging: Some((at(9), keys(&["a", "z"]))),
        ..prepare(4, at(3), vec![put("a", "z")])
    };
    world.answer(PartitionRequest::Prepare(staged));
}

fn check_filled(world: &mut World) {
    assert_eq!(world.replica.status().locks, 2);
    let found = world.answer(get(at(5), "b"));
    assert_eq!(found, value(Some(version(at(1), "x")), at(1)));
    let late = world.answer(PartitionRequest::Prepare(prepare(
        3,
        at(5),
        vec![put("d", "w")],
    )));
    assert_eq!(late, refused(Refusal::StaleAttempt, false, Timestamp::ZERO));
    let again = world.answer(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    assert_eq!(again, committed(at(1), vec![]));
    let checked = world.answer(check(4, attempt(1), &["a"]));
    assert_eq!(checked, PartitionReply::Checked(Checked::Prepared(at(3))));
    world.answer(resolve(2, attempt(1), Decision::Committed(at(6))));
    let found = world.answer(get(at(7), "c"));
    assert_eq!(found, value(Some(version(at(6), "y")), at(6)));
}

#[test]
fn everything_is_rebuilt_from_the_log_alone() {
    let mut world = World::serving();
    fill(&mut world);
    restarted(&mut world);
    check_filled(&mut world);
}

#[test]
fn everything_is_rebuilt_from_the_stores_tables() {
    let mut world = World::serving();
    fill(&mut world);
    world.persist();
    restarted(&mut world);
    check_filled(&mut world);
}

#[test]
fn everything_is_rebuilt_from_a_part_of_each() {
    let mut world = World::serving();
    world.answer(PartitionRequest::Commit(commit(
        7,
        at(1),
        vec![put("e", "x")],
    )));
    world.persist();
    fill(&mut world);
    restarted(&mut world);
    check_filled(&mut world);
}

#[test]
fn what_was_not_durable_is_gone_and_can_be_sent_again() {
    let mut world = World::serving();
    world.ask(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![add("b", 1)],
    )));
    restarted(&mut world);
    let reply = world.answer(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![add("b", 1)],
    )));
    assert_eq!(reply, committed(at(1), vec![Some("1".into())]));
}

#[test]
fn a_write_after_a_restart_lies_above_everything_in_the_log() {
    let mut world = World::serving();
    fill(&mut world);
    world.persist();
    restarted(&mut world);
    let reply = world.answer(PartitionRequest::Commit(commit(
        8,
        at(0),
        vec![put("g", "x")],
    )));
    assert_eq!(reply, committed(at(3).next(), vec![None]));
}

#[test]
fn the_log_is_discarded_up_to_what_every_member_and_the_tables_hold() {
    let mut world = World::serving();
    for n in 1..=1_100 {
        world.answer(PartitionRequest::Commit(commit(
            n,
            at(1),
            vec![put("b", "x")],
        )));
    }
    world.persist();
    assert_eq!(
        world.take_said(),
        vec![],
        "nothing was said of the other members yet"
    );
    world.pass(5_000);
    let now = world.now.physical.as_millis() as u64;
    world.promise_by(ME, now + 500);
    world.settle();
    let said = world.take_said();
    let discarded = said.iter().find_map(|effect| match effect {
        ReplicaEffect::Discard { up_to } => Some(up_to.index.0),
        _ => None,
    });
    assert_eq!(discarded, Some(1_101), "{said:?}");
    assert_eq!(world.replica.status().low_water.0, 1_101);
}
