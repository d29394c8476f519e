//! `start`: one node of a cluster.

use crate::failure::Failure;
use crate::io::open_files;
use crate::io::signals::StopSignals;
use crate::splits;
use crate::text::bytes::Text;
use crate::text::quantity::{micros, parse_bytes, parse_clock_bound};
use clap::Args;
use clock::io::BoundSource;
use node::io::server::{Server, ServerHandle, ServerOptions};
use node::{HELD_BACK_BYTES_MAX, Timing};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;
use wire::io::ListenerLimits;

/// So long a node that stops may take to hand over what it leads.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether the node has stopped by itself.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Start a node of a cluster
///
/// The nodes named in --join found the cluster together, in whatever order they are started: there
/// is no separate command for it. All of them are given the same list, in any order. A node that is
/// started again on its data comes back as the one it was. ^C or SIGTERM hands over the partitions that
/// it leads and stops it; a second one stops it at once. Nothing is lost if it is killed.
///
/// The clock: without --clock-bound the kernel must vouch for its clock (chrony or ntpd). The bound
/// is a promise: if a machine's clock is off by more, transactions may be ordered wrongly.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog start --data /var/lib/horolog --listen 127.0.0.1:4001 \\
      --join 127.0.0.1:4001,127.0.0.1:4002,127.0.0.1:4003 --clock-bound 500us
  horolog start --data ./data --listen 127.0.0.1:4001 --join 127.0.0.1:4001 --single")]
pub(crate) struct Start {
    /// Where the node keeps its data; made if it is missing
    #[arg(long, value_name = "DIR", env = "HOROLOG_DATA")]
    data: PathBuf,

    /// Where it listens, for clients and nodes
    #[arg(long, value_name = "ADDRESS", env = "HOROLOG_LISTEN")]
    listen: String,

    /// How others reach it, if not at the address it listens at; as --join names it
    #[arg(long, value_name = "ADDRESS", env = "HOROLOG_ADVERTISE")]
    advertise: Option<String>,

    /// The nodes that found the cluster, this one among them
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',', required = true)]
    #[arg(env = "HOROLOG_JOIN")]
    join: Vec<String>,

    /// Found a cluster of this node alone: its data has no copy elsewhere
    #[arg(long)]
    single: bool,

    /// The bound that you vouch for: true time always lies within it of this machine's clock
    #[arg(long, value_name = "DURATION", value_parser = parse_clock_bound)]
    #[arg(env = "HOROLOG_CLOCK_BOUND")]
    clock_bound: Option<Duration>,

    /// With less than this free on its disk, the node's leaders refuse writes; 0: never. Reads go on.
    /// Unless it is given: 1GiB, or a twentieth of a small disk
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    #[arg(env = "HOROLOG_DISK_RESERVE")]
    disk_reserve: Option<u64>,

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

    /// Serve metrics for Prometheus there, at /metrics; on this machine only unless --insecure
    #[arg(long, value_name = "ADDRESS", env = "HOROLOG_METRICS")]
    metrics: Option<String>,

    /// Client connections at a time; one beyond is told to ask another node
    #[arg(long, value_name = "N", default_value_t = ListenerLimits::default().connections_max as u32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_max: u32,

    /// How much log the others keep for a node that is away, bytes; then it gets snapshots instead
    #[arg(long, value_name = "BYTES", default_value_t = HELD_BACK_BYTES_MAX)]
    #[arg(env = "HOROLOG_HELD_BACK_MAX")]
    held_back_max: u64,

    /// Small caches, segments and tables: for several nodes on one machine
    #[arg(long)]
    small: bool,

    /// Listen beyond this machine without encryption and passwords
    #[arg(long)]
    insecure: bool,
}

impl Start {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let address = resolve("--listen", &self.listen)?;
        let own = self
            .advertise
            .clone()
            .unwrap_or_else(|| self.listen.clone());
        self.check(address, &own)?;
        let listener = TcpListener::bind(address)
            .map_err(|error| Failure::error(format!("cannot listen at {address}: {error}")))?;
        let metrics = self.metrics_listener()?;
        let limits = ListenerLimits {
            connections_max: self.connections_max as usize,
            ..ListenerLimits::default()
        };
        open_files::allow(self.connections_max);
        let splits = splits::chosen(&self.split_at, self.partitions);
        let clock = match self.clock_bound {
            Some(bound) => BoundSource::Fixed(bound),
            None => BoundSource::Kernel,
        };
        let server = Server::start(ServerOptions {
            data: self.data,
            listener,
            advertise: Some(own),
            join: self.join,
            splits,
            clock,
            disk_reserve: self.disk_reserve,
            small: self.small,
            held_back_bytes_max: self.held_back_max,
            timing: Timing::default(),
            limits,
            metrics,
        });
        let server = server.map_err(Failure::error)?;
        let bound = self.clock_bound.map_or_else(
            || "as the kernel says".to_owned(),
            |bound| format!("±{}", micros(bound.as_micros() as u64)),
        );
        println!("listening at {}; clock bound {bound}", server.address());
        crate::runtime()?.block_on(until_stopped(server))
    }

    fn metrics_listener(&self) -> Result<Option<TcpListener>, Failure> {
        let Some(at) = &self.metrics else {
            return Ok(None);
        };
        let address = resolve("--metrics", at)?;
        if !address.ip().is_loopback() && !self.insecure {
            return Err(Failure::usage(format!(
                "--metrics {address} can be reached from other machines, and tells anyone how this node fares. If the network itself is trusted, add --insecure"
            )));
        }
        let listener = TcpListener::bind(address).map_err(|error| {
            Failure::error(format!("cannot serve metrics at {address}: {error}"))
        })?;
        let at = listener.local_addr().map_err(Failure::error)?;
        println!("metrics at http://{at}/metrics");
        Ok(Some(listener))
    }

    /// Refuses what would be a mistake.
    fn check(&self, address: SocketAddr, own: &str) -> Result<(), Failure> {
        if !address.ip().is_loopback() && !self.insecure {
            return Err(Failure::usage(format!(
                "{address} can be reached from other machines, and there is neither encryption nor a password yet: anyone who reaches it can read and write everything. If the network itself is trusted, add --insecure"
            )));
        }
        if !self.join.iter().any(|founder| founder == own) {
            return Err(Failure::usage(format!(
                "--join does not name this node: add {own} to the list, written in just this way, or say with --advertise how the list names it"
            )));
        }
        if self.join.len() == 1 && !self.single {
            return Err(Failure::usage(
                "--join names this node alone: its data would have no copy elsewhere. If that is wanted, add --single",
            ));
        }
        if self.join.len() > 1 && self.single {
            return Err(Failure::usage("--single, but --join names several nodes"));
        }
        Ok(())
    }
}

fn resolve(option: &str, listen: &str) -> Result<SocketAddr, Failure> {
    let resolved = listen.to_socket_addrs();
    let wrong = |why: String| {
        Failure::usage(format!(
            "{option} {listen}: {why}; write HOST:PORT, for example 127.0.0.1:4001"
        ))
    };
    let mut addresses = resolved.map_err(|error| wrong(error.to_string()))?;
    addresses
        .next()
        .ok_or_else(|| wrong("no address".to_owned()))
}

async fn until_stopped(server: ServerHandle) -> Result<(), Failure> {
    let mut signals = StopSignals::catch()?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut standing = server.standing();
    let mut is_leaving = false;
    loop {
        tokio::select! {
            why = signals.wait() => {
                eprintln!("{why}: stopping");
                if is_leaving {
                    server.stop();
                } else {
                    server.leave(LEAVE_WITHIN);
                }
                is_leaving = true;
            }
            changed = standing.changed() => match changed {
                Ok(()) => eprintln!("{}", *standing.borrow_and_update()),
                Err(_) => return server.join().map_err(Failure::error),
            },
            _ = look.tick() => {
                if server.is_finished() {
                    return server.join().map_err(Failure::error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        start: Start,
    }

    fn check(listen: &str, join: &str, more: &[&str]) -> Result<(), String> {
        let line = ["start", "--data", "d", "--listen", listen, "--join", join];
        let start = Line::parse_from(line.iter().chain(more)).start;
        let own = start.advertise.clone().unwrap_or(listen.to_owned());
        let checked = start.check(resolve("--listen", listen).unwrap(), &own);
        checked.map_err(|failure| failure.to_string())
    }

    #[test]
    fn mistakes_are_refused_with_the_remedy() {
        let three = "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3";
        assert_eq!(check("127.0.0.1:1", three, &[]), Ok(()));
        let one = "127.0.0.1:1";
        assert!(check(one, one, &[]).unwrap_err().contains("--single"));
        assert_eq!(check(one, one, &["--single"]), Ok(()));
        assert!(check(one, three, &["--single"]).is_err());
        let other = check("127.0.0.1:9", three, &[]).unwrap_err();
        assert!(other.contains("add 127.0.0.1:9"), "{other}");
        let beyond = check("0.0.0.0:1", "a:1,b:1", &["--advertise", "a:1"]).unwrap_err();
        assert!(beyond.contains("--insecure"), "{beyond}");
        let more = ["--advertise", "a:1", "--insecure"];
        assert_eq!(check("0.0.0.0:1", "a:1,b:1", &more), Ok(()));
        assert!(resolve("--listen", "nowhere").is_err());
    }
}
