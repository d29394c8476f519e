//! `register`: reads, writes and compare-and-set of single keys, the last by a guard or step by step.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::rotation::Rotation;
use super::super::session::{Attempt, Done, Session, commit, commit_at_once, number_or_nil};
use super::pair;
use crate::error::SuiteError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use verify::history::Form;
use wire::client::Error;
use wire::message::Condition;

/// Keys in use at a time, and operations that change a key before it is followed by another.
const KEYS: (u64, u32) = (3, 60);

/// Registers.
pub(crate) struct Register {
    layout: Layout,
    keys: Rotation,
    next_value: AtomicI64,
    /// Of each key what was seen or written last, for a compare-and-set that may succeed.
    seen: Mutex<BTreeMap<u64, i64>>,
}

impl Register {
    fn key(&self, key: u64) -> Vec<u8> {
        self.layout.key("r", key)
    }

    fn saw(&self, key: u64, value: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(key, value);
    }

    fn last_seen(&self, key: u64) -> Option<i64> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&key).copied()
    }

    async fn read(&self, session: &mut Session, key: u64) -> Result<bool, SuiteError> {
        session.invoke("read", pair(key, Form::Nil))?;
        let attempt = self.read_now(session, key).await;
        session.complete(attempt).await
    }

    async fn read_now(&self, session: &mut Session, key: u64) -> Attempt {
        let value = session.client.get(self.key(key)).await?;
        let told = number_or_nil(value.as_ref().map(|value| &value.value[..]))?;
        if let Form::Int(value) = told {
            self.saw(key, value);
        }
        Done::read(pair(key, told))
    }

    async fn write(&self, session: &mut Session, key: u64, value: i64) -> Result<(), SuiteError> {
        session.invoke("write", pair(key, value))?;
        let write = session
            .client
            .transaction()
            .put(self.key(key), value.to_string());
        let attempt = commit_at_once(write, pair(key, value)).await;
        if attempt.is_ok() {
            self.saw(key, value);
        }
        session.complete(attempt.map(|(_, done)| done)).await?;
        Ok(())
    }

    async fn cas(&self, session: &mut Session, key: u64, value: i64) -> Result<(), SuiteError> {
        let old = self.last_seen(key);
        let asked = pair(key, Form::vector([Form::from(old), value.into()]));
        session.invoke("cas", asked.clone())?;
        let attempt = match session.random.chance(1, 2) {
            true => self.cas_at_once(session, key, old, value, asked).await,
            false => self.cas_step_by_step(session, key, old, value, asked).await,
        };
        if session.complete(attempt).await? {
            self.saw(key, value);
        }
        Ok(())
    }

    async fn cas_at_once(
        &self,
        session: &mut Session,
        key: u64,
        old: Option<i64>,
        new: i64,
        asked: Form,
    ) -> Attempt {
        let condition = match old {
            None => Condition::Absent,
            Some(old) => Condition::Equals(old.to_string().into()),
        };
        let transaction = session.client.transaction().when(self.key(key), condition);
        let transaction = transaction.put(self.key(key), new.to_string());
        Ok(commit_at_once(transaction, asked).await?.1)
    }

    async fn cas_step_by_step(
        &self,
        session: &mut Session,
        key: u64,
        old: Option<i64>,
        new: i64,
        asked: Form,
    ) -> Attempt {
        let mut transaction = session.client.begin();
        let found = transaction.get(self.key(key)).await?;
        let found = number_or_nil(found.as_ref().map(|value| &value.value[..]))?;
        if found != Form::from(old) {
            return Err(Error::user("another value is there").into());
        }
        transaction.put(self.key(key), new.to_string());
        Ok(commit(&mut transaction, asked).await?.1)
    }
}

impl Workload for Register {
    const NAME: &'static str = "register";
    const RATE: u32 = 100;

    fn new(layout: Layout) -> Register {
        Register {
            layout,
            keys: Rotation::new(KEYS.0, KEYS.1),
            next_value: AtomicI64::new(1),
            seen: Mutex::default(),
        }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let shape = session.random.below(3);
        if shape == 0 {
            let key = self.keys.look(&mut session.random);
            return self.read(session, key).await.map(|_| ());
        }
        let key = self.keys.take(&mut session.random);
        let value = self.next_value.fetch_add(1, Ordering::Relaxed);
        match shape {
            1 => self.write(session, key, value).await,
            _ => self.cas(session, key, value).await,
        }
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        for key in 0..self.keys.count() {
            while !self.read(session, key).await? {
                session.again().await?;
            }
        }
        Ok(())
    }
}
