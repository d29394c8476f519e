//! `predicate`: several processes insert for the same key at a time, each if its scan of two ranges, in different
//! partitions, finds nothing.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, Undone, commit, number};
use super::{int, pair};
use crate::error::SuiteError;
use std::sync::atomic::{AtomicU64, Ordering};
use verify::history::Form;
use wire::client::{Error, Transaction, prefix};

/// Inserts of one key.
const INSERTS: u64 = 3;
/// How far behind the newest key reads look.
const RECENT: u64 = 4;

/// Guarded inserts.
pub(crate) struct Predicate {
    layout: Layout,
    next: AtomicU64,
}

impl Predicate {
    /// The prefixes of what belongs to a key: neighbours lie in different places.
    fn tables(&self, key: u64) -> [Vec<u8>; 2] {
        [2 * key, 2 * key + 1].map(|number| [&self.layout.key("t", number)[..], b"."].concat())
    }

    /// What both tables hold of a key.
    async fn scan(&self, transaction: &mut Transaction, key: u64) -> Result<Vec<i64>, Undone> {
        let mut ids = Vec::new();
        for table in self.tables(key) {
            let mut scan = transaction.scan(prefix(table));
            while let Some(row) = scan.next().await? {
                ids.push(number(&row.version.value)?);
            }
        }
        Ok(ids)
    }

    async fn insert(&self, session: &mut Session, key: u64, id: u64) -> Attempt {
        let mut transaction = session.client.begin();
        if !self.scan(&mut transaction, key).await?.is_empty() {
            return Err(Error::user("something is there").into());
        }
        let table = &self.tables(key)[(id % 2) as usize];
        transaction.put([table, id.to_string().as_bytes()].concat(), id.to_string());
        Ok(commit(&mut transaction, pair(key, int(id))).await?.1)
    }

    async fn read(&self, session: &mut Session, key: u64) -> Result<bool, SuiteError> {
        session.invoke("read", pair(key, Form::Nil))?;
        let mut transaction = session.client.begin();
        let ids = self.scan(&mut transaction, key).await;
        let attempt =
            ids.and_then(|ids| Done::read(pair(key, Form::vector(ids.into_iter().map(Form::Int)))));
        session.complete(attempt).await
    }
}

impl Workload for Predicate {
    const NAME: &'static str = "predicate";
    const RATE: u32 = 100;

    fn new(layout: Layout) -> Predicate {
        let next = AtomicU64::new(0);
        Predicate { layout, next }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        if session.random.chance(1, 3) {
            let newest = self.next.load(Ordering::Relaxed) / INSERTS;
            let key = newest.saturating_sub(session.random.below(RECENT));
            return self.read(session, key).await.map(|_| ());
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let key = id / INSERTS;
        session.invoke("insert", pair(key, int(id)))?;
        let attempt = self.insert(session, key, id).await;
        session.complete(attempt).await?;
        Ok(())
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        for key in 0..=self.next.load(Ordering::Relaxed) / INSERTS {
            while !self.read(session, key).await? {
                session.again().await?;
            }
        }
        Ok(())
    }
}
