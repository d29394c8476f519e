//! A timer of microseconds. Tokio's own rounds up to whole milliseconds, which would put a
//! millisecond on every clock-bound wait.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Fires once, at the time set last.
#[derive(Debug)]
pub(crate) struct Timer {
    fd: AsyncFd<OwnedFd>,
}

impl Timer {
    pub(crate) fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: an `OwnedFd` always gives the same descriptor, and keeps it open until it is
        // dropped, which `AsyncFd` does only after it has deregistered it.
        #[allow(unsafe_code)]
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
        Ok(Timer { fd })
    }

    /// Fires after `after`, and forgets what was set before.
    pub(crate) fn set(&self, after: Duration) -> io::Result<()> {
        // All zeros would switch it off.
        let after = after.max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(after.subsec_nanos()),
        };
        let interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval: interval,
            it_value: value,
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    /// Waits until it fires.
    pub(crate) async fn fired(&self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut count)?)) {
                Ok(read) => return read.map(|_| ()),
                Err(_would_block) => continue,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    #[allow(clippy::disallowed_methods)]
    async fn it_fires_after_its_time_and_not_before() {
        let timer = Timer::new().unwrap();
        for micros in [50, 300, 2_000] {
            let start = Instant::now();
            timer.set(Duration::from_micros(micros)).unwrap();
            timer.fired().await.unwrap();
            assert!(start.elapsed() >= Duration::from_micros(micros));
        }
    }

    #[tokio::test]
    #[allow(clippy::disallowed_methods)]
    async fn setting_it_again_forgets_the_earlier_time() {
        let timer = Timer::new().unwrap();
        let start = Instant::now();
        timer.set(Duration::from_millis(1)).unwrap();
        timer.set(Duration::from_millis(20)).unwrap();
        timer.fired().await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
