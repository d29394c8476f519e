//! `cas`: compare and set.

use crate::failure::Failure;
use crate::operations::{Action, Statement};
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use wire::message::{Condition, OperationKind};

/// Set a value if the key is as expected (compare and set)
///
/// If it is not, nothing is changed, the value found is printed, and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog cas leader node-7 --absent
  horolog cas leader node-8 --expect node-7
  horolog cas leader node-9 --if-version 1790000000.000000+0")]
pub(crate) struct Cas {
    /// The key
    pub(crate) key: Text,

    /// The new value
    #[arg(allow_hyphen_values = true)]
    pub(crate) value: Text,

    #[command(flatten)]
    pub(crate) expected: Expected,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Expected {
    /// The value must be exactly this
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    expect: Option<Text>,

    /// The key must have no value
    #[arg(long)]
    absent: bool,

    /// The newest version must be of this timestamp
    #[arg(long = "if-version", value_name = "TIMESTAMP")]
    version: Option<clock::Timestamp>,
}

impl Expected {
    fn condition(self) -> Condition {
        match self {
            Expected {
                expect: Some(value),
                ..
            } => Condition::Equals(value.0),
            Expected {
                version: Some(version),
                ..
            } => Condition::VersionIs(Some(version)),
            Expected { .. } => Condition::Absent,
        }
    }
}

impl Cas {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (key, put) = (self.key.0, OperationKind::Put(self.value.0));
        let guard = Action::Guard(self.expected.condition());
        let statements = [guard, Action::Operation(put)].map(|action| Statement {
            key: key.clone(),
            action,
        });
        session.one_shot(statements.into()).await
    }
}
