//! The clock of a run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time since a run began. Copies tell the same time.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    started: Instant,
}

impl RunClock {
    /// Starts it.
    #[allow(clippy::disallowed_methods)] // Processes live in real time.
    pub fn start() -> RunClock {
        RunClock {
            started: Instant::now(),
        }
    }

    /// Since the start.
    pub fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// Since the start, nanoseconds: a history's `:time`.
    pub fn nanoseconds(self) -> u64 {
        self.elapsed().as_nanos() as u64
    }
}

/// The day and time, UTC, for people: `2026-11-24 16:40:07`.
#[allow(clippy::disallowed_methods)] // A run takes place in real time.
pub fn time_of_day() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    calendar(since.unwrap_or_default().as_secs())
}

/// Seconds since 1970 as a date. Source: Hinnant, *chrono-Compatible Low-Level Date Algorithms*.
fn calendar(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year_of_era + 400 * era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(calendar(0), "1970-01-01 00:00:00");
        assert_eq!(calendar(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(calendar(1_798_761_599), "2026-12-31 23:59:59");
    }
}
