//! The store on disk: a log-structured merge tree (fjall).
//!
//! All rows of a node lie in one tree, in which a batch is one step. So what its tables hold is always the
//! result of a beginning of the batches, whatever else a crash takes away; with two trees, one could hold
//! the applied state of batches whose versions the other has lost.
//!
//! The tree's own journal is never relied upon: it is not synced, and it is emptied before it could be
//! read. Whatever it held lies in the write-ahead log too, and a journal of which a crash has damaged one
//! part would be replayed with a gap. Its files are cut, never removed: without one the tree takes itself
//! for new and numbers its batches from the beginning.

use super::compaction_filter::{Retention, RetentionFactory};
use super::fjall_reader::{FjallReader, failed};
use crate::log::io::format_file::{Format, FormatError};
use crate::log::io::lock_file::take_lock;
use crate::versions::persisted::{Persisted, Reached};
use crate::versions::row_keys as rows;
use crate::versions::{AppliedState, Live, Store, StoreAnswer, StoreBatch, StoreError, StoreQuery};
use clock::Timestamp;
use fjall::compaction::filter::Factory;
use fjall::{
    AbstractTree, Database, Error, KeyspaceCreateOptions, LsmError, OwnedWriteBatch, Readable,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::PartitionId;
use wire::keys::Key;
use wire::message::LogPosition;

const FORMAT: Format = Format {
    word: "horolog-store",
    version: 1,
};
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Closing looks so often whether the last rows are in the tables.
const CLOSE_POLL: Duration = Duration::from_millis(5);
/// Closing waits so many times; what is not in the tables then comes from the log again.
const CLOSE_POLLS_MAX: u32 = 2000;
/// Sizes of memory tables that differ by a half of them together.
const MEMTABLE_STEPS: u64 = 16;
/// So many versions of a swept key are removed in one step.
const SWEPT_STEP_MAX: usize = 4096;

/// How much memory and how many threads the store takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// Rows gather in memory up to this size before they become a table, bytes.
    pub memtable_bytes: u64,
    /// The cache of blocks of tables, bytes.
    pub cache_bytes: u64,
    /// Threads that write tables and compact them.
    pub workers: usize,
    /// Rows become a table at the latest when they hold back this much, bytes.
    pub held_back_bytes_max: u64,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            memtable_bytes: 8 * 1024 * 1024,
            cache_bytes: 64 * 1024 * 1024,
            workers: 2,
            held_back_bytes_max: 256 * 1024 * 1024,
        }
    }
}

impl StoreOptions {
    /// With memory tables that are larger by up to a half, depending on any number that differs between
    /// nodes. Nodes that hold the same are written to alike: with equal sizes they would all make tables in
    /// the same moment, and a majority of their disks be busy at once.
    pub fn spread_by(self, number: u64) -> StoreOptions {
        let steps = SplitMix64::new(number).below(MEMTABLE_STEPS + 1);
        let more = self.memtable_bytes / 2 / MEMTABLE_STEPS * steps;
        StoreOptions {
            memtable_bytes: self.memtable_bytes + more,
            ..self
        }
    }

    /// For several nodes on one machine.
    pub fn small() -> StoreOptions {
        StoreOptions {
            memtable_bytes: 8 * 1024 * 1024,
            cache_bytes: 8 * 1024 * 1024,
            workers: 1,
            held_back_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// The store of a node on disk.
pub struct FjallStore {
    reader: FjallReader,
    options: StoreOptions,
    applied: BTreeMap<(PartitionId, u32), AppliedState>,
    persisted: Persisted,
    retention: Arc<Retention>,
    _lock: File,
}

impl FjallStore {
    /// Opens the store in a directory, which is made if it is not there.
    pub fn open(directory: &Path, options: StoreOptions) -> Result<FjallStore, StoreError> {
        let tables = directory.join("tables");
        let cannot = |error: io::Error| cannot_open(directory, error);
        fs::create_dir_all(directory).map_err(cannot)?;
        let lock = take_lock(directory).map_err(cannot)?;
        let lock = lock.ok_or_else(|| in_use(directory))?;
        FORMAT
            .check(directory, !tables.exists())
            .map_err(format_refused)?;
        empty_journals(&tables).map_err(cannot)?;
        let retention = Arc::new(Retention::default());
        let database = open_undamaged(&tables, options, &retention)?;
        let create = || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(options.memtable_bytes)
        };
        let rows = database.keyspace("rows", create).map_err(failed)?;
        let reader = FjallReader { database, rows };
        let applied = reader.all_applied();
        let applied =
            applied.map_err(|error| reader.locate("how far replicas are applied", error))?;
        let mut store = FjallStore {
            applied: applied.into_iter().collect(),
            reader,
            options,
            persisted: Persisted::default(),
            retention,
            _lock: lock,
        };
        store.note_recovered();
        Ok(store)
    }

    /// What was found is in the tables: the journals were empty.
    fn note_recovered(&mut self) {
        let Some(highest) = self.reader.rows.tree.get_highest_persisted_seqno() else {
            return;
        };
        for (replica, state) in &self.applied {
            let reached = Reached {
                position: state.position,
                horizon: state.horizon,
            };
            self.persisted.note(highest, *replica, reached, 0);
        }
        self.persisted.reached(highest);
    }

    /// Reads the same store on another thread.
    pub fn reader(&self) -> FjallReader {
        self.reader.clone()
    }

    /// Has the rows in memory made into a table if they hold back too much of the log.
    fn maybe_rotate(&mut self) -> Result<(), StoreError> {
        if self.persisted.held_back_bytes() < self.options.held_back_bytes_max {
            return Ok(());
        }
        self.reader.rows.rotate_memtable().map_err(failed)?;
        Ok(())
    }

    /// Has what was applied made into tables soon.
    pub fn persist(&mut self) -> Result<(), StoreError> {
        self.update_persisted();
        if self.holds_back() {
            self.reader.rows.rotate_memtable().map_err(failed)?;
        }
        Ok(())
    }

    /// Removes what a replica that does not live has beside its versions.
    fn remove_small_rows(&mut self, replica: (PartitionId, u32)) -> Result<(), StoreError> {
        let tree = &self.reader.rows;
        let mut write = self.reader.database.batch();
        write.remove(tree, rows::applied_key(replica.0, replica.1));
        let found = self.reader.view(replica.0, replica.1);
        for guard in found.rows(rows::meta_after(replica.0, replica.1, None)) {
            write.remove(tree, guard.key().map_err(failed)?);
        }
        write.commit().map_err(failed)?;
        self.applied.remove(&replica);
        Ok(())
    }

    /// Whether something that was applied was not in the tables when they were looked at last.
    pub(super) fn holds_back(&self) -> bool {
        !self.persisted.is_complete()
    }

    /// Looks at the tables.
    fn update_persisted(&mut self) {
        if let Some(highest) = self.reader.rows.tree.get_highest_persisted_seqno() {
            self.persisted.reached(highest);
            self.retention.raise(&self.persisted.horizons());
        }
    }

    /// Makes everything applied into tables, as long as that goes; the store may then be dropped.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is io/, and the table is written elsewhere"
    )]
    pub fn close(&mut self) -> Result<(), StoreError> {
        self.reader.rows.rotate_memtable().map_err(failed)?;
        for _ in 0..CLOSE_POLLS_MAX {
            self.update_persisted();
            if !self.holds_back() {
                return Ok(());
            }
            std::thread::sleep(CLOSE_POLL);
        }
        Err(StoreError::Failed(format!(
            "the last {} bytes did not become a table",
            self.persisted.held_back_bytes()
        )))
    }
}

impl FjallStore {
    /// Applies batches in one step of the tree.
    fn apply_group(&mut self, batches: &[StoreBatch]) -> Result<(), StoreError> {
        for batch in batches.iter().filter(|batch| !batch.swept.is_empty()) {
            self.remove_superseded(batch)?;
        }
        let mut write = self.reader.database.batch();
        let mut states = BTreeMap::new();
        for batch in batches {
            self.add(batch, &mut write);
            let replica = (batch.partition, batch.incarnation);
            let before = states.get(&replica).or(self.applied.get(&replica));
            let state = AppliedState::after(before.copied(), batch);
            states.insert(replica, state);
        }
        for ((partition, incarnation), state) in &states {
            let key = rows::applied_key(*partition, *incarnation);
            write.insert(&self.reader.rows, key, rows::applied_value(state));
        }
        // This store is the only writer: the batch gets this number or a higher one, no other row does.
        let seqno = self.reader.database.seqno();
        write.commit().map_err(not_written)?;
        self.applied.append(&mut states);
        self.persisted.applied(seqno, batches);
        self.maybe_rotate()
    }

    fn add(&self, batch: &StoreBatch, write: &mut OwnedWriteBatch) {
        let tree = &self.reader.rows;
        let swept: BTreeMap<&Key, Timestamp> = batch.swept.iter().map(|(k, t)| (k, *t)).collect();
        let is_swept = |key, at| swept.get(key).is_some_and(|up_to| at <= *up_to);
        for row in &batch.versions {
            if !is_swept(&row.key, row.timestamp) {
                let key = rows::version_key(batch.incarnation, &row.key, row.timestamp);
                write.insert(tree, key, rows::version_value(row.value.as_ref()));
            }
        }
        for (key, at) in &batch.swept {
            write.remove(tree, rows::version_key(batch.incarnation, key, *at));
        }
        for (key, value) in &batch.meta {
            let key = rows::meta_key(batch.partition, batch.incarnation, key);
            match value {
                Some(value) => write.insert(tree, key, &value[..]),
                None => write.remove(tree, key),
            }
        }
    }

    /// Removes what lies under the tombstones that a batch sweeps, some rows at a time: nobody can read
    /// it any more, since the horizon has long passed the tombstones. These go with the batch itself.
    fn remove_superseded(&self, batch: &StoreBatch) -> Result<(), StoreError> {
        let tree = &self.reader.rows;
        let snapshot = self.reader.database.snapshot();
        let mut write = self.reader.database.batch();
        for (key, at) in &batch.swept {
            let Some(below) = at.to_bits().checked_sub(1) else {
                continue;
            };
            let below = rows::versions_of(batch.incarnation, key, Timestamp::from_bits(below));
            for guard in snapshot.range(tree, below) {
                write.remove(tree, guard.key().map_err(failed)?);
                if write.len() >= SWEPT_STEP_MAX {
                    let full = std::mem::replace(&mut write, self.reader.database.batch());
                    full.commit().map_err(failed)?;
                }
            }
        }
        write.commit().map_err(failed)
    }
}

impl Store for FjallStore {
    fn apply(&mut self, batches: &[StoreBatch]) -> Result<(), StoreError> {
        // A batch that sweeps must find the rows of those before it in the tree.
        for group in batches.chunk_by(|_, next| next.swept.is_empty()) {
            self.apply_group(group)?;
        }
        Ok(())
    }

    fn query(
        &self,
        partition: PartitionId,
        incarnation: u32,
        queries: &[StoreQuery],
    ) -> Result<StoreAnswer, StoreError> {
        self.reader.query(partition, incarnation, queries)
    }

    fn applied(
        &self,
        partition: PartitionId,
        incarnation: u32,
    ) -> Result<Option<AppliedState>, StoreError> {
        Ok(self.applied.get(&(partition, incarnation)).copied())
    }

    fn persisted(&mut self) -> Result<BTreeMap<(PartitionId, u32), LogPosition>, StoreError> {
        self.update_persisted();
        Ok(self.persisted.positions())
    }

    fn set_live(&mut self, live: Live) -> Result<(), StoreError> {
        let replicas = self.applied.keys().copied();
        let dead: Vec<_> = replicas.filter(|(p, i)| !live.needs(*p, *i)).collect();
        for replica in dead {
            self.remove_small_rows(replica)?;
        }
        self.persisted.retain(|(p, i)| live.needs(*p, *i));
        self.retention.set_live(&live, &self.persisted.horizons());
        Ok(())
    }
}

/// What damaged files make the tree do while it opens is not known: a panic says that they are.
fn open_undamaged(
    tables: &Path,
    options: StoreOptions,
    retention: &Arc<Retention>,
) -> Result<Database, StoreError> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        open_database(tables, options, retention)
    }));
    opened.unwrap_or_else(|_| {
        Err(StoreError::DamagedFile {
            what: format!(
                "a file in {} is damaged: opening it panicked, the message is on standard error",
                tables.display()
            ),
            data: data_of(tables),
        })
    })
}

fn open_database(
    path: &Path,
    options: StoreOptions,
    retention: &Arc<Retention>,
) -> Result<Database, StoreError> {
    let factory: Arc<dyn Factory> = Arc::new(RetentionFactory(Arc::clone(retention)));
    let opened = Database::builder(path)
        .with_compaction_filter_factories(Arc::new(move |_| Some(Arc::clone(&factory))))
        .manual_journal_persist(true)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .cache_size(options.cache_bytes)
        .worker_threads(options.workers)
        .open();
    opened.map_err(|error| match error {
        Error::Locked => in_use(path),
        other => unreadable(path, other),
    })
}

/// The data directory, of which the store's tables lie two levels below.
pub(super) fn data_of(tables: &Path) -> String {
    let data = tables.parent().and_then(Path::parent).unwrap_or(tables);
    data.display().to_string()
}

/// The tables cannot be opened: because of their contents, or because the system gives no access.
fn unreadable(tables: &Path, error: Error) -> StoreError {
    let is_access = |error: &io::Error| error.kind() != io::ErrorKind::NotFound;
    match &error {
        Error::Io(source) if is_access(source) => cannot_open(tables, error),
        Error::Storage(LsmError::Io(source)) if is_access(source) => cannot_open(tables, error),
        _ => StoreError::DamagedFile {
            what: format!(
                "a file in {} is damaged or missing ({error})",
                tables.display()
            ),
            data: data_of(tables),
        },
    }
}

/// Cuts the journals to nothing. The directory may not be there yet.
fn empty_journals(tables: &Path) -> io::Result<()> {
    let files = match fs::read_dir(tables) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let journal = File::options().write(true).open(&path)?;
            journal.set_len(0)?;
            journal.sync_all()?;
        }
    }
    Ok(())
}

pub(super) fn not_written(error: Error) -> StoreError {
    match error {
        Error::Poisoned => StoreError::Failed(
            "a table could not be written; the reason was logged before. Nothing acknowledged is lost: what is not in the tables lies in the log".to_owned(),
        ),
        other => failed(other),
    }
}

fn in_use(path: &Path) -> StoreError {
    StoreError::Open(format!(
        "the data directory {} is in use by another process",
        path.display()
    ))
}

fn cannot_open(path: &Path, error: impl std::fmt::Display) -> StoreError {
    StoreError::Open(format!("{}: {error}", path.display()))
}

fn format_refused(error: FormatError) -> StoreError {
    StoreError::Open(match error {
        FormatError::Newer { path, found } => format!(
            "{} is in store format {found}, this version knows formats up to {}: use a newer version",
            path.display(),
            FORMAT.version
        ),
        FormatError::Unknown(path) => format!("{} does not name a store format", path.display()),
        FormatError::Io { what, path, source } => {
            format!("cannot {what} {}: {source}", path.display())
        }
    })
}
