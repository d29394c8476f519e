//! `bench`: a closed loop of clients, each with one operation under way.
//!
//! ```text
//!   load ──► total at one snapshot ──► warm-up ──► measured ──► total at one snapshot
//! ```
//!
//! - Every operation that begins in the measured time is counted, whatever becomes of it.
//! - A transfer moves money between two accounts, so the total never changes; the bench reads it
//!   before and after at one snapshot each, and fails loudly if it did.
//! - A hot counter must have grown by exactly what its clients were told that they added.

mod accounts;
mod load;
mod report;
mod workload;

use crate::cli::{ConnectionArgs, parse_address};
use crate::failure::Failure;
use crate::io::signals::StopSignals;
use crate::io::stopwatch::{Stopwatch, seed};
use crate::local_cluster::{LocalCluster, LocalOptions};
use crate::session::connect;
use crate::text::quantity::{parse_clock_bound, parse_duration};
use accounts::Accounts;
use clap::{Args, ValueEnum};
use report::{Report, Setup, Tally};
use std::cell::Cell;
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinSet, LocalSet};
use wire::SplitMix64;
use wire::client::Client;
use wire::keys::VALUE_BYTES_MAX;
use workload::Client as BenchClient;

/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Move money between two accounts
    Transfer,
    /// Set one key
    Put,
    /// Read one key
    Get,
    /// Add to one counter that all clients share
    Hot,
}

/// How a transfer or an addition is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// As a guard and two additions, sent at once
    Oneshot,
    /// As reads and writes
    Interactive,
    /// As reads that lock, and writes
    Locked,
}

/// Measure throughput and latency
///
/// Each client does one operation after the other. The keys are dealt over all partitions of the
/// default keyspace. 'transfer' checks that no money was made or lost: if the total of all accounts
/// changed, or a commit's outcome could not be learned, it says so and the exit code is 1. 'hot' lets
/// all clients add to one counter, checks that it grew by exactly that much, and tells how evenly the
/// clients were served.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog bench transfer --dev
  horolog bench transfer --connect 127.0.0.1:4001 --clients 64 --seconds 30 --json
  horolog bench transfer --mode interactive --cross 0.1
  horolog bench put --value-bytes 1024 --clients 256
  horolog bench hot --dev
  horolog bench hot --mode locked --clients 64")]
pub(crate) struct Bench {
    /// What the clients do
    workload: Workload,

    /// Addresses of nodes, divided by commas
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        env = "HOROLOG_CONNECT",
        value_delimiter = ',',
        value_parser = parse_address
    )]
    connect: Vec<String>,

    /// Run against a cluster of its own, in this process (3 nodes, 4 partitions, temporary data)
    #[arg(long)]
    dev: bool,

    /// The clock bound of that cluster
    #[arg(long, value_name = "DURATION", default_value = "50us", value_parser = parse_clock_bound)]
    clock_bound: Duration,

    /// Clients, each with one operation under way
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,

    /// Connections that they share
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
    conns: u32,

    /// How long to measure, seconds
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = parse_seconds)]
    seconds: f64,

    /// How long to run before measuring, seconds
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = parse_seconds)]
    warmup: f64,

    /// Accounts, or keys
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,

    /// How a transfer or an addition is written
    #[arg(long, value_name = "MODE", default_value = "oneshot")]
    mode: Mode,

    /// The share of transfers over two partitions, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = parse_share)]
    cross: f64,

    /// Bytes of a value, for put and get; at most 8 MiB
    #[arg(long, value_name = "N", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=VALUE_BYTES_MAX as i64))]
    value_bytes: u32,

    /// Use the accounts of an earlier run and load only those that are missing
    #[arg(long)]
    keep: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let duration = parse_duration(text).or_else(|_| parse_duration(&format!("{text}s")));
    Ok(duration?.as_secs_f64())
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("'{text}' is not a share between 0 and 1"))
}

impl Bench {
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn run(mut self) -> Result<(), Failure> {
        if !self.dev {
            return self.run_connected();
        }
        let cluster = LocalCluster::start(&LocalOptions {
            nodes: None,
            splits: cluster::even_splits(4),
            data: None,
            clock_bound: self.clock_bound,
        })?;
        self.connect = cluster.addresses();
        let ended = self.run_connected();
        let stopped = cluster.stop();
        ended.and(stopped)
    }

    fn run_connected(&self) -> Result<(), Failure> {
        let local = LocalSet::new();
        let report = crate::runtime()?.block_on(local.run_until(self.measure()))?;
        if self.json {
            let json = serde_json::to_string(&report).map_err(Failure::error)?;
            println!("{json}");
        } else {
            println!("{}", report.text());
        }
        report
            .violation()
            .map_or(Ok(()), |what| Err(Failure::error(what)))
    }

    async fn measure(&self) -> Result<Report, Failure> {
        let clients = self.connect_all().await?;
        let accounts = self.accounts(&clients[0]).await?;
        self.load(&clients[0], &accounts).await?;
        let has_total = matches!(self.workload, Workload::Transfer | Workload::Hot);
        let total_before = match has_total {
            true => Some(load::total(&clients[0], &accounts).await?),
            false => None,
        };
        let (tally, measured, successes) = self.drive(&clients, &accounts).await?;
        let mut report = Report::new(self.setup(&accounts), &tally, measured);
        if has_total {
            report.total_before = total_before;
            report.total_after = Some(load::total(&clients[0], &accounts).await?);
        }
        if self.workload == Workload::Hot {
            report.added = Some(successes);
        }
        Ok(report)
    }

    async fn connect_all(&self) -> Result<Vec<Client>, Failure> {
        let connection = ConnectionArgs {
            connect: self.connect.clone(),
            keyspace: "default".to_owned(),
            json: self.json,
        };
        let mut clients = Vec::new();
        for _ in 0..self.conns.min(self.clients) {
            clients.push(connect(&connection).await?);
        }
        Ok(clients)
    }

    async fn accounts(&self, client: &Client) -> Result<Accounts, Failure> {
        let map = client.map().await?;
        let kind = match self.workload {
            Workload::Transfer => "account",
            Workload::Put | Workload::Get => "value",
            Workload::Hot => "counter",
        };
        let count = match self.workload {
            Workload::Hot => 1,
            _ => self.accounts,
        };
        let descriptors = map.partitions.iter().map(|(descriptor, _)| descriptor);
        let accounts = Accounts::new(descriptors, kind, count);
        if accounts.partitions() == 0 {
            return Err(Failure::error(
                "no partition of the default keyspace has room for keys",
            ));
        }
        if self.workload == Workload::Transfer {
            accounts.check_pairs(self.cross).map_err(Failure::usage)?;
        }
        Ok(accounts)
    }

    async fn load(&self, client: &Client, accounts: &Accounts) -> Result<(), Failure> {
        let value = match self.workload {
            Workload::Transfer => load::BALANCE.to_string().into_bytes(),
            Workload::Get => workload::value(self.value_bytes as usize),
            Workload::Hot => b"0".to_vec(),
            Workload::Put => return Ok(()),
        };
        load::load(client, accounts, value.into(), self.keep).await
    }

    fn setup(&self, accounts: &Accounts) -> Setup {
        let is_transfer = self.workload == Workload::Transfer;
        let has_mode = is_transfer || self.workload == Workload::Hot;
        Setup {
            workload: match self.workload {
                Workload::Transfer => "transfer",
                Workload::Put => "put",
                Workload::Get => "get",
                Workload::Hot => "hot",
            },
            mode: has_mode.then_some(match self.mode {
                Mode::Oneshot => "oneshot",
                Mode::Interactive => "interactive",
                Mode::Locked => "locked",
            }),
            clients: self.clients as usize,
            conns: self.conns.min(self.clients) as usize,
            accounts: accounts.count(),
            partitions: accounts.homes().len(),
            cross: is_transfer.then_some(self.cross),
            value_bytes: (!has_mode).then_some(self.value_bytes as usize),
        }
    }

    /// Runs all clients; returns what was counted in the measured time, how long that was, and how many
    /// operations succeeded from the very start.
    async fn drive(
        &self,
        clients: &[Client],
        accounts: &Accounts,
    ) -> Result<(Tally, Duration, u64), Failure> {
        let mut signals = StopSignals::catch()?;
        let accounts = Rc::new(accounts.clone());
        let run = Rc::new(Run {
            started: Stopwatch::start(),
            warmup: Duration::from_secs_f64(self.warmup),
            end: Cell::new(Duration::from_secs_f64(self.warmup + self.seconds)),
            successes: Cell::new(0),
        });
        let mut random = SplitMix64::new(seed());
        let mut running = JoinSet::new();
        for number in 0..self.clients as usize {
            let client = BenchClient {
                client: clients[number % clients.len()].clone(),
                accounts: accounts.clone(),
                random: random.fork(),
                workload: self.workload,
                mode: self.mode,
                cross: self.cross,
                value: workload::value(self.value_bytes as usize).into(),
            };
            running.spawn_local(client.run(run.clone()));
        }
        let mut tally = Tally::new();
        let mut tick = tokio::time::interval(TELL_EVERY);
        let mut before = 0;
        loop {
            tokio::select! {
                ended = running.join_next() => match ended {
                    None => break,
                    Some(ended) => tally.add(&ended.expect("nobody cancels a client, and none panics")),
                },
                _ = tick.tick() => before = run.tell(before, self.json),
                _ = signals.wait() => run.stop(),
            }
        }
        let measured = run.end.get().saturating_sub(run.warmup);
        Ok((tally, measured, run.successes.get()))
    }
}

/// What the clients of a run share.
#[derive(Debug)]
struct Run {
    started: Stopwatch,
    /// Until here nothing is counted.
    warmup: Duration,
    /// From here on nothing is begun.
    end: Cell<Duration>,
    /// Operations that succeeded, from the very start.
    successes: Cell<u64>,
}

impl Run {
    /// Ends it now.
    fn stop(&self) {
        self.end.set(self.end.get().min(self.started.elapsed()));
    }

    /// One line of progress; returns what to count from the next time.
    fn tell(&self, before: u64, json: bool) -> u64 {
        let successes = self.successes.get();
        if !json && std::io::stderr().is_terminal() {
            let seconds = self.started.elapsed().as_secs();
            let phase = if self.started.elapsed() < self.warmup {
                "warming up"
            } else {
                "measuring"
            };
            eprintln!("{seconds:>4} s  {phase}  {}/s", successes - before);
        }
        successes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_unit() {
        assert_eq!(parse_seconds("2"), Ok(2.0));
        assert_eq!(parse_seconds("500ms"), Ok(0.5));
        assert!(parse_seconds("soon").is_err());
        assert_eq!(parse_share("0.25"), Ok(0.25));
        assert!(parse_share("1.5").is_err());
        assert!(parse_share("NaN").is_err());
    }
}
