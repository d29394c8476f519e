//! The program `horolog`: nodes, a cluster for development, a shell, and commands for scripts.
//!
//! - [`cli`]: the command line; [`commands`]: one file a command;
//! - [`session`]: what commands on data do with the client library;
//! - [`local_cluster`]: the nodes of `dev` and `bench --dev`;
//! - [`text`], [`output`], [`operations`]: how things are typed and shown;
//! - [`io`]: terminal, signals, time.

mod cli;
mod commands;
mod failure;
mod io;
mod local_cluster;
mod operations;
mod output;
mod session;
mod splits;
mod text;

use cli::{Command, Invocation};
use failure::Failure;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[cfg(feature = "mutants")]
compile_error!("the program keeps every rule: it is not built with the feature `mutants`");

// Features of a dependency are those that anybody in the same build asks for.
const _: () = assert!(
    !node::HAS_MUTANTS,
    "the program keeps every rule: it is not built together with the feature `mutants` of another crate"
);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => error.exit(),
    };
    start_log(default_log(&invocation));
    let json = wants_json(&invocation);
    match run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(json);
            failure.exit_code()
        }
    }
}

/// Simulated nodes warn of what is done to them all the time.
fn default_log(invocation: &Invocation) -> &'static str {
    match &invocation.command {
        Command::Verify(verify) if verify.is_simulated() => "off",
        _ => "warn",
    }
}

/// This much, or what `HOROLOG_LOG` asks for, to standard error.
fn start_log(default: &str) {
    let filter = EnvFilter::try_from_env("HOROLOG_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new(default)))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn wants_json(invocation: &Invocation) -> bool {
    match &invocation.command {
        Command::Shell(shell) => shell.is_json(),
        Command::Bench(bench) => bench.is_json(),
        Command::Import(import) => import.is_json(),
        Command::Verify(verify) => verify.is_json(),
        _ => invocation.connection.as_ref().is_some_and(|c| c.json),
    }
}

fn run(invocation: Invocation) -> Result<(), Failure> {
    let Invocation {
        command,
        connection,
    } = invocation;
    match command {
        Command::Dev(dev) => dev.run(),
        Command::Start(start) => start.run(),
        Command::Bench(bench) => bench.run(),
        Command::Rebuild(rebuild) => rebuild.run(),
        Command::Verify(verify) => verify.run(),
        Command::Shell(shell) => runtime()?.block_on(shell.run()),
        Command::Import(import) => runtime()?.block_on(import.run()),
        Command::Data(command) => {
            let connection =
                connection.expect("every command on data has the connection's options");
            runtime()?.block_on(session::run_once(&connection, command))
        }
    }
}

/// Runs everything that waits for the network, on the calling thread.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(Failure::from)
}
