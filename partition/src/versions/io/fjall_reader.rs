//! Questions to the store on disk. Each task is answered from one snapshot: a read beside it could see
//! half of a batch.

use super::fjall_store::{data_of, not_written};
use super::newest::{Newest, version};
use crate::versions::page::Page;
use crate::versions::row_keys::{self as rows, RowRange};
use crate::versions::store::answer_within_budget;
use crate::versions::{AppliedState, StoreAnswer, StoreError, StoreQuery, StoreResult, VersionRow};
use bytes::Bytes;
use clock::Timestamp;
use fjall::{AbstractTree, Database, Guard, Iter, Keyspace, PersistMode, Readable, Snapshot};
use std::path::Path;
use wire::ids::{LogIndex, PartitionId};
use wire::keys::{Key, KeyRange};

/// Reads the store on disk, on a thread of its own.
#[derive(Clone)]
pub struct FjallReader {
    pub(super) database: Database,
    pub(super) rows: Keyspace,
}

pub(super) fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

pub(super) fn damaged(row: &[u8]) -> StoreError {
    StoreError::Damaged(row.escape_ascii().to_string())
}

impl FjallReader {
    /// Answers questions from one snapshot.
    pub fn query(
        &self,
        partition: PartitionId,
        incarnation: u32,
        queries: &[StoreQuery],
    ) -> Result<StoreAnswer, StoreError> {
        let view = self.view(partition, incarnation);
        let state = view.applied()?;
        Ok(StoreAnswer {
            applied: state.map_or(LogIndex(0), |state| state.position.index),
            newest: state.map_or(Timestamp::ZERO, |state| state.newest),
            results: answer_within_budget(queries, |query| view.answer(query))?,
        })
    }

    /// Whether the tree still writes its tables: it poisons itself when it cannot, and says so at the next
    /// write. This is one that costs nothing.
    pub(super) fn check_tables_are_written(&self) -> Result<(), StoreError> {
        self.database
            .persist(PersistMode::Buffer)
            .map_err(not_written)
    }

    /// One replica as it is now.
    pub(super) fn view(&self, partition: PartitionId, incarnation: u32) -> View {
        View {
            snapshot: self.database.snapshot(),
            rows: self.rows.clone(),
            partition,
            incarnation,
        }
    }

    /// Says which file is damaged, after reading something found that one is.
    pub(super) fn locate(&self, of: impl std::fmt::Display, error: StoreError) -> StoreError {
        let StoreError::Failed(why) = error else {
            return error;
        };
        match self.damaged_table() {
            Some((file, damage)) => StoreError::DamagedFile {
                what: format!("{file} is damaged ({damage}); {of} was to be read"),
                data: data_of(self.tables()),
            },
            None => StoreError::Failed(format!("reading {of}: {why}")),
        }
    }

    /// The tree's own directory, of which this is one of its keyspaces.
    fn tables(&self) -> &Path {
        let path = self.rows.path();
        path.ancestors().nth(2).unwrap_or(path)
    }

    /// Reads every table until one does not read.
    fn damaged_table(&self) -> Option<(String, String)> {
        let version = self.rows.tree.current_version();
        let mut tables = version.iter_tables();
        tables.find_map(|table| {
            let damage = table.iter().find_map(Result::err)?;
            let folder = self.rows.path().join("tables");
            let file = folder.join(table.id().to_string());
            Some((file.display().to_string(), damage.to_string()))
        })
    }

    /// All replicas that were ever applied to, with how far.
    pub(super) fn all_applied(
        &self,
    ) -> Result<Vec<((PartitionId, u32), AppliedState)>, StoreError> {
        let snapshot = self.database.snapshot();
        let found = snapshot.prefix(&self.rows, rows::APPLIED_PREFIX);
        found
            .map(|guard| {
                let (key, value) = guard.into_inner().map_err(failed)?;
                let replica = rows::decode_applied_key(&key).ok_or_else(|| damaged(&key))?;
                let state = rows::decode_applied(&value).ok_or_else(|| damaged(&key))?;
                Ok((replica, state))
            })
            .collect()
    }
}

/// One replica's rows in one snapshot.
pub(super) struct View {
    snapshot: Snapshot,
    rows: Keyspace,
    pub(super) partition: PartitionId,
    pub(super) incarnation: u32,
}

impl View {
    pub(super) fn applied(&self) -> Result<Option<AppliedState>, StoreError> {
        let key = rows::applied_key(self.partition, self.incarnation);
        let Some(value) = self.snapshot.get(&self.rows, key).map_err(failed)? else {
            return Ok(None);
        };
        Ok(Some(
            rows::decode_applied(&value).ok_or_else(|| damaged(&key))?,
        ))
    }

    fn answer(&self, query: &StoreQuery) -> Result<StoreResult, StoreError> {
        Ok(match query {
            StoreQuery::Get { key, at } => StoreResult::Version(self.get(key, *at)?),
            StoreQuery::Scan {
                range,
                reverse,
                at,
                rows_max,
                bytes_max,
            } => {
                let page = Page::new(range, *reverse, *rows_max, *bytes_max);
                self.scan(range, *reverse, *at, page)?
            }
            StoreQuery::Changed {
                range,
                above,
                up_to,
            } => StoreResult::Changed(self.changed(range, *above, *up_to)?),
            StoreQuery::Meta { key } => StoreResult::Meta(self.meta(key)?),
            StoreQuery::MetaPrefix { prefix } => {
                let replica = (self.partition, self.incarnation);
                let prefix = rows::meta_key(replica.0, replica.1, prefix);
                let found = self.snapshot.prefix(&self.rows, prefix);
                StoreResult::MetaRows(meta_rows(found)?)
            }
            StoreQuery::MetaRange { from, to, rows_max } => {
                let range = rows::meta_range((self.partition, self.incarnation), from, to);
                let found = if from < to {
                    Some(self.rows(range))
                } else {
                    None
                };
                let found = found.into_iter().flatten().take(*rows_max as usize);
                StoreResult::MetaRows(meta_rows(found)?)
            }
        })
    }

    pub(super) fn get(&self, key: &Key, at: Timestamp) -> Result<Option<VersionRow>, StoreError> {
        let range = rows::versions_of(self.incarnation, key, at);
        self.rows(range).next().map(version).transpose()
    }

    fn scan(
        &self,
        range: &KeyRange,
        reverse: bool,
        at: Timestamp,
        mut page: Page<'_>,
    ) -> Result<StoreResult, StoreError> {
        if !range.is_empty() {
            let mut newest = Newest::new(self, range, at, reverse);
            while let Some(row) = newest.next()? {
                if !page.take(&row) {
                    break;
                }
            }
        }
        Ok(page.into_result())
    }

    fn changed(
        &self,
        range: &KeyRange,
        above: Timestamp,
        up_to: Timestamp,
    ) -> Result<Option<(Key, Timestamp)>, StoreError> {
        if range.is_empty() {
            return Ok(None);
        }
        let mut newest = Newest::new(self, range, up_to, false);
        while let Some(row) = newest.next()? {
            if row.timestamp > above {
                return Ok(Some((row.key, row.timestamp)));
            }
        }
        Ok(None)
    }

    pub(super) fn rows(&self, range: RowRange) -> Iter {
        self.snapshot.range(&self.rows, range)
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let key = rows::meta_key(self.partition, self.incarnation, key);
        let value = self.snapshot.get(&self.rows, key).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }
}

fn meta_rows(found: impl Iterator<Item = Guard>) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    found
        .map(|guard| {
            let (key, value) = guard.into_inner().map_err(failed)?;
            let key = rows::decode_meta_key(&key).ok_or_else(|| damaged(&key))?;
            Ok((key, Bytes::copy_from_slice(&value)))
        })
        .collect()
}
