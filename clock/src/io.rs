//! Reading the machine's clocks, and what vouches for their bound.
//!
//! The kernel keeps an estimate of its own clock's error (`adjtimex`, `esterror`/`maxerror`), fed by
//! chrony or ntpd. `maxerror` is the one that vouches: it grows by the tolerance of the oscillator
//! until the next synchronisation. A kernel that says `STA_UNSYNC` vouches for nothing.

use crate::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the clock bound comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundSource {
    /// The kernel's own estimate while its clock is synchronised.
    Kernel,
    /// An operator's word: `--clock-bound`.
    Fixed(Duration),
}

/// The kernel's clock vouches for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel does not vouch for its clock: adjtimex says state {state}, status {status:#06x}{}, maxerror {maxerror_us} us. \
     Synchronise the clock (chrony, ntpd), or state a bound that you can vouch for, for example --clock-bound 500us: \
     true time then must always lie within 500 us of this machine's clock",
    if *.unsynchronised { " (unsynchronised)" } else { "" }
)]
pub struct NotVouched {
    /// What `adjtimex` returned; 5 is `TIME_ERROR`.
    pub state: i32,
    /// Its status bits.
    pub status: i32,
    /// Whether `STA_UNSYNC` is among them.
    pub unsynchronised: bool,
    /// The largest error that the kernel thinks possible, microseconds.
    pub maxerror_us: i64,
}

/// Reads the kernel's bound, or says what it read.
pub fn kernel_bound() -> Result<Duration, NotVouched> {
    // SAFETY: `timex` is plain data for which all zeros is valid; with `modes` 0 the call only reads.
    #[allow(unsafe_code)]
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut timex), timex)
    };
    let unsynchronised = timex.status & libc::STA_UNSYNC != 0;
    if state < 0 || state == libc::TIME_ERROR || unsynchronised {
        return Err(NotVouched {
            state,
            status: timex.status,
            unsynchronised,
            maxerror_us: timex.maxerror,
        });
    }
    Ok(Duration::from_micros(timex.maxerror.max(1) as u64))
}

/// Reads this machine's clocks.
#[derive(Debug)]
pub struct MachineClock {
    origin: Instant,
    source: BoundSource,
    kernel: Option<Duration>,
    kernel_read: Instant,
}

/// The kernel's bound is asked for again after this; between readings it grows by 500 ppm, the
/// kernel's own worst assumption about its oscillator.
const KERNEL_BOUND_FOR: Duration = Duration::from_millis(250);

impl MachineClock {
    /// Opens the clocks; refuses a kernel source that vouches for nothing.
    #[allow(clippy::disallowed_methods)]
    pub fn open(source: BoundSource) -> Result<MachineClock, NotVouched> {
        let kernel = match source {
            BoundSource::Kernel => Some(kernel_bound()?),
            BoundSource::Fixed(_) => None,
        };
        let origin = Instant::now();
        Ok(MachineClock {
            origin,
            source,
            kernel,
            kernel_read: origin,
        })
    }

    /// One reading of all clocks.
    #[allow(clippy::disallowed_methods)]
    pub fn now(&mut self) -> Now {
        let instant = Instant::now();
        let bound = match self.source {
            BoundSource::Fixed(bound) => Some(bound),
            BoundSource::Kernel => {
                let age = instant.duration_since(self.kernel_read);
                if age > KERNEL_BOUND_FOR {
                    self.kernel = kernel_bound().ok();
                    self.kernel_read = instant;
                    self.kernel
                } else {
                    self.kernel.map(|bound| bound + age / 2000)
                }
            }
        };
        let physical = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            monotonic: instant.duration_since(self.origin),
            physical,
            bound,
        }
    }

    /// Where the bound comes from.
    pub fn source(&self) -> BoundSource {
        self.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_source_either_vouches_or_says_what_it_read() {
        match kernel_bound() {
            Ok(bound) => assert!(bound > Duration::ZERO),
            Err(refusal) => {
                let text = refusal.to_string();
                assert!(text.contains("adjtimex says state"), "{text}");
                assert!(text.contains("--clock-bound"), "{text}");
            }
        }
    }

    #[test]
    fn a_fixed_bound_is_vouched_for() {
        let bound = Duration::from_micros(500);
        let mut clock = MachineClock::open(BoundSource::Fixed(bound)).unwrap();
        let (first, second) = (clock.now(), clock.now());
        assert_eq!(first.bound, Some(bound));
        assert!(second.monotonic >= first.monotonic);
        assert!(first.physical > Duration::from_secs(1_700_000_000));
    }
}
