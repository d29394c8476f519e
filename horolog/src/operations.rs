//! Statements of a transaction: guards and operations, as `horolog txn` and the shell take them.
//!
//! ```text
//!   guard KEY exists | absent | equals VALUE | differs VALUE | version TIMESTAMP
//!             | atleast NUMBER | atmost NUMBER
//!   put KEY VALUE      delete KEY        append KEY BYTES
//!   add KEY NUMBER     min KEY NUMBER    max KEY NUMBER
//! ```
//!
//! Keys and values are written as [`crate::text::bytes`] says.

use crate::text::bytes::{QuoteError, Text};
use crate::text::words::{UnclosedQuote, words};
use bytes::Bytes;
use clock::{ParseTimestampError, Timestamp};
use wire::message::{Condition, OperationKind};

/// One statement; its key is the user's, without a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The key.
    pub(crate) key: Bytes,
    /// What to do with it.
    pub(crate) action: Action,
}

/// What a statement does with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Demands something of it.
    Guard(Condition),
    /// Changes it.
    Operation(OperationKind),
}

/// Why a statement cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StatementError {
    #[error(transparent)]
    Unclosed(#[from] UnclosedQuote),
    #[error(transparent)]
    Quote(#[from] QuoteError),
    #[error(transparent)]
    Timestamp(#[from] ParseTimestampError),
    #[error("'{0}' is not a whole number between -2^63 and 2^63-1")]
    Number(String),
    #[error(
        "'{0}' is not a statement: use guard, put, delete, add, min, max or append (see horolog txn --help)"
    )]
    Unknown(String),
    #[error(
        "'{0}' is not a condition: use exists, absent, equals, differs, version, atleast or atmost"
    )]
    UnknownCondition(String),
    #[error("write it as: {0}")]
    Shape(&'static str),
}

/// Reads one statement; `None` if the line is blank or a comment.
pub(crate) fn parse_statement(line: &str) -> Result<Option<Statement>, StatementError> {
    let words = words(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((verb, rest)) = words.split_first() else {
        return Ok(None);
    };
    let (key, action) = match *verb {
        "guard" => guard(rest)?,
        "put" => {
            let [key, value] = shaped(rest, "put KEY VALUE")?;
            (key, operation(OperationKind::Put(typed(value)?)))
        }
        "delete" => {
            let [key] = shaped(rest, "delete KEY")?;
            (key, operation(OperationKind::Delete))
        }
        "append" => {
            let [key, value] = shaped(rest, "append KEY BYTES")?;
            (key, operation(OperationKind::Append(typed(value)?)))
        }
        "add" => numeric(rest, "add KEY NUMBER", OperationKind::Add)?,
        "min" => numeric(rest, "min KEY NUMBER", OperationKind::Min)?,
        "max" => numeric(rest, "max KEY NUMBER", OperationKind::Max)?,
        other => return Err(StatementError::Unknown(other.to_owned())),
    };
    Ok(Some(Statement {
        key: typed(key)?,
        action,
    }))
}

fn guard<'a>(rest: &[&'a str]) -> Result<(&'a str, Action), StatementError> {
    const SHAPE: &str =
        "guard KEY exists|absent, or guard KEY equals|differs|version|atleast|atmost VALUE";
    let (key, name, argument) = match rest {
        [key, name] => (key, name, None),
        [key, name, argument] => (key, name, Some(*argument)),
        _ => return Err(StatementError::Shape(SHAPE)),
    };
    let argument = argument.ok_or(StatementError::Shape(SHAPE));
    let condition = match *name {
        "exists" | "absent" if argument.is_ok() => return Err(StatementError::Shape(SHAPE)),
        "exists" => Condition::Exists,
        "absent" => Condition::Absent,
        "equals" => Condition::Equals(typed(argument?)?),
        "differs" => Condition::NotEquals(typed(argument?)?),
        "version" => Condition::VersionIs(Some(argument?.parse::<Timestamp>()?)),
        "atleast" => Condition::AtLeast(parse_number(argument?)?),
        "atmost" => Condition::AtMost(parse_number(argument?)?),
        other => return Err(StatementError::UnknownCondition(other.to_owned())),
    };
    Ok((key, Action::Guard(condition)))
}

fn numeric<'a>(
    rest: &[&'a str],
    shape: &'static str,
    kind: fn(i64) -> OperationKind,
) -> Result<(&'a str, Action), StatementError> {
    let [key, argument] = shaped(rest, shape)?;
    Ok((key, operation(kind(parse_number(argument)?))))
}

fn shaped<'a, const N: usize>(
    rest: &[&'a str],
    shape: &'static str,
) -> Result<[&'a str; N], StatementError> {
    rest.try_into().map_err(|_| StatementError::Shape(shape))
}

fn operation(kind: OperationKind) -> Action {
    Action::Operation(kind)
}

fn typed(word: &str) -> Result<Bytes, StatementError> {
    Ok(Text::parse(word.as_bytes())?.0)
}

/// Reads a number as values hold it.
pub(crate) fn parse_number(word: &str) -> Result<i64, StatementError> {
    word.parse()
        .map_err(|_| StatementError::Number(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Statement> {
        parse_statement(line).unwrap()
    }

    fn statement(key: &'static [u8], action: Action) -> Option<Statement> {
        let key = Bytes::from_static(key);
        Some(Statement { key, action })
    }

    #[test]
    fn every_statement_is_read() {
        let bytes = Bytes::from_static;
        for (line, key, action) in [
            (
                "put a 1",
                &b"a"[..],
                operation(OperationKind::Put(bytes(b"1"))),
            ),
            (
                r#"put "a b" "\xff""#,
                b"a b",
                operation(OperationKind::Put(bytes(b"\xff"))),
            ),
            ("delete a # gone", b"a", operation(OperationKind::Delete)),
            ("add a -5", b"a", operation(OperationKind::Add(-5))),
            ("min a +7", b"a", operation(OperationKind::Min(7))),
            ("max a 7", b"a", operation(OperationKind::Max(7))),
            (
                "append a x",
                b"a",
                operation(OperationKind::Append(bytes(b"x"))),
            ),
            ("guard a exists", b"a", Action::Guard(Condition::Exists)),
            ("guard a absent", b"a", Action::Guard(Condition::Absent)),
            (
                "guard a equals '{\"x\": 1}'",
                b"a",
                Action::Guard(Condition::Equals(bytes(b"{\"x\": 1}"))),
            ),
            (
                "guard a differs x",
                b"a",
                Action::Guard(Condition::NotEquals(bytes(b"x"))),
            ),
            (
                "guard a version 7.5+2",
                b"a",
                Action::Guard(Condition::VersionIs(Some(
                    Timestamp::from_micros(7_500_000).next().next(),
                ))),
            ),
            (
                "guard a atleast 5",
                b"a",
                Action::Guard(Condition::AtLeast(5)),
            ),
            (
                "guard a atmost 5",
                b"a",
                Action::Guard(Condition::AtMost(5)),
            ),
        ] {
            assert_eq!(read(line), statement(key, action), "{line}");
        }
        assert_eq!(read("  # only a comment"), None);
    }

    #[test]
    fn a_wrong_statement_says_how_to_write_it() {
        for (line, part) in [
            ("set a 1", "'set' is not a statement"),
            ("put a", "put KEY VALUE"),
            ("put a 1 2", "put KEY VALUE"),
            ("add a x", "'x' is not a whole number"),
            ("add a 9223372036854775808", "not a whole number"),
            ("guard a", "guard KEY exists"),
            ("guard a exists 1", "guard KEY exists"),
            ("guard a atleast", "guard KEY exists"),
            ("guard a above 1", "'above' is not a condition"),
            ("guard a version x", "not a timestamp"),
            ("put \"a 1", "not closed"),
            (r#"put "\q" 1"#, "unknown escape"),
        ] {
            let message = parse_statement(line).unwrap_err().to_string();
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
