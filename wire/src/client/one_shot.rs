//! Transactions that are sent as a whole.

use super::io::{Route, commit, new_transaction_id};
use super::read::check_key;
use super::transact::Rerun;
use super::{Client, Error, HeldCommit};
use crate::client::commit_retry::COMMIT_EXPIRES_AFTER;
use crate::ids::TransactionId;
use crate::keys::{Key, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX};
use crate::message::{
    Commit, Committed, Condition, Guard, Operation, OperationKind, RequestError, Snapshot,
    TransactionName,
};
use bytes::Bytes;

/// Guards and operations of one transaction: either all operations happen at one timestamp at which
/// all guards hold, or none.
#[must_use = "a transaction does nothing until it is committed"]
pub struct OneShot {
    client: Client,
    guards: Vec<Guard>,
    operations: Vec<Operation>,
}

impl OneShot {
    pub(super) fn new(client: Client) -> OneShot {
        OneShot {
            client,
            guards: vec![],
            operations: vec![],
        }
    }

    /// What must hold, on any key of any keyspace.
    pub fn guard(mut self, guard: Guard) -> OneShot {
        self.guards.push(guard);
        self
    }

    /// What must hold, on a key of this keyspace.
    pub fn when(self, key: impl AsRef<[u8]>, condition: Condition) -> OneShot {
        let key = self.client.key(key);
        self.guard(Guard { key, condition })
    }

    /// Any operation, on any key of any keyspace.
    pub fn operation(mut self, operation: Operation) -> OneShot {
        self.operations.push(operation);
        self
    }

    fn on(self, key: impl AsRef<[u8]>, kind: OperationKind) -> OneShot {
        let key = self.client.key(key);
        self.operation(Operation { key, kind })
    }

    /// Sets a value.
    pub fn put(self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) -> OneShot {
        self.on(key, OperationKind::Put(value.into()))
    }

    /// Removes a value.
    pub fn delete(self, key: impl AsRef<[u8]>) -> OneShot {
        self.on(key, OperationKind::Delete)
    }

    /// Adds to a number; absent counts as 0.
    pub fn add(self, key: impl AsRef<[u8]>, delta: i64) -> OneShot {
        self.on(key, OperationKind::Add(delta))
    }

    /// Takes the lesser of the number and this one.
    pub fn min(self, key: impl AsRef<[u8]>, number: i64) -> OneShot {
        self.on(key, OperationKind::Min(number))
    }

    /// Takes the greater of the number and this one.
    pub fn max(self, key: impl AsRef<[u8]>, number: i64) -> OneShot {
        self.on(key, OperationKind::Max(number))
    }

    /// Appends bytes.
    pub fn append(self, key: impl AsRef<[u8]>, bytes: impl Into<Bytes>) -> OneShot {
        self.on(key, OperationKind::Append(bytes.into()))
    }

    /// Sends it; returns when it is committed or never will be. Tries again, under a new id, what lost
    /// against others.
    pub async fn commit(self) -> Result<Committed, Error> {
        let mut rerun = Rerun::new(&self.client);
        loop {
            match self.commit_once(rerun.age()?).await {
                Err(lost) if lost.is_conflict() => rerun.after(lost).await?,
                ended => return ended,
            }
        }
    }

    /// As [`OneShot::commit`], but only once, under a name that the caller may keep for
    /// [`Client::outcome`]: it is given to `named` before anything is sent.
    pub async fn commit_named(
        self,
        named: impl FnOnce(&TransactionName),
    ) -> Result<Committed, Error> {
        let id = new_transaction_id(&self.client.pool)?;
        let sent = self.to_commit(id, id)?;
        named(&sent.name);
        let route = Route::to(&sent.name.anchor);
        commit(&self.client.pool, &route, sent).await
    }

    /// Fixes its name and gives it out of hand: the program sends it itself.
    pub fn hold(self) -> Result<HeldCommit, Error> {
        let id = new_transaction_id(&self.client.pool)?;
        let commit = self.to_commit(id, id)?;
        Ok(HeldCommit::new(self.client, commit))
    }

    async fn commit_once(&self, age: Option<TransactionId>) -> Result<Committed, Error> {
        let id = new_transaction_id(&self.client.pool)?;
        let sent = self.to_commit(id, age.unwrap_or(id))?;
        let route = Route::to(&sent.name.anchor);
        commit(&self.client.pool, &route, sent).await
    }

    fn to_commit(&self, id: TransactionId, age: TransactionId) -> Result<Commit, Error> {
        check_writes(&self.operations)?;
        Ok(Commit {
            name: name_of(&self.client, id, &self.operations)?,
            age,
            snapshot: Snapshot::Fresh,
            reads: vec![],
            guards: self.guards.clone(),
            operations: self.operations.clone(),
            locked: vec![],
            resent: false,
        })
    }
}

/// The name under which these operations are committed, from now on.
pub(super) fn name_of(
    client: &Client,
    id: TransactionId,
    operations: &[Operation],
) -> Result<TransactionName, Error> {
    let Some(first) = operations.first() else {
        let why = "a transaction that is committed must write something".into();
        return Err(RequestError::Invalid { why }.into());
    };
    Ok(TransactionName {
        id,
        expires: client.pool.wall().plus(COMMIT_EXPIRES_AFTER),
        anchor: first.key.clone(),
    })
}

/// Refuses what no node would take.
pub(super) fn check_writes(operations: &[Operation]) -> Result<(), Error> {
    let mut total = 0;
    for operation in operations {
        check_key(&operation.key)?;
        check_value(&operation.key, operation.kind.payload_bytes())?;
        total += operation.key.bytes().len() + operation.kind.payload_bytes();
    }
    if total <= TRANSACTION_BYTES_MAX {
        return Ok(());
    }
    let bytes = total as u64;
    Err(RequestError::TransactionTooLarge { bytes }.into())
}

fn check_value(key: &Key, bytes: usize) -> Result<(), Error> {
    if bytes <= VALUE_BYTES_MAX {
        return Ok(());
    }
    let (key, bytes) = (key.clone(), bytes as u64);
    Err(RequestError::ValueTooLong { key, bytes }.into())
}
