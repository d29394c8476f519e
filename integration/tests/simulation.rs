//! The swarm: many seeds, each a cluster of three or five nodes and two to five partitions under faults for
//! 30 virtual seconds, then healed, then checked. Together they must have been through every rare branch.
//!
//! `HOROLOG_SEED=17 cargo test -p integration --test simulation` runs one seed and prints its trace if
//! it finds something.

use integration::io::run_many;
use integration::simulation::{Failure, SimulationOptions, run};
use std::io::Write;

const SEEDS: u64 = 300;
const JOBS: usize = 2;
/// The end of a trace that is printed.
const TRACE_LINES_MAX: usize = 4000;

fn chosen_seed() -> Option<u64> {
    let text = std::env::var("HOROLOG_SEED").ok()?;
    Some(text.parse().expect("HOROLOG_SEED is a number"))
}

fn report(failure: &Failure) -> String {
    let skip = failure.details.len().saturating_sub(TRACE_LINES_MAX);
    let details = failure.details[skip..].join("\n");
    format!(
        "{details}\n{failure}\nrepeat it: HOROLOG_SEED={} cargo test -p integration --test simulation, or {}",
        failure.seed,
        failure.repeat(&SimulationOptions::default())
    )
}

#[test]
fn every_seed_is_strictly_serializable_and_loses_nothing() {
    if let Some(seed) = chosen_seed() {
        let options = SimulationOptions {
            readable: true,
            ..SimulationOptions::default()
        };
        match run(seed, &options) {
            Ok(summary) => println!("{summary:?}"),
            Err(failure) => panic!("{}", report(&failure)),
        }
        return;
    }
    let swarm = run_many(0..SEEDS, JOBS, &SimulationOptions::default(), 5, |_| {});
    // Not by `println!`, which is kept back when a test passes: the totals are to be seen.
    writeln!(std::io::stderr(), "{}", swarm.totals).expect("standard error can be written");
    let reports: Vec<String> = swarm.failures.iter().map(report).collect();
    assert!(reports.is_empty(), "{}", reports.join("\n\n"));
    assert_eq!(swarm.totals.seeds, SEEDS);
    let missing = swarm.totals.marks.missing();
    assert!(missing.is_empty(), "no seed came through {missing:?}");
    assert!(swarm.totals.removed > 0, "retention was never at work");
}

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    for seed in [1, 7, 42, 1001] {
        let options = SimulationOptions::default();
        let hash = || match run(seed, &options) {
            Ok(summary) => (summary.hash, summary.events, summary.acknowledged),
            Err(failure) => panic!("{}", report(&failure)),
        };
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
