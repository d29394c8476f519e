//! What the parts of the suite share.

use crate::io::RunClock;
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use verify::Verdict;
use verify::history::Recorder;

/// An interval in which a nemesis acted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The nemesis, as `--nemesis` takes it.
    pub name: String,
    /// What was done, and to whom: `n2 cut off from n1 and n3`.
    pub detail: String,
    /// When it began, nanoseconds on the run's clock: the one of the history's `:time`.
    pub begin_ns: u64,
    /// When it was taken back.
    pub end_ns: u64,
}

/// The recorder that all processes of a load write through.
pub type SharedRecorder = Arc<Mutex<Recorder<BufWriter<File>>>>;

/// How a workload is to be driven.
#[derive(Clone)]
pub struct Load {
    /// Processes that ask, each one operation at a time.
    pub processes: usize,
    /// Of everything that is random.
    pub seed: u64,
    /// The run's clock, for the history's `:time`.
    pub clock: RunClock,
    /// Where invocations and completions go.
    pub recorder: SharedRecorder,
    /// Cancelled when no further operation is to begin; what is under way is finished.
    pub stop: CancellationToken,
    /// Cancelled when the cluster is healed and quiet: the final reads may begin.
    pub quiet: CancellationToken,
}

/// How many operations were begun, and how they ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Certainly done.
    pub ok: u64,
    /// Certainly not done.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

impl Counts {
    /// All operations that ended.
    pub fn all(&self) -> u64 {
        self.ok + self.fail + self.info
    }
}

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing is done to the cluster: what it does when all is well.
    Quiet,
    /// A nemesis acts.
    Faulted,
    /// Everything is taken back, the load goes on.
    Healed,
}

/// For how long nothing was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Where: `p3`.
    pub place: String,
    /// After which fault: its place in [`Run::faults`].
    pub fault: Option<usize>,
    /// When the last write before was acknowledged, nanoseconds on the run's clock.
    pub begin_ns: u64,
    /// Between the last acknowledgement before and the first after, without the time in which the machine
    /// itself stood still.
    pub length: Duration,
}

/// Whether the store went on, as seen by a client that writes to each partition all the time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Availability {
    /// Writes that were acknowledged to it.
    pub acknowledged: u64,
    /// After each kill of a leader: the longest gap in its partitions.
    pub after_kills: Vec<Gap>,
    /// The longest gap while a minority was away.
    pub minority_away: Vec<Gap>,
    /// What was expected and is not so, in words; empty if all is well.
    pub broken: Vec<String>,
}

/// One workload under one set of nemeses, from its start to its verdict: what a report is written from.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name, and that of its folder: `list-append+partition-halves`.
    pub name: String,
    /// The workload.
    pub workload: String,
    /// The nemeses; none: nothing was done.
    pub nemeses: Vec<String>,
    /// What everything random was drawn from.
    pub seed: u64,
    /// The program's version.
    pub version: String,
    /// The day and time at which it began, UTC.
    pub started: String,
    /// How long it took.
    pub took: Duration,
    /// The command that repeats it.
    pub command: String,
    /// Where all files of it lie.
    pub folder: PathBuf,
    /// The history, EDN.
    pub history: PathBuf,
    /// The nodes, and what each of them wrote to standard error.
    pub node_logs: Vec<(String, PathBuf)>,
    /// Phases with their begin, nanoseconds on the run's clock.
    pub phases: Vec<(Phase, u64)>,
    /// What was done to the cluster.
    pub faults: Vec<Fault>,
    /// What was asked of it.
    pub counts: Counts,
    /// What should hold: `strict-serializable`.
    pub expected: String,
    /// What the history proves.
    pub verdict: Verdict,
    /// Whether it went on.
    pub availability: Availability,
    /// What else is wrong: a node that ended by itself, a lock that stays. In words.
    pub broken: Vec<String>,
    /// What was not looked at, and why.
    pub left_out: Vec<String>,
}

impl Run {
    /// Whether everything is as promised, and the history proves something.
    pub fn is_right(&self) -> bool {
        self.verdict.is_valid() == Some(true)
            && self.availability.broken.is_empty()
            && self.broken.is_empty()
    }
}
