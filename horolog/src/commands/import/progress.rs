//! How far an import has come, told to whoever watches: a bar on a terminal, else a line now and then.

use crate::io::stopwatch::Stopwatch;
use crate::text::quantity;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Between two plain lines.
pub(super) const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Tells how far it has come.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Stopwatch,
    told: Duration,
}

impl Progress {
    /// Of a file of so many bytes, if that is known.
    pub(super) fn new(file_bytes: Option<u64>) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| bar(file_bytes));
        Progress {
            bar,
            started: Stopwatch::start(),
            told: Duration::ZERO,
        }
    }

    /// So many bytes are read and so many rows are imported.
    pub(super) fn tell(&mut self, bytes_read: u64, rows: u64) {
        let elapsed = self.started.elapsed();
        let message = message(rows, elapsed);
        match &self.bar {
            Some(bar) => {
                bar.set_position(bytes_read);
                bar.set_message(message);
            }
            None if elapsed >= self.told + PLAIN_EVERY => {
                self.told = elapsed;
                eprintln!("{message}, {} read", quantity::bytes(bytes_read));
            }
            None => {}
        }
    }

    /// Says something without disturbing the bar.
    pub(super) fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// It has come to its end.
    pub(super) fn finish(&self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }
}

fn bar(file_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match file_bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{bar:30} {percent}% {bytes}/{total_bytes}, {msg}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} read, {msg}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is a valid constant");
    bar.with_style(style)
}

/// Rows a second.
pub(super) fn rate(rows: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 {
        rows as f64 / seconds
    } else {
        0.0
    }
}

fn message(rows: u64, elapsed: Duration) -> String {
    format!("{rows} rows imported, {:.0}/s", rate(rows, elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_rows_by_seconds() {
        assert_eq!(rate(100, Duration::from_secs(2)), 50.0);
        assert_eq!(rate(100, Duration::ZERO), 0.0);
        let text = message(7, Duration::from_secs(1));
        assert_eq!(text, "7 rows imported, 7/s");
    }
}
