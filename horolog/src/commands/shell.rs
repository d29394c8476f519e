//! `shell`: commands line by line, and transactions over several of them.

use crate::cli::{ConnectionArgs, DataCommand};
use crate::failure::Failure;
use crate::io::line_input::{LineEvent, LineInput, is_interactive};
use crate::io::signals::{StopSignal, StopSignals};
use crate::session::{Session, patiently};
use crate::text::bytes::Text;
use crate::text::words::words;
use clap::{Args, CommandFactory, Parser};
use wire::client::LockWait;

/// Open a shell on a cluster
///
/// It takes the same commands as 'horolog COMMAND', and transactions that read and then decide:
/// begin … commit. On a terminal it has history and completes commands (Tab). Otherwise it runs the
/// lines of standard input and stops at the first one that fails.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog shell --connect 127.0.0.1:4001,127.0.0.1:4002
  horolog shell --connect 127.0.0.1:4001 < commands.txt

In the shell:
  begin                       open a transaction
  get-for-update alice        read and lock
  put alice 95
  commit                      or rollback")]
pub(crate) struct Shell {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// One line of the shell.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_help_flag = false)]
#[command(override_usage = "COMMAND [ARGUMENTS]", subcommand_required = true)]
#[command(
    after_help = "'help COMMAND' teaches a command. Keys and values with blanks or escapes go \
in double quotes: put \"a b\" \"\\x00\\n\"; in single quotes everything is literal."
)]
enum Line {
    #[command(flatten)]
    Data(DataCommand),
    /// Open a transaction: what follows is read at one snapshot and takes effect at commit, or not at all
    Begin,
    /// Read a key and lock it for the open transaction, so that nobody changes it until commit
    ///
    /// If another transaction holds the key, this one queues for it; --nowait fails instead, and
    /// --skip-locked says that it is taken. The lock lapses if nothing is done in the transaction for
    /// 30 s; the next line of it then says so, and the commit still notices if another transaction
    /// changed the key.
    #[command(visible_alias = "getforupdate")]
    GetForUpdate {
        /// The key
        key: Text,
        /// Fail at once if another transaction holds it
        #[arg(long, conflicts_with = "skip_locked")]
        nowait: bool,
        /// Pass it by if another transaction holds it
        #[arg(long)]
        skip_locked: bool,
    },
    /// Commit the open transaction
    ///
    /// The timestamp of the commit lies between its begin and its acknowledgement.
    Commit,
    /// Give up the open transaction: nothing of it is done
    #[command(visible_alias = "abort")]
    Rollback,
    /// Change the keyspace
    Use {
        /// Its name
        keyspace: String,
    },
    /// Leave the shell
    #[command(visible_alias = "quit")]
    Exit,
}

/// Commands that have nothing to do in a shell.
const ONLY_OUTSIDE: [&str; 5] = ["import", "bench", "dev", "start", "shell"];

enum Next {
    GoOn,
    Leave,
}

impl Shell {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut signals = StopSignals::catch()?;
        let mut session = Session::open(&self.connection).await?;
        interact(&mut session, &mut signals).await
    }

    pub(crate) fn is_json(&self) -> bool {
        self.connection.json
    }
}

/// Runs lines until the end of the input, `exit`, or SIGTERM.
pub(crate) async fn interact(
    session: &mut Session,
    signals: &mut StopSignals,
) -> Result<(), Failure> {
    let mut input = LineInput::open(command_names())?;
    let interactive = is_interactive();
    let mut number: u64 = 0;
    let mut just_interrupted = false;
    loop {
        let prompt = session.prompt();
        let event = tokio::select! {
            event = input.next(&prompt) => event,
            () = wish_to_leave(signals, interactive) => break,
        };
        number += 1;
        just_interrupted &= event == LineEvent::Interrupted;
        let line = match event {
            LineEvent::Line(line) => line,
            LineEvent::Interrupted if just_interrupted => break,
            LineEvent::Interrupted => {
                just_interrupted = true;
                eprintln!("once more ^C, or ^D, or 'exit', ends the shell");
                continue;
            }
            LineEvent::End => break,
            LineEvent::Failed(why) => {
                return Err(Failure::error(format!(
                    "line {number} cannot be read: {why}"
                )));
            }
        };
        let done = tokio::select! {
            done = run_line(session, &line) => done,
            signal = signals.wait() => match signal {
                StopSignal::Terminate => break,
                StopSignal::Interrupt => Err(Failure::error(
                    "interrupted: what was sent already may take effect all the same",
                )),
            },
        };
        match done {
            Ok(Next::GoOn) => {}
            Ok(Next::Leave) => break,
            Err(failure) if interactive || failure.is_harmless() => {
                failure.report(session.output.is_json())
            }
            Err(failure) => return Err(failure.at(format!("line {number}"))),
        }
    }
    session.leave().await
}

/// At the prompt ^C gives up the line, which the line editor sees to, and a second one in a row ends the
/// shell; elsewhere the first does.
async fn wish_to_leave(signals: &mut StopSignals, interactive: bool) {
    while interactive && signals.wait().await == StopSignal::Interrupt {}
    if !interactive {
        signals.wait().await;
    }
}

async fn run_line(session: &mut Session, line: &str) -> Result<Next, Failure> {
    let words = words(line).map_err(Failure::usage)?;
    if words.is_empty() {
        return Ok(Next::GoOn);
    }
    if ONLY_OUTSIDE.contains(&words[0].as_str()) {
        return Err(Failure::usage(format!(
            "{} is not available in the shell: run it from the command line",
            words[0]
        )));
    }
    let line = match Line::try_parse_from(words) {
        Ok(line) => line,
        Err(help) if !help.use_stderr() => {
            help.print()?;
            return Ok(Next::GoOn);
        }
        Err(error) => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            return Err(Failure::usage(text.trim_end()));
        }
    };
    match line {
        Line::Data(command) => patiently(session.run(command)).await?,
        Line::Begin => session.begin().await?,
        Line::GetForUpdate {
            key,
            nowait,
            skip_locked,
        } => {
            let wait = match (nowait, skip_locked) {
                (true, _) => LockWait::NoWait,
                (_, true) => LockWait::SkipLocked,
                _ => LockWait::Queue,
            };
            patiently(session.get_for_update(&key.0, wait)).await?;
        }
        Line::Commit => patiently(session.commit()).await?,
        Line::Rollback => session.rollback().await?,
        Line::Use { keyspace } => session.use_keyspace(&keyspace).await?,
        Line::Exit => return Ok(Next::Leave),
    }
    Ok(Next::GoOn)
}

/// What can stand at the beginning of a line.
fn command_names() -> Vec<String> {
    let command = Line::command();
    let names = command.get_subcommands().map(|one| one.get_name());
    names
        .map(str::to_owned)
        .chain(["help".to_owned()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(words(line).unwrap())
    }

    #[test]
    fn the_grammar_is_consistent() {
        Line::command().debug_assert();
        let names = command_names();
        for name in [
            "get",
            "scan",
            "txn",
            "begin",
            "commit",
            "get-for-update",
            "help",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn lines_are_commands() {
        let Ok(Line::Data(DataCommand::Put(put))) = read(r#"put "a b" '{"x": 1}'"#) else {
            panic!("not a put");
        };
        assert_eq!(
            (&put.key.0[..], &put.value.0[..]),
            (&b"a b"[..], &b"{\"x\": 1}"[..])
        );
        assert!(matches!(
            read("getforupdate a"),
            Ok(Line::GetForUpdate {
                nowait: false,
                skip_locked: false,
                ..
            })
        ));
        assert!(matches!(
            read("get-for-update a --skip-locked"),
            Ok(Line::GetForUpdate {
                skip_locked: true,
                ..
            })
        ));
        assert!(read("get-for-update a --skip-locked --nowait").is_err());
        assert!(matches!(read("quit"), Ok(Line::Exit)));
        let Ok(Line::Data(DataCommand::Txn(txn))) = read("txn 'guard a exists' 'delete a'") else {
            panic!("not a transaction");
        };
        assert_eq!(txn.statements, ["guard a exists", "delete a"]);
    }

    #[test]
    fn any_line_is_a_command_or_a_mistake_with_words() {
        let lines = include_str!("../../tests/corpus/lines.txt");
        let corpus: Vec<Vec<u8>> = lines.lines().map(|line| line.into()).collect();
        let mut random = wire::SplitMix64::new(1);
        let (mut read_lines, mut wrong) = (0, 0);
        for _ in 0..integration::io::fuzz_cases() {
            let line = integration::fuzz::mutated(&mut random, &corpus);
            let line = String::from_utf8_lossy(&line);
            let Ok(words) = words(&line) else {
                wrong += 1;
                continue;
            };
            match Line::try_parse_from(words) {
                Ok(Line::Data(DataCommand::Txn(txn))) => {
                    read_lines += 1;
                    for statement in &txn.statements {
                        if let Err(why) = crate::operations::parse_statement(statement) {
                            assert!(!why.to_string().is_empty(), "{statement}");
                        }
                    }
                }
                Ok(_) => read_lines += 1,
                Err(why) => {
                    wrong += 1;
                    assert!(!why.to_string().is_empty(), "{line}");
                }
            }
        }
        assert!(
            read_lines > 100 && wrong > 100,
            "{read_lines} commands, {wrong} mistakes"
        );
    }

    #[test]
    fn wrong_lines_say_so_and_help_is_no_error() {
        assert!(read("put a").unwrap_err().use_stderr());
        assert!(read("nonsense").unwrap_err().use_stderr());
        for help in ["help", "help get", "get --help"] {
            let text = read(help).unwrap_err();
            assert!(!text.use_stderr(), "{help}: {text}");
        }
    }
}
