//! Accounts are loaded before a bench, and their total is read at one snapshot.

use super::accounts::Accounts;
use crate::failure::Failure;
use crate::text::bytes::shown;
use bytes::Bytes;
use tokio::task::JoinSet;
use wire::client::{Client, Error, prefix};

/// What every account holds at first.
pub(super) const BALANCE: i64 = 1_000;
/// Accounts in one transaction.
const BATCH_ROWS: u64 = 100;
/// Transactions under way.
const BATCHES_UNDER_WAY_MAX: usize = 8;

/// Sets every account; with `keep` only those that have no value.
pub(super) async fn load(
    client: &Client,
    accounts: &Accounts,
    value: Bytes,
    keep: bool,
) -> Result<(), Failure> {
    let mut batches = JoinSet::new();
    for first in (0..accounts.count()).step_by(BATCH_ROWS as usize) {
        if batches.len() >= BATCHES_UNDER_WAY_MAX {
            finish_one(&mut batches).await?;
        }
        let last = accounts.count().min(first + BATCH_ROWS);
        let keys: Vec<Bytes> = (first..last).map(|number| accounts.key(number)).collect();
        let (client, value) = (client.clone(), value.clone());
        batches.spawn_local(async move { load_batch(&client, keys, value, keep).await });
    }
    while !batches.is_empty() {
        finish_one(&mut batches).await?;
    }
    Ok(())
}

async fn finish_one(batches: &mut JoinSet<Result<(), Error>>) -> Result<(), Failure> {
    if let Some(ended) = batches.join_next().await {
        ended.map_err(Failure::error)??;
    }
    Ok(())
}

async fn load_batch(
    client: &Client,
    mut keys: Vec<Bytes>,
    value: Bytes,
    keep: bool,
) -> Result<(), Error> {
    if keep {
        let held = client.get_many(&keys).await?;
        let mut held = held.iter();
        keys.retain(|_| held.next().is_some_and(Option::is_none));
    }
    if keys.is_empty() {
        return Ok(());
    }
    let puts = keys.iter();
    let transaction = puts.fold(client.transaction(), |transaction, key| {
        transaction.put(key, value.clone())
    });
    transaction.commit().await.map(|_| ())
}

/// The total of all accounts, read in scans at one snapshot.
pub(super) async fn total(client: &Client, accounts: &Accounts) -> Result<i128, Failure> {
    let at = client.timestamp().await?;
    let mut total = 0;
    for home in accounts.homes() {
        let mut scan = client.at(at).scan(prefix(&home.prefix));
        while let Some(row) = scan.next().await? {
            let balance = number(&row.version.value).ok_or_else(|| {
                let (key, value) = (shown(row.key.user()), shown(&row.version.value));
                Failure::error(format!(
                    "account {key} holds {value}, which is not a number"
                ))
            })?;
            total += i128::from(balance);
        }
    }
    Ok(total)
}

/// A value as a number.
pub(super) fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_are_decimal_texts() {
        assert_eq!(number(BALANCE.to_string().as_bytes()), Some(BALANCE));
        assert_eq!(number(b"-7"), Some(-7));
        assert_eq!(number(b"\xff"), None);
        assert_eq!(number(b""), None);
    }
}
