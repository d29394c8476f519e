//! A member that lost its memory.

use super::*;
use wire::message::Memory;

/// Node 1 of so many, whose disk is new, after its first questions.
fn wiped(members: u32) -> (Scene, u64) {
    let mut scene = Scene::new(members, 0, &[]);
    let config = ReplicationConfig {
        me: node(1),
        configured: founded(1..=members),
        carried: Timestamp::ZERO,
        told: None,
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
    assert_eq!(nonces.len(), members as usize - 1, "everybody is asked");
    (scene, nonces[0])
}

fn memory(term: u64, promised: u64, last: LogPosition) -> Option<Memory> {
    Some(Memory {
        term: Term(term),
        promised: Timestamp::from_bits(promised),
        last,
        configured: founded(1..=3),
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
    scene.tick(at(5_000), &["n3 <- AskMemory"]);
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
    scene.tick(at(1_000), &["n3 <- AskMemory"]);
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
