//! `verify jepsen`: the store's claim, attacked on real processes.

use crate::cli::parse_address;
use crate::failure::Failure;
use crate::io::signals::StopSignals;
use crate::io::stopwatch::{Stopwatch, seed};
use crate::text::quantity::parse_clock_bound;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use suite::plan::{self, Pair};
use suite::run::Run;
use suite::runner::{self, Options, Outcome};
use suite::{SuiteError, report};

/// Attack a cluster of real processes, and judge what clients were told
///
/// Starts a cluster of its own behind a proxy, lets clients work on it (--workload), does faults to it
/// meanwhile (--nemesis), heals it, and checks what the clients were told: the anomalies that nothing
/// strictly serializable shows, nodes that end or panic, locks that stay, partitions that stand still too
/// long. Every workload meets every nemesis of the lists, one run each; several nemeses at once are joined
/// by '+'. Each run leaves a folder: history, what the nodes said, a report.
///
/// With --connect the workloads run against a cluster that runs already: they write keys of their own into
/// its default keyspace, so aim them at one without data that you need. Faults are then done by a command
/// of yours (--nemesis-hook), run through the shell with 'begin' or 'end' added, again and again; it must
/// take back at 'end' what it did.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Exit codes: 0 everything held, 1 something did not (the report says what and how to repeat it), 2 wrong
command line.

A seed repeats what is asked and what is done, not the race between real processes: if a run found
something, run its command some times, and keep its folder.

Examples:
  horolog verify jepsen --list
  horolog verify jepsen --workload list-append --nemesis kill-leader --time 30
  horolog verify jepsen --workload bank --nemesis kill-one+partition-halves,transfer+pause-leader
  horolog verify jepsen --workload all --nemesis all --time 60 --out runs
  horolog verify jepsen --connect 10.0.0.1:4001,10.0.0.2:4001 --workload list-append \\
      --nemesis-hook ./cut-a-cable"
)]
pub(crate) struct Jepsen {
    /// What clients ask: names, or all
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    #[arg(default_value = "list-append")]
    workload: Vec<String>,

    /// What is done to the cluster meanwhile: names, or all
    #[arg(long, value_name = "NAME[+NAME],…", value_delimiter = ',')]
    #[arg(default_value = "none", conflicts_with = "connect")]
    nemesis: Vec<String>,

    /// How long the load of each run lasts, seconds; a run takes some more
    #[arg(long, value_name = "S", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(5..=86_400))]
    time: u64,

    /// Of everything that is drawn [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// A new folder for the runs [default: jepsen-SEED]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Nodes of the cluster
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        conflicts_with = "connect"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=15))]
    nodes: u32,

    /// Partitions of the cluster
    #[arg(
        long,
        value_name = "N",
        default_value_t = 4,
        conflicts_with = "connect"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=26))]
    partitions: u32,

    /// Clients, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    clients: u32,

    /// The clock bound of the nodes; they share this machine's clock
    #[arg(long, value_name = "DURATION", default_value = "500us", value_parser = parse_clock_bound)]
    clock_bound: Duration,

    /// A cluster that runs already: addresses of its nodes, divided by commas
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', value_parser = parse_address)]
    connect: Vec<String>,

    /// A command that does a fault to that cluster ('begin') and takes it back ('end')
    #[arg(long, value_name = "COMMAND", requires = "connect")]
    nemesis_hook: Vec<String>,

    /// What the nodes log, as HOROLOG_LOG takes it
    #[arg(long, value_name = "FILTER", default_value = "info")]
    node_log: String,

    /// List workloads and nemeses, and what those wait for that cannot be run
    #[arg(long)]
    list: bool,
}

impl Jepsen {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.list {
            println!("{}", plan::tables());
            return Ok(());
        }
        let pairs = self.pairs()?;
        let options = self.options()?;
        crate::runtime()?.block_on(run_all(&pairs, &options))
    }

    fn pairs(&self) -> Result<Vec<Pair>, Failure> {
        let workloads = plan::workloads(&self.workload).map_err(Failure::usage)?;
        let nemeses = match self.nemesis_hook.as_slice() {
            [] => plan::nemeses(&self.nemesis).map_err(Failure::usage)?,
            hooks => vec![hooks.iter().map(|hook| plan::hooked(hook)).collect()],
        };
        Ok(plan::pairs(&workloads, &nemeses))
    }

    fn options(self) -> Result<Options, Failure> {
        let program = std::env::current_exe();
        let seed = self.seed.unwrap_or_else(|| seed() % 1_000_000);
        let out = self
            .out
            .unwrap_or_else(|| PathBuf::from(format!("jepsen-{seed}")));
        Ok(Options {
            program: program.map_err(Failure::error)?,
            out,
            time: Duration::from_secs(self.time),
            seed,
            nodes: self.nodes as usize,
            partitions: self.partitions,
            clock_bound: self.clock_bound,
            clients: self.clients as usize,
            connect: self.connect,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log: self.node_log,
        })
    }
}

/// How the runs ended.
#[derive(Default)]
struct Tally {
    ran: Vec<Run>,
    right: usize,
    wrong: Vec<String>,
    left_out: Vec<String>,
}

async fn run_all(pairs: &[Pair], options: &Options) -> Result<(), Failure> {
    let mut signals = StopSignals::catch()?;
    println!(
        "{} runs of {} s, seed {}, into {}",
        pairs.len(),
        options.time.as_secs(),
        options.seed,
        options.out.display()
    );
    let mut tally = Tally::default();
    for (number, pair) in (1..).zip(pairs) {
        let clock = Stopwatch::start();
        let place = format!("[{number}/{}] {}", pairs.len(), pair.name());
        println!("{place}");
        let tell = |what: &str| {
            println!(
                "{place}: {what} (second {:.0})",
                clock.elapsed().as_secs_f64()
            );
            // Progress that nobody sees is no reason to stop.
            std::io::stdout().flush().ok();
        };
        // Dropping a run kills the processes that it started.
        let ended = tokio::select! {
            ended = runner::run(pair, options, &tell) => ended,
            why = signals.wait() => {
                return Err(Failure::error(format!("{why}: {} was broken off", pair.name())));
            }
        };
        take(ended, pair, options, &mut tally);
    }
    conclude(&tally, options)
}

fn take(ended: Result<Outcome, SuiteError>, pair: &Pair, options: &Options, tally: &mut Tally) {
    match ended {
        Ok(Outcome::Ran(run)) => {
            println!("{}", report::words(&run));
            match run.is_right() {
                true => tally.right += 1,
                false => tally.wrong.push(run.command.clone()),
            }
            tally.ran.push(*run);
        }
        Ok(Outcome::LeftOut(why)) => {
            println!("{} is left out: {why}\n", pair.name());
            tally.left_out.push(format!("{}: {why}", pair.name()));
        }
        Err(error) => {
            let folder = options.out.join(pair.name());
            println!("{} WRONG: {error}; see {}\n", pair.name(), folder.display());
            tally.wrong.push(options.command(pair));
        }
    }
}

fn conclude(tally: &Tally, options: &Options) -> Result<(), Failure> {
    println!(
        "{} runs were right, {} wrong, {} left out; all in {}",
        tally.right,
        tally.wrong.len(),
        tally.left_out.len(),
        options.out.display()
    );
    for left_out in &tally.left_out {
        println!("left out: {left_out}");
    }
    for command in &tally.wrong {
        println!("WRONG: {command}");
    }
    let index = report::write_index(&options.out, &tally.ran).map_err(Failure::error)?;
    println!("the reports: {}", index.display());
    match tally.wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::not_done_and_told()),
    }
}
