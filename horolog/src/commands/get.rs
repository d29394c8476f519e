//! `get`: one key.

use crate::failure::Failure;
use crate::session::Session;
use crate::text::bytes::{Text, shown};
use clap::Args;
use std::io::Write;

/// Read one key
///
/// Without --at it sees everything that was acknowledged before it began, by anyone. A key that is
/// absent is no error.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog get alice
  horolog get '\"a\\x00b\"' --json
  horolog get alice --at 1790000000.000000+0
  horolog get picture --raw > picture.png")]
pub(crate) struct Get {
    /// The key
    pub(crate) key: Text,

    /// Read as of this timestamp, as put, scan and timestamp print them
    #[arg(long, value_name = "TIMESTAMP")]
    pub(crate) at: Option<clock::Timestamp>,

    /// Write exactly the value's bytes and nothing else; exit code 1 if the key is absent (a shell goes on)
    #[arg(long)]
    pub(crate) raw: bool,
}

impl Get {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let key = &self.key.0;
        let version = session.get(key, self.at).await?;
        if !self.raw {
            return Ok(session.output.version(key, version.as_ref())?);
        }
        let absent = || Failure::error(format!("{} is absent", shown(key))).harmless();
        let version = version.ok_or_else(absent)?;
        let mut out = std::io::stdout().lock();
        out.write_all(&version.value)?;
        Ok(out.flush()?)
    }
}
