//! `add`: adds to a number.

use crate::failure::Failure;
use crate::operations::parse_number;
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use wire::message::OperationKind;

/// Add to a number
///
/// Values are decimal texts; an absent key counts as 0. The partition computes it, so many can add to
/// one key at once without conflicts. Prints the new value. Overflow is an error.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog add visits 1
  horolog add alice -5")]
pub(crate) struct Add {
    /// The key
    pub(crate) key: Text,

    /// The number
    #[arg(allow_negative_numbers = true, value_parser = parse_number)]
    pub(crate) number: i64,
}

impl Add {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let kind = OperationKind::Add(self.number);
        session.change(self.key.0, kind).await
    }
}
