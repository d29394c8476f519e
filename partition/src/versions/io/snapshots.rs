//! Views of the store on disk that are held open while their pages are read.
//!
//! A view keeps the tables of its time from being removed, so one that nobody reads from any more is let go
//! after [`HELD_MAX`].

#![allow(
    clippy::disallowed_methods,
    reason = "this is io/: how long a view is held is a matter of real time"
)]

use super::fjall_reader::{FjallReader, View, damaged, failed};
use super::newest::version;
use crate::versions::row_keys as rows;
use crate::versions::snapshot_page::PageRoom;
use crate::versions::{SnapshotCursor, SnapshotPage, SnapshotRead, StoreError};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use wire::ids::PartitionId;

/// A view that no page was read from for so long is let go.
const HELD_MAX: Duration = Duration::from_secs(60);

/// The views of one reader.
pub(super) struct Snapshots {
    reader: FjallReader,
    held: BTreeMap<(PartitionId, u64), Held>,
}

struct Held {
    view: View,
    read_at: Instant,
}

impl Snapshots {
    pub(super) fn of(reader: FjallReader) -> Snapshots {
        Snapshots {
            reader,
            held: BTreeMap::new(),
        }
    }

    /// The next page; `None` if the view was let go, or if nothing was ever applied to the replica.
    pub(super) fn read(&mut self, read: &SnapshotRead) -> Result<Option<SnapshotPage>, StoreError> {
        self.held
            .retain(|_, held| held.read_at.elapsed() < HELD_MAX);
        let name = (read.partition, read.view);
        if read.after.is_none() {
            let held = Held {
                view: self.reader.view(read.partition, read.incarnation),
                read_at: Instant::now(),
            };
            self.held.insert(name, held);
        }
        let Some(held) = self.held.get_mut(&name) else {
            return Ok(None);
        };
        held.read_at = Instant::now();
        let page = held.view.page(read)?;
        if page.as_ref().is_none_or(|page| page.next.is_none()) {
            self.held.remove(&name);
        }
        Ok(page)
    }

    pub(super) fn close(&mut self, partition: PartitionId, view: u64) {
        self.held.remove(&(partition, view));
    }
}

impl View {
    fn page(&self, read: &SnapshotRead) -> Result<Option<SnapshotPage>, StoreError> {
        let Some(state) = self.applied()? else {
            return Ok(None);
        };
        let mut page = SnapshotPage::of(state);
        let mut room = PageRoom::new(read.bytes_max);
        let is_full = match &read.after {
            Some(SnapshotCursor::Version(..)) => false,
            Some(SnapshotCursor::Meta(after)) => {
                self.add_meta(Some(after), &mut room, &mut page)?
            }
            None => self.add_meta(None, &mut room, &mut page)?,
        };
        if !is_full {
            self.add_versions(read, &mut room, &mut page)?;
        }
        Ok(Some(page))
    }

    /// Says whether there are more than the page has room for.
    fn add_meta(
        &self,
        after: Option<&Bytes>,
        room: &mut PageRoom,
        page: &mut SnapshotPage,
    ) -> Result<bool, StoreError> {
        let after = after.map(|key| &key[..]);
        for guard in self.rows(rows::meta_after(self.partition, self.incarnation, after)) {
            if !room.is_left() {
                let last = page.meta.last();
                page.next = last.map(|(key, _)| SnapshotCursor::Meta(key.clone()));
                return Ok(true);
            }
            let (key, value) = guard.into_inner().map_err(failed)?;
            let key = rows::decode_meta_key(&key).ok_or_else(|| damaged(&key))?;
            let value = Bytes::copy_from_slice(&value);
            room.take(&key, Some(&value));
            page.meta.push((key, value));
        }
        Ok(false)
    }

    fn add_versions(
        &self,
        read: &SnapshotRead,
        room: &mut PageRoom,
        page: &mut SnapshotPage,
    ) -> Result<(), StoreError> {
        if read.range.is_empty() {
            return Ok(());
        }
        let range = match &read.after {
            Some(SnapshotCursor::Version(key, timestamp)) => {
                rows::versions_after(self.incarnation, &read.range, key, *timestamp)
            }
            _ => rows::versions_in(self.incarnation, &read.range),
        };
        for guard in self.rows(range) {
            if !room.is_left() {
                let last_meta = page.meta.last();
                let last_meta = last_meta.map(|(key, _)| SnapshotCursor::Meta(key.clone()));
                let last = page.versions.last();
                let last = last.map(|row| SnapshotCursor::Version(row.key.clone(), row.timestamp));
                page.next = last.or(last_meta);
                return Ok(());
            }
            let row = version(guard)?;
            room.take(row.key.bytes(), row.value.as_ref());
            page.versions.push(row);
        }
        Ok(())
    }
}
