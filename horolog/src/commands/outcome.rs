//! `outcome`: what became of a transaction.

use crate::failure::Failure;
use crate::output::Object;
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use wire::ids::TransactionId;
use wire::message::OutcomeAnswer;

/// Ask what became of a transaction
///
/// A commit whose answer was lost is committed or aborted all the same, and any node can tell which.
/// If it is not committed yet, asking aborts it for good. Commands that lose an answer print the
/// arguments for this one. Outcomes are kept for some minutes.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog outcome 0659d3c1f2a00000-9e3779b97f4a7c15 1790000000.000000+0 alice")]
pub(crate) struct Outcome {
    /// The transaction's id
    pub(crate) id: TransactionId,

    /// When the transaction expires
    pub(crate) expires: clock::Timestamp,

    /// The first key that it writes
    pub(crate) anchor: Text,
}

impl Outcome {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let answer = session
            .outcome(self.id, self.expires, &self.anchor.0)
            .await?;
        let (name, words, at) = match answer {
            OutcomeAnswer::Committed { at } => {
                ("committed", format!("committed at {at}"), Some(at))
            }
            OutcomeAnswer::Aborted => (
                "aborted",
                "aborted: nothing of it was done, nor will be".to_owned(),
                None,
            ),
            OutcomeAnswer::NoLongerKept => (
                "no_longer_kept",
                "too long ago: its outcome is no longer kept".to_owned(),
                None,
            ),
            OutcomeAnswer::Staging { attempt, .. } => {
                return Err(Failure::error(format!(
                    "the node answered that attempt {attempt} is still under way: ask again"
                )));
            }
        };
        Ok(session.output.print(
            || words,
            || {
                let object = Object::new().with("outcome", name);
                object.with("timestamp", at.map(|at| at.to_string()))
            },
        )?)
    }
}
