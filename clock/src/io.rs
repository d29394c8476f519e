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
    /// Asks the kernel; a test has its own.
    ask_kernel: fn() -> Result<Duration, NotVouched>,
    kernel: Option<Duration>,
    kernel_read: Instant,
}

/// Monotonic and physical time count as read at one instant if no more than this lies between.
const READ_WITHIN: Duration = Duration::from_micros(50);
/// So often a reading that was interrupted is made again; then the closest one is taken.
const READ_TRIES: u32 = 8;

/// The kernel's bound is asked for again after this; between readings it grows by 500 ppm, the
/// kernel's own worst assumption about its oscillator.
const KERNEL_BOUND_FOR: Duration = Duration::from_millis(250);

impl MachineClock {
    /// Opens the clocks; refuses a kernel source that vouches for nothing.
    pub fn open(source: BoundSource) -> Result<MachineClock, NotVouched> {
        MachineClock::open_with(source, kernel_bound)
    }

    #[allow(clippy::disallowed_methods)]
    fn open_with(
        source: BoundSource,
        ask_kernel: fn() -> Result<Duration, NotVouched>,
    ) -> Result<MachineClock, NotVouched> {
        let kernel = match source {
            BoundSource::Kernel => Some(ask_kernel()?),
            BoundSource::Fixed(_) => None,
        };
        let origin = Instant::now();
        Ok(MachineClock {
            origin,
            source,
            ask_kernel,
            kernel,
            kernel_read: origin,
        })
    }

    /// One reading of all clocks.
    pub fn now(&mut self) -> Now {
        let (instant, physical) = read_together();
        let bound = match self.source {
            BoundSource::Fixed(bound) => Some(bound),
            BoundSource::Kernel => {
                let age = instant.duration_since(self.kernel_read);
                if age > KERNEL_BOUND_FOR {
                    self.kernel = (self.ask_kernel)().ok();
                    self.kernel_read = instant;
                    self.kernel
                } else {
                    self.kernel.map(|bound| bound + age / 2000)
                }
            }
        };
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

/// Reads monotonic and physical time as one. *Interrupted between the two, a thread would see a step of
/// the physical clock where there is none.*
#[allow(clippy::disallowed_methods)]
fn read_together() -> (Instant, Duration) {
    let read = || {
        let before = Instant::now();
        let physical = SystemTime::now().duration_since(UNIX_EPOCH);
        (before.elapsed(), before, physical.unwrap_or_default())
    };
    let mut closest = read();
    for _ in 1..READ_TRIES {
        if closest.0 <= READ_WITHIN {
            break;
        }
        let again = read();
        if again.0 < closest.0 {
            closest = again;
        }
    }
    (closest.1, closest.2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

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
    /// What the kernel of the next test says, microseconds; negative: that it is not synchronised.
    static KERNEL_SAYS_US: AtomicI64 = AtomicI64::new(700);

    fn said() -> Result<Duration, NotVouched> {
        let us = KERNEL_SAYS_US.load(Ordering::SeqCst);
        let bound = u64::try_from(us).map(Duration::from_micros);
        bound.map_err(|_| NotVouched {
            state: libc::TIME_ERROR,
            status: libc::STA_UNSYNC,
            unsynchronised: true,
            maxerror_us: 16_000_000,
        })
    }

    #[test]
    fn a_kernel_that_stops_vouching_is_noticed_and_so_is_its_return() {
        let mut clock = MachineClock::open_with(BoundSource::Kernel, said).unwrap();
        let bound = clock.now().bound.expect("it is synchronised");
        assert!(bound >= Duration::from_micros(700), "{bound:?}");
        let read_long_ago = |clock: &mut MachineClock| {
            clock.kernel_read -= KERNEL_BOUND_FOR + Duration::from_millis(1);
        };
        KERNEL_SAYS_US.store(-1, Ordering::SeqCst);
        read_long_ago(&mut clock);
        assert_eq!(clock.now().bound, None);
        assert_eq!(clock.now().bound, None, "asked a moment ago");
        KERNEL_SAYS_US.store(900, Ordering::SeqCst);
        read_long_ago(&mut clock);
        assert_eq!(clock.now().bound, Some(Duration::from_micros(900)));
        KERNEL_SAYS_US.store(-1, Ordering::SeqCst);
        assert!(MachineClock::open_with(BoundSource::Kernel, said).is_err());
    }
}
