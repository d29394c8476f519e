//! How far a swarm has come, told to whoever watches: a bar on a terminal, else a line now and then.

use crate::io::stopwatch::Stopwatch;
use indicatif::{ProgressBar, ProgressStyle};
use integration::simulation::Failure;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Tells how far it has come; threads share it.
pub(super) struct SwarmProgress {
    seeds: u64,
    bar: Option<ProgressBar>,
    started: Stopwatch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: u64,
    failed: u64,
    told: Duration,
}

impl SwarmProgress {
    /// Of so many seeds.
    pub(super) fn new(seeds: u64) -> SwarmProgress {
        SwarmProgress {
            seeds,
            bar: std::io::stderr().is_terminal().then(|| bar(seeds)),
            started: Stopwatch::start(),
            state: Mutex::default(),
        }
    }

    /// A seed more, and what it found.
    pub(super) fn tell(&self, failure: Option<&Failure>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
        if let Some(failure) = failure {
            state.failed += 1;
            match &self.bar {
                Some(bar) => bar.suspend(|| eprintln!("{failure}")),
                None => eprintln!("{failure}"),
            }
        }
        let elapsed = self.started.elapsed();
        match &self.bar {
            Some(bar) => {
                bar.set_position(state.done);
                bar.set_message(format!("{} failed", state.failed));
            }
            None if elapsed >= state.told + PLAIN_EVERY => {
                state.told = elapsed;
                eprintln!("{}", line(state.done, self.seeds, state.failed, elapsed));
            }
            None => {}
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

fn bar(seeds: u64) -> ProgressBar {
    let template = "{bar:30} {pos} of {len} seeds, {per_sec}, {eta} left, {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is a valid constant");
    ProgressBar::new(seeds).with_style(style)
}

fn line(done: u64, seeds: u64, failed: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let left = seconds / done.max(1) as f64 * seeds.saturating_sub(done) as f64;
    format!(
        "{done} of {seeds} seeds, {:.1}/s, {left:.0} s left, {failed} failed",
        done as f64 / seconds.max(f64::MIN_POSITIVE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rate_and_time_left() {
        let text = line(20, 100, 1, Duration::from_secs(10));
        assert_eq!(text, "20 of 100 seeds, 2.0/s, 40 s left, 1 failed");
    }
}
