//! What a crash may leave of a log, and what is read back from it.

use super::*;
use bytes::Bytes;
use clock::Timestamp;
use wire::ids::{Generation, LogIndex, NodeId, PartitionId, Term};
use wire::keys::{Descriptor, KeyRange};
use wire::message::{Entry, LogPosition};

pub(super) const P1: PartitionId = PartitionId(1);
pub(super) const P2: PartitionId = PartitionId(2);

pub(super) fn at(term: u64, index: u64) -> LogPosition {
    LogPosition {
        term: Term(term),
        index: LogIndex(index),
    }
}

pub(super) fn entry(partition: PartitionId, term: u64, index: u64) -> LogRecord {
    sized_entry(partition, term, index, 5)
}

pub(super) fn sized_entry(
    partition: PartitionId,
    term: u64,
    index: u64,
    bytes: usize,
) -> LogRecord {
    let body = Bytes::from(vec![index as u8; bytes]);
    let (term, index) = (Term(term), LogIndex(index));
    LogRecord::Entry {
        partition,
        entry: Entry { term, index, body },
    }
}

pub(super) fn installed(partition: PartitionId, base: LogPosition) -> LogRecord {
    LogRecord::ReplicaInstalled {
        partition,
        incarnation: 3,
        descriptor: Descriptor {
            partition,
            generation: Generation(1),
            range: KeyRange::all(),
            members: vec![NodeId(1), NodeId(2), NodeId(3)],
        },
        base,
    }
}

pub(super) fn hard_state(partition: PartitionId, term: u64, vote: u32) -> LogRecord {
    LogRecord::HardState {
        partition,
        term: Term(term),
        voted_for: Some(NodeId(vote)),
    }
}

/// Term and index of a replica's entries.
pub(super) fn positions(log: &RecoveredLog, partition: PartitionId) -> Vec<(u64, u64)> {
    let entries = &log.replicas[&partition].entries;
    entries.iter().map(|e| (e.term.0, e.index.0)).collect()
}

/// A disk with the segments that were written so far.
#[derive(Clone)]
struct Disk {
    writer_epoch: u32,
    segments: Vec<Vec<u8>>,
}

impl Disk {
    fn new() -> Disk {
        Disk {
            writer_epoch: 0,
            segments: Vec::new(),
        }
    }

    fn flush(&mut self, writer: &mut SegmentWriter) {
        if writer.epoch() != self.writer_epoch {
            self.segments.push(Vec::new());
            self.writer_epoch = writer.epoch();
        }
        let segment = self.segments.last_mut().expect("a segment was begun");
        segment.truncate(writer.offset() as usize);
        segment.extend_from_slice(writer.pending());
        writer.flushed();
    }

    fn recover(&self) -> Result<Recovery, LogError> {
        let names: Vec<String> = (1..=self.segments.len()).map(|n| format!("s{n}")).collect();
        let segments: Vec<SegmentBytes<'_>> = self
            .segments
            .iter()
            .zip(&names)
            .enumerate()
            .map(|(at, (bytes, file))| SegmentBytes {
                file,
                epoch: at as u32 + 1,
                bytes,
            })
            .collect();
        recover(&segments)
    }

    fn last(&mut self) -> &mut Vec<u8> {
        self.segments.last_mut().expect("a segment was begun")
    }
}

/// A log with one flush for each list of records.
fn written(flushes: &[&[LogRecord]]) -> (Disk, SegmentWriter) {
    let mut disk = Disk::new();
    let mut writer = SegmentWriter::new();
    for records in flushes {
        for record in *records {
            writer.append(record);
        }
        disk.flush(&mut writer);
    }
    (disk, writer)
}

#[track_caller]
fn assert_damaged(result: Result<Recovery, LogError>, in_file: &str, at: u64) {
    match result {
        Err(LogError::Damaged { file, offset, .. }) => {
            assert_eq!((file.as_str(), offset), (in_file, at));
        }
        Err(other) => panic!("another error than expected: {other}"),
        Ok(recovery) => panic!("damage was not seen: {:?}", recovery.log),
    }
}

#[test]
fn what_was_written_reads_back() {
    let meta = LogRecord::Meta {
        kind: 1,
        body: Bytes::from_static(b"who I am"),
    };
    let ceiling = |micros| LogRecord::Ceiling {
        timestamp: Timestamp::from_micros(micros),
    };
    let (disk, _) = written(&[
        &[meta, ceiling(9), installed(P1, at(0, 0))],
        &[hard_state(P1, 2, 3), entry(P1, 2, 1), entry(P1, 2, 2)],
        &[ceiling(7), installed(P2, at(4, 100)), entry(P2, 5, 101)],
    ]);
    let log = disk.recover().expect("recovers").log;
    assert_eq!(positions(&log, P1), [(2, 1), (2, 2)]);
    assert_eq!(positions(&log, P2), [(5, 101)]);
    assert_eq!(log.replicas[&P1].term, Term(2));
    assert_eq!(log.replicas[&P1].voted_for, Some(NodeId(3)));
    assert_eq!(log.replicas[&P1].incarnation, 3);
    assert_eq!(log.replicas[&P2].base, at(4, 100));
    assert_eq!(log.ceiling, Timestamp::from_micros(9), "the highest holds");
    assert_eq!(log.metas[&1], "who I am");
    assert_eq!(log.torn_tail, None);
}

#[test]
fn a_later_entry_replaces_its_index_and_above() {
    let (disk, _) = written(&[
        &[installed(P1, at(0, 0)), entry(P1, 1, 1), entry(P1, 1, 2)],
        &[entry(P1, 1, 3), entry(P1, 1, 4)],
        &[entry(P1, 2, 3)],
    ]);
    let log = disk.recover().expect("recovers").log;
    assert_eq!(positions(&log, P1), [(1, 1), (1, 2), (2, 3)]);
}

#[test]
fn a_replica_installed_anew_forgets_its_entries_and_keeps_its_vote() {
    let (disk, _) = written(&[
        &[installed(P1, at(0, 0)), hard_state(P1, 4, 2)],
        &[entry(P1, 4, 1), entry(P1, 4, 2), installed(P1, at(5, 50))],
        &[entry(P1, 5, 51)],
    ]);
    let log = disk.recover().expect("recovers").log;
    assert_eq!(positions(&log, P1), [(5, 51)]);
    assert_eq!(log.replicas[&P1].base, at(5, 50));
    assert_eq!(log.replicas[&P1].voted_for, Some(NodeId(2)));
    assert_eq!(log.replicas[&P1].term, Term(4));
}

#[test]
fn a_dropped_replica_is_gone() {
    let (disk, _) = written(&[
        &[installed(P1, at(0, 0)), entry(P1, 1, 1)],
        &[LogRecord::ReplicaDropped { partition: P1 }],
    ]);
    let log = disk.recover().expect("recovers").log;
    assert!(log.replicas.is_empty());
}

#[test]
fn discarded_entries_stay_discarded() {
    let (mut disk, mut writer) = written(&[
        &[installed(P1, at(0, 0)), entry(P1, 1, 1), entry(P1, 1, 2)],
        &[entry(P1, 1, 3)],
    ]);
    writer.discard(P1, at(1, 2));
    writer.discard(P1, at(1, 1));
    writer.discard(P2, at(1, 1));
    disk.flush(&mut writer);
    let log = disk.recover().expect("recovers").log;
    assert_eq!(log.replicas[&P1].base, at(1, 2));
    assert_eq!(positions(&log, P1), [(1, 3)]);
}

#[test]
fn a_power_cut_at_every_byte_of_the_unsynced_tail_keeps_what_was_synced() {
    let (mut disk, mut writer) = written(&[
        &[installed(P1, at(0, 0)), entry(P1, 1, 1)],
        &[entry(P1, 1, 2)],
    ]);
    let synced = disk.last().len();
    let tail = [entry(P1, 1, 3), hard_state(P1, 2, 1), entry(P1, 2, 4)];
    for record in &tail {
        writer.append(record);
    }
    disk.flush(&mut writer);
    let whole = disk.last().clone();
    for cut in synced..=whole.len() {
        *disk.last() = whole[..cut].to_vec();
        let recovery = disk.recover().expect("a cut is no damage");
        let indexes = positions(&recovery.log, P1);
        let expected = [(1, 1), (1, 2), (1, 3), (2, 4)];
        assert!(expected.starts_with(&indexes), "cut at {cut}: {indexes:?}");
        assert!(indexes.len() >= 2, "cut at {cut} loses what was synced");
        let end = recovery.writer.offset() as usize;
        assert!((synced..=cut).contains(&end), "cut at {cut} ends at {end}");
        assert_eq!(end == whole.len(), indexes.len() == 4, "cut at {cut}");
    }
}

#[test]
fn a_page_of_an_unsynced_flush_that_is_missing_is_a_cut() {
    let (mut disk, mut writer) = written(&[&[installed(P1, at(0, 0)), entry(P1, 1, 1)]]);
    let synced = disk.last().len();
    for index in 2..200 {
        writer.append(&sized_entry(P1, 1, index, 64));
    }
    disk.flush(&mut writer);
    let whole = disk.last().clone();
    for page in (synced.next_multiple_of(512)..whole.len() - 512).step_by(512) {
        disk.last().clone_from(&whole);
        disk.last()[page..page + 512].fill(0);
        let recovery = disk.recover().expect("pages reach the disk in any order");
        let end = recovery.writer.offset() as usize;
        assert!((synced..=page).contains(&end), "page {page}, end {end}");
        let torn = recovery.log.torn_tail.expect("it is told");
        assert_eq!(torn.offset as usize, end);
    }
}

#[test]
fn damage_below_what_was_durable_is_refused_wherever_it_is() {
    let (disk, _) = written(&[
        &[installed(P1, at(0, 0)), entry(P1, 1, 1)],
        &[entry(P1, 1, 2)],
        &[entry(P1, 1, 3)],
    ]);
    let starts = record_starts(&disk.segments[0]);
    let last_flush = *starts.last().expect("there are records");
    for at in 0..last_flush {
        let record = starts.partition_point(|start| *start <= at) - 1;
        let padding = !is_checked(&disk.segments[0], starts[record], at);
        let mut damaged = disk.clone();
        damaged.last()[at] ^= 0x10;
        if padding {
            assert!(damaged.recover().is_ok(), "byte {at} is padding");
        } else {
            assert_damaged(damaged.recover(), "s1", starts[record] as u64);
        }
    }
}

fn record_starts(segment: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut offset = 0;
    while let Some(valid) = format::validate(segment, offset, 1) {
        starts.push(offset);
        offset = valid.end;
    }
    starts
}

fn is_checked(segment: &[u8], start: usize, at: usize) -> bool {
    let length = u32::from_le_bytes(segment[start..start + 4].try_into().expect("four bytes"));
    at < start + RECORD_HEADER_BYTES + length as usize
}

#[test]
fn a_segment_is_whole_once_the_next_one_is_begun() {
    let (mut disk, mut writer) = written(&[&[installed(P1, at(0, 0)), entry(P1, 1, 1)]]);
    writer.append(&entry(P1, 1, 2));
    let last = writer.offset();
    disk.flush(&mut writer);
    writer.roll_over();
    writer.append(&entry(P1, 1, 3));
    disk.flush(&mut writer);
    assert_eq!(
        positions(&disk.recover().expect("recovers").log, P1),
        [(1, 1), (1, 2), (1, 3)]
    );
    disk.segments[0].truncate(last as usize);
    assert_damaged(disk.recover(), "s1", last);
}

#[test]
fn a_segment_that_is_missing_is_damage() {
    let (mut disk, mut writer) = written(&[&[installed(P1, at(0, 0)), entry(P1, 1, 1)]]);
    for index in 2..4 {
        writer.roll_over();
        writer.append(&entry(P1, 1, index));
        disk.flush(&mut writer);
    }
    let [first, _, third] = &disk.segments[..] else {
        panic!("three segments were begun");
    };
    let result = recover(&[
        SegmentBytes {
            file: "s1",
            epoch: 1,
            bytes: first,
        },
        SegmentBytes {
            file: "s3",
            epoch: 3,
            bytes: third,
        },
    ]);
    assert_damaged(result, "s3", 0);
}

#[test]
fn a_power_cut_while_a_segment_is_begun_falls_back_to_the_one_before() {
    let (mut disk, mut writer) = written(&[&[installed(P1, at(0, 0)), entry(P1, 1, 1)]]);
    let end = writer.offset();
    writer.roll_over();
    writer.append(&entry(P1, 1, 2));
    disk.flush(&mut writer);
    let whole = disk.last().clone();
    for cut in 0..whole.len() {
        *disk.last() = whole[..cut].to_vec();
        let recovery = disk.recover().expect("a cut is no damage");
        let indexes = positions(&recovery.log, P1);
        assert_eq!(indexes[0], (1, 1), "cut at {cut}");
        if recovery.writer.epoch() == 1 {
            assert_eq!(recovery.writer.offset(), end);
        }
    }
}

#[test]
fn the_oldest_segments_can_go_once_their_entries_are_discarded() {
    let (mut disk, mut writer) = written(&[&[
        installed(P1, at(0, 0)),
        hard_state(P1, 6, 1),
        entry(P1, 6, 1),
        entry(P1, 6, 2),
    ]]);
    writer.roll_over();
    writer.append(&entry(P1, 6, 3));
    writer.discard(P1, at(6, 2));
    disk.flush(&mut writer);
    // The head of segment 2 was written before the discard and still says: base 0.
    let only_second = SegmentBytes {
        file: "s2",
        epoch: 2,
        bytes: &disk.segments[1],
    };
    let log = recover(&[only_second]).expect("recovers").log;
    assert_eq!(log.replicas[&P1].base, at(6, 2));
    assert_eq!(log.replicas[&P1].term, Term(6));
    assert_eq!(positions(&log, P1), [(6, 3)]);
}

#[test]
fn a_segment_that_went_too_early_is_noticed() {
    let (mut disk, mut writer) = written(&[&[installed(P1, at(0, 0)), entry(P1, 6, 1)]]);
    writer.roll_over();
    writer.append(&entry(P1, 6, 2));
    disk.flush(&mut writer);
    let only_second = SegmentBytes {
        file: "s2",
        epoch: 2,
        bytes: &disk.segments[1],
    };
    let error = recover(&[only_second]).expect_err("entry 1 is missing");
    assert!(matches!(error, LogError::Contradiction(_)), "{error}");
}

#[test]
fn a_recycled_segment_brings_nothing_back() {
    // The file of segment 1 is used again as segment 2, which is shorter and of the same shape.
    let (disk, _) = written(&[
        &[installed(P1, at(0, 0)), entry(P1, 1, 1)],
        &[entry(P1, 1, 2)],
        &[entry(P1, 1, 3)],
    ]);
    let mut recycled = disk.segments[0].clone();
    let mut writer = SegmentWriter::new();
    writer.append(&installed(P1, at(0, 0)));
    writer.append(&entry(P1, 1, 1));
    writer.flushed();
    writer.roll_over();
    let head = writer.pending().to_vec();
    recycled[..head.len()].copy_from_slice(&head);
    let second = SegmentBytes {
        file: "s2",
        epoch: 2,
        bytes: &recycled,
    };
    let recovery = recover(&[second]).expect("recovers");
    assert!(recovery.log.replicas[&P1].entries.is_empty());
    assert_eq!(recovery.writer.offset(), head.len() as u64);
    assert_eq!(recovery.log.torn_tail, None, "old bytes are no torn tail");
}

#[test]
fn an_empty_log_begins_with_segment_1() {
    let recovery = recover(&[]).expect("recovers");
    assert_eq!(recovery.log, RecoveredLog::default());
    assert_eq!(recovery.writer.epoch(), 1);
    assert_eq!(recovery.writer.offset(), 0);
}

#[test]
fn the_log_goes_on_where_it_ended() {
    let (mut disk, _) = written(&[&[installed(P1, at(0, 0)), entry(P1, 1, 1)]]);
    let mut writer = disk.recover().expect("recovers").writer;
    writer.append(&entry(P1, 1, 2));
    disk.flush(&mut writer);
    writer.roll_over();
    writer.append(&entry(P1, 1, 3));
    disk.flush(&mut writer);
    let log = disk.recover().expect("recovers").log;
    assert_eq!(positions(&log, P1), [(1, 1), (1, 2), (1, 3)]);
}

#[test]
#[should_panic(expected = "the log was given an entry of p1, which was never installed")]
fn an_entry_of_no_replica_is_refused() {
    SegmentWriter::new().append(&entry(P1, 1, 1));
}

/// Entries 1 and 2 of P1 stand in segment 1, 3 of P1 in segment 2, and there 1 and 2 are carried.
fn carried() -> (Disk, SegmentWriter) {
    let (mut disk, mut writer) =
        written(&[&[installed(P1, at(0, 0)), entry(P1, 6, 1), entry(P1, 6, 2)]]);
    writer.roll_over();
    writer.append(&entry(P1, 6, 3));
    disk.flush(&mut writer);
    for record in [entry(P1, 6, 1), entry(P1, 6, 2)] {
        let LogRecord::Entry { partition, entry } = record else {
            unreachable!("these are entries");
        };
        writer.carry(partition, &entry);
    }
    (disk, writer)
}

fn recover_second(disk: &Disk) -> Result<RecoveredLog, LogError> {
    let only_second = SegmentBytes {
        file: "s2",
        epoch: 2,
        bytes: &disk.segments[1],
    };
    Ok(recover(&[only_second])?.log)
}

#[test]
fn a_segment_can_go_once_its_entries_are_carried() {
    let (mut disk, mut writer) = carried();
    recover_second(&disk).expect_err("1 and 2 are missing before they are durable");
    disk.flush(&mut writer);
    let log = recover_second(&disk).expect("recovers");
    assert_eq!(positions(&log, P1), [(6, 1), (6, 2), (6, 3)]);
}

#[test]
fn a_power_cut_while_entries_are_carried_takes_nothing() {
    let (mut disk, mut writer) = carried();
    let start = writer.offset() as usize;
    disk.flush(&mut writer);
    let whole = disk.last().clone();
    for cut in start..=whole.len() {
        *disk.last() = whole[..cut].to_vec();
        let log = disk.recover().expect("a cut is no damage").log;
        assert_eq!(
            positions(&log, P1),
            [(6, 1), (6, 2), (6, 3)],
            "cut at {cut}"
        );
    }
}

#[test]
fn a_later_entry_replaces_what_was_carried_and_what_follows_it() {
    let (mut disk, mut writer) = carried();
    writer.append(&entry(P1, 7, 2));
    disk.flush(&mut writer);
    let log = recover_second(&disk).expect("recovers");
    assert_eq!(positions(&log, P1), [(6, 1), (7, 2)]);
}

#[test]
#[should_panic(expected = "only what is needed is carried")]
fn what_is_discarded_is_not_carried() {
    let (_, mut writer) = carried();
    writer.discard(P1, at(6, 2));
    let LogRecord::Entry { partition, entry } = entry(P1, 6, 2) else {
        unreachable!("this is an entry");
    };
    writer.carry(partition, &entry);
}
