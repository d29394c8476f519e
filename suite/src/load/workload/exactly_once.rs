//! `exactly-once`: one commit is sent several times: over two gateways at once, again after its answer was thrown
//! away, again after it was answered. It appends its id to two logs, in different partitions; each must have it
//! once, and whoever sends or asks must be told the same.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, Undone, numbers, shuffle};
use super::int;
use crate::error::SuiteError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use verify::history::Form;
use wire::client::{HeldCommit, Told};
use wire::message::{OutcomeAnswer, TransactionName};

/// Logs on each of the two sides: an id is in one log of each.
const LOGS: u64 = 3;
/// An answer is thrown away if it has not come after at most so many microseconds.
const IMPATIENCE_MAX_US: u64 = 6_000;
/// Names that are kept to be asked for.
const NAMES_MAX: usize = 64;
/// Sends of one commit before its outcome is asked for.
const SENDS_MAX: usize = 6;

/// Logs of ids.
pub(crate) struct ExactlyOnce {
    layout: Layout,
    next: AtomicU64,
    names: Mutex<BTreeMap<u64, TransactionName>>,
}

impl ExactlyOnce {
    fn log(&self, side: u64, log: u64) -> Vec<u8> {
        self.layout.key("log", side * LOGS + log)
    }

    fn remember(&self, id: u64, name: TransactionName) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(id, name);
        while names.len() > NAMES_MAX {
            names.pop_first();
        }
    }

    async fn commit(&self, session: &mut Session, id: u64) -> Result<(), SuiteError> {
        session.invoke("commit", int(id))?;
        let entry = format!("{id},");
        let held = session.client.transaction();
        let held = held.append(self.log(0, id % LOGS), entry.clone());
        let held = match held.append(self.log(1, (id / LOGS) % LOGS), entry).hold() {
            Ok(held) => held,
            Err(error) => return session.complete(Err(error.into())).await.map(|_| ()),
        };
        let attempt = self.send(session, id, &held).await;
        session.complete(attempt).await?;
        self.remember(id, held.name().clone());
        if session.random.chance(1, 3) {
            // A late double, long after everybody has heard the answer.
            self.send_again(session, id, &held).await?;
        }
        Ok(())
    }

    async fn send(&self, session: &mut Session, id: u64, held: &HeldCommit) -> Attempt {
        let mut gateways = held.gateways();
        shuffle(&mut gateways, &mut session.random);
        let name = || Some(held.name().clone());
        for place in 0..SENDS_MAX {
            let gateway = &gateways[place % gateways.len()];
            let told = match session.random.below(3) {
                0 => {
                    let other = &gateways[(place + 1) % gateways.len()];
                    let (one, two) = tokio::join!(held.send(gateway), held.send(other));
                    definite(one, two)?
                }
                1 => {
                    let patience = session.random.below(IMPATIENCE_MAX_US);
                    let answer = held.send(gateway);
                    let answer = tokio::time::timeout(Duration::from_micros(patience), answer);
                    answer
                        .await
                        .unwrap_or_else(|_| Told::Unknown("thrown away".into()))
                }
                _ => held.send(gateway).await,
            };
            match told {
                Told::Committed(_) => {
                    return Ok(Done {
                        told: int(id),
                        name: name(),
                    });
                }
                Told::Aborted(reason) => {
                    let why = reason.to_string();
                    return Err(Undone::Refused { why, name: name() });
                }
                Told::Unknown(why) => tracing::debug!(id, why, "sent again"),
            }
        }
        match session.client.outcome(held.name()).await {
            Ok(OutcomeAnswer::Committed { .. }) => Ok(Done {
                told: int(id),
                name: name(),
            }),
            Ok(OutcomeAnswer::Aborted) => {
                let why = "closed by the question for its outcome".into();
                Err(Undone::Refused { why, name: name() })
            }
            _ => Err(Undone::Unknown {
                name: held.name().clone(),
                if_committed: int(id),
            }),
        }
    }

    async fn send_again(
        &self,
        session: &mut Session,
        id: u64,
        held: &HeldCommit,
    ) -> Result<(), SuiteError> {
        let gateways = held.gateways();
        let gateway = &gateways[session.random.below(gateways.len() as u64) as usize];
        session.invoke("outcome", asked(id))?;
        let attempt = match held.send(gateway).await {
            Told::Committed(_) => Done::read(outcome(id, "committed")),
            Told::Aborted(_) => Done::read(outcome(id, "aborted")),
            Told::Unknown(why) => Err(Undone::Refused { why, name: None }),
        };
        session.complete(attempt).await?;
        Ok(())
    }

    async fn ask(&self, session: &mut Session) -> Result<(), SuiteError> {
        let chosen = {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let place = session.random.below(names.len() as u64) as usize;
            names
                .iter()
                .nth(place)
                .map(|(id, name)| (*id, name.clone()))
        };
        let Some((id, name)) = chosen else {
            return Ok(());
        };
        session.invoke("outcome", asked(id))?;
        let attempt = match session.client.outcome(&name).await {
            Ok(OutcomeAnswer::Committed { .. }) => Done::read(outcome(id, "committed")),
            Ok(OutcomeAnswer::Aborted) => Done::read(outcome(id, "aborted")),
            Ok(other) => {
                let why = format!("{other:?}");
                Err(Undone::Refused { why, name: None })
            }
            Err(error) => Err(error.into()),
        };
        session.complete(attempt).await?;
        Ok(())
    }

    async fn read(&self, session: &mut Session, side: u64) -> Result<bool, SuiteError> {
        session.invoke("read", Form::Nil)?;
        let attempt = self.read_side(session, side).await;
        session.complete(attempt).await
    }

    async fn read_side(&self, session: &mut Session, side: u64) -> Attempt {
        let logs: Vec<Vec<u8>> = (0..LOGS).map(|log| self.log(side, log)).collect();
        let values = session.client.get_many(&logs).await?;
        let mut ids = Vec::new();
        for value in values.into_iter().flatten() {
            ids.extend(numbers(&value.value)?);
        }
        Done::read(Form::vector(ids.into_iter().map(Form::Int)))
    }
}

/// What is definite of two answers.
fn definite(one: Told, two: Told) -> Result<Told, SuiteError> {
    match (&one, &two) {
        (Told::Committed(_), Told::Aborted(_)) | (Told::Aborted(_), Told::Committed(_)) => {
            Err(SuiteError::Broken(format!(
                "one commit was sent over two gateways at once, and one said {one:?}, the other {two:?}"
            )))
        }
        (Told::Unknown(_), _) => Ok(two),
        _ => Ok(one),
    }
}

fn asked(id: u64) -> Form {
    Form::vector([int(id), Form::Nil])
}

fn outcome(id: u64, what: &str) -> Form {
    Form::vector([int(id), Form::keyword(what)])
}

impl Workload for ExactlyOnce {
    const NAME: &'static str = "exactly-once";
    const RATE: u32 = 60;

    fn new(layout: Layout) -> ExactlyOnce {
        ExactlyOnce {
            layout,
            next: AtomicU64::new(0),
            names: Mutex::default(),
        }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let size = self.next.load(Ordering::Relaxed);
        if session.random.chance(1, 6 + size / 50) {
            let side = session.random.below(2);
            return self.read(session, side).await.map(|_| ());
        }
        if session.random.chance(1, 5) {
            return self.ask(session).await;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.commit(session, id).await
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        for side in 0..2 {
            while !self.read(session, side).await? {
                session.again().await?;
            }
        }
        Ok(())
    }
}
