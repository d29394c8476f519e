//! What touches the machine beside files: the terminal, signals, time.

pub(crate) mod line_input;
pub(crate) mod open_files;
pub(crate) mod signals;
pub(crate) mod stopwatch;
