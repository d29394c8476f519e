//! The program `horolog`, as cargo built it beside this test, and how it is run.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The longest that a command may take that is not a benchmark or an import: the client's own patience
/// with a cluster that does not answer is 15 s.
const COMMAND_MAX: Duration = Duration::from_secs(25);

/// Where the program is.
#[derive(Clone, Debug)]
pub(crate) struct Program(PathBuf);

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

impl Program {
    /// The one that cargo built beside this test.
    pub(crate) fn find() -> Program {
        Program(PathBuf::from(env!("CARGO_BIN_EXE_horolog")))
    }

    /// The program with these arguments, without the operator's own settings.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(&self.0);
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy().starts_with("HOROLOG_");
            if ours && name != "HOROLOG_LOG" {
                command.env_remove(name);
            }
        }
        command.args(arguments);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ended {
        self.run_within(COMMAND_MAX, arguments).await
    }

    /// Runs it to its end, which must come in time.
    pub(crate) async fn run_within<A: AsRef<OsStr>>(
        &self,
        within: Duration,
        arguments: &[A],
    ) -> Ended {
        self.run_from(Stdio::null(), within, arguments).await
    }

    /// Runs it to its end with these lines as its standard input.
    pub(crate) async fn run_with<A: AsRef<OsStr>>(&self, arguments: &[A], lines: &str) -> Ended {
        let mut input = tempfile::tempfile().expect("a temporary file");
        input.write_all(lines.as_bytes()).expect("writes");
        input.rewind().expect("rewinds");
        self.run_from(Stdio::from(input), COMMAND_MAX, arguments)
            .await
    }

    async fn run_from<A: AsRef<OsStr>>(
        &self,
        input: Stdio,
        within: Duration,
        arguments: &[A],
    ) -> Ended {
        let command = self.command(arguments);
        let words = format!("{command:?}");
        let mut command = tokio::process::Command::from(command);
        command.stdin(input).kill_on_drop(true);
        let output = tokio::time::timeout(within, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{words} did not end within {within:?}"));
        let output = output.unwrap_or_else(|error| panic!("cannot run {words}: {error}"));
        Ended {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it with `--json`; it must succeed. One value for each line that it printed.
    pub(crate) async fn json_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [arguments, &["--json"]].concat();
        let ended = self.run(&arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
        ended.json_lines()
    }

    /// As [`Program::json_lines`], for a command that prints one.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        let mut lines = self.json_lines(arguments).await;
        assert_eq!(lines.len(), 1, "{arguments:?} printed {lines:?}");
        lines.remove(0)
    }
}

impl Ended {
    /// Each line of standard output as JSON.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let lines = self.out.lines().map(serde_json::from_str);
        let lines: Result<Vec<Value>, _> = lines.collect();
        lines.unwrap_or_else(|error| panic!("not JSON ({error}): {}{}", self.out, self.err))
    }

    /// It must have ended with this exit code, and said each of these on standard error.
    pub(crate) fn expect_refusal(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "no '{part}' in: {}", self.err);
        }
        let panicked = self.err.contains("panicked");
        assert!(!panicked, "a mistake of the user is no panic: {}", self.err);
    }
}
