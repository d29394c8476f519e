//! The wish of the operator that a long-running command ends: ^C or SIGTERM.

use std::fmt;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches both signals from the moment it is made.
#[derive(Debug)]
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// Caught so that it does nothing: a write beyond the limit of a file's size is then an error that
    /// names the file, instead of a death without a word.
    _file_too_large: Signal,
}

/// SIGXFSZ, which `SignalKind` has no name for.
const FILE_TOO_LARGE: i32 = 25;

impl StopSignals {
    /// Catches them. Call it inside a runtime.
    pub(crate) fn catch() -> io::Result<StopSignals> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_too_large: signal(SignalKind::from_raw(FILE_TOO_LARGE))?,
        })
    }

    /// Returns when either came.
    pub(crate) async fn wait(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
        }
    }
}

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// ^C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopSignal::Interrupt => "interrupted",
            StopSignal::Terminate => "asked to terminate",
        })
    }
}
