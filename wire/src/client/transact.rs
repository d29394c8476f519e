//! Running a transaction again when it lost against another one (R11).
//!
//! A closure that is run again is a new transaction with a new id but its old age: whoever waits for
//! whom is decided by age, so it gets older than its rivals and is served in the end. It takes the
//! locks for what its last run wrote early, in key order, so that two such transactions cannot hold
//! what the other wants.

use super::io::{Backoff, Patience, new_transaction_id};
use super::{Client, Error, LockWait, Transaction};
use crate::ids::TransactionId;
use crate::keys::Key;
use std::time::Duration;

/// The first pause after a conflict, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));
/// The most locks that a further run takes early.
const EARLY_LOCKS_MAX: usize = 64;

/// The runs of one transaction.
pub(super) struct Rerun<'a> {
    client: &'a Client,
    patience: Patience,
    backoff: Backoff,
    age: Option<TransactionId>,
    runs: u32,
}

impl<'a> Rerun<'a> {
    pub(super) fn new(client: &'a Client) -> Rerun<'a> {
        Rerun {
            client,
            patience: Patience::new(client.pool.options().transact_timeout),
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
            age: None,
            runs: 1,
        }
    }

    /// The age of all runs.
    pub(super) fn age(&mut self) -> Result<Option<TransactionId>, Error> {
        if self.age.is_none() {
            self.age = Some(new_transaction_id(&self.client.pool)?);
        }
        Ok(self.age)
    }

    /// A run lost: waits a little, or gives up.
    pub(super) async fn after(&mut self, lost: Error) -> Result<(), Error> {
        if self.patience.left().is_zero() {
            return Err(Error::RetriesExhausted {
                runs: self.runs,
                waited: self.patience.waited(),
                last: Box::new(lost),
            });
        }
        self.runs += 1;
        self.backoff.pause(self.patience.left()).await;
        Ok(())
    }
}

impl Client {
    /// Runs a closure as a transaction and commits it; runs it again, with a fresh snapshot, for as
    /// long as it loses against other transactions. What the closure does outside the transaction
    /// happens as often as it runs. An error of its own (see [`Error::user`]) ends it without a trace.
    pub async fn transact<T, F>(&self, mut body: F) -> Result<T, Error>
    where
        F: AsyncFnMut(&mut Transaction) -> Result<T, Error>,
    {
        let mut rerun = Rerun::new(self);
        let mut early: Vec<Key> = vec![];
        loop {
            let mut transaction = Transaction::new(self.clone(), rerun.age()?);
            let lost = match run(&mut transaction, &early, &mut body).await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    transaction.release_locks();
                    error
                }
            };
            if !lost.is_conflict() {
                return Err(lost);
            }
            early = transaction.contended_keys().take(EARLY_LOCKS_MAX).collect();
            rerun.after(lost).await?;
        }
    }
}

/// One run. A conflict that the closure has seen counts, whatever the closure makes of it.
async fn run<T, F>(transaction: &mut Transaction, early: &[Key], body: &mut F) -> Result<T, Error>
where
    F: AsyncFnMut(&mut Transaction) -> Result<T, Error>,
{
    for key in early {
        transaction.lock(key.clone(), LockWait::Queue).await?;
    }
    let result = body(transaction).await;
    if let Some(conflict) = transaction.conflict() {
        return Err(conflict);
    }
    let value = result?;
    if !transaction.has_ended() {
        transaction.commit().await?;
    }
    Ok(value)
}
