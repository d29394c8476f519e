//! Planned transfer of leadership.

use super::*;
use ReplicationMessage as M;

fn hand_over(term: u64, high_water: u64) -> M {
    M::HandOver {
        term: Term(term),
        high_water: Timestamp::from_bits(high_water),
    }
}

/// Node 1 leads in term 1; everything is committed and node 2 has it all.
fn leading() -> Scene {
    let mut scene = Scene::new(3, 0, &[]);
    scene.elect();
    scene.durable(1, 1, &[]);
    scene.appended(
        2,
        1,
        1,
        &["committed i1", "n2 <- Append t1 after t1.i1 [] commit i1"],
    );
    scene
}

fn begin(scene: &mut Scene, to: u32) -> Result<(), TransferFailure> {
    scene.replication.begin_transfer(scene.now, node(to))
}

fn give(scene: &mut Scene, high_water: u64, expected: &[&str]) {
    let now = scene.now;
    let high_water = Timestamp::from_bits(high_water);
    scene.turn(|r, out| r.hand_over(now, high_water, out), expected);
}

use wire::message::TransferFailure;

#[test]
fn a_target_that_has_everything_is_handed_the_high_water_and_stands_at_once() {
    let mut old = leading();
    assert_eq!(begin(&mut old, 2), Ok(()));
    assert!(old.replication.is_drained());
    give(&mut old, 77, &["n2 <- HandOver t1 at 77"]);
    assert_eq!(old.replication.handed_over_to(), Some(node(2)));
    // The candidate's question is how the old leader learns of it.
    let vote = M::Vote {
        term: Term(2),
        last: position(1, 1),
    };
    old.promised = Timestamp::from_bits(1000);
    old.step(
        2,
        vote,
        &[
            "log t2 for n2",
            "handed over to n2",
            "follows nobody in t2",
            "n2 <= VoteReply t2 true promised 1000",
        ],
    );
}

#[test]
fn what_was_handed_over_stands_for_the_promises_of_the_voters() {
    let mut target = Scene::new(3, 1, &[entry(1, 1, "a")]);
    // It has heard the leader a moment ago, and so has the voter: that hinders nobody.
    target.append(
        2,
        1,
        position(1, 1),
        &[],
        1,
        &["follows n2 in t1", "committed i1", "n2 <= Appended t1 i1"],
    );
    target.step(
        2,
        hand_over(1, 77),
        &[
            "log t2 for n1",
            "candidate in t2",
            "n2 <= Vote t2 last t1.i1",
            "n3 <= Vote t2 last t1.i1",
        ],
    );
    assert!(target.replication.stands_by_transfer());
    target.step(2, hand_over(1, 77), &[]);
    target.vote_reply(
        3,
        2,
        true,
        1000,
        &[
            "leads in t2",
            "log t2.i2 \"\"",
            "n2 <- Append t2 after t1.i1 [t2.i2] commit i1",
            "n3 <- Append t2 after t1.i1 [t2.i2] commit i1",
        ],
    );
    let handed_over = target.replication.handed_over();
    assert_eq!(handed_over, Some(Timestamp::from_bits(77)));
    // Doubled, it comes to a leader of the next term: nothing.
    target.step(2, hand_over(1, 99), &[]);
}

#[test]
fn in_a_later_term_what_was_handed_over_is_worthless() {
    let mut target = Scene::new(3, 1, &[entry(1, 1, "a")]);
    target.append(
        2,
        1,
        position(1, 1),
        &[],
        1,
        &["follows n2 in t1", "committed i1", "n2 <= Appended t1 i1"],
    );
    let mut out = Vec::new();
    target.replication.step(
        target.now,
        target.promised,
        node(2),
        hand_over(1, 77),
        &mut out,
    );
    assert_eq!(target.replication.term(), Term(2));
    // Nobody answers in term 2; it asks again, and is elected in term 3.
    target.elect();
    assert_eq!(target.replication.term(), Term(3));
    assert_eq!(target.replication.handed_over(), None);
}

#[test]
fn one_that_may_not_lead_does_not_stand() {
    let mut target = Scene::new(3, 1, &[entry(1, 1, "a")]);
    target.replication.set_electable(false);
    target.step(2, hand_over(1, 77), &[]);
    // Of another term, or from another than the leader: nothing either.
    target.replication.set_electable(true);
    target.step(2, hand_over(2, 77), &[]);
    target.append(
        2,
        1,
        position(1, 1),
        &[],
        1,
        &["follows n2 in t1", "committed i1", "n2 <= Appended t1 i1"],
    );
    target.step(3, hand_over(1, 77), &[]);
}

#[test]
fn a_target_that_is_behind_catches_up_while_the_leader_serves_or_is_given_up() {
    let mut scene = leading();
    for _ in 0..300 {
        let mut out = Vec::new();
        scene.replication.propose(Bytes::new(), &mut out);
        scene.replication.flush(scene.now, &mut out);
    }
    let mut out = Vec::new();
    scene.replication.on_durable(position(1, 301), &mut out);
    scene.replication.step(
        scene.now,
        scene.promised,
        node(2),
        M::Appended {
            term: Term(1),
            matched: LogIndex(301),
        },
        &mut out,
    );
    scene.replication.flush(scene.now, &mut out);
    assert_eq!(begin(&mut scene, 3), Ok(()));
    let under_way = TransferFailure::UnderWay { target: node(3) };
    assert_eq!(begin(&mut scene, 2), Err(under_way));
    assert!(!scene.replication.is_draining(), "it serves on");
    let mut out = Vec::new();
    for tenth in 1..=50 {
        scene.now = at(10_000 + tenth * 100);
        scene.replication.on_contact(scene.now, node(2), Term(1));
        scene.replication.tick(scene.now, scene.promised, &mut out);
    }
    let ended: Vec<String> = out
        .iter()
        .filter(|effect| matches!(effect, ReplicationEffect::TransferEnded { .. }))
        .map(show_effect)
        .collect();
    assert_eq!(
        ended,
        [
            "not handed over: n3 is behind by 301 entries and did not catch up in time: the leader leads on, try again later"
        ]
    );
    assert_eq!(scene.replication.role(), Role::Leader);
}

#[test]
fn what_is_not_committed_soon_is_waited_for_longer_each_time_with_pauses_and_not_for_ever() {
    let mut scene = leading();
    scene.propose(
        "x",
        &[
            "log t1.i2 \"x\"",
            "n2 <- Append t1 after t1.i1 [t1.i2] commit i1",
        ],
    );
    assert_eq!(begin(&mut scene, 2), Ok(()));
    assert!(scene.replication.is_draining() && !scene.replication.is_drained());
    let (mut changes, mut ended) = (Vec::new(), Vec::new());
    let mut was_draining = true;
    for ms in (10_010..=15_000).step_by(10) {
        scene.now = at(ms);
        scene.replication.on_contact(scene.now, node(2), Term(1));
        let mut out = Vec::new();
        scene.replication.tick(scene.now, scene.promised, &mut out);
        let is_draining = scene.replication.is_draining();
        if is_draining != was_draining && changes.len() < 8 {
            changes.push(ms - 10_000);
        }
        was_draining = is_draining;
        let is_end = |e: &&ReplicationEffect| matches!(e, ReplicationEffect::TransferEnded { .. });
        ended.extend(out.iter().filter(is_end).map(|e| (ms, show_effect(e))));
    }
    assert_eq!(changes, [50, 100, 200, 300, 500, 700, 950, 1_200]);
    let why = "not handed over: what was under way was not committed in time: the leader leads on, try again";
    assert_eq!(ended, [(15_000, why.to_owned())]);
    assert!(!scene.replication.is_draining());
    assert_eq!(scene.replication.role(), Role::Leader);
}

#[test]
fn a_target_that_stays_silent_leaves_it_to_an_election() {
    let mut scene = leading();
    assert_eq!(begin(&mut scene, 2), Ok(()));
    give(&mut scene, 77, &["n2 <- HandOver t1 at 77"]);
    scene.tick(
        at(10_249),
        &["n3 <- Append t1 after t0.i0 [t1.i1] commit i1"],
    );
    scene.tick(
        at(10_250),
        &[
            "not handed over: n2 was handed the leadership and did not take it up in time: an election decides who leads",
            "follows nobody in t1",
        ],
    );
    assert_eq!(scene.replication.handed_over_to(), None);
    assert_eq!(scene.replication.leader(), None);
}

#[test]
fn who_cannot_be_a_target_is_refused() {
    let mut scene = leading();
    let target = node(9);
    assert_eq!(
        begin(&mut scene, 9),
        Err(TransferFailure::NotMember { target })
    );
    let target = node(1);
    assert_eq!(
        begin(&mut scene, 1),
        Err(TransferFailure::LeadsAlready { target })
    );
    let mut follower = Scene::new(3, 1, &[]);
    assert_eq!(
        begin(&mut follower, 2),
        Err(TransferFailure::NotLeader { leader: None })
    );
}

#[test]
#[should_panic(expected = "hands over proposes nothing more")]
fn a_leader_that_hands_over_proposes_nothing() {
    let mut scene = leading();
    begin(&mut scene, 2).expect("node 2 is a member");
    give(&mut scene, 77, &["n2 <- HandOver t1 at 77"]);
    scene.propose("x", &[]);
}
