//! `verify simulate`: whole clusters in virtual time, under faults drawn from seeds.

use super::swarm_progress::SwarmProgress;
use crate::failure::Failure;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use integration::io::run_many;
use integration::recording::recordings;
use integration::simulation::shrink::{Effort, shrink};
use integration::simulation::trace::{Line, TraceFilter};
use integration::simulation::{Mixture, Report, Scenario, SimulationOptions, perform};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::ids::{NodeId, PartitionId};

/// Run whole clusters in virtual time, each seed with other machines, workloads and faults
///
/// A seed is the whole world: the same seed of one build does the same, byte for byte. Clients work while
/// faults strike; then everything is healed, every client must finish and the cluster come to rest, and
/// what clients were told is checked. A seed that fails is told with the command that repeats it.
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Simulate {
    /// Which seeds to run: all from A up to and without B
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, default_value = "0..100")]
    #[arg(conflicts_with = "one")]
    seeds: Range<u64>,

    /// So many seeds at once, each on a thread
    #[arg(long, value_name = "N", default_value_t = 2, conflicts_with = "one")]
    jobs: usize,

    /// Stop when so many seeds have failed
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "one")]
    failures_max: usize,

    /// What the seeds are drawn around: all that can be, or what is aimed at one kind of hole
    #[arg(long, value_name = "NAME", default_value = "swarm", value_parser = mixture_parser())]
    mixture: Mixture,

    /// How long clients begin transactions, in virtual seconds
    #[arg(long, value_name = "N", default_value_t = 30)]
    seconds: u64,

    /// So many nodes, instead of what each seed draws
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: Option<u64>,

    /// So many partitions, the system's own among them, instead of what each seed draws
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=20))]
    partitions: Option<u8>,

    /// Run this one seed
    #[arg(long, value_name = "N", group = "one")]
    seed: Option<u64>,

    /// Run what --save or --shrink has written down
    #[arg(long, value_name = "FILE", group = "one")]
    #[arg(conflicts_with_all = ["mixture", "seconds", "nodes", "partitions"])]
    replay: Option<PathBuf>,

    /// Print what happened: who sent what to whom, faults, leaders, what clients were told; with the
    /// virtual time in milliseconds
    #[arg(long, requires = "one")]
    trace: bool,

    /// Of the trace only what concerns these nodes, divided by commas: 1,3
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires = "trace")]
    node: Vec<u32>,

    /// Of the trace only what concerns these partitions, divided by commas; and faults, starts, commits
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires = "trace")]
    partition: Vec<u32>,

    /// Write the run's histories, one for each workload that has a form: FILE with the form's name before
    /// its ending
    #[arg(long, value_name = "FILE", requires = "one")]
    edn: Option<PathBuf>,

    /// Write the run down, with the faults that struck, as JSON for --replay
    #[arg(long, value_name = "FILE", requires = "one")]
    save: Option<PathBuf>,

    /// If the run fails, look for a smaller one that fails in the same way: a shorter one with fewer faults,
    /// clients, transactions and keys. --save takes that one then
    #[arg(long, requires = "one")]
    shrink: bool,

    /// So many runs at the most to shrink one
    #[arg(long, value_name = "N", default_value_t = 400, requires = "shrink")]
    shrink_runs: u32,
}

const AFTER_HELP: &str = "\
Mixtures: swarm is everything that can be, and finds most. skewed, contention, power, late, memory and
clocks are aimed at rules of clocks, of evaluation, of durability, of recovery, of a node's memory and at
clocks out of their bound; in members partitions get other members meanwhile.

Exit codes: 0 nothing was found, 1 a seed failed, 2 wrong command line.

Examples:
  horolog verify simulate --seeds 0..10000 --jobs 2
  horolog verify simulate --seed 17 --trace --partition 3
  horolog verify simulate --seed 17 --edn run.edn      then: horolog verify check run.bank.edn --workload bank
  horolog verify simulate --seed 17 --shrink --save small.json
  horolog verify simulate --replay small.json --trace";

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("'{text}' is no range of seeds: write A..B, for example 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.parse().ok(), to.parse().ok());
    let (from, to) = from.zip(to).ok_or_else(wrong)?;
    if from < to {
        Ok(from..to)
    } else {
        Err(format!(
            "there is no seed in {text}: the second number is not one of them"
        ))
    }
}

fn mixture_parser() -> impl TypedValueParser<Value = Mixture> {
    let names = Mixture::ALL.map(Mixture::name);
    PossibleValuesParser::new(names).map(|name| {
        let mut all = Mixture::ALL.into_iter();
        let named = all.find(|mixture| mixture.name() == name);
        named.expect("only names of the list are possible")
    })
}

impl Simulate {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match (&self.replay, self.seed) {
            (Some(file), _) => self.run_one(&read_scenario(file)?),
            (None, Some(seed)) => self.run_one(&Scenario::draw(seed, &self.options())),
            (None, None) => self.run_swarm(),
        }
    }

    fn options(&self) -> SimulationOptions {
        let usual = SimulationOptions::default();
        // A shorter run shows less, a longer one need not show more.
        let share = (self.seconds as f64 / usual.duration.as_secs_f64()).min(1.0);
        SimulationOptions {
            nodes: self.nodes.map(|nodes| nodes as usize),
            partitions: self.partitions,
            duration: Duration::from_secs(self.seconds),
            mixture: self.mixture,
            acknowledged_min: (self.mixture.acknowledged_min() as f64 * share) as usize,
            faults_min: if share < 1.0 { 0 } else { usual.faults_min },
            ..usual
        }
    }

    fn run_swarm(&self) -> Result<(), Failure> {
        let options = self.options();
        let progress = SwarmProgress::new(self.seeds.end - self.seeds.start);
        let told = |result: &Result<_, Box<integration::simulation::Failure>>| {
            progress.tell(result.as_ref().err().map(|failure| &**failure));
        };
        let swarm = run_many(
            self.seeds.clone(),
            self.jobs,
            &options,
            self.failures_max,
            told,
        );
        let took = progress.finish();
        let mut out = io::stdout().lock();
        write!(out, "{}", swarm.totals)?;
        writeln!(out, "it took {:.1} s", took.as_secs_f64())?;
        for failure in &swarm.failures {
            for line in &failure.details {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "{failure}\nrepeat it: {}", failure.repeat(&options))?;
        }
        match swarm.failures.len() {
            0 => Ok(()),
            failed => {
                writeln!(out, "{failed} seeds failed")?;
                Err(Failure::not_done_and_told())
            }
        }
    }

    fn run_one(&self, scenario: &Scenario) -> Result<(), Failure> {
        let report = perform(scenario, self.trace);
        self.print_trace(&report.trace)?;
        let mut out = io::stdout().lock();
        if let Some(file) = &self.edn {
            write_histories(file, &report, &mut out)?;
        }
        let found = match &report.verdict {
            Ok(summary) => {
                let mut totals = integration::simulation::Totals::default();
                totals.add(summary);
                write!(out, "{totals}")?;
                writeln!(out, "trace hash {:016x}", summary.hash)?;
                None
            }
            Err(violation) => {
                for transaction in report.transactions() {
                    writeln!(out, "{transaction}")?;
                }
                writeln!(out, "seed {}: {violation}", scenario.seed)?;
                Some(violation)
            }
        };
        let kept = match (found, self.shrink) {
            (Some(_), true) => self.shrunk(&report, &mut out)?,
            (None, true) => {
                writeln!(out, "it passes: there is nothing to make smaller")?;
                report.scenario.clone()
            }
            (_, false) => report.scenario.clone(),
        };
        if let Some(file) = &self.save {
            let written = std::fs::write(file, kept.to_json() + "\n");
            written.map_err(|error| Failure::error(error).at(file.display()))?;
            writeln!(
                out,
                "written down; run it again: horolog verify simulate --replay {}",
                file.display()
            )?;
        }
        match found {
            None => Ok(()),
            Some(_) => Err(Failure::not_done_and_told()),
        }
    }

    fn print_trace(&self, trace: &[Line]) -> Result<(), Failure> {
        let filter = TraceFilter {
            nodes: self.node.iter().copied().map(NodeId).collect(),
            partitions: self.partition.iter().copied().map(PartitionId).collect(),
        };
        let mut out = BufWriter::new(io::stdout().lock());
        for line in trace.iter().filter(|line| filter.shows(line)) {
            writeln!(out, "{line}")?;
        }
        Ok(out.flush()?)
    }

    fn shrunk(&self, report: &Report, out: &mut impl Write) -> Result<Scenario, Failure> {
        let effort = Effort {
            runs_max: self.shrink_runs,
            ..Effort::default()
        };
        writeln!(out, "from: {}", report.scenario)?;
        let smaller = shrink(report, effort, |step| eprintln!("{step}"));
        let Some(smaller) = smaller else {
            writeln!(
                out,
                "with exactly these faults it passes, or shows too little: nothing to shrink"
            )?;
            return Ok(report.scenario.clone());
        };
        writeln!(
            out,
            "the smallest of {} runs: {}\nit fails so: {}",
            smaller.runs, smaller.scenario, smaller.violation
        )?;
        if self.save.is_none() {
            writeln!(out, "{}", smaller.scenario.to_json())?;
        }
        Ok(smaller.scenario)
    }
}

fn read_scenario(file: &Path) -> Result<Scenario, Failure> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::usage(error).at(file.display()))?;
    Scenario::from_json(&text).map_err(|wrong| Failure::usage(wrong).at(file.display()))
}

/// `run.edn` becomes `run.bank.edn`.
fn named_after(file: &Path, form: &str) -> PathBuf {
    let ending = file.extension().and_then(|ending| ending.to_str());
    file.with_extension(format!("{form}.{}", ending.unwrap_or("edn")))
}

fn write_histories(file: &Path, report: &Report, out: &mut impl Write) -> Result<(), Failure> {
    for recording in recordings(&report.history) {
        let path = named_after(file, recording.workload);
        let written = std::fs::write(&path, &recording.edn);
        written.map_err(|error| Failure::error(error).at(path.display()))?;
        writeln!(
            out,
            "{} operations: horolog verify check {} --workload {}",
            recording.operations,
            path.display(),
            recording.workload
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_seeds_are_read_or_explained() {
        assert_eq!(parse_seeds("3..17"), Ok(3..17));
        for wrong in ["3", "3..3", "5..2", "a..b", "..", "1..2..3", "-1..2"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_form_has_a_file_of_its_own() {
        let file = |name: &str| named_after(Path::new(name), "bank");
        assert_eq!(file("a/run.edn"), Path::new("a/run.bank.edn"));
        assert_eq!(file("run"), Path::new("run.bank.edn"));
    }
}
