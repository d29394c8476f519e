//! `rebuild`: drops what a stopped node holds, so that the others give it again.

use crate::failure::Failure;
use clap::Args;
use node::io::rebuild::{Dropped, drop_replicas};
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

/// Drop the data of a stopped node, so that its next start has the other nodes give it again
///
/// For a node whose store or log is damaged. It keeps its identity if its log can be read; else the
/// next start learns from the others who it is. Until it holds again what the others may count on, it
/// votes for nobody and acknowledges nothing; for that, all other nodes that hold its partitions must
/// be up. Rebuild one node at a time, and only while the others are well: they hold the only copies.
/// If the log cannot be read, what is there is moved aside and not deleted.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog rebuild --data /var/lib/horolog
  horolog rebuild --data /var/lib/horolog --yes")]
pub(crate) struct Rebuild {
    /// Where the node keeps its data
    #[arg(long, value_name = "DIR", env = "HOROLOG_DATA")]
    data: PathBuf,

    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

impl Rebuild {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if !self.yes {
            self.confirm()?;
        }
        let dropped = drop_replicas(&self.data).map_err(Failure::error)?;
        println!("{}", told(&dropped));
        Ok(())
    }

    fn confirm(&self) -> Result<(), Failure> {
        let data = self.data.display();
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(Failure::usage(format!(
                "this drops all data of the node in {data}, which the other nodes must hold: add --yes if that is wanted"
            )));
        }
        eprint!(
            "This drops all data of the node in {data}; the other nodes must hold it. Type yes to go on: "
        );
        std::io::stderr().flush().map_err(Failure::error)?;
        let mut answer = String::new();
        stdin
            .lock()
            .read_line(&mut answer)
            .map_err(Failure::error)?;
        match answer.trim() {
            "yes" => Ok(()),
            _ => Err(Failure::error("nothing was dropped")),
        }
    }
}

fn told(dropped: &Dropped) -> String {
    let what = match (dropped.replicas, &dropped.damage) {
        (Some(replicas), _) => {
            format!("dropped {replicas} replicas; the node keeps its identity")
        }
        (None, Some(kept)) => format!(
            "dropped everything, since {}. All of it is kept in {}: remove that once the node is well, and not if no other node holds its data",
            kept.why,
            kept.place.display()
        ),
        (None, None) => "dropped everything".to_owned(),
    };
    format!("{what}. Start the node as before: the others rebuild it")
}
