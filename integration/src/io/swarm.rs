//! Many seeds on a few threads. Threads only share the number of the next seed: what a seed finds does
//! not depend on them.

use crate::simulation::{Failure, SimulationOptions, Summary, Totals, run};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What many seeds found.
#[derive(Debug, Default)]
pub struct Swarm {
    /// Of the seeds that found nothing.
    pub totals: Totals,
    /// The seeds that found something, ascending.
    pub failures: Vec<Failure>,
}

/// Runs all seeds of a range on `jobs` threads; stops after `failures_max` failures. `told` hears of
/// each finished seed.
pub fn run_many(
    seeds: Range<u64>,
    jobs: usize,
    options: &SimulationOptions,
    failures_max: usize,
    told: impl Fn(&Result<Summary, Box<Failure>>) + Sync,
) -> Swarm {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let swarm = Mutex::new(Swarm::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = run(seed, options);
                    told(&result);
                    let mut swarm = swarm
                        .lock()
                        .unwrap_or_else(|poisoned| poisoned.into_inner());
                    match result {
                        Ok(summary) => swarm.totals.add(&summary),
                        Err(failure) => swarm.failures.push(*failure),
                    }
                    if swarm.failures.len() >= failures_max {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut swarm = swarm
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    swarm.failures.sort_by_key(|failure| failure.seed);
    swarm
}
