//! One process: its client, its number, and the operation that it has open.

use super::outcomes::Question;
use crate::error::SuiteError;
use crate::run::{Counts, Load};
use bytes::Bytes;
use clock::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use verify::history::{Form, Misuse};
use wire::SplitMix64;
use wire::client::{Client, ClientOptions, Error, OneShot, Transaction};
use wire::message::{Committed, TransactionName};

/// Of commits whose outcome was told, one in so many is asked for all the same.
const ASKED_ONE_IN: u64 = 16;
/// How long a process tries to connect: its first node may be down.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Final reads are tried so often, with this pause; the cluster is healed by then.
const FINAL_TRIES: (u32, Duration) = (40, Duration::from_millis(250));
/// How often the result of a commit is read again.
const RESULT_TRIES: u32 = 8;

/// What all processes share.
pub(super) struct Shared {
    load: Load,
    counts: Mutex<Counts>,
    questions: mpsc::Sender<Question>,
}

/// A client of any of these addresses.
pub(super) async fn connect(addresses: &[String]) -> Result<Client, SuiteError> {
    let options = ClientOptions {
        connect_timeout: CONNECT_WITHIN,
        ..ClientOptions::default()
    };
    let client = Client::connect_with(addresses, options).await;
    client.map_err(|error| SuiteError::Load(error.to_string()))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn misused(misuse: Misuse) -> SuiteError {
    SuiteError::Load(misuse.to_string())
}

impl Shared {
    pub(super) fn new(load: &Load, questions: mpsc::Sender<Question>) -> Shared {
        Shared {
            load: load.clone(),
            counts: Mutex::default(),
            questions,
        }
    }

    /// A process of its own.
    pub(super) fn session(
        self: &Arc<Self>,
        client: Client,
        random: SplitMix64,
    ) -> Result<Session, SuiteError> {
        let process = locked(&self.load.recorder).new_process();
        Ok(Session {
            client,
            random,
            shared: self.clone(),
            process,
            open: None,
            failures: 0,
        })
    }

    pub(super) fn counts(&self) -> Counts {
        *locked(&self.counts)
    }
}

/// What an operation that certainly happened told, and the commit that it was.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) told: Form,
    pub(super) name: Option<TransactionName>,
}

impl Done {
    /// Something that was only read.
    pub(super) fn read(told: Form) -> Result<Done, Undone> {
        Ok(Done { told, name: None })
    }
}

/// Why an operation is not known to have happened.
#[derive(Debug)]
pub(super) enum Undone {
    /// It certainly did not, and never will.
    Refused {
        why: String,
        name: Option<TransactionName>,
    },
    /// Nobody knows; what it told if it did, as far as that is known.
    Unknown {
        name: TransactionName,
        if_committed: Form,
    },
    /// The run cannot go on.
    Ends(SuiteError),
}

/// Of whatever was only read, or not sent.
impl From<Error> for Undone {
    fn from(error: Error) -> Undone {
        let (why, name) = (error.to_string(), None);
        Undone::Refused { why, name }
    }
}

impl From<SuiteError> for Undone {
    fn from(error: SuiteError) -> Undone {
        Undone::Ends(error)
    }
}

pub(super) type Attempt = Result<Done, Undone>;

/// A commit that failed. Of every failure but one the client is certain that nothing happened.
fn undone(error: Error, name: Option<TransactionName>, if_committed: Form) -> Undone {
    match error {
        Error::OutcomeUnknown { name } => Undone::Unknown { name, if_committed },
        refused => Undone::Refused {
            why: refused.to_string(),
            name,
        },
    }
}

/// Sends a transaction as a whole, once. `told`: what it tells if it is committed, `nil` if that is computed.
pub(super) async fn commit_at_once(
    transaction: OneShot,
    told: Form,
) -> Result<(Committed, Done), Undone> {
    let mut name = None;
    let sent = transaction.commit_named(|sent| name = Some(sent.clone()));
    match sent.await {
        Ok(committed) => Ok((committed, Done { told, name })),
        Err(error) => Err(undone(error, name, told)),
    }
}

/// Commits a transaction that read.
pub(super) async fn commit(
    transaction: &mut Transaction,
    told: Form,
) -> Result<(Committed, Done), Undone> {
    let committed = transaction.commit().await;
    let name = transaction.name().cloned();
    match committed {
        Ok(committed) => Ok((committed, Done { told, name })),
        Err(error) => Err(undone(error, name, told)),
    }
}

/// One process.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) random: SplitMix64,
    shared: Arc<Shared>,
    process: i64,
    /// The event of the open operation's invocation, and what was asked.
    open: Option<(u64, Form)>,
    failures: u32,
}

impl Session {
    /// An operation is about to begin.
    pub(super) fn invoke(&mut self, f: &str, asked: Form) -> Result<(), SuiteError> {
        let mut recorder = locked(&self.shared.load.recorder);
        let time = self.shared.load.clock.nanoseconds() as i64;
        let index = recorder.events();
        recorder
            .invoke(time, self.process, f, &asked)
            .map_err(misused)?;
        self.open = Some((index, asked));
        Ok(())
    }

    /// The open operation has ended; whether it was done.
    pub(super) async fn complete(&mut self, attempt: Attempt) -> Result<bool, SuiteError> {
        let open = self.open.take();
        let (index, asked) = open.expect("an operation is completed after it was invoked");
        let is_done = attempt.is_ok();
        let question = match attempt {
            Ok(Done { told, name }) => {
                self.record(|recorder, time, process| recorder.ok(time, process, &told))?;
                locked(&self.shared.counts).ok += 1;
                let name = name.filter(|_| self.random.chance(1, ASKED_ONE_IN));
                name.map(|name| Question { name, index, told })
            }
            Err(Undone::Refused { why, name }) => {
                tracing::debug!(process = self.process, why, "not done");
                self.record(|recorder, time, process| recorder.fail(time, process, &asked))?;
                locked(&self.shared.counts).fail += 1;
                let name = name.filter(|_| self.random.chance(1, ASKED_ONE_IN));
                let told = Form::Nil;
                name.map(|name| Question { name, index, told })
            }
            Err(Undone::Unknown { name, if_committed }) => {
                tracing::info!(process = self.process, id = %name.id, "outcome unknown");
                self.record(|recorder, time, process| recorder.info(time, process, &asked))?;
                locked(&self.shared.counts).info += 1;
                self.process = locked(&self.shared.load.recorder).new_process();
                let told = if_committed;
                Some(Question { name, index, told })
            }
            Err(Undone::Ends(error)) => return Err(error),
        };
        if let Some(question) = question {
            let asked = self.shared.questions.send(question).await;
            asked.map_err(|_| SuiteError::Load("nobody asks for outcomes any more".into()))?;
        }
        self.failures = if is_done { 0 } else { self.failures + 1 };
        Ok(is_done)
    }

    fn record(
        &self,
        write: impl FnOnce(
            &mut verify::history::Recorder<std::io::BufWriter<std::fs::File>>,
            i64,
            i64,
        ) -> Result<(), Misuse>,
    ) -> Result<(), SuiteError> {
        let mut recorder = locked(&self.shared.load.recorder);
        let time = self.shared.load.clock.nanoseconds() as i64;
        write(&mut recorder, time, self.process).map_err(misused)
    }

    /// A final read failed: waits a little, or gives up.
    pub(super) async fn again(&self) -> Result<(), SuiteError> {
        let (tries, pause) = FINAL_TRIES;
        if self.failures >= tries {
            return Err(SuiteError::Broken(format!(
                "the cluster was healed, and a final read failed {tries} times one after another"
            )));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// What each operation of a commit computed. If the answer has it not (it was that of an earlier send),
    /// it is read at the commit's timestamp; if even that fails, what was told is not known.
    pub(super) async fn computed(
        &self,
        committed: &Committed,
        done: Done,
        keys: &[Vec<u8>],
    ) -> Result<(Vec<Option<Bytes>>, Done), Undone> {
        if committed.results.len() == keys.len() {
            return Ok((committed.results.clone(), done));
        }
        let mut why = String::new();
        for _ in 0..RESULT_TRIES {
            match self.values_at(committed.at, keys).await {
                Ok(values) => return Ok((values, done)),
                Err(error) => why = error.to_string(),
            }
        }
        tracing::info!(why, "committed, but what was computed cannot be read");
        match done.name {
            Some(name) => Err(Undone::Unknown {
                name,
                if_committed: Form::Nil,
            }),
            None => Err(Undone::Ends(SuiteError::Load(why))),
        }
    }

    async fn values_at(
        &self,
        at: Timestamp,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Bytes>>, Error> {
        let values = self.client.at(at).get_many(keys).await?;
        Ok(values
            .into_iter()
            .map(|value| value.map(|v| v.value))
            .collect())
    }

    /// A number in [0, 1).
    pub(super) fn fraction(&mut self) -> f64 {
        self.random.below(1 << 30) as f64 / f64::from(1 << 30)
    }
}

/// The number that a value is; nothing else was ever written.
pub(super) fn number(value: &[u8]) -> Result<i64, SuiteError> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let value = value.escape_ascii();
        SuiteError::Broken(format!("a value was read that nobody wrote: '{value}'"))
    })
}

/// `n`, or `nil` for nothing.
pub(super) fn number_or_nil(value: Option<&[u8]>) -> Result<Form, SuiteError> {
    value.map_or(Ok(Form::Nil), |value| Ok(number(value)?.into()))
}

/// The numbers that a value lists, each followed by a comma.
pub(super) fn numbers(value: &[u8]) -> Result<Vec<i64>, SuiteError> {
    let all = value.split(|byte| *byte == b',');
    all.filter(|element| !element.is_empty())
        .map(number)
        .collect()
}

/// Shuffles, after Fisher and Yates.
pub(super) fn shuffle<T>(all: &mut [T], random: &mut SplitMix64) {
    for last in (1..all.len()).rev() {
        all.swap(last, random.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_nobody_wrote_are_named() {
        assert_eq!(numbers(b"3,17,").unwrap(), [3, 17]);
        assert_eq!(numbers(b"").unwrap(), [0i64; 0]);
        let wrong = numbers(b"3,x,").unwrap_err().to_string();
        assert!(wrong.contains("nobody wrote: 'x'"), "{wrong}");
        assert_eq!(number_or_nil(None).unwrap(), Form::Nil);
    }

    #[test]
    fn only_an_unknown_outcome_is_unknown() {
        let refused = undone(Error::Ended, None, Form::Nil);
        assert!(matches!(refused, Undone::Refused { .. }));
        let name = TransactionName {
            id: wire::ids::TransactionId {
                time: Timestamp::ZERO,
                random: 1,
            },
            expires: Timestamp::ZERO,
            anchor: wire::keys::Key::least(),
        };
        let unknown = undone(Error::OutcomeUnknown { name }, None, Form::Nil);
        assert!(matches!(unknown, Undone::Unknown { .. }));
    }
}
