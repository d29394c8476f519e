//! `delete`: removes a value.

use crate::failure::Failure;
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use wire::message::OperationKind;

/// Remove a key
///
/// Deleting a key that is absent is no error. Older versions stay readable with --at.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog delete alice")]
pub(crate) struct Delete {
    /// The key
    pub(crate) key: Text,
}

impl Delete {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.change(self.key.0, OperationKind::Delete).await
    }
}
