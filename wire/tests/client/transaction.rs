//! Transactions that read and write, and their retries.

use crate::support::{Gateways, Kind, Script, key};
use wire::client::{Error, ForUpdate, LockWait, prefix};
use wire::keys::KeyRange;
use wire::message::{ClientRequest, OperationKind, RequestError, Row, Snapshot, VersionedValue};

fn text(version: Option<VersionedValue>) -> Option<String> {
    version.map(|v| String::from_utf8(v.value.to_vec()).unwrap())
}

fn line(rows: &[Row]) -> String {
    let row = |row: &Row| {
        let (user, value) = (
            row.key.user().escape_ascii(),
            row.version.value.escape_ascii(),
        );
        format!("{user}={value}")
    };
    rows.iter().map(row).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn reads_see_own_writes_and_blind_operations_stay_operations() {
    let gateways = Gateways::start(2).await;
    gateways.world().set("n", "40");
    let client = gateways.client().await;
    let mut t = client.begin();
    t.add("n", 2);
    assert_eq!(text(t.get("n").await.unwrap()).as_deref(), Some("42"));
    t.put("p", "own");
    assert_eq!(text(t.get("p").await.unwrap()).as_deref(), Some("own"));
    t.delete("n");
    assert_eq!(t.get("n").await.unwrap(), None);
    t.add("n", 1);
    t.commit().await.unwrap();

    let world = gateways.world();
    assert_eq!(
        world.snapshots().len(),
        1,
        "only what showed through was read"
    );
    let (_, commit) = &world.commits()[0];
    let kinds: Vec<_> = commit.operations.iter().map(|o| o.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            OperationKind::Add(2),
            OperationKind::Put("own".into()),
            OperationKind::Delete,
            OperationKind::Add(1)
        ]
    );
    assert_eq!(commit.reads, [KeyRange::point(key("n"))]);
    assert_eq!(commit.name.anchor, key("n"));
    assert_eq!(world.value("n").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_scan_in_a_transaction_shows_own_writes_and_records_what_it_covered() {
    let gateways = Gateways::start(1).await;
    for user in ["a1", "a2", "a3", "a4", "b1"] {
        gateways.world().set(user, user);
    }
    let client = gateways.client().await;
    let mut t = client.begin();
    t.delete("a1");
    t.put("a25", "own");
    t.put("a9", "far");
    let rows = t
        .scan(prefix("a"))
        .page_rows(2)
        .limit(3)
        .collect()
        .await
        .unwrap();
    assert_eq!(line(&rows), "a2=a2 a25=own a3=a3");
    let rows = t
        .scan(prefix("a"))
        .page_rows(2)
        .reverse()
        .collect()
        .await
        .unwrap();
    assert_eq!(line(&rows), "a9=far a4=a4 a3=a3 a25=own a2=a2");
    t.commit().await.unwrap();
    let commits = gateways.world().commits();
    let reads = &commits[0].1.reads;
    assert!(
        !reads.iter().any(|range| range.contains(&key("b1"))),
        "{reads:?}"
    );
    for user in ["a", "a2", "a3", "a99"] {
        assert!(
            reads.iter().any(|range| range.contains(&key(user))),
            "{user}: {reads:?}"
        );
    }
}

#[tokio::test]
async fn a_limited_scan_does_not_conflict_with_what_it_never_reached() {
    let gateways = Gateways::start(1).await;
    for user in ["a", "b", "c", "d"] {
        gateways.world().set(user, user);
    }
    let client = gateways.client().await;
    let mut t = client.begin();
    let rows = t.scan(..).limit(2).collect().await.unwrap();
    assert_eq!(line(&rows), "a=a b=b");
    gateways.world().set("d", "changed");
    t.put("x", "1");
    t.commit().await.unwrap();
}

#[tokio::test]
async fn pages_of_a_scan_are_of_one_snapshot() {
    let gateways = Gateways::start(2).await;
    for user in ["a", "b", "c", "d", "e"] {
        gateways.world().set(user, user);
    }
    let client = gateways.client().await;
    for reverse in [false, true] {
        let mut scan = client.scan(..).page_rows(2);
        if reverse {
            scan = scan.reverse();
        }
        let mut rows = vec![scan.next().await.unwrap().unwrap()];
        // A change between the pages belongs to a later snapshot.
        gateways.world().set("c", "later");
        gateways.world().set("c5", "later");
        let at = scan.snapshot().unwrap();
        rows.extend(scan.collect().await.unwrap());
        let expected = match reverse {
            false => "a=a b=b c=c d=d e=e",
            true => "e=e d=d c5=later c=later b=b a=a",
        };
        assert_eq!(line(&rows), expected);
        let snapshots = gateways.world().snapshots();
        let pages = &snapshots[snapshots.len() - 3..];
        assert_eq!(pages, [Snapshot::Fresh, Snapshot::At(at), Snapshot::At(at)]);
    }
}

#[tokio::test]
async fn a_lost_transaction_is_run_again_with_a_new_id_and_its_old_age() {
    let gateways = Gateways::start(2).await;
    gateways.world().set("n", "1");
    let client = gateways.client().await;
    let world = gateways.world.clone();
    let mut runs = 0;
    let seen = client
        .transact(async |t| {
            runs += 1;
            let seen = text(t.get("n").await?);
            if runs == 1 {
                world.lock().unwrap().set("n", "10");
            }
            t.put("n", format!("{}0", seen.as_deref().unwrap_or("")));
            Ok(seen)
        })
        .await
        .unwrap();
    assert_eq!(seen.as_deref(), Some("10"));
    let world = gateways.world();
    assert_eq!(world.value("n").as_deref(), Some("100"));
    let commits = world.commits();
    assert_eq!(commits.len(), 2);
    assert_ne!(commits[0].1.name.id, commits[1].1.name.id);
    assert_eq!(commits[0].1.age, commits[1].1.age);
    // The second run takes the lock for what it lost on before it reads.
    let lock =
        |(_, request): &(usize, ClientRequest)| matches!(request, ClientRequest::Lock { .. });
    assert_eq!(world.requests.iter().filter(|r| lock(r)).count(), 1);
}

#[tokio::test]
async fn an_error_of_the_closure_ends_it_without_a_trace() {
    let gateways = Gateways::start(1).await;
    let client = gateways.client().await;
    let ended = client
        .transact(async |t| {
            t.put("k", "v");
            if t.get("missing").await?.is_none() {
                return Err(Error::user("not enough"));
            }
            Ok(())
        })
        .await;
    assert_eq!(ended.unwrap_err().to_string(), "not enough");
    assert!(gateways.world().commits().is_empty());
}

#[tokio::test]
async fn a_conflict_counts_even_if_the_closure_swallows_it() {
    let gateways = Gateways::start(1).await;
    let rival = wire::ids::TransactionId {
        time: crate::support::at(1),
        random: 1,
    };
    let wait = || RequestError::LockWait {
        key: key("k"),
        rival,
    };
    gateways
        .world()
        .script(0, Kind::Read, [Script::Answer(Err(wait()))]);
    let client = gateways.client().await;
    let mut runs = 0;
    client
        .transact(async |t| {
            runs += 1;
            let _ignored = t.get("k").await;
            t.put("k", "v");
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(runs, 2);
    assert_eq!(gateways.world().commits().len(), 1);
}

#[tokio::test]
async fn a_transaction_that_wrote_nothing_is_complete_without_a_message() {
    let gateways = Gateways::start(1).await;
    gateways.world().set("k", "v");
    let client = gateways.client().await;
    let mut t = client.begin();
    t.get_many(&["k", "other"]).await.unwrap();
    let before = gateways.world().requests.len();
    let committed = t.commit().await.unwrap();
    assert_eq!(Some(committed.at), t.snapshot());
    assert_eq!(gateways.world().requests.len(), before);
    assert!(matches!(t.commit().await, Err(Error::Ended)));
    assert!(matches!(t.get("k").await, Err(Error::Ended)));
}

#[tokio::test]
async fn a_lock_moves_the_snapshot_up_if_nothing_read_has_changed() {
    let gateways = Gateways::start(1).await;
    gateways.world().set("r", "read");
    gateways.world().set("k", "old");
    let client = gateways.client().await;
    let mut t = client.begin();
    t.get("r").await.unwrap();
    let newest = gateways.world().set("k", "new");
    assert!(t.snapshot().unwrap() < newest);
    assert_eq!(
        text(t.get_for_update("k").await.unwrap()).as_deref(),
        Some("new")
    );
    assert_eq!(t.snapshot(), Some(newest));
    t.put("k", "mine");
    t.commit().await.unwrap();
    let (_, commit) = gateways.world().commits()[0].clone();
    assert_eq!(commit.snapshot, Snapshot::At(newest));
    assert_eq!(
        commit.locked,
        [],
        "what is written need not be given back apart"
    );
}

#[tokio::test]
async fn a_lock_is_a_conflict_if_something_read_has_changed_until_there() {
    let gateways = Gateways::start(1).await;
    gateways.world().set("r", "read");
    let client = gateways.client().await;
    let mut t = client.begin();
    t.get("r").await.unwrap();
    gateways.world().set("r", "changed");
    gateways.world().set("k", "new");
    let error = t.get_for_update("k").await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    t.rollback().await;
    let world = gateways.world();
    let (_, last) = world.requests.last().unwrap();
    assert!(
        matches!(last, ClientRequest::Rollback { keys, .. } if *keys == [key("k")]),
        "{last:?}"
    );
}

#[tokio::test]
async fn keyspaces_have_names_and_do_not_see_each_other() {
    let gateways = Gateways::start(1).await;
    let client = gateways.client().await;
    assert!(matches!(
        client.keyspace("a").await,
        Err(Error::NoSuchKeyspace { .. })
    ));
    let a = client.create_keyspace("a").await.unwrap();
    let b = client.create_keyspace("b").await.unwrap();
    assert_eq!((a.keyspace_id().0, b.keyspace_id().0), (2, 3));
    let again = client.create_keyspace("a").await;
    assert!(matches!(again, Err(Error::KeyspaceExists { .. })));
    let named = client.create_keyspace("no spaces").await;
    assert!(matches!(named, Err(Error::KeyspaceName { .. })));
    a.put("k", "in a").await.unwrap();
    assert_eq!(client.get("k").await.unwrap(), None);
    let found = client.keyspace("a").await.unwrap().get("k").await.unwrap();
    assert_eq!(text(found).as_deref(), Some("in a"));
    let names: Vec<_> = client
        .keyspaces()
        .await
        .unwrap()
        .into_iter()
        .map(|k| k.0)
        .collect();
    assert_eq!(names, ["default", "a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_run_on_any_thread() {
    let gateways = Gateways::start(2).await;
    let client = gateways.client().await;
    let each = |_| {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .transact(async |t| {
                    let old = t.get_for_update("n").await?;
                    let old: u64 = text(old).map_or(0, |text| text.parse().unwrap());
                    t.put("n", (old + 1).to_string());
                    Ok(())
                })
                .await
        })
    };
    let all: Vec<_> = (0..10).map(each).collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(gateways.world().value("n").as_deref(), Some("10"));
}

#[tokio::test]
async fn a_dropped_transaction_gives_its_locks_back() {
    let gateways = Gateways::start(1).await;
    let client = gateways.client().await;
    let mut t = client.begin();
    t.get_for_update("k").await.unwrap();
    t.put("k", "never");
    drop(t);
    let given_back = |(_, request): &(usize, ClientRequest)| matches!(request, ClientRequest::Rollback { keys, .. } if *keys == [key("k")]);
    while !gateways.world().requests.iter().any(given_back) {
        tokio::task::yield_now().await;
    }
    assert!(gateways.world().commits().is_empty());
}

#[tokio::test]
async fn a_key_that_another_holds_fails_at_once_or_is_passed_by() {
    let gateways = Gateways::start(2).await;
    let client = gateways.client().await;
    let rival = wire::ids::TransactionId {
        time: clock::Timestamp::ZERO,
        random: 9,
    };
    gateways.world().held.insert(key("a"), rival);
    let mut transaction = client.begin();
    let key = key("a");
    match transaction.get_for_update_with("a", LockWait::NoWait).await {
        Err(error @ Error::KeyLocked { .. }) => {
            assert!(
                !error.is_conflict(),
                "who does not wait is told, not run again"
            );
            let text = error.to_string();
            assert!(text.contains("holds a lock on a"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let skipped = transaction.get_for_update_with("a", LockWait::SkipLocked);
    assert_eq!(skipped.await.unwrap(), ForUpdate::Taken { key, rival });
    let next = transaction.get_for_update_with("b", LockWait::SkipLocked);
    assert_eq!(next.await.unwrap(), ForUpdate::Locked(None));
}
