//! What each bad disk does to the store, by name.

use super::*;
use crate::versions::{Store, StoreBatch, StoreQuery, StoreReport, StoreTask, VersionRow};
use bytes::Bytes;
use clock::Timestamp;
use crossbeam_channel::{Receiver, unbounded};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::{TempDir, tempdir};
use wire::ids::{LogIndex, PartitionId, Term};
use wire::keys::{Key, KeyRange};
use wire::message::LogPosition;

const P7: PartitionId = PartitionId(7);

const TINY: StoreOptions = StoreOptions {
    memtable_bytes: 64 * 1024,
    cache_bytes: 1024 * 1024,
    workers: 1,
    held_back_bytes_max: 128 * 1024,
};

fn batch(index: u64) -> StoreBatch {
    let row = |n: u64| VersionRow {
        key: Key::from_bytes(Bytes::from(format!("key{n:05}"))),
        timestamp: Timestamp::from_bits(index),
        // Not to be compressed away.
        value: Some((0..200).map(|byte| (n * 31 + byte * index) as u8).collect()),
    };
    StoreBatch {
        partition: P7,
        incarnation: 1,
        applied: LogPosition {
            term: Term(1),
            index: LogIndex(index),
        },
        closed: Timestamp::ZERO,
        horizon: Timestamp::ZERO,
        versions: (0..100).map(row).collect(),
        swept: Vec::new(),
        meta: Vec::new(),
    }
}

/// A store with tables, closed; its data directory and its store's.
fn closed_store() -> (TempDir, PathBuf) {
    let data = tempdir().expect("makes a directory");
    let directory = data.path().join("store");
    let mut store = FjallStore::open(&directory, TINY).expect("opens");
    for index in 1..=10 {
        store.apply(&[batch(index)]).expect("applies");
    }
    store.close().expect("closes");
    (data, directory)
}

fn files_under(directory: &Path, found: &mut Vec<PathBuf>) {
    for file in fs::read_dir(directory).expect("lists") {
        let path = file.expect("lists").path();
        if path.is_dir() {
            files_under(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The tables' files, the largest last.
fn tables(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files_under(&directory.join("tables"), &mut found);
    let is_table = |path: &PathBuf| {
        path.parent()
            .is_some_and(|parent| parent.ends_with("tables"))
    };
    found.retain(|path| is_table(path) && path.extension().is_none());
    let length = |path: &PathBuf| path.metadata().expect("looks").len();
    found.retain(|path| length(path) > 4096);
    found.sort_by_key(length);
    assert!(!found.is_empty(), "the store has tables");
    found
}

fn everything() -> StoreQuery {
    StoreQuery::Scan {
        range: KeyRange::all(),
        reverse: false,
        at: Timestamp::MAX,
        rows_max: u32::MAX,
        bytes_max: u32::MAX,
    }
}

#[track_caller]
fn assert_says(told: &str, parts: &[&str]) {
    for part in parts {
        assert!(told.contains(part), "no '{part}' in: {told}");
    }
}

#[test]
fn a_flipped_bit_in_a_table_is_never_served_and_the_file_is_named() {
    let (data, directory) = closed_store();
    let table = tables(&directory).pop().expect("there is one");
    let mut bytes = fs::read(&table).expect("reads");
    bytes[2000] ^= 0x10;
    fs::write(&table, bytes).expect("writes");
    let (reports, received) = unbounded();
    let store = FjallStore::open(&directory, TINY).expect("only what is read is looked at");
    let thread = StoreThread::spawn(store, move |report| {
        reports.send(report).expect("the test listens");
    });
    thread.send(StoreTask::Query {
        partition: P7,
        incarnation: 1,
        ticket: 1,
        queries: vec![everything()],
    });
    let why = loop {
        match received.recv().expect("the threads run") {
            StoreReport::Failed { why } => break why,
            StoreReport::Answer { .. } | StoreReport::Snapshot { .. } => {
                panic!("damaged data is never served")
            }
            StoreReport::Applied { .. } | StoreReport::Persisted { .. } => {}
        }
    };
    let remedy = format!("`horolog rebuild --data {}`", data.path().display());
    assert_says(&why, &[&table.to_string_lossy(), "p7", "damaged", &remedy]);
    thread.join();
}

#[test]
fn missing_tables_are_refused_when_the_store_is_opened() {
    let (data, directory) = closed_store();
    let table = tables(&directory).pop().expect("there is one");
    fs::remove_file(&table).expect("removes");
    let Err(error) = FjallStore::open(&directory, TINY) else {
        panic!("a store that lacks a table is not opened");
    };
    let remedy = format!("`horolog rebuild --data {}`", data.path().display());
    assert_says(&error.to_string(), &["damaged or missing", &remedy]);
}

#[test]
fn a_damaged_journal_is_emptied_and_never_read() {
    let (_data, directory) = closed_store();
    let mut found = Vec::new();
    files_under(&directory, &mut found);
    found.retain(|path| path.extension().is_some_and(|e| e == "jnl"));
    assert!(!found.is_empty(), "there is a journal");
    for journal in &found {
        fs::write(journal, vec![0x5a; 5000]).expect("writes");
    }
    let store = FjallStore::open(&directory, TINY).expect("opens");
    let applied = store
        .applied(P7, 1)
        .expect("tells")
        .expect("something is there");
    assert_eq!(applied.position.index, LogIndex(10));
    let answer = store.query(P7, 1, &[everything()]);
    assert_eq!(answer.expect("answers").applied, LogIndex(10));
}

const NOT_HUNG_WITHIN: Duration = Duration::from_secs(20);

/// A store that cannot write its tables any more, with more to do than the tree lets wait.
fn store_without_tables(directory: &Path) -> (StoreThread, Receiver<StoreReport>) {
    let (reports, received) = unbounded();
    let store = FjallStore::open(directory, TINY).expect("opens");
    let thread = StoreThread::spawn(store, move |report| {
        // Once it has failed the test does not listen any more.
        reports.send(report).ok();
    });
    let table = tables(directory).pop().expect("there is one");
    let folder = table.parent().expect("it lies in a folder");
    fs::rename(folder, directory.join("elsewhere")).expect("renames");
    // Each of these makes a memory table that waits to be written.
    for index in 11..=22 {
        thread.send(StoreTask::Apply(batch(index)));
        thread.send(StoreTask::Persist);
    }
    (thread, received)
}

#[track_caller]
fn assert_says_what_failed(received: &Receiver<StoreReport>) {
    let why = loop {
        let report = received.recv_timeout(NOT_HUNG_WITHIN);
        if let StoreReport::Failed { why } = report.expect("it does not hang") {
            break why;
        }
    };
    let parts = [
        "a table could not be written",
        "Nothing acknowledged is lost",
    ];
    assert_says(&why, &parts);
}

#[test]
fn tables_that_cannot_be_written_are_reported_though_the_tree_halts_its_writer() {
    let (_data, directory) = closed_store();
    let (thread, received) = store_without_tables(&directory);
    assert_says_what_failed(&received);
    // Nor does whoever still sends, or waits for the end.
    for index in 0..(STORE_QUEUE_MAX as u64 + 10) {
        thread.send(StoreTask::Apply(batch(30 + index % 2)));
    }
    thread.join();
}

#[test]
fn a_store_that_is_to_end_before_it_has_failed_ends_and_says_so() {
    let (_data, directory) = closed_store();
    let (thread, received) = store_without_tables(&directory);
    let (ended, ends) = unbounded();
    let waits = std::thread::Builder::new().name("waits-for-end".to_owned());
    let waits = waits.spawn(move || {
        thread.join();
        ended.send(()).expect("the test listens");
    });
    waits.expect("the system gives a thread");
    assert_says_what_failed(&received);
    let hung = "the store does not hang though the tree halts its writer";
    ends.recv_timeout(NOT_HUNG_WITHIN).expect(hung);
}
