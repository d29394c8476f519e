//! Why a command did not do what it was asked to, and the exit code that tells a script so.
//!
//! ```text
//!   0  done
//!   1  not done: the message says why
//!   2  the command line is wrong
//!   3  the transaction was aborted: a guard does not hold, or others were faster
//! ```

use crate::text::bytes::shown;
use serde_json::{Map, Value};
use std::fmt;
use std::process::ExitCode;
use wire::client::Error;
use wire::message::{AbortReason, TransactionName};

/// A kind of failure, by exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It could not be done.
    Error = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The transaction was aborted; nothing of it was done.
    Aborted = 3,
}

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    /// Further members of the JSON form.
    details: Map<String, Value>,
    /// The command has already said it on its standard output.
    told: bool,
    /// A script goes on after it.
    harmless: bool,
}

impl Failure {
    /// It could not be done.
    pub(crate) fn error(message: impl fmt::Display) -> Failure {
        Failure::new(Kind::Error, message)
    }

    /// The command line, or a line in the shell, makes no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Kind::Usage, message)
    }

    /// The transaction was aborted.
    pub(crate) fn aborted(message: impl fmt::Display) -> Failure {
        Failure::new(Kind::Aborted, message)
    }

    /// The transaction was aborted, and the command's output has said so.
    pub(crate) fn aborted_and_told() -> Failure {
        Failure::aborted("").told()
    }

    /// It is not as it should be, and the command's output has said so.
    pub(crate) fn not_done_and_told() -> Failure {
        Failure::error("").told()
    }

    /// The command's output has said it.
    pub(crate) fn told(mut self) -> Failure {
        self.told = true;
        self
    }

    /// Nothing went wrong that would end a shell's script.
    pub(crate) fn harmless(mut self) -> Failure {
        self.harmless = true;
        self
    }

    /// Whether a shell's script goes on after it.
    pub(crate) fn is_harmless(&self) -> bool {
        self.harmless
    }

    fn new(kind: Kind, message: impl fmt::Display) -> Failure {
        Failure {
            kind,
            message: message.to_string(),
            details: Map::new(),
            told: false,
            harmless: false,
        }
    }

    /// Adds a member to the JSON form.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Failure {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Says where it happened, in front of the message.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Failure {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// Says it on standard error.
    pub(crate) fn report(&self, json: bool) {
        if self.told {
            return;
        }
        if json {
            let mut object = self.details.clone();
            object.insert("error".to_owned(), self.message.clone().into());
            eprintln!("{}", Value::Object(object));
        } else {
            eprintln!("error: {}", self.message);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::error(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match &error {
            Error::Aborted { id, reason } => {
                let reason = reason_text(reason);
                Failure::aborted(format!("transaction {id} was not committed: {reason}"))
                    .with("transaction", id.to_string())
            }
            Error::RetriesExhausted { .. } => Failure::aborted(&error),
            Error::OutcomeUnknown { name } => outcome_unknown(name),
            conflict if conflict.is_conflict() => Failure::aborted(conflict),
            other => Failure::error(other),
        }
    }
}

/// Why a transaction was aborted, and what to do for somebody who typed it.
pub(crate) fn reason_text(reason: &AbortReason) -> String {
    match reason {
        AbortReason::Changed { key, rival } => format!(
            "{key} was changed by {rival} since this one read it: begin again, and read it with get-for-update to keep others from it"
        ),
        other => other.to_string(),
    }
}

fn outcome_unknown(name: &TransactionName) -> Failure {
    let TransactionName {
        id,
        expires,
        anchor,
    } = name;
    let anchor = shown(anchor.user());
    Failure::error(format!(
        "it is not known whether the transaction was committed. It is one or the other, and every node can tell once a majority of nodes is up: horolog outcome {id} {expires} '{anchor}'"
    ))
    .with("transaction", id.to_string())
    .with("expires", expires.to_string())
    .with("anchor", anchor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Timestamp;
    use wire::ids::TransactionId;
    use wire::keys::{DEFAULT_KEYSPACE, Key};
    use wire::message::Rival;

    const ID: TransactionId = TransactionId {
        time: Timestamp::ZERO,
        random: 7,
    };

    #[test]
    fn an_abort_has_its_own_exit_code() {
        let key = Key::new(DEFAULT_KEYSPACE, b"a");
        let reason = AbortReason::Guard { key, found: None };
        let failure = Failure::from(Error::Aborted { id: ID, reason });
        assert_eq!(failure.kind, Kind::Aborted);
        assert!(failure.to_string().contains("the guard on a"), "{failure}");
        assert_eq!(Failure::from(Error::Ended).kind, Kind::Error);
        let key = Key::new(DEFAULT_KEYSPACE, b"a");
        let rival = Rival::Version {
            at: Timestamp::from_micros(7_000_000),
        };
        let reason = AbortReason::Changed { key, rival };
        let failure = Failure::from(Error::Aborted { id: ID, reason }).to_string();
        assert!(failure.contains("begin again"), "{failure}");
        assert!(failure.contains("committed at 7.000000+0"), "{failure}");
        assert!(!failure.contains("transact`"), "{failure}");
    }

    #[test]
    fn an_unknown_outcome_names_the_remedy() {
        let failure = Failure::from(Error::OutcomeUnknown {
            name: TransactionName {
                id: ID,
                expires: Timestamp::from_micros(1_000_000),
                anchor: Key::new(DEFAULT_KEYSPACE, b"a b"),
            },
        });
        let remedy = "horolog outcome 0000000000000000-0000000000000007 1.000000+0 '\"a b\"'";
        assert!(failure.to_string().contains(remedy), "{failure}");
        assert_eq!(failure.at("line 3").details["anchor"], "\"a b\"");
    }
}
