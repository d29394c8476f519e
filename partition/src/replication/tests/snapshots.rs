//! A follower that lacks what is discarded gets a snapshot.

use super::*;
use wire::message::{TransferFailure, Unfit};

/// A leader of term 2 that has discarded entries up to 3, and node 3 that refused even its base.
fn leader_of_one_far_behind() -> Scene {
    let entries = [entry(1, 1, "a"), entry(1, 2, "b"), entry(1, 3, "c")];
    let mut scene = Scene::new(3, 1, &entries);
    scene.elect();
    scene.durable(2, 4, &[]);
    scene.appended(
        2,
        2,
        4,
        &["committed i4", "n2 <- Append t2 after t2.i4 [] commit i4"],
    );
    scene.replication.discard(position(1, 3));
    scene.refused(3, 2, position(1, 3), 0, &[]);
    scene.tick(at(10_010), &["read snapshot #1"]);
    scene
}

fn read(scene: &mut Scene, number: u64, body: &'static str, is_last: bool, expected: &[&str]) {
    let (now, body) = (scene.now, Bytes::from_static(body.as_bytes()));
    scene.turn(
        |replication, _| {
            replication.on_snapshot_read(now, number, position(2, 4), is_last, body);
        },
        expected,
    );
}

fn received(scene: &mut Scene, number: u64, chunks: u64, expected: &[&str]) {
    let message = ReplicationMessage::SnapshotReceived {
        term: Term(2),
        number,
        chunks,
    };
    scene.step(3, message, expected);
}

fn chunk(term: u64, of: LogPosition, sequence: u64, is_last: bool) -> ReplicationMessage {
    ReplicationMessage::Snapshot {
        term: Term(term),
        number: 1,
        chunk: SnapshotChunk {
            position: of,
            sequence,
            is_last,
            body: Bytes::from_static(b"x"),
        },
    }
}

#[test]
fn chunks_leave_as_they_are_read_and_acknowledged() {
    let mut scene = leader_of_one_far_behind();
    let first = "n3 <- Snapshot t2 #1 of t2.i4 chunk 0 \"a\"";
    read(&mut scene, 1, "a", false, &[first, "read snapshot #1"]);
    read(
        &mut scene,
        1,
        "b",
        true,
        &["n3 <- Snapshot t2 #1 of t2.i4 chunk 1 \"b\" last"],
    );
    received(&mut scene, 1, 1, &[]);
    // An answer to another snapshot says nothing of this one.
    received(&mut scene, 7, 2, &[]);
    scene.tick(
        at(10_300),
        &[
            "n3 <- Append t2 after t1.i3 [t2.i4] commit i4",
            "n3 <- Snapshot t2 #1 of t2.i4 chunk 1 \"b\" last",
        ],
    );
    received(&mut scene, 1, 2, &[]);
    // Now it is installed there, and the log goes on after it.
    scene.appended(3, 2, 4, &[]);
    scene.tick(at(10_310), &["end snapshot"]);
    assert!(!scene.replication.needs_snapshot(node(3)));
}

#[test]
fn whoever_needs_a_snapshot_is_no_target_of_a_transfer() {
    let mut scene = leader_of_one_far_behind();
    assert!(scene.replication.needs_snapshot(node(3)));
    let begun = scene.replication.begin_transfer(scene.now, node(3));
    let (target, why) = (node(3), Unfit::Rebuilding);
    assert_eq!(begun, Err(TransferFailure::Unfit { target, why }));
    // It holds what the snapshot holds, and all that follows.
    scene.appended(3, 2, 4, &["n3 <- Append t2 after t2.i4 [] commit i4"]);
    assert_eq!(scene.replication.begin_transfer(scene.now, node(3)), Ok(()));
    assert!(scene.replication.is_drained());
}

#[test]
fn a_target_that_turns_out_to_need_a_snapshot_is_not_waited_for() {
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a"), entry(1, 2, "b")]);
    scene.elect();
    scene.durable(2, 3, &[]);
    scene.appended(
        2,
        2,
        3,
        &["committed i3", "n2 <- Append t2 after t2.i3 [] commit i3"],
    );
    scene.replication.discard(position(1, 2));
    // As far as is known it lacks three entries: close enough to stop evaluating for it.
    assert_eq!(scene.replication.begin_transfer(scene.now, node(3)), Ok(()));
    assert!(scene.replication.is_draining());
    scene.refused(3, 2, position(1, 2), 0, &[]);
    let ended = "not handed over: n3 should lead nothing now: it is being rebuilt from the others";
    scene.tick(at(10_010), &[ended, "read snapshot #1"]);
    assert!(!scene.replication.is_draining());
}

#[test]
fn no_more_chunks_are_read_than_may_be_on_the_way() {
    let mut scene = leader_of_one_far_behind();
    for sequence in 0..SNAPSHOT_CHUNKS_MAX {
        let sent = format!("n3 <- Snapshot t2 #1 of t2.i4 chunk {sequence} \"a\"");
        let next = "read snapshot #1";
        match sequence + 1 < SNAPSHOT_CHUNKS_MAX {
            true => read(&mut scene, 1, "a", false, &[&sent, next]),
            false => read(&mut scene, 1, "a", false, &[&sent]),
        }
    }
    received(&mut scene, 1, 1, &["read snapshot #1"]);
}

#[test]
fn whoever_forgot_its_chunks_gets_another_snapshot() {
    let mut scene = leader_of_one_far_behind();
    let sent = "n3 <- Snapshot t2 #1 of t2.i4 chunk 0 \"a\" last";
    read(&mut scene, 1, "a", true, &[sent]);
    received(&mut scene, 1, 1, &[]);
    // It starts again and knows nothing of it. It refuses entries, and is heard of so.
    scene.refused(3, 2, position(1, 3), 0, &[]);
    scene.now = at(12_100);
    let now = scene.now;
    scene.replication.on_contact(now, node(2), Term(2));
    scene.replication.on_contact(now, node(3), Term(2));
    scene.tick(
        at(12_100),
        &[
            "end snapshot",
            "n3 <- Append t2 after t1.i3 [t2.i4] commit i4",
            "read snapshot #2",
        ],
    );
    // A late page of the former.
    read(&mut scene, 1, "a", true, &[]);
    scene.turn(|replication, _| replication.on_snapshot_lost(2), &[]);
    scene.tick(at(12_110), &["read snapshot #3"]);
}

#[test]
fn the_log_is_held_back_by_no_more_than_its_maximum() {
    let mut scene = leader_of_one_far_behind();
    for (index, body) in (5..=8).zip(["e", "f", "g", "h"]) {
        let sent = format!(
            "n2 <- Append t2 after t2.i{} [t2.i{index}] commit i4",
            index - 1
        );
        scene.propose(body, &[&format!("log t2.i{index} \"{body}\""), &sent]);
    }
    scene.durable(2, 8, &[]);
    scene.appended(
        2,
        2,
        8,
        &["committed i8", "n2 <- Append t2 after t2.i8 [] commit i8"],
    );
    let replication = &scene.replication;
    assert_eq!(replication.not_needed(1 << 20), Some(LogIndex(3)), "node 3");
    let one = replication.log_bytes() / 5;
    assert_eq!(replication.not_needed(2 * one + 9), Some(LogIndex(6)));
    assert_eq!(replication.not_needed(0), Some(LogIndex(8)));
    // Once a snapshot is under way, what follows it is enough for node 3.
    let sent = "n3 <- Snapshot t2 #1 of t2.i4 chunk 0 \"a\" last";
    read(&mut scene, 1, "a", true, &[sent]);
    assert_eq!(scene.replication.not_needed(1 << 20), Some(LogIndex(4)));
}

/// A leader of one far behind that proposes entries 5 to 5 + `more` meanwhile, all known to node 2.
fn go_on(scene: &mut Scene, more: u64) {
    for _ in 0..more {
        let index = scene.replication.last().index.next();
        scene.turn_unseen(|replication, out| {
            let entry = replication.propose(Bytes::from_static(b"e"), out);
            assert_eq!(entry.map(|position| position.index), Some(index));
        });
    }
    let last = scene.replication.last();
    let (now, promised) = (scene.now, scene.promised);
    scene.turn_unseen(|replication, out| {
        replication.on_durable(last, out);
        let message = ReplicationMessage::Appended {
            term: Term(2),
            matched: last.index,
        };
        replication.step(now, promised, node(2), message, out);
    });
    assert_eq!(scene.replication.commit(), last.index);
}

#[test]
fn what_follows_a_snapshot_is_kept_until_its_follower_has_caught_up() {
    let mut scene = leader_of_one_far_behind();
    let one = scene.replication.log_bytes();
    let sent = "n3 <- Snapshot t2 #1 of t2.i4 chunk 0 \"a\" last";
    read(&mut scene, 1, "a", true, &[sent]);
    // The ordinary maximum has room for two entries.
    let bytes_max = 3 * one;
    go_on(&mut scene, 10);
    assert_eq!(scene.replication.not_needed(bytes_max), Some(LogIndex(4)));
    // It is installed: the next entries are needed still.
    scene.now = at(10_100);
    let (now, promised) = (scene.now, scene.promised);
    appended_unseen(&mut scene, 4);
    scene.turn_unseen(|replication, out| replication.tick(now, promised, out));
    assert_eq!(scene.replication.not_needed(bytes_max), Some(LogIndex(4)));
    appended_unseen(&mut scene, 6);
    assert_eq!(scene.replication.not_needed(bytes_max), Some(LogIndex(6)));
    // Without it, no more than the larger maximum.
    go_on(&mut scene, 40);
    let kept = scene.replication.not_needed(bytes_max).expect("it leads");
    assert!(kept > LogIndex(6) && kept < LogIndex(54 - 3), "{kept}");
    // It has caught up: from now on it is like any other.
    appended_unseen(&mut scene, 54);
    scene.turn_unseen(|replication, out| replication.tick(now, promised, out));
    go_on(&mut scene, 10);
    let kept = scene.replication.not_needed(bytes_max).expect("it leads");
    assert!(kept > LogIndex(54), "{kept}");
}

#[test]
fn for_whoever_falls_silent_after_a_snapshot_no_more_is_kept_than_for_others() {
    let mut scene = leader_of_one_far_behind();
    let sent = "n3 <- Snapshot t2 #1 of t2.i4 chunk 0 \"a\" last";
    read(&mut scene, 1, "a", true, &[sent]);
    go_on(&mut scene, 10);
    appended_unseen(&mut scene, 4);
    let bytes_max = scene.replication.log_bytes() / 5;
    for seconds in 11..14 {
        let now = Duration::from_secs(seconds);
        scene.now = now;
        let promised = scene.promised;
        scene.replication.on_contact(now, node(2), Term(2));
        scene.turn_unseen(|replication, out| replication.tick(now, promised, out));
    }
    let kept = scene.replication.not_needed(bytes_max).expect("it leads");
    assert!(kept > LogIndex(4), "{kept}");
}

fn appended_unseen(scene: &mut Scene, index: u64) {
    let message = ReplicationMessage::Appended {
        term: Term(2),
        matched: LogIndex(index),
    };
    let (now, promised) = (scene.now, scene.promised);
    scene.turn_unseen(|replication, out| replication.step(now, promised, node(3), message, out));
}

#[test]
fn of_a_snapshot_that_cannot_be_read_nothing_more_is_taken_or_said() {
    let mut scene = Scene::new(3, 1, &[]);
    let first = "take of t2.i9 chunk 0 \"x\"";
    let start = ["log t2 for nobody", "follows n2 in t2", first];
    scene.step(2, chunk(2, position(2, 9), 0, false), &start);
    scene.replication.refuse_snapshot();
    scene.step(2, chunk(2, position(2, 9), 0, false), &[]);
    scene.step(2, chunk(2, position(2, 9), 1, true), &[]);
    let refused = "n2 <- AppendRefused t2 after t2.i9 hint i0";
    scene.append(2, 2, position(2, 9), &[], 9, &[refused]);
    // Another one may be better.
    let mut another = chunk(2, position(2, 9), 0, false);
    if let ReplicationMessage::Snapshot { number, .. } = &mut another {
        *number = 2;
    }
    scene.step(2, another, &[first]);
}

#[test]
fn a_snapshot_takes_the_place_of_a_log_that_ends_below_it() {
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a")]);
    scene.step(
        2,
        chunk(2, position(2, 9), 0, false),
        &[
            "log t2 for nobody",
            "follows n2 in t2",
            "take of t2.i9 chunk 0 \"x\"",
        ],
    );
    // Doubled, and one that is ahead of its turn.
    let received = "n2 <- SnapshotReceived t2 #1 0";
    scene.step(2, chunk(2, position(2, 9), 0, false), &[received]);
    scene.step(2, chunk(2, position(2, 9), 2, true), &[received]);
    scene.turn(
        |replication, out| replication.on_snapshot_stored(1, out),
        &["n2 <- SnapshotReceived t2 #1 1"],
    );
    scene.step(
        2,
        chunk(2, position(2, 9), 1, true),
        &["take of t2.i9 chunk 1 \"x\" last"],
    );
    // Until it is installed, the log is what it was, and says how far the snapshot is.
    scene.append(
        2,
        2,
        position(2, 9),
        &[],
        9,
        &[
            "n2 <- SnapshotReceived t2 #1 1",
            "n2 <- AppendRefused t2 after t2.i9 hint i1",
        ],
    );
    assert_eq!(scene.replication.last(), position(1, 1));
    let now = scene.now;
    scene.turn(
        |replication, out| {
            let members = replication.configured().clone();
            let installed = replication.install_snapshot(now, &members, Timestamp::ZERO, out);
            assert_eq!(installed, Installed::Now);
        },
        &["follows n2 in t2", "n2 <= Appended t2 i9"],
    );
    assert_eq!(scene.replication.base(), position(2, 9));
    assert_eq!(scene.replication.commit(), LogIndex(9));
    scene.append(
        2,
        2,
        position(2, 9),
        &[entry(2, 10, "b")],
        10,
        &["log t2.i10 \"b\"", "committed i10", "n2 <= Appended t2 i10"],
    );
    // Late: everything of it is here.
    scene.step(
        2,
        chunk(2, position(2, 9), 1, true),
        &["n2 <= Appended t2 i9"],
    );
}

#[test]
fn a_log_that_holds_the_position_keeps_what_it_holds_beyond() {
    let entries = [entry(1, 1, "a"), entry(1, 2, "b"), entry(1, 3, "c")];
    let mut scene = Scene::new(3, 1, &entries);
    scene.step(
        2,
        chunk(1, position(1, 2), 0, true),
        &["follows n2 in t1", "committed i2", "n2 <= Appended t1 i2"],
    );
    assert_eq!(scene.replication.last(), position(1, 3));
    assert_eq!(scene.replication.base(), position(0, 0));
}

#[test]
fn nothing_is_installed_while_entries_are_on_their_way_to_the_disk() {
    let mut scene = Scene::new(3, 1, &[]);
    scene.append(
        2,
        1,
        position(0, 0),
        &[entry(1, 1, "a")],
        0,
        &[
            "follows n2 in t1",
            "log t1.i1 \"a\"",
            "n2 <= Appended t1 i1",
        ],
    );
    scene.step(
        2,
        chunk(1, position(1, 5), 0, true),
        &["take of t1.i5 chunk 0 \"x\" last"],
    );
    let now = scene.now;
    let install = |scene: &mut Scene, became| {
        let mut out = Vec::new();
        let members = scene.replication.configured().clone();
        let replication = &mut scene.replication;
        let installed = replication.install_snapshot(now, &members, Timestamp::ZERO, &mut out);
        assert_eq!(installed, became);
    };
    install(&mut scene, Installed::Later);
    scene.durable(1, 1, &[]);
    install(&mut scene, Installed::Now);
    // The report of what is gone by now.
    scene.durable(1, 1, &["n2 <= Appended t1 i5"]);
    install(&mut scene, Installed::NotNeeded);
}

#[test]
fn an_unfinished_snapshot_ends_with_its_senders_term() {
    let mut scene = Scene::new(3, 1, &[]);
    scene.step(
        2,
        chunk(1, position(1, 5), 0, false),
        &["follows n2 in t1", "take of t1.i5 chunk 0 \"x\""],
    );
    scene.append(
        3,
        2,
        position(1, 5),
        &[],
        5,
        &[
            "log t2 for nobody",
            "follows n3 in t2",
            "drop snapshot",
            "n3 <- AppendRefused t2 after t1.i5 hint i0",
        ],
    );
    // It goes on sending, and learns of the later term.
    scene.step(
        2,
        chunk(1, position(1, 5), 1, true),
        &["n2 <- SnapshotReceived t2 #1 0"],
    );
}
