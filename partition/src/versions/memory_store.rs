//! A store in memory, the twin of the one on disk: the simulator runs on it, and a model test holds the
//! one on disk against it.
//!
//! Nothing is durable until [`MemoryStore::persist`] says so; [`MemoryStore::crash`] takes back what was
//! applied since. For that, each change remembers what stood there before.

use super::page::Page;
use super::snapshot_page::{PageRoom, SnapshotCursor, SnapshotPage, SnapshotRead};
use super::store::{
    AppliedState, Live, Store, StoreAnswer, StoreBatch, StoreError, StoreQuery, StoreResult,
    VersionRow, answer_within_budget,
};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeMap;
use std::ops::Bound;
use wire::ids::{LogIndex, PartitionId};
use wire::keys::{Key, KeyRange};
use wire::message::LogPosition;

type Versions = BTreeMap<Timestamp, Option<Bytes>>;
type Replica = (PartitionId, u32);

/// A store in memory that forgets like one on disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// By incarnation.
    rows: BTreeMap<u32, BTreeMap<Key, Versions>>,
    meta: BTreeMap<Replica, BTreeMap<Bytes, Bytes>>,
    applied: BTreeMap<Replica, AppliedState>,
    persisted: BTreeMap<Replica, LogPosition>,
    /// Views that pages are read from, whole: rows are few here.
    views: BTreeMap<(PartitionId, u64), View>,
    /// `None`: it was not told, so nothing is removed.
    live: Option<Live>,
    /// What was removed by and by, for whoever checks afterwards what was ever committed.
    removed: BTreeMap<Key, Versions>,
    /// What to put back on a crash, the latest last.
    undo: Vec<Undo>,
    /// The rule that is broken on purpose: versions above the horizon are removed as well.
    #[cfg(feature = "mutants")]
    pub compacts_above_horizon: bool,
}

#[derive(Clone, Debug)]
struct View {
    state: AppliedState,
    meta: Vec<(Bytes, Bytes)>,
    versions: Vec<VersionRow>,
}

#[derive(Clone, Debug)]
enum Undo {
    Version {
        incarnation: u32,
        key: Key,
        timestamp: Timestamp,
        /// The outer `None`: there was no such version.
        before: Option<Option<Bytes>>,
    },
    Meta {
        replica: Replica,
        key: Bytes,
        before: Option<Bytes>,
    },
    Applied {
        replica: Replica,
        before: Option<AppliedState>,
    },
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Makes everything applied so far survive a crash.
    pub fn persist(&mut self) {
        self.undo.clear();
        for (replica, state) in &self.applied {
            self.persisted.insert(*replica, state.position);
        }
        self.compact();
    }

    /// Removes what the store on disk removes sooner or later when it compacts its tables: versions that a
    /// newer one at or below the horizon supersedes.
    fn compact(&mut self) {
        for (partition, incarnation, range) in self.live.iter().flat_map(|live| &live.replicas) {
            let state = self.applied.get(&(*partition, *incarnation));
            let horizon = state.map_or(Timestamp::ZERO, |state| state.horizon);
            #[cfg(feature = "mutants")]
            let horizon = match self.compacts_above_horizon {
                true => Timestamp::MAX,
                false => horizon,
            };
            let rows = self.rows.get_mut(incarnation).into_iter().flatten();
            for (key, versions) in rows.filter(|(key, _)| range.contains(key)) {
                let newest = versions.range(..=horizon).next_back();
                let Some(newest) = newest.map(|(timestamp, _)| *timestamp) else {
                    continue;
                };
                let left = versions.split_off(&newest);
                let superseded = std::mem::replace(versions, left);
                if !superseded.is_empty() {
                    let removed = self.removed.entry(key.clone()).or_default();
                    removed.extend(superseded);
                }
            }
        }
    }

    /// Loses what was applied since the last [`MemoryStore::persist`].
    pub fn crash(&mut self) {
        self.views.clear();
        while let Some(undo) = self.undo.pop() {
            self.put_back(undo);
        }
    }

    /// The next page of a view; `None` if the view is not there.
    pub fn read_snapshot(&mut self, read: &SnapshotRead) -> Option<SnapshotPage> {
        let name = (read.partition, read.view);
        if read.after.is_none() {
            let view = self.view(read)?;
            self.views.insert(name, view);
        }
        let page = self.views.get(&name)?.page(read);
        if page.next.is_none() {
            self.views.remove(&name);
        }
        Some(page)
    }

    /// Lets a view go.
    pub fn close_snapshot(&mut self, partition: PartitionId, view: u64) {
        self.views.remove(&(partition, view));
    }

    fn view(&self, read: &SnapshotRead) -> Option<View> {
        let replica = (read.partition, read.incarnation);
        let state = *self.applied.get(&replica)?;
        let meta = self.meta.get(&replica).into_iter().flatten();
        let in_range = self.in_range(read.incarnation, &read.range);
        let versions = in_range.flat_map(|(key, versions)| {
            versions.iter().rev().map(|(timestamp, value)| VersionRow {
                key: key.clone(),
                timestamp: *timestamp,
                value: value.clone(),
            })
        });
        Some(View {
            state,
            meta: meta.map(|(k, v)| (k.clone(), v.clone())).collect(),
            versions: versions.collect(),
        })
    }

    /// Every version under an incarnation, by key and then by timestamp.
    pub fn versions(&self, incarnation: u32) -> impl Iterator<Item = VersionRow> {
        self.rows.get(&incarnation).into_iter().flat_map(rows_of)
    }

    /// Every version that was removed because nobody could read it any more.
    pub fn removed(&self) -> impl Iterator<Item = VersionRow> {
        rows_of(&self.removed)
    }

    fn put_back(&mut self, undo: Undo) {
        match undo {
            Undo::Version {
                incarnation,
                key,
                timestamp,
                before,
            } => {
                let rows = self.rows.entry(incarnation).or_default();
                let versions = rows.entry(key.clone()).or_default();
                match before {
                    Some(value) => versions.insert(timestamp, value),
                    None => versions.remove(&timestamp),
                };
                if versions.is_empty() {
                    rows.remove(&key);
                }
            }
            Undo::Meta {
                replica,
                key,
                before,
            } => {
                let rows = self.meta.entry(replica).or_default();
                match before {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
            Undo::Applied { replica, before } => {
                match before {
                    Some(state) => self.applied.insert(replica, state),
                    None => self.applied.remove(&replica),
                };
            }
        }
    }

    fn apply_batch(&mut self, batch: &StoreBatch) {
        let replica = (batch.partition, batch.incarnation);
        for row in &batch.versions {
            let rows = self.rows.entry(batch.incarnation).or_default();
            let versions = rows.entry(row.key.clone()).or_default();
            let before = versions.insert(row.timestamp, row.value.clone());
            self.undo.push(Undo::Version {
                incarnation: batch.incarnation,
                key: row.key.clone(),
                timestamp: row.timestamp,
                before,
            });
        }
        for (key, up_to) in &batch.swept {
            self.sweep(batch.incarnation, key, *up_to);
        }
        for (key, value) in &batch.meta {
            let rows = self.meta.entry(replica).or_default();
            let before = match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
            let key = key.clone();
            self.undo.push(Undo::Meta {
                replica,
                key,
                before,
            });
        }
        let before = self.applied.get(&replica).copied();
        self.applied
            .insert(replica, AppliedState::after(before, batch));
        self.undo.push(Undo::Applied { replica, before });
    }

    /// Removes every version of a key at or below a timestamp.
    fn sweep(&mut self, incarnation: u32, key: &Key, up_to: Timestamp) {
        let Some(rows) = self.rows.get_mut(&incarnation) else {
            return;
        };
        let Some(versions) = rows.get_mut(key) else {
            return;
        };
        let swept: Vec<Timestamp> = versions.range(..=up_to).map(|(at, _)| *at).collect();
        for timestamp in swept {
            let value = versions[&timestamp].clone();
            let removed = self.removed.entry(key.clone()).or_default();
            removed.insert(timestamp, value);
            self.undo.push(Undo::Version {
                incarnation,
                key: key.clone(),
                timestamp,
                before: versions.remove(&timestamp),
            });
        }
        if versions.is_empty() {
            rows.remove(key);
        }
    }

    fn answer(&self, replica: Replica, query: &StoreQuery) -> StoreResult {
        match query {
            StoreQuery::Get { key, at } => StoreResult::Version(self.get(replica.1, key, *at)),
            StoreQuery::Scan {
                range,
                reverse,
                at,
                rows_max,
                bytes_max,
            } => self.scan(replica.1, range, *reverse, *at, *rows_max, *bytes_max),
            StoreQuery::Changed {
                range,
                above,
                up_to,
            } => StoreResult::Changed(self.changed(replica.1, range, *above, *up_to)),
            StoreQuery::Meta { key } => {
                let rows = self.meta.get(&replica);
                StoreResult::Meta(rows.and_then(|rows| rows.get(key)).cloned())
            }
            StoreQuery::MetaPrefix { prefix } => {
                let rows = self.meta.get(&replica).into_iter();
                let rows = rows.flat_map(|rows| rows.range(prefix.clone()..));
                let rows = rows.take_while(|(key, _)| key.starts_with(prefix));
                StoreResult::MetaRows(rows.map(|(k, v)| (k.clone(), v.clone())).collect())
            }
            StoreQuery::MetaRange { from, to, rows_max } => {
                let rows = self.meta.get(&replica).filter(|_| from < to).into_iter();
                let rows = rows.flat_map(|rows| rows.range(from.clone()..to.clone()));
                let rows = rows.take(*rows_max as usize);
                StoreResult::MetaRows(rows.map(|(k, v)| (k.clone(), v.clone())).collect())
            }
        }
    }

    fn get(&self, incarnation: u32, key: &Key, at: Timestamp) -> Option<VersionRow> {
        let versions = self.rows.get(&incarnation)?.get(key)?;
        newest(key, versions, at)
    }

    fn scan(
        &self,
        incarnation: u32,
        range: &KeyRange,
        reverse: bool,
        at: Timestamp,
        rows_max: u32,
        bytes_max: u32,
    ) -> StoreResult {
        let mut found = self
            .in_range(incarnation, range)
            .filter_map(|(key, versions)| newest(key, versions, at));
        let mut page = Page::new(range, reverse, rows_max, bytes_max);
        if reverse {
            found.rev().all(|row| page.take(&row));
        } else {
            found.all(|row| page.take(&row));
        }
        page.into_result()
    }

    fn changed(
        &self,
        incarnation: u32,
        range: &KeyRange,
        above: Timestamp,
        up_to: Timestamp,
    ) -> Option<(Key, Timestamp)> {
        let mut keys = self.in_range(incarnation, range);
        keys.find_map(|(key, versions)| {
            let (timestamp, _) = versions.range(..=up_to).next_back()?;
            (*timestamp > above).then(|| (key.clone(), *timestamp))
        })
    }

    fn in_range(
        &self,
        incarnation: u32,
        range: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&Key, &Versions)> {
        let rows = self.rows.get(&incarnation).filter(|_| !range.is_empty());
        let end = range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let bounds = (Bound::Included(&range.start), end);
        rows.into_iter().flat_map(move |rows| rows.range(bounds))
    }
}

impl View {
    fn page(&self, read: &SnapshotRead) -> SnapshotPage {
        let mut page = SnapshotPage::of(self.state);
        let mut room = PageRoom::new(read.bytes_max);
        let (meta_from, versions_from) = match &read.after {
            None => (0, 0),
            Some(SnapshotCursor::Meta(after)) => {
                (self.meta.partition_point(|(key, _)| key <= after), 0)
            }
            Some(SnapshotCursor::Version(key, at)) => {
                let is_had = |row: &VersionRow| (&row.key, *at) <= (key, row.timestamp);
                (self.meta.len(), self.versions.partition_point(is_had))
            }
        };
        let mut last = None;
        for (key, value) in &self.meta[meta_from..] {
            if !room.is_left() {
                page.next = last;
                return page;
            }
            room.take(key, Some(value));
            page.meta.push((key.clone(), value.clone()));
            last = Some(SnapshotCursor::Meta(key.clone()));
        }
        for row in &self.versions[versions_from..] {
            if !room.is_left() {
                page.next = last;
                return page;
            }
            room.take(row.key.bytes(), row.value.as_ref());
            page.versions.push(row.clone());
            last = Some(SnapshotCursor::Version(row.key.clone(), row.timestamp));
        }
        page
    }
}

fn rows_of(keys: &BTreeMap<Key, Versions>) -> impl Iterator<Item = VersionRow> {
    keys.iter().flat_map(|(key, versions)| {
        versions.iter().map(|(timestamp, value)| VersionRow {
            key: key.clone(),
            timestamp: *timestamp,
            value: value.clone(),
        })
    })
}

fn newest(key: &Key, versions: &Versions, at: Timestamp) -> Option<VersionRow> {
    let (timestamp, value) = versions.range(..=at).next_back()?;
    Some(VersionRow {
        key: key.clone(),
        timestamp: *timestamp,
        value: value.clone(),
    })
}

impl Store for MemoryStore {
    fn apply(&mut self, batches: &[StoreBatch]) -> Result<(), StoreError> {
        for batch in batches {
            self.apply_batch(batch);
        }
        Ok(())
    }

    fn query(
        &self,
        partition: PartitionId,
        incarnation: u32,
        queries: &[StoreQuery],
    ) -> Result<StoreAnswer, StoreError> {
        let replica = (partition, incarnation);
        let state = self.applied.get(&replica);
        Ok(StoreAnswer {
            applied: state.map_or(LogIndex(0), |state| state.position.index),
            newest: state.map_or(Timestamp::ZERO, |state| state.newest),
            results: answer_within_budget(queries, |query| {
                Ok::<_, StoreError>(self.answer(replica, query))
            })?,
        })
    }

    fn applied(
        &self,
        partition: PartitionId,
        incarnation: u32,
    ) -> Result<Option<AppliedState>, StoreError> {
        Ok(self.applied.get(&(partition, incarnation)).copied())
    }

    fn persisted(&mut self) -> Result<BTreeMap<Replica, LogPosition>, StoreError> {
        Ok(self.persisted.clone())
    }

    fn set_live(&mut self, live: Live) -> Result<(), StoreError> {
        let is_needed = |(partition, incarnation): &Replica| live.needs(*partition, *incarnation);
        self.meta.retain(|replica, _| is_needed(replica));
        self.applied.retain(|replica, _| is_needed(replica));
        self.persisted.retain(|replica, _| is_needed(replica));
        for (incarnation, rows) in &mut self.rows {
            for (key, versions) in
                rows.extract_if(.., |key, _| !live.needs_versions(*incarnation, key))
            {
                self.removed.entry(key).or_default().extend(versions);
            }
        }
        self.rows.retain(|_, keys| !keys.is_empty());
        // A crash brings none of it back.
        self.undo.retain(|undo| match undo {
            Undo::Version {
                incarnation, key, ..
            } => live.needs_versions(*incarnation, key),
            Undo::Meta { replica, .. } | Undo::Applied { replica, .. } => is_needed(replica),
        });
        self.live = Some(live);
        Ok(())
    }
}
