//! One node of the simulation: the real [`Node`], with a disk, a store and clocks of its own.

use super::clocks::{NodeClock, true_timestamp};
use super::damage::Damage;
use super::disk::{Disk, DiskError};
use super::network::{DelayModel, Seat};
use super::options::WorldOptions;
use crate::checker::{ReplicaContents, StoredVersions};
use clock::Timestamp;
use node::{DiskSpace, Event, Node, NodeConfig, NodeError, rebuilt_log};
use partition::versions::{
    MemoryStore, Store, StoreQuery, StoreReport, StoreResult, StoreTask, VersionRow,
};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::NodeId;
use wire::keys::{DEFAULT_KEYSPACE, Key};

/// The address of the node at a seat.
pub fn address(seat: Seat) -> String {
    format!("node-{}:7000", seat + 1)
}

/// The borders between the users' partitions: one for each letter but the first.
pub fn splits(options: &WorldOptions) -> Vec<Key> {
    let border = |letter: char| Key::new(DEFAULT_KEYSPACE, letter.to_string().as_bytes());
    options.letters().all().skip(1).map(border).collect()
}

/// A disk with room.
const PLENTY: DiskSpace = DiskSpace {
    free: 1 << 40,
    reserve: 1 << 20,
};

#[cfg(not(feature = "mutants"))]
fn new_store(_: &WorldOptions) -> MemoryStore {
    MemoryStore::new()
}

#[cfg(feature = "mutants")]
fn new_store(options: &WorldOptions) -> MemoryStore {
    let mut store = MemoryStore::new();
    store.compacts_above_horizon = options.mutant == Some(node::Mutant::CompactionAboveHorizon);
    store
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStarted {
    /// Because of its log.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Because of what it found there.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// One node with what belongs to it.
pub struct Machine {
    pub(super) seat: Seat,
    /// `None`: it is down.
    pub(super) node: Option<Node>,
    /// Grows with each start; what was meant for an earlier life is dropped.
    pub(super) boot: u32,
    pub(super) identity: Option<NodeId>,
    pub(super) clock: NodeClock,
    pub(super) disk: Disk,
    pub(super) flush: DelayModel,
    /// The next flush fails: the node stops, saying why, and what was being written is torn.
    pub(super) disk_fails: bool,
    /// What is free on the disk; `None`: plenty.
    disk_space: Option<DiskSpace>,
    /// When it was last short of room.
    pub(super) short_until: Option<Duration>,
    /// What of it is damaged and was not noticed yet, or not mended.
    pub(super) damage: Option<Damage>,
    /// It stopped because of damage: nobody starts it before it is rebuilt.
    pub(super) waits_for_rebuild: bool,
    /// The stamp of the last frame that it sent to another node.
    pub(super) stamp: Timestamp,
    /// When it was started last.
    pub(super) started: Duration,
    /// The log ended in the middle of a write when the node started last.
    pub(super) had_torn_tail: bool,
    pub(super) store: MemoryStore,
    /// What stores that are gone had removed: nobody else may remember that it was there.
    pub(super) gone: Vec<VersionRow>,
    /// The store thread does one thing after another.
    pub(super) store_free_at: Duration,
    pub(super) inbox: Vec<Event>,
    pub(super) turn_scheduled: bool,
    pub(super) busy_until: Duration,
    pub(super) wake_at: Option<Duration>,
    pub(super) turns: u64,
}

impl Machine {
    /// A machine that was never started.
    pub(super) fn new(seat: Seat, options: &WorldOptions, random: &mut SplitMix64) -> Machine {
        let motion = options.clocks[seat];
        Machine {
            seat,
            node: None,
            boot: 0,
            identity: None,
            clock: NodeClock::new(options.clock_bound, motion, random.next_u64()),
            disk: Disk::new(options.segment_bytes),
            flush: options.flush,
            disk_fails: false,
            disk_space: None,
            short_until: None,
            damage: None,
            waits_for_rebuild: false,
            stamp: Timestamp::ZERO,
            started: Duration::ZERO,
            had_torn_tail: false,
            store: new_store(options),
            gone: Vec::new(),
            store_free_at: Duration::ZERO,
            inbox: Vec::new(),
            turn_scheduled: false,
            busy_until: Duration::ZERO,
            wake_at: None,
            turns: 0,
        }
    }

    /// Whether it is up and holds everything that others may count on.
    pub(super) fn holds_all(&self) -> bool {
        let takes_part = |node: &Node| node.me().is_some() && !node.has_forgotten();
        self.damage.is_none() && self.node.as_ref().is_some_and(takes_part)
    }

    /// Whether the others hear it, too. A node alone that is set ahead believes it in the end and issues
    /// timestamps that lie ahead; set back, it is refused by all until that time has come (decision 0013).
    pub(super) fn is_well(&self, now: Duration, drift_max: Duration) -> bool {
        self.holds_all() && !self.is_ahead(now, drift_max) && !self.clock.is_broken()
    }

    /// Whether what it says is stamped with a time that is further off than this.
    pub(super) fn is_ahead(&self, now: Duration, by: Duration) -> bool {
        self.stamp > true_timestamp(now + by)
    }

    /// So much is free on the disk from now on.
    pub(super) fn set_disk_space(&mut self, space: Option<DiskSpace>, now: Duration) {
        if self.is_short() {
            self.short_until = Some(now);
        }
        self.disk_space = space;
        self.tell_disk_space();
    }

    /// Whether the disk is short of room.
    pub(super) fn is_short(&self) -> bool {
        self.disk_space.is_some_and(DiskSpace::is_short)
    }

    fn tell_disk_space(&mut self) {
        if let Some(node) = &mut self.node {
            node.set_disk_space(self.disk_space.unwrap_or(PLENTY));
        }
    }

    /// Starts the node from what its disk and store hold.
    pub(super) fn start(
        &mut self,
        options: &WorldOptions,
        now: Duration,
        seed: u64,
    ) -> Result<(), NotStarted> {
        let log = self.disk.recover()?;
        self.had_torn_tail = log.torn_tail.is_some();
        self.boot += 1;
        self.clock.start(now);
        let join = (0..options.nodes).map(address).collect();
        let config = NodeConfig {
            splits: splits(options),
            timing: options.timing,
            held_back_bytes_max: options.held_back_bytes_max,
            #[cfg(feature = "mutants")]
            mutant: options.mutant,
            ..NodeConfig::new(address(self.seat), join, seed)
        };
        let reading = self.clock.read(now);
        let node = Node::new(config, log, &self.store, &reading);
        self.node = Some(node?);
        self.tell_disk_space();
        self.started = now;
        self.store_free_at = now;
        self.busy_until = now;
        Ok(())
    }

    /// Power fails.
    pub(super) fn crash(&mut self, random: &mut SplitMix64) {
        self.node = None;
        self.identity = None;
        self.disk.crash(random);
        self.store.crash();
        self.inbox.clear();
        self.turn_scheduled = false;
        self.wake_at = None;
    }

    /// The disk of a machine that is down is replaced by an empty one.
    pub(super) fn wipe(&mut self, options: &WorldOptions) {
        self.disk = Disk::new(options.segment_bytes);
        self.stamp = Timestamp::ZERO;
        self.renew_store(options);
    }

    fn renew_store(&mut self, options: &WorldOptions) {
        self.gone.extend(self.store.removed());
        self.store = new_store(options);
    }

    /// Every version that its stores have removed, also with a replica that was no member any more.
    pub(super) fn removed(&self) -> impl Iterator<Item = VersionRow> {
        self.gone.iter().cloned().chain(self.store.removed())
    }

    /// Damages a machine that is down: its log, or a row of its store. What was done, if anything was there.
    pub(super) fn damage_log(&mut self, random: &mut SplitMix64) -> Option<String> {
        let what = self.disk.damage(random)?;
        self.damage = Some(Damage::Log);
        Some(what)
    }

    /// The same for its store.
    pub(super) fn damage_table(&mut self, random: &mut SplitMix64) -> Option<String> {
        let incarnations: BTreeSet<u32> = self.disk.incarnations().values().copied().collect();
        let rows = |incarnation: &u32| {
            let rows = self.store.versions(*incarnation);
            let damage = |row: VersionRow| Damage::Row {
                incarnation: *incarnation,
                key: row.key,
            };
            rows.map(damage).collect::<Vec<_>>()
        };
        let mut all: Vec<Damage> = incarnations.iter().flat_map(rows).collect();
        if all.is_empty() {
            return None;
        }
        let damage = all.swap_remove(random.below(all.len() as u64) as usize);
        let what = format!("{damage:?}");
        self.damage = Some(damage);
        Some(what)
    }

    /// What `horolog rebuild` does to a machine that is down: who it is stays, if its log can be read.
    pub(super) fn rebuild(&mut self, options: &WorldOptions) -> Result<(), String> {
        if matches!(self.damage, Some(Damage::Log | Damage::Ahead)) {
            self.wipe(options);
        } else {
            let log = self.disk.recover().map_err(|error| error.to_string())?;
            let records = rebuilt_log(&log).map_err(|error| error.to_string())?;
            self.disk.replace(records);
            self.renew_store(options);
        }
        self.damage = None;
        self.waits_for_rebuild = false;
        Ok(())
    }

    /// Whether its disk holds nothing.
    pub(super) fn is_wiped(&self) -> bool {
        self.disk.bytes() == 0
    }

    pub(super) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Does a task of the store; its report is heard later.
    pub(super) fn do_store_task(&mut self, task: StoreTask) -> Result<Vec<StoreReport>, String> {
        let report = match task {
            StoreTask::Apply(batch) => {
                self.store
                    .apply(std::slice::from_ref(&batch))
                    .map_err(|error| error.to_string())?;
                StoreReport::Applied {
                    partition: batch.partition,
                    incarnation: batch.incarnation,
                    position: batch.applied,
                }
            }
            StoreTask::ReadSnapshot(read) => StoreReport::Snapshot {
                partition: read.partition,
                view: read.view,
                page: self.store.read_snapshot(&read),
            },
            StoreTask::CloseSnapshot { partition, view } => {
                self.store.close_snapshot(partition, view);
                return Ok(Vec::new());
            }
            StoreTask::Persist => return self.persist(),
            StoreTask::Live(live) => {
                let done = self.store.set_live(live);
                done.map_err(|error| error.to_string())?;
                return Ok(Vec::new());
            }
            StoreTask::Query {
                partition,
                incarnation,
                ticket,
                queries,
            } => {
                let answer = self.store.query(partition, incarnation, &queries);
                StoreReport::Answer {
                    partition,
                    ticket,
                    answer: answer.map_err(|error| error.to_string())?,
                }
            }
        };
        Ok(vec![report])
    }

    /// What the store holds survives from now on; reports for each partition.
    pub(super) fn persist(&mut self) -> Result<Vec<StoreReport>, String> {
        self.store.persist();
        let persisted = self.store.persisted().map_err(|error| error.to_string())?;
        let report = |((partition, incarnation), position)| StoreReport::Persisted {
            partition,
            incarnation,
            position,
        };
        Ok(persisted.into_iter().map(report).collect())
    }

    /// Whether a replica's store still holds a marker or a record. Much cheaper than to look at all.
    pub(super) fn has_left_over(&self) -> Result<bool, String> {
        let Some(node) = &self.node else {
            return Ok(false);
        };
        let kinds = (0..=u8::MAX).filter(|kind| partition::left_over(&[*kind]).is_some());
        let queries: Vec<StoreQuery> = kinds
            .map(|kind| StoreQuery::MetaPrefix {
                prefix: vec![kind].into(),
            })
            .collect();
        for (partition, _) in node.replicas() {
            let incarnation = self.disk.incarnations().get(partition).copied();
            let incarnation = incarnation.unwrap_or_default();
            let answer = self.store.query(*partition, incarnation, &queries);
            let answer = answer.map_err(|error| error.to_string())?;
            let is_some = |result: &StoreResult| matches!(result, StoreResult::MetaRows(rows) if !rows.is_empty());
            if answer.results.iter().any(is_some) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Everything that each replica holds in the store.
    pub(super) fn contents(&self) -> Result<Vec<ReplicaContents>, String> {
        let Some(node) = &self.node else {
            return Ok(Vec::new());
        };
        let me = node
            .me()
            .ok_or("a node that is not founded holds nothing")?;
        let mut contents = Vec::new();
        for (partition, replica) in node.replicas() {
            let incarnation = self
                .disk
                .incarnations()
                .get(partition)
                .copied()
                .unwrap_or_default();
            let range = &replica.descriptor().range;
            let of_range = |rows: &mut dyn Iterator<Item = VersionRow>| {
                let mut versions = StoredVersions::new();
                for row in rows.filter(|row| range.contains(&row.key)) {
                    let chain = versions.entry(row.key).or_default();
                    chain.push((row.timestamp, row.value));
                }
                versions
            };
            let stored = of_range(&mut self.store.versions(incarnation));
            let removed = of_range(&mut self.store.removed());
            let applied = self.store.applied(*partition, incarnation);
            let applied = applied.map_err(|error| error.to_string())?;
            let horizon = applied.map_or(Timestamp::ZERO, |state| state.horizon);
            let everything = [StoreQuery::MetaPrefix {
                prefix: Default::default(),
            }];
            let answer = self.store.query(*partition, incarnation, &everything);
            let answer = answer.map_err(|error| error.to_string())?;
            let meta = match answer.results.into_iter().next() {
                Some(StoreResult::MetaRows(rows)) => rows.into_iter().collect(),
                other => return Err(format!("small rows were asked for, not {other:?}")),
            };
            contents.push(ReplicaContents {
                node: me,
                partition: *partition,
                applied: answer.applied,
                horizon,
                versions: stored,
                removed,
                meta,
            });
        }
        Ok(contents)
    }
}
