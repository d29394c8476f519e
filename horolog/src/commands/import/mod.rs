//! `import`: many keys from a file.
//!
//! ```text
//!   reader thread: lines -> rows -> batches ──queue──► this task ──► several connections
//! ```
//!
//! - A batch is one transaction of puts: all of its rows are imported, or none is.
//! - Of two lines with one key the later one wins ([`window`]).
//! - However it ends, the number of the first line that is not imported is known and told.

mod jsonl;
mod lines;
mod progress;
mod read;
mod tsv;
mod window;

use crate::cli::ConnectionArgs;
use crate::failure::Failure;
use crate::io::signals::{StopSignal, StopSignals};
use crate::output::{Format, Object, Output};
use crate::session::connect;
use crate::text::quantity;
use bytes::Bytes;
use clap::Args;
use progress::{Progress, rate};
use read::{FileFormat, OnError, Piece, ReadPlan, read_all};
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use window::{Batch, Window};
use wire::client::{Client, Error};

/// Batches that are read ahead.
const BATCHES_READ_AHEAD: usize = 8;
/// Batches under way on one connection.
const BATCHES_PER_CONNECTION: usize = 2;
/// Bad lines that are shown one by one; the others are counted.
const BAD_LINES_SHOWN: usize = 20;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// One key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportRow {
    /// The key.
    pub(crate) key: Bytes,
    /// Its value.
    pub(crate) value: Bytes,
}

/// Import many keys from a file
///
/// JSON lines: {"key": "a", "value": …}. A JSON string is stored as its bytes, any other JSON value
/// as its exact source text. "key_base64" and "value_base64" take bytes that are not text.
///
/// Tab-separated values: a header, then rows. One column is the key; the value is a JSON object of
/// the other columns, each a string.
///
/// Rows are written in batches, each one transaction. A bad line, an error of the cluster or ^C ends
/// the import with the number of the first line that is not imported; --skip-lines resumes there.
/// Importing a line twice does no harm.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog import users.jsonl
  horolog import cities.tsv --key-column id --keyspace cities
  zcat big.jsonl.gz | horolog import - --on-error skip
  horolog import users.jsonl --skip-lines 120000")]
pub(crate) struct Import {
    /// The file; - is standard input
    file: String,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// What the lines look like [default: tsv if the file's name ends so, else jsonl]
    #[arg(long, value_name = "FORMAT")]
    format: Option<FileFormat>,

    /// The column that holds the keys, for tsv [default: the first]
    #[arg(long, value_name = "NAME")]
    key_column: Option<String>,

    /// Rows in one transaction
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,

    /// Connections to write over
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,

    /// What to do at a bad line; with skip the exit code is 0 all the same, and the report counts them
    #[arg(long, value_name = "WHAT", default_value = "stop")]
    on_error: OnError,

    /// Leave out the first N lines of the file (a tsv's header counts, and is read all the same)
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_lines: u64,
}

impl Import {
    pub(crate) fn is_json(&self) -> bool {
        self.connection.json
    }

    fn plan(&self) -> Result<ReadPlan, Failure> {
        let is_tsv = Path::new(&self.file)
            .extension()
            .is_some_and(|e| e == "tsv");
        let guessed = if is_tsv {
            FileFormat::Tsv
        } else {
            FileFormat::Jsonl
        };
        let format = self.format.unwrap_or(guessed);
        if self.key_column.is_some() && format != FileFormat::Tsv {
            return Err(Failure::usage("--key-column is for --format tsv"));
        }
        Ok(ReadPlan {
            format,
            key_column: self.key_column.clone(),
            skip_lines: self.skip_lines,
            batch_rows: self.batch as usize,
            on_error: self.on_error,
        })
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        let plan = self.plan()?;
        let (input, file_bytes) = open(&self.file)?;
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(connect(&self.connection).await?);
        }
        let signals = StopSignals::catch()?;
        let bytes_read = Arc::new(AtomicU64::new(0));
        let pieces = start_reading(input, plan, bytes_read.clone())?;
        let importing = Importing {
            clients,
            window: Window::default(),
            commits: JoinSet::new(),
            progress: Progress::new(file_bytes),
            tally: Tally::new(self.skip_lines),
            bytes_read,
            on_error: self.on_error,
            turn: 0,
        };
        let (tally, elapsed) = importing.run(pieces, signals).await;
        if let Some(hint) = tally.hint(self.skip_lines) {
            eprintln!("{hint}");
        }
        let format = if self.connection.json {
            Format::Json
        } else {
            Format::Text
        };
        Output(format).print(|| tally.text(elapsed), || tally.json(elapsed))?;
        tally.verdict()
    }
}

fn open(file: &str) -> Result<(Box<dyn BufRead + Send>, Option<u64>), Failure> {
    if file == "-" {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let cannot = |error: io::Error| Failure::error(format!("cannot read {file}: {error}"));
    let opened = File::open(file).map_err(cannot)?;
    let metadata = opened.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        return Err(Failure::error(format!(
            "cannot read {file}: it is a directory"
        )));
    }
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(1 << 18, opened)), bytes))
}

fn start_reading(
    input: Box<dyn BufRead + Send>,
    plan: ReadPlan,
    bytes_read: Arc<AtomicU64>,
) -> io::Result<mpsc::Receiver<Piece>> {
    let (sender, pieces) = mpsc::channel(BATCHES_READ_AHEAD);
    let thread = std::thread::Builder::new().name("import-reader".to_owned());
    thread.spawn(move || {
        read_all(input, &plan, &bytes_read, |piece| {
            sender.blocking_send(piece).is_ok()
        });
    })?;
    Ok(pieces)
}

/// Why an import ended before the end of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    /// A bad line.
    BadLine { line: u64, reason: String },
    /// The file.
    File { line: u64, reason: String },
    /// The cluster.
    Cluster { reason: String },
    /// The operator.
    Signal(StopSignal),
}

/// What came of it.
#[derive(Debug)]
struct Tally {
    rows: u64,
    bytes: u64,
    /// Lines up to here were handed to the cluster.
    handed_over: u64,
    first_failed: Option<u64>,
    bad: u64,
    bad_shown: Vec<(u64, String)>,
    stop: Option<Stop>,
}

impl Tally {
    fn new(skipped: u64) -> Tally {
        Tally {
            rows: 0,
            bytes: 0,
            handed_over: skipped,
            first_failed: None,
            bad: 0,
            bad_shown: Vec::new(),
            stop: None,
        }
    }

    fn on_bad(&mut self, line: u64, reason: String) {
        self.bad += 1;
        if self.bad_shown.len() < BAD_LINES_SHOWN {
            self.bad_shown.push((line, reason));
        }
    }

    /// The first line that is not imported, if it ended early. All lines before it are.
    fn first_line_missing(&self) -> Option<u64> {
        let stop = self.stop.as_ref()?;
        let from_here = match stop {
            Stop::BadLine { line, .. } | Stop::File { line, .. } => *line,
            Stop::Cluster { .. } | Stop::Signal(_) => self.handed_over + 1,
        };
        Some(
            self.first_failed
                .map_or(from_here, |failed| failed.min(from_here)),
        )
    }

    fn text(&self, elapsed: Duration) -> String {
        let mut line = format!(
            "{} imported ({}) in {:.1} s: {:.0} rows/s",
            quantity::rows(self.rows),
            quantity::bytes(self.bytes),
            elapsed.as_secs_f64(),
            rate(self.rows, elapsed)
        );
        if self.bad > 0 {
            let lines = if self.bad == 1 { "line" } else { "lines" };
            line.push_str(&format!("; {} bad {lines} left out", self.bad));
        }
        line
    }

    fn json(&self, elapsed: Duration) -> Object {
        let bad = self.bad_shown.iter().map(|(line, reason)| {
            let object = Object::new().with("line", *line);
            object.with("reason", reason.as_str()).into()
        });
        Object::new()
            .with("imported", self.rows)
            .with("bytes", self.bytes)
            .with("seconds", elapsed.as_secs_f64())
            .with("rows_per_second", rate(self.rows, elapsed))
            .with("bad", self.bad)
            .with("bad_lines", bad.collect::<Vec<Value>>())
            .with("first_line_not_imported", self.first_line_missing())
    }

    /// What a look at the command line may explain.
    fn hint(&self, skipped: u64) -> Option<String> {
        let nothing = self.stop.is_none() && self.rows == 0 && self.bad == 0;
        (nothing && skipped > 0).then(|| {
            format!("nothing is left to import: --skip-lines {skipped} goes past the last line of the file")
        })
    }

    fn verdict(&self) -> Result<(), Failure> {
        let Some(stop) = &self.stop else {
            return Ok(());
        };
        let why = match stop {
            Stop::BadLine { line, reason } => format!("line {line} cannot be imported: {reason}"),
            Stop::File { line, reason } => format!("the file ends at line {line}: {reason}"),
            Stop::Cluster { reason } => format!("the cluster: {reason}"),
            Stop::Signal(signal) => signal.to_string(),
        };
        let line = self.first_line_missing().unwrap_or(1);
        if let Stop::File { line: 1, reason } = stop {
            return Err(Failure::error(format!(
                "the file cannot be imported: {reason}. Nothing was imported"
            )));
        }
        Err(Failure::error(format!(
            "{why}. Line {line} is the first that is not imported; to go on from there: --skip-lines {}",
            line - 1
        )))
    }
}

/// An import under way.
struct Importing {
    clients: Vec<Client>,
    window: Window,
    commits: JoinSet<(Batch, Result<(), Error>)>,
    progress: Progress,
    tally: Tally,
    bytes_read: Arc<AtomicU64>,
    on_error: OnError,
    turn: usize,
}

impl Importing {
    async fn run(
        mut self,
        mut pieces: mpsc::Receiver<Piece>,
        mut signals: StopSignals,
    ) -> (Tally, Duration) {
        let mut waiting: Option<Batch> = None;
        let mut tick = tokio::time::interval(TELL_EVERY);
        loop {
            if let Some(batch) = waiting.take_if(|batch| self.has_room_for(batch)) {
                self.start(batch);
            }
            tokio::select! {
                Some(ended) = self.commits.join_next() => self.on_commit(ended),
                piece = pieces.recv(), if waiting.is_none() => match piece {
                    None => break,
                    Some(Piece::Batch(batch)) => waiting = Some(batch),
                    Some(other) => self.on_trouble(other),
                },
                signal = signals.wait() => self.stop_for(Stop::Signal(signal)),
                _ = tick.tick() => {}
            }
            self.progress
                .tell(self.bytes_read.load(Ordering::Relaxed), self.tally.rows);
            if self.tally.stop.is_some() {
                break;
            }
        }
        // The reader must not wait for a queue that nobody empties.
        drop(pieces);
        while let Some(ended) = self.commits.join_next().await {
            self.on_commit(ended);
        }
        self.tally.first_failed = self.window.first_failed_line();
        (self.tally, self.progress.finish())
    }

    fn has_room_for(&self, batch: &Batch) -> bool {
        self.window.len() < self.clients.len() * BATCHES_PER_CONNECTION && self.window.admits(batch)
    }

    fn start(&mut self, batch: Batch) {
        self.window.start(&batch);
        self.tally.handed_over = batch.last_line;
        let client = self.clients[self.turn % self.clients.len()].clone();
        self.turn += 1;
        self.commits.spawn(async move {
            let done = commit(&client, &batch).await;
            (batch, done)
        });
    }

    fn on_commit(&mut self, ended: Result<(Batch, Result<(), Error>), tokio::task::JoinError>) {
        let (batch, done) = ended.expect("nobody cancels a commit, and none panics");
        self.window.end(batch.first_line, done.is_ok());
        match done {
            Ok(()) => {
                self.tally.rows += batch.rows.len() as u64;
                self.tally.bytes += batch.bytes as u64;
            }
            Err(error) => self.stop_for(Stop::Cluster {
                reason: error.to_string(),
            }),
        }
    }

    fn on_trouble(&mut self, piece: Piece) {
        match piece {
            Piece::Batch(_) => unreachable!("a batch is no trouble"),
            Piece::Broken { line, reason } => self.stop_for(Stop::File { line, reason }),
            Piece::Bad { line, reason } if self.on_error == OnError::Stop => {
                self.stop_for(Stop::BadLine { line, reason });
            }
            Piece::Bad { line, reason } => {
                if self.tally.bad_shown.len() < BAD_LINES_SHOWN {
                    self.progress
                        .note(&format!("line {line} left out: {reason}"));
                }
                self.tally.on_bad(line, reason);
            }
        }
    }

    /// The first reason is the one that is told.
    fn stop_for(&mut self, stop: Stop) {
        self.tally.stop.get_or_insert(stop);
    }
}

/// One transaction of puts; the library tries lost conflicts again.
async fn commit(client: &Client, batch: &Batch) -> Result<(), Error> {
    let puts = batch.rows.iter();
    let transaction = puts.fold(client.transaction(), |transaction, row| {
        transaction.put(&row.key, row.value.clone())
    });
    transaction.commit().await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(stop: Stop) -> Tally {
        let mut tally = Tally::new(10);
        tally.handed_over = 300;
        tally.stop = Some(stop);
        tally
    }

    #[test]
    fn the_first_missing_line_is_known_however_it_ends() {
        assert_eq!(Tally::new(10).first_line_missing(), None);
        let bad = stopped(Stop::BadLine {
            line: 305,
            reason: "x".into(),
        });
        assert_eq!(bad.first_line_missing(), Some(305));
        let interrupted = stopped(Stop::Signal(StopSignal::Interrupt));
        assert_eq!(interrupted.first_line_missing(), Some(301));
        let mut failed = stopped(Stop::Cluster { reason: "x".into() });
        failed.first_failed = Some(101);
        assert_eq!(failed.first_line_missing(), Some(101));
        let message = failed.verdict().unwrap_err().to_string();
        assert!(message.ends_with("--skip-lines 100"), "{message}");
    }

    #[test]
    fn a_file_as_a_whole_is_told_without_lines() {
        let header = stopped(Stop::File {
            line: 1,
            reason: "there is no column 'x'".into(),
        });
        let message = header.verdict().unwrap_err().to_string();
        assert!(
            message.starts_with("the file cannot be imported: there"),
            "{message}"
        );
        assert!(!message.contains("line"), "{message}");
        assert!(Tally::new(10).hint(10).unwrap().contains("--skip-lines 10"));
        assert_eq!(Tally::new(0).hint(0), None);
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_ones_shown() {
        let mut tally = Tally::new(0);
        for line in 1..=30 {
            tally.on_bad(line, "x".into());
        }
        assert_eq!((tally.bad, tally.bad_shown.len()), (30, BAD_LINES_SHOWN));
        assert!(
            tally
                .text(Duration::from_secs(1))
                .contains("30 bad lines left out")
        );
        let json = Value::from(tally.json(Duration::from_secs(1)));
        assert_eq!(json["bad_lines"][1]["line"], 2);
        assert_eq!(json["first_line_not_imported"], Value::Null);
    }
}
