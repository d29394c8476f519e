//! What really needs threads: many seeds at once.

mod swarm;

pub use swarm::{Swarm, run_many};
