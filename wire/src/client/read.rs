//! Reads outside a transaction: at a snapshot of now or of the past.

use super::io::Route;
use super::{Client, Error, IntoKeyRange, Scan};
use crate::keys::{KEY_BYTES_MAX, Key};
use crate::message::{
    ClientAnswer, ClientRequest, ReadRequest, ReadResult, RequestError, Snapshot, VersionedValue,
};
use clock::Timestamp;

/// A view of the store at a timestamp.
#[derive(Clone)]
pub struct Past {
    client: Client,
    timestamp: Option<Timestamp>,
}

impl Past {
    /// A view at a timestamp, or of now.
    pub(super) fn new(client: Client, timestamp: Option<Timestamp>) -> Past {
        Past { client, timestamp }
    }

    /// The value of a key.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<VersionedValue>, Error> {
        let mut values = self.get_many(&[key]).await?;
        Ok(values.pop().flatten())
    }

    /// The values of several keys, all of one snapshot, in the order asked for.
    pub async fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
    ) -> Result<Vec<Option<VersionedValue>>, Error> {
        let keys: Vec<Key> = keys.iter().map(|key| self.client.key(key)).collect();
        let Some(first) = keys.first() else {
            return Ok(vec![]);
        };
        let route = Route::to(first);
        let requests = get_requests(keys)?;
        let count = requests.len();
        let request = ClientRequest::Read {
            reader: None,
            snapshot: self.timestamp.map_or(Snapshot::Fresh, Snapshot::At),
            requests,
        };
        let answered = self.client.pool.call(&route, &request).await?;
        match &answered.answer {
            ClientAnswer::Read { results, .. } => {
                values(results, count).ok_or_else(|| answered.unexpected("one value a key"))
            }
            _ => Err(answered.unexpected("Read")),
        }
    }

    /// The rows of a range.
    pub fn scan(&self, range: impl IntoKeyRange) -> Scan {
        let range = range.into_key_range(self.client.keyspace);
        Scan::new(self.client.clone(), range, self.timestamp)
    }
}

/// Requests for single keys, none of them too long.
pub(super) fn get_requests(keys: Vec<Key>) -> Result<Vec<ReadRequest>, Error> {
    let request = |key: Key| {
        check_key(&key)?;
        Ok(ReadRequest::Get { key })
    };
    keys.into_iter().map(request).collect()
}

/// Results for single keys, as many as were asked for.
pub(super) fn values(results: &[ReadResult], count: usize) -> Option<Vec<Option<VersionedValue>>> {
    let value = |result: &ReadResult| match result {
        ReadResult::Value(value) => Some(value.clone()),
        ReadResult::Rows { .. } => None,
    };
    let values: Option<Vec<_>> = results.iter().map(value).collect();
    values.filter(|values| values.len() == count)
}

/// Refuses a key that no node would take.
pub(super) fn check_key(key: &Key) -> Result<(), Error> {
    /// How much of a key that is too long is shown.
    const SHOWN: usize = 32;
    let user = key.user();
    if user.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::Request(RequestError::KeyTooLong {
        key: format!("{}…", user[..SHOWN].escape_ascii()),
        bytes: user.len() as u64,
    }))
}
