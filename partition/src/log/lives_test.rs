//! Many lives of a log on a disk that forgets: after each crash, everything durable is there, what is
//! there is a beginning of what was appended, and nothing of an earlier life comes back.

use super::carrying::{valid_entries, valid_ranges};
use super::low_water_mark::SegmentContents;
use super::tests::{P1, P2, at, hard_state, installed, sized_entry};
use super::*;
use std::collections::VecDeque;
use wire::SplitMix64;
use wire::ids::{LogIndex, PartitionId};

/// The disk writes pages of this size in any order.
const PAGE_BYTES: usize = 128;
const FILE_BYTES: usize = 6 * 1024;

/// A disk of files that are used again, with their old bytes.
struct Disk {
    files: VecDeque<(u32, Vec<u8>)>,
    free: Vec<Vec<u8>>,
}

impl Disk {
    fn file(&mut self, epoch: u32) -> &mut Vec<u8> {
        if self.files.back().is_none_or(|(last, _)| *last != epoch) {
            let recycled = self.free.pop().unwrap_or_else(|| vec![0; FILE_BYTES]);
            self.files.push_back((epoch, recycled));
        }
        &mut self.files.back_mut().expect("a file was just pushed").1
    }

    /// Writes some pages of `bytes`; all of them if `random` is not given.
    fn write(&mut self, writer: &SegmentWriter, random: Option<&mut SplitMix64>) {
        let start = writer.offset() as usize;
        let file = self.file(writer.epoch());
        let end = start + writer.pending().len();
        if file.len() < end {
            file.resize(end, 0);
        }
        let mut whole = file.clone();
        whole[start..end].copy_from_slice(writer.pending());
        let Some(random) = random else {
            *file = whole;
            return;
        };
        for page in start / PAGE_BYTES..=end / PAGE_BYTES {
            let pages = page * PAGE_BYTES..((page + 1) * PAGE_BYTES).min(file.len());
            if random.chance(1, 2) {
                file[pages.clone()].copy_from_slice(&whole[pages]);
            }
        }
    }

    fn recover(&mut self) -> Recovery {
        let names: Vec<String> = self.files.iter().map(|(e, _)| e.to_string()).collect();
        let segments = self.files.iter().zip(&names);
        let segments: Vec<SegmentBytes<'_>> = segments
            .map(|((epoch, bytes), file)| SegmentBytes {
                file,
                epoch: *epoch,
                bytes,
            })
            .collect();
        let recovery = recover(&segments).expect("a crash is no damage");
        // As the owner of the disk must: nothing above the end outlives the crash.
        self.files
            .retain(|(epoch, _)| *epoch <= recovery.writer.epoch());
        if let Some((epoch, bytes)) = self.files.back_mut()
            && *epoch == recovery.writer.epoch()
        {
            bytes[recovery.writer.offset() as usize..].fill(0);
        }
        recovery
    }
}

/// What a log should say: every state that was reached by appending, and how far it is durable.
struct Model {
    states: Vec<RecoveredLog>,
    durable: usize,
}

impl Model {
    fn append(&mut self, record: &LogRecord) {
        let mut next = self.states.last().expect("is never empty").clone();
        match record {
            LogRecord::Entry { partition, entry } => {
                let replica = next.replicas.get_mut(partition).expect("is installed");
                replica.entries.retain(|e| e.index < entry.index);
                replica.entries.push(entry.clone());
            }
            LogRecord::HardState {
                partition,
                term,
                voted_for,
            } => {
                let replica = next.replicas.get_mut(partition).expect("is installed");
                (replica.term, replica.voted_for) = (*term, *voted_for);
            }
            LogRecord::ReplicaInstalled {
                partition,
                incarnation,
                descriptor,
                base,
            } => {
                let before = next.replicas.remove(partition);
                let replica = RecoveredReplica {
                    incarnation: *incarnation,
                    descriptor: descriptor.clone(),
                    term: before.as_ref().map_or_else(Default::default, |r| r.term),
                    voted_for: before.and_then(|r| r.voted_for),
                    base: *base,
                    entries: Vec::new(),
                };
                next.replicas.insert(*partition, replica);
            }
            LogRecord::ReplicaDropped { partition } => {
                next.replicas.remove(partition);
            }
            LogRecord::Ceiling { timestamp } => next.ceiling = next.ceiling.max(*timestamp),
            LogRecord::Meta { kind, body } => {
                next.metas.insert(*kind, body.clone());
            }
        }
        self.states.push(next);
    }

    fn discard(&mut self, partition: PartitionId, up_to: LogIndex) {
        let mut next = self.states.last().expect("is never empty").clone();
        let replica = next.replicas.get_mut(&partition).expect("is installed");
        replica.base = at(1, up_to.0);
        replica.entries.retain(|e| e.index > up_to);
        self.states.push(next);
    }

    fn latest(&self) -> &RecoveredLog {
        self.states.last().expect("is never empty")
    }

    /// Goes on from what a crash left.
    fn check_and_restart(&mut self, mut found: RecoveredLog) {
        found.torn_tail = None;
        let left = self.states.iter().rposition(|state| *state == found);
        let left = left.expect("what is left is a beginning of what was appended");
        assert!(
            left >= self.durable,
            "{left} records are left, {} were durable",
            self.durable
        );
        self.states = vec![found];
        self.durable = 0;
    }
}

fn random_record(random: &mut SplitMix64, log: &RecoveredLog) -> LogRecord {
    let partition = if random.chance(1, 3) { P2 } else { P1 };
    let Some(replica) = log.replicas.get(&partition) else {
        return installed(partition, at(1, random.below(100)));
    };
    let first = replica.base.index.0 + 1;
    let next = first + replica.entries.len() as u64;
    match random.below(40) {
        0 => LogRecord::ReplicaDropped { partition },
        1 => installed(partition, at(1, next + random.below(5))),
        2..=4 => hard_state(partition, random.below(50), 1),
        5 => LogRecord::Meta {
            kind: random.below(3) as u8,
            body: vec![random.below(256) as u8; 3].into(),
        },
        6 => LogRecord::Ceiling {
            timestamp: clock::Timestamp::from_micros(random.below(1000)),
        },
        7..=9 => sized_entry(partition, 1, first + random.below(next - first + 1), 8),
        // Often of one size: then an old record stands where a new one would be looked for.
        10..=30 => sized_entry(partition, 1, next, 12),
        _ => sized_entry(partition, 1, next, random.below(300) as usize),
    }
}

/// A discard of entries that are durable.
fn maybe_discard(
    random: &mut SplitMix64,
    writer: &mut SegmentWriter,
    model: &mut Model,
    partition: PartitionId,
) {
    let durable = &model.states[model.durable];
    let Some(replica) = durable.replicas.get(&partition) else {
        return;
    };
    let (base, count) = (replica.base.index.0, replica.entries.len() as u64);
    let now = model.latest().replicas.get(&partition);
    let is_unchanged = now
        .is_some_and(|now| now.base == replica.base && now.entries.starts_with(&replica.entries));
    if count == 0 || !is_unchanged || !random.chance(1, 4) {
        return;
    }
    let up_to = base + 1 + random.below(count);
    writer.discard(partition, at(1, up_to));
    model.discard(partition, LogIndex(up_to));
}

/// Lets the oldest files go that are not needed, as the owner of the disk would.
fn recycle(disk: &mut Disk, contents: &mut Vec<(u32, SegmentContents)>, writer: &SegmentWriter) {
    let mark = |partition| Some(writer.base(partition)?.index);
    while contents.len() > 1 && !contents[0].1.is_needed(mark) {
        let (epoch, _) = contents.remove(0);
        let (oldest, bytes) = disk.files.pop_front().expect("there is a file for it");
        assert_eq!(
            oldest, epoch,
            "files go in the order in which they were written"
        );
        disk.free.push(bytes);
    }
}

fn live_many_lives(seed: u64) -> usize {
    let mut random = SplitMix64::new(seed);
    let mut disk = Disk {
        files: VecDeque::new(),
        free: Vec::new(),
    };
    let mut model = Model {
        states: vec![RecoveredLog::default()],
        durable: 0,
    };
    let mut torn = 0;
    for _ in 0..12 {
        let recovery = disk.recover();
        torn += usize::from(recovery.log.torn_tail.is_some());
        model.check_and_restart(recovery.log);
        let (mut writer, mut contents) = (recovery.writer, recovery.contents);
        if contents.is_empty() {
            contents.push((writer.epoch(), Default::default()));
        }
        for _ in 0..random.below(25) {
            append_some(&mut random, &mut writer, &mut contents, &mut model);
            maybe_carry(&mut random, &disk, &mut writer, &mut contents);
            disk.write(&writer, None);
            writer.flushed();
            model.durable = model.states.len() - 1;
            recycle(&mut disk, &mut contents, &writer);
        }
        append_some(&mut random, &mut writer, &mut contents, &mut model);
        maybe_carry(&mut random, &disk, &mut writer, &mut contents);
        disk.write(&writer, Some(&mut random));
    }
    torn
}

fn append_some(
    random: &mut SplitMix64,
    writer: &mut SegmentWriter,
    contents: &mut Vec<(u32, SegmentContents)>,
    model: &mut Model,
) {
    if writer.pending().is_empty() && writer.offset() as usize > FILE_BYTES / 2 {
        writer.roll_over();
        contents.push((writer.epoch(), Default::default()));
    }
    for partition in [P1, P2] {
        maybe_discard(random, writer, model, partition);
    }
    for _ in 0..1 + random.below(12) {
        let record = random_record(random, model.latest());
        let start = writer.end() as usize;
        writer.append(&record);
        if let LogRecord::ReplicaInstalled { partition, .. }
        | LogRecord::ReplicaDropped { partition } = &record
        {
            for (_, older) in contents.iter_mut() {
                older.forget(*partition);
            }
        }
        let (_, current) = contents.last_mut().expect("a segment is being written");
        current.note_record(&record, start..writer.end() as usize);
        model.append(&record);
    }
}

/// Carries what the oldest file still holds, so that it can go. To the model it says nothing new.
fn maybe_carry(
    random: &mut SplitMix64,
    disk: &Disk,
    writer: &mut SegmentWriter,
    contents: &mut [(u32, SegmentContents)],
) {
    let (Some(((epoch, oldest), later)), Some((file, bytes))) =
        (contents.split_first_mut(), disk.files.front())
    else {
        return;
    };
    if later.is_empty() || !random.chance(1, 2) {
        return;
    }
    assert_eq!(epoch, file, "the oldest file is the one that is looked at");
    let mark = |partition| Some(writer.base(partition)?.index);
    let Some(span) = oldest.needed_span(mark) else {
        return;
    };
    let ranges = valid_ranges(oldest, later.iter().map(|(_, later)| later), mark);
    let entries = valid_entries(bytes, *epoch, span, &ranges).expect("what was flushed is whole");
    for (partition, entry) in entries {
        let start = writer.end() as usize;
        writer.carry(partition, &entry);
        let (_, current) = later.last_mut().expect("there is a later one");
        current.note_entry(partition, entry.index, start..writer.end() as usize);
    }
    *oldest = SegmentContents::default();
}

#[test]
fn no_crash_loses_what_was_durable_or_brings_back_what_was_not() {
    let torn: usize = (0..300).map(live_many_lives).sum();
    assert!(torn > 300, "crashes tear writes: {torn}");
}
