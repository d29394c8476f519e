//! What a store of versions is asked and what it answers. [`super::MemoryStore`] and the store on disk
//! behave alike.

use super::snapshot_page::{SnapshotPage, SnapshotRead};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeMap;
use wire::ids::{LogIndex, PartitionId};
use wire::keys::{Key, KeyRange, READ_BYTES_MAX};
use wire::message::LogPosition;

/// One version of one key (pattern Versioned Value).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionRow {
    /// The full key.
    pub key: Key,
    /// When it was written, in the order of all transactions.
    pub timestamp: Timestamp,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// What a run of committed entries of one partition does to the store, all of it or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreBatch {
    /// The partition.
    pub partition: PartitionId,
    /// Names the replica's rows in this store.
    pub incarnation: u32,
    /// The last of the entries. Of a snapshot that is being written: how many chunks, in term 0.
    pub applied: LogPosition,
    /// The partition's closed timestamp after them.
    pub closed: Timestamp,
    /// The partition's retention horizon after them: nobody reads below it any more. It only rises.
    pub horizon: Timestamp,
    /// New versions.
    pub versions: Vec<VersionRow>,
    /// Keys of which every version at or below a timestamp goes, those of this batch included. What
    /// stands there is a tombstone at or below the horizon, so no read finds anything else without it.
    pub swept: Vec<(Key, Timestamp)>,
    /// Small rows beside the versions (locks, markers, records, outcomes); `None` deletes.
    pub meta: Vec<(Bytes, Option<Bytes>)>,
}

impl StoreBatch {
    /// The size of its keys and values, bytes.
    pub fn bytes(&self) -> u64 {
        let length = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let versions = self.versions.iter();
        let versions = versions.map(|row| row.key.bytes().len() + length(&row.value));
        let swept = self.swept.iter().map(|(key, _)| key.bytes().len());
        let meta = self.meta.iter();
        let meta = meta.map(|(key, value)| key.len() + length(value));
        versions.chain(swept).chain(meta).sum::<usize>() as u64
    }
}

/// Which rows of a node's store are those of a replica. What was replaced, dropped or never finished is
/// not among them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Live {
    /// Partition, incarnation, range. Several partitions may share an incarnation; versions of keys
    /// outside their ranges are nobody's.
    pub replicas: Vec<(PartitionId, u32, KeyRange)>,
    /// Nothing is said of this incarnation and those above: they may be in the making.
    pub below: u32,
}

impl Live {
    /// Whether small rows of a replica are needed.
    pub fn needs(&self, partition: PartitionId, incarnation: u32) -> bool {
        let is_named =
            |(p, i, _): &(PartitionId, u32, KeyRange)| (*p, *i) == (partition, incarnation);
        incarnation >= self.below || self.replicas.iter().any(is_named)
    }

    /// Whether versions of a key are needed under an incarnation.
    pub fn needs_versions(&self, incarnation: u32, key: &Key) -> bool {
        let holds =
            |(_, i, range): &(PartitionId, u32, KeyRange)| *i == incarnation && range.contains(key);
        incarnation >= self.below || self.replicas.iter().any(holds)
    }
}

/// What a store thread is asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreTask {
    /// Apply committed entries; told back with [`StoreReport::Applied`].
    Apply(StoreBatch),
    /// Answer questions from one snapshot; told back with [`StoreReport::Answer`].
    Query {
        /// The partition.
        partition: PartitionId,
        /// Names the replica's rows in this store.
        incarnation: u32,
        /// Told back with the answer.
        ticket: u64,
        /// Answered in this order.
        queries: Vec<StoreQuery>,
    },
    /// Give the next page of all rows of a replica; told back with [`StoreReport::Snapshot`].
    ReadSnapshot(SnapshotRead),
    /// A view that pages were read from is not needed any more.
    CloseSnapshot {
        /// The partition.
        partition: PartitionId,
        /// The view.
        view: u64,
    },
    /// Make what was applied into tables soon, instead of when there is enough of it.
    Persist,
    /// These replicas live; the rows of others may go.
    Live(Live),
}

/// A question to the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StoreQuery {
    /// The newest version of a key at or below a timestamp, tombstones included.
    Get {
        /// The key.
        key: Key,
        /// The timestamp.
        at: Timestamp,
    },
    /// The newest version at or below a timestamp of each key of a range, tombstones included.
    Scan {
        /// The range.
        range: KeyRange,
        /// From the end of the range.
        reverse: bool,
        /// The timestamp.
        at: Timestamp,
        /// At most so many rows.
        rows_max: u32,
        /// No further row once keys and values reach this many bytes; the first is given in any case.
        bytes_max: u32,
    },
    /// Whether a key of a range has a version in `(above, up_to]`: the least such key.
    Changed {
        /// The range.
        range: KeyRange,
        /// Above this.
        above: Timestamp,
        /// At or below this.
        up_to: Timestamp,
    },
    /// One small row.
    Meta {
        /// Its key.
        key: Bytes,
    },
    /// All small rows whose keys begin so, ascending.
    MetaPrefix {
        /// The beginning; empty for all.
        prefix: Bytes,
    },
    /// The first small rows of a range of keys, ascending; told like those of a prefix.
    MetaRange {
        /// From this key on.
        from: Bytes,
        /// Below this key.
        to: Bytes,
        /// At most so many.
        rows_max: u32,
    },
}

/// The answer to one [`StoreQuery`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreResult {
    /// To `Get`.
    Version(Option<VersionRow>),
    /// To `Scan`.
    Rows {
        /// In the order asked for.
        rows: Vec<VersionRow>,
        /// What of the range was not looked at; `None` when all was.
        rest: Option<KeyRange>,
    },
    /// To `Changed`.
    Changed(Option<(Key, Timestamp)>),
    /// To `Meta`.
    Meta(Option<Bytes>),
    /// To `MetaPrefix` and `MetaRange`.
    MetaRows(Vec<(Bytes, Bytes)>),
    /// To `Get` and `Scan`: not looked for, since what was found for the questions before it is as much as
    /// one request may read ([`READ_BYTES_MAX`]).
    TooMuch,
}

impl StoreResult {
    /// The size of the keys and values of versions in it, bytes.
    pub(crate) fn bytes(&self) -> usize {
        let size =
            |row: &VersionRow| row.key.bytes().len() + row.value.as_ref().map_or(0, Bytes::len);
        match self {
            StoreResult::Version(row) => row.as_ref().map_or(0, size),
            StoreResult::Rows { rows, .. } => rows.iter().map(size).sum(),
            _ => 0,
        }
    }
}

/// Answers questions in their order, versions until there are as many as one request may read.
pub(super) fn answer_within_budget<E>(
    queries: &[StoreQuery],
    mut answer: impl FnMut(&StoreQuery) -> Result<StoreResult, E>,
) -> Result<Vec<StoreResult>, E> {
    let mut bytes = 0;
    let results = queries.iter().map(|query| {
        let is_for_versions = matches!(query, StoreQuery::Get { .. } | StoreQuery::Scan { .. });
        if is_for_versions && bytes >= READ_BYTES_MAX {
            return Ok(StoreResult::TooMuch);
        }
        let result = answer(query)?;
        bytes += result.bytes();
        Ok(result)
    });
    results.collect()
}

/// The answers to one query task, all from one snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreAnswer {
    /// What the snapshot contains of the partition; 0 if nothing was applied yet.
    pub applied: LogIndex,
    /// The newest timestamp of any version that was applied for the partition.
    pub newest: Timestamp,
    /// In the order of the queries.
    pub results: Vec<StoreResult>,
}

/// What a store thread says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreReport {
    /// Readable in snapshots from now on.
    Applied {
        /// The partition.
        partition: PartitionId,
        /// Under this incarnation.
        incarnation: u32,
        /// Up to this entry.
        position: LogPosition,
    },
    /// In the store's tables, which survive any crash: the log may be discarded up to here.
    Persisted {
        /// The partition.
        partition: PartitionId,
        /// Under this incarnation.
        incarnation: u32,
        /// Up to this entry.
        position: LogPosition,
    },
    /// The answer to a query task.
    Answer {
        /// The partition.
        partition: PartitionId,
        /// The task's ticket.
        ticket: u64,
        /// What was found.
        answer: StoreAnswer,
    },
    /// A page of a view.
    Snapshot {
        /// The partition.
        partition: PartitionId,
        /// The view.
        view: u64,
        /// The page; `None`: the view was let go, or there is nothing under this incarnation.
        page: Option<SnapshotPage>,
    },
    /// Final: the node stops.
    Failed {
        /// Why.
        why: String,
    },
}

/// How far a partition was applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppliedState {
    /// The last entry applied.
    pub position: LogPosition,
    /// The partition's closed timestamp then.
    pub closed: Timestamp,
    /// Its retention horizon then.
    pub horizon: Timestamp,
    /// The newest timestamp of any version that was applied for it.
    pub newest: Timestamp,
}

impl AppliedState {
    /// The state of a replica after a batch. Batches come in order.
    pub(super) fn after(before: Option<AppliedState>, batch: &StoreBatch) -> AppliedState {
        if let Some(before) = before {
            assert!(
                batch.applied >= before.position,
                "batches of {} come in the order of their positions: {:?} after {:?}",
                batch.partition,
                batch.applied,
                before.position
            );
            assert!(
                batch.horizon >= before.horizon,
                "the retention horizon of {} only rises: {} after {}",
                batch.partition,
                batch.horizon,
                before.horizon
            );
        }
        let newest = before.map_or(Timestamp::ZERO, |state| state.newest);
        let timestamps = batch.versions.iter().map(|row| row.timestamp);
        AppliedState {
            position: batch.applied,
            closed: batch.closed,
            horizon: batch.horizon,
            newest: timestamps.fold(newest, Timestamp::max),
        }
    }
}

/// The store failed. Final: what it holds in memory can no longer be trusted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The tables could not be read or written.
    #[error("the store failed: {0}")]
    Failed(String),
    /// A file is damaged or missing. The log forgot what lay in it long ago.
    #[error(
        "the store is damaged: {what}. Other members hold the same: have this node's copies made anew with `horolog rebuild --data {data}`"
    )]
    DamagedFile {
        /// Which file, and what is wrong with it.
        what: String,
        /// The data directory.
        data: String,
    },
    /// A row reads as nothing this version writes.
    #[error("the store holds a row that is damaged: {0}")]
    Damaged(String),
    /// The data directory cannot be used.
    #[error("the store cannot be opened: {0}")]
    Open(String),
}

/// A store of versions.
///
/// - Batches of one partition and incarnation come in the order of their positions.
/// - A batch is seen whole or not at all.
/// - What a crash leaves of each partition is a prefix of its batches, at least what
///   [`Store::persisted`] said.
/// - Versions go once a newer one of their key stands at or below the horizon of a batch that survives
///   any crash: whatever is left, reads at or above the horizon find the same.
pub trait Store: Send {
    /// Applies batches, all in one step.
    fn apply(&mut self, batches: &[StoreBatch]) -> Result<(), StoreError>;

    /// Answers questions from one snapshot.
    fn query(
        &self,
        partition: PartitionId,
        incarnation: u32,
        queries: &[StoreQuery],
    ) -> Result<StoreAnswer, StoreError>;

    /// How far a partition is applied; `None` if nothing was ever applied under this incarnation.
    fn applied(
        &self,
        partition: PartitionId,
        incarnation: u32,
    ) -> Result<Option<AppliedState>, StoreError>;

    /// Up to where each replica survives any crash.
    fn persisted(&mut self) -> Result<BTreeMap<(PartitionId, u32), LogPosition>, StoreError>;

    /// Rows of replicas that do not live may go, at once or by and by.
    fn set_live(&mut self, live: Live) -> Result<(), StoreError>;
}
