//! `multi-register`: transactions over three registers of different partitions; after some writes each group of
//! three is followed by another.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::rotation::Rotation;
use super::super::session::{
    Attempt, Done, Session, commit, commit_at_once, number_or_nil, shuffle,
};
use super::micro;
use crate::error::SuiteError;
use std::sync::atomic::{AtomicI64, Ordering};
use verify::history::Form;

/// Groups in use at a time, and transactions that write to one before it is followed by another.
const GROUPS: (u64, u32) = (2, 60);
/// Registers of a group.
const REGISTERS: u64 = 3;

/// Groups of registers.
pub(crate) struct MultiRegister {
    layout: Layout,
    groups: Rotation,
    next_value: AtomicI64,
}

/// A register, and what is written to it; `None` reads it.
type Step = (u64, Option<i64>);

impl MultiRegister {
    fn key(&self, register: u64) -> Vec<u8> {
        self.layout.key("r", register)
    }

    fn form(steps: &[Step], read: &[Form]) -> Form {
        let mut read = read.iter();
        Form::vector(steps.iter().map(|(register, value)| match value {
            Some(value) => micro("w", *register, (*value).into()),
            None => micro("r", *register, read.next().cloned().unwrap_or(Form::Nil)),
        }))
    }

    /// Some registers of a group in any order, each once.
    fn registers(session: &mut Session, group: u64) -> Vec<u64> {
        let mut all: Vec<u64> = (0..REGISTERS)
            .map(|place| group * REGISTERS + place)
            .collect();
        shuffle(&mut all, &mut session.random);
        all.truncate(1 + session.random.below(REGISTERS) as usize);
        all
    }

    async fn read(&self, session: &mut Session, steps: &[Step]) -> Result<bool, SuiteError> {
        session.invoke("txn", Self::form(steps, &[]))?;
        let attempt = self.read_at_once(session, steps).await;
        session.complete(attempt).await
    }

    async fn read_at_once(&self, session: &mut Session, steps: &[Step]) -> Attempt {
        let keys: Vec<Vec<u8>> = steps
            .iter()
            .map(|(register, _)| self.key(*register))
            .collect();
        let values = session.client.get_many(&keys).await?;
        let read = values
            .iter()
            .map(|value| number_or_nil(value.as_ref().map(|v| &v.value[..])));
        let read: Result<Vec<Form>, SuiteError> = read.collect();
        Done::read(Self::form(steps, &read?))
    }

    async fn write_at_once(&self, session: &mut Session, steps: &[Step]) -> Attempt {
        let mut transaction = session.client.transaction();
        for (register, value) in steps {
            let value = value.expect("every step of it writes");
            transaction = transaction.put(self.key(*register), value.to_string());
        }
        Ok(commit_at_once(transaction, Self::form(steps, &[])).await?.1)
    }

    async fn step_by_step(&self, session: &mut Session, steps: &[Step]) -> Attempt {
        let mut transaction = session.client.begin();
        let mut read = Vec::new();
        for (register, value) in steps {
            let key = self.key(*register);
            match value {
                Some(value) => transaction.put(key, value.to_string()),
                None => {
                    let value = transaction.get(key).await?;
                    read.push(number_or_nil(value.as_ref().map(|v| &v.value[..]))?);
                }
            }
        }
        Ok(commit(&mut transaction, Self::form(steps, &read)).await?.1)
    }
}

impl Workload for MultiRegister {
    const NAME: &'static str = "multi-register";
    const RATE: u32 = 80;

    fn new(layout: Layout) -> MultiRegister {
        MultiRegister {
            layout,
            groups: Rotation::new(GROUPS.0, GROUPS.1),
            next_value: AtomicI64::new(1),
        }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let shape = session.random.below(3);
        if shape == 0 {
            let group = self.groups.look(&mut session.random);
            let registers = Self::registers(session, group);
            let steps: Vec<Step> = registers
                .into_iter()
                .map(|register| (register, None))
                .collect();
            return self.read(session, &steps).await.map(|_| ());
        }
        let group = self.groups.take(&mut session.random);
        let registers = Self::registers(session, group);
        let step = |register| {
            let reads = shape == 2 && session.random.chance(1, 2);
            let value = || self.next_value.fetch_add(1, Ordering::Relaxed);
            (register, (!reads).then(value))
        };
        let steps: Vec<Step> = registers.into_iter().map(step).collect();
        session.invoke("txn", Self::form(&steps, &[]))?;
        let attempt = match shape {
            1 => self.write_at_once(session, &steps).await,
            _ => self.step_by_step(session, &steps).await,
        };
        session.complete(attempt).await?;
        Ok(())
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        for group in 0..self.groups.count() {
            let registers = group * REGISTERS..(group + 1) * REGISTERS;
            let steps: Vec<Step> = registers.map(|register| (register, None)).collect();
            while !self.read(session, &steps).await? {
                session.again().await?;
            }
        }
        Ok(())
    }
}
