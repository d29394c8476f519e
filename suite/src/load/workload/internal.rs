//! `internal`: transactions that write, delete, read and scan a few keys on both sides of a border, and look again
//! at what they did. (Deletes of whole ranges wait for being built.)

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Session, Undone, commit, number, number_or_nil};
use super::{int, micro};
use crate::error::SuiteError;
use std::sync::atomic::{AtomicI64, Ordering};
use verify::history::Form;
use wire::client::Transaction;

/// Keys of a strip.
const KEYS: u64 = 10;
const PART: &str = "i";
/// The most steps of a transaction.
const STEPS_MAX: u64 = 8;

/// Keys beside borders.
pub(crate) struct Internal {
    layout: Layout,
    next_value: AtomicI64,
}

#[derive(Clone, Copy)]
enum Step {
    Write(u64, i64),
    Delete(u64),
    Read(u64),
    Scan(u64, u64),
}

impl Step {
    fn form(self, read: Form) -> Form {
        match self {
            Step::Write(key, value) => micro("w", key, value.into()),
            Step::Delete(key) => Form::vector([Form::keyword("delete"), int(key)]),
            Step::Read(key) => micro("r", key, read),
            Step::Scan(from, to) => Form::vector([Form::keyword("scan"), int(from), int(to), read]),
        }
    }
}

impl Internal {
    fn step(&self, session: &mut Session) -> Step {
        let key = session.random.below(KEYS);
        match session.random.below(6) {
            0 | 1 => Step::Write(key, self.next_value.fetch_add(1, Ordering::Relaxed)),
            2 => Step::Delete(key),
            3 | 4 => Step::Read(key),
            _ => Step::Scan(key / 2, KEYS / 2 + key / 2 + 1),
        }
    }

    fn key(&self, strip: usize, key: u64) -> Vec<u8> {
        self.layout.key_in(strip, PART, key, KEYS)
    }

    async fn run(&self, session: &mut Session, strip: usize, steps: &[Step]) -> Attempt {
        let mut transaction = session.client.begin();
        let mut told = Vec::new();
        for step in steps {
            let read = match *step {
                Step::Write(key, value) => {
                    transaction.put(self.key(strip, key), value.to_string());
                    Form::Nil
                }
                Step::Delete(key) => {
                    transaction.delete(self.key(strip, key));
                    Form::Nil
                }
                Step::Read(key) => {
                    let key = self.key(strip, key);
                    let value = match session.random.chance(1, 4) {
                        true => transaction.get_for_update(key).await?,
                        false => transaction.get(key).await?,
                    };
                    number_or_nil(value.as_ref().map(|v| &v.value[..]))?
                }
                Step::Scan(from, to) => {
                    let reverse = session.random.chance(1, 2);
                    self.scan(&mut transaction, strip, from, to, reverse)
                        .await?
                }
            };
            told.push(step.form(read));
        }
        Ok(commit(&mut transaction, Form::vector(told)).await?.1)
    }

    async fn scan(
        &self,
        transaction: &mut Transaction,
        strip: usize,
        from: u64,
        to: u64,
        reverse: bool,
    ) -> Result<Form, Undone> {
        // Two rows a page: a page's end falls between own writes and what lies below them.
        let scan = transaction
            .scan(self.key(strip, from)..self.key(strip, to))
            .page_rows(2);
        let mut scan = if reverse { scan.reverse() } else { scan };
        let mut rows = Vec::new();
        while let Some(row) = scan.next().await? {
            if let Some(key) = self.layout.number(PART, &row.key) {
                rows.push((int(key), Form::Int(number(&row.version.value)?)));
            }
        }
        Ok(Form::map(rows))
    }

    async fn transact(
        &self,
        session: &mut Session,
        strip: usize,
        steps: &[Step],
    ) -> Result<bool, SuiteError> {
        let asked = Form::vector(steps.iter().map(|step| step.form(Form::Nil)));
        session.invoke("txn", asked)?;
        let attempt = self.run(session, strip, steps).await;
        session.complete(attempt).await
    }
}

impl Workload for Internal {
    const NAME: &'static str = "internal";
    const RATE: u32 = 100;

    fn new(layout: Layout) -> Internal {
        Internal {
            layout,
            next_value: AtomicI64::new(1),
        }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let strip = session.random.below(self.layout.strips() as u64) as usize;
        let count = 2 + session.random.below(STEPS_MAX - 1);
        let steps: Vec<Step> = (0..count).map(|_| self.step(session)).collect();
        self.transact(session, strip, &steps).await.map(|_| ())
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        for strip in 0..self.layout.strips() {
            while !self
                .transact(session, strip, &[Step::Scan(0, KEYS)])
                .await?
            {
                session.again().await?;
            }
        }
        Ok(())
    }
}
