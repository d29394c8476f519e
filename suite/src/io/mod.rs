//! Processes, sockets, files and time.
//!
//! - [`Cluster`]: the processes; [`Watcher`]: what they say of themselves;
//! - [`proxy`]: what lies between them;
//! - [`ClockHook`]: what they are told of time;
//! - [`RunClock`]: the time of a run; [`Machine`]: whether everything stood still.

mod clock_hook;
mod cluster;
mod machine;
mod process;
pub mod proxy;
mod reserved_port;
mod run_clock;
mod watcher;

pub use clock_hook::{ClockHook, ClockSetting, Source};
pub use cluster::{Cluster, ClusterOptions};
pub use machine::{Machine, STALL_MIN, Stall};
pub use process::Process;
pub use reserved_port::ReservedPort;
pub use run_clock::{RunClock, time_of_day};
pub use watcher::{Watcher, is_led, is_quiet, is_whole};
