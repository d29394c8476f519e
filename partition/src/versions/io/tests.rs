//! The store on disk is held against its twin in memory, and against crashes.

use super::snapshots::Snapshots;
use super::*;
use crate::versions::{
    AppliedState, Live, MemoryStore, SnapshotCursor, SnapshotPage, SnapshotRead, Store,
    StoreAnswer, StoreBatch, StoreError, StoreQuery, StoreReport, StoreTask, VersionRow,
};
use bytes::Bytes;
use clock::Timestamp;
use crossbeam_channel::unbounded;
use std::fs;
use std::path::Path;
use tempfile::tempdir;
use wire::SplitMix64;
use wire::ids::{LogIndex, PartitionId, Term};
use wire::keys::{Key, KeyRange};
use wire::message::LogPosition;

const P1: PartitionId = PartitionId(1);

const TINY: StoreOptions = StoreOptions {
    memtable_bytes: 64 * 1024,
    cache_bytes: 1024 * 1024,
    workers: 1,
    held_back_bytes_max: 1024 * 1024,
};

fn open(path: &Path) -> FjallStore {
    FjallStore::open(path, TINY).expect("opens")
}

fn at(index: u64) -> LogPosition {
    LogPosition {
        term: Term(1),
        index: LogIndex(index),
    }
}

/// Batches and questions by a seed: few keys, many versions, several replicas.
struct Dice {
    random: SplitMix64,
    indexes: [u64; REPLICAS.len()],
}

const REPLICAS: [(PartitionId, u32); 4] = [
    (P1, 1),
    (PartitionId(2), 1),
    (PartitionId(2), 2),
    (PartitionId(3), u32::MAX),
];

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice {
            random: SplitMix64::new(seed),
            indexes: [0; REPLICAS.len()],
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    fn bytes(&mut self, length_max: u64, of: &[u8]) -> Bytes {
        let length = self.below(length_max + 1);
        (0..length)
            .map(|_| of[self.below(of.len() as u64) as usize])
            .collect()
    }

    fn key(&mut self) -> Key {
        Key::from_bytes(self.bytes(4, &[0, 1, 255]))
    }

    fn timestamp(&mut self) -> Timestamp {
        Timestamp::from_bits(self.below(40))
    }

    fn value(&mut self) -> Option<Bytes> {
        let is_tombstone = self.below(4) == 0;
        (!is_tombstone).then(|| self.bytes(60, b"abc"))
    }

    fn batch(&mut self) -> StoreBatch {
        let replica = self.below(REPLICAS.len() as u64) as usize;
        self.indexes[replica] += 1 + self.below(3);
        let (partition, incarnation) = REPLICAS[replica];
        StoreBatch {
            partition,
            incarnation,
            applied: at(self.indexes[replica]),
            closed: self.timestamp(),
            horizon: Timestamp::ZERO,
            swept: Vec::new(),
            versions: (0..self.below(8))
                .map(|_| VersionRow {
                    key: self.key(),
                    timestamp: self.timestamp(),
                    value: self.value(),
                })
                .collect(),
            meta: (0..self.below(4))
                .map(|_| (self.bytes(3, &[0, 7, 255]), self.value()))
                .collect(),
        }
    }

    fn range(&mut self) -> KeyRange {
        let end = (self.below(4) != 0).then(|| self.key());
        KeyRange::new(self.key(), end)
    }

    fn query(&mut self) -> StoreQuery {
        match self.below(6) {
            0 => StoreQuery::Get {
                key: self.key(),
                at: self.timestamp(),
            },
            1 => StoreQuery::Scan {
                range: self.range(),
                reverse: self.below(2) == 0,
                at: self.timestamp(),
                rows_max: self.below(12) as u32,
                bytes_max: self.below(300) as u32,
            },
            2 => StoreQuery::Changed {
                range: self.range(),
                above: self.timestamp(),
                up_to: self.timestamp(),
            },
            3 => StoreQuery::Meta {
                key: self.bytes(3, &[0, 7, 255]),
            },
            4 => StoreQuery::MetaRange {
                from: self.bytes(2, &[0, 7, 255]),
                to: self.bytes(2, &[0, 7, 255]),
                rows_max: self.below(6) as u32,
            },
            _ => StoreQuery::MetaPrefix {
                prefix: self.bytes(2, &[0, 7, 255]),
            },
        }
    }
}

/// Everything that can be asked of a replica.
fn everything(
    store: &impl Store,
    (partition, incarnation): (PartitionId, u32),
) -> (StoreAnswer, Option<AppliedState>) {
    let mut queries = vec![StoreQuery::MetaPrefix {
        prefix: Bytes::new(),
    }];
    queries.extend((0..40).map(|bits| StoreQuery::Scan {
        range: KeyRange::all(),
        reverse: false,
        at: Timestamp::from_bits(bits),
        rows_max: u32::MAX,
        bytes_max: u32::MAX,
    }));
    let answer = store.query(partition, incarnation, &queries);
    let applied = store.applied(partition, incarnation);
    (answer.expect("answers"), applied.expect("answers"))
}

#[track_caller]
fn assert_same(disk: &impl Store, memory: &MemoryStore) {
    for replica in REPLICAS {
        // Without printing everything that is in there.
        let is_same = everything(disk, replica) == everything(memory, replica);
        assert!(is_same, "{replica:?} is not the same on disk and in memory");
    }
}

#[test]
fn the_store_on_disk_answers_like_its_twin() {
    for seed in 0..6 {
        let directory = tempdir().expect("makes a directory");
        let mut dice = Dice::new(seed);
        let mut memory = MemoryStore::new();
        for life in 0..4 {
            let mut disk = open(directory.path());
            assert_same(&disk, &memory);
            for _ in 0..60 {
                let group: Vec<StoreBatch> = (0..=dice.below(3)).map(|_| dice.batch()).collect();
                disk.apply(&group).expect("applies");
                memory.apply(&group).expect("applies");
                let (partition, incarnation) = REPLICAS[dice.below(4) as usize];
                let queries: Vec<StoreQuery> = (0..8).map(|_| dice.query()).collect();
                let ask = |store: &dyn Store| {
                    let answer = store.query(partition, incarnation, &queries);
                    answer.expect("answers")
                };
                assert_eq!(
                    ask(&disk),
                    ask(&memory),
                    "seed {seed}, life {life}, {queries:?}"
                );
            }
            disk.close().expect("closes");
            memory.persist();
            assert_eq!(
                disk.persisted().expect("tells"),
                memory.persisted().expect("tells")
            );
        }
    }
}

/// What a crash leaves: the files as they are, and of the journals anything.
fn crashed_copy(of: &Path, journal: &mut dyn FnMut(&mut Vec<u8>)) -> tempfile::TempDir {
    let copy = tempdir().expect("makes a directory");
    copy_directory(of, copy.path(), journal);
    copy
}

fn copy_directory(from: &Path, to: &Path, journal: &mut dyn FnMut(&mut Vec<u8>)) {
    for file in fs::read_dir(from).expect("lists") {
        let file = file.expect("lists");
        let target = to.join(file.file_name());
        if file.file_type().expect("looks").is_dir() {
            fs::create_dir_all(&target).expect("makes a directory");
            copy_directory(&file.path(), &target, journal);
            continue;
        }
        let mut bytes = fs::read(file.path()).expect("reads");
        if target.extension().is_some_and(|e| e == "jnl") {
            journal(&mut bytes);
        }
        fs::write(&target, bytes).expect("writes");
    }
}

/// Of which of the states `found` is the copy.
fn position_in(history: &[MemoryStore], found: &FjallStore) -> Option<usize> {
    let is_same =
        |memory: &MemoryStore, replica| everything(found, replica) == everything(memory, replica);
    history
        .iter()
        .rposition(|memory| REPLICAS.iter().all(|replica| is_same(memory, *replica)))
}

#[test]
fn a_crash_leaves_a_beginning_of_the_batches_and_all_that_was_persisted() {
    let directory = tempdir().expect("makes a directory");
    let mut dice = Dice::new(99);
    let mut disk = open(directory.path());
    let mut history = vec![MemoryStore::new()];
    for round in 0..5 {
        let persisted_after = history.len() - 1;
        for _ in 0..50 {
            let batch = [dice.batch()];
            disk.apply(&batch).expect("applies");
            let mut next = history.last().expect("is never empty").clone();
            next.apply(&batch).expect("applies");
            history.push(next);
        }
        let cut = dice.below(6000) as usize;
        let copy = crashed_copy(directory.path(), &mut |journal| match round {
            0 => journal.clear(),
            1 => journal.truncate(cut),
            2 => journal[cut] ^= 0xff,
            3 => journal[cut..].fill(0x5a),
            _ => {}
        });
        let mut found = open(copy.path());
        let left = position_in(&history, &found);
        let left = left.expect("what is left is a beginning of what was applied");
        assert!(
            left >= persisted_after,
            "{left} batches are left, {persisted_after} were persisted"
        );
        let mut twin = history[left].clone();
        twin.persist();
        assert_eq!(
            found.persisted().expect("tells"),
            twin.persisted().expect("tells")
        );
        // Going on from there leads to the same end.
        let mut more = Dice::new(7).batch();
        more.applied = at(10_000);
        found.apply(&[more.clone()]).expect("applies");
        twin.apply(&[more]).expect("applies");
        found.close().expect("closes");
        assert_same(&found, &twin);
        disk.close().expect("all that was applied becomes a table");
    }
}

#[test]
fn what_is_persisted_is_told_when_tables_are_written() {
    let directory = tempdir().expect("makes a directory");
    let mut disk = open(directory.path());
    assert!(disk.persisted().expect("tells").is_empty());
    let batch = |index| StoreBatch {
        partition: P1,
        incarnation: 1,
        applied: at(index),
        closed: Timestamp::ZERO,
        horizon: Timestamp::ZERO,
        swept: Vec::new(),
        versions: Vec::new(),
        meta: Vec::new(),
    };
    disk.apply(&[batch(1)]).expect("applies");
    disk.close().expect("closes");
    assert_eq!(disk.persisted().expect("tells"), [((P1, 1), at(1))].into());
    disk.apply(&[batch(2)]).expect("applies");
    assert_eq!(disk.persisted().expect("tells"), [((P1, 1), at(1))].into());
    disk.close().expect("closes");
    drop(disk);
    let mut disk = open(directory.path());
    assert_eq!(disk.persisted().expect("tells"), [((P1, 1), at(2))].into());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "tables are written in real time")]
fn a_store_that_holds_back_too_much_of_the_log_makes_tables_by_itself() {
    let directory = tempdir().expect("makes a directory");
    let options = StoreOptions {
        memtable_bytes: 64 * 1024 * 1024,
        ..TINY
    };
    let mut disk = FjallStore::open(directory.path(), options).expect("opens");
    let value = Bytes::from(vec![b'v'; 64 * 1024]);
    let written = 2 * options.held_back_bytes_max / value.len() as u64;
    for index in 1..=written {
        let row = VersionRow {
            key: Key::from_bytes(Bytes::from_static(b"key")),
            timestamp: Timestamp::from_bits(index),
            value: Some(value.clone()),
        };
        let batch = StoreBatch {
            partition: P1,
            incarnation: 1,
            applied: at(index),
            closed: Timestamp::ZERO,
            horizon: Timestamp::ZERO,
            swept: Vec::new(),
            versions: vec![row],
            meta: Vec::new(),
        };
        disk.apply(&[batch]).expect("applies");
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while disk.persisted().expect("tells").is_empty() {
        let is_over = std::time::Instant::now() > deadline;
        assert!(!is_over, "the log may not be discarded for ever");
        std::thread::yield_now();
    }
}

#[test]
fn the_threads_apply_answer_and_tell_what_is_persisted() {
    let directory = tempdir().expect("makes a directory");
    let (reports, received) = unbounded();
    let thread = StoreThread::spawn(open(directory.path()), move |report| {
        reports.send(report).expect("the test listens");
    });
    let key = Key::from_bytes(Bytes::from_static(b"key"));
    for index in 1..=100 {
        thread.send(StoreTask::Apply(StoreBatch {
            partition: P1,
            incarnation: 1,
            applied: at(index),
            closed: Timestamp::ZERO,
            horizon: Timestamp::ZERO,
            swept: Vec::new(),
            versions: vec![VersionRow {
                key: key.clone(),
                timestamp: Timestamp::from_bits(index),
                value: Some(Bytes::from_static(b"value")),
            }],
            meta: Vec::new(),
        }));
    }
    let mut applied = LogIndex(0);
    // The tables are looked at now and then: on a slow machine perhaps before the question.
    let mut told_persisted = Vec::new();
    while applied < LogIndex(100) {
        match received.recv().expect("the threads run") {
            StoreReport::Applied {
                partition,
                incarnation,
                position,
            } => {
                assert_eq!((partition, incarnation), (P1, 1));
                let index = position.index;
                assert!(index > applied, "{index} after {applied}");
                applied = index;
            }
            persisted @ StoreReport::Persisted { .. } => told_persisted.push(persisted),
            other => panic!("not asked for: {other:?}"),
        }
    }
    let at_40 = Timestamp::from_bits(40);
    thread.send(StoreTask::Query {
        partition: P1,
        incarnation: 1,
        ticket: 7,
        queries: vec![StoreQuery::Get { key, at: at_40 }],
    });
    thread.join();
    let rest: Vec<StoreReport> = received.iter().collect();
    let answer = rest.iter().find_map(|report| match report {
        StoreReport::Answer { ticket, answer, .. } => Some((*ticket, answer)),
        _ => None,
    });
    let (ticket, answer) = answer.expect("the question is answered");
    assert_eq!((ticket, answer.applied), (7, LogIndex(100)));
    assert_eq!(answer.newest, Timestamp::from_bits(100));
    let crate::versions::StoreResult::Version(Some(version)) = &answer.results[0] else {
        panic!("the key has a version: {answer:?}");
    };
    assert_eq!(version.timestamp, at_40);
    let persisted = StoreReport::Persisted {
        partition: P1,
        incarnation: 1,
        position: at(100),
    };
    let is_persisted = |report: &StoreReport| matches!(report, StoreReport::Persisted { .. });
    told_persisted.extend(rest.into_iter().filter(is_persisted));
    assert_eq!(told_persisted.last(), Some(&persisted));
}

#[test]
fn a_store_in_use_and_a_newer_format_are_refused() {
    let directory = tempdir().expect("makes a directory");
    let disk = open(directory.path());
    let why = |result: Result<FjallStore, StoreError>| match result {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    };
    let in_use = why(FjallStore::open(directory.path(), TINY));
    assert!(in_use.contains("is in use by another process"), "{in_use}");
    drop(disk);
    fs::write(directory.path().join("format"), "horolog-store 2\n").expect("writes");
    let newer = why(FjallStore::open(directory.path(), TINY));
    assert!(newer.contains("is in store format 2"), "{newer}");
}

#[test]
#[should_panic(expected = "batches of p1 come in the order of their positions")]
fn a_batch_out_of_order_is_refused() {
    let directory = tempdir().expect("makes a directory");
    let mut disk = open(directory.path());
    for index in [2, 1] {
        let batch = StoreBatch {
            partition: P1,
            incarnation: 1,
            applied: at(index),
            closed: Timestamp::ZERO,
            horizon: Timestamp::ZERO,
            swept: Vec::new(),
            versions: Vec::new(),
            meta: Vec::new(),
        };
        disk.apply(&[batch]).expect("applies");
    }
}

/// All pages of a view, as one.
fn all_pages(
    bytes_max: usize,
    mut read: impl FnMut(&SnapshotRead) -> Option<SnapshotPage>,
) -> (u32, SnapshotPage) {
    let mut ask = SnapshotRead {
        partition: P1,
        incarnation: 1,
        range: KeyRange::all(),
        view: 1,
        after: None,
        bytes_max,
    };
    let mut pages = 1;
    let mut all = read(&ask).expect("something was applied");
    while let Some(next) = all.next.take() {
        ask.after = Some(next);
        let page = read(&ask).expect("it is held");
        assert_eq!(page.state, all.state, "one view has one state");
        all.meta.extend(page.meta);
        all.versions.extend(page.versions);
        all.next = page.next;
        pages += 1;
    }
    (pages, all)
}

#[test]
fn a_view_is_read_page_by_page_while_more_is_applied() {
    let directory = tempdir().expect("makes a directory");
    let mut dice = Dice::new(5);
    let (mut disk, mut memory) = (open(directory.path()), MemoryStore::new());
    for _ in 0..300 {
        let batch = [dice.batch()];
        disk.apply(&batch).expect("applies");
        memory.apply(&batch).expect("applies");
    }
    let mut snapshots = Snapshots::of(disk.reader());
    let mut later = 0;
    let twin = memory.clone();
    let (pages, found) = all_pages(300, |read| {
        later += 1;
        let page = snapshots.read(read).expect("reads");
        disk.apply(&[dice.batch()]).expect("applies");
        page
    });
    assert!(pages > 5 && later == pages, "{pages} pages");
    let (_, expected) = all_pages(70, |read| memory.read_snapshot(read));
    assert_eq!(found, expected);
    let all = twin.versions(1).count();
    assert_eq!(
        found.versions.len(),
        all,
        "every version, of every timestamp"
    );
    // What was let go, and what was never there.
    let lost = SnapshotRead {
        partition: P1,
        incarnation: 1,
        range: KeyRange::all(),
        view: 1,
        after: Some(SnapshotCursor::Meta(Bytes::new())),
        bytes_max: 10,
    };
    assert_eq!(snapshots.read(&lost).expect("reads"), None);
    let nothing = SnapshotRead {
        incarnation: 99,
        after: None,
        ..lost
    };
    assert_eq!(snapshots.read(&nothing).expect("reads"), None);
}

#[test]
fn small_rows_of_replicas_that_do_not_live_go() {
    let directory = tempdir().expect("makes a directory");
    let mut disk = open(directory.path());
    let batch = |incarnation| StoreBatch {
        partition: P1,
        incarnation,
        applied: at(7),
        closed: Timestamp::ZERO,
        horizon: Timestamp::ZERO,
        versions: Vec::new(),
        swept: Vec::new(),
        meta: vec![(Bytes::from_static(b"row"), Some(Bytes::from_static(b"x")))],
    };
    disk.apply(&[batch(1), batch(2), batch(3)])
        .expect("applies");
    let live = Live {
        replicas: vec![(P1, 2, KeyRange::all())],
        below: 3,
    };
    disk.set_live(live).expect("removes");
    let left = |disk: &FjallStore, incarnation| {
        let all = [StoreQuery::MetaPrefix {
            prefix: Bytes::new(),
        }];
        let answer = disk.query(P1, incarnation, &all).expect("answers");
        let crate::versions::StoreResult::MetaRows(rows) = &answer.results[0] else {
            panic!("small rows: {answer:?}");
        };
        (answer.applied, rows.len())
    };
    assert_eq!(left(&disk, 1), (LogIndex(0), 0));
    assert_eq!(left(&disk, 2), (LogIndex(7), 1));
    assert_eq!(left(&disk, 3), (LogIndex(7), 1), "in the making");
    disk.close().expect("closes");
    drop(disk);
    let disk = open(directory.path());
    assert_eq!(disk.applied(P1, 1).expect("knows"), None);
    assert!(disk.applied(P1, 2).expect("knows").is_some());
}

#[test]
fn memory_tables_of_different_nodes_differ_by_up_to_a_half() {
    let usual = StoreOptions::default().memtable_bytes;
    let sizes: std::collections::BTreeSet<u64> = (0..100)
        .map(|node| StoreOptions::default().spread_by(node).memtable_bytes)
        .collect();
    assert!(sizes.len() > 10, "{sizes:?}");
    let within = usual..=usual + usual / 2;
    assert!(sizes.iter().all(|size| within.contains(size)), "{sizes:?}");
}
