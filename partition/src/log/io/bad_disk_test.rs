//! What each bad disk does to the log, by name.

use super::disk_fault::{self, DiskFault, EIO, ENOSPC};
use super::*;
use crate::log::tests::{P1, at, entry, installed, positions, sized_entry};
use crate::log::{LogBatch, LogError, RecoveredLog};
use crossbeam_channel::unbounded;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::tempdir;

const SMALL: LogOptions = LogOptions {
    segment_bytes: 64 * 1024,
};

fn open(path: &Path) -> (WriteAheadLog, RecoveredLog) {
    WriteAheadLog::open(path, SMALL).expect("opens")
}

fn segment(path: &Path, epoch: u32) -> PathBuf {
    path.join(format!("segment-{epoch:010}.log"))
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).expect("reads");
    change(&mut bytes);
    fs::write(file, bytes).expect("writes");
}

/// A log of several segments under `DATA/log`.
fn long_log(data: &Path) -> PathBuf {
    let path = data.join("log");
    let (mut wal, _) = open(&path);
    wal.append(&[installed(P1, at(0, 0))]);
    for index in 1..200 {
        wal.append(&[sized_entry(P1, 1, index, 1024)]);
        wal.flush().expect("flushes");
    }
    assert!(segment(&path, 3).exists());
    path
}

#[track_caller]
fn assert_damaged(path: &Path, file: &Path, data: &Path) {
    let error = WriteAheadLog::open(path, SMALL).expect_err("it is damaged");
    let told = error.to_string();
    let remedy = format!("`horolog rebuild --data {}`", data.display());
    for part in [&file.to_string_lossy()[..], "at byte", &remedy] {
        assert!(told.contains(part), "no '{part}' in: {told}");
    }
}

#[test]
fn a_torn_tail_is_cut_and_told() {
    let data = tempdir().expect("makes a directory");
    let path = data.path().join("log");
    let (mut wal, _) = open(&path);
    wal.append(&[installed(P1, at(0, 0)), entry(P1, 1, 1)]);
    wal.flush().expect("flushes");
    let keep = wal.bytes_used() as usize;
    wal.append(&[entry(P1, 1, 2)]);
    wal.flush().expect("flushes");
    drop(wal);
    change(&segment(&path, 1), |bytes| bytes[keep + 40] ^= 1);
    let (_, recovered) = open(&path);
    assert_eq!(positions(&recovered, P1), [(1, 1)]);
    let tail = recovered.torn_tail.expect("it is told");
    let file = segment(&path, 1).to_string_lossy().into_owned();
    assert_eq!((tail.file, tail.offset), (file, keep as u64));
}

#[test]
fn a_flipped_bit_in_the_middle_is_damage() {
    let data = tempdir().expect("makes a directory");
    let path = long_log(data.path());
    for at in [9_000, 30_000] {
        let file = segment(&path, 2);
        change(&file, |bytes| bytes[at] ^= 4);
        assert_damaged(&path, &file, data.path());
        change(&file, |bytes| bytes[at] ^= 4);
    }
    assert_eq!(positions(&open(&path).1, P1).len(), 199, "whole again");
}

#[test]
fn a_damaged_head_of_a_segment_is_damage() {
    let data = tempdir().expect("makes a directory");
    let path = long_log(data.path());
    let file = segment(&path, 2);
    change(&file, |bytes| bytes[..64].fill(0xff));
    let error = WriteAheadLog::open(&path, SMALL).expect_err("it is damaged");
    let told = error.to_string();
    assert!(told.contains("segment-0000000002.log"), "{told}");
    assert!(told.contains("horolog rebuild"), "{told}");
}

#[test]
fn a_missing_segment_in_the_middle_is_damage() {
    let data = tempdir().expect("makes a directory");
    let path = long_log(data.path());
    fs::remove_file(segment(&path, 2)).expect("removes");
    let error = WriteAheadLog::open(&path, SMALL).expect_err("it is damaged");
    let told = error.to_string();
    assert!(told.contains("segment 3 follows segment 1"), "{told}");
    assert!(told.contains("what was between is missing"), "{told}");
    assert!(told.contains("horolog rebuild"), "{told}");
}

#[test]
fn an_io_error_on_fsync_is_final_and_says_what_failed_where() {
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
    let first = received.recv().expect("the thread reports");
    assert_eq!(first, LogReport::Durable { sequence: 1 });
    disk_fault::set(directory.path(), Some(DiskFault::Sync(EIO)));
    sender
        .send(write(2, vec![entry(P1, 1, 1)]))
        .expect("the thread runs");
    let LogReport::Failed { why } = received.recv().expect("the thread reports") else {
        panic!("nothing is durable on a disk that does not sync");
    };
    assert!(why.contains("cannot sync"), "{why}");
    assert!(why.contains("segment-0000000001.log"), "{why}");
    assert!(why.contains("os error 5"), "{why}");
    // Never retried, also when the disk says that it is well again.
    disk_fault::set(directory.path(), None);
    while sender.send(write(3, vec![entry(P1, 1, 1)])).is_ok() {
        std::thread::yield_now();
    }
    drop(sender);
    drop(thread.join());
    assert!(
        received.recv().is_err(),
        "nothing was said after the failure"
    );
}

#[test]
fn a_full_disk_is_survived_as_long_as_the_files_have_room() {
    let directory = tempdir().expect("makes a directory");
    let path = directory.path();
    let (mut wal, _) = open(path);
    wal.append(&[installed(P1, at(0, 0))]);
    wal.flush().expect("flushes");
    while wal.can_prepare() {
        wal.prepare().expect("prepares");
    }
    disk_fault::set(path, Some(DiskFault::Grow(ENOSPC)));
    let mut index = 0;
    let error = loop {
        index += 1;
        wal.append(&[sized_entry(P1, 1, index, 1024)]);
        if let Err(error) = wal.flush() {
            break error;
        }
        if wal.must_prepare() {
            wal.prepare().expect("no room ahead is no failure yet");
        }
    };
    assert!(
        index > 50,
        "the current segment was used up: {index} entries"
    );
    let told = error.to_string();
    assert!(told.contains("make room on the disk"), "{told}");
    assert!(matches!(error, LogError::Io { .. }), "{told}");
    assert!(matches!(wal.flush(), Err(LogError::FailedBefore)));
    drop(wal);
    // There is room again: everything that was durable is there, and writes go on.
    disk_fault::set(path, None);
    let (mut wal, recovered) = open(path);
    let found = positions(&recovered, P1);
    assert_eq!(found.len() as u64, index - 1);
    wal.append(&[sized_entry(P1, 1, index, 1024)]);
    wal.flush().expect("flushes");
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a full disk is tried again in real time"
)]
fn space_ahead_is_prepared_again_once_there_is_room() {
    let directory = tempdir().expect("makes a directory");
    let path = directory.path();
    let (mut wal, _) = open(path);
    wal.append(&[installed(P1, at(0, 0))]);
    for index in 1..40 {
        wal.append(&[sized_entry(P1, 1, index, 1024)]);
    }
    wal.flush().expect("flushes");
    disk_fault::set(path, Some(DiskFault::Grow(ENOSPC)));
    assert!(wal.can_prepare());
    wal.prepare().expect("is no failure");
    assert!(!wal.can_prepare(), "not at once again");
    let files = fs::read_dir(path).expect("lists");
    let mut names = files.map(|file| file.expect("lists").file_name());
    let is_half_filled = names.any(|name| name.to_string_lossy().starts_with("free-"));
    assert!(!is_half_filled, "what was begun takes no room");
    disk_fault::set(path, None);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !wal.can_prepare() {
        assert!(std::time::Instant::now() < deadline, "it tries again");
        std::thread::yield_now();
    }
    while wal.can_prepare() {
        wal.prepare().expect("prepares");
    }
    assert_eq!(wal.bytes_on_disk(), 2 * SMALL.segment_bytes);
}
