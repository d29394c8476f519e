//! `settings`: what holds for the whole cluster.

use crate::failure::Failure;
use crate::output::Object;
use crate::session::Session;
use crate::text::quantity::{micros, parse_duration};
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;

/// Show and change settings of the whole cluster
///
/// 'retention' is how long a version is kept after a newer one replaced it (an hour, unless it was
/// changed). Until then it can be read with --at; a read at an older timestamp is refused. Every node
/// learns of a change within seconds. What is gone already does not come back.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog settings get retention
  horolog settings set retention 30min")]
pub(crate) struct Settings {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Show a setting
    Get {
        /// Which
        name: Name,
    },
    /// Change a setting
    Set {
        /// Which
        name: Name,
        /// The new value, for example 30min or 6h
        #[arg(value_parser = parse_duration)]
        value: Duration,
    },
}

/// The settings that there are.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Name {
    /// How long old versions are kept
    Retention,
}

impl Settings {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let output = session.output;
        let (Name::Retention, retention) = match self.action {
            Action::Get { name } => (name, session.retention().await?),
            Action::Set { name, value } => {
                session.set_retention(value).await?;
                (name, value)
            }
        };
        let micros_of = u64::try_from(retention.as_micros()).unwrap_or(u64::MAX);
        output.print(
            || format!("retention {}", micros(micros_of)),
            || Object::new().with("retention_ms", micros_of / 1000),
        )?;
        Ok(())
    }
}
