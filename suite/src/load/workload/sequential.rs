//! `sequential`: one process writes the sub-keys of a key in order, each by a commit of its own and in another
//! partition; others read them in the opposite order. A process that could not write a sub-key for certain
//! writes no later one.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, commit_at_once};
use super::{int, pair};
use crate::error::SuiteError;
use std::sync::atomic::{AtomicU64, Ordering};
use verify::history::Form;

/// Sub-keys of a key.
const SUB_KEYS: u64 = 4;
/// How far behind the newest key reads look.
const RECENT: u64 = 6;

/// Keys that are written in order.
pub(crate) struct Sequential {
    layout: Layout,
    next: AtomicU64,
}

impl Sequential {
    /// Neighbours lie in different partitions, and not in those of the key before.
    fn key(&self, key: u64, sub_key: u64) -> Vec<u8> {
        self.layout.key("s", key * (SUB_KEYS + 1) + sub_key)
    }

    async fn write(&self, session: &mut Session, key: u64) -> Result<(), SuiteError> {
        for sub_key in 0..SUB_KEYS {
            let value = pair(key, int(sub_key));
            session.invoke("write", value.clone())?;
            let write = session.client.transaction();
            let write = write.put(self.key(key, sub_key), key.to_string());
            let attempt = commit_at_once(write, value).await.map(|(_, done)| done);
            if !session.complete(attempt).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(&self, session: &mut Session, key: u64) -> Result<bool, SuiteError> {
        session.invoke("read", pair(key, Form::Nil))?;
        let attempt = self.read_backwards(session, key).await;
        session.complete(attempt).await
    }

    async fn read_backwards(&self, session: &mut Session, key: u64) -> Attempt {
        let mut seen = Vec::new();
        for sub_key in (0..SUB_KEYS).rev() {
            let found = session.client.get(self.key(key, sub_key)).await?;
            seen.push(found.map_or(Form::Nil, |_| int(sub_key)));
        }
        Done::read(pair(key, Form::vector(seen)))
    }
}

impl Workload for Sequential {
    const NAME: &'static str = "sequential";
    const RATE: u32 = 60;

    fn new(layout: Layout) -> Sequential {
        let next = AtomicU64::new(0);
        Sequential { layout, next }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        if session.random.chance(1, 3) {
            let key = self.next.fetch_add(1, Ordering::Relaxed);
            return self.write(session, key).await;
        }
        let newest = self.next.load(Ordering::Relaxed);
        let key = newest.saturating_sub(1 + session.random.below(RECENT));
        self.read(session, key).await.map(|_| ())
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        for key in 0..self.next.load(Ordering::Relaxed) {
            while !self.read(session, key).await? {
                session.again().await?;
            }
        }
        Ok(())
    }
}
