//! The log in a real directory.

use super::*;
use crate::log::tests::{P1, P2, at, entry, hard_state, installed, positions, sized_entry};
use crate::log::{LogBatch, LogError, RecoveredLog};
use crossbeam_channel::unbounded;
use std::fs;
use std::path::Path;
use tempfile::tempdir;

const SMALL: LogOptions = LogOptions {
    segment_bytes: 64 * 1024,
};

fn open(path: &Path) -> (WriteAheadLog, RecoveredLog) {
    WriteAheadLog::open(path, SMALL).expect("opens")
}

fn segments(path: &Path) -> Vec<String> {
    let files = fs::read_dir(path).expect("lists");
    let names = files.map(|file| file.expect("lists").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with("segment-"))
        .collect();
    names.sort();
    names
}

/// Appends entries `from..to` of P1, 1 KiB each, one flush for eight.
fn write_entries(wal: &mut WriteAheadLog, from: u64, to: u64) {
    for index in from..to {
        wal.append(&[sized_entry(P1, 1, index, 1024)]);
        if index % 8 == 7 {
            wal.flush().expect("flushes");
        }
    }
    wal.flush().expect("flushes");
}

#[test]
fn a_log_reads_back_what_was_flushed_and_nothing_else() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, recovered) = open(directory.path());
    assert_eq!(recovered, RecoveredLog::default());
    wal.append(&[installed(P1, at(0, 0)), hard_state(P1, 1, 2)]);
    wal.append(&[entry(P1, 1, 1)]);
    wal.flush().expect("flushes");
    wal.append(&[entry(P1, 1, 2)]);
    drop(wal);
    for _ in 0..2 {
        let (_, recovered) = open(directory.path());
        assert_eq!(positions(&recovered, P1), [(1, 1)]);
        assert_eq!(recovered.torn_tail, None);
    }
}

#[test]
fn a_log_rolls_over_and_reads_back_over_segments() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, _) = open(directory.path());
    wal.append(&[installed(P1, at(0, 0))]);
    write_entries(&mut wal, 1, 300);
    assert!(segments(directory.path()).len() >= 4);
    drop(wal);
    let (mut wal, recovered) = open(directory.path());
    let expected: Vec<(u64, u64)> = (1..300).map(|index| (1, index)).collect();
    assert_eq!(positions(&recovered, P1), expected);
    write_entries(&mut wal, 300, 400);
    drop(wal);
    let (_, recovered) = open(directory.path());
    assert_eq!(positions(&recovered, P1).len(), 399);
}

#[test]
fn endless_writes_stay_bounded_and_bring_nothing_back() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, _) = open(directory.path());
    wal.append(&[installed(P1, at(0, 0))]);
    let mut from = 1;
    for round in 0..20 {
        write_entries(&mut wal, from, from + 100);
        from += 100;
        wal.discard(P1, at(1, from - 11));
        while wal.can_prepare() {
            wal.prepare().expect("prepares");
        }
        let on_disk = wal.bytes_on_disk();
        assert!(
            on_disk <= 8 * SMALL.segment_bytes,
            "{on_disk} bytes after {round} rounds"
        );
    }
    wal.append(&[entry(P1, 1, from)]);
    wal.flush().expect("flushes");
    drop(wal);
    let (wal, recovered) = open(directory.path());
    let expected: Vec<(u64, u64)> = (from - 10..=from).map(|index| (1, index)).collect();
    assert_eq!(positions(&recovered, P1), expected);
    assert_eq!(recovered.replicas[&P1].base, at(1, from - 11));
    let lengths = fs::read_dir(directory.path()).expect("lists");
    let lengths = lengths.map(|file| file.expect("lists"));
    let lengths = lengths.filter(|file| file.file_name().to_string_lossy().ends_with(".log"));
    let total: u64 = lengths.map(|f| f.metadata().expect("reads").len()).sum();
    assert_eq!(wal.bytes_on_disk(), total);
}

#[test]
fn segments_that_are_used_again_never_take_each_others_place() {
    for seed in 0..20 {
        let mut random = wire::SplitMix64::new(seed);
        let directory = tempdir().expect("makes a directory");
        let (mut wal, _) = open(directory.path());
        wal.append(&[installed(P1, at(0, 0))]);
        wal.flush().expect("flushes");
        let (mut next, mut base) = (1, 0);
        for _ in 0..60 {
            // Flushes so small that no segment grows beyond its size: such a one is not used again.
            for _ in 0..8 + random.below(32) {
                wal.append(&[sized_entry(P1, 1, next, 1024)]);
                wal.flush().expect("flushes");
                next += 1;
            }
            if random.chance(1, 2) && wal.can_prepare() {
                wal.prepare().expect("prepares");
            }
            if random.chance(2, 3) {
                base += random.below(next - base);
                wal.discard(P1, at(1, base));
            }
            if random.chance(1, 8) {
                wal.flush().expect("flushes");
                drop(wal);
                let (again, recovered) = open(directory.path());
                let expected: Vec<(u64, u64)> = (base + 1..next).map(|i| (1, i)).collect();
                assert_eq!(positions(&recovered, P1), expected, "of seed {seed}");
                wal = again;
            }
        }
    }
}

#[test]
fn a_partition_that_is_not_discarded_holds_its_segments() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, _) = open(directory.path());
    wal.append(&[installed(P1, at(0, 0)), installed(P2, at(0, 0))]);
    wal.append(&[entry(P2, 1, 1)]);
    write_entries(&mut wal, 1, 300);
    wal.discard(P1, at(1, 299));
    wal.append(&[hard_state(P1, 2, 1)]);
    wal.flush().expect("flushes");
    let before = segments(directory.path());
    assert_eq!(before[0], "segment-0000000001.log");
    wal.discard(P2, at(1, 1));
    wal.append(&[hard_state(P1, 3, 1)]);
    wal.flush().expect("flushes");
    assert_eq!(segments(directory.path()).len(), 1);
    drop(wal);
    let (_, recovered) = open(directory.path());
    assert_eq!(recovered.replicas[&P2].base, at(1, 1));
    assert!(recovered.replicas[&P1].entries.is_empty());
}

#[test]
fn a_dropped_replica_holds_nothing() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, _) = open(directory.path());
    wal.append(&[installed(P1, at(0, 0)), installed(P2, at(0, 0))]);
    write_entries(&mut wal, 1, 200);
    assert!(segments(directory.path()).len() > 1);
    wal.append(&[crate::log::LogRecord::ReplicaDropped { partition: P1 }]);
    wal.flush().expect("flushes");
    assert_eq!(segments(directory.path()).len(), 1);
}

#[test]
fn a_torn_tail_is_cut_and_never_comes_back() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, _) = open(directory.path());
    wal.append(&[installed(P1, at(0, 0)), entry(P1, 1, 1)]);
    wal.flush().expect("flushes");
    let keep = wal.bytes_used();
    // One flush of three equal records; the first of them does not reach the disk.
    wal.append(&[entry(P1, 1, 2), entry(P1, 1, 3), entry(P1, 1, 4)]);
    wal.flush().expect("flushes");
    drop(wal);
    let path = directory.path().join("segment-0000000001.log");
    let mut bytes = fs::read(&path).expect("reads");
    bytes[keep as usize..keep as usize + 8].fill(0);
    fs::write(&path, bytes).expect("writes");

    let (mut wal, recovered) = open(directory.path());
    assert_eq!(positions(&recovered, P1), [(1, 1)]);
    assert_eq!(recovered.torn_tail.expect("it is told").offset, keep);
    // A record of the same size goes where the first was: what stood behind it must be gone.
    wal.append(&[entry(P1, 2, 2)]);
    wal.flush().expect("flushes");
    drop(wal);
    let (_, recovered) = open(directory.path());
    assert_eq!(positions(&recovered, P1), [(1, 1), (2, 2)]);
}

#[test]
fn a_segment_that_was_about_to_be_begun_is_removed() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, _) = open(directory.path());
    wal.append(&[installed(P1, at(0, 0)), entry(P1, 1, 1)]);
    wal.flush().expect("flushes");
    drop(wal);
    fs::write(directory.path().join("segment-0000000002.log"), [0; 4096]).expect("writes");
    let (_, recovered) = open(directory.path());
    assert_eq!(positions(&recovered, P1), [(1, 1)]);
    assert_eq!(segments(directory.path()), ["segment-0000000001.log"]);
}

#[test]
fn a_flush_larger_than_a_segment_is_taken() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, _) = open(directory.path());
    wal.append(&[installed(P1, at(0, 0))]);
    for index in 1..4 {
        wal.append(&[sized_entry(P1, 1, index, 200 * 1024)]);
        wal.flush().expect("flushes");
    }
    drop(wal);
    let (_, recovered) = open(directory.path());
    assert_eq!(positions(&recovered, P1), [(1, 1), (1, 2), (1, 3)]);
    assert_eq!(recovered.replicas[&P1].entries[2].body.len(), 200 * 1024);
}

#[test]
fn a_failed_flush_is_final() {
    let directory = tempdir().expect("makes a directory");
    let path = directory.path().join("log");
    let (mut wal, _) = open(&path);
    wal.append(&[installed(P1, at(0, 0)), sized_entry(P1, 1, 1, 63 * 1024)]);
    wal.flush().expect("flushes");
    fs::remove_dir_all(&path).expect("removes");
    // The segment is full; the next one cannot be made.
    wal.append(&[entry(P1, 1, 2)]);
    let error = wal.flush().expect_err("there is no directory");
    assert!(
        matches!(error, LogError::Io { what: "open", .. }),
        "{error}"
    );
    fs::create_dir_all(&path).expect("makes it again");
    let error = wal.flush().expect_err("has failed before");
    assert!(matches!(error, LogError::FailedBefore), "{error}");
    assert!(matches!(wal.prepare(), Err(LogError::FailedBefore)));
}

#[test]
fn a_directory_in_use_is_refused() {
    let directory = tempdir().expect("makes a directory");
    let (wal, _) = open(directory.path());
    let error = WriteAheadLog::open(directory.path(), SMALL).expect_err("is in use");
    assert_eq!(
        error.to_string(),
        format!(
            "the data directory {} is in use by another process",
            directory.path().display()
        )
    );
    drop(wal);
    open(directory.path());
}

#[test]
fn another_format_is_refused() {
    let directory = tempdir().expect("makes a directory");
    drop(open(directory.path()));
    let path = directory.path().join("format");
    assert_eq!(fs::read_to_string(&path).expect("reads"), "horolog-log 1\n");
    for (text, newer) in [("horolog-log 2\n", true), ("something else", false)] {
        fs::write(&path, text).expect("writes");
        let error = WriteAheadLog::open(directory.path(), SMALL).expect_err("is refused");
        match error {
            LogError::NewerFormat { found, known, .. } => {
                assert!(newer);
                assert_eq!((found, known), (2, 1));
            }
            LogError::UnknownFormat(_) => assert!(!newer),
            other => panic!("another error than expected: {other}"),
        }
    }
}

#[test]
fn a_new_log_is_quick_to_open() {
    let directory = tempdir().expect("makes a directory");
    let options = LogOptions::default();
    let (wal, _) = WriteAheadLog::open(directory.path(), options).expect("opens");
    assert_eq!(wal.bytes_on_disk(), 1024 * 1024, "filled step by step");
}

#[test]
fn the_log_thread_tells_how_far_it_is_durable() {
    let directory = tempdir().expect("makes a directory");
    let (wal, _) = open(directory.path());
    let (reports, received) = unbounded();
    let thread = LogThread::spawn(wal, move |report| {
        reports.send(report).expect("the test listens");
    });
    let sender = thread.sender();
    let write = |sequence, records| LogTask::Write(LogBatch { sequence, records });
    sender
        .send(write(1, vec![installed(P1, at(0, 0))]))
        .expect("the thread runs");
    for index in 1..=500 {
        let records = vec![sized_entry(P1, 1, index, 500)];
        sender
            .send(write(index + 1, records))
            .expect("the thread runs");
        if index % 100 == 0 {
            let up_to = at(1, index - 50);
            let discard = LogTask::Discard {
                partition: P1,
                up_to,
            };
            sender.send(discard).expect("the thread runs");
        }
    }
    drop(sender);
    drop(thread.join());
    let sequences: Vec<u64> = received
        .iter()
        .map(|report| match report {
            LogReport::Durable { sequence } => sequence,
            LogReport::Failed { why } => panic!("the log failed: {why}"),
        })
        .collect();
    assert!(sequences.is_sorted_by(|a, b| a < b), "{sequences:?}");
    assert_eq!(sequences.last(), Some(&501));
    let (_, recovered) = open(directory.path());
    assert_eq!(recovered.replicas[&P1].base, at(1, 450));
    assert_eq!(positions(&recovered, P1).len(), 50);
}

#[test]
fn the_log_thread_says_how_large_the_log_is() {
    let directory = tempdir().expect("makes a directory");
    let (wal, _) = open(directory.path());
    let (reports, received) = unbounded();
    let thread = LogThread::spawn(wal, move |report| {
        reports.send(report).expect("the test listens");
    });
    let before = thread.bytes_on_disk();
    let records = vec![
        installed(P1, at(0, 0)),
        sized_entry(P1, 1, 1, 3 * SMALL.segment_bytes as usize),
    ];
    let batch = LogBatch {
        sequence: 1,
        records,
    };
    let sender = thread.sender();
    sender.send(LogTask::Write(batch)).expect("the thread runs");
    drop(sender);
    let report = received.recv().expect("the thread reports");
    assert_eq!(report, LogReport::Durable { sequence: 1 });
    let after = thread.bytes_on_disk();
    assert!(
        after >= before.max(3 * SMALL.segment_bytes),
        "{after} bytes, {before} before a flush of three segments"
    );
    drop(thread.join());
}

#[test]
fn an_idle_partition_does_not_hold_the_log_of_a_busy_one() {
    let directory = tempdir().expect("makes a directory");
    let (mut wal, _) = open(directory.path());
    wal.append(&[installed(P1, at(0, 0)), installed(P2, at(0, 0))]);
    wal.append(&[entry(P2, 1, 1), entry(P2, 1, 2), entry(P2, 1, 3)]);
    wal.discard(P2, at(1, 1));
    let mut from = 1;
    for round in 0..20 {
        write_entries(&mut wal, from, from + 100);
        from += 100;
        wal.discard(P1, at(1, from - 11));
        let on_disk = wal.bytes_on_disk();
        assert!(
            on_disk <= 8 * SMALL.segment_bytes,
            "{on_disk} bytes after {round} rounds"
        );
    }
    wal.append(&[hard_state(P1, 1, 1)]);
    wal.flush().expect("flushes");
    drop(wal);
    assert_ne!(segments(directory.path())[0], "segment-0000000001.log");
    let (mut wal, recovered) = open(directory.path());
    assert_eq!(positions(&recovered, P2), [(1, 2), (1, 3)]);
    assert_eq!(positions(&recovered, P1).len(), 10);
    // What was carried is replaced and goes on like any other entry.
    wal.append(&[entry(P2, 2, 3), entry(P2, 2, 4)]);
    wal.flush().expect("flushes");
    drop(wal);
    let (_, recovered) = open(directory.path());
    assert_eq!(positions(&recovered, P2), [(1, 2), (2, 3), (2, 4)]);
}

/// A busy partition, and one that appends, replaces and discards now and then, over many lives. Whatever
/// is carried when, what was flushed reads back.
#[test]
fn what_is_carried_is_what_is_valid() {
    let mut carried_away = 0;
    for seed in 0..12 {
        let mut random = wire::SplitMix64::new(seed);
        let directory = tempdir().expect("makes a directory");
        let options = LogOptions {
            segment_bytes: 8 * 1024,
        };
        let open = || WriteAheadLog::open(directory.path(), options).expect("opens");
        let (mut wal, _) = open();
        wal.append(&[installed(P1, at(0, 0)), installed(P2, at(0, 0))]);
        let mut idle: Vec<(u64, u64)> = Vec::new();
        let (mut term, mut base, mut busy) = (1, 0, 1);
        for _ in 0..600 {
            for _ in 0..8 {
                wal.append(&[sized_entry(P1, 1, busy, 100)]);
                busy += 1;
            }
            match random.below(12) {
                0 => {
                    let index = idle.last().map_or(base, |(_, index)| *index) + 1;
                    wal.append(&[entry(P2, term, index)]);
                    idle.push((term, index));
                }
                1 if !idle.is_empty() => {
                    let kept = random.below(idle.len() as u64) as usize;
                    let index = idle[kept].1;
                    term += 1;
                    wal.append(&[entry(P2, term, index)]);
                    idle.truncate(kept);
                    idle.push((term, index));
                }
                2 if idle.len() > 3 => {
                    let (of, index) = idle[1];
                    wal.discard(P2, at(of, index));
                    base = index;
                    idle.drain(..2);
                }
                _ => {}
            }
            if busy > 40 {
                wal.discard(P1, at(1, busy - 30));
            }
            wal.flush().expect("flushes");
            if random.chance(1, 40) {
                drop(wal);
                let (again, recovered) = open();
                assert_eq!(positions(&recovered, P2), idle, "seed {seed}, term {term}");
                assert_eq!(
                    recovered.replicas[&P1].entries.len(),
                    29.min(busy as usize - 1)
                );
                wal = again;
            }
        }
        carried_away += usize::from(segments(directory.path())[0] != "segment-0000000001.log");
        assert!(wal.bytes_on_disk() <= 10 * options.segment_bytes);
    }
    assert_eq!(carried_away, 12, "every log has given segments back");
}
