//! Faults of the user's own, for clusters that the suite did not start.

use super::{Harm, Undo};
use crate::error::SuiteError;

/// A command of the user's, run with `begin` and with `end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hook {
    /// For a shell.
    pub command: String,
}

impl Hook {
    pub(crate) async fn begin(&self) -> Result<Harm, SuiteError> {
        let said = self.run("begin").await?;
        let said = said.trim();
        let detail = match said.is_empty() {
            true => format!("'{} begin' was run", self.command),
            false => said.lines().collect::<Vec<_>>().join("; "),
        };
        Ok(Harm {
            detail,
            undo: vec![Undo::Hook(self.clone())],
            led: Vec::new(),
        })
    }

    pub(crate) async fn end(&self) -> Result<(), SuiteError> {
        self.run("end").await.map(|_| ())
    }

    async fn run(&self, argument: &str) -> Result<String, SuiteError> {
        let line = format!("{} {argument}", self.command);
        let mut shell = tokio::process::Command::new("sh");
        let ended = shell.args(["-c", &line]).kill_on_drop(true).output().await;
        let ended = ended.map_err(SuiteError::io(format!("the hook '{line}' does not run")))?;
        match ended.status.success() {
            true => Ok(String::from_utf8_lossy(&ended.stdout).into_owned()),
            false => Err(SuiteError::Cluster(format!(
                "the hook '{line}' failed ({}): {}",
                ended.status,
                String::from_utf8_lossy(&ended.stderr).trim()
            ))),
        }
    }
}
