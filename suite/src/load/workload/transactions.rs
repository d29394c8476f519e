//! `list-append` and `rw-register`: random transactions over a few keys, interactive ones and ones that are
//! sent as a whole, for checkers of cycles (Elle).
//!
//! | shape | what it takes its way through |
//! | --- | --- |
//! | writes at once, sometimes with what the server computed | R3 in one request; reads of own results |
//! | one request of several reads | snapshots over partitions |
//! | reads one after another | one snapshot, while time passes |
//! | reads and writes, some keys locked first | read sets, own writes on top, refresh, locks |

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::rotation::Rotation;
use super::super::session::{
    Attempt, Done, Session, commit, commit_at_once, number_or_nil, numbers, shuffle,
};
use super::micro;
use crate::error::SuiteError;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use verify::history::Form;

/// Keys in use at a time.
const KEYS: u64 = 10;
/// Keys of one final read.
const FINAL_KEYS: u64 = 8;
/// The most steps of a transaction.
const STEPS_MAX: u64 = 5;

/// Whether keys hold lists or registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Lists,
    Registers,
}

impl Kind {
    fn told(self, value: Option<&[u8]>) -> Result<Form, SuiteError> {
        match self {
            Kind::Registers => number_or_nil(value),
            Kind::Lists => {
                let elements = numbers(value.unwrap_or_default())?;
                Ok(Form::vector(elements.into_iter().map(Form::Int)))
            }
        }
    }

    fn write(self) -> &'static str {
        match self {
            Kind::Lists => "append",
            Kind::Registers => "w",
        }
    }
}

#[derive(Clone, Copy)]
enum Step {
    Write(u64, i64),
    Read(u64),
}

impl Step {
    fn key(self) -> u64 {
        match self {
            Step::Write(key, _) | Step::Read(key) => key,
        }
    }
}

struct Transactions {
    kind: Kind,
    layout: Layout,
    keys: Rotation,
    next_value: AtomicI64,
}

impl Transactions {
    fn new(kind: Kind, layout: Layout, writes_of_a_key: u32) -> Transactions {
        Transactions {
            kind,
            layout,
            keys: Rotation::new(KEYS, writes_of_a_key),
            next_value: AtomicI64::new(1),
        }
    }

    fn key(&self, number: u64) -> Vec<u8> {
        self.layout.key("k", number)
    }

    /// The steps; those that read with what was read, in order, if that is known.
    fn form(&self, steps: &[Step], read: Option<&[Form]>) -> Form {
        let mut read = read.into_iter().flatten();
        Form::vector(steps.iter().map(|step| match step {
            Step::Write(key, value) => micro(self.kind.write(), *key, (*value).into()),
            Step::Read(key) => micro("r", *key, read.next().cloned().unwrap_or(Form::Nil)),
        }))
    }

    fn write(&self, session: &mut Session) -> Step {
        let value = self.next_value.fetch_add(1, Ordering::Relaxed);
        Step::Write(self.keys.take(&mut session.random), value)
    }

    fn reads(&self, session: &mut Session) -> Vec<Step> {
        let count = 1 + session.random.below(STEPS_MAX);
        let keys = (0..count).map(|_| self.keys.look(&mut session.random));
        let keys: BTreeSet<u64> = keys.collect();
        let mut steps: Vec<Step> = keys.into_iter().map(Step::Read).collect();
        shuffle(&mut steps, &mut session.random);
        steps
    }

    fn mixed(&self, session: &mut Session) -> Vec<Step> {
        let count = 1 + session.random.below(STEPS_MAX);
        let step = |_| match session.random.chance(1, 2) {
            true => self.write(session),
            false => Step::Read(self.keys.look(&mut session.random)),
        };
        (0..count).map(step).collect()
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let shape = session.random.below(10);
        let steps = match shape {
            0 | 1 => self.writes_at_once(session),
            2 | 3 => self.reads(session),
            _ => self.mixed(session),
        };
        session.invoke("txn", self.form(&steps, None))?;
        let attempt = match shape {
            0 | 1 => self.write_at_once(session, &steps).await,
            2 => self.read_at_once(session, &steps).await,
            _ => self.step_by_step(session, &steps).await,
        };
        session.complete(attempt).await?;
        Ok(())
    }

    /// Writes of different keys; of lists also, after each or none, a read of what it became.
    fn writes_at_once(&self, session: &mut Session) -> Vec<Step> {
        let count = 1 + session.random.below(4);
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..count {
            let step = self.write(session);
            if steps.iter().all(|other| other.key() != step.key()) {
                steps.push(step);
            }
        }
        if self.kind == Kind::Lists && session.random.chance(1, 2) {
            let seen = |step: &Step| [*step, Step::Read(step.key())];
            return steps.iter().flat_map(seen).collect();
        }
        steps
    }

    async fn write_at_once(&self, session: &mut Session, steps: &[Step]) -> Attempt {
        let mut transaction = session.client.transaction();
        let mut keys = Vec::new();
        let mut reads = false;
        for step in steps {
            let key = self.key(step.key());
            transaction = match (step, self.kind) {
                (Step::Write(_, value), Kind::Lists) => {
                    transaction.append(&key, format!("{value},"))
                }
                (Step::Write(_, value), Kind::Registers) => {
                    transaction.put(&key, value.to_string())
                }
                (Step::Read(_), _) => {
                    reads = true;
                    continue;
                }
            };
            keys.push(key);
        }
        let told = match reads {
            true => Form::Nil,
            false => self.form(steps, None),
        };
        let (committed, done) = commit_at_once(transaction, told).await?;
        if !reads {
            return Ok(done);
        }
        let (values, done) = session.computed(&committed, done, &keys).await?;
        let read: Result<Vec<Form>, SuiteError> = values
            .iter()
            .map(|value| self.kind.told(value.as_deref()))
            .collect();
        let told = self.form(steps, Some(&read?));
        Ok(Done { told, ..done })
    }

    async fn read_at_once(&self, session: &mut Session, steps: &[Step]) -> Attempt {
        let keys: Vec<Vec<u8>> = steps.iter().map(|step| self.key(step.key())).collect();
        let values = session.client.get_many(&keys).await?;
        let told = values
            .iter()
            .map(|value| self.kind.told(value.as_ref().map(|v| &v.value[..])));
        let told: Result<Vec<Form>, SuiteError> = told.collect();
        Done::read(self.form(steps, Some(&told?)))
    }

    async fn step_by_step(&self, session: &mut Session, steps: &[Step]) -> Attempt {
        let mut transaction = session.client.begin();
        let mut read = Vec::new();
        let locks = session.random.chance(1, 4);
        for step in steps {
            let key = self.key(step.key());
            match (step, self.kind) {
                (Step::Read(_), kind) => {
                    let value = match locks {
                        true => transaction.get_for_update(&key).await?,
                        false => transaction.get(&key).await?,
                    };
                    read.push(kind.told(value.as_ref().map(|v| &v.value[..]))?);
                }
                (Step::Write(_, value), Kind::Lists) => {
                    transaction.append(&key, format!("{value},"))
                }
                (Step::Write(_, value), Kind::Registers) => {
                    transaction.put(&key, value.to_string())
                }
            }
        }
        let told = self.form(steps, Some(&read));
        Ok(commit(&mut transaction, told).await?.1)
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        let mut from = 0;
        while from < self.keys.count() {
            let to = self.keys.count().min(from + FINAL_KEYS);
            let steps: Vec<Step> = (from..to).map(Step::Read).collect();
            session.invoke("txn", self.form(&steps, None))?;
            let attempt = self.read_at_once(session, &steps).await;
            match session.complete(attempt).await? {
                true => from = to,
                false => session.again().await?,
            }
        }
        Ok(())
    }
}

/// Lists that grow.
pub(crate) struct ListAppend(Transactions);

impl Workload for ListAppend {
    const NAME: &'static str = "list-append";
    const RATE: u32 = 200;

    fn new(layout: Layout) -> ListAppend {
        ListAppend(Transactions::new(Kind::Lists, layout, 60))
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        self.0.operate(session).await
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        self.0.finish(session).await
    }
}

/// Registers that are overwritten.
pub(crate) struct RwRegister(Transactions);

impl Workload for RwRegister {
    const NAME: &'static str = "rw-register";
    const RATE: u32 = 200;

    fn new(layout: Layout) -> RwRegister {
        RwRegister(Transactions::new(Kind::Registers, layout, 60))
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        self.0.operate(session).await
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        self.0.finish(session).await
    }
}
