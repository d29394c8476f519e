//! `dev`: a cluster on this machine, in this process.

use super::shell;
use crate::cli::ConnectionArgs;
use crate::failure::Failure;
use crate::io::line_input;
use crate::io::signals::StopSignals;
use crate::io::stopwatch::Stopwatch;
use crate::local_cluster::{LocalCluster, LocalOptions};
use crate::session::Session;
use crate::splits;
use crate::text::bytes::Text;
use crate::text::quantity::{micros, parse_clock_bound};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// How often it is looked whether a node has stopped by itself.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Run a whole cluster on this machine, with a shell
///
/// Real nodes that talk over real sockets, in one process. On a terminal it opens a shell; ^D, ^C twice
/// or 'exit' ends shell and cluster. Otherwise it runs until ^C or SIGTERM. Without --data its data
/// goes when it ends; with --data it is there again the next time, at the same addresses.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog dev
  horolog dev --data ./dev-data
  horolog dev --nodes 5 --split-at g,n,t")]
pub(crate) struct Dev {
    /// How many nodes [default: 3, or as many as the data has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=15))]
    nodes: Option<u32>,

    /// Into how many partitions the default keyspace is divided at founding, spread over a to z
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=splits::PARTITIONS_MAX))]
    partitions: u32,

    /// The keys at which it is divided instead
    #[arg(
        long,
        value_name = "KEY,…",
        value_delimiter = ',',
        conflicts_with = "partitions"
    )]
    split_at: Vec<Text>,

    /// Where the nodes keep their data; made if it is missing
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Keep nothing: the data goes when the cluster ends (so it is without --data)
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,

    /// The clock bound of all nodes; they share this machine's clock, so it may be small
    #[arg(long, value_name = "DURATION", default_value = "50us")]
    #[arg(value_parser = parse_clock_bound)]
    clock_bound: Duration,
}

impl Dev {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let started = Stopwatch::start();
        let cluster = LocalCluster::start(&LocalOptions {
            nodes: self.nodes,
            splits: splits::chosen(&self.split_at, self.partitions),
            data: self.data,
            clock_bound: self.clock_bound,
        })?;
        let runtime = crate::runtime()?;
        let ended = runtime.block_on(serve(&cluster, self.clock_bound, started));
        let stopped = cluster.stop();
        ended.and(stopped)
    }
}

async fn serve(
    cluster: &LocalCluster,
    clock_bound: Duration,
    started: Stopwatch,
) -> Result<(), Failure> {
    let mut signals = StopSignals::catch()?;
    let connection = ConnectionArgs {
        connect: cluster.addresses(),
        keyspace: "default".to_owned(),
        json: false,
    };
    announce(cluster, clock_bound);
    let mut session = tokio::select! {
        session = ready(&connection) => session?,
        why = ended(cluster) => return why,
        why = signals.wait() => { eprintln!("{why}: stopping"); return Ok(()); }
    };
    println!("ready after {:.1} s", started.elapsed().as_secs_f64());
    if line_input::is_interactive() {
        println!("'help' lists what the shell can do; 'exit', ^D or ^C twice ends the cluster");
        tokio::select! {
            ended = shell::interact(&mut session, &mut signals) => ended,
            why = ended(cluster) => why,
        }
    } else {
        tokio::select! {
            why = signals.wait() => { eprintln!("{why}: stopping"); Ok(()) }
            why = ended(cluster) => why,
        }
    }
}

fn announce(cluster: &LocalCluster, clock_bound: Duration) {
    let addresses = cluster.addresses();
    let nodes = match addresses.len() {
        1 => "one node".to_owned(),
        many => format!("{many} nodes"),
    };
    println!(
        "{nodes} in one process, clock bound ±{} (all share this machine's clock)",
        micros(clock_bound.as_micros() as u64)
    );
    for (node, address) in cluster.nodes() {
        println!("  {node}  {address}");
    }
    let directory = cluster.directory().display();
    match (cluster.is_temporary(), cluster.is_resumed()) {
        (true, _) => println!("data in {directory}, which goes with the cluster (see --data)"),
        (false, false) => println!("data in {directory}"),
        (false, true) => println!("data in {directory}, from an earlier run"),
    }
    println!(
        "from elsewhere: export HOROLOG_CONNECT={}",
        addresses.join(",")
    );
}

/// A session, once every partition answers.
async fn ready(connection: &ConnectionArgs) -> Result<Session, Failure> {
    let mut session = Session::open(connection).await?;
    session.touch_every_partition().await?;
    Ok(session)
}

/// Returns when a node has stopped by itself; why is told when the cluster is stopped.
async fn ended(cluster: &LocalCluster) -> Result<(), Failure> {
    let mut look = tokio::time::interval(LOOK_EVERY);
    while !cluster.has_failed() {
        look.tick().await;
    }
    eprintln!("a node has stopped by itself");
    Ok(())
}
