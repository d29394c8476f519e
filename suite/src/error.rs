//! What can keep a run from being made: not what a run finds.

use std::io;
use std::path::Path;

/// The suite could not do its work. Nothing is said about the store by that.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The cluster could not be brought to where a run begins or goes on.
    #[error("{0}")]
    Cluster(String),
    /// The store does not do what it promises, beside what a history shows.
    #[error("{0}")]
    Broken(String),
    /// A workload could not be driven.
    #[error("{0}")]
    Load(String),
}

impl SuiteError {
    /// For `map_err`: what was tried.
    pub fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> SuiteError {
        let what = what.into();
        move |source| SuiteError::Io {
            what,
            source: source.into(),
        }
    }

    /// For `map_err`: what was tried with a file.
    pub fn file(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> SuiteError + use<> {
        SuiteError::io(format!("cannot {verb} {}", path.display()))
    }
}
