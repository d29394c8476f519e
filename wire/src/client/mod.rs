//! The client library.
//!
//! A [`Client`] speaks to one gateway for each request, the node that leads the partition of the first
//! key if that is known, and to any other if that fails. Many requests are in flight on a connection
//! (pattern Request Pipeline), and what waits is written at once (pattern Request Batch).
//!
//! ```no_run
//! # async fn example() -> Result<(), wire::client::Error> {
//! let client = wire::client::Client::connect(&["127.0.0.1:7400"]).await?;
//! client.put("alice", "100").await?;
//! let left = client
//!     .transact(async |t| {
//!         let balance = t.get("alice").await?;
//!         t.add("alice", -30);
//!         t.add("bob", 30);
//!         Ok(balance)
//!     })
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! Invariants:
//! - a transaction commits at most once, however often and over however many gateways its commit is
//!   sent (pattern Idempotent Receiver): the name is fixed before the first send;
//! - a refusal is believed only if the commit was sent once, or the refusal is durable;
//! - everything that a transaction reads is of one snapshot, its own writes on top of it;
//! - what is answered is never older than what was acknowledged to anybody before the question.
//!
//! Source: the protocol's rules R1 (begin), R3 (write), R10 (retry) and R11 (contention).

mod commit_retry;
mod error;
mod held_commit;
mod io;
mod keyspaces;
mod one_shot;
mod options;
mod overlay;
mod pager;
mod ranges;
mod read;
mod routing;
mod scan;
mod settings;
mod transact;
mod transaction;
mod transfer;

pub use error::Error;
pub use held_commit::{HeldCommit, Told};
pub use keyspaces::KEYSPACE_NAME_BYTES_MAX;
pub use one_shot::OneShot;
pub use options::ClientOptions;
pub use ranges::{IntoKeyRange, Prefix, prefix};
pub use read::Past;
pub use scan::Scan;
pub use transaction::{ForUpdate, LockWait, READS_MAX, Transaction, TransactionScan};

use crate::ids::{ClusterId, KeyspaceId};
use crate::keys::{DEFAULT_KEYSPACE, Key};
use crate::message::{
    ClientAnswer, ClientRequest, MapAnswer, NodeStatus, OutcomeAnswer, TransactionName,
    VersionedValue,
};
use bytes::Bytes;
use clock::Timestamp;
use io::{Pool, Route};
use std::sync::Arc;

/// A client of a cluster, and a handle on one of its keyspaces. Cheap to clone; clones share their
/// connections.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
    keyspace: KeyspaceId,
}

impl Client {
    /// Connects through any of these addresses; the other nodes are found through the first that
    /// answers. A handle on the keyspace `default`.
    pub async fn connect<A: AsRef<str>>(addresses: &[A]) -> Result<Client, Error> {
        Client::connect_with(addresses, ClientOptions::default()).await
    }

    /// As [`Client::connect`], with other options than the default ones.
    pub async fn connect_with<A: AsRef<str>>(
        addresses: &[A],
        options: ClientOptions,
    ) -> Result<Client, Error> {
        let addresses = addresses.iter().map(|a| Arc::from(a.as_ref())).collect();
        let pool = Pool::connect(addresses, options).await?;
        Ok(Client {
            pool,
            keyspace: DEFAULT_KEYSPACE,
        })
    }

    /// The cluster that it is connected to.
    pub fn cluster(&self) -> ClusterId {
        self.pool.cluster()
    }

    /// The keyspace that this handle is on.
    pub fn keyspace_id(&self) -> KeyspaceId {
        self.keyspace
    }

    /// A handle on the keyspace with this id.
    pub fn with_keyspace_id(&self, keyspace: KeyspaceId) -> Client {
        Client {
            pool: self.pool.clone(),
            keyspace,
        }
    }

    /// The full key of a user's key in this keyspace.
    pub fn key(&self, user: impl AsRef<[u8]>) -> Key {
        Key::new(self.keyspace, user.as_ref())
    }

    /// The newest value of a key.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<VersionedValue>, Error> {
        self.now().get(key).await
    }

    /// The values of several keys, all of one snapshot, in the order asked for.
    pub async fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
    ) -> Result<Vec<Option<VersionedValue>>, Error> {
        self.now().get_many(keys).await
    }

    /// The rows of a range, all of one snapshot.
    pub fn scan(&self, range: impl IntoKeyRange) -> Scan {
        self.now().scan(range)
    }

    /// A view of the store at a timestamp of the past.
    pub fn at(&self, timestamp: Timestamp) -> Past {
        Past::new(self.clone(), Some(timestamp))
    }

    fn now(&self) -> Past {
        Past::new(self.clone(), None)
    }

    /// Sets a value; returns the commit timestamp.
    pub async fn put(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Result<Timestamp, Error> {
        Ok(self.transaction().put(key, value).commit().await?.at)
    }

    /// Removes a value; returns the commit timestamp.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Timestamp, Error> {
        Ok(self.transaction().delete(key).commit().await?.at)
    }

    /// Begins to write down a transaction that is sent as a whole: guards and operations, no reads.
    pub fn transaction(&self) -> OneShot {
        OneShot::new(self.clone())
    }

    /// Begins a transaction that reads, then writes. See also [`Client::transact`], which retries.
    pub fn begin(&self) -> Transaction {
        Transaction::new(self.clone(), None)
    }

    /// What became of a commit. One that is not committed by now never will be: the question itself
    /// closes it.
    pub async fn outcome(&self, name: &TransactionName) -> Result<OutcomeAnswer, Error> {
        let request = ClientRequest::Outcome { name: name.clone() };
        let answered = self.pool.call(&Route::to(&name.anchor), &request).await?;
        match answered.answer {
            ClientAnswer::Outcome(outcome) => Ok(outcome),
            _ => Err(answered.unexpected("Outcome")),
        }
    }

    /// A timestamp above the commit timestamp of everything acknowledged before.
    pub async fn timestamp(&self) -> Result<Timestamp, Error> {
        let route = Route::anywhere();
        let answered = self.pool.call(&route, &ClientRequest::Timestamp).await?;
        match answered.answer {
            ClientAnswer::Timestamp(timestamp) => Ok(timestamp),
            _ => Err(answered.unexpected("Timestamp")),
        }
    }

    /// The map of key ranges, their leaders, and the nodes, as some node knows it now.
    pub async fn map(&self) -> Result<MapAnswer, Error> {
        let route = Route::anywhere();
        let answered = self.pool.call(&route, &ClientRequest::Map).await?;
        match answered.answer {
            // Whoever reads it may count on it: this client's next requests follow it too.
            ClientAnswer::Map(map) => {
                let learned = self.pool.on_map(map.clone());
                learned.map_err(|why| Error::NoAnswer { why })?;
                Ok(map)
            }
            _ => Err(answered.unexpected("Map")),
        }
    }

    /// What the node that listens at an address says of itself.
    pub async fn status_of(&self, address: &str) -> Result<NodeStatus, Error> {
        let address: Arc<str> = address.into();
        let answered = self.pool.ask(&address, &ClientRequest::Status).await?;
        match answered.answer {
            ClientAnswer::Status(status) => Ok(*status),
            _ => Err(answered.unexpected("Status")),
        }
    }
}
