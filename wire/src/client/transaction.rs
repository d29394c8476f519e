//! Transactions that read, then write (R3): reads at one snapshot, writes kept here until commit.
//!
//! Invariants:
//! - everything read is of one snapshot, drawn by the first read; it moves up only if nothing that was
//!   read has changed until there;
//! - whatever was read is in the read set, for scans the range that the rows came from, so that a
//!   change of it before the commit is noticed;
//! - locks only save a transaction from losing; what it may do never rests on them.

use super::io::{Route, commit, new_transaction_id};
use super::one_shot::{check_writes, name_of};
use super::overlay::Overlay;
use super::pager::Pager;
use super::read::{check_key, get_requests, values};
use super::scan::page_of;
use super::{Client, Error, IntoKeyRange};
use crate::ids::TransactionId;
use crate::keys::{Key, KeyRange};
use crate::message;
use crate::message::{
    AbortReason, Change, ClientAnswer, ClientRequest, Commit, Committed, Locked, Operation,
    OperationKind, ReadRequest, RequestError, Row, Snapshot, TransactionName, VersionedValue,
};
use bytes::Bytes;
use clock::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The most keys and ranges that one transaction may read.
pub const READS_MAX: usize = 100_000;

/// What `get_for_update` does if another transaction holds the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LockWait {
    /// Queue for it: the oldest transaction is served first.
    #[default]
    Queue,
    /// Fail at once, with [`Error::KeyLocked`].
    NoWait,
    /// Answer at once that it is taken, so that a worker can take the next piece of work.
    SkipLocked,
}

/// What became of a `get_for_update`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForUpdate {
    /// The key is locked; its value, as the transaction sees it.
    Locked(Option<VersionedValue>),
    /// Another transaction holds it, and it was passed by.
    Taken {
        /// The key.
        key: Key,
        /// Who holds it.
        rival: TransactionId,
    },
}

/// A transaction under way. Dropping it gives its locks back and leaves nothing.
pub struct Transaction {
    client: Client,
    id: Option<TransactionId>,
    age: Option<TransactionId>,
    snapshot: Option<Timestamp>,
    reads: BTreeSet<KeyRange>,
    locked: BTreeSet<Key>,
    overlay: Overlay,
    gateway: Option<Arc<str>>,
    name: Option<TransactionName>,
    conflict: Option<Error>,
    ended: bool,
}

impl Transaction {
    pub(super) fn new(client: Client, age: Option<TransactionId>) -> Transaction {
        Transaction {
            client,
            id: None,
            age,
            snapshot: None,
            reads: BTreeSet::new(),
            locked: BTreeSet::new(),
            overlay: Overlay::default(),
            gateway: None,
            name: None,
            conflict: None,
            ended: false,
        }
    }

    /// Its id; drawn when it is first needed.
    pub fn id(&mut self) -> Result<TransactionId, Error> {
        match self.id {
            Some(id) => Ok(id),
            None => Ok(*self.id.insert(new_transaction_id(&self.client.pool)?)),
        }
    }

    /// The name under which its outcome can be asked for; `None` before its commit was sent.
    pub fn name(&self) -> Option<&TransactionName> {
        self.name.as_ref()
    }

    /// The snapshot that it reads; `None` before its first read.
    pub fn snapshot(&self) -> Option<Timestamp> {
        self.snapshot
    }

    /// Whether it was committed or rolled back.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The value of a key in the snapshot, with the transaction's own writes on top. A value of its
    /// own has the timestamp `MAX`, for it has none yet.
    pub async fn get(&mut self, key: impl AsRef<[u8]>) -> Result<Option<VersionedValue>, Error> {
        let key = self.client.key(key);
        let base = match self.overlay.needs_base(&key) {
            true => self.read_keys(vec![key.clone()]).await?.pop().flatten(),
            false => None,
        };
        self.overlay.show(&key, base)
    }

    /// The values of several keys, in the order asked for.
    pub async fn get_many<K: AsRef<[u8]>>(
        &mut self,
        keys: &[K],
    ) -> Result<Vec<Option<VersionedValue>>, Error> {
        let keys: Vec<Key> = keys.iter().map(|key| self.client.key(key)).collect();
        let bases = self.read_keys(keys.clone()).await?;
        let pairs = keys.iter().zip(bases);
        pairs
            .map(|(key, base)| self.overlay.show(key, base))
            .collect()
    }

    /// Reads a key and takes an exclusive lock on it, so that the commit cannot lose it to another
    /// transaction. Worth it where the value is about to be written and others want it too.
    pub async fn get_for_update(
        &mut self,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<VersionedValue>, Error> {
        match self.get_for_update_with(key, LockWait::Queue).await? {
            ForUpdate::Locked(value) => Ok(value),
            ForUpdate::Taken { key, rival } => Err(Error::KeyLocked { key, rival }),
        }
    }

    /// As [`Transaction::get_for_update`], and says what to do if another transaction holds the key:
    /// queue for it, fail at once with [`Error::KeyLocked`], or pass it by.
    pub async fn get_for_update_with(
        &mut self,
        key: impl AsRef<[u8]>,
        wait: LockWait,
    ) -> Result<ForUpdate, Error> {
        let key = self.client.key(key);
        match (self.lock(key.clone(), wait).await?, wait) {
            (ForUpdate::Locked(base), _) => Ok(ForUpdate::Locked(self.overlay.show(&key, base)?)),
            (taken, LockWait::SkipLocked) => Ok(taken),
            (ForUpdate::Taken { key, rival }, _) => Err(Error::KeyLocked { key, rival }),
        }
    }

    /// The rows of a range in the snapshot, with the transaction's own writes among them.
    pub fn scan(&mut self, range: impl IntoKeyRange) -> TransactionScan<'_> {
        let range = range.into_key_range(self.client.keyspace);
        TransactionScan {
            transaction: self,
            pager: Pager::new(range),
        }
    }

    /// Any operation, on any key of any keyspace.
    pub fn operation(&mut self, operation: Operation) {
        self.overlay.push(operation);
    }

    fn on(&mut self, key: impl AsRef<[u8]>, kind: OperationKind) {
        let key = self.client.key(key);
        self.operation(Operation { key, kind });
    }

    /// Sets a value.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        self.on(key, OperationKind::Put(value.into()));
    }

    /// Removes a value.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.on(key, OperationKind::Delete);
    }

    /// Adds to a number; absent counts as 0. Without having read it, it never conflicts.
    pub fn add(&mut self, key: impl AsRef<[u8]>, delta: i64) {
        self.on(key, OperationKind::Add(delta));
    }

    /// Takes the lesser of the number and this one.
    pub fn min(&mut self, key: impl AsRef<[u8]>, number: i64) {
        self.on(key, OperationKind::Min(number));
    }

    /// Takes the greater of the number and this one.
    pub fn max(&mut self, key: impl AsRef<[u8]>, number: i64) {
        self.on(key, OperationKind::Max(number));
    }

    /// Appends bytes.
    pub fn append(&mut self, key: impl AsRef<[u8]>, bytes: impl Into<Bytes>) {
        self.on(key, OperationKind::Append(bytes.into()));
    }

    /// Commits; returns when it is committed or never will be. One that wrote nothing is complete
    /// already: what it read was true at its snapshot.
    pub async fn commit(&mut self) -> Result<Committed, Error> {
        self.check_open()?;
        if self.overlay.operations().is_empty() {
            self.release_locks();
            self.ended = true;
            return Ok(Committed {
                at: self.snapshot.unwrap_or(Timestamp::ZERO),
                results: vec![],
                attempts: 0,
                partitions: 0,
            });
        }
        check_writes(self.overlay.operations())?;
        let sent = self.make_commit()?;
        (self.ended, self.name) = (true, Some(sent.name.clone()));
        // Whoever drops this while the commit is under way must not take its locks away.
        let locked = std::mem::take(&mut self.locked);
        let route = Route::to(&sent.name.anchor).staying_at(self.gateway.clone());
        let ended = commit(&self.client.pool, &route, sent).await;
        if let Err(error) = &ended {
            self.conflict = error.conflict();
            if !matches!(error, Error::OutcomeUnknown { .. }) {
                self.locked = locked;
                self.release_locks();
            }
        }
        ended
    }

    fn make_commit(&mut self) -> Result<Commit, Error> {
        let id = self.id()?;
        let operations = self.overlay.operations().to_vec();
        let written = |key: &&Key| !self.overlay.writes(key);
        Ok(Commit {
            name: name_of(&self.client, id, &operations)?,
            age: self.age.unwrap_or(id),
            snapshot: self.snapshot.map_or(Snapshot::Fresh, Snapshot::At),
            reads: self.reads.iter().cloned().collect(),
            guards: vec![],
            locked: self.locked.iter().filter(written).cloned().collect(),
            operations,
            resent: false,
        })
    }

    /// Ends it without a trace; returns when its locks are given back.
    pub async fn rollback(&mut self) {
        self.ended = true;
        if let Some(giving_back) = self.give_locks_back() {
            giving_back.await;
        }
    }

    /// Gives locks back without waiting: a lock that is not given back ends by itself.
    pub(super) fn release_locks(&mut self) {
        let Some(giving_back) = self.give_locks_back() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(giving_back)),
            Err(_) => tracing::debug!("dropped outside a runtime: its locks end by themselves"),
        }
    }

    fn give_locks_back(&mut self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let id = self.id.filter(|_| !self.locked.is_empty())?;
        let keys: Vec<Key> = std::mem::take(&mut self.locked).into_iter().collect();
        let route = Route::to(&keys[0]).staying_at(self.gateway.clone());
        let pool = self.client.pool.clone();
        Some(async move {
            let request = ClientRequest::Rollback { id, keys };
            if let Err(error) = pool.call(&route, &request).await {
                tracing::debug!(%id, %error, "locks could not be given back; they end by themselves");
            }
        })
    }

    /// The conflict that a request of this transaction ran into.
    pub(super) fn conflict(&self) -> Option<Error> {
        self.conflict.as_ref().and_then(Error::conflict)
    }

    /// What another run should lock early, ascending: what it wrote because of what it read there.
    /// What was written unread cannot have lost to anybody.
    pub(super) fn contended_keys(&self) -> impl Iterator<Item = Key> {
        let was_read = |key: &&Key| self.reads.contains(&KeyRange::point((*key).clone()));
        self.overlay.keys().filter(was_read).cloned()
    }

    fn check_open(&self) -> Result<(), Error> {
        match self.ended {
            false => Ok(()),
            true => Err(Error::Ended),
        }
    }

    async fn ask(
        &mut self,
        key: &Key,
        request: &ClientRequest,
    ) -> Result<super::io::Answered, Error> {
        self.check_open()?;
        let route = Route::to(key).staying_at(self.gateway.clone());
        let answered = self.client.pool.call(&route, request).await;
        match &answered {
            Ok(answered) => self.gateway = Some(answered.gateway.clone()),
            // A conflict that was seen stays one, whatever comes after it.
            Err(error) => self.conflict = error.conflict().or(self.conflict.take()),
        }
        answered
    }

    fn snapshot_or_fresh(&self) -> Snapshot {
        self.snapshot.map_or(Snapshot::Fresh, Snapshot::At)
    }

    fn record_read(&mut self, range: KeyRange) -> Result<(), Error> {
        self.reads.insert(range);
        if self.reads.len() <= READS_MAX {
            return Ok(());
        }
        let why = format!("a transaction reads at most {READS_MAX} keys and ranges: split it");
        Err(RequestError::Invalid { why }.into())
    }

    async fn read_keys(&mut self, keys: Vec<Key>) -> Result<Vec<Option<VersionedValue>>, Error> {
        let Some(first) = keys.first().cloned() else {
            return Ok(vec![]);
        };
        for key in &keys {
            self.record_read(KeyRange::point(key.clone()))?;
        }
        let count = keys.len();
        let request = ClientRequest::Read {
            reader: Some(self.id()?),
            snapshot: self.snapshot_or_fresh(),
            requests: get_requests(keys)?,
        };
        let answered = self.ask(&first, &request).await?;
        match &answered.answer {
            ClientAnswer::Read { at, results } => {
                self.snapshot = Some(*at);
                values(results, count).ok_or_else(|| answered.unexpected("one value a key"))
            }
            _ => Err(answered.unexpected("Read")),
        }
    }

    async fn read_page(
        &mut self,
        pager: &mut Pager,
        page: ReadRequest,
        first: &Key,
    ) -> Result<(), Error> {
        let request = ClientRequest::Read {
            reader: Some(self.id()?),
            snapshot: self.snapshot_or_fresh(),
            requests: vec![page],
        };
        let answered = self.ask(first, &request).await?;
        let page = page_of(answered.answer.clone());
        let covered = |(_, _, rest): &(_, _, Option<KeyRange>)| pager.covered(rest.as_ref());
        let (Some((at, rows, rest)), Some(covered)) = (&page, page.as_ref().and_then(covered))
        else {
            return Err(answered.unexpected("a page of the scan"));
        };
        self.snapshot = Some(*at);
        // It was read, whatever comes of laying the own writes over it.
        self.record_read(covered.clone())?;
        let rows = self.overlay.merge(rows.clone(), &covered, pager.reverse)?;
        pager.on_page(rows, rest.clone());
        Ok(())
    }

    /// Locks a key and gives its value in the snapshot, which moves up if the key is newer.
    pub(super) async fn lock(&mut self, key: Key, wait: LockWait) -> Result<ForUpdate, Error> {
        check_key(&key)?;
        let id = self.id()?;
        let request = ClientRequest::Lock {
            id,
            age: self.age.unwrap_or(id),
            snapshot: self.snapshot_or_fresh(),
            key: key.clone(),
            wait: match wait {
                LockWait::Queue => message::LockWait::Queue,
                LockWait::NoWait | LockWait::SkipLocked => message::LockWait::Refuse,
            },
        };
        // Asked for, so perhaps held, whatever becomes of the answer.
        self.locked.insert(key.clone());
        let answered = self.ask(&key, &request).await?;
        let (at, locked) = match &answered.answer {
            ClientAnswer::Locked { at, locked } => (at, locked),
            ClientAnswer::Taken { key, rival } => {
                let (key, rival) = (key.clone(), *rival);
                self.locked.remove(&key);
                return Ok(ForUpdate::Taken { key, rival });
            }
            _ => return Err(answered.unexpected("Locked")),
        };
        let snapshot = *self.snapshot.get_or_insert(*at);
        self.move_snapshot_up(snapshot, locked).await?;
        self.record_read(KeyRange::point(key))?;
        Ok(ForUpdate::Locked(locked.value.clone()))
    }

    /// The value under a lock may be newer than the snapshot. If nothing was read the snapshot may be
    /// there as well; else what was read must not have changed until there.
    async fn move_snapshot_up(&mut self, from: Timestamp, locked: &Locked) -> Result<(), Error> {
        let to = locked.newest;
        if to <= from {
            return Ok(());
        }
        if !self.reads.is_empty() {
            self.refresh(from, to).await?;
        }
        self.snapshot = Some(to);
        Ok(())
    }

    async fn refresh(&mut self, from: Timestamp, to: Timestamp) -> Result<(), Error> {
        let id = self.id()?;
        let reads: Vec<KeyRange> = self.reads.iter().cloned().collect();
        let first = reads
            .first()
            .map_or_else(Key::least, |range| range.start.clone());
        let request = ClientRequest::Refresh {
            id,
            from,
            to,
            reads,
        };
        let answered = self.ask(&first, &request).await?;
        match &answered.answer {
            ClientAnswer::Refreshed { changed: None } => Ok(()),
            ClientAnswer::Refreshed {
                changed: Some(Change { key, rival }),
            } => {
                let (key, rival) = (key.clone(), *rival);
                let reason = AbortReason::Changed { key, rival };
                let lost = Error::Aborted { id, reason };
                self.conflict = lost.conflict();
                Err(lost)
            }
            _ => Err(answered.unexpected("Refreshed")),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.release_locks();
    }
}

/// The rows of a range as a transaction sees them, read as they are asked for.
pub struct TransactionScan<'t> {
    transaction: &'t mut Transaction,
    pager: Pager,
}

impl TransactionScan<'_> {
    /// From the last key to the first.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.pager.reverse = true;
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.pager.left = Some(rows);
        self
    }

    /// So many rows are asked for at once; 1,000 unless said otherwise.
    #[must_use]
    pub fn page_rows(mut self, rows: u32) -> Self {
        self.pager.page_rows = rows;
        self
    }

    /// The next row; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        loop {
            if let Some(row) = self.pager.take() {
                return Ok(Some(row));
            }
            let (Some(page), Some(first)) = (self.pager.next_page(), self.pager.next_key()) else {
                return Ok(None);
            };
            let read = self.transaction.read_page(&mut self.pager, page, &first);
            read.await?;
        }
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }
}
