//! The state of a partition on its way from a leader's store to a follower's (pattern Low-Water Mark:
//! what lets the log forget, although a member is far behind).
//!
//! ```text
//!   store of the leader                                          store of the follower
//!   one view, page by page ─► chunk: rows ······ wire ······► batch under a fresh incarnation
//! ```
//!
//! The first chunk says what the rows are of: range and members, the closed timestamp, the retention
//! horizon (the rows below it may have gaps, so whoever starts from them refuses reads there too), and the
//! promise that the leader had (R9: snapshots carry it, so that nobody who starts from one can be elected
//! without having heard of it).

use crate::event::ReplicaEffect;
use crate::replica::Replica;
use crate::versions::{
    SnapshotCursor, SnapshotPage, SnapshotRead, StoreBatch, StoreTask, VersionRow,
};
use bytes::Bytes;
use clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wire::keys::{Descriptor, Key};
use wire::message::LogPosition;

/// Keys and values of one chunk, bytes; a row that is larger travels alone.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 << 10;
/// The encoding that this version writes, and the only one that it reads.
const BODY_VERSION: u8 = 1;

/// What the rows of a snapshot are of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) descriptor: Descriptor,
    pub(crate) closed: Timestamp,
    pub(crate) horizon: Timestamp,
    pub(crate) promised: Timestamp,
}

/// The body of a chunk.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub(crate) struct ChunkBody {
    /// In the first chunk.
    pub(crate) head: Option<Head>,
    pub(crate) meta: Vec<(Bytes, Bytes)>,
    pub(crate) versions: Vec<(Key, Timestamp, Option<Bytes>)>,
}

impl ChunkBody {
    fn of(page: SnapshotPage, head: Option<Head>) -> ChunkBody {
        let versions = page.versions.into_iter();
        ChunkBody {
            head,
            meta: page.meta,
            versions: versions
                .map(|row| (row.key, row.timestamp, row.value))
                .collect(),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let body = postcard::to_extend(self, vec![BODY_VERSION]);
        body.expect("rows are plain data and a vector takes any length")
            .into()
    }

    /// An error is in words.
    pub(crate) fn decode(body: &[u8]) -> Result<ChunkBody, String> {
        match body.split_first() {
            Some((&BODY_VERSION, rest)) => {
                postcard::from_bytes(rest).map_err(|error| error.to_string())
            }
            Some((version, _)) => Err(format!("it is in version {version}")),
            None => Err("it is empty".to_owned()),
        }
    }

    /// As a batch of a replica, after which it stands at `applied`.
    pub(crate) fn into_batch(
        self,
        head: &Head,
        incarnation: u32,
        applied: LogPosition,
    ) -> StoreBatch {
        let versions = self.versions.into_iter();
        let meta = self.meta.into_iter();
        StoreBatch {
            partition: head.descriptor.partition,
            incarnation,
            applied,
            closed: head.closed,
            horizon: head.horizon,
            swept: Vec::new(),
            versions: versions
                .map(|(key, timestamp, value)| VersionRow {
                    key,
                    timestamp,
                    value,
                })
                .collect(),
            meta: meta.map(|(key, value)| (key, Some(value))).collect(),
        }
    }
}

/// Where the reading of a snapshot stands.
#[derive(Debug)]
pub(crate) struct SnapshotReading {
    /// Its number at replication.
    number: u64,
    /// Its view at the store.
    view: u64,
    after: Option<SnapshotCursor>,
}

impl Replica {
    /// Asks the store for the next page.
    pub(crate) fn read_snapshot(&mut self, number: u64, out: &mut Vec<ReplicaEffect>) {
        let is_other = |reading: &SnapshotReading| reading.number != number;
        if self.reading.as_ref().is_none_or(is_other) {
            self.end_snapshot(out);
            self.next_ticket += 1;
            self.reading = Some(SnapshotReading {
                number,
                view: self.next_ticket,
                after: None,
            });
        }
        let reading = self.reading.as_ref().expect("it was just begun");
        out.push(ReplicaEffect::Store(StoreTask::ReadSnapshot(
            SnapshotRead {
                partition: self.descriptor.partition,
                incarnation: self.incarnation,
                range: self.descriptor.range.clone(),
                view: reading.view,
                after: reading.after.clone(),
                bytes_max: CHUNK_BYTES_MAX,
            },
        )));
    }

    /// The store gives a page.
    pub(crate) fn on_snapshot_page(
        &mut self,
        now: Duration,
        view: u64,
        page: Option<SnapshotPage>,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let Some(reading) = self.reading.as_mut().filter(|r| r.view == view) else {
            return;
        };
        let Some(page) = page else {
            self.replication.on_snapshot_lost(reading.number);
            return self.end_snapshot(out);
        };
        let number = reading.number;
        let ((position, body), is_last) = self.chunk_of(page);
        self.replication
            .on_snapshot_read(now, number, position, is_last, body);
    }

    /// A page as it is sent, and whether it is the last.
    pub(crate) fn chunk_of(&mut self, page: SnapshotPage) -> ((LogPosition, Bytes), bool) {
        let promised = self.leadership.as_ref().map(|l| l.promise());
        let reading = self.reading.as_mut().expect("it was asked for");
        let head = reading.after.is_none().then(|| Head {
            descriptor: self.descriptor.clone(),
            closed: page.state.closed,
            horizon: page.state.horizon,
            promised: promised.unwrap_or_default(),
        });
        reading.after = page.next.clone();
        let (position, is_last) = (page.state.position, page.next.is_none());
        let body = ChunkBody::of(page, head).encode();
        ((position, body), is_last)
    }

    /// Nobody reads on.
    pub(crate) fn end_snapshot(&mut self, out: &mut Vec<ReplicaEffect>) {
        if let Some(reading) = self.reading.take() {
            out.push(ReplicaEffect::Store(StoreTask::CloseSnapshot {
                partition: self.descriptor.partition,
                view: reading.view,
            }));
        }
    }
}
