//! The swarm: many seeds, each a cluster of three or five nodes and two to five partitions under faults for
//! 30 virtual seconds, then healed, then checked. Together they must have been through every rare branch.
//!
//! `HOROLOG_SEED=17 cargo test -p integration --test simulation` runs one seed and prints its trace if
//! it finds something.

use integration::io::run_many;
use integration::simulation::{Failure, Mixture, SimulationOptions, run};
use std::io::Write;
use std::time::Duration;

const SEEDS: u64 = 300;
/// Of each mixture that is aimed at something.
const AIMED_SEEDS: u64 = 20;
const JOBS: usize = 2;
/// The end of a trace that is printed.
const TRACE_LINES_MAX: usize = 4000;

fn chosen_seed() -> Option<u64> {
    let text = std::env::var("HOROLOG_SEED").ok()?;
    Some(text.parse().expect("HOROLOG_SEED is a number"))
}

fn report_of(failure: &Failure, options: &SimulationOptions) -> String {
    let skip = failure.details.len().saturating_sub(TRACE_LINES_MAX);
    let details = failure.details[skip..].join("\n");
    let repeat = failure.repeat(options);
    format!("{details}\n{failure}\nrepeat it: {repeat}")
}

fn report(failure: &Failure) -> String {
    let report = report_of(failure, &SimulationOptions::default());
    let seed = failure.seed;
    format!("{report}, or HOROLOG_SEED={seed} cargo test -p integration --test simulation")
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
fn the_mixtures_that_are_aimed_at_rare_holes_find_none() {
    for mixture in [
        Mixture::Contention,
        Mixture::PowerCuts,
        Mixture::LateMessages,
        Mixture::LostMemory,
    ] {
        let options = SimulationOptions {
            mixture,
            duration: Duration::from_secs(10),
            acknowledged_min: 50,
            faults_min: 1,
            ..SimulationOptions::default()
        };
        let swarm = run_many(0..AIMED_SEEDS, JOBS, &options, 5, |_| {});
        let reports: Vec<String> = (swarm.failures.iter())
            .map(|failure| report_of(failure, &options))
            .collect();
        assert!(reports.is_empty(), "{mixture:?}: {}", reports.join("\n\n"));
    }
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
