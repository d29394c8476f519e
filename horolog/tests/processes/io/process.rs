//! A process in the background.

use super::deadline::{Stopwatch, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Of what a process said, so many bytes are shown when a test fails.
const TAIL_BYTES: usize = 4096;

/// A process that runs until it is told to end; when this is dropped it is killed and waited for. What
/// it says goes to the files `NAME.out` and `NAME.err` of a directory.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    out: PathBuf,
    err: PathBuf,
}

fn append_to(file: &Path) -> File {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()))
}

fn read(file: &Path) -> String {
    let bytes = std::fs::read(file);
    let bytes = bytes.unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(TAIL_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

impl Process {
    /// Starts it. A process of the same name that ran before has its words kept.
    pub(crate) fn start(mut command: Command, name: &str, directory: &Path) -> Process {
        let (out, err) = (
            directory.join(format!("{name}.out")),
            directory.join(format!("{name}.err")),
        );
        let child = command
            .stdin(Stdio::null())
            .stdout(append_to(&out))
            .stderr(append_to(&err))
            .spawn();
        Process {
            name: name.to_owned(),
            child: child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}")),
            ended: None,
            out,
            err,
        }
    }

    /// What it, and those of its name before it, wrote to standard output.
    pub(crate) fn out(&self) -> String {
        read(&self.out)
    }

    /// The same for standard error.
    pub(crate) fn err(&self) -> String {
        read(&self.err)
    }

    /// Waits until it has written a line with `part` to standard output; the line.
    pub(crate) async fn says(&mut self, part: &str, within: Duration) -> String {
        let what = format!("{} says '{part}'", self.name);
        until(&what, within, async || {
            let out = self.out();
            // A line that is still being written has no end yet.
            let whole = out.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.contains(part)) {
                return Ok(line.to_owned());
            }
            let ended = self.ended();
            assert!(
                ended.is_none(),
                "{} ended ({ended:?}): {}",
                self.name,
                self.err()
            );
            Err(out)
        })
        .await
    }

    /// The memory that it really holds, bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let file = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let status = read(&file);
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: Option<u64> = kib.and_then(|kib| kib.parse().ok());
        1024 * kib.unwrap_or_else(|| panic!("no VmRSS in {}: {status}", file.display()))
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            let ended = self.child.try_wait();
            self.ended = ended.unwrap_or_else(|error| panic!("cannot wait: {error}"));
        }
        self.ended
    }

    /// Sends SIGKILL, and does not wait for the end.
    pub(crate) fn strike(&mut self) {
        let alive = self.ended().is_none();
        assert!(alive, "{} had ended by itself: {}", self.name, self.err());
        self.child.kill().expect("a child of ours may be killed");
    }

    /// Kills it with SIGKILL and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.strike();
        let ended = self.child.wait();
        self.ended = Some(ended.expect("a child of ours can be waited for"));
    }

    /// Its process id.
    pub(crate) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Makes it stand still, until it is told to go on.
    pub(crate) fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn go_on(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        let alive = self.ended().is_none();
        assert!(alive, "{} had ended by itself: {}", self.name, self.err());
        let sent = kill_process(Pid::from_child(&self.child), signal);
        sent.expect("a child of ours may be sent a signal");
    }

    /// Waits until it has ended by itself: its exit code, and how long that took.
    pub(crate) async fn exit_code(&mut self, within: Duration) -> (Option<i32>, Duration) {
        let started = Stopwatch::start();
        let what = format!("{} ends", self.name);
        let ended = until(&what, within, async || {
            self.ended().ok_or_else(|| "it still runs".to_owned())
        });
        (ended.await.code(), started.elapsed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It may have ended in the meantime, and there is nobody to tell.
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            for file in [&self.out, &self.err] {
                let text = std::fs::read(file).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                println!("---- the end of {}:\n{}", file.display(), tail(&text));
            }
        }
    }
}
