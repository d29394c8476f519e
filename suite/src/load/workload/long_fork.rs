//! `long-fork`: the keys of a group, in different partitions, are written once each, by independent commits;
//! meanwhile others read the whole group.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, commit_at_once, number_or_nil, shuffle};
use super::micro;
use crate::error::SuiteError;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use verify::history::Form;

/// Keys of a group.
const GROUP: u64 = 4;
/// Groups under way at a time.
const GROUPS: u64 = 3;

/// Groups of keys.
pub(crate) struct LongFork {
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of each group under way the keys that are still to be written.
    left: BTreeMap<u64, Vec<u64>>,
    next: u64,
}

impl LongFork {
    fn key(&self, key: u64) -> Vec<u8> {
        self.layout.key("f", key)
    }

    /// A key that nobody wrote, to be written now.
    fn take(&self, session: &mut Session) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.left.len() < GROUPS as usize {
            let group = state.next;
            state.next += 1;
            let mut keys: Vec<u64> = (group * GROUP..(group + 1) * GROUP).collect();
            shuffle(&mut keys, &mut session.random);
            state.left.insert(group, keys);
        }
        let place = session.random.below(GROUPS) as usize;
        let (group, keys) = state
            .left
            .iter_mut()
            .nth(place)
            .expect("so many are under way");
        let (group, key) = (*group, keys.pop().expect("a group under way has keys left"));
        if keys.is_empty() {
            state.left.remove(&group);
        }
        key
    }

    /// A group that is being written, or was just now.
    fn group(&self, session: &mut Session) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let back = 1 + session.random.below(GROUPS + 2);
        state.next.saturating_sub(back)
    }

    async fn read(&self, session: &mut Session, group: u64) -> Result<bool, SuiteError> {
        let mut keys: Vec<u64> = (group * GROUP..(group + 1) * GROUP).collect();
        shuffle(&mut keys, &mut session.random);
        session.invoke("txn", form(keys.iter().map(|key| (*key, Form::Nil))))?;
        let attempt = match session.random.chance(1, 2) {
            true => self.at_once(session, &keys).await,
            false => self.step_by_step(session, &keys).await,
        };
        session.complete(attempt).await
    }

    async fn at_once(&self, session: &mut Session, keys: &[u64]) -> Attempt {
        let asked: Vec<Vec<u8>> = keys.iter().map(|key| self.key(*key)).collect();
        let values = session.client.get_many(&asked).await?;
        let read = values
            .iter()
            .map(|value| number_or_nil(value.as_ref().map(|v| &v.value[..])));
        let read: Result<Vec<Form>, SuiteError> = read.collect();
        Done::read(form(keys.iter().copied().zip(read?)))
    }

    async fn step_by_step(&self, session: &mut Session, keys: &[u64]) -> Attempt {
        let mut transaction = session.client.begin();
        let mut read = Vec::new();
        for key in keys {
            let value = transaction.get(self.key(*key)).await?;
            read.push((*key, number_or_nil(value.as_ref().map(|v| &v.value[..]))?));
        }
        Done::read(form(read))
    }
}

fn form(read: impl IntoIterator<Item = (u64, Form)>) -> Form {
    Form::vector(read.into_iter().map(|(key, value)| micro("r", key, value)))
}

impl Workload for LongFork {
    const NAME: &'static str = "long-fork";
    const RATE: u32 = 150;

    fn new(layout: Layout) -> LongFork {
        let state = Mutex::default();
        LongFork { layout, state }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        if session.random.chance(2, 3) {
            let group = self.group(session);
            return self.read(session, group).await.map(|_| ());
        }
        let key = self.take(session);
        let told = Form::vector([micro("w", key, 1.into())]);
        session.invoke("txn", told.clone())?;
        let write = session.client.transaction().put(self.key(key), "1");
        let attempt = commit_at_once(write, told).await.map(|(_, done)| done);
        session.complete(attempt).await?;
        Ok(())
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        let groups = self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next;
        for group in 0..groups {
            while !self.read(session, group).await? {
                session.again().await?;
            }
        }
        Ok(())
    }
}
