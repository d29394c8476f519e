//! `keyspace`: keyspaces made and listed.

use crate::failure::Failure;
use crate::output::Object;
use crate::session::Session;
use clap::{Args, Subcommand};

/// Create and list keyspaces
///
/// A keyspace holds keys of its own: the same key in two keyspaces is two keys. Transactions may
/// write to several. The keyspace 'default' is always there.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog keyspace create orders
  horolog keyspace list
  horolog put 4711 paid --keyspace orders")]
pub(crate) struct Keyspace {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Create a keyspace
    Create {
        /// Its name
        name: String,
    },
    /// List the keyspaces
    List,
}

impl Keyspace {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let output = session.output;
        match self.action {
            Action::Create { name } => {
                let id = session.create_keyspace(&name).await?;
                output.print(
                    || format!("{name} ({id})"),
                    || {
                        Object::new()
                            .with("keyspace", name.as_str())
                            .with("id", id.0)
                    },
                )?;
            }
            Action::List => {
                for (name, id) in session.keyspaces().await? {
                    output.print(
                        || format!("{name} ({id})"),
                        || {
                            Object::new()
                                .with("keyspace", name.as_str())
                                .with("id", id.0)
                        },
                    )?;
                }
            }
        }
        Ok(())
    }
}
