//! `max`: raises a number.

use crate::failure::Failure;
use crate::operations::parse_number;
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use wire::message::OperationKind;

/// Raise a number to at least this one
///
/// Values are decimal texts; an absent key takes this number. Prints the new value.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog max high-score 1000")]
pub(crate) struct Max {
    /// The key
    pub(crate) key: Text,

    /// The number
    #[arg(allow_negative_numbers = true, value_parser = parse_number)]
    pub(crate) number: i64,
}

impl Max {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let kind = OperationKind::Max(self.number);
        session.change(self.key.0, kind).await
    }
}
