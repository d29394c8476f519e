//! A member that lost its memory.

use super::*;
use wire::message::Memory;

/// Node 1 of so many, whose disk is new, after its first questions.
fn wiped(members: u32) -> (Scene, u64) {
    wiped_among(members, members)
}

/// The same in a cluster of more nodes than there are members.
fn wiped_among(members: u32, nodes: u32) -> (Scene, u64) {
    let mut scene = Scene::new(members, 0, &[]);
    let config = ReplicationConfig {
        me: node(1),
        configured: founded(1..=members),
        carried: Timestamp::ZERO,
        told: None,
        nodes: (1..=nodes).map(node).collect(),
        timing: TIMING,
        seed: 1,
        memory: Recollection::Lost,
    };
    let base = LogPosition::default();
    let replication = Replication::new(config, Term(0), None, base, vec![], LogIndex(0), at(0));
    scene.replication = replication;
    let mut out = Vec::new();
    scene.replication.tick(at(0), Timestamp::ZERO, &mut out);
    let nonces = out.iter().map(|effect| match effect {
        ReplicationEffect::Send {
            message: ReplicationMessage::AskMemory { nonce },
            ..
        } => *nonce,
        other => panic!("it asks and does nothing else: {other:?}"),
    });
    let nonces: Vec<u64> = nonces.collect();
    assert_eq!(nonces.len(), nodes as usize - 1, "everybody is asked");
    (scene, nonces[0])
}

fn memory(term: u64, promised: u64, last: LogPosition) -> Option<Memory> {
    Some(Memory {
        term: Term(term),
        promised: Timestamp::from_bits(promised),
        last,
        configured: founded(1..=3),
        remembers: true,
    })
}

fn told(scene: &mut Scene, by: u32, nonce: u64, memory: Option<Memory>, expected: &[&str]) {
    let configured = scene.replication.configured().clone();
    let memory = memory.map(|memory| Memory {
        configured,
        ..memory
    });
    scene.step(by, ReplicationMessage::Memory { nonce, memory }, expected);
}

fn vote(scene: &mut Scene, by: u32, term: u64, last: LogPosition, expected: &[&str]) {
    let term = Term(term);
    scene.step(by, ReplicationMessage::Vote { term, last }, expected);
}

#[test]
fn it_takes_no_part_until_everybody_has_told() {
    let (mut scene, nonce) = wiped(3);
    let last = position(4, 9);
    vote(&mut scene, 2, 5, last, &[]);
    let term = Term(5);
    scene.step(2, ReplicationMessage::PreVote { term, last }, &[]);
    scene.append(2, 5, position(0, 0), &[entry(4, 1, "a")], 1, &[]);
    let now = scene.now;
    scene.turn(
        |replication, out| {
            let heard = replication.on_heartbeat(now, node(2), Term(5), LogIndex(0), out);
            assert_eq!(heard, Err(Term(0)), "no promise is acknowledged");
            replication.on_later_term(now, Term(9), out);
        },
        &[],
    );
    told(&mut scene, 2, nonce, memory(5, 70, last), &[]);
    // An answer to an earlier life's question, and one that was doubled.
    told(&mut scene, 3, nonce + 1, memory(3, 20, last), &[]);
    told(&mut scene, 2, nonce, memory(5, 70, last), &[]);
    // It never stands, and asks whoever has not told.
    scene.tick(at(400), &["n3 <- AskMemory"]);
    told(
        &mut scene,
        3,
        nonce,
        memory(3, 80, position(3, 12)),
        &["log t6 for nobody", "promised 80"],
    );
    assert!(scene.replication.has_forgotten() && !scene.replication.is_asking());
}

#[test]
fn then_it_votes_for_logs_that_reach_the_furthest_end_and_for_no_others() {
    let (mut scene, nonce) = wiped(3);
    told(&mut scene, 2, nonce, memory(5, 7, position(4, 9)), &[]);
    let expected = &["log t6 for nobody", "promised 8"];
    told(
        &mut scene,
        3,
        nonce,
        memory(5, 8, position(3, 12)),
        expected,
    );
    vote(
        &mut scene,
        2,
        5,
        position(4, 9),
        &["n2 <= VoteReply t6 false promised 0"],
    );
    vote(
        &mut scene,
        3,
        6,
        position(3, 12),
        &["n3 <= VoteReply t6 false promised 0"],
    );
    vote(
        &mut scene,
        2,
        6,
        position(4, 9),
        &["log t6 for n2", "n2 <= VoteReply t6 true promised 0"],
    );
    // It never stands; but it may be a member no more.
    scene.tick(at(60_000), &["n2 <- AskMemory", "n3 <- AskMemory"]);
    // It remembers once its disk holds as much.
    scene.append(
        2,
        6,
        position(0, 0),
        &[entry(4, 1, "a"), entry(6, 2, "b")],
        0,
        &[
            "follows n2 in t6",
            "log t4.i1 \"a\"",
            "log t6.i2 \"b\"",
            "n2 <= Appended t6 i2",
        ],
    );
    assert!(scene.replication.has_forgotten());
    scene.durable(6, 2, &["remembers"]);
    assert!(!scene.replication.has_forgotten());
}

#[test]
fn a_snapshot_brings_the_memory_back_too() {
    let (mut scene, nonce) = wiped(2);
    let expected = &["log t6 for nobody", "promised 7"];
    told(&mut scene, 2, nonce, memory(5, 7, position(4, 9)), expected);
    scene.step(
        2,
        ReplicationMessage::Snapshot {
            term: Term(6),
            number: 1,
            chunk: SnapshotChunk {
                position: position(4, 9),
                sequence: 0,
                is_last: true,
                body: Bytes::new(),
            },
        },
        &["follows n2 in t6", "take of t4.i9 chunk 0 \"\" last"],
    );
    let now = scene.now;
    scene.turn(
        |replication, out| {
            replication.on_snapshot_stored(1, out);
            let members = replication.configured().clone();
            let installed = replication.install_snapshot(now, &members, Timestamp::ZERO, out);
            assert_eq!(installed, Installed::Now);
        },
        &[
            "n2 <- SnapshotReceived t6 #1 1",
            "follows n2 in t6",
            "n2 <= Appended t6 i9",
            "remembers",
        ],
    );
}

#[test]
fn whoever_has_forgotten_too_is_waited_for_where_that_matters() {
    // Of three, the two that forgot may have been a quorum.
    let (mut scene, nonce) = wiped(3);
    told(&mut scene, 2, nonce, memory(5, 7, position(4, 9)), &[]);
    told(&mut scene, 3, nonce, None, &[]);
    scene.tick(at(400), &["n3 <- AskMemory"]);
    let expected = &["log t6 for nobody", "promised 7"];
    told(&mut scene, 3, nonce, memory(3, 6, position(3, 9)), expected);
    // Of five, two that forgot never were.
    let (mut scene, nonce) = wiped(5);
    told(&mut scene, 2, nonce, memory(5, 7, position(4, 9)), &[]);
    told(&mut scene, 3, nonce, None, &[]);
    told(&mut scene, 4, nonce, memory(5, 7, position(4, 9)), &[]);
    let expected = &["log t6 for nobody", "promised 7"];
    told(&mut scene, 5, nonce, memory(5, 7, position(4, 9)), expected);
}

#[test]
fn whoever_was_a_voter_when_it_asked_and_is_none_any_more_is_not_waited_for() {
    // Node 3 is gone for good.
    let (mut scene, nonce) = wiped(4);
    told(&mut scene, 2, nonce, memory(5, 7, position(4, 9)), &[]);
    told(&mut scene, 4, nonce, memory(5, 7, position(4, 8)), &[]);
    scene.tick(at(499), &["n3 <- AskMemory"]);
    // So the others exchange it, and hear nothing of it by themselves.
    let all = ["n2 <- AskMemory", "n3 <- AskMemory", "n4 <- AskMemory"];
    scene.tick(at(600), &all);
    let of_three = Configuration::of([1, 2, 4].map(node));
    let since = Some(Memory {
        configured: Configured {
            configuration: of_three,
            at: position(5, 11),
        },
        ..memory(5, 9, position(5, 11)).expect("some")
    });
    let memory = ReplicationMessage::Memory {
        nonce,
        memory: since,
    };
    scene.step(2, memory, &["log t6 for nobody", "promised 9"]);
}

/// {1 2 3} gave way to {1 4 5} at q1 and that to {1 2 4} at q2: these members, since these entries.
fn moved(members: &[u32], at: LogPosition) -> Configured {
    Configured {
        configuration: Configuration::of(members.iter().copied().map(node)),
        at,
    }
}

fn said(scene: &mut Scene, by: u32, nonce: u64, configured: &Configured, expected: &[&str]) {
    let memory = memory(5, 7, position(5, 30)).map(|memory| Memory {
        configured: configured.clone(),
        ..memory
    });
    scene.step(by, ReplicationMessage::Memory { nonce, memory }, expected);
}

#[test]
fn one_that_asks_is_not_removed_by_a_late_word() {
    let (mut scene, nonce) = wiped_among(3, 5);
    let left = moved(&[3, 4, 5], position(3, 10));
    let removed = |as_of| ReplicationMessage::Removed {
        configured: left.clone(),
        as_of,
    };
    scene.step(2, removed(position(3, 12)), &[]);
    let mut gone = scene.clone();
    // It votes again since.
    let named = moved(&[1, 3, 4], position(5, 20));
    said(&mut scene, 4, nonce, &named, &[]);
    scene.step(2, removed(position(3, 12)), &[]);
    let expected = ["log t6 for nobody", "promised 7"];
    said(&mut scene, 3, nonce, &named, &expected);
    // A majority of those by whom it was removed knows of no other change.
    said(&mut gone, 4, nonce, &left, &[]);
    let expected = ["is removed by 3 4 5 @t3.i10 as of t3.i12"];
    said(&mut gone, 5, nonce, &left, &expected);
}

#[test]
fn one_that_had_forgotten_when_its_replica_was_dropped_does_not_remember() {
    let (mut scene, nonce) = wiped(3);
    told(&mut scene, 2, nonce, memory(5, 7, position(4, 9)), &[]);
    let dropped = memory(3, 6, position(3, 9)).map(|memory| Memory {
        remembers: false,
        ..memory
    });
    told(&mut scene, 3, nonce, dropped, &[]);
    scene.tick(at(400), &["n3 <- AskMemory"]);
    assert!(scene.replication.is_asking());
    let expected = ["log t6 for nobody", "promised 7"];
    told(
        &mut scene,
        3,
        nonce,
        memory(3, 6, position(3, 8)),
        &expected,
    );
}

#[test]
fn a_partition_of_which_nobody_has_heard_anything_is_new() {
    let (mut scene, nonce) = wiped(3);
    told(&mut scene, 2, nonce, None, &[]);
    let new = memory(0, 0, position(0, 0));
    told(&mut scene, 3, nonce, new, &["promised 0", "remembers"]);
    // And stands like any other.
    scene.tick(
        at(2_000),
        &["n2 <- PreVote t1 last t0.i0", "n3 <- PreVote t1 last t0.i0"],
    );
}

#[test]
fn a_partition_is_new_only_if_no_node_of_the_cluster_knows_of_it() {
    // It moved to others, and all that it was founded with lost their disks.
    let (mut scene, nonce) = wiped_among(3, 5);
    told(&mut scene, 2, nonce, None, &[]);
    told(&mut scene, 3, nonce, None, &[]);
    told(&mut scene, 4, nonce, None, &[]);
    let asked = ["n2 <- AskMemory", "n3 <- AskMemory", "n4 <- AskMemory"];
    scene.tick(at(300), &[&asked[..], &["n5 <- AskMemory"]].concat());
    let mut known = scene.clone();
    told(&mut scene, 5, nonce, None, &["promised 0", "remembers"]);
    // Whoever holds it, or did, knows that it has lived: then the others' word is waited for.
    told(&mut known, 5, nonce, memory(7, 0, position(7, 4)), &[]);
    known.tick(at(400), &["n2 <- AskMemory", "n3 <- AskMemory"]);
    assert!(known.replication.is_asking());
}

#[test]
fn a_learner_that_is_named_since_it_asked_need_not_remember() {
    let (mut scene, nonce) = wiped_among(3, 4);
    let join = |at, since| ReplicationMessage::Join {
        configured: Configured {
            configuration: Configuration {
                learners: [node(1)].into(),
                ..Configuration::of([node(2), node(3)])
            },
            at,
        },
        since,
    };
    // It may have learnt and voted by this entry already, or by one that is named for an earlier life.
    scene.step(2, join(position(5, 9), None), &["n2 <- AskMemory"]);
    let earlier = Some(nonce + 1);
    scene.step(2, join(position(5, 9), earlier), &["n2 <- AskMemory"]);
    assert!(scene.replication.is_asking());
    let expected = ["log t6 for nobody", "begins at t5.i10"];
    scene.step(2, join(position(5, 10), Some(nonce)), &expected);
    assert!(!scene.replication.is_asking());
    let refuses = ["n3 <= VoteReply t6 false promised 0"];
    vote(&mut scene, 3, 6, position(5, 9), &refuses);
    let grants = ["log t6 for n3", "n3 <= VoteReply t6 true promised 0"];
    vote(&mut scene, 3, 6, position(5, 10), &grants);
}

#[test]
fn a_member_tells_what_it_knows() {
    let mut scene = Scene::new(3, 4, &[entry(2, 1, "a")]);
    scene.promised = Timestamp::from_bits(70);
    let ask = ReplicationMessage::AskMemory { nonce: 3 };
    scene.step(
        2,
        ask.clone(),
        &["n2 <= Memory t4 last t2.i1 promised 70 members 1 2 3 @t0.i0"],
    );
    let (mut scene, _) = wiped(3);
    scene.step(2, ask, &["n2 <= Memory none"]);
}
