//! `bank`: transfers between accounts of different partitions, sent at once with a guard, or read and written
//! step by step, with and without locks; and reads of all accounts: at once, one after another, by scans, and
//! of the past.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, commit, commit_at_once, number, shuffle};
use super::int;
use super::scans;
use crate::error::SuiteError;
use clock::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use verify::history::Form;
use wire::client::Error;
use wire::message::{Condition, VersionedValue};

const ACCOUNTS: u64 = 8;
const OPENING_BALANCE: i64 = 100;
const PART: &str = "account";
/// Timestamps that are kept to be read again.
const PAST_MAX: usize = 64;

/// Accounts.
pub(crate) struct Bank {
    layout: Layout,
    past: Mutex<Vec<Timestamp>>,
}

#[derive(Clone, Copy)]
struct Transfer {
    from: u64,
    to: u64,
    amount: i64,
}

impl Transfer {
    fn form(self) -> Form {
        Form::map([
            (Form::keyword("from"), int(self.from)),
            (Form::keyword("to"), int(self.to)),
            (Form::keyword("amount"), self.amount.into()),
        ])
    }
}

impl Bank {
    fn key(&self, account: u64) -> Vec<u8> {
        self.layout.key(PART, account)
    }

    fn past(&self) -> MutexGuard<'_, Vec<Timestamp>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first is kept for ever: it is the oldest that can be read.
    fn remember(&self, session: &mut Session, at: Timestamp) {
        let mut past = self.past();
        if past.len() < PAST_MAX {
            past.push(at);
        } else {
            let place = 1 + session.random.below(PAST_MAX as u64 - 1) as usize;
            past[place] = at;
        }
    }

    async fn transfer(&self, session: &mut Session) -> Result<(), SuiteError> {
        let from = session.random.below(ACCOUNTS);
        let to = (from + 1 + session.random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + session.random.below(10) as i64;
        let transfer = Transfer { from, to, amount };
        session.invoke("transfer", transfer.form())?;
        let attempt = match session.random.below(2) {
            0 => self.at_once(session, transfer).await,
            _ => self.step_by_step(session, transfer).await,
        };
        session.complete(attempt).await?;
        Ok(())
    }

    async fn at_once(&self, session: &mut Session, transfer: Transfer) -> Attempt {
        let Transfer { from, to, amount } = transfer;
        let transaction = session.client.transaction();
        let transaction = transaction
            .when(self.key(from), Condition::AtLeast(amount))
            .add(self.key(from), -amount)
            .add(self.key(to), amount);
        let (committed, done) = commit_at_once(transaction, transfer.form()).await?;
        self.remember(session, committed.at);
        Ok(done)
    }

    async fn step_by_step(&self, session: &mut Session, transfer: Transfer) -> Attempt {
        let keys = [self.key(transfer.from), self.key(transfer.to)];
        let mut transaction = session.client.begin();
        let locks = session.random.chance(1, 2);
        let mut balances = Vec::new();
        for key in &keys {
            let value = match locks {
                true => transaction.get_for_update(key).await?,
                false => transaction.get(key).await?,
            };
            balances.push(value.map_or(Ok(0), |value| number(&value.value))?);
        }
        if balances[0] < transfer.amount {
            transaction.rollback().await;
            return Err(Error::user("the account has too little").into());
        }
        transaction.put(&keys[0], (balances[0] - transfer.amount).to_string());
        transaction.put(&keys[1], (balances[1] + transfer.amount).to_string());
        let (committed, done) = commit(&mut transaction, transfer.form()).await?;
        self.remember(session, committed.at);
        Ok(done)
    }

    async fn read(&self, session: &mut Session) -> Result<bool, SuiteError> {
        let shape = session.random.below(5);
        session.invoke(if shape < 2 { "read-past" } else { "read" }, Form::Nil)?;
        let attempt = match shape {
            0 | 1 => self.read_past(session).await,
            2 => self.read_at_once(session).await,
            3 => self.read_step_by_step(session).await,
            _ => self.read_by_scans(session).await,
        };
        session.complete(attempt).await
    }

    fn shuffled(&self, session: &mut Session) -> Vec<u64> {
        let mut accounts: Vec<u64> = (0..ACCOUNTS).collect();
        shuffle(&mut accounts, &mut session.random);
        accounts
    }

    async fn read_past(&self, session: &mut Session) -> Attempt {
        let at = {
            let past = self.past();
            past[session.random.below(past.len() as u64) as usize]
        };
        let accounts = self.shuffled(session);
        let keys: Vec<Vec<u8>> = accounts.iter().map(|account| self.key(*account)).collect();
        let values = session.client.at(at).get_many(&keys).await?;
        Done::read(told(accounts.into_iter().zip(values))?)
    }

    async fn read_at_once(&self, session: &mut Session) -> Attempt {
        let accounts = self.shuffled(session);
        let keys: Vec<Vec<u8>> = accounts.iter().map(|account| self.key(*account)).collect();
        let values = session.client.get_many(&keys).await?;
        Done::read(told(accounts.into_iter().zip(values))?)
    }

    async fn read_step_by_step(&self, session: &mut Session) -> Attempt {
        let mut transaction = session.client.begin();
        let mut values = Vec::new();
        for account in self.shuffled(session) {
            values.push((account, transaction.get(self.key(account)).await?));
        }
        let at = transaction.snapshot();
        if let Some(at) = at {
            self.remember(session, at);
        }
        Done::read(told(values)?)
    }

    async fn read_by_scans(&self, session: &mut Session) -> Attempt {
        let rows = scans::in_transaction(session, &self.layout, PART).await?;
        let balances = rows
            .into_iter()
            .map(|(account, version)| (account, Some(version)));
        Done::read(told(balances)?)
    }
}

/// Accounts and balances in the order of accounts; an account that is not there is left out.
fn told(
    values: impl IntoIterator<Item = (u64, Option<VersionedValue>)>,
) -> Result<Form, SuiteError> {
    let mut balances = BTreeMap::new();
    for (account, version) in values {
        if let Some(version) = version {
            balances.insert(account, number(&version.value)?);
        }
    }
    let entries = balances
        .into_iter()
        .map(|(account, balance)| (int(account), balance.into()));
    Ok(Form::map(entries))
}

impl Workload for Bank {
    const NAME: &'static str = "bank";
    const RATE: u32 = 150;

    fn new(layout: Layout) -> Bank {
        let past = Mutex::default();
        Bank { layout, past }
    }

    async fn prepare(&self, session: &mut Session) -> Result<(), SuiteError> {
        let mut opening = session.client.transaction();
        for account in 0..ACCOUNTS {
            opening = opening.put(self.key(account), OPENING_BALANCE.to_string());
        }
        let opened = opening.commit().await;
        let opened = opened.map_err(|error| SuiteError::Load(format!("no accounts: {error}")))?;
        self.past().push(opened.at);
        Ok(())
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        match session.random.chance(3, 5) {
            true => self.transfer(session).await,
            false => self.read(session).await.map(|_| ()),
        }
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        while !self.read(session).await? {
            session.again().await?;
        }
        Ok(())
    }
}
