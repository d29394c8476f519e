//! `min`: lowers a number.

use crate::failure::Failure;
use crate::operations::parse_number;
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use wire::message::OperationKind;

/// Lower a number to at most this one
///
/// Values are decimal texts; an absent key takes this number. Prints the new value.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog min best-time 59")]
pub(crate) struct Min {
    /// The key
    pub(crate) key: Text,

    /// The number
    #[arg(allow_negative_numbers = true, value_parser = parse_number)]
    pub(crate) number: i64,
}

impl Min {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let kind = OperationKind::Min(self.number);
        session.change(self.key.0, kind).await
    }
}
