//! Asks for the outcomes of commits afterwards, and records what is said.

use crate::error::SuiteError;
use crate::run::Load;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use verify::history::Form;
use wire::client::Client;
use wire::message::{OutcomeAnswer, TransactionName};

/// Questions that wait; whoever has more waits itself.
const QUESTIONS_MAX: usize = 256;
/// Between two questions for the same outcome.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// When the cluster is healed and quiet, every outcome is told within this.
const TOLD_WITHIN: Duration = Duration::from_secs(45);

/// A commit whose outcome is asked for.
pub(super) struct Question {
    pub(super) name: TransactionName,
    /// The event of its invocation.
    pub(super) index: u64,
    /// What its `:ok` tells, as far as known.
    pub(super) told: Form,
}

/// One task that asks, question after question.
pub(super) struct Questioner(JoinHandle<Result<(), SuiteError>>);

impl Questioner {
    pub(super) fn start(client: Client, load: Load) -> (Questioner, mpsc::Sender<Question>) {
        let (sender, mut questions) = mpsc::channel(QUESTIONS_MAX);
        let asked = async move {
            while let Some(question) = questions.recv().await {
                ask(&client, &load, question).await?;
            }
            Ok(())
        };
        (Questioner(tokio::spawn(asked)), sender)
    }

    /// Waits until all was asked; all senders must be gone.
    pub(super) async fn end(self) -> Result<(), SuiteError> {
        let ended = self.0.await;
        ended.map_err(|panicked| SuiteError::Load(panicked.to_string()))?
    }
}

async fn ask(client: &Client, load: &Load, question: Question) -> Result<(), SuiteError> {
    let mut quiet_since = None;
    loop {
        let why = match client.outcome(&question.name).await {
            Ok(OutcomeAnswer::Committed { .. }) => {
                return record(load, &question, Some(&question.told));
            }
            Ok(OutcomeAnswer::Aborted) => return record(load, &question, None),
            Ok(other @ (OutcomeAnswer::Staging { .. } | OutcomeAnswer::NoLongerKept)) => {
                format!("{other:?}")
            }
            Err(error) => error.to_string(),
        };
        if load.quiet.is_cancelled() {
            let since = *quiet_since.get_or_insert(load.clock.elapsed());
            if load.clock.elapsed() > since + TOLD_WITHIN {
                let id = question.name.id;
                return Err(SuiteError::Broken(format!(
                    "the outcome of transaction {id} was not told {TOLD_WITHIN:?} after everything was healed: {why}"
                )));
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

fn record(load: &Load, question: &Question, told: Option<&Form>) -> Result<(), SuiteError> {
    let mut recorder = load.recorder.lock().unwrap_or_else(PoisonError::into_inner);
    let time = load.clock.nanoseconds() as i64;
    let written = recorder.outcome(time, question.index, told);
    written.map_err(|misuse| SuiteError::Load(misuse.to_string()))
}
