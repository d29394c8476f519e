use super::*;
use ReplicationMessage as M;

/// When no replica has heard a leader for this long, whatever it drew, it asks for votes.
const SURELY_DUE: u64 = 1_000;

fn pre_vote(term: u64, last: LogPosition) -> M {
    M::PreVote {
        term: Term(term),
        last,
    }
}

fn vote(term: u64, last: LogPosition) -> M {
    M::Vote {
        term: Term(term),
        last,
    }
}

#[test]
fn a_leader_is_elected_in_two_rounds() {
    let mut scene = Scene::new(3, 4, &[entry(3, 1, "a")]);
    scene.promised = Timestamp::from_bits(7);
    scene.tick(at(499), &[]);
    scene.tick(
        at(SURELY_DUE),
        &["n2 <- PreVote t5 last t3.i1", "n3 <- PreVote t5 last t3.i1"],
    );
    assert_eq!(scene.replication.role(), Role::PreCandidate);
    assert_eq!(scene.replication.term(), Term(4));
    scene.pre_vote_reply(
        3,
        5,
        true,
        &[
            "log t5 for n1",
            "candidate in t5",
            "n2 <= Vote t5 last t3.i1",
            "n3 <= Vote t5 last t3.i1",
        ],
    );
    scene.vote_reply(
        2,
        5,
        true,
        9,
        &[
            "leads in t5",
            "log t5.i2 \"\"",
            "n2 <- Append t5 after t3.i1 [t5.i2] commit i0",
            "n3 <- Append t5 after t3.i1 [t5.i2] commit i0",
        ],
    );
    assert_eq!(scene.replication.leader(), Some(node(1)));
    assert_eq!(
        scene.replication.votes_promised(),
        Some(Timestamp::from_bits(9))
    );
}

#[test]
fn the_own_promise_counts_at_the_election() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.promised = Timestamp::from_bits(70);
    scene.elect();
    assert_eq!(
        scene.replication.votes_promised(),
        Some(Timestamp::from_bits(70))
    );
}

#[test]
fn a_single_member_elects_itself_and_commits_when_its_disk_has_the_entry() {
    let mut scene = Scene::new(1, 0, &[]);
    scene.tick(
        at(0),
        &[
            "log t1 for n1",
            "candidate in t1",
            "leads in t1",
            "log t1.i1 \"\"",
        ],
    );
    assert!(!scene.replication.first_of_term_committed());
    scene.propose("x", &["log t1.i2 \"x\""]);
    scene.durable(1, 1, &["committed i1"]);
    assert!(scene.replication.first_of_term_committed());
    scene.durable(1, 2, &["committed i2"]);
    scene.tick(at(60_000), &[]);
    assert_eq!(scene.replication.role(), Role::Leader);
}

#[test]
fn unanswered_questions_are_asked_again_then_the_round_begins_anew() {
    let mut scene = Scene::new(3, 4, &[]);
    let questions = ["n2 <- PreVote t5 last t0.i0", "n3 <- PreVote t5 last t0.i0"];
    scene.tick(at(1_000), &questions);
    scene.tick(at(1_099), &[]);
    scene.pre_vote_reply(2, 4, false, &[]);
    scene.tick(at(1_100), &["n3 <- PreVote t5 last t0.i0"]);
    scene.tick(at(2_000), &questions);
}

#[test]
fn pre_vote_is_refused_while_a_leader_is_heard() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.now = at(100);
    scene.turn(
        |replication, out| {
            let heard = replication.on_heartbeat(at(100), node(2), Term(4), LogIndex(0), out);
            assert_eq!(heard, Ok(()));
        },
        &["follows n2 in t4"],
    );
    scene.now = at(599);
    let asked = pre_vote(5, position(0, 0));
    scene.step(3, asked.clone(), &["n3 <- PreVoteReply t4 false"]);
    scene.now = at(600);
    scene.step(3, asked, &["n3 <- PreVoteReply t5 true"]);
    assert_eq!(scene.replication.term(), Term(4));
}

#[test]
fn pre_vote_and_vote_are_refused_to_a_shorter_log() {
    let mut scene = Scene::new(3, 4, &[entry(2, 1, "a"), entry(3, 2, "b")]);
    for shorter in [position(3, 1), position(2, 9)] {
        let asked = pre_vote(5, shorter);
        scene.step(2, asked, &["n2 <- PreVoteReply t4 false"]);
    }
    scene.step(
        2,
        pre_vote(5, position(3, 2)),
        &["n2 <- PreVoteReply t5 true"],
    );
    scene.step(
        2,
        vote(5, position(2, 9)),
        &[
            "log t5 for nobody",
            "follows nobody in t5",
            "n2 <= VoteReply t5 false promised 0",
        ],
    );
    scene.step(
        3,
        vote(5, position(3, 2)),
        &["log t5 for n3", "n3 <= VoteReply t5 true promised 0"],
    );
}

#[test]
fn a_vote_is_given_once_a_term_and_its_answer_always_waits_for_the_log() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.promised = Timestamp::from_bits(33);
    scene.step(
        2,
        vote(5, position(0, 0)),
        &[
            "log t5 for n2",
            "follows nobody in t5",
            "n2 <= VoteReply t5 true promised 33",
        ],
    );
    scene.step(
        3,
        vote(5, position(9, 9)),
        &["n3 <= VoteReply t5 false promised 33"],
    );
    // The same question again: the vote may still be on its way to the disk.
    scene.promised = Timestamp::from_bits(44);
    scene.step(
        2,
        vote(5, position(0, 0)),
        &["log t5 for n2", "n2 <= VoteReply t5 true promised 44"],
    );
    scene.step(
        3,
        vote(4, position(9, 9)),
        &["n3 <= VoteReply t5 false promised 44"],
    );
}

#[test]
fn a_vote_survives_a_restart() {
    let config = ReplicationConfig {
        me: node(1),
        configured: founded(1..=3),
        carried: Timestamp::ZERO,
        told: None,
        nodes: BTreeSet::new(),
        timing: TIMING,
        seed: 1,
        memory: Recollection::Whole,
    };
    let base = LogPosition::default();
    let mut scene = Scene::new(3, 0, &[]);
    scene.replication = Replication::new(
        config,
        Term(5),
        Some(node(2)),
        base,
        Vec::new(),
        LogIndex(0),
        at(0),
    );
    scene.step(3, vote(5, base), &["n3 <= VoteReply t5 false promised 0"]);
    scene.step(
        2,
        vote(5, base),
        &["log t5 for n2", "n2 <= VoteReply t5 true promised 0"],
    );
}

#[test]
fn a_split_vote_ends_in_another_round_under_the_next_term() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.now = at(SURELY_DUE);
    scene.turn(
        |replication, out| {
            replication.tick(at(SURELY_DUE), Timestamp::ZERO, out);
            let granted = M::PreVoteReply {
                term: Term(5),
                granted: true,
            };
            replication.step(at(SURELY_DUE), Timestamp::ZERO, node(2), granted, out);
        },
        &[
            "n2 <- PreVote t5 last t0.i0",
            "n3 <- PreVote t5 last t0.i0",
            "log t5 for n1",
            "candidate in t5",
            "n2 <= Vote t5 last t0.i0",
            "n3 <= Vote t5 last t0.i0",
        ],
    );
    // Both others vote for each other's rival, themselves.
    scene.vote_reply(2, 5, false, 0, &[]);
    scene.vote_reply(3, 5, false, 0, &[]);
    scene.tick(
        at(2 * SURELY_DUE),
        &["n2 <- PreVote t6 last t0.i0", "n3 <- PreVote t6 last t0.i0"],
    );
    assert_eq!(scene.replication.term(), Term(5));
}

#[test]
fn late_answers_elect_nobody() {
    let mut scene = Scene::new(5, 4, &[]);
    let questions = |term| [2, 3, 4, 5].map(|n| format!("n{n} <- PreVote t{term} last t0.i0"));
    let expected = questions(5);
    scene.tick(at(1_000), &expected.each_ref().map(String::as_str));
    scene.pre_vote_reply(2, 5, true, &[]);
    // A doubled answer is one answer; an answer to an older question is none.
    scene.pre_vote_reply(2, 5, true, &[]);
    scene.pre_vote_reply(3, 4, true, &[]);
    scene.vote_reply(4, 4, true, 0, &[]);
    assert_eq!(scene.replication.role(), Role::PreCandidate);
}

#[test]
fn a_candidate_that_hears_the_elected_leader_follows_it() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.tick(
        at(1_000),
        &["n2 <- PreVote t5 last t0.i0", "n3 <- PreVote t5 last t0.i0"],
    );
    scene.pre_vote_reply(
        2,
        5,
        true,
        &[
            "log t5 for n1",
            "candidate in t5",
            "n2 <= Vote t5 last t0.i0",
            "n3 <= Vote t5 last t0.i0",
        ],
    );
    scene.append(
        3,
        5,
        position(0, 0),
        &[entry(5, 1, "")],
        0,
        &["follows n3 in t5", "log t5.i1 \"\"", "n3 <= Appended t5 i1"],
    );
    scene.vote_reply(2, 5, true, 0, &[]);
    assert_eq!(scene.replication.leader(), Some(node(3)));
}

#[test]
fn a_leader_out_of_touch_with_a_majority_steps_down() {
    let mut scene = Scene::new(5, 1, &[]);
    scene.elect();
    let contact = |scene: &mut Scene, now, from| {
        scene.replication.on_contact(now, node(from), Term(2));
    };
    contact(&mut scene, at(10_100), 4);
    scene.now = at(10_150);
    scene.appended(5, 2, 1, &[]);
    let resent = [2, 3, 4].map(|n| format!("n{n} <- Append t2 after t0.i0 [t2.i1] commit i0"));
    scene.tick(at(10_599), &resent.each_ref().map(String::as_str));
    // With itself and node 5 it would be two of five.
    scene.tick(at(10_600), &["follows nobody in t2"]);
    assert_eq!(scene.replication.role(), Role::Follower { leader: None });
    scene.tick(at(11_099), &[]);
}

#[test]
fn contact_in_an_older_term_is_none() {
    let mut scene = Scene::new(3, 1, &[]);
    scene.elect();
    scene.replication.on_contact(at(10_400), node(2), Term(1));
    scene.tick(at(10_500), &["follows nobody in t2"]);
}

#[test]
fn a_deposed_leader_learns_it_from_any_answer() {
    for answer in [
        M::Appended {
            term: Term(9),
            matched: LogIndex(0),
        },
        M::AppendRefused {
            term: Term(9),
            previous: position(2, 1),
            hint: LogIndex(0),
        },
        M::VoteReply {
            term: Term(9),
            granted: false,
            promised: Timestamp::ZERO,
        },
        M::PreVoteReply {
            term: Term(9),
            granted: false,
        },
    ] {
        let mut scene = Scene::new(3, 1, &[]);
        scene.elect();
        scene.step(2, answer, &["log t9 for nobody", "follows nobody in t9"]);
        scene.turn(
            |replication, out| assert_eq!(replication.propose(Bytes::new(), out), None),
            &[],
        );
    }
}

#[test]
fn a_heartbeat_of_an_older_term_is_told_the_later_one() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.turn(
        |replication, out| {
            let answer = replication.on_heartbeat(at(0), node(2), Term(3), LogIndex(0), out);
            assert_eq!(answer, Err(Term(4)));
        },
        &[],
    );
    scene.elect();
    scene.turn(
        |replication, out| replication.on_later_term(at(10_000), Term(7), out),
        &["log t7 for nobody", "follows nobody in t7"],
    );
    // Heard twice, it is no news.
    scene.turn(
        |replication, out| replication.on_later_term(at(10_000), Term(7), out),
        &[],
    );
}

#[test]
fn a_replica_that_may_not_lead_asks_for_no_votes_but_gives_them() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.replication.set_electable(false);
    scene.tick(at(5_000), &[]);
    scene.step(
        2,
        vote(5, position(0, 0)),
        &[
            "log t5 for n2",
            "follows nobody in t5",
            "n2 <= VoteReply t5 true promised 0",
        ],
    );
    scene.replication.set_electable(true);
    scene.tick(
        at(6_000),
        &["n2 <- PreVote t6 last t0.i0", "n3 <- PreVote t6 last t0.i0"],
    );
}

#[test]
fn a_stranger_disturbs_no_leadership() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.append(
        2,
        4,
        position(0, 0),
        &[],
        0,
        &["follows n2 in t4", "n2 <= Appended t4 i0"],
    );
    scene.step(8, vote(5, position(9, 9)), &[]);
    assert_eq!(scene.replication.term(), Term(4));
    // Without a leader it may be a member by an entry that is not here yet.
    scene.now = at(5_000);
    scene.step(
        8,
        vote(5, position(9, 9)),
        &[
            "log t5 for n8",
            "follows nobody in t5",
            "n8 <= VoteReply t5 true promised 0",
        ],
    );
}

#[test]
#[should_panic(expected = "at most one leader a term")]
fn two_leaders_of_one_term_are_a_broken_invariant() {
    let mut scene = Scene::new(3, 4, &[]);
    scene.append(
        2,
        4,
        position(0, 0),
        &[],
        0,
        &["follows n2 in t4", "n2 <= Appended t4 i0"],
    );
    scene.append(3, 4, position(0, 0), &[], 0, &[]);
}

#[test]
fn a_vote_of_an_older_term_elects_nobody_in_the_next() {
    let mut scene = Scene::new(3, 4, &[]);
    for term in [5, 6] {
        let asks = [2, 3].map(|n| format!("n{n} <- PreVote t{term} last t0.i0"));
        let due = at(term * 1_000);
        scene.tick(due, &asks.each_ref().map(String::as_str));
        let candidacy = [
            format!("log t{term} for n1"),
            format!("candidate in t{term}"),
            format!("n2 <= Vote t{term} last t0.i0"),
            format!("n3 <= Vote t{term} last t0.i0"),
        ];
        let candidacy = candidacy.each_ref().map(String::as_str);
        scene.pre_vote_reply(2, term, true, &candidacy);
    }
    scene.vote_reply(3, 5, true, 0, &[]);
    assert_eq!(scene.replication.role(), Role::Candidate);
}

/// The first time, to the millisecond, at which a replica with this seed asks for votes.
fn asks_at(seed: u64, vote_given_at: Option<Duration>) -> Duration {
    let config = ReplicationConfig {
        me: node(1),
        configured: founded(1..=3),
        carried: Timestamp::ZERO,
        told: None,
        nodes: BTreeSet::new(),
        timing: TIMING,
        seed,
        memory: Recollection::Whole,
    };
    let base = LogPosition::default();
    let mut replication = Replication::new(config, Term(0), None, base, vec![], LogIndex(0), at(0));
    let mut out = Vec::new();
    if let Some(now) = vote_given_at {
        let asked = vote(1, position(0, 0));
        replication.step(now, Timestamp::ZERO, node(2), asked, &mut out);
    }
    let asked = |millis: &u64| {
        replication.tick(at(*millis), Timestamp::ZERO, &mut out);
        replication.role() == Role::PreCandidate
    };
    at((0..5_000).find(asked).expect("it asks"))
}

#[test]
fn election_timeouts_are_spread_between_one_and_two_measures() {
    let drawn: std::collections::BTreeSet<Duration> =
        (0..100).map(|seed| asks_at(seed, None)).collect();
    let timeout = TIMING.election_timeout;
    assert!(drawn.len() > 50, "spread: {drawn:?}");
    assert!(
        drawn
            .iter()
            .all(|due| (timeout..=timeout * 2).contains(due))
    );
}

#[test]
fn whoever_gave_its_vote_waits_for_the_outcome() {
    let given = at(450);
    for seed in 0..20 {
        assert!(asks_at(seed, Some(given)) >= given + TIMING.election_timeout);
    }
}
