//! Longer swarms by hand: `cargo run --release -p integration --example simulate -- --seeds 0..2000 --jobs 2`.
//!
//! `--seconds N` for longer runs, `--nodes N` and `--partitions N` instead of what each seed draws,
//! `--mixture swarm|skewed|contention|power|late|memory|members|clocks`, `--trace` to print the readable trace of what fails. The
//! totals name the rare branches that no seed came through.

use integration::io::run_many;
use integration::simulation::{Mixture, SimulationOptions};
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "simulate [--seeds A..B] [--jobs N] [--seconds N] [--nodes N] [--partitions N] [--mixture swarm|skewed|contention|power|late|memory|members|clocks] [--trace]";

struct Arguments {
    seeds: Range<u64>,
    jobs: usize,
    options: SimulationOptions,
}

fn arguments() -> Option<Arguments> {
    let mut seeds = 0..100;
    let mut jobs = 2;
    let mut options = SimulationOptions::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--trace" => options.readable = true,
            "--jobs" => jobs = words.next()?.parse().ok()?,
            "--nodes" => options.nodes = Some(words.next()?.parse().ok()?),
            "--partitions" => options.partitions = Some(words.next()?.parse().ok()?),
            "--seconds" => options.duration = Duration::from_secs(words.next()?.parse().ok()?),
            "--seeds" => {
                let range = words.next()?;
                let (from, to) = range.split_once("..")?;
                seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--mixture" => {
                let name = words.next()?;
                let mut all = Mixture::ALL.into_iter();
                options.mixture = all.find(|mixture| mixture.name() == name)?;
                options.acknowledged_min = options.mixture.acknowledged_min();
            }
            _ => return None,
        }
    }
    Some(Arguments {
        seeds,
        jobs,
        options,
    })
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Arguments {
        seeds,
        jobs,
        options,
    } = arguments;
    let swarm = run_many(seeds, jobs, &options, 10, |_| {});
    println!("{}", swarm.totals);
    for failure in &swarm.failures {
        for line in &failure.details {
            println!("{line}");
        }
        println!("{failure}\nrepeat it: {}", failure.repeat(&options));
    }
    match swarm.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
