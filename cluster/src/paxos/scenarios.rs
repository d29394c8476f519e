//! One story a test; every effect is compared. Values are named after the founder that proposes them.

use super::acceptor::Acceptor;
use super::{Founder, FounderEffect, RESEND_AFTER, STAGGER};
use crate::{FoundingError, FoundingPlan, sorted_founders};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::ClusterId;
use wire::message::{Ballot, Founding, FoundingMessage};

fn plan(me: &str, list: &[&str]) -> FoundingPlan {
    FoundingPlan {
        me: me.into(),
        list: sorted_founders(list.iter().map(|name| (*name).to_owned())),
        splits: vec![],
        replication: 3,
        seed: u64::from(me.as_bytes()[0]),
    }
}

/// Founders, and the names of the values that they would propose.
#[derive(Default)]
struct Story {
    founders: BTreeMap<String, Founder>,
    values: BTreeMap<ClusterId, String>,
    disks: BTreeMap<String, Bytes>,
    now: Duration,
}

impl Story {
    fn of(names: &[&str]) -> Story {
        let mut story = Story::default();
        for name in names {
            story.start(name, names);
        }
        story
    }

    fn start(&mut self, name: &str, list: &[&str]) {
        let recovered = self.disks.get(name).cloned();
        let founder = Founder::new(plan(name, list), recovered).unwrap();
        self.values
            .insert(founder.proposal.cluster, name.to_owned());
        self.founders.insert(name.to_owned(), founder);
    }

    fn value(&self, name: &str) -> Founding {
        self.founders[name].proposal.clone()
    }

    fn tick(&mut self, name: &str) -> Vec<String> {
        let mut out = vec![];
        self.founders
            .get_mut(name)
            .unwrap()
            .tick(self.now, &mut out);
        self.done(name, out)
    }

    fn step(&mut self, name: &str, from: &str, message: FoundingMessage) -> Vec<String> {
        let mut out = vec![];
        self.founders
            .get_mut(name)
            .unwrap()
            .step(self.now, from.into(), message, &mut out);
        self.done(name, out)
    }

    fn done(&mut self, name: &str, out: Vec<FounderEffect>) -> Vec<String> {
        for effect in &out {
            if let FounderEffect::Persist(bytes) = effect {
                self.disks.insert(name.to_owned(), bytes.clone());
            }
        }
        out.iter().map(|effect| self.show(effect)).collect()
    }

    fn show(&self, effect: &FounderEffect) -> String {
        match effect {
            FounderEffect::Persist(bytes) => {
                let acceptor = Acceptor::recover(bytes, &[]).or_else(|error| match error {
                    FoundingError::ListChanged { recorded, .. } => {
                        Acceptor::recover(bytes, &recorded)
                    }
                    other => Err(other),
                });
                let acceptor = acceptor.unwrap();
                let accepted = self.show_accepted(acceptor.accepted());
                match acceptor.founded() {
                    Some(value) => format!("log founded {}", self.name(value)),
                    None => format!(
                        "log promised {}, {accepted}",
                        show_ballot(acceptor.promised())
                    ),
                }
            }
            FounderEffect::Send {
                to,
                message,
                after_log,
            } => {
                let when = if *after_log { " after the log" } else { "" };
                format!("to {to}{when}: {}", self.show_message(message))
            }
            FounderEffect::Founded(value) => format!("founded {}", self.name(value)),
        }
    }

    fn show_message(&self, message: &FoundingMessage) -> String {
        match message {
            FoundingMessage::Prepare { ballot, .. } => format!("prepare {}", show_ballot(*ballot)),
            FoundingMessage::Promise { ballot, accepted } => format!(
                "promise {}, {}",
                show_ballot(*ballot),
                self.show_accepted(accepted.as_ref())
            ),
            FoundingMessage::Accept { ballot, value, .. } => {
                format!("accept {} {}", show_ballot(*ballot), self.name(value))
            }
            FoundingMessage::Accepted { ballot } => format!("accepted {}", show_ballot(*ballot)),
            FoundingMessage::Outbid { ballot, promised } => format!(
                "{} is outbid by {}",
                show_ballot(*ballot),
                show_ballot(*promised)
            ),
            FoundingMessage::Founded { value } => format!("founded {}", self.name(value)),
            FoundingMessage::OtherList { list } => format!("other list {}", list.join(" ")),
        }
    }

    fn show_accepted(&self, accepted: Option<&(Ballot, Founding)>) -> String {
        match accepted {
            None => "accepted nothing".into(),
            Some((at, value)) => format!("accepted {} at {}", self.name(value), show_ballot(*at)),
        }
    }

    fn name(&self, value: &Founding) -> &str {
        &self.values[&value.cluster]
    }
}

fn show_ballot(ballot: Ballot) -> String {
    format!("{}/{}", ballot.round, ballot.proposer)
}

fn ballot(round: u64, proposer: u32) -> Ballot {
    Ballot { round, proposer }
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const ABC: [&str; 3] = ["a", "b", "c"];

fn prepare(ballot: Ballot) -> FoundingMessage {
    FoundingMessage::Prepare {
        list: list(&ABC),
        ballot,
    }
}

fn accept(ballot: Ballot, value: Founding) -> FoundingMessage {
    FoundingMessage::Accept {
        list: list(&ABC),
        ballot,
        value,
    }
}

fn promise(ballot: Ballot) -> FoundingMessage {
    FoundingMessage::Promise {
        ballot,
        accepted: None,
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_list_of_one_founds_itself_at_once() {
    let mut story = Story::of(&["a"]);
    assert_eq!(
        story.founders["a"].next_wake(story.now),
        Some(Duration::ZERO)
    );
    assert_eq!(story.tick("a"), ["log founded a", "founded a"]);
    assert_eq!(story.founders["a"].next_wake(story.now), None);
    assert_eq!(story.tick("a"), NOTHING);
    assert_eq!(story.founders["a"].node(), Some(wire::ids::NodeId(1)));
}

#[test]
fn three_found_in_two_rounds_and_log_before_they_speak() {
    let mut story = Story::of(&ABC);
    let one = ballot(1, 0);
    assert_eq!(
        story.tick("a"),
        [
            "log promised 1/0, accepted nothing",
            "to b after the log: prepare 1/0",
            "to c after the log: prepare 1/0",
        ]
    );
    assert_eq!(
        story.step("b", "a", prepare(one)),
        [
            "log promised 1/0, accepted nothing",
            "to a after the log: promise 1/0, accepted nothing",
        ]
    );
    assert_eq!(
        story.step("a", "b", promise(one)),
        [
            "log promised 1/0, accepted a at 1/0",
            "to b after the log: accept 1/0 a",
            "to c after the log: accept 1/0 a",
        ]
    );
    // The accept reaches c before the prepare does.
    let value = story.value("a");
    assert_eq!(
        story.step("c", "a", accept(one, value.clone())),
        [
            "log promised 1/0, accepted a at 1/0",
            "to a after the log: accepted 1/0",
        ]
    );
    assert_eq!(
        story.step("a", "c", FoundingMessage::Accepted { ballot: one }),
        [
            "log founded a",
            "to b: founded a",
            "to c: founded a",
            "founded a",
        ]
    );
    let told = FoundingMessage::Founded { value };
    assert_eq!(
        story.step("b", "a", told.clone()),
        ["log founded a", "founded a"]
    );
    assert_eq!(story.step("b", "a", told), NOTHING, "told twice");
}

#[test]
fn the_others_begin_later_and_not_at_all_if_they_were_asked() {
    let mut story = Story::of(&ABC);
    assert_eq!(story.tick("b"), NOTHING);
    assert_eq!(story.founders["b"].next_wake(story.now), Some(STAGGER));
    story.now = STAGGER;
    story.step("b", "a", prepare(ballot(1, 0)));
    assert_eq!(story.tick("b"), NOTHING, "another proposes");
    let wake = story.founders["b"].next_wake(story.now).unwrap();
    assert!(
        wake >= Duration::from_millis(100),
        "stands back for {wake:?}"
    );
    story.now += wake;
    assert_eq!(
        story.tick("b"),
        [
            "log promised 2/1, accepted nothing",
            "to a after the log: prepare 2/1",
            "to c after the log: prepare 2/1",
        ]
    );
}

#[test]
fn two_of_two_are_needed() {
    let mut story = Story::of(&["a", "b"]);
    let one = ballot(1, 0);
    story.tick("a");
    assert_eq!(
        story.step("a", "b", promise(one)),
        [
            "log promised 1/0, accepted a at 1/0",
            "to b after the log: accept 1/0 a"
        ]
    );
    assert_eq!(story.founders["a"].founding(), None);
}

#[test]
fn what_was_accepted_at_the_highest_ballot_is_proposed_again() {
    let mut story = Story::of(&["a", "b", "c", "d", "e"]);
    story.tick("a");
    let with = |round, proposer, value| FoundingMessage::Promise {
        ballot: ballot(1, 0),
        accepted: Some((ballot(round, proposer), value)),
    };
    // Both ballots are below 1/0 only in this story; their order is what counts.
    let (b, c) = (story.value("b"), story.value("c"));
    assert_eq!(story.step("a", "b", with(0, 2, c)), NOTHING);
    assert_eq!(
        story.step("a", "d", with(0, 1, b)),
        [
            "log promised 1/0, accepted c at 1/0",
            "to b after the log: accept 1/0 c",
            "to c after the log: accept 1/0 c",
            "to d after the log: accept 1/0 c",
            "to e after the log: accept 1/0 c",
        ]
    );
}

#[test]
fn what_the_proposer_itself_accepted_before_counts_too() {
    let mut story = Story::of(&ABC);
    let from_c = story.value("c");
    story.step("a", "c", accept(ballot(1, 2), from_c));
    story.now += Duration::from_secs(1);
    assert_eq!(story.tick("a")[0], "log promised 2/0, accepted c at 1/2");
    assert_eq!(
        story.step("a", "b", promise(ballot(2, 0)))[1],
        "to b after the log: accept 2/0 c"
    );
}

#[test]
fn an_outbid_founder_stands_back_and_comes_with_a_higher_round() {
    let mut story = Story::of(&ABC);
    story.tick("a");
    let outbid = FoundingMessage::Outbid {
        ballot: ballot(1, 0),
        promised: ballot(7, 2),
    };
    assert_eq!(story.step("a", "b", outbid.clone()), NOTHING);
    let wake = story.founders["a"].next_wake(story.now).unwrap();
    assert_eq!(story.step("a", "b", outbid), NOTHING, "told twice");
    assert_eq!(story.founders["a"].next_wake(story.now), Some(wake));
    assert_eq!(
        story.step("a", "c", promise(ballot(1, 0))),
        NOTHING,
        "a promise for what was given up"
    );
    story.now += wake;
    assert_eq!(story.tick("a")[0], "log promised 8/0, accepted nothing");
}

#[test]
fn lower_ballots_are_refused_and_equal_ones_answered_again() {
    let mut story = Story::of(&ABC);
    story.step("b", "c", prepare(ballot(3, 2)));
    assert_eq!(
        story.step("b", "a", prepare(ballot(3, 0))),
        ["to a: 3/0 is outbid by 3/2"]
    );
    let a = story.value("a");
    assert_eq!(
        story.step("b", "a", accept(ballot(2, 0), a.clone())),
        ["to a: 2/0 is outbid by 3/2"]
    );
    assert_eq!(
        story.step("b", "c", prepare(ballot(3, 2))),
        [
            "log promised 3/2, accepted nothing",
            "to c after the log: promise 3/2, accepted nothing",
        ]
    );
    let c = story.value("c");
    for _ in 0..2 {
        assert_eq!(
            story.step("b", "c", accept(ballot(3, 2), c.clone())),
            [
                "log promised 3/2, accepted c at 3/2",
                "to c after the log: accepted 3/2",
            ]
        );
    }
    // Another value under the same ballot, from a proposer that lost its disk.
    assert_eq!(
        story.step("b", "c", accept(ballot(3, 2), a)),
        ["to c: 3/2 is outbid by 3/2"]
    );
}

#[test]
fn doubled_answers_and_answers_of_strangers_do_not_make_a_majority() {
    let mut story = Story::of(&["a", "b", "c", "d", "e"]);
    let one = ballot(1, 0);
    story.tick("a");
    for from in ["b", "b", "x", "a"] {
        assert_eq!(story.step("a", from, promise(one)), NOTHING, "{from}");
    }
    assert_eq!(story.step("a", "c", promise(one)).len(), 5);
    for from in ["b", "b", "x"] {
        let accepted = FoundingMessage::Accepted { ballot: one };
        assert_eq!(story.step("a", from, accepted), NOTHING, "{from}");
    }
    let accepted = FoundingMessage::Accepted { ballot: one };
    assert_eq!(story.step("a", "d", accepted).last().unwrap(), "founded a");
}

#[test]
fn a_ballot_that_is_not_its_senders_is_dropped() {
    let mut story = Story::of(&ABC);
    for (from, ballot) in [
        ("c", ballot(1, 0)),
        ("c", ballot(1, 9)),
        ("c", ballot(u64::MAX, 2)),
    ] {
        assert_eq!(
            story.step("b", from, prepare(ballot)),
            NOTHING,
            "{ballot:?}"
        );
    }
}

#[test]
fn silence_is_answered_by_asking_again_under_the_same_ballot() {
    let mut story = Story::of(&["a", "b", "c", "d", "e"]);
    story.tick("a");
    story.step("a", "b", promise(ballot(1, 0)));
    assert_eq!(story.tick("a"), NOTHING);
    assert_eq!(story.founders["a"].next_wake(story.now), Some(RESEND_AFTER));
    assert_eq!(
        story.founders["a"].state(),
        "not founded: asking the others whether the cluster is founded: 2 of 5 have agreed, 3 are needed; no answer yet from c, d, e"
    );
    story.now += RESEND_AFTER;
    assert_eq!(
        story.tick("a"),
        [
            "log promised 1/0, accepted nothing",
            "to c after the log: prepare 1/0",
            "to d after the log: prepare 1/0",
            "to e after the log: prepare 1/0",
        ]
    );
}

#[test]
fn who_asks_late_is_told_and_joins() {
    let mut story = Story::of(&ABC);
    let value = story.value("c");
    let told = FoundingMessage::Founded { value };
    story.step("b", "c", told.clone());
    assert_eq!(
        story.step("b", "a", prepare(ballot(1, 0))),
        ["to a: founded c"]
    );
    let a = story.value("a");
    assert_eq!(
        story.step("b", "a", accept(ballot(1, 0), a)),
        ["to a: founded c"]
    );
    story.tick("a");
    assert_eq!(story.step("a", "b", told), ["log founded c", "founded c"]);
    assert!(story.founders["a"].state().starts_with("founded: cluster "));
    assert!(story.founders["a"].state().ends_with("this node is n1"));
    assert_eq!(
        story.step("a", "c", promise(ballot(1, 0))),
        NOTHING,
        "an answer that is not needed any more"
    );
}

#[test]
fn another_list_is_refused_by_both_and_nothing_is_proposed_until_it_is_right() {
    let mut story = Story::of(&ABC);
    story.start("c", &["b", "c"]);
    story.tick("a");
    assert_eq!(
        story.step("c", "a", prepare(ballot(1, 0))),
        ["to a: other list b c"]
    );
    let words = "node a was started with the founders a, b, c, this one (c) with b, c: start all of them with the same --join";
    assert_eq!(story.founders["c"].problem().as_deref(), Some(words));

    let refusal = FoundingMessage::OtherList {
        list: list(&["b", "c"]),
    };
    assert_eq!(story.step("a", "c", refusal.clone()), NOTHING);
    let words = "node c was started with the founders b, c, this one (a) with a, b, c: start all of them with the same --join";
    assert_eq!(story.founders["a"].problem().as_deref(), Some(words));
    assert_eq!(story.founders["a"].state(), format!("not founded: {words}"));
    assert_eq!(
        story.step("a", "b", promise(ballot(1, 0))),
        NOTHING,
        "a majority promised, but c would count majorities in another list"
    );

    // c is started again, with the right list, and is asked again.
    story.start("c", &ABC);
    story.now += RESEND_AFTER;
    assert_eq!(
        story.tick("a"),
        [
            "log promised 1/0, accepted nothing",
            "to c after the log: prepare 1/0"
        ]
    );
    assert_eq!(
        story.step("a", "c", promise(ballot(1, 0))),
        [
            "log promised 1/0, accepted a at 1/0",
            "to b after the log: accept 1/0 a",
            "to c after the log: accept 1/0 a",
        ]
    );
    assert_eq!(story.founders["a"].problem(), None);
    // A refusal from before c was started again comes late; c agreed since, and is asked once more.
    story.step("a", "c", refusal);
    story.now += RESEND_AFTER;
    assert_eq!(story.tick("a").len(), 3);
}

#[test]
fn a_cluster_that_does_not_name_this_node_is_not_joined() {
    let mut story = Story::of(&["a", "b"]);
    story.start("c", &ABC);
    story.start("x", &["x"]);
    let elsewhere = story.value("x");
    story.tick("c");
    let told = FoundingMessage::Founded {
        value: elsewhere.clone(),
    };
    assert_eq!(story.step("c", "b", told.clone()), NOTHING);
    let problem = story.founders["c"].problem().unwrap();
    let words = format!(
        "node b belongs to the cluster {} of x, which does not name this one (c)",
        elsewhere.cluster
    );
    assert!(problem.starts_with(&words), "{problem}");
    assert_eq!(story.founders["c"].founding(), None);
    // From a node that is not in the list it is no news at all.
    story.start("c", &ABC);
    assert_eq!(story.step("c", "x", told), NOTHING);
    assert_eq!(story.founders["c"].problem(), None);
}

#[test]
fn a_restart_remembers_promises_and_acceptances() {
    let mut story = Story::of(&ABC);
    let c = story.value("c");
    story.step("a", "c", accept(ballot(4, 2), c));
    story.start("a", &ABC);
    assert_eq!(
        story.step("a", "b", prepare(ballot(4, 1))),
        ["to b: 4/1 is outbid by 4/2"]
    );
    assert_eq!(
        story.tick("a"),
        [
            "log promised 5/0, accepted c at 4/2",
            "to b after the log: prepare 5/0",
            "to c after the log: prepare 5/0",
        ]
    );
}

#[test]
fn a_restart_after_the_founding_tells_the_node_once() {
    let mut story = Story::of(&["a"]);
    story.tick("a");
    story.start("a", &["a", "b"]);
    assert!(story.founders["a"].founding().is_some());
    assert_eq!(story.tick("a"), ["founded a"]);
    assert_eq!(story.tick("a"), NOTHING);
    assert_eq!(story.founders["a"].next_wake(story.now), None);
}

#[test]
fn a_founded_node_needs_its_address_and_nothing_else_of_its_plan() {
    let mut story = Story::of(&["a"]);
    story.tick("a");
    let stored = story.disks["a"].clone();
    let mut none = plan("a", &[]);
    none.replication = 0;
    let founder = Founder::new(none, Some(stored.clone())).unwrap();
    assert_eq!(founder.founding(), Some(&story.value("a")));
    assert_eq!(
        Founder::new(plan("b", &["a", "b"]), Some(stored)).unwrap_err(),
        FoundingError::AddressChanged {
            cluster: story.value("a").cluster,
            members: list(&["a"]),
            me: "b".into()
        }
    );
}

#[test]
fn the_list_may_change_until_something_was_accepted() {
    let mut story = Story::of(&ABC);
    story.step("a", "b", prepare(ballot(2, 1)));
    story.start("a", &["a", "b"]);
    assert_eq!(
        story.tick("a"),
        [
            "log promised 3/0, accepted nothing",
            "to b after the log: prepare 3/0"
        ],
        "what was promised before still counts"
    );
    story.step("a", "b", promise(ballot(3, 0)));
    let stored = story.disks["a"].clone();
    let error = Founder::new(plan("a", &ABC), Some(stored)).unwrap_err();
    assert_eq!(
        error,
        FoundingError::ListChanged {
            recorded: list(&["a", "b"]),
            given: list(&ABC)
        }
    );
    assert!(matches!(
        Founder::new(plan("a", &ABC), Some(Bytes::from_static(b"\x09"))),
        Err(FoundingError::Unreadable(_))
    ));
}
