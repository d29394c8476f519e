//! The command line.
//!
//! The commands on data are one grammar: [`DataCommand`] is what the shell reads a line into, and what
//! `horolog COMMAND` takes, there with the connection's options added to each.

use crate::commands::{
    add, append, bench, cas, delete, dev, get, import, keyspace, max, min, outcome, partitions,
    put, rebuild, scan, settings, shell, start, status, timestamp, transfer, txn, verify,
};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 not done (the message says why), 2 wrong command line, 3 the transaction was
aborted (a guard does not hold, or others were faster); nothing of an aborted transaction is done.

Keys and values are taken as they are typed. In double quotes they may hold blanks and the escapes
\\xHH \\n \\r \\t \\0 \\\\ \\\": horolog get '\"a\\x00b\"'. They are shown in the same way.

Try it:
  horolog dev                                      a cluster on this machine, with a shell
  export HOROLOG_CONNECT=127.0.0.1:PORT            as `horolog dev` printed it
  horolog put alice 100
  horolog txn 'guard alice atleast 5' 'add alice -5' 'add bob 5'
  horolog scan --prefix a --json";

/// A transactional, strictly serializable, partitioned, replicated key-value store
#[derive(Debug, Parser)]
#[command(name = "horolog", version, max_term_width = 100, after_long_help = EXIT_CODES)]
#[command(after_help = "'horolog --help' tells more, 'horolog COMMAND --help' teaches a command.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `horolog` can be asked to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Dev(dev::Dev),
    Start(start::Start),
    Shell(shell::Shell),
    #[command(flatten)]
    Data(DataCommand),
    Import(import::Import),
    Bench(bench::Bench),
    Rebuild(rebuild::Rebuild),
    Verify(verify::Verify),
}

/// Commands on data and on the cluster, in the shell and outside of it.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    Get(get::Get),
    Put(put::Put),
    Delete(delete::Delete),
    Scan(scan::Scan),
    Add(add::Add),
    Min(min::Min),
    Max(max::Max),
    Append(append::Append),
    Cas(cas::Cas),
    Txn(txn::Txn),
    Outcome(outcome::Outcome),
    Timestamp(timestamp::Timestamp),
    Keyspace(keyspace::Keyspace),
    Settings(settings::Settings),
    Status(status::Status),
    Partitions(partitions::Partitions),
    Transfer(transfer::Transfer),
}

// Where the cluster is, and how to answer. (No doc comment: it would become the help of the commands
// that these options are added to.)
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Addresses of nodes, divided by commas; any one that lives is enough
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT,…",
        env = "HOROLOG_CONNECT"
    )]
    #[arg(value_delimiter = ',', value_parser = parse_address)]
    pub(crate) connect: Vec<String>,

    /// The keyspace that keys are in
    #[arg(long, global = true, value_name = "NAME", env = "HOROLOG_KEYSPACE")]
    #[arg(default_value = "default")]
    pub(crate) keyspace: String,

    /// Print one JSON object a line; bytes that are not UTF-8 as base64 under NAME_base64
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Reads the address of a node.
pub(crate) fn parse_address(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "'{text}' is not an address: write HOST:PORT, for example 127.0.0.1:7400 or [::1]:7400"
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let in_brackets = host.starts_with('[') && host.ends_with(']');
    let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_none() || !is_host || host.contains(':') && !in_brackets {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// A parsed command line.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) command: Command,
    /// For commands on data.
    pub(crate) connection: Option<ConnectionArgs>,
}

/// The whole grammar.
pub(crate) fn command() -> clap::Command {
    let data = DataCommand::augment_subcommands(clap::Command::new("data"));
    data.get_subcommands().fold(Cli::command(), |whole, one| {
        whole.mut_subcommand(one.get_name(), ConnectionArgs::augment_args)
    })
}

/// Reads a command line, the program's name first.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let Cli { command } = Cli::from_arg_matches(&matches)?;
    let connection = match (&command, matches.subcommand()) {
        (Command::Data(_), Some((_, one))) => Some(ConnectionArgs::from_arg_matches(one)?),
        _ => None,
    };
    Ok(Invocation {
        command,
        connection,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::bytes::Text;

    fn read(line: &[&str]) -> Result<Invocation, clap::Error> {
        let program = std::iter::once("horolog");
        parse(program.chain(line.iter().copied()).map(Into::into))
    }

    #[test]
    fn the_grammar_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_help_that_teaches() {
        for one in command().get_subcommands() {
            let about = one.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 10, "{}: {about}", one.get_name());
            let long = one.clone().render_long_help().to_string();
            assert!(
                long.contains(&format!("horolog {}", one.get_name())),
                "{} shows no example",
                one.get_name()
            );
        }
    }

    #[test]
    fn options_of_the_connection_go_with_every_command_on_data() {
        let line = ["keyspace", "create", "x", "--connect", "a:1,b:2", "--json"];
        let connection = read(&line).unwrap().connection.unwrap();
        assert_eq!(connection.connect, ["a:1", "b:2"]);
        assert!(connection.json);
        let line = ["put", "--connect", "a:1", "--keyspace", "k", "a", "-5"];
        let invocation = read(&line).unwrap();
        assert_eq!(invocation.connection.unwrap().keyspace, "k");
        let Command::Data(DataCommand::Put(put)) = invocation.command else {
            panic!("not a put");
        };
        assert_eq!(put.value, Text(b"-5"[..].into()));
    }

    #[test]
    fn wrong_lines_are_usage_errors() {
        for line in [
            &["put", "a"][..],
            &["get", "\"a"],
            &["add", "a", "x"],
            &["nothing"],
            &["get", "a", "--at", "yesterday"],
            &["get", "a", "--connect", "127.0.0.1"],
            &["get", "a", "--connect", ""],
            &["get", "a", "--connect", ","],
            &["get", "a", "--connect", "a:99999"],
            &["get", "a", "--connect", "::1"],
            &["bench", "put", "--connect", "a"],
            &["verify", "check", "a.edn"],
            &["verify", "check", "a.edn", "--workload", "nothing"],
            &[
                "verify",
                "check",
                "a.edn",
                "--workload",
                "list-append",
                "--model",
                "perfect",
            ],
            &["bench", "put", "--value-bytes", "9000000"],
        ] {
            assert_eq!(read(line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }
}
