//! `txn`: a whole transaction at once.

use crate::failure::Failure;
use crate::operations::{Statement, parse_statement};
use crate::session::Session;
use crate::text::bytes::Text;
use clap::Args;
use std::io::Read;

/// Run a transaction of guards and operations, in one go
///
/// All statements take effect at one timestamp, over any keys and partitions, or none does. If a guard
/// does not hold, nothing is changed and the exit code is 3. At least one statement must be an
/// operation, not a guard.
///
/// Statements (numbers are decimal texts, an absent key counts as 0):
///
///   guard KEY exists | absent | equals VALUE | differs VALUE | version TIMESTAMP
///   guard KEY atleast NUMBER | atmost NUMBER
///   put KEY VALUE | delete KEY | append KEY BYTES
///   add KEY NUMBER | min KEY NUMBER | max KEY NUMBER
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "Examples:
  horolog txn 'guard alice atleast 5' 'add alice -5' 'add bob 5'
  horolog txn 'guard \"user ada\" absent' 'put \"user ada\" \"\\x01\\x02\"' 'add users 1'
  horolog txn --file transaction.txt        one statement a line, # begins a comment"
)]
pub(crate) struct Txn {
    /// The statements, each one argument
    #[arg(value_name = "STATEMENT", required_unless_present = "file")]
    pub(crate) statements: Vec<String>,

    /// Read statements from a file, one a line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<String>,
}

impl Txn {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let mut statements = Vec::new();
        if let Some(file) = &self.file {
            let text = read_file(file)?;
            for (number, line) in (1..).zip(text.lines()) {
                let place = || format!("{file}, line {number}");
                statements.extend(read_statement(line, place)?);
            }
        }
        for (number, argument) in (1..).zip(&self.statements) {
            let place = || format!("statement {number} ('{argument}')");
            let line = unquoted(argument).map_err(|why| Failure::usage(why).at(place()))?;
            statements.extend(read_statement(&line, place)?);
        }
        session.one_shot(statements).await
    }
}

/// In the shell double quotes stay around a word; no statement begins with one, so they go here.
fn unquoted(argument: &str) -> Result<String, String> {
    if !argument.starts_with('"') {
        return Ok(argument.to_owned());
    }
    let text = Text::parse(argument.as_bytes()).map_err(|error| error.to_string())?;
    String::from_utf8(text.0.into()).map_err(|error| error.to_string())
}

fn read_statement(line: &str, place: impl Fn() -> String) -> Result<Option<Statement>, Failure> {
    parse_statement(line).map_err(|error| Failure::usage(format!("{}: {error}", place())))
}

fn read_file(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().lock().read_to_string(&mut text),
        path => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::error(format!("cannot read {file}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_may_stand_in_either_quotes() {
        assert_eq!(unquoted("add a 1").unwrap(), "add a 1");
        let escaped = r#""put \"a b\" 1""#;
        assert_eq!(unquoted(escaped).unwrap(), r#"put "a b" 1"#);
        assert!(unquoted("\"add a 1").is_err());
        assert!(unquoted(r#""\xff""#).is_err());
    }

    #[test]
    fn a_wrong_statement_is_named_with_its_place() {
        let place = || "t.txt, line 3".to_owned();
        let failure = read_statement("set a 1", place).unwrap_err();
        let message = failure.to_string();
        assert!(message.starts_with("t.txt, line 3: 'set'"), "{message}");
        assert!(read_statement("# nothing", place).unwrap().is_none());
        let missing = read_file("/nowhere/at/all").unwrap_err().to_string();
        assert!(missing.contains("/nowhere/at/all"), "{missing}");
    }
}
