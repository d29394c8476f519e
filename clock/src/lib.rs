//! What time it is, and how sure we are.
//!
//! # The clock contract
//!
//! Every place that leans on a clock leans on exactly one of two things.
//!
//! | who leans | on what | if it is broken |
//! | --- | --- | --- |
//! | R1 begin: `r >= latest` | the error bound | a read may miss what was acknowledged before it began: **real-time order** is lost |
//! | R6 clock-bound wait: `earliest > c` | the error bound | an acknowledged write may be missed by a later begin: **real-time order** is lost |
//! | R9 promises, R2 timestamp caches | causality only: timestamps are compared with timestamps | nothing; a wrong clock makes promises long or short, never wrong |
//! | the durable ceiling | that a timestamp was never issued above it | a restarted voter would forget a promise: **serializability** is lost. It is in the log, not in a clock |
//! | timeouts, elections, pushes | monotonic time, roughly | availability; never safety |
//! | retention of outcomes and versions | closed timestamps in the log | availability of old answers; never safety |
//!
//! So a clock that breaks its bound can cost the real-time order, never serializability, atomicity or
//! data. [`Now::latest`] and [`Now::earliest`] come from the physical clock alone; [`HybridClock`]
//! moves up to what it hears but never feeds back into them.
//!
//! Reading a clock is IO: it happens in [`io`] only and is passed down as [`Now`].

pub mod io;

mod clock_bound;
mod clock_bound_wait;
mod durable_ceiling;
mod hybrid_clock;
mod step_detector;
mod timestamp;

pub use clock_bound::Now;
pub use clock_bound_wait::ClockBoundWait;
pub use durable_ceiling::{CEILING_AHEAD, CEILING_RAISE_WITHIN, DurableCeiling};
pub use hybrid_clock::{CeilingReached, DriftExceeded, HybridClock};
pub use step_detector::{ANCHOR_FOR, DRIFT_PPM_MAX, Departure, READING_SLACK, StepDetector};
pub use timestamp::{ParseTimestampError, Timestamp};
