//! A snapshot from one replica's store to another's.

use super::harness::*;
use crate::ReplicaEffect;
use crate::ReplicaEvent;
use crate::fixtures::{attempt, key};
use crate::log::LogRecord;
use crate::versions::{Live, Store, StoreTask};
use clock::Timestamp;
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::keys::KeyRange;
use wire::message::{LogPosition, PartitionRequest, ReplicationMessage, SnapshotChunk};

/// A replica of its own with something of every kind in its store, and its state in chunks.
fn filled() -> (World, Vec<SnapshotChunk>) {
    let mut world = World::serving();
    for n in 1..=40 {
        let value = "x".repeat(20_000);
        let mut commit = commit(n, at(n), vec![put("b", "")]);
        commit.operations[0].kind = wire::message::OperationKind::Put(value.into());
        world.answer(PartitionRequest::Commit(commit));
    }
    world.answer(PartitionRequest::Prepare(prepare(
        50,
        at(60),
        vec![put("c", "y")],
    )));
    world.answer(check(51, attempt(1), &["d"]));
    world.settle();
    let chunks = world.read_all();
    (world, chunks)
}

impl World {
    /// All chunks of its state.
    fn read_all(&mut self) -> Vec<SnapshotChunk> {
        let mut chunks = Vec::new();
        loop {
            let mut out = Vec::new();
            self.replica.read_snapshot(1, &mut out);
            let [ReplicaEffect::Store(StoreTask::ReadSnapshot(read))] = &out[..] else {
                panic!("a page is asked for, not {out:?}");
            };
            let page = self.store.read_snapshot(read).expect("it is held");
            let (chunk, is_last) = self.replica.chunk_of(page);
            chunks.push(SnapshotChunk {
                position: chunk.0,
                sequence: chunks.len() as u64,
                is_last,
                body: chunk.1,
            });
            if is_last {
                return chunks;
            }
        }
    }

    fn send_chunk(&mut self, chunk: &SnapshotChunk) {
        self.send_chunk_of(1, chunk);
    }

    fn send_chunk_of(&mut self, number: u64, chunk: &SnapshotChunk) {
        let message = ReplicationMessage::Snapshot {
            term: Term(5),
            number,
            chunk: chunk.clone(),
        };
        self.receive(2, message);
    }

    fn received(&mut self) -> Vec<u64> {
        let said = self.take_said().into_iter();
        said.filter_map(|effect| match effect {
            ReplicaEffect::Send {
                message: ReplicationMessage::SnapshotReceived { chunks, .. },
                ..
            } => Some(chunks),
            _ => None,
        })
        .collect()
    }
}

fn everything(world: &World, incarnation: u32) -> Vec<crate::versions::VersionRow> {
    world.store.versions(incarnation).collect()
}

#[test]
fn the_horizon_comes_with_the_rows_that_have_gaps_below_it() {
    let mut source = World::serving();
    source.replica.set_retention(Duration::from_secs(60));
    for n in 1..=2 {
        source.answer(PartitionRequest::Commit(commit(
            n,
            at(n),
            vec![put("b", "x")],
        )));
    }
    for _ in 0..20 {
        let now = source.now.physical.as_millis() as u64;
        source.promise_by(ME, now + 5_500);
        source.pass(5_000);
        source.settle();
    }
    let live = Live {
        replicas: vec![(PARTITION, 1, KeyRange::all())],
        below: 2,
    };
    source.store.set_live(live).expect("it is in memory");
    source.persist();
    let horizon = source.replica.horizon();
    assert_eq!(
        source.store.removed().count(),
        1,
        "the older version is gone"
    );

    let mut world = World::of(vec![ME, NodeId(2)]);
    for chunk in source.read_all() {
        world.send_chunk(&chunk);
    }
    world.step(ReplicaEvent::Incarnation { incarnation: 2 });
    world.settle();
    assert_eq!(world.installed.map(|(incarnation, _)| incarnation), Some(2));
    assert!(horizon > Timestamp::ZERO);
    assert_eq!(world.replica.horizon(), horizon);
    world.restart();
    assert_eq!(world.replica.horizon(), horizon, "the store remembers it");
}

#[test]
fn a_replica_becomes_what_another_is() {
    let (source, chunks) = filled();
    assert!(chunks.len() > 2, "{} chunks", chunks.len());
    let mut world = World::of(vec![ME, NodeId(2)]);
    world.send_chunk(&chunks[0]);
    let wants = ReplicaEffect::WantIncarnation;
    assert!(world.take_said().contains(&wants));
    // A chunk that comes before the incarnation waits for it.
    world.send_chunk(&chunks[1]);
    world.settle();
    assert_eq!(everything(&world, 2), []);
    world.step(ReplicaEvent::Incarnation { incarnation: 2 });
    world.settle();
    assert_eq!(world.received().last(), Some(&2));
    assert_eq!(world.replica.status().commit, LogIndex(0));
    assert!(world.replica.status().installing.is_some());
    for chunk in &chunks[2..] {
        world.send_chunk(chunk);
    }
    world.settle();
    let position = chunks[0].position;
    let status = world.replica.status();
    assert_eq!(
        (status.commit, status.low_water),
        (position.index, position.index)
    );
    assert_eq!(status.locks, 1, "locks are rebuilt");
    assert!(status.installing.is_none());
    assert_eq!(everything(&world, 2), everything(&source, 1));
    let installed = world.installed.expect("it is logged");
    assert_eq!(installed, (2, position));
    // The promise that the leader had is told at votes from now on (R9).
    let promised = LogRecord::Ceiling { timestamp: at(500) };
    assert!(world.other_records.contains(&promised));
    // A restart finds the new one.
    world.restart();
    assert_eq!(world.replica.status().locks, 1);
    assert_eq!(world.replica.status().commit, position.index);
}

#[test]
fn a_snapshot_that_cannot_be_read_is_refused_and_another_taken() {
    let (_, chunks) = filled();
    let mut world = World::of(vec![ME, NodeId(2)]);
    // As another version of the program might write it; and one that does not say what it is of.
    let mut foreign = chunks[0].clone();
    foreign.body = bytes::Bytes::from_static(&[9, 1, 2, 3]);
    let mut nameless = chunks[0].clone();
    nameless.body = chunks[1].body.clone();
    for (number, first) in [(1, foreign), (2, nameless)] {
        world.send_chunk_of(number, &first);
        world.send_chunk_of(number, &chunks[1]);
        assert!(world.replica.status().installing.is_none());
        assert!(!world.take_said().contains(&ReplicaEffect::WantIncarnation));
    }
    // In the middle, too.
    world.send_chunk_of(3, &chunks[0]);
    assert!(world.replica.status().installing.is_some());
    let mut torn = chunks[1].clone();
    torn.body = torn.body.slice(..torn.body.len() / 2);
    world.send_chunk_of(3, &torn);
    assert!(world.replica.status().installing.is_none());
    for chunk in &chunks[2..] {
        world.send_chunk_of(3, chunk);
    }
    world.step(ReplicaEvent::Incarnation { incarnation: 2 });
    world.settle();
    assert_eq!(world.replica.status().commit, LogIndex(0));
    for chunk in &chunks {
        world.send_chunk_of(4, chunk);
    }
    world.step(ReplicaEvent::Incarnation { incarnation: 3 });
    world.settle();
    assert_eq!(world.replica.status().commit, chunks[0].position.index);
}

#[test]
fn a_crash_before_the_switch_leaves_the_old_replica() {
    let (_, chunks) = filled();
    let mut world = World::of(vec![ME, NodeId(2)]);
    world.send_chunk(&chunks[0]);
    world.step(ReplicaEvent::Incarnation { incarnation: 2 });
    world.settle();
    world.persist();
    world.restart();
    let status = world.replica.status();
    assert_eq!((status.commit, status.locks), (LogIndex(0), 0));
    // What came in so far is nobody's.
    let live = Live {
        replicas: vec![(PARTITION, 1, KeyRange::new(key("a"), Some(key("n"))))],
        below: 3,
    };
    world.store.set_live(live).unwrap();
    assert_eq!(everything(&world, 2), []);
    // Another snapshot begins from the first chunk, under another incarnation.
    for chunk in &chunks {
        world.send_chunk(chunk);
    }
    world.step(ReplicaEvent::Incarnation { incarnation: 3 });
    world.settle();
    assert_eq!(world.replica.status().commit, chunks[0].position.index);
}

#[test]
fn a_crash_before_the_tables_have_it_leaves_the_old_replica() {
    let (_, chunks) = filled();
    let mut world = World::of(vec![ME, NodeId(2)]);
    for chunk in &chunks {
        world.send_chunk(chunk);
    }
    world.step(ReplicaEvent::Incarnation { incarnation: 2 });
    world.without_persisting = true;
    world.settle();
    assert_eq!(world.installed, None, "not before it is in the tables");
    world.restart();
    assert_eq!(world.replica.status().commit, LogIndex(0));
    assert_eq!(everything(&world, 2), []);
}

#[test]
fn entries_follow_the_snapshot() {
    let (_, chunks) = filled();
    let mut world = World::of(vec![ME, NodeId(2)]);
    for chunk in &chunks {
        world.send_chunk(chunk);
    }
    world.step(ReplicaEvent::Incarnation { incarnation: 2 });
    world.settle();
    let previous = chunks[0].position;
    let index = previous.index.next();
    world.receive(
        2,
        ReplicationMessage::Append {
            term: Term(5),
            previous,
            entries: vec![wire::message::Entry {
                term: Term(5),
                index,
                body: bytes::Bytes::new(),
            }],
            commit: index,
        },
    );
    world.settle();
    assert_eq!(world.replica.status().stored, index);
    let applied = world.store.applied(PARTITION, 2).unwrap().unwrap();
    let expected = LogPosition {
        term: Term(5),
        index,
    };
    assert_eq!(applied.position, expected);
    assert!(applied.closed >= Timestamp::ZERO);
}
