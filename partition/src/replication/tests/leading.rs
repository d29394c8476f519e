use super::*;

#[test]
fn proposals_of_one_turn_travel_in_one_message_beside_the_own_disk() {
    let mut scene = Scene::new(3, 1, &[]);
    scene.elect();
    scene.appended(2, 2, 1, &[]);
    scene.appended(
        3,
        2,
        1,
        // A majority without the leader's own disk.
        &[
            "committed i1",
            "n2 <- Append t2 after t2.i1 [] commit i1",
            "n3 <- Append t2 after t2.i1 [] commit i1",
        ],
    );
    assert!(scene.replication.first_of_term_committed());
    assert_eq!(scene.replication.durable(), LogIndex(0));
    scene.turn(
        |replication, out| {
            let first = replication.propose(Bytes::from_static(b"x"), out);
            assert_eq!(first, Some(position(2, 2)));
            replication.propose(Bytes::from_static(b"y"), out);
        },
        &[
            "log t2.i2 \"x\"",
            "log t2.i3 \"y\"",
            "n2 <- Append t2 after t2.i1 [t2.i2 t2.i3] commit i1",
            "n3 <- Append t2 after t2.i1 [t2.i2 t2.i3] commit i1",
        ],
    );
    // The next does not wait for answers.
    scene.propose(
        "z",
        &[
            "log t2.i4 \"z\"",
            "n2 <- Append t2 after t2.i3 [t2.i4] commit i1",
            "n3 <- Append t2 after t2.i3 [t2.i4] commit i1",
        ],
    );
    scene.durable(2, 3, &[]);
    scene.appended(
        2,
        2,
        4,
        &[
            "committed i3",
            "n2 <- Append t2 after t2.i4 [] commit i3",
            "n3 <- Append t2 after t2.i4 [] commit i3",
        ],
    );
    assert_eq!(scene.replication.heartbeat_commit_for(node(2)), LogIndex(3));
    assert_eq!(scene.replication.heartbeat_commit_for(node(3)), LogIndex(1));
    assert_eq!(scene.replication.matched_min(), Some(LogIndex(1)));
}

#[test]
fn a_commit_rides_on_entries_of_the_same_turn() {
    let mut scene = Scene::new(3, 1, &[]);
    scene.elect();
    scene.durable(2, 1, &[]);
    scene.turn(
        |replication, out| {
            let message = ReplicationMessage::Appended {
                term: Term(2),
                matched: LogIndex(1),
            };
            replication.step(at(10_000), Timestamp::ZERO, node(2), message, out);
            replication.propose(Bytes::from_static(b"x"), out);
        },
        &[
            "committed i1",
            "log t2.i2 \"x\"",
            "n2 <- Append t2 after t2.i1 [t2.i2] commit i1",
        ],
    );
    // Node 3 is still asked where its log parts: one question at a time.
    scene.appended(3, 2, 1, &["n3 <- Append t2 after t2.i1 [t2.i2] commit i1"]);
}

#[test]
fn doubled_and_late_answers_change_nothing() {
    let mut scene = Scene::new(3, 1, &[]);
    scene.elect();
    scene.propose("x", &["log t2.i2 \"x\""]);
    scene.durable(2, 2, &[]);
    scene.appended(
        2,
        2,
        1,
        &[
            "committed i1",
            "n2 <- Append t2 after t2.i1 [t2.i2] commit i1",
        ],
    );
    scene.appended(2, 2, 1, &[]);
    // Of a term in which this replica did not lead.
    scene.appended(2, 1, 2, &[]);
    scene.refused(2, 1, position(2, 1), 0, &[]);
    // Of something that is known to be held by now.
    scene.refused(2, 2, position(2, 1), 0, &[]);
    assert_eq!(scene.replication.commit(), LogIndex(1));
}

/// Ongaro 2014, figure 3.7: an entry of term 2, by now on a majority of disks, is not committed by a
/// leader of term 4 until an entry of term 4 is.
#[test]
fn an_entry_of_an_older_term_is_not_committed_by_counting() {
    let mut scene = Scene::new(5, 3, &[entry(1, 1, "a"), entry(2, 2, "b")]);
    scene.elect();
    let rest = "[t4.i3] commit i0";
    scene.refused(
        2,
        4,
        position(2, 2),
        1,
        &["n2 <- Append t4 after t1.i1 [t2.i2 t4.i3] commit i0"],
    );
    scene.appended(3, 4, 2, &[&format!("n3 <- Append t4 after t2.i2 {rest}")]);
    scene.appended(2, 4, 2, &[&format!("n2 <- Append t4 after t2.i2 {rest}")]);
    scene.durable(4, 3, &[]);
    assert_eq!(scene.replication.commit(), LogIndex(0));
    scene.appended(3, 4, 3, &[]);
    scene.appended(
        2,
        4,
        3,
        &[
            "committed i3",
            "n2 <- Append t4 after t4.i3 [] commit i3",
            "n3 <- Append t4 after t4.i3 [] commit i3",
        ],
    );
}

#[test]
fn a_lost_append_is_noticed_by_the_next_and_sent_again() {
    let mut scene = Scene::new(2, 1, &[]);
    scene.elect();
    scene.appended(2, 2, 1, &[]);
    scene.propose(
        "x",
        &[
            "log t2.i2 \"x\"",
            "n2 <- Append t2 after t2.i1 [t2.i2] commit i0",
        ],
    );
    scene.propose(
        "y",
        &[
            "log t2.i3 \"y\"",
            "n2 <- Append t2 after t2.i2 [t2.i3] commit i0",
        ],
    );
    scene.propose(
        "z",
        &[
            "log t2.i4 \"z\"",
            "n2 <- Append t2 after t2.i3 [t2.i4] commit i0",
        ],
    );
    scene.refused(
        2,
        2,
        position(2, 2),
        1,
        &["n2 <- Append t2 after t2.i1 [t2.i2 t2.i3 t2.i4] commit i0"],
    );
    // The refusal of the third: it was sent before the leader changed its mind.
    scene.refused(2, 2, position(2, 3), 1, &[]);
    scene.appended(2, 2, 4, &[]);
    assert_eq!(scene.replication.heartbeat_commit_for(node(2)), LogIndex(0));
    scene.durable(
        2,
        4,
        &["committed i4", "n2 <- Append t2 after t2.i4 [] commit i4"],
    );
    assert_eq!(scene.replication.heartbeat_commit_for(node(2)), LogIndex(4));
}

#[test]
fn silence_brings_everything_unanswered_once_more_and_again() {
    let mut scene = Scene::new(2, 1, &[]);
    scene.elect();
    scene.appended(2, 2, 1, &[]);
    scene.propose(
        "x",
        &[
            "log t2.i2 \"x\"",
            "n2 <- Append t2 after t2.i1 [t2.i2] commit i0",
        ],
    );
    scene.propose(
        "y",
        &[
            "log t2.i3 \"y\"",
            "n2 <- Append t2 after t2.i2 [t2.i3] commit i0",
        ],
    );
    scene.tick(at(10_199), &[]);
    let again = ["n2 <- Append t2 after t2.i1 [t2.i2 t2.i3] commit i0"];
    scene.tick(at(10_200), &again);
    scene.tick(at(10_399), &[]);
    scene.tick(at(10_400), &again);
    scene.now = at(10_450);
    scene.appended(2, 2, 3, &[]);
    scene.tick(at(10_900), &[]);
}

#[test]
fn an_answer_restarts_the_wait_for_the_next() {
    let mut scene = Scene::new(2, 1, &[]);
    scene.elect();
    scene.appended(2, 2, 1, &[]);
    scene.propose(
        "x",
        &[
            "log t2.i2 \"x\"",
            "n2 <- Append t2 after t2.i1 [t2.i2] commit i0",
        ],
    );
    scene.propose(
        "y",
        &[
            "log t2.i3 \"y\"",
            "n2 <- Append t2 after t2.i2 [t2.i3] commit i0",
        ],
    );
    scene.now = at(10_150);
    scene.appended(2, 2, 2, &[]);
    scene.tick(at(10_349), &[]);
    scene.tick(
        at(10_350),
        &["n2 <- Append t2 after t2.i2 [t2.i3] commit i0"],
    );
}

/// The indexes that a leader sends in one turn, message by message.
fn sent(
    scene: &mut Scene,
    act: impl FnOnce(&mut Replication, &mut Vec<ReplicationEffect>),
) -> Vec<Vec<u64>> {
    let mut out = Vec::new();
    act(&mut scene.replication, &mut out);
    scene.replication.flush(scene.now, &mut out);
    scene.replication.invariants();
    let indexes = |effect: &ReplicationEffect| match effect {
        ReplicationEffect::Send {
            message: ReplicationMessage::Append { entries, .. },
            ..
        } => Some(entries.iter().map(|entry| entry.index.0).collect()),
        _ => None,
    };
    out.iter().filter_map(indexes).collect()
}

fn appended(matched: u64) -> ReplicationMessage {
    ReplicationMessage::Appended {
        term: Term(2),
        matched: LogIndex(matched),
    }
}

#[test]
fn the_window_bounds_the_messages_on_the_way() {
    let mut scene = Scene::new(2, 1, &[]);
    scene.elect();
    scene.appended(2, 2, 1, &[]);
    let propose = |replication: &mut Replication, out: &mut Vec<_>| {
        replication.propose(Bytes::from_static(b"x"), out);
    };
    for index in 2..2 + IN_FLIGHT_APPENDS_MAX as u64 {
        assert_eq!(sent(&mut scene, propose), [[index]]);
    }
    let beyond = 2 + IN_FLIGHT_APPENDS_MAX as u64;
    assert_eq!(sent(&mut scene, propose), Vec::<Vec<u64>>::new());
    assert_eq!(sent(&mut scene, propose), Vec::<Vec<u64>>::new());
    // One place is free: what has gathered goes together.
    let answer = |replication: &mut Replication, out: &mut Vec<_>| {
        replication.step(at(10_000), Timestamp::ZERO, node(2), appended(2), out);
    };
    assert_eq!(sent(&mut scene, answer), [[beyond, beyond + 1]]);
}

#[test]
fn messages_and_the_window_are_bounded_in_bytes() {
    let mut scene = Scene::new(2, 1, &[]);
    scene.elect();
    let body = Bytes::from(vec![0; APPEND_BYTES_MAX / 2 - 100]);
    let count = 3 * IN_FLIGHT_BYTES_MAX / APPEND_BYTES_MAX;
    let nothing = sent(&mut scene, |replication, out| {
        // Larger than a message may be: it travels alone.
        replication.propose(Bytes::from(vec![0; 2 * APPEND_BYTES_MAX]), out);
        for _ in 0..count {
            replication.propose(body.clone(), out);
        }
    });
    assert!(
        nothing.is_empty(),
        "the first question is not answered: {nothing:?}"
    );
    let messages = sent(&mut scene, |replication, out| {
        replication.step(at(10_000), Timestamp::ZERO, node(2), appended(1), out);
    });
    assert_eq!(messages[0], [2]);
    assert_eq!(messages[1], [3, 4]);
    // Two megabytes in the first, one in each of the others.
    assert_eq!(
        messages.len(),
        IN_FLIGHT_BYTES_MAX / APPEND_BYTES_MAX - 1 + 1
    );
}

#[test]
fn a_question_carries_little() {
    let body = "0123456789abcdef";
    let mut scene = Scene::new(2, 1, &[]);
    scene.elect();
    sent(&mut scene, |replication, out| {
        for _ in 0..10_000 {
            replication.propose(Bytes::from_static(body.as_bytes()), out);
        }
    });
    scene.now = at(10_200);
    let messages = sent(&mut scene, |replication, out| {
        replication.tick(at(10_200), Timestamp::ZERO, out);
    });
    assert_eq!(messages.len(), 1);
    assert!(messages[0].len() * body.len() <= PROBE_BYTES_MAX);
    let messages = sent(&mut scene, |replication, out| {
        replication.step(at(10_200), Timestamp::ZERO, node(2), appended(1), out);
    });
    assert!(
        messages
            .iter()
            .all(|entries| entries.len() <= APPEND_ENTRIES_MAX)
    );
    assert_eq!(messages.iter().map(Vec::len).sum::<usize>(), 10_000);
}

#[test]
fn a_refusal_is_answered_from_its_hint() {
    let log: Vec<Entry> = (1..=9).map(|index| entry(1, index, "a")).collect();
    let mut scene = Scene::new(2, 1, &log);
    scene.elect();
    scene.refused(
        2,
        2,
        position(1, 9),
        6,
        &["n2 <- Append t2 after t1.i6 [t1.i7 t1.i8 t1.i9 t2.i10] commit i0"],
    );
    // A hint that is none must not bring the same question again.
    scene.refused(
        2,
        2,
        position(1, 6),
        9,
        &["n2 <- Append t2 after t1.i5 [t1.i6 t1.i7 t1.i8 t1.i9 t2.i10] commit i0"],
    );
}

#[test]
fn a_follower_whose_disk_is_slow_is_not_flooded() {
    let mut scene = Scene::new(2, 1, &[]);
    scene.elect();
    let body = Bytes::from(vec![0; PROBE_BYTES_MAX / 2]);
    let propose = |replication: &mut Replication, out: &mut Vec<_>| {
        for _ in 0..4 {
            replication.propose(body.clone(), out);
        }
    };
    let answer = |matched, now| {
        move |replication: &mut Replication, out: &mut Vec<_>| {
            replication.step(now, Timestamp::ZERO, node(2), appended(matched), out);
        }
    };
    let none = Vec::<Vec<u64>>::new();
    assert_eq!(sent(&mut scene, propose), none);
    assert_eq!(
        sent(&mut scene, answer(1, at(10_000))),
        [[2, 3, 4, 5]],
        "all of it goes at once"
    );
    scene.now = at(10_200);
    let tick = |replication: &mut Replication, out: &mut Vec<_>| {
        replication.tick(at(10_200), Timestamp::ZERO, out);
    };
    assert_eq!(sent(&mut scene, tick), [[2]], "a question");
    // It has it, as all the rest, but its disk has reported nothing yet.
    assert_eq!(sent(&mut scene, answer(1, at(10_210))), none);
    assert_eq!(sent(&mut scene, answer(4, at(10_300))), [[5]]);
}
