use super::*;

#[test]
fn a_follower_acknowledges_only_what_is_durable() {
    let mut scene = Scene::new(3, 1, &[]);
    scene.append(
        2,
        1,
        position(0, 0),
        &[entry(1, 1, "a"), entry(1, 2, "b")],
        0,
        &[
            "follows n2 in t1",
            "log t1.i1 \"a\"",
            "log t1.i2 \"b\"",
            // Waits for the disk together with the entries.
            "n2 <= Appended t1 i2",
        ],
    );
    // The same again: nothing is logged in this turn, so nothing is waited for.
    scene.append(
        2,
        1,
        position(0, 0),
        &[entry(1, 1, "a"), entry(1, 2, "b")],
        0,
        &["n2 <= Appended t1 i0"],
    );
    scene.durable(1, 2, &[]);
    scene.append(2, 1, position(1, 2), &[], 0, &["n2 <= Appended t1 i2"]);
}

#[test]
fn what_becomes_durable_under_the_next_leader_is_told_to_it() {
    let mut scene = Scene::new(3, 1, &[]);
    let log = [entry(1, 1, "a"), entry(1, 2, "b")];
    scene.append(
        2,
        1,
        position(0, 0),
        &log,
        0,
        &[
            "follows n2 in t1",
            "log t1.i1 \"a\"",
            "log t1.i2 \"b\"",
            "n2 <= Appended t1 i2",
        ],
    );
    scene.append(
        3,
        2,
        position(1, 2),
        &[],
        0,
        &[
            "log t2 for nobody",
            "follows n3 in t2",
            "n3 <= Appended t2 i0",
        ],
    );
    scene.durable(1, 1, &["n3 <= Appended t2 i1"]);
    scene.durable(1, 2, &["n3 <= Appended t2 i2"]);
}

#[test]
fn a_follower_commits_what_it_holds_of_what_is_committed() {
    let mut scene = Scene::new(3, 1, &[]);
    scene.append(
        2,
        1,
        position(0, 0),
        &[entry(1, 1, "a")],
        5,
        &[
            "follows n2 in t1",
            "log t1.i1 \"a\"",
            "committed i1",
            "n2 <= Appended t1 i1",
        ],
    );
    scene.durable(1, 1, &[]);
    scene.append(
        2,
        1,
        position(1, 1),
        &[entry(1, 2, "b")],
        1,
        &["log t1.i2 \"b\"", "n2 <= Appended t1 i2"],
    );
    // News of a commit needs no answer, an older one changes nothing and is a question.
    scene.append(2, 1, position(1, 2), &[], 2, &["committed i2"]);
    scene.append(2, 1, position(1, 2), &[], 1, &["n2 <= Appended t1 i1"]);
    assert_eq!(scene.replication.commit(), LogIndex(2));
}

#[test]
fn a_heartbeat_moves_the_commit_index() {
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a"), entry(1, 2, "b")]);
    scene.turn(
        |replication, out| {
            replication
                .on_heartbeat(at(0), node(2), Term(1), LogIndex(1), out)
                .expect("not of an older term");
        },
        &["follows n2 in t1", "committed i1"],
    );
}

#[test]
fn a_gap_is_refused_with_the_end_of_the_log() {
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a")]);
    scene.append(
        2,
        1,
        position(1, 3),
        &[entry(1, 4, "d")],
        0,
        &[
            "follows n2 in t1",
            "n2 <- AppendRefused t1 after t1.i3 hint i1",
        ],
    );
}

#[test]
fn an_append_of_an_older_term_is_told_the_later_one() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.append(
        2,
        3,
        position(0, 0),
        &[entry(3, 1, "a")],
        0,
        &["n2 <- AppendRefused t4 after t0.i0 hint i0"],
    );
}

#[test]
fn a_mismatch_is_refused_below_the_terms_that_cannot_match() {
    let log = [
        entry(1, 1, "a"),
        entry(2, 2, "b"),
        entry(2, 3, "c"),
        entry(4, 4, "d"),
        entry(4, 5, "e"),
    ];
    // Entries of term 4 cannot match a log that has term 3 above them.
    let mut scene = Scene::new(3, 5, &log);
    scene.append(
        2,
        5,
        position(3, 5),
        &[],
        0,
        &[
            "follows n2 in t5",
            "n2 <- AppendRefused t5 after t3.i5 hint i3",
        ],
    );
    // A run of an older term than the leader's is skipped whole.
    scene.append(
        2,
        5,
        position(3, 3),
        &[],
        0,
        &["n2 <- AppendRefused t5 after t3.i3 hint i1"],
    );
    scene.append(
        2,
        5,
        position(5, 5),
        &[],
        0,
        &["n2 <- AppendRefused t5 after t5.i5 hint i3"],
    );
}

#[test]
fn a_conflicting_suffix_is_replaced() {
    let mut scene = Scene::new(
        3,
        2,
        &[entry(1, 1, "a"), entry(2, 2, "b"), entry(2, 3, "c")],
    );
    scene.append(
        2,
        3,
        position(1, 1),
        &[entry(3, 2, "B")],
        1,
        &[
            "log t3 for nobody",
            "follows n2 in t3",
            "log t3.i2 \"B\"",
            "committed i1",
            "n2 <= Appended t3 i2",
        ],
    );
    assert_eq!(scene.replication.last(), position(3, 2));
    assert_eq!(scene.replication.durable(), LogIndex(1));
    // A late report of the disk about what was replaced says nothing of what stands there now.
    scene.durable(2, 3, &[]);
    assert_eq!(scene.replication.durable(), LogIndex(1));
}

#[test]
fn a_late_shorter_append_removes_nothing() {
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a"), entry(1, 2, "b")]);
    scene.append(
        2,
        1,
        position(0, 0),
        &[entry(1, 1, "a")],
        0,
        &["follows n2 in t1", "n2 <= Appended t1 i1"],
    );
    assert_eq!(scene.replication.last(), position(1, 2));
}

#[test]
fn what_the_disk_has_not_reported_is_not_replaced_yet() {
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
    let conflicting = [entry(2, 1, "A")];
    scene.append(
        3,
        2,
        position(0, 0),
        &conflicting,
        0,
        &["log t2 for nobody", "follows n3 in t2"],
    );
    scene.durable(1, 1, &[]);
    scene.append(
        3,
        2,
        position(0, 0),
        &conflicting,
        0,
        &["log t2.i1 \"A\"", "n3 <= Appended t2 i1"],
    );
}

#[test]
#[should_panic(expected = "what is committed is never replaced")]
fn a_committed_entry_is_never_replaced() {
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a")]);
    scene.append(
        2,
        1,
        position(1, 1),
        &[],
        1,
        &["follows n2 in t1", "committed i1", "n2 <= Appended t1 i1"],
    );
    scene.append(3, 2, position(0, 0), &[entry(2, 1, "A")], 1, &[]);
}

#[test]
fn nothing_is_committed_beyond_what_is_known_to_match() {
    // Entry 2 is another leader's: that the present leader has committed its own entry 2 says nothing.
    let mut scene = Scene::new(3, 2, &[entry(1, 1, "a"), entry(1, 2, "stale")]);
    scene.append(
        2,
        2,
        position(1, 1),
        &[],
        2,
        &["follows n2 in t2", "committed i1", "n2 <= Appended t2 i1"],
    );
}
