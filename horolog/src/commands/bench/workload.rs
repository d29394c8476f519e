//! One client of a bench, and its operations.

use super::accounts::Accounts;
use super::load::number;
use super::report::Tally;
use super::{Mode, Run, Workload};
use bytes::Bytes;
use std::rc::Rc;
use wire::SplitMix64;
use wire::client::{self, Error, Transaction};
use wire::message::{AbortReason, Condition, OutcomeAnswer, VersionedValue};

/// A transfer moves at most so much.
const AMOUNT_MAX: u64 = 10;
/// A commit without an answer is asked about so often, each time for as long as the library tries.
const OUTCOME_QUESTIONS_MAX: u32 = 3;
/// `--cross` is drawn in steps of this.
const SHARE_STEPS: u64 = 1_000_000;

/// One client.
pub(super) struct Client {
    pub(super) client: client::Client,
    pub(super) accounts: Rc<Accounts>,
    pub(super) random: SplitMix64,
    pub(super) workload: Workload,
    pub(super) mode: Mode,
    pub(super) cross: f64,
    pub(super) value: Bytes,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It succeeded.
    Done {
        /// Attempts beyond the first.
        retries: u64,
        /// Whether it wrote more than one partition.
        crosses: bool,
    },
    /// The account holds too little.
    Refused,
    /// It failed; nothing was changed.
    Failed,
    /// Nobody could tell whether it was committed.
    Unknown,
}

/// A value of some length.
pub(super) fn value(bytes: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(bytes).collect()
}

impl Client {
    /// Does one operation after the other until the end of the run.
    pub(super) async fn run(mut self, run: Rc<Run>) -> Tally {
        let mut tally = Tally::new();
        loop {
            let begun = run.started.elapsed();
            if begun >= run.end.get() {
                return tally;
            }
            let ended = self.operate().await;
            let now = run.started.elapsed();
            if matches!(ended, Ended::Done { .. }) {
                run.successes.set(run.successes.get() + 1);
            }
            match ended {
                // Never to be overlooked, whenever it happens.
                Ended::Unknown => tally.unknown += 1,
                _ if begun < run.warmup || now > run.end.get() => {}
                Ended::Failed => tally.errors += 1,
                Ended::Refused => tally.refused += 1,
                Ended::Done { retries, crosses } => {
                    tally.success(now - begun);
                    tally.retries += retries;
                    tally.cross_partition += u64::from(crosses);
                }
            }
        }
    }

    async fn operate(&mut self) -> Ended {
        match (self.workload, self.mode) {
            (Workload::Put, _) => self.put().await,
            (Workload::Get, _) => self.get().await,
            (Workload::Transfer, Mode::Oneshot) => self.transfer_at_once().await,
            (Workload::Transfer, _) => self.transfer_step_by_step().await,
            (Workload::Hot, Mode::Oneshot) => self.add_at_once().await,
            (Workload::Hot, _) => self.add_step_by_step().await,
        }
    }

    async fn put(&mut self) -> Ended {
        let key = self.accounts.key(self.accounts.pick(&mut self.random));
        match self.client.put(&key, self.value.clone()).await {
            Ok(_) => DONE_AT_ONCE,
            Err(error) => self.failed(error, false).await,
        }
    }

    async fn get(&mut self) -> Ended {
        let key = self.accounts.key(self.accounts.pick(&mut self.random));
        match self.client.get(&key).await {
            Ok(_) => DONE_AT_ONCE,
            Err(error) => self.failed(error, false).await,
        }
    }

    /// From, to, amount, and whether they are in two partitions.
    fn draw_transfer(&mut self) -> (Bytes, Bytes, i64, bool) {
        let share = (self.cross * SHARE_STEPS as f64) as u64;
        let cross = self.random.chance(share, SHARE_STEPS);
        let (from, to) = self.accounts.pick_pair(&mut self.random, cross);
        let amount = 1 + self.random.below(AMOUNT_MAX) as i64;
        (
            self.accounts.key(from),
            self.accounts.key(to),
            amount,
            cross,
        )
    }

    async fn transfer_at_once(&mut self) -> Ended {
        let (from, to, amount, crosses) = self.draw_transfer();
        let transfer = self
            .client
            .transaction()
            .when(&from, Condition::AtLeast(amount))
            .add(&from, -amount)
            .add(&to, amount);
        match transfer.commit().await {
            Ok(committed) => Ended::Done {
                retries: u64::from(committed.attempts.saturating_sub(1)),
                crosses: committed.partitions > 1,
            },
            Err(error) => self.failed(error, crosses).await,
        }
    }

    async fn transfer_step_by_step(&mut self) -> Ended {
        let (from, to, amount, crosses) = self.draw_transfer();
        let (mode, mut runs) = (self.mode, 0);
        let moved = self.client.transact(async |t| {
            runs += 1;
            let balances = match mode {
                Mode::Locked => lock_both(t, &from, &to).await?,
                _ => t.get_many(&[&from, &to]).await?,
            };
            let (of_from, of_to) = (held(&balances[0])?, held(&balances[1])?);
            if of_from < amount {
                return Ok(false);
            }
            t.put(&from, (of_from - amount).to_string());
            t.put(&to, (of_to + amount).to_string());
            Ok(true)
        });
        match moved.await {
            Ok(true) => Ended::Done {
                retries: runs - 1,
                crosses,
            },
            Ok(false) => Ended::Refused,
            Err(error) => self.failed(error, crosses).await,
        }
    }

    async fn add_at_once(&mut self) -> Ended {
        let counter = self.accounts.key(0);
        let added = self.client.transaction().add(&counter, 1).commit().await;
        match added {
            Ok(committed) => Ended::Done {
                retries: u64::from(committed.attempts.saturating_sub(1)),
                crosses: false,
            },
            Err(error) => self.failed(error, false).await,
        }
    }

    async fn add_step_by_step(&mut self) -> Ended {
        let counter = self.accounts.key(0);
        let (mode, mut runs) = (self.mode, 0);
        let added = self.client.transact(async |t| {
            runs += 1;
            let found = match mode {
                Mode::Locked => t.get_for_update(&counter).await?,
                _ => t.get(&counter).await?,
            };
            t.put(&counter, (held(&found)? + 1).to_string());
            Ok(())
        });
        match added.await {
            Ok(()) => Ended::Done {
                retries: runs - 1,
                crosses: false,
            },
            Err(error) => self.failed(error, false).await,
        }
    }

    /// What an error means for the books. A lost answer is asked for.
    async fn failed(&self, error: Error, crosses: bool) -> Ended {
        match error {
            Error::Aborted {
                reason: AbortReason::Guard { .. },
                ..
            } => Ended::Refused,
            Error::OutcomeUnknown { name } => {
                for _ in 0..OUTCOME_QUESTIONS_MAX {
                    match self.client.outcome(&name).await {
                        Ok(OutcomeAnswer::Committed { .. }) => {
                            return Ended::Done {
                                retries: 0,
                                crosses,
                            };
                        }
                        Ok(OutcomeAnswer::Aborted) => return Ended::Failed,
                        Ok(other) => tracing::warn!("outcome of {}: {other:?}", name.id),
                        Err(error) => tracing::warn!("outcome of {}: {error}", name.id),
                    }
                }
                Ended::Unknown
            }
            other => {
                tracing::info!("an operation failed: {other}");
                Ended::Failed
            }
        }
    }
}

/// What an account or a counter holds.
fn held(version: &Option<VersionedValue>) -> Result<i64, Error> {
    let held = version.as_ref();
    let held = held.map_or(Some(0), |version| number(&version.value));
    held.ok_or_else(|| Error::user("an account holds no number"))
}

/// Two accounts, locked in the order of their keys: two such transfers never wait for each other.
async fn lock_both(
    t: &mut Transaction,
    from: &Bytes,
    to: &Bytes,
) -> Result<Vec<Option<VersionedValue>>, Error> {
    if from < to {
        let of_from = t.get_for_update(from).await?;
        return Ok(vec![of_from, t.get_for_update(to).await?]);
    }
    let of_to = t.get_for_update(to).await?;
    Ok(vec![t.get_for_update(from).await?, of_to])
}

const DONE_AT_ONCE: Ended = Ended::Done {
    retries: 0,
    crosses: false,
};
