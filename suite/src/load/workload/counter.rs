//! `counter`: additions that the server evaluates, to counters of different partitions.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, commit_at_once, number_or_nil};
use super::pair;
use crate::error::SuiteError;
use verify::history::Form;

const KEYS: u64 = 4;
/// The most that is added or taken.
const MOST: u64 = 5;

/// Counters.
pub(crate) struct Counter {
    layout: Layout,
}

impl Counter {
    fn key(&self, key: u64) -> Vec<u8> {
        self.layout.key("c", key)
    }

    async fn read(&self, session: &mut Session, key: u64) -> Result<bool, SuiteError> {
        session.invoke("read", pair(key, Form::Nil))?;
        let attempt = self.read_now(session, key).await;
        session.complete(attempt).await
    }

    async fn read_now(&self, session: &mut Session, key: u64) -> Attempt {
        let value = session.client.get(self.key(key)).await?;
        Done::read(pair(
            key,
            number_or_nil(value.as_ref().map(|v| &v.value[..]))?,
        ))
    }
}

impl Workload for Counter {
    const NAME: &'static str = "counter";
    const RATE: u32 = 200;

    fn new(layout: Layout) -> Counter {
        Counter { layout }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let key = session.random.below(KEYS);
        if session.random.chance(1, 3) {
            return self.read(session, key).await.map(|_| ());
        }
        let amount = 1 + session.random.below(MOST) as i64;
        let amount = if session.random.chance(1, 3) {
            -amount
        } else {
            amount
        };
        session.invoke("add", pair(key, amount))?;
        let add = session.client.transaction().add(self.key(key), amount);
        let attempt = commit_at_once(add, pair(key, amount)).await;
        session.complete(attempt.map(|(_, done)| done)).await?;
        Ok(())
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        for key in 0..KEYS {
            while !self.read(session, key).await? {
                session.again().await?;
            }
        }
        Ok(())
    }
}
