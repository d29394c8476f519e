//! `put`: sets a value.

use crate::failure::Failure;
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use wire::message::OperationKind;

/// Set the value of a key
///
/// It is durable on a majority of the partition's nodes when the command returns; it prints the
/// timestamp at which it can be read from then on.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog put alice 100
  horolog put greeting '\"hello world\\n\"'
  horolog put config '{\"x\": 1}'")]
pub(crate) struct Put {
    /// The key
    pub(crate) key: Text,

    /// The value; a JSON text needs single quotes around it
    #[arg(allow_hyphen_values = true)]
    pub(crate) value: Text,
}

impl Put {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let kind = OperationKind::Put(self.value.0);
        session.change(self.key.0, kind).await
    }
}
