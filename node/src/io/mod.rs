//! A node on a real machine: sockets, a log thread, store threads, a timer. Nothing here decides.
//!
//! ```text
//!  sockets ─┐                          ┌─► log thread: drain queue, one pwrite + one fdatasync for all
//!           ├─► node thread ───────────┤
//!  timer  ──┘   one Node, one turn     └─► store threads: apply, read old versions
//!               after the other
//! ```

mod metrics;
pub mod rebuild;
pub mod server;
mod timer;

pub use metrics::{SCRAPE_WITHIN, SCRAPES_MAX};
pub use server::{Server, ServerError, ServerHandle, ServerOptions};
