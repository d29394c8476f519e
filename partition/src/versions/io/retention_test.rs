//! Retention: whatever compaction and sweeps have removed, and whatever a crash took back, reads at or
//! above the horizon find what was written; and in the end nothing is left that nobody can read.

use super::*;
use crate::versions::row_keys as rows;
use crate::versions::{Live, MemoryStore, Store, StoreBatch, StoreQuery, StoreResult, VersionRow};
use bytes::Bytes;
use clock::Timestamp;
use fjall::Readable;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::tempdir;
use wire::SplitMix64;
use wire::ids::{LogIndex, PartitionId, Term};
use wire::keys::{Key, KeyRange};
use wire::message::LogPosition;

const P1: PartitionId = PartitionId(1);
const P2: PartitionId = PartitionId(2);
const INCARNATION: u32 = 1;
const KEYS: u64 = 30;
/// Keys from this number on belong to the second partition.
const BORDER: u64 = 20;

const TINY: StoreOptions = StoreOptions {
    memtable_bytes: 16 * 1024,
    cache_bytes: 1024 * 1024,
    workers: 1,
    held_back_bytes_max: 64 * 1024,
};

fn ts(bits: u64) -> Timestamp {
    Timestamp::from_bits(bits)
}

fn key(number: u64) -> Key {
    Key::from_bytes(Bytes::from(format!("k{number:03}")))
}

fn live() -> Live {
    let start = Key::from_bytes(Bytes::new());
    let first = KeyRange::new(start, Some(key(BORDER)));
    let second = KeyRange::new(key(BORDER), None);
    Live {
        replicas: vec![(P1, INCARNATION, first), (P2, INCARNATION, second)],
        below: INCARNATION + 1,
    }
}

/// One partition as its leader sees it.
#[derive(Clone, Default)]
struct Partition {
    index: u64,
    horizon: Timestamp,
    /// Everything ever written.
    versions: BTreeMap<Key, BTreeMap<Timestamp, Option<Bytes>>>,
    /// Tombstones that were not swept.
    tombstones: BTreeMap<Timestamp, Key>,
}

struct World {
    random: SplitMix64,
    clock: u64,
    partitions: BTreeMap<PartitionId, Partition>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            random: SplitMix64::new(seed),
            clock: 0,
            partitions: [(P1, Partition::default()), (P2, Partition::default())].into(),
        }
    }

    fn batch(&mut self) -> StoreBatch {
        let id = if self.random.chance(2, 3) { P1 } else { P2 };
        let World {
            random,
            clock,
            partitions,
        } = self;
        let partition = partitions.get_mut(&id).expect("there are two");
        let mut versions = Vec::new();
        for _ in 0..random.below(6) {
            *clock += 1;
            let number = match id {
                P1 => random.below(BORDER),
                _ => BORDER + random.below(KEYS - BORDER),
            };
            let value = (!random.chance(1, 3)).then(|| Bytes::from(vec![b'v'; 400]));
            let timestamp = ts(*clock);
            if value.is_none() {
                partition.tombstones.insert(timestamp, key(number));
            }
            let chain = partition.versions.entry(key(number)).or_default();
            chain.insert(timestamp, value.clone());
            versions.push(VersionRow {
                key: key(number),
                timestamp,
                value,
            });
        }
        let mut swept = Vec::new();
        if random.chance(1, 4) {
            // Below the horizon that held before.
            let above = partition.tombstones.split_off(&partition.horizon.next());
            let below = std::mem::replace(&mut partition.tombstones, above);
            swept.extend(below.into_iter().map(|(at, key)| (key, at)));
        }
        if random.chance(1, 3) {
            let behind = clock.saturating_sub(20 + random.below(60));
            partition.horizon = partition.horizon.max(ts(behind));
        }
        partition.index += 1;
        StoreBatch {
            partition: id,
            incarnation: INCARNATION,
            applied: LogPosition {
                term: Term(1),
                index: LogIndex(partition.index),
            },
            closed: partition.horizon,
            horizon: partition.horizon,
            versions,
            swept,
            meta: Vec::new(),
        }
    }
}

impl Partition {
    fn value(&self, key: &Key, at: Timestamp) -> Option<&Bytes> {
        let chain = self.versions.get(key)?;
        chain.range(..=at).next_back()?.1.as_ref()
    }
}

fn owner(number: u64) -> PartitionId {
    if number < BORDER { P1 } else { P2 }
}

/// Reads at the horizon, at its end and in between find what the partition holds.
#[track_caller]
fn assert_readable(store: &impl Store, world: &World) {
    for number in 0..KEYS {
        let id = owner(number);
        let partition = &world.partitions[&id];
        let horizon = partition.horizon;
        let clock = world.clock;
        for at in (horizon.to_bits()..=clock).step_by(29).chain([clock]) {
            let get = StoreQuery::Get {
                key: key(number),
                at: ts(at),
            };
            let answer = store.query(id, INCARNATION, &[get]).expect("answers");
            let StoreResult::Version(found) = &answer.results[0] else {
                panic!("a version was asked for: {answer:?}");
            };
            let found = found.as_ref().and_then(|row| row.value.as_ref());
            assert_eq!(
                found,
                partition.value(&key(number), ts(at)),
                "{} at {at}, the horizon is {horizon}",
                key(number)
            );
        }
    }
}

fn rows_on_disk(disk: &FjallStore) -> Vec<(Key, Timestamp)> {
    let reader = disk.reader();
    let range = rows::versions_in(INCARNATION, &KeyRange::all());
    let snapshot = reader.database.snapshot();
    let found = snapshot.range(&reader.rows, range);
    let mut found: Vec<_> = found
        .map(|guard| rows::decode_version_key(&guard.key().expect("reads")).expect("is a row"))
        .collect();
    found.sort();
    found
}

#[test]
fn compaction_removes_what_nobody_can_read_and_nothing_else() {
    for seed in 0..2 {
        let directory = tempdir().expect("makes a directory");
        let mut world = World::new(seed);
        let mut twin = MemoryStore::new();
        let mut written = 0;
        for _life in 0..2 {
            let mut disk = FjallStore::open(directory.path(), TINY).expect("opens");
            disk.set_live(live()).expect("is told");
            twin.set_live(live()).expect("is told");
            for _ in 0..150 {
                let group: Vec<_> = (0..=world.random.below(3)).map(|_| world.batch()).collect();
                written += group
                    .iter()
                    .map(|batch| batch.versions.len())
                    .sum::<usize>();
                disk.apply(&group).expect("applies");
                twin.apply(&group).expect("applies");
                disk.persisted().expect("looks");
                if world.random.chance(1, 40) {
                    twin.persist();
                    assert_readable(&disk, &world);
                    assert_readable(&twin, &world);
                }
            }
            disk.close().expect("closes");
            disk.reader().rows.major_compact().expect("compacts");
            twin.persist();
            assert_readable(&disk, &world);
            assert_readable(&twin, &world);
            let left: Vec<_> = twin.versions(INCARNATION).collect();
            let left: Vec<_> = left
                .into_iter()
                .map(|row| (row.key, row.timestamp))
                .collect();
            assert_eq!(rows_on_disk(&disk), left, "the twin removes the same");
            assert!(
                left.len() * 3 < written,
                "{} of {written} versions are left",
                left.len()
            );
        }
    }
}

#[test]
fn rows_of_a_replica_that_is_not_kept_go_with_the_next_compaction() {
    let directory = tempdir().expect("makes a directory");
    let mut world = World::new(9);
    let mut disk = FjallStore::open(directory.path(), TINY).expect("opens");
    disk.set_live(live()).expect("is told");
    for _ in 0..50 {
        disk.apply(&[world.batch()]).expect("applies");
    }
    disk.close().expect("closes");
    let before = rows_on_disk(&disk);
    assert!(before.iter().any(|(of, _)| *of >= key(BORDER)));
    let mut live = live();
    live.replicas.pop();
    disk.set_live(live).expect("is told");
    disk.reader().rows.major_compact().expect("compacts");
    let after = rows_on_disk(&disk);
    assert!(after.iter().all(|(of, _)| *of < key(BORDER)));
    assert!(!after.is_empty());
    assert_eq!(disk.reader().all_applied().expect("reads").len(), 1);
}

/// What a crash leaves: the tables, without the journals that are never relied upon.
fn crashed_copy(of: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes a directory");
    for file in fs::read_dir(of).expect("lists") {
        let file = file.expect("lists");
        let target = to.join(file.file_name());
        if file.file_type().expect("looks").is_dir() {
            crashed_copy(&file.path(), &target);
        } else if target.extension().is_some_and(|e| e == "jnl") {
            fs::write(&target, []).expect("writes");
        } else {
            fs::copy(file.path(), &target).expect("copies");
        }
    }
}

#[test]
fn no_crash_leaves_a_horizon_below_what_was_removed() {
    let directory = tempdir().expect("makes a directory");
    let mut world = World::new(77);
    let mut disk = FjallStore::open(directory.path(), TINY).expect("opens");
    disk.set_live(live()).expect("is told");
    let mut histories: Vec<BTreeMap<PartitionId, Partition>> = vec![world.partitions.clone()];
    for _ in 0..4 {
        for _ in 0..80 {
            let batch = [world.batch()];
            disk.apply(&batch).expect("applies");
            disk.persisted().expect("looks");
            histories.push(world.partitions.clone());
        }
        // No table is being written or removed while the files are copied.
        disk.close().expect("closes");
        disk.reader().rows.major_compact().expect("compacts");
        for _ in 0..5 {
            let batch = [world.batch()];
            disk.apply(&batch).expect("applies");
            histories.push(world.partitions.clone());
        }
        let copy = tempdir().expect("makes a directory");
        crashed_copy(directory.path(), copy.path());
        let found = FjallStore::open(copy.path(), TINY).expect("opens");
        let index = |id| {
            let state = found.applied(id, INCARNATION).expect("tells");
            state.map_or(0, |state| state.position.index.0)
        };
        let (first, second) = (index(P1), index(P2));
        let left = histories
            .iter()
            .find(|then| then[&P1].index == first && then[&P2].index == second);
        let left = left
            .expect("what is left is a beginning of the batches")
            .clone();
        for (id, partition) in &left {
            let state = found.applied(*id, INCARNATION).expect("tells");
            assert_eq!(state.map(|state| state.horizon), Some(partition.horizon));
        }
        let then = World {
            partitions: left,
            random: SplitMix64::new(0),
            clock: world.clock,
        };
        assert_readable(&found, &then);
    }
}
