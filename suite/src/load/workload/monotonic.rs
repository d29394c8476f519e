//! `monotonic`: numbers that are only increased, by an addition that the server evaluates or by reading and
//! writing; each increase tells what it became.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{
    Attempt, Done, Session, commit, commit_at_once, number, number_or_nil,
};
use super::{int, pair};
use crate::error::SuiteError;
use verify::history::Form;

const KEYS: u64 = 4;

/// Numbers that grow.
pub(crate) struct Monotonic {
    layout: Layout,
}

impl Monotonic {
    fn key(&self, key: u64) -> Vec<u8> {
        self.layout.key("n", key)
    }

    async fn at_once(&self, session: &mut Session, key: u64) -> Attempt {
        let keys = [self.key(key)];
        let add = session.client.transaction().add(&keys[0], 1);
        let (committed, done) = commit_at_once(add, Form::Nil).await?;
        let (values, done) = session.computed(&committed, done, &keys).await?;
        let told = pair(key, number_or_nil(values[0].as_deref())?);
        Ok(Done { told, ..done })
    }

    async fn step_by_step(&self, session: &mut Session, key: u64) -> Attempt {
        let mut transaction = session.client.begin();
        let value = match session.random.chance(1, 2) {
            true => transaction.get_for_update(self.key(key)).await?,
            false => transaction.get(self.key(key)).await?,
        };
        let next = value.map_or(Ok(0), |value| number(&value.value))? + 1;
        transaction.put(self.key(key), next.to_string());
        Ok(commit(&mut transaction, pair(key, next)).await?.1)
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

impl Workload for Monotonic {
    const NAME: &'static str = "monotonic";
    const RATE: u32 = 150;

    fn new(layout: Layout) -> Monotonic {
        Monotonic { layout }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let key = session.random.below(KEYS);
        let shape = session.random.below(3);
        if shape == 0 {
            return self.read(session, key).await.map(|_| ());
        }
        session.invoke("inc", pair(key, int(1)))?;
        let attempt = match shape {
            1 => self.at_once(session, key).await,
            _ => self.step_by_step(session, key).await,
        };
        session.complete(attempt).await?;
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
