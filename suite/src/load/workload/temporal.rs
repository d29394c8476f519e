//! `temporal`: timestamps of commits and snapshots are read again and again, over different gateways.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, commit_at_once, number_or_nil};
use super::int;
use crate::error::SuiteError;
use clock::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use verify::history::Form;

const KEYS: u64 = 8;
/// Timestamps that are kept to be read again.
const PAST_MAX: usize = 48;

/// Keys with a past.
pub(crate) struct Temporal {
    layout: Layout,
    next_value: AtomicI64,
    past: Mutex<Vec<Timestamp>>,
}

impl Temporal {
    fn key(&self, key: u64) -> Vec<u8> {
        self.layout.key("t", key)
    }

    fn remember(&self, session: &mut Session, at: Timestamp) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        match past.len() < PAST_MAX {
            true => past.push(at),
            false => past[session.random.below(PAST_MAX as u64) as usize] = at,
        }
    }

    /// A timestamp that was heard of.
    fn remembered(&self, session: &mut Session) -> Option<Timestamp> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.get(session.random.below(past.len() as u64) as usize)
            .copied()
    }

    async fn write(&self, session: &mut Session) -> Result<(), SuiteError> {
        let key = session.random.below(KEYS);
        let value = self.next_value.fetch_add(1, Ordering::Relaxed);
        let told = |at: Form| Form::vector([int(key), value.into(), at]);
        session.invoke("write", told(Form::Nil))?;
        let mut write = session
            .client
            .transaction()
            .put(self.key(key), value.to_string());
        if session.random.chance(1, 2) {
            // A second partition; its key is looked at by reads only.
            let other = (key + 1) % KEYS;
            write = write.put(self.key(other), value.to_string());
        }
        let attempt = match commit_at_once(write, Form::Nil).await {
            Ok((committed, done)) => {
                self.remember(session, committed.at);
                let told = told(Form::Int(committed.at.to_bits() as i64));
                Ok(Done { told, ..done })
            }
            Err(undone) => Err(undone),
        };
        session.complete(attempt).await?;
        Ok(())
    }

    async fn read(
        &self,
        session: &mut Session,
        at: Timestamp,
        key: u64,
    ) -> Result<bool, SuiteError> {
        let told = |value: Form| Form::vector([Form::Int(at.to_bits() as i64), int(key), value]);
        session.invoke("read-at", told(Form::Nil))?;
        let value = self.value_at(session, at, key).await;
        let attempt = value.and_then(|value| Done::read(told(value.told)));
        session.complete(attempt).await
    }

    async fn value_at(&self, session: &mut Session, at: Timestamp, key: u64) -> Attempt {
        // The gateway is chosen by the first key of a request, so with another one another gateway serves it.
        let first = session.random.below(KEYS);
        let keys = [self.key(first), self.key(key)];
        let values = session.client.at(at).get_many(&keys).await?;
        let value = values.last().and_then(|value| value.as_ref());
        Done::read(number_or_nil(value.map(|value| &value.value[..]))?)
    }

    /// A timestamp of now: everything acknowledged before lies below it.
    async fn now(&self, session: &mut Session) {
        if let Ok(at) = session.client.timestamp().await {
            self.remember(session, at);
        }
    }
}

impl Workload for Temporal {
    const NAME: &'static str = "temporal";
    const RATE: u32 = 200;

    fn new(layout: Layout) -> Temporal {
        Temporal {
            layout,
            next_value: AtomicI64::new(1),
            past: Mutex::default(),
        }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        if session.random.chance(1, 16) {
            self.now(session).await;
        }
        let at = match session.random.chance(1, 4) {
            true => None,
            false => self.remembered(session),
        };
        let key = session.random.below(KEYS);
        match at {
            None => self.write(session).await,
            Some(at) => self.read(session, at, key).await.map(|_| ()),
        }
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        let past = self
            .past
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for at in past {
            for key in 0..KEYS {
                while !self.read(session, at, key).await? {
                    session.again().await?;
                }
            }
        }
        Ok(())
    }
}
