//! Reads a file, line by line, into batches. Runs on a thread of its own, so that a slow pipe holds up
//! nothing else.
//!
//! - Every line is either in exactly one batch, or blank, or told as bad with its number and reason.
//! - With [`OnError::Stop`] nothing after the first bad line is read, and everything before it is in
//!   batches that were handed over before the bad line is told.

use super::ImportRow;
use super::jsonl;
use super::lines::{LINE_BYTES_MAX, Line, Lines};
use super::tsv::Columns;
use super::window::Batch;
use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::keys::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// A batch is closed once its keys and values come to this many bytes, whatever `--batch` says.
pub(super) const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FileFormat {
    /// One JSON object a line
    Jsonl,
    /// Tab-separated values under a header
    Tsv,
}

/// What to do at a bad line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnError {
    /// Import what comes before it, then stop
    Stop,
    /// Leave it out, say so, and go on
    Skip,
}

/// How to read.
#[derive(Clone, Debug)]
pub(super) struct ReadPlan {
    pub(super) format: FileFormat,
    pub(super) key_column: Option<String>,
    pub(super) skip_lines: u64,
    pub(super) batch_rows: usize,
    pub(super) on_error: OnError,
}

/// What comes out of a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Rows to import.
    Batch(Batch),
    /// A line that cannot be imported.
    Bad {
        /// Its number.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be read on; told once, at the end.
    Broken {
        /// The first line that is missing.
        line: u64,
        /// Why.
        reason: String,
    },
}

/// Reads to the end, or until `hand_over` says that nobody wants more.
pub(super) fn read_all(
    input: impl BufRead,
    plan: &ReadPlan,
    bytes_read: &AtomicU64,
    hand_over: impl FnMut(Piece) -> bool,
) {
    let mut reading = Reading {
        plan,
        columns: None,
        batch: Batch::default(),
        hand_over,
    };
    let mut lines = Lines::new(input);
    let mut done: u64 = 0;
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                let (line, reason) = (done + 1, error.to_string());
                if reading.close_batch() {
                    (reading.hand_over)(Piece::Broken { line, reason });
                }
                return;
            }
        };
        done = line.number;
        bytes_read.store(lines.bytes(), Ordering::Relaxed);
        if !reading.on_line(line) {
            return;
        }
    }
    reading.close_batch();
}

struct Reading<'a, F> {
    plan: &'a ReadPlan,
    columns: Option<Columns>,
    batch: Batch,
    hand_over: F,
}

impl<F: FnMut(Piece) -> bool> Reading<'_, F> {
    /// Whether to go on.
    fn on_line(&mut self, line: Line) -> bool {
        let is_header = line.number == 1 && self.plan.format == FileFormat::Tsv;
        if is_header {
            return self.on_header(line);
        }
        if line.number <= self.plan.skip_lines {
            return true;
        }
        match self.row(&line) {
            Ok(None) => true,
            Ok(Some(row)) => self.on_row(line.number, row),
            Err(reason) => {
                let line = line.number;
                self.on_bad(Piece::Bad { line, reason })
            }
        }
    }

    /// Whether to go on.
    fn on_bad(&mut self, bad: Piece) -> bool {
        if self.plan.on_error == OnError::Skip {
            return (self.hand_over)(bad);
        }
        if self.close_batch() {
            (self.hand_over)(bad);
        }
        false
    }

    /// Without its header a file makes no sense, so a bad one is never skipped.
    fn on_header(&mut self, line: Line) -> bool {
        let header = line.bytes.map_err(|_| "it is too long".to_owned());
        let columns = header.and_then(|h| Columns::parse(&h, self.plan.key_column.as_deref()));
        match columns {
            Ok(columns) => {
                self.columns = Some(columns);
                true
            }
            Err(reason) => {
                let line = line.number;
                (self.hand_over)(Piece::Broken { line, reason });
                false
            }
        }
    }

    fn row(&self, line: &Line) -> Result<Option<ImportRow>, String> {
        let Ok(bytes) = &line.bytes else {
            return Err(format!("it is longer than {LINE_BYTES_MAX} bytes"));
        };
        if bytes.iter().all(u8::is_ascii_whitespace) && self.columns.is_none() || bytes.is_empty() {
            return Ok(None);
        }
        let row = match &self.columns {
            Some(columns) => columns.row(bytes)?,
            None => jsonl::parse(bytes)?,
        };
        check_size("key", row.key.len(), KEY_BYTES_MAX)?;
        check_size("value", row.value.len(), VALUE_BYTES_MAX)?;
        Ok(Some(row))
    }

    fn on_row(&mut self, line: u64, row: ImportRow) -> bool {
        self.batch.add(line, row);
        let full =
            self.batch.rows.len() >= self.plan.batch_rows || self.batch.bytes >= BATCH_BYTES_MAX;
        !full || self.close_batch()
    }

    fn close_batch(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        batch.rows.is_empty() || (self.hand_over)(Piece::Batch(batch))
    }
}

fn check_size(what: &str, bytes: usize, max: usize) -> Result<(), String> {
    if bytes > max {
        return Err(format!("the {what} has {bytes} bytes, the most is {max}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> ReadPlan {
        ReadPlan {
            format: FileFormat::Jsonl,
            key_column: None,
            skip_lines: 0,
            batch_rows: 2,
            on_error: OnError::Stop,
        }
    }

    fn read(file: &str, plan: &ReadPlan) -> Vec<String> {
        let mut pieces = Vec::new();
        read_all(file.as_bytes(), plan, &AtomicU64::new(0), |piece| {
            pieces.push(match piece {
                Piece::Batch(batch) => {
                    let keys = batch.rows.iter().map(|row| row.key.escape_ascii());
                    let keys: Vec<String> = keys.map(|key| key.to_string()).collect();
                    format!(
                        "{}-{}: {}",
                        batch.first_line,
                        batch.last_line,
                        keys.join(" ")
                    )
                }
                Piece::Bad { line, reason } => format!("bad {line}: {reason}"),
                Piece::Broken { line, reason } => format!("broken {line}: {reason}"),
            });
            true
        });
        pieces
    }

    const FILE: &str = "{\"key\":\"a\",\"value\":1}\n\n{\"key\":\"b\",\"value\":1}\n\
                        {\"key\":\"c\",\"value\":1}\n{\"key\":\"d\"}\n{\"key\":\"e\",\"value\":1}\n";

    #[test]
    fn what_comes_before_a_bad_line_is_handed_over_first() {
        assert_eq!(
            read(FILE, &plan()),
            [
                "1-3: a b",
                "4-4: c",
                "bad 5: there is no \"value\" (nor \"value_base64\")"
            ]
        );
    }

    #[test]
    fn bad_lines_may_be_skipped_and_lines_left_out() {
        let mut skip = plan();
        skip.on_error = OnError::Skip;
        skip.skip_lines = 3;
        assert_eq!(
            read(FILE, &skip),
            [
                "bad 5: there is no \"value\" (nor \"value_base64\")",
                "4-6: c e"
            ]
        );
    }

    #[test]
    fn tables_need_their_header_even_if_lines_are_left_out() {
        let mut table = plan();
        table.format = FileFormat::Tsv;
        table.skip_lines = 2;
        assert_eq!(read("k\tv\na\t1\nb\t2\n", &table), ["3-3: b"]);
        table.key_column = Some("x".to_owned());
        table.on_error = OnError::Skip;
        let broken = read("k\tv\na\t1\n", &table);
        assert!(
            broken[0].starts_with("broken 1: there is no column 'x'"),
            "{broken:?}"
        );
        assert_eq!(broken.len(), 1);
    }

    #[test]
    fn keys_that_are_too_long_are_bad_lines() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let file = format!("{{\"key\":\"{long}\",\"value\":1}}\n");
        assert_eq!(
            read(&file, &plan()),
            ["bad 1: the key has 4097 bytes, the most is 4096"]
        );
    }

    #[test]
    fn reading_stops_when_nobody_wants_more() {
        let mut pieces = 0;
        read_all(FILE.as_bytes(), &plan(), &AtomicU64::new(0), |_| {
            pieces += 1;
            false
        });
        assert_eq!(pieces, 1);
    }
}
