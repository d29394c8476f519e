//! A process in the background.

use crate::error::SuiteError;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A process that runs until it is told to end; when this is dropped it is killed and waited for.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it. What it says on either output is added to the end of `log`.
    pub fn start(mut command: Command, name: &str, log: &Path) -> Result<Process, SuiteError> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let out = open().map_err(SuiteError::file("write", log))?;
        let err = open().map_err(SuiteError::file("write", log))?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Ok(Process {
            child: child.map_err(SuiteError::io(format!("cannot start {command:?}")))?,
            name: name.to_owned(),
            ended: None,
        })
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, SuiteError> {
        if self.ended.is_none() {
            let ended = self.child.try_wait();
            self.ended = ended.map_err(SuiteError::io(format!("cannot wait for {}", self.name)))?;
        }
        Ok(self.ended)
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<(), SuiteError> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let sent = kill_process(self.id(), signal);
        sent.map_err(SuiteError::io(format!(
            "cannot send {signal:?} to {}",
            self.name
        )))
    }

    /// Kills it with SIGKILL and waits for the end.
    pub fn kill(&mut self) -> Result<(), SuiteError> {
        if self.ended()?.is_none() {
            let killed = self.child.kill().and_then(|()| self.child.wait());
            let ended = killed.map_err(SuiteError::io(format!("cannot kill {}", self.name)))?;
            self.ended = Some(ended);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::error!("{error}");
        }
    }
}
