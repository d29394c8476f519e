//! `timestamp`: the time of the store.

use crate::failure::Failure;
use crate::output::Object;
use crate::session::Session;
use clap::Args;

/// Draw a timestamp from the cluster, to read with --at later
///
/// Reads at it see everything that was acknowledged before it was drawn, however often they are
/// repeated, until it falls below the retention horizon. A commit's own timestamp lies between its
/// begin and its acknowledgement.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  now=$(horolog timestamp)
  horolog scan --at $now")]
pub(crate) struct Timestamp {}

impl Timestamp {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let timestamp = session.timestamp().await?;
        Ok(session.output.print(
            || timestamp.to_string(),
            || Object::new().timestamp("timestamp", timestamp),
        )?)
    }
}
