//! Processes, sockets, files and time.

mod run_clock;

pub use run_clock::RunClock;
