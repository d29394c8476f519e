//! Members change: the promise goes with the change, and requests wait for it.

use super::harness::*;
use super::replication::{answers, serving, three};
use super::transfer::committed_at;
use crate::ReplicaEffect;
use crate::replication::{ChangeRefused, ConfigurationEntry};
use clock::Timestamp;
use std::collections::BTreeSet;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{
    Configuration, Entry, LogPosition, PartitionError, PartitionReply, PartitionRequest,
    ReplicaRole, ReplicationMessage,
};

fn nodes(numbers: &[u32]) -> BTreeSet<NodeId> {
    numbers.iter().map(|n| NodeId(*n)).collect()
}

/// What a member says once it holds everything.
fn holds_all(world: &mut World, from: u32) {
    world.sync();
    let (term, matched) = (world.replica.term(), world.last());
    world.receive(from, ReplicationMessage::Appended { term, matched });
    world.work();
}

fn ended(world: &mut World) -> Vec<Result<(), ChangeRefused>> {
    let said = world.take_said().into_iter();
    let ended = said.filter_map(|effect| match effect {
        ReplicaEffect::ChangeEnded { ended, .. } => Some(ended),
        _ => None,
    });
    ended.collect()
}

/// Node 3 is to leave; the entry by which both sets decide is proposed. The promise was `at(1_400)`.
fn leaving(#[cfg(feature = "mutants")] mutant: Option<crate::Mutant>) -> World {
    let mut world = serving(at(900));
    #[cfg(feature = "mutants")]
    {
        world.replica.mutant = mutant;
    }
    assert_eq!(world.change_members(&[1, 2]), Ok(()));
    world.pass(10);
    world.sync();
    world
}

fn change_of(entry: &Entry) -> ConfigurationEntry {
    ConfigurationEntry::decode(&entry.body).expect("it changes the members")
}

/// The entry by which a leader that promised `at(1_400)` changes its members.
pub(super) fn change_of_a_leader(
    #[cfg(feature = "mutants")] mutant: Option<crate::Mutant>,
) -> Entry {
    let world = leaving(
        #[cfg(feature = "mutants")]
        mutant,
    );
    world.log.last().expect("it is logged").clone()
}

/// Where the first write is placed by a leader that was elected by members who never heard of a promise,
/// with this change in its log.
pub(super) fn placed_after(change: &Entry) -> Timestamp {
    let mut world = three();
    let mut entries: Vec<Entry> = (1..change.index.0)
        .map(|index| Entry {
            term: Term(1),
            index: LogIndex(index),
            body: Default::default(),
        })
        .collect();
    entries.push(change.clone());
    world.receive(
        2,
        ReplicationMessage::Append {
            term: Term(1),
            previous: LogPosition::default(),
            entries,
            commit: LogIndex(0),
        },
    );
    world.sync();
    world.pass(1_100);
    let (term, granted) = (Term(2), true);
    world.receive(2, ReplicationMessage::PreVoteReply { term, granted });
    world.sync();
    let promised = Timestamp::ZERO;
    let vote = ReplicationMessage::VoteReply {
        term,
        granted,
        promised,
    };
    world.receive(2, vote);
    holds_all(&mut world, 2);
    world.promise_by(NodeId(1), START_MS + 1_900);
    world.promise_by(NodeId(2), START_MS + 1_900);
    world.work();
    assert_eq!(world.replica.status().role, ReplicaRole::Leader);
    world.take_said();
    world.ask(PartitionRequest::Commit(commit(
        1,
        at(1),
        vec![put("b", "x")],
    )));
    committed_at(&mut world)
}

#[test]
fn the_change_carries_the_promise_and_whoever_is_elected_by_it_starts_above() {
    let entry = change_of_a_leader(
        #[cfg(feature = "mutants")]
        None,
    );
    let change = change_of(&entry);
    assert_eq!(change.promised, at(1_400));
    let expected = Configuration {
        voters: nodes(&[1, 2]),
        outgoing: nodes(&[1, 2, 3]),
        learners: nodes(&[]),
    };
    assert_eq!(change.configuration, expected);
    assert!(placed_after(&entry) > at(1_400));
}

#[test]
fn from_the_proposal_until_it_is_applied_nothing_is_evaluated_and_the_promise_stays() {
    let mut world = leaving(
        #[cfg(feature = "mutants")]
        None,
    );
    world.take_said();
    world.ask(get(at(1), "b"));
    world.promise_by(NodeId(1), START_MS + 1_800);
    world.promise_by(NodeId(2), START_MS + 1_800);
    assert_eq!(world.replica.status().promise, at(1_400));
    assert_eq!(answers(&mut world), vec![]);
    assert!(matches!(
        world.change_members(&[1]),
        Err(ChangeRefused::UnderWay { .. })
    ));
    holds_all(&mut world, 2);
    assert_eq!(world.replica.status().promise, at(1_800));
    let answer = value(None, Timestamp::ZERO);
    assert_eq!(answers(&mut world), vec![answer]);
    // The second step, and again.
    world.pass(10);
    world.ask(get(at(2), "b"));
    world.sync();
    assert_eq!(
        change_of(world.log.last().expect("logged")).promised,
        at(1_800)
    );
    assert_eq!(answers(&mut world), vec![]);
    holds_all(&mut world, 2);
    assert_eq!(answers(&mut world).len(), 1);
    world.pass(10);
    assert_eq!(ended(&mut world), vec![Ok(())]);
    let configuration = world.replica.status().configuration;
    assert_eq!(configuration, Configuration::of(nodes(&[1, 2])));
    assert_eq!(
        world.change_members(&[1, 2]),
        Err(ChangeRefused::NothingChanges)
    );
}

#[test]
fn whoever_asks_during_a_change_waits_through_ticks_and_is_answered_when_it_is_applied() {
    let mut world = serving(at(900));
    assert_eq!(world.change_members(&[1, 2]), Ok(()));
    world.pass(10);
    world.take_said();
    world.ask(get(at(1), "b"));
    world.pass(10);
    world.pass(10);
    assert_eq!(answers(&mut world), vec![], "the change is not applied");
    // A transfer that is taken back meanwhile does not end the change.
    assert_eq!(world.transfer(2), Ok(()));
    world.take_back_transfer(2);
    world.pass(10);
    assert_eq!(answers(&mut world), vec![], "the change is not applied");
    holds_all(&mut world, 2);
    let answer = value(None, Timestamp::ZERO);
    assert_eq!(answers(&mut world), vec![answer], "it is over");
}

#[test]
fn a_change_that_is_applied_while_the_leadership_goes_lets_nobody_be_evaluated() {
    let mut world = leaving(
        #[cfg(feature = "mutants")]
        None,
    );
    world.take_said();
    world.ask(get(at(1), "b"));
    assert_eq!(world.transfer(2), Ok(()));
    holds_all(&mut world, 2);
    let error = PartitionError::NotLeader {
        partition: PARTITION,
        leader: Some(NodeId(2)),
        term: Term(1),
    };
    assert_eq!(answers(&mut world), vec![PartitionReply::Error(error)]);
}

#[test]
fn both_sets_decide_after_a_restart_in_between_too_and_when_the_log_has_forgotten() {
    let mut world = leaving(
        #[cfg(feature = "mutants")]
        None,
    );
    holds_all(&mut world, 2);
    world.settle();
    let joint = world.replica.status().configuration;
    assert!(joint.is_joint());
    world.persist();
    world.restart();
    assert_eq!(world.replica.status().configuration, joint);
    // Everything is in the store's tables.
    let last = world.log.last().expect("logged").position();
    world.log.clear();
    world.installed = Some((1, last));
    world.restart();
    assert_eq!(world.replica.status().configuration, joint);
}

#[test]
fn a_leader_that_leaves_hands_over_first() {
    let mut world = serving(at(900));
    assert_eq!(world.change_members(&[2, 3]), Ok(()));
    world.pass(10);
    holds_all(&mut world, 2);
    holds_all(&mut world, 3);
    world.take_said();
    world.pass(10);
    let is_handed_over = |effect: &ReplicaEffect| {
        matches!(
            effect,
            ReplicaEffect::Send {
                to: NodeId(3),
                message: ReplicationMessage::HandOver { .. },
                ..
            }
        )
    };
    let said = world.take_said();
    assert!(said.iter().any(is_handed_over), "{said:?}");
}

#[test]
fn a_new_member_learns_first_and_requests_are_served_meanwhile() {
    let mut world = serving(at(900));
    assert_eq!(world.change_members(&[1, 2, 4]), Ok(()));
    world.pass(10);
    let learners = world.replica.status().configuration.learners;
    assert_eq!(learners, nodes(&[4]));
    world.ask(get(at(1), "b"));
    world.work();
    assert_eq!(answers(&mut world), vec![value(None, Timestamp::ZERO)]);
    holds_all(&mut world, 2);
    world.pass(10);
    assert!(
        !world.replica.status().configuration.is_joint(),
        "4 lacks all"
    );
    holds_all(&mut world, 4);
    world.pass(10);
    assert!(world.replica.status().configuration.is_joint());
}

#[test]
fn a_change_that_another_leader_has_to_end_is_told() {
    let mut world = leaving(
        #[cfg(feature = "mutants")]
        None,
    );
    world.ask(get(at(1), "b"));
    let append = ReplicationMessage::Append {
        term: Term(2),
        previous: LogPosition::default(),
        entries: vec![],
        commit: LogIndex(0),
    };
    world.take_said();
    world.receive(2, append);
    let said = world.take_said();
    let is_lost = |effect: &ReplicaEffect| match effect {
        ReplicaEffect::ChangeEnded { ended, .. } => *ended == Err(ChangeRefused::LeadershipLost),
        _ => false,
    };
    assert!(said.iter().any(is_lost), "{said:?}");
    let replies = said.iter().filter(|effect| {
        matches!(
            effect,
            ReplicaEffect::Reply {
                reply: PartitionReply::Error(_),
                ..
            }
        )
    });
    assert_eq!(replies.count(), 1, "whoever waited is told once");
}
