use super::*;

/// A leader of term 2 whose log held entries 1 to 4, all committed, and forgot those up to 3.
fn leader_with_base() -> Scene {
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
    assert_eq!(scene.replication.matched_min(), Some(LogIndex(0)));
    scene.replication.discard(position(1, 3));
    scene
}

#[test]
fn what_is_discarded_is_gone_and_the_rest_is_as_it_was() {
    let mut scene = leader_with_base();
    let replication = &mut scene.replication;
    assert_eq!(replication.base(), position(1, 3));
    assert_eq!(replication.last(), position(2, 4));
    assert_eq!(replication.term_at(LogIndex(2)), None);
    assert_eq!(replication.term_at(LogIndex(3)), Some(Term(1)));
    assert_eq!(replication.term_at(LogIndex(4)), Some(Term(2)));
    assert_eq!(replication.term_at(LogIndex(5)), None);
    let kept: Vec<LogPosition> = replication
        .entries(LogIndex(1)..=LogIndex(9))
        .map(Entry::position)
        .collect();
    assert_eq!(kept, [position(2, 4)]);
    replication.discard(position(2, 4));
    // Below the base: done already.
    replication.discard(position(1, 2));
    assert_eq!(replication.entries(LogIndex(1)..=LogIndex(9)).count(), 0);
    scene.propose(
        "d",
        &[
            "log t2.i5 \"d\"",
            "n2 <- Append t2 after t2.i4 [t2.i5] commit i4",
            // It was asked about an entry below the base, which cannot be sent any more.
            "n3 <- Append t2 after t2.i4 [t2.i5] commit i4",
        ],
    );
}

#[test]
fn a_follower_that_lacks_what_is_discarded_gets_a_snapshot() {
    let mut scene = leader_with_base();
    // Node 3 holds nothing: it refuses even the base, and is asked again only after a while.
    scene.refused(3, 2, position(1, 3), 0, &[]);
    assert!(scene.replication.needs_snapshot(node(3)));
    assert!(!scene.replication.needs_snapshot(node(2)));
    scene.tick(
        at(10_200),
        &[
            "n3 <- Append t2 after t1.i3 [t2.i4] commit i4",
            "read snapshot #1",
        ],
    );
    // Should it hold the base after all (a late refusal), all goes on.
    scene.appended(3, 2, 4, &[]);
    assert!(!scene.replication.needs_snapshot(node(3)));
    assert_eq!(scene.replication.matched_min(), Some(LogIndex(4)));
}

#[test]
fn a_follower_skips_what_it_has_discarded() {
    let entries = [entry(1, 1, "a"), entry(1, 2, "b"), entry(1, 3, "c")];
    let mut scene = Scene::new(3, 1, &entries);
    scene.append(
        2,
        1,
        position(1, 3),
        &[],
        3,
        &["follows n2 in t1", "committed i3", "n2 <= Appended t1 i3"],
    );
    scene.replication.discard(position(1, 2));
    scene.append(
        2,
        1,
        position(0, 0),
        &[&entries[..], &[entry(1, 4, "d")]].concat(),
        3,
        &["log t1.i4 \"d\"", "n2 <= Appended t1 i4"],
    );
    scene.append(
        2,
        1,
        position(0, 0),
        &entries[..1],
        3,
        &["n2 <= Appended t1 i3"],
    );
}

#[test]
#[should_panic(expected = "what is not committed may still be needed")]
fn what_is_not_committed_is_not_discarded() {
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a")]);
    scene.replication.discard(position(1, 1));
}
