//! A node with one replica, its disk, and what goes wrong with it.

use super::super::*;
use std::collections::{BTreeMap, VecDeque};
use wire::message::Configured;

/// What a crash leaves.
#[derive(Clone, Default)]
pub(super) struct Disk {
    /// Whether it holds a replica at all.
    pub(super) exists: bool,
    /// The members at the base, and the highest promise that came with them.
    pub(super) configured: Configured,
    pub(super) carried: Timestamp,
    pub(super) term: Term,
    pub(super) voted_for: Option<NodeId>,
    pub(super) base: LogPosition,
    pub(super) entries: Vec<Entry>,
    pub(super) ceiling: Timestamp,
    /// It was wiped, and what it held before is not yet there again; or it is new.
    pub(super) memory: Recollection,
    /// The configuration that removed the replica last, and up to where it is the last one.
    pub(super) removed: Option<(Configured, LogPosition)>,
    /// The term in which it was.
    pub(super) removed_in: Term,
    /// It had forgotten then.
    pub(super) had_forgotten: bool,
    /// It cannot know whether it held a replica before.
    pub(super) was_wiped: bool,
}

impl Disk {
    pub(super) fn write(&mut self, record: &Record) {
        let record = match record {
            Record::Effect(effect) => effect,
            Record::Installed(InstallRecord {
                base,
                configured,
                carried,
            }) => {
                self.base = *base;
                self.configured = configured.clone();
                self.carried = self.carried.max(*carried);
                return self.entries.clear();
            }
        };
        match record {
            ReplicationEffect::LogHardState { term, voted_for } => {
                self.term = *term;
                self.voted_for = *voted_for;
            }
            ReplicationEffect::LogEntry(entry) => {
                let kept = (entry.index.0 - self.base.index.0 - 1) as usize;
                assert!(kept <= self.entries.len(), "the log on disk has no gap");
                self.entries.truncate(kept);
                self.entries.push(entry.clone());
            }
            ReplicationEffect::Promised { promised } => {
                self.ceiling = self.ceiling.max(*promised);
            }
            ReplicationEffect::Remembered => self.memory = Recollection::Whole,
            ReplicationEffect::Begins { at } => self.memory = Recollection::BegunAt(*at),
            other => panic!("not a record: {other:?}"),
        }
    }

    pub(super) fn holds(&self, position: LogPosition) -> bool {
        let mut positions = self.entries.iter().map(Entry::position);
        // What a wiped disk held is held again before it counts for anything.
        self.memory == Recollection::Lost
            || position.index <= self.base.index
            || positions.any(|held| held == position)
    }

    pub(super) fn discard(&mut self, up_to: LogPosition) {
        for entry in self.entries.iter().filter(|e| e.index <= up_to.index) {
            if let Some(change) = ConfigurationEntry::decode(&entry.body)
                && entry.position() > self.configured.at
            {
                self.carried = self.carried.max(change.promised);
                let (configuration, at) = (change.configuration, entry.position());
                self.configured = Configured { configuration, at };
            }
        }
        self.entries.retain(|entry| entry.index > up_to.index);
        self.base = self.base.max(up_to);
    }
}

/// What goes to the log.
pub(super) enum Record {
    Effect(ReplicationEffect),
    Installed(InstallRecord),
}

/// The log begins here from now on, with these members.
#[derive(Clone)]
pub(super) struct InstallRecord {
    pub(super) base: LogPosition,
    pub(super) configured: Configured,
    pub(super) carried: Timestamp,
}

/// A snapshot that is read.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Its number in this leadership.
    pub(super) number: u64,
    /// Its own name.
    pub(super) view: u64,
    pub(super) position: LogPosition,
    pub(super) chunks_left: u64,
}

/// A snapshot that comes in.
pub(super) struct Taking {
    pub(super) position: LogPosition,
    pub(super) members: (Configured, Timestamp),
    pub(super) chunks: u64,
    pub(super) is_complete: bool,
}

/// What one turn logged, and what waits for it.
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) held: Vec<(NodeId, ReplicationMessage)>,
}

#[derive(Default)]
pub(super) struct Machine {
    pub(super) running: Option<Replication>,
    pub(super) incarnation: u32,
    pub(super) disk: Disk,
    pub(super) batches: VecDeque<Batch>,
    /// Promises that it was told of after it had lost its memory. It tells them at votes at once, for these
    /// wait for the log.
    pub(super) told: Timestamp,
    /// While it leads: what each member has promised, in this term.
    pub(super) promises: BTreeMap<NodeId, Timestamp>,
    pub(super) reading: Option<Reading>,
    pub(super) taking: Option<Taking>,
}

impl Machine {
    /// Whether the log on its way to the disk begins anew.
    pub(super) fn installs(&self) -> bool {
        let mut records = self.batches.iter().flat_map(|batch| &batch.records);
        records.any(|record| matches!(record, Record::Installed(_)))
    }
}

pub(super) struct Faults {
    pub(super) lost_percent: u64,
    pub(super) doubled_percent: u64,
    pub(super) delay_max: Duration,
    pub(super) flush_max: Duration,
    /// Of a thousand ticks of a machine.
    pub(super) crashes: u64,
    /// Of a thousand crashes: the disk is gone too.
    pub(super) wipes: u64,
    /// Of a thousand ticks of a machine that is down.
    pub(super) restarts: u64,
    /// Of a thousand ticks.
    pub(super) cuts: u64,
    /// Of a thousand ticks of a leader.
    pub(super) transfers: u64,
    /// Of a thousand ticks: other members are wanted.
    pub(super) changes: u64,
    /// Of a hundred ticks of a leader.
    pub(super) proposals_percent: u64,
}

impl Faults {
    pub(super) fn drawn(random: &mut SplitMix64) -> Faults {
        Faults {
            lost_percent: random.below(30),
            doubled_percent: random.below(30),
            delay_max: Duration::from_millis(1 + random.below(80)),
            flush_max: Duration::from_millis(1 + random.below(120)),
            crashes: random.below(6) * random.below(6),
            wipes: 0,
            restarts: 5 + random.below(200),
            cuts: random.below(8) * random.below(8),
            transfers: random.below(10) * random.below(10),
            changes: 0,
            proposals_percent: 1 + random.below(40),
        }
    }

    pub(super) fn none() -> Faults {
        Faults {
            lost_percent: 0,
            doubled_percent: 0,
            delay_max: Duration::from_millis(3),
            flush_max: Duration::from_millis(3),
            crashes: 0,
            wipes: 0,
            restarts: 1000,
            cuts: 0,
            transfers: 0,
            changes: 0,
            proposals_percent: 30,
        }
    }
}
