//! What is refused before anything is asked of a partition: sizes, and requests that make no sense.
//!
//! Everything that grows with a client's request has its named maximum here.

use clock::Now;
use std::time::Duration;
use wire::keys::{KEY_BYTES_MAX, Key, KeyRange, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX};
use wire::message::{Commit, ReadRequest, RequestError, Snapshot, TransactionName};

/// Commits that one gateway coordinates at a time.
pub const COORDINATING_MAX: usize = 10_000;
/// Reads, locks, refreshes, rollbacks and questions that one gateway has under way at a time.
pub const REQUESTS_MAX: usize = 20_000;
/// Recoveries under way at a time. A push beyond is dropped: whoever waits pushes again.
pub const RECOVERIES_MAX: usize = 1_000;
/// Attempts that are resolved in the background at a time. One beyond is left to whoever meets its
/// locks.
pub const RESOLUTIONS_MAX: usize = 20_000;
/// Locks of `get_for_update` that the clients of one connection hold at a time.
pub const HELD_LOCKS_MAX: usize = 10_000;
/// Requests in one read.
pub const READ_REQUESTS_MAX: usize = 10_000;
/// Operations, and guards, and ranges read, of one transaction: of each at most so many.
pub const OPERATIONS_MAX: usize = 100_000;
/// Bytes of keys and values that one scan gives before it is continued with another request.
pub const SCAN_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// A commit's `expires` lies at most so far ahead.
pub const EXPIRES_AHEAD_MAX: Duration = Duration::from_secs(60);
/// An outcome is asked for with an `expires` at most so far ahead. Twice what commits may have: wherever
/// a commit was taken, its outcome is told also by a node whose clock is behind.
pub const ASKED_EXPIRES_AHEAD_MAX: Duration = Duration::from_secs(2 * EXPIRES_AHEAD_MAX.as_secs());
/// Keys of a transaction beyond so many bytes are not staged: two rounds instead of one (protocol,
/// *Words*).
pub const STAGING_BYTES_MAX: usize = 64 * 1024;
/// What a client is told to wait when a table is full, milliseconds.
pub const RETRY_MS: u32 = 50;

/// How much of a key that is too long is shown.
const KEY_SHOWN_BYTES: usize = 32;

fn invalid(why: impl Into<String>) -> RequestError {
    RequestError::Invalid { why: why.into() }
}

pub(crate) fn check_key(key: &Key) -> Result<(), RequestError> {
    if key.keyspace().is_none() {
        return Err(invalid("a key has no keyspace"));
    }
    let bytes = key.user().len();
    if bytes > KEY_BYTES_MAX {
        let shown = &key.user()[..KEY_SHOWN_BYTES];
        return Err(RequestError::KeyTooLong {
            key: format!("{}...", shown.escape_ascii()),
            bytes: bytes as u64,
        });
    }
    Ok(())
}

fn check_count(what: &str, count: usize, max: usize) -> Result<(), RequestError> {
    if count > max {
        return Err(invalid(format!("{count} {what}, the most is {max}")));
    }
    Ok(())
}

/// A range's borders may be any keys: the next one above the longest key is a byte longer.
fn check_range(range: &KeyRange) -> Result<(), RequestError> {
    let border_max = Key::least().bytes().len() + 4 + KEY_BYTES_MAX + 1;
    let longest = range.end.as_ref().map_or(0, |end| end.bytes().len());
    let longest = longest.max(range.start.bytes().len());
    if longest > border_max {
        return Err(RequestError::KeyTooLong {
            key: "a border of a range".to_owned(),
            bytes: longest as u64,
        });
    }
    Ok(())
}

pub(crate) fn check_ranges(ranges: &[KeyRange]) -> Result<(), RequestError> {
    check_count("ranges that were read", ranges.len(), OPERATIONS_MAX)?;
    ranges.iter().try_for_each(check_range)
}

pub(crate) fn check_keys(keys: &[Key]) -> Result<(), RequestError> {
    check_count("keys", keys.len(), OPERATIONS_MAX)?;
    keys.iter().try_for_each(check_key)
}

pub(crate) fn check_read(requests: &[ReadRequest]) -> Result<(), RequestError> {
    check_count("reads in one request", requests.len(), READ_REQUESTS_MAX)?;
    requests.iter().try_for_each(|request| match request {
        ReadRequest::Get { key } => check_key(key),
        ReadRequest::Scan { range, .. } => check_range(range),
    })
}

/// Sizes and sense of a commit. An `expires` that has passed is not looked at here: that commit may
/// have been sent before, and then its outcome is the answer.
pub(crate) fn check_commit(now: &Now, commit: &Commit) -> Result<(), RequestError> {
    if commit.operations.is_empty() {
        return Err(invalid(
            "a transaction that writes nothing is not committed: read",
        ));
    }
    check_count("operations", commit.operations.len(), OPERATIONS_MAX)?;
    check_count("guards", commit.guards.len(), OPERATIONS_MAX)?;
    check_ranges(&commit.reads)?;
    check_keys(&commit.locked)?;
    check_key(&commit.name.anchor)?;
    commit.guards.iter().try_for_each(|g| check_key(&g.key))?;
    check_operations(commit)?;
    if commit.snapshot == Snapshot::Fresh && !commit.reads.is_empty() {
        return Err(invalid(
            "a transaction that has read must say at which snapshot",
        ));
    }
    if !commit
        .operations
        .iter()
        .any(|o| o.key == commit.name.anchor)
    {
        return Err(invalid(
            "the anchor must be a key that the transaction writes",
        ));
    }
    check_expires(now, &commit.name, EXPIRES_AHEAD_MAX)
}

/// A name whose outcome is asked for. The question closes what the anchor does not know, and that is
/// kept until `expires`: one far ahead would be kept for ever, on every replica.
pub(crate) fn check_asked(now: &Now, name: &TransactionName) -> Result<(), RequestError> {
    check_key(&name.anchor)?;
    check_expires(now, name, ASKED_EXPIRES_AHEAD_MAX)
}

fn check_expires(now: &Now, name: &TransactionName, most: Duration) -> Result<(), RequestError> {
    if name.expires > now.latest().plus(most) {
        return Err(invalid(format!(
            "the transaction expires at {}, more than {} s from now; a commit may expire {} s from now",
            name.expires,
            most.as_secs(),
            EXPIRES_AHEAD_MAX.as_secs()
        )));
    }
    Ok(())
}

fn check_operations(commit: &Commit) -> Result<(), RequestError> {
    let mut total = 0_u64;
    for operation in &commit.operations {
        check_key(&operation.key)?;
        let bytes = operation.kind.payload_bytes();
        if bytes > VALUE_BYTES_MAX {
            return Err(RequestError::ValueTooLong {
                key: operation.key.clone(),
                bytes: bytes as u64,
            });
        }
        total += (operation.key.bytes().len() + bytes) as u64;
    }
    if total > TRANSACTION_BYTES_MAX as u64 {
        return Err(RequestError::TransactionTooLarge { bytes: total });
    }
    Ok(())
}
