//! `append`: adds bytes to a value.

use crate::failure::Failure;
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use wire::message::OperationKind;

/// Append bytes to a value
///
/// An absent key counts as empty. Prints the new value.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog append journal '\"one more line\\n\"'")]
pub(crate) struct Append {
    /// The key
    pub(crate) key: Text,

    /// The bytes
    #[arg(allow_hyphen_values = true)]
    pub(crate) bytes: Text,
}

impl Append {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let kind = OperationKind::Append(self.bytes.0);
        session.change(self.key.0, kind).await
    }
}
