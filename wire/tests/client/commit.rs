//! Commits whose answers are lost (pattern Idempotent Receiver; R10).

use crate::support::{Gateways, Kind, Script, key};
use clock::Timestamp;
use std::time::Duration;
use wire::client::{Error, Told};
use wire::keys::Key;
use wire::message::{
    AbortReason, Aborted, ClientAnswer, ClientReply, Condition, RequestError, Rival, Snapshot,
};

fn refused(durable: bool) -> ClientReply {
    let reason = AbortReason::Changed {
        key: key("k"),
        rival: Rival::Version {
            at: Timestamp::ZERO,
        },
    };
    Ok(ClientAnswer::Aborted(Aborted { reason, durable }))
}

fn unavailable() -> ClientReply {
    Err(RequestError::Unavailable {
        partition: wire::ids::PartitionId(1),
        start: Key::least(),
        members: vec![],
        waited_ms: 1,
    })
}

#[tokio::test]
async fn a_commit_cut_before_its_answer_is_sent_again_elsewhere_and_applied_once() {
    let gateways = Gateways::start(2).await;
    gateways.world().set("n", "5");
    gateways
        .world()
        .script(0, Kind::Commit, [Script::ServeThenCut]);
    let client = gateways.client().await;

    let committed = client
        .transaction()
        .add("n", 2)
        .put("p", "x")
        .commit()
        .await
        .unwrap();

    let world = gateways.world();
    let commits = world.commits();
    let sent: Vec<_> = commits
        .iter()
        .map(|(at, commit)| (*at, commit.resent))
        .collect();
    assert_eq!(sent, [(0, false), (1, true)]);
    assert_eq!(commits[0].1.name, commits[1].1.name);
    assert_eq!(world.value("n").as_deref(), Some("7"));
    // The stored answer has no results: they were read again at the commit timestamp.
    let results: Vec<Option<&[u8]>> = committed.results.iter().map(|r| r.as_deref()).collect();
    assert_eq!(results, [Some(b"7".as_slice()), None]);
    assert_eq!(world.snapshots(), [Snapshot::At(committed.at)]);
}

/// The first node is stopped as by SIGSTOP, its sockets open: only its silence tells.
#[tokio::test]
async fn a_commit_at_a_node_that_stands_still_is_sent_again_elsewhere_and_applied_once() {
    let gateways = Gateways::start(2).await;
    gateways.world().set("n", "5");
    gateways
        .world()
        .script(0, Kind::Commit, [Script::ServeThenStop]);
    let client = gateways.client().await;

    // It notices within a second and a half; the rest is the machine's.
    let commit = client.transaction().add("n", 2).commit();
    let committed = tokio::time::timeout(Duration::from_secs(3), commit).await;
    let committed = committed.expect("it goes on elsewhere in time").unwrap();

    let world = gateways.world();
    let commits = world.commits();
    let sent: Vec<_> = commits
        .iter()
        .map(|(at, commit)| (*at, commit.resent))
        .collect();
    assert_eq!(sent, [(0, false), (1, true)]);
    assert_eq!(commits[0].1.name, commits[1].1.name);
    assert_eq!(world.value("n").as_deref(), Some("7"));
    assert_eq!(world.committed.values().next(), Some(&committed.at));
}

/// The time for runs is over when the answer is lost: what became of the commit is found out all the same.
#[tokio::test]
async fn a_closure_whose_time_is_over_still_learns_what_became_of_its_commit() {
    let gateways = Gateways::start(2).await;
    gateways.world().set("n", "5");
    gateways
        .world()
        .script(0, Kind::Commit, [Script::ServeThenCut]);
    let addresses = gateways.world().addresses.clone();
    let options = wire::client::ClientOptions {
        transact_timeout: Duration::ZERO,
        ..Default::default()
    };
    let client = wire::client::Client::connect_with(&addresses, options);
    let client = client.await.unwrap();
    let add = async |t: &mut wire::client::Transaction| {
        t.add("n", 2);
        Ok(())
    };
    client.transact(add).await.unwrap();
    assert_eq!(gateways.world().value("n").as_deref(), Some("7"));

    gateways.world().script(0, Kind::Commit, [Script::Cut]);
    gateways
        .world()
        .script(1, Kind::Commit, [Script::Answer(refused(true))]);
    let lost = client.transact(add).await.unwrap_err();
    assert!(
        matches!(lost, Error::RetriesExhausted { runs: 1, .. }),
        "{lost}"
    );
    assert_eq!(gateways.world().value("n").as_deref(), Some("7"));
}

/// What is asked of a node that works for long is not taken for a node that stands still.
#[tokio::test]
async fn a_node_that_works_for_long_on_one_request_keeps_its_connection() {
    let gateways = Gateways::start(1).await;
    gateways.world().script(0, Kind::Lock, [Script::Silence]);
    let client = gateways.client().await;
    let connections = gateways.world().connections;
    let mut waits = client.begin();
    let long = Duration::from_secs(2);
    let waited = tokio::time::timeout(long, waits.get_for_update("k")).await;
    assert!(waited.is_err(), "the lock is not given: {waited:?}");
    client.put("k", "v").await.unwrap();
    assert_eq!(gateways.world().connections, connections);
}

#[tokio::test]
async fn a_refusal_that_is_not_durable_is_not_believed_after_a_second_send() {
    let gateways = Gateways::start(2).await;
    gateways
        .world()
        .script(0, Kind::Commit, [Script::ServeThenCut]);
    gateways
        .world()
        .script(1, Kind::Commit, [Script::Answer(refused(false))]);
    let client = gateways.client().await;

    client.put("k", "v").await.unwrap();

    let world = gateways.world();
    assert_eq!(world.committed.len(), 1);
    assert!(world.commits().len() >= 3, "{:?}", world.commits());
    assert!(world.commits()[1..].iter().all(|(_, commit)| commit.resent));
}

#[tokio::test]
async fn a_durable_refusal_is_believed_after_a_second_send() {
    let gateways = Gateways::start(2).await;
    gateways.world().script(0, Kind::Commit, [Script::Cut]);
    gateways
        .world()
        .script(1, Kind::Commit, [Script::Answer(refused(true))]);
    let client = gateways.client().await;

    let mut transaction = client.begin();
    transaction.put("k", "v");
    let error = transaction.commit().await.unwrap_err();

    assert!(error.is_conflict(), "{error}");
    assert_eq!(gateways.world().commits().len(), 2);
}

#[tokio::test]
async fn an_unavailable_partition_may_have_committed() {
    let gateways = Gateways::start(2).await;
    gateways
        .world()
        .script(0, Kind::Commit, [Script::Answer(unavailable())]);
    let client = gateways.client().await;
    client.put("k", "v").await.unwrap();
    let world = gateways.world();
    let sent: Vec<_> = world
        .commits()
        .iter()
        .map(|(at, commit)| (*at, commit.resent))
        .collect();
    assert_eq!(sent, [(0, false), (1, true)]);
}

#[tokio::test]
async fn what_was_not_looked_at_is_not_marked_as_sent_before() {
    let gateways = Gateways::start(2).await;
    let overloaded = Err(RequestError::Overloaded { retry_ms: 1 });
    gateways
        .world()
        .script(0, Kind::Commit, [Script::Answer(overloaded)]);
    let client = gateways.client().await;
    client.put("k", "v").await.unwrap();
    let world = gateways.world();
    let sent: Vec<_> = world
        .commits()
        .iter()
        .map(|(at, commit)| (*at, commit.resent))
        .collect();
    assert_eq!(sent, [(0, false), (1, false)]);
}

#[tokio::test]
async fn a_guard_that_fails_is_no_conflict_and_is_not_tried_again() {
    let gateways = Gateways::start(1).await;
    gateways.world().set("k", "there");
    let client = gateways.client().await;
    let guarded = client
        .transaction()
        .when("k", Condition::Absent)
        .put("k", "new");
    let error = guarded.commit().await.unwrap_err();
    assert!(matches!(
        error,
        Error::Aborted {
            reason: AbortReason::Guard { .. },
            ..
        }
    ));
    assert_eq!(gateways.world().commits().len(), 1);
    assert_eq!(gateways.world().value("k").as_deref(), Some("there"));
}

#[tokio::test]
async fn a_one_shot_that_lost_is_run_again_with_its_old_age() {
    let gateways = Gateways::start(1).await;
    let lost = Ok(ClientAnswer::Aborted(Aborted {
        reason: AbortReason::Expired,
        durable: true,
    }));
    gateways
        .world()
        .script(0, Kind::Commit, [Script::Answer(lost)]);
    let client = gateways.client().await;
    client.put("k", "v").await.unwrap();
    let commits = gateways.world().commits();
    assert_eq!(commits.len(), 2);
    assert_ne!(commits[0].1.name.id, commits[1].1.name.id);
    assert_eq!(commits[0].1.age, commits[1].1.age);
}

#[tokio::test]
async fn the_outcome_of_a_named_commit_can_be_asked_for() {
    let gateways = Gateways::start(2).await;
    let client = gateways.client().await;
    let mut name = None;
    let one_shot = client.transaction().put("k", "v");
    let committed = one_shot
        .commit_named(|n| name = Some(n.clone()))
        .await
        .unwrap();
    let outcome = client.outcome(&name.unwrap()).await.unwrap();
    let at = committed.at;
    assert_eq!(outcome, wire::message::OutcomeAnswer::Committed { at });
}

#[tokio::test]
async fn what_no_node_would_take_is_not_sent() {
    let gateways = Gateways::start(1).await;
    let client = gateways.client().await;
    let long_key = "k".repeat(wire::keys::KEY_BYTES_MAX + 1);
    let error = client.put(&long_key, "v").await.unwrap_err();
    assert!(matches!(
        error,
        Error::Request(RequestError::KeyTooLong { .. })
    ));
    let long_value = vec![0u8; wire::keys::VALUE_BYTES_MAX + 1];
    let error = client.put("k", long_value).await.unwrap_err();
    assert!(matches!(
        error,
        Error::Request(RequestError::ValueTooLong { .. })
    ));
    let error = client.transaction().commit().await.unwrap_err();
    assert!(matches!(
        error,
        Error::Request(RequestError::Invalid { .. })
    ));
    assert!(gateways.world().commits().is_empty());
}

#[tokio::test]
async fn a_held_commit_is_sent_over_the_gateways_that_are_named_and_applied_once() {
    let gateways = Gateways::start(2).await;
    gateways.world().set("n", "5");
    let client = gateways.client().await;
    let held = client.transaction().add("n", 1).hold().unwrap();
    let [first, second] = <[String; 2]>::try_from(held.gateways()).unwrap();

    let (one, other) = tokio::join!(held.send(&first), held.send(&second));
    assert!(matches!(one, Told::Committed(_)), "{one:?}");
    assert_eq!(one, other);
    assert_eq!(held.send(&first).await, one);
    let world = gateways.world();
    let sent: Vec<_> = world
        .commits()
        .iter()
        .map(|(at, commit)| (*at, commit.resent))
        .collect();
    let again = sent.iter().filter(|(_, resent)| *resent).count();
    assert_eq!((sent.len(), again), (3, 2), "{sent:?}");
    assert_eq!(world.value("n").as_deref(), Some("6"));
}
