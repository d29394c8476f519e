//! Changes of members.

use super::*;

/// Node 1 of three leads in term 1; the first entry is committed, and nothing else is there.
fn leading() -> Scene {
    let mut scene = Scene::new(3, 0, &[]);
    scene.elect();
    scene.turn_unseen(|replication, out| replication.on_durable(position(1, 1), out));
    for follower in [2, 3] {
        let (term, matched) = (Term(1), LogIndex(1));
        let answer = ReplicationMessage::Appended { term, matched };
        let (now, promised) = (scene.now, scene.promised);
        scene.turn_unseen(|replication, out| {
            replication.step(now, promised, node(follower), answer, out);
        });
    }
    scene
}

fn nodes(numbers: &[u32]) -> BTreeSet<NodeId> {
    numbers.iter().map(|n| NodeId(*n)).collect()
}

fn learners(numbers: &[u32]) -> Change {
    Change::Learners(nodes(numbers))
}

fn voters(numbers: &[u32]) -> Change {
    Change::Voters(nodes(numbers))
}

#[track_caller]
fn change(scene: &mut Scene, change: &Change, expected: &[&str]) {
    let now = scene.now;
    let promised = Timestamp::from_bits(7);
    scene.turn(
        |replication, out| {
            let proposed = replication.propose_change(now, change, promised, out);
            assert!(proposed.is_ok(), "{proposed:?}");
        },
        expected,
    );
}

#[track_caller]
fn refused(scene: &mut Scene, change: &Change, expected: &ChangeRefused) {
    let now = scene.now;
    scene.turn(
        |replication, out| {
            let proposed = replication.propose_change(now, change, Timestamp::ZERO, out);
            assert_eq!(proposed.as_ref(), Err(expected));
        },
        &[],
    );
}

/// Node 4 learns by entry 2, which is committed.
fn learning() -> Scene {
    let mut scene = leading();
    change(
        &mut scene,
        &learners(&[4]),
        &[
            "log t1.i2 members 1 2 3, learning 4 promised 7",
            "n2 <- Append t1 after t1.i1 [t1.i2] commit i1",
            "n3 <- Append t1 after t1.i1 [t1.i2] commit i1",
            "n4 <- Append t1 after t1.i2 [] commit i1",
        ],
    );
    scene.durable(1, 2, &[]);
    scene.appended(
        2,
        1,
        2,
        &[
            "committed i2",
            "n2 <- Append t1 after t1.i2 [] commit i2",
            "n3 <- Append t1 after t1.i2 [] commit i2",
        ],
    );
    scene
}

#[test]
fn a_new_member_is_invited_learns_and_votes_once_it_has_caught_up() {
    let mut scene = learning();
    let lacking = ChangeRefused::NotCaughtUp {
        member: node(4),
        entries: 2,
    };
    refused(&mut scene, &voters(&[1, 2, 4]), &lacking);
    // It holds no replica, and says nothing.
    scene.tick(
        at(10_250),
        &[
            "n4 <- Join 1 2 3, learning 4 @t1.i2",
            "n3 <- Append t1 after t1.i1 [t1.i2] commit i2",
            "n4 <- Append t1 after t1.i2 [] commit i2",
        ],
    );
    scene.refused(
        4,
        1,
        position(1, 2),
        0,
        &["n4 <- Append t1 after t0.i0 [t1.i1 t1.i2] commit i2"],
    );
    scene.appended(4, 1, 2, &[]);
    scene.appended(3, 1, 2, &[]);
    // From the moment that it is in the log, both sets decide.
    change(
        &mut scene,
        &voters(&[1, 2, 4]),
        &[
            "log t1.i3 members 1 2 4, outgoing 1 2 3 promised 7",
            "n2 <- Append t1 after t1.i2 [t1.i3] commit i2",
            "n3 <- Append t1 after t1.i2 [t1.i3] commit i2",
            "n4 <- Append t1 after t1.i2 [t1.i3] commit i2",
        ],
    );
    scene.durable(1, 3, &[]);
    let since = position(1, 3);
    refused(
        &mut scene,
        &Change::Leave,
        &ChangeRefused::UnderWay { since },
    );
    // Two of the old three have it, but only one of the new three.
    scene.appended(3, 1, 3, &[]);
    scene.appended(
        4,
        1,
        3,
        &[
            "committed i3",
            "n2 <- Append t1 after t1.i3 [] commit i3",
            "n3 <- Append t1 after t1.i3 [] commit i3",
            "n4 <- Append t1 after t1.i3 [] commit i3",
        ],
    );
    refused(
        &mut scene,
        &voters(&[1]),
        &ChangeRefused::UnderWay { since },
    );
    change(
        &mut scene,
        &Change::Leave,
        &[
            "log t1.i4 members 1 2 4 promised 7",
            "n2 <- Append t1 after t1.i3 [t1.i4] commit i3",
            "n4 <- Append t1 after t1.i3 [t1.i4] commit i3",
        ],
    );
    scene.durable(1, 4, &[]);
    // Whoever is no member any more counts for nothing, and hears of it once that is committed.
    scene.appended(3, 1, 4, &[]);
    scene.appended(
        4,
        1,
        4,
        &[
            "committed i4",
            "n2 <- Append t1 after t1.i4 [] commit i4",
            "n4 <- Append t1 after t1.i4 [] commit i4",
            "n3 <- Removed 1 2 4 @t1.i4 as of t1.i4",
        ],
    );
}

#[test]
fn a_learner_that_lost_its_memory_is_named_once_more() {
    let mut scene = learning();
    refused(&mut scene, &Change::Anew, &ChangeRefused::NothingChanges);
    let ask = ReplicationMessage::AskMemory { nonce: 7 };
    let memory = "n4 <= Memory t1 last t1.i2 promised 7 members 1 2 3, learning 4 @t1.i2";
    scene.step(4, ask.clone(), &[memory]);
    assert!(scene.replication.wants_naming_anew());
    change(
        &mut scene,
        &Change::Anew,
        &[
            "log t1.i3 members 1 2 3, learning 4 promised 7",
            "n2 <- Append t1 after t1.i2 [t1.i3] commit i2",
            "n3 <- Append t1 after t1.i2 [t1.i3] commit i2",
        ],
    );
    assert!(!scene.replication.wants_naming_anew());
    scene.durable(1, 3, &[]);
    let invited = |scene: &mut Scene, now, expected: &str| {
        let mut out = Vec::new();
        scene.now = now;
        scene.replication.tick(now, Timestamp::ZERO, &mut out);
        scene.replication.flush(now, &mut out);
        let shown: Vec<String> = out.iter().map(show_effect).collect();
        assert!(shown.iter().any(|shown| shown == expected), "{shown:?}");
    };
    // Not before that is committed.
    let named = "n4 <- Join 1 2 3, learning 4 @t1.i3";
    invited(&mut scene, at(10_300), named);
    let mut out = Vec::new();
    let appended = ReplicationMessage::Appended {
        term: Term(1),
        matched: LogIndex(3),
    };
    let now = scene.now;
    (scene.replication).step(now, Timestamp::ZERO, node(2), appended, &mut out);
    let named = "n4 <- Join 1 2 3, learning 4 @t1.i3, who asked before";
    invited(&mut scene, at(10_600), named);
    // Another life of it has asked nothing before.
    let ask = ReplicationMessage::AskMemory { nonce: 8 };
    scene.turn_unseen(|replication, out| {
        replication.step(now, Timestamp::ZERO, node(4), ask, out);
    });
    assert!(scene.replication.wants_naming_anew());
}

#[test]
fn a_change_is_refused_by_name() {
    let mut scene = Scene::new(3, 0, &[]);
    let leader = None;
    refused(
        &mut scene,
        &learners(&[4]),
        &ChangeRefused::NotLeader { leader },
    );
    scene.elect();
    refused(&mut scene, &learners(&[4]), &ChangeRefused::Electing);
    let mut scene = leading();
    let member = node(4);
    refused(&mut scene, &voters(&[]), &ChangeRefused::Empty);
    refused(
        &mut scene,
        &voters(&[1, 4]),
        &ChangeRefused::UnknownMember { member },
    );
    refused(
        &mut scene,
        &voters(&[1, 2, 3]),
        &ChangeRefused::NothingChanges,
    );
    refused(&mut scene, &Change::Leave, &ChangeRefused::NothingChanges);
    let member = node(3);
    refused(
        &mut scene,
        &learners(&[3]),
        &ChangeRefused::VotesAlready { member },
    );
    scene
        .replication
        .begin_transfer(scene.now, node(2))
        .expect("begins");
    refused(&mut scene, &learners(&[4]), &ChangeRefused::Transferring);
}

#[test]
fn a_leader_that_leaves_follows_nobody_once_that_is_committed() {
    let mut scene = leading();
    scene.turn_unseen(|replication, out| {
        let proposed =
            replication.propose_change(at(10_000), &voters(&[2, 3]), Timestamp::ZERO, out);
        proposed.expect("is proposed");
        replication.on_durable(position(1, 2), out);
    });
    for follower in [2, 3] {
        let answer = ReplicationMessage::Appended {
            term: Term(1),
            matched: LogIndex(2),
        };
        scene.turn_unseen(|replication, out| {
            replication.step(at(10_000), Timestamp::ZERO, node(follower), answer, out);
        });
    }
    change(
        &mut scene,
        &Change::Leave,
        &[
            "log t1.i3 members 2 3 promised 7",
            "n2 <- Append t1 after t1.i2 [t1.i3] commit i2",
            "n3 <- Append t1 after t1.i2 [t1.i3] commit i2",
        ],
    );
    // Its own disk counts for nothing any more.
    scene.durable(1, 3, &[]);
    scene.appended(2, 1, 3, &[]);
    scene.appended(
        3,
        1,
        3,
        &[
            "committed i3",
            "n2 <- Append t1 after t1.i3 [] commit i3",
            "n3 <- Append t1 after t1.i3 [] commit i3",
            "follows nobody in t1",
            "is removed by 2 3 @t1.i3 as of t1.i3",
        ],
    );
    scene.tick(at(60_000), &["n2 <- AskMemory", "n3 <- AskMemory"]);
}

fn configuration_entry(term: u64, index: u64, configuration: Configuration) -> Entry {
    let promised = Timestamp::from_bits(90);
    let body = ConfigurationEntry {
        configuration,
        promised,
    };
    Entry {
        term: Term(term),
        index: LogIndex(index),
        body: body.encode(),
    }
}

fn of(numbers: &[u32]) -> Configuration {
    Configuration::of(nodes(numbers))
}

#[test]
fn a_configuration_goes_with_its_entry() {
    let joint = Configuration {
        voters: nodes(&[1, 4, 5]),
        outgoing: nodes(&[1, 2, 3]),
        learners: nodes(&[]),
    };
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a")]);
    let change = configuration_entry(1, 2, joint);
    let expected = [
        "follows n2 in t1",
        "log t1.i2 members 1 4 5, outgoing 1 2 3 promised 90",
        "n2 <= Appended t1 i2",
    ];
    scene.append(2, 1, position(1, 1), &[change], 0, &expected);
    assert_eq!(scene.replication.members().count(), 5);
    scene.durable(1, 2, &[]);
    let expected = [
        "log t2 for nobody",
        "follows n3 in t2",
        "log t2.i2 \"b\"",
        "n3 <= Appended t2 i2",
    ];
    scene.append(3, 2, position(1, 1), &[entry(2, 2, "b")], 0, &expected);
    assert_eq!(*scene.replication.configured(), founded(1..=3));
    // The promise that it carried is told nevertheless: that costs nothing but time.
    scene.now = at(10_000);
    let last = position(2, 2);
    let vote = ReplicationMessage::Vote {
        term: Term(3),
        last,
    };
    scene.step(
        2,
        vote,
        &[
            "log t3 for n2",
            "follows nobody in t3",
            "n2 <= VoteReply t3 true promised 90",
        ],
    );
}

#[test]
fn a_restart_finds_the_configuration_in_the_log_above_what_the_state_has() {
    let scene = Scene::new(3, 1, &[configuration_entry(1, 1, of(&[1, 4]))]);
    let configured = scene.replication.configured();
    assert_eq!(show_configured(configured), "1 4 @t1.i1");
    let mut scene = scene;
    scene.append(
        4,
        1,
        position(1, 1),
        &[],
        1,
        &["follows n4 in t1", "committed i1", "n4 <= Appended t1 i1"],
    );
    scene.turn_unseen(|replication, _| replication.discard(position(1, 1)));
    assert_eq!(
        show_configured(scene.replication.configured()),
        "1 4 @t1.i1"
    );
}

/// Node 1 was told by `Join` that it learns, by the entry t3.i8.
fn new_member() -> Scene {
    let mut scene = Scene::new(3, 0, &[]);
    let told = Configured {
        configuration: Configuration {
            learners: nodes(&[1]),
            ..of(&[2, 3])
        },
        at: position(3, 8),
    };
    let config = ReplicationConfig {
        me: node(1),
        configured: founded(2..=3),
        carried: Timestamp::ZERO,
        told: Some(told.clone()),
        nodes: BTreeSet::new(),
        timing: TIMING,
        seed: 1,
        memory: Recollection::BegunAt(told.at),
    };
    let base = LogPosition::default();
    scene.replication = Replication::new(config, Term(0), None, base, vec![], LogIndex(0), at(0));
    scene
}

#[test]
fn a_new_member_votes_only_for_logs_that_hold_what_made_it_one() {
    let mut scene = new_member();
    let vote = |term, last| ReplicationMessage::Vote {
        term: Term(term),
        last,
    };
    scene.step(
        2,
        vote(4, position(3, 7)),
        &[
            "log t4 for nobody",
            "follows nobody in t4",
            "n2 <= VoteReply t4 false promised 0",
        ],
    );
    scene.step(
        3,
        vote(4, position(3, 8)),
        &["log t4 for n3", "n3 <= VoteReply t4 true promised 0"],
    );
    // It stands for nothing, and asks whether it still is a member.
    scene.tick(at(60_000), &["n2 <- AskMemory", "n3 <- AskMemory"]);
    let ask = ReplicationMessage::AskMemory { nonce: 0 };
    scene.step(2, ask, &[]);
}

#[test]
fn a_new_member_does_not_believe_that_it_was_removed_before() {
    let mut scene = new_member();
    let removed = |at| ReplicationMessage::Removed {
        configured: Configured {
            configuration: of(&[2, 3]),
            at,
        },
        as_of: at,
    };
    scene.step(2, removed(position(3, 7)), &[]);
    scene.step(
        2,
        removed(position(3, 9)),
        &["is removed by 2 3 @t3.i9 as of t3.i9"],
    );
    scene.step(3, removed(position(3, 9)), &[]);
}

#[test]
fn a_new_member_by_a_change_that_never_came_about_is_told_so() {
    let mut scene = new_member();
    let removed = |as_of| ReplicationMessage::Removed {
        configured: founded(2..=3),
        as_of,
    };
    scene.step(2, removed(position(3, 7)), &[]);
    let expected = ["is removed by 2 3 @t0.i0 as of t4.i8"];
    scene.step(2, removed(position(4, 8)), &expected);
}

#[test]
fn one_that_is_named_anew_does_not_go_while_it_hears_a_leader() {
    let removed_at = [configuration_entry(1, 2, of(&[2, 4]))];
    let removed = ReplicationMessage::Removed {
        configured: Configured {
            configuration: of(&[2, 4]),
            at: position(1, 2),
        },
        as_of: position(1, 2),
    };
    // Its leader counts it in since the third entry, which has not come yet.
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a")]);
    scene.now = at(10_000);
    let expected = [
        "follows n2 in t1",
        "log t1.i2 members 2 4 promised 90",
        "committed i2",
        "n2 <= Appended t1 i2",
    ];
    scene.append(2, 1, position(1, 1), &removed_at, 2, &expected);
    // A late answer to what it asked before says nothing either.
    scene.step(4, removed.clone(), &[]);
    scene.durable(1, 2, &[]);
    let mut silent = scene.clone();
    let learner = Configuration {
        learners: nodes(&[1]),
        ..of(&[2, 4])
    };
    let named = [configuration_entry(1, 3, learner)];
    let expected = [
        "log t1.i3 members 2 4, learning 1 promised 90",
        "n2 <= Appended t1 i3",
    ];
    scene.append(2, 1, position(1, 2), &named, 2, &expected);
    scene.now = at(20_000);
    scene.step(4, removed.clone(), &[]);
    // No leader speaks to whoever is none.
    silent.now = at(20_000);
    silent.step(4, removed, &["is removed by 2 4 @t1.i2 as of t1.i2"]);
}

#[test]
fn one_that_hears_no_leader_goes_by_its_own_log() {
    let removed_at = [configuration_entry(1, 2, of(&[2, 4]))];
    let mut scene = Scene::new(3, 1, &[entry(1, 1, "a")]);
    scene.now = at(10_000);
    scene.turn_unseen(|replication, out| {
        let append = ReplicationMessage::Append {
            term: Term(1),
            previous: position(1, 1),
            entries: removed_at.to_vec(),
            commit: LogIndex(2),
        };
        replication.step(at(10_000), Timestamp::ZERO, node(2), append, out);
    });
    scene.now = at(10_499);
    scene.turn(|_, _| {}, &[]);
    scene.now = at(10_500);
    scene.turn(|_, _| {}, &["is removed by 2 4 @t1.i2 as of t1.i2"]);
}

#[test]
fn whoever_asks_and_is_no_member_is_told() {
    let mut scene = Scene::new(3, 1, &[configuration_entry(1, 1, of(&[1, 2]))]);
    scene.append(
        2,
        1,
        position(1, 1),
        &[],
        0,
        &["follows n2 in t1", "n2 <= Appended t1 i1"],
    );
    scene.now = at(5_000);
    let ask = ReplicationMessage::PreVote {
        term: Term(2),
        last: position(0, 0),
    };
    // Not yet known to be committed.
    scene.step(3, ask.clone(), &["n3 <- PreVoteReply t1 false"]);
    scene.append(2, 1, position(1, 1), &[], 1, &["committed i1"]);
    let told = [
        "n3 <- Removed 1 2 @t1.i1 as of t1.i1",
        "n3 <- PreVoteReply t1 false",
    ];
    scene.step(3, ask, &told);
}

#[test]
fn both_sets_elect_while_both_decide() {
    let joint = Configuration {
        voters: nodes(&[1, 4, 5]),
        outgoing: nodes(&[1, 2, 3]),
        learners: nodes(&[]),
    };
    let mut scene = Scene::new(3, 1, &[configuration_entry(1, 1, joint)]);
    scene.tick(
        at(5_000),
        &[
            "n2 <- PreVote t2 last t1.i1",
            "n3 <- PreVote t2 last t1.i1",
            "n4 <- PreVote t2 last t1.i1",
            "n5 <- PreVote t2 last t1.i1",
        ],
    );
    scene.pre_vote_reply(2, 2, true, &[]);
    scene.pre_vote_reply(3, 2, true, &[]);
    scene.pre_vote_reply(
        4,
        2,
        true,
        &[
            "log t2 for n1",
            "candidate in t2",
            "n2 <= Vote t2 last t1.i1",
            "n3 <= Vote t2 last t1.i1",
            "n4 <= Vote t2 last t1.i1",
            "n5 <= Vote t2 last t1.i1",
        ],
    );
    scene.vote_reply(4, 2, true, 5, &[]);
    scene.vote_reply(5, 2, true, 5, &[]);
    let mut out = Vec::new();
    let granted = ReplicationMessage::VoteReply {
        term: Term(2),
        granted: true,
        promised: Timestamp::from_bits(5),
    };
    scene
        .replication
        .step(at(5_000), Timestamp::ZERO, node(2), granted, &mut out);
    assert_eq!(scene.replication.role(), Role::Leader);
    // Nobody told so high a promise, but the change carried it.
    assert_eq!(
        scene.replication.votes_promised(),
        Some(Timestamp::from_bits(90))
    );
}
