//! What really needs threads: many seeds at once.

mod corpus;
mod swarm;

pub use corpus::{corpus, fuzz_cases};
pub use swarm::{Swarm, run_many};
