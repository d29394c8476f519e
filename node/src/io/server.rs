//! One node of a cluster on a real machine.

use super::metrics::{self, Scrape};
use super::timer::Timer;
use crate::config::{NodeConfig, Timing};
use crate::disk_space::DiskSpace;
use crate::event::{Effect, Event};
use crate::node::{Node, NodeError};
use clock::io::{BoundSource, MachineClock, NotVouched};
use clock::{Now, Timestamp};
use partition::log::io::{LogOptions, LogReport, LogSender, LogTask, LogThread, WriteAheadLog};
use partition::log::{LogError, RecoveredLog};
use partition::versions::io::{FjallStore, StoreOptions, StoreThread};
use partition::versions::{StoreError, StoreReport};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::{oneshot, watch};
use wire::handshake::Membership;
use wire::ids::NodeId;
use wire::io::{Incoming, ListenerLimits, PeerChannel, SharedIdentity};
use wire::keys::Key;

/// What came in from sockets and waits for the node thread; beyond this, sockets are not read.
const INCOMING_MAX: usize = 4096;
/// The most events of one turn. A turn that takes in more would make its first answers wait for its last.
const TURN_EVENTS_MAX: usize = 512;

/// So much of a disk stays free unless something else was said, bytes.
pub const DISK_RESERVE_MAX: u64 = 1024 * 1024 * 1024;
/// And not more than such a part of the disk.
const DISK_RESERVE_PART: u64 = 20;
/// How often it is looked how much is free.
const LOOK_AT_DISK_EVERY: Duration = Duration::from_secs(1);
/// With more than this waiting for the log or for the store, bytes, writes have to wait.
const BACKLOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How a server is started.
#[derive(Debug)]
pub struct ServerOptions {
    /// Where its log and its store live; made if it is missing.
    pub data: PathBuf,
    /// Where it listens.
    pub listener: TcpListener,
    /// How others reach it, as the list of founders names it. `None`: the listener's address.
    pub advertise: Option<String>,
    /// The nodes that found the cluster together, this one among them.
    pub join: Vec<String>,
    /// The borders between the first partitions. Used at founding only.
    pub splits: Vec<Key>,
    /// What vouches for the clock.
    pub clock: BoundSource,
    /// So much is to stay free on the disk, bytes; `None`: [`DISK_RESERVE_MAX`], or a twentieth of a
    /// small disk.
    pub disk_reserve: Option<u64>,
    /// Small caches, segments and memtables: several nodes share one machine.
    pub small: bool,
    /// So much log is kept for a node that is away, see [`NodeConfig::held_back_bytes_max`].
    pub held_back_bytes_max: u64,
    /// Times.
    pub timing: Timing,
    /// What connections may cost.
    pub limits: ListenerLimits,
    /// Where metrics are served, if they are.
    pub metrics: Option<TcpListener>,
}

/// Why a server did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nothing vouches for the clock.
    #[error(transparent)]
    Clock(#[from] NotVouched),
    /// The log cannot be opened or written.
    #[error("{0}{remedy}", remedy = remedy_of_log(.0))]
    Log(#[from] LogError),
    /// The store cannot be opened, read or written.
    #[error("{0}{remedy}", remedy = remedy_of_store(.0))]
    Store(#[from] StoreError),
    /// The node's own state does not fit.
    #[error("{0}{remedy}", remedy = remedy_of_node(.0))]
    Node(#[from] NodeError),
    /// A file or socket.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// The log or store failed while the node ran. What it had acknowledged is safe; it must not go on.
    #[error("the node stopped because its {what} failed: {why}")]
    Failed {
        /// Log or store.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A bug: the node thread panicked. The message went to standard error.
    #[error("the node stopped because an invariant was violated; the message is on standard error")]
    Panicked,
}

/// What helps where damage was found.
const REBUILD: &str = ": if the other nodes are well, 'horolog rebuild --data DIR' drops what is here, and \
                       the next start has them give it again";

fn remedy_of_log(error: &LogError) -> &'static str {
    match error {
        LogError::Damaged { .. } | LogError::Contradiction(_) | LogError::UnknownFormat(_) => {
            REBUILD
        }
        _ => "",
    }
}

fn remedy_of_store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Damaged(_) => REBUILD,
        _ => "",
    }
}

fn remedy_of_node(error: &NodeError) -> &'static str {
    match error {
        NodeError::Store(error) => remedy_of_store(error),
        NodeError::Damaged { .. } | NodeError::Founding(_) => "",
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ServerError {
    let what = what.into();
    move |error| ServerError::Io { what, error }
}

/// A node that runs on threads of its own.
#[derive(Debug)]
pub struct Server;

/// A running [`Server`].
#[derive(Debug)]
pub struct ServerHandle {
    address: SocketAddr,
    stop: mpsc::UnboundedSender<Report>,
    standing: watch::Receiver<String>,
    thread: JoinHandle<Result<(), ServerError>>,
}

impl ServerHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the node stands on its way into a cluster, in words; changes as that does.
    pub fn standing(&self) -> watch::Receiver<String> {
        self.standing.clone()
    }

    /// Asks it to hand over the leaderships that it has, and then to stop; after `patience` it stops
    /// with those that nobody could take. How far it is, [`ServerHandle::standing`] tells.
    pub fn leave(&self, patience: Duration) {
        // A server that has stopped already needs no asking.
        self.stop.send(Report::Leave { patience }).ok();
    }

    /// Asks it to stop at once. What it has acknowledged is durable already.
    pub fn stop(&self) {
        // A server that has stopped already needs no asking.
        self.stop.send(Report::Stop).ok();
    }

    /// Whether it has stopped.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until it has stopped, and says why if it did so by itself.
    pub fn join(self) -> Result<(), ServerError> {
        self.thread.join().unwrap_or(Err(ServerError::Panicked))
    }
}

/// What the node's own threads report.
enum Report {
    Log(LogReport),
    Store(StoreReport),
    Leave {
        patience: Duration,
    },
    /// Somebody wants to know the numbers.
    Scrape(oneshot::Sender<Scrape>),
    Stop,
}

impl Server {
    /// Opens clock, log and store, and starts the node. Returns once it listens.
    pub fn start(options: ServerOptions) -> Result<ServerHandle, ServerError> {
        let address = options
            .listener
            .local_addr()
            .map_err(io_error("the listening address"))?;
        let (reports, inbox) = mpsc::unbounded_channel();
        let (ready, started) = oneshot::channel();
        let (tell, standing) = watch::channel(String::new());
        let stop = reports.clone();
        let thread = std::thread::Builder::new()
            .name(format!("node-{}", address.port()))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = runtime.map_err(io_error("the node thread's runtime"))?;
                runtime.block_on(async move {
                    let running = Running::open(options, address, reports, inbox, tell).await?;
                    // Nobody waits for a server whose starter has gone.
                    ready.send(()).ok();
                    running.run().await
                })
            })
            .map_err(io_error("a thread for the node"))?;
        match started.blocking_recv() {
            Ok(()) => Ok(ServerHandle {
                address,
                stop,
                standing,
                thread,
            }),
            Err(_) => Err(thread
                .join()
                .unwrap_or(Err(ServerError::Panicked))
                .err()
                .unwrap_or(ServerError::Failed {
                    what: "start",
                    why: "it ended at once".to_owned(),
                })),
        }
    }
}

/// A node that hands over what it leads before it stops.
struct Leaving {
    patience: Duration,
    /// Known from the first turn on.
    until: Option<Duration>,
    led: usize,
}

impl Leaving {
    fn new(patience: Duration, led: usize) -> Leaving {
        Leaving {
            patience,
            until: None,
            led,
        }
    }

    fn describe(&self, led_still: usize, is_over: bool) -> String {
        let led = self.led;
        match (led_still, is_over) {
            (_, false) => format!("handing over the leadership of {led} partitions"),
            (0, true) => format!("handed over the leadership of all {led} partitions"),
            (still, true) => format!(
                "stops while it leads {still} of {led} partitions: no other node could take them"
            ),
        }
    }
}

/// The node thread's own.
struct Running {
    node: Node,
    clock: MachineClock,
    timer: Timer,
    log: LogThread,
    log_tasks: LogSender,
    store: StoreThread,
    sockets: wire::io::Server,
    identity: SharedIdentity,
    incoming: mpsc::Receiver<Incoming>,
    incoming_sender: mpsc::Sender<Incoming>,
    inbox: mpsc::UnboundedReceiver<Report>,
    standing: watch::Sender<String>,
    data: PathBuf,
    disk_reserve: Option<u64>,
    look_at_disk: Duration,
    /// It is a member and has said so.
    is_standing_final: bool,
    leaving: Option<Leaving>,
    /// By the address that is dialled.
    channels: BTreeMap<String, PeerChannel>,
    /// Which address leads to which node.
    routes: BTreeMap<NodeId, String>,
}

impl Running {
    async fn open(
        options: ServerOptions,
        address: SocketAddr,
        reports: mpsc::UnboundedSender<Report>,
        inbox: mpsc::UnboundedReceiver<Report>,
        standing: watch::Sender<String>,
    ) -> Result<Running, ServerError> {
        let mut clock = MachineClock::open(options.clock)?;
        let (wal, recovered) = open_log(&options)?;
        let seed = seed(address, &clock.now());
        let store = open_store(&options, seed)?;
        let advertised = options.advertise.unwrap_or_else(|| address.to_string());
        let mut config = NodeConfig::new(advertised.clone(), options.join, seed);
        config.splits = options.splits;
        config.timing = options.timing;
        config.held_back_bytes_max = options.held_back_bytes_max;
        config.clock_source = match options.clock {
            BoundSource::Kernel => "kernel (adjtimex)".to_owned(),
            BoundSource::Fixed(_) => "fixed (--clock-bound)".to_owned(),
        };
        // Opening the store may have taken long: by the time before it, every election would be due.
        let node = Node::new(config, recovered, &store, &clock.now())?;
        if let Some(listener) = options.metrics {
            serve_metrics(listener, reports.clone())?;
        }
        let log_reports = reports.clone();
        let log = LogThread::spawn(wal, move |report| {
            // The node thread ends before its log thread does.
            log_reports.send(Report::Log(report)).ok();
        });
        let store = StoreThread::spawn(store, move |report| {
            reports.send(Report::Store(report)).ok();
        });
        let identity = SharedIdentity::new(advertised, None);
        let (incoming_sender, incoming) = mpsc::channel(INCOMING_MAX);
        options
            .listener
            .set_nonblocking(true)
            .map_err(io_error("the listener"))?;
        let listener = tokio::net::TcpListener::from_std(options.listener);
        let listener = listener.map_err(io_error("the listener"))?;
        Ok(Running {
            sockets: wire::io::serve_within(
                options.limits,
                listener,
                identity.clone(),
                incoming_sender.clone(),
            ),
            timer: Timer::new().map_err(io_error("a timer"))?,
            node,
            clock,
            log_tasks: log.sender(),
            log,
            store,
            identity,
            incoming,
            incoming_sender,
            inbox,
            standing,
            data: options.data,
            disk_reserve: options.disk_reserve,
            look_at_disk: Duration::ZERO,
            is_standing_final: false,
            leaving: None,
            channels: BTreeMap::new(),
            routes: BTreeMap::new(),
        })
    }

    async fn run(mut self) -> Result<(), ServerError> {
        let ended = self.turns().await;
        let Running {
            log,
            log_tasks,
            store,
            ..
        } = self;
        // Each thread ends when nobody can send to it any more.
        drop(log_tasks);
        log.join();
        store.join();
        ended
    }

    async fn turns(&mut self) -> Result<(), ServerError> {
        let mut events = Vec::new();
        let mut incoming = Vec::new();
        let mut reports = Vec::new();
        let mut effects = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = self.inbox.recv_many(&mut reports, TURN_EVENTS_MAX) => {}
                _ = self.incoming.recv_many(&mut incoming, TURN_EVENTS_MAX) => {}
                fired = self.timer.fired() => fired.map_err(io_error("the timer"))?,
            }
            // What else is there already belongs to the same turn.
            while reports.len() < TURN_EVENTS_MAX {
                let Ok(report) = self.inbox.try_recv() else {
                    break;
                };
                reports.push(report);
            }
            while incoming.len() < TURN_EVENTS_MAX {
                let Ok(message) = self.incoming.try_recv() else {
                    break;
                };
                incoming.push(message);
            }
            for report in reports.drain(..) {
                match report {
                    Report::Stop => return Ok(()),
                    Report::Leave { patience } => {
                        self.leaving
                            .get_or_insert(Leaving::new(patience, self.node.leads()));
                        events.push(Event::Leave);
                    }
                    Report::Scrape(to) => {
                        let now = self.clock.now();
                        let scrape = Scrape {
                            status: self.node.told_status(&now),
                            counters: self.node.counters().clone(),
                            listener: self.sockets.counts(),
                        };
                        // Whoever asked may have gone.
                        to.send(scrape).ok();
                    }
                    Report::Log(LogReport::Durable { sequence }) => {
                        events.push(Event::LogDurable { sequence });
                    }
                    Report::Log(LogReport::Failed { why }) => {
                        return Err(ServerError::Failed { what: "log", why });
                    }
                    Report::Store(StoreReport::Failed { why }) => {
                        return Err(ServerError::Failed { what: "store", why });
                    }
                    Report::Store(report) => events.push(Event::Store(report)),
                }
            }
            events.extend(
                incoming
                    .drain(..)
                    .filter_map(|message| self.event_of(message)),
            );
            // Read after the last byte of every request of this turn has arrived (R1).
            let now = self.clock.now();
            self.look_at_disk(&now)?;
            if events.is_empty() {
                self.node.step(&now, Event::Wake);
            }
            for event in events.drain(..) {
                self.node.step(&now, event);
            }
            self.node.flush(&now, &mut effects);
            for effect in effects.drain(..) {
                self.do_effect(effect)?;
            }
            self.tell_standing();
            if self.has_left(&now) {
                return Ok(());
            }
            let wake = self.node.next_wake(&now).unwrap_or(Duration::from_secs(1));
            self.timer.set(wake).map_err(io_error("the timer"))?;
            // Under load there is always a next event; the sockets' tasks must have their turn too.
            tokio::task::yield_now().await;
        }
    }

    /// Whether a node that is to leave has handed over what it led, or waited for long enough.
    fn has_left(&mut self, now: &Now) -> bool {
        let Some(leaving) = &mut self.leaving else {
            return false;
        };
        let left = self.node.yet_to_hand_over(now);
        let latest = now.monotonic + leaving.patience;
        let until = *leaving.until.get_or_insert(latest);
        let is_over = left == 0 || now.monotonic >= until;
        let description = leaving.describe(self.node.leads(), is_over);
        self.standing.send_if_modified(|before| {
            let changed = *before != description;
            *before = description;
            changed
        });
        is_over
    }

    /// How much room there is, and how much waits to be written.
    fn look_at_disk(&mut self, now: &clock::Now) -> Result<(), ServerError> {
        self.node.set_log_bytes(self.log.bytes_on_disk());
        let waiting = self
            .log_tasks
            .waiting_bytes()
            .max(self.store.waiting_bytes());
        self.node.set_backlogged(waiting > BACKLOG_BYTES_MAX);
        if now.monotonic >= self.look_at_disk {
            self.look_at_disk = now.monotonic + LOOK_AT_DISK_EVERY;
            self.node
                .set_disk_space(disk_space(&self.data, self.disk_reserve)?);
        }
        Ok(())
    }

    /// Tells how far the founding is, until it is done.
    fn tell_standing(&mut self) {
        if self.is_standing_final {
            return;
        }
        self.is_standing_final = self.node.me().is_some();
        let now = self.node.standing();
        self.standing.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    fn event_of(&mut self, message: Incoming) -> Option<Event> {
        match message {
            Incoming::Client {
                connection,
                number,
                request,
            } => Some(Event::Client {
                connection,
                number,
                request,
            }),
            Incoming::ClientGone { connection } => Some(Event::ClientGone { connection }),
            Incoming::Peer { from, frame, .. } => Some(Event::Peer { from, frame }),
            Incoming::PeerDialled { node, address, .. } => {
                // It may have moved: from now on it is dialled where it says that it listens.
                if !self.routes.contains_key(&node) {
                    self.channel_to(&address).dial_now();
                }
                None
            }
            Incoming::PeerUp { node, address } => {
                self.routes.insert(node, address.clone());
                Some(Event::PeerUp { node, address })
            }
            Incoming::PeerDown { node, address } => {
                if self.routes.get(&node) == Some(&address) {
                    self.routes.remove(&node);
                    return Some(Event::PeerDown { node });
                }
                None
            }
            Incoming::Founding { from, message } => Some(Event::Founding { from, message }),
        }
    }

    fn channel_to(&mut self, address: &str) -> &PeerChannel {
        self.channels.entry(address.to_owned()).or_insert_with(|| {
            let (identity, incoming) = (self.identity.clone(), self.incoming_sender.clone());
            PeerChannel::open(address.to_owned(), identity, incoming)
        })
    }

    fn do_effect(&mut self, effect: Effect) -> Result<(), ServerError> {
        match effect {
            Effect::Reply {
                connection,
                number,
                reply,
            } => {
                self.sockets.reply(connection, number, &reply);
            }
            Effect::Send { to, frame } => self.send(to, frame),
            Effect::Founding { to, message } => {
                if let Err(error) = self.channel_to(&to).send_founding(message) {
                    tracing::error!(to, %error, "a founding message cannot be encoded");
                }
            }
            Effect::Log(batch) => self.write(LogTask::Write(batch))?,
            Effect::Discard { partition, up_to } => {
                self.write(LogTask::Discard { partition, up_to })?;
            }
            Effect::Store(task) => self.store.send(task),
            Effect::Identity {
                cluster,
                node,
                start,
                members,
            } => {
                self.identity.set_membership(Membership {
                    cluster,
                    node,
                    start,
                });
                for (_, address) in members.iter().filter(|(member, _)| *member != node) {
                    self.channel_to(address);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, task: LogTask) -> Result<(), ServerError> {
        self.log_tasks.send(task).map_err(|_| ServerError::Failed {
            what: "log",
            why: "its thread has ended; the reason was logged".to_owned(),
        })
    }

    fn send(&mut self, to: NodeId, frame: wire::message::PeerFrame) {
        let channel = self
            .routes
            .get(&to)
            .and_then(|address| self.channels.get(address));
        let Some(channel) = channel else { return };
        match channel.send(to, frame) {
            // A lost connection is told as such; what is lost with it is said again by the protocol.
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%to, %error, "a frame for another node cannot be encoded")
            }
        }
    }
}

fn serve_metrics(
    listener: TcpListener,
    reports: mpsc::UnboundedSender<Report>,
) -> Result<(), ServerError> {
    listener
        .set_nonblocking(true)
        .map_err(io_error("the listener for metrics"))?;
    let listener = tokio::net::TcpListener::from_std(listener);
    let listener = listener.map_err(io_error("the listener for metrics"))?;
    let ask = move |to| {
        // A node that has ended drops the question, and the asker hears that.
        reports.send(Report::Scrape(to)).ok();
    };
    tokio::spawn(metrics::serve(listener, std::sync::Arc::new(ask)));
    Ok(())
}

fn open_log(options: &ServerOptions) -> Result<(WriteAheadLog, RecoveredLog), ServerError> {
    let directory = options.data.join("log");
    create_directory(&directory)?;
    let small = LogOptions {
        segment_bytes: 16 * 1024 * 1024,
    };
    let log_options = if options.small {
        small
    } else {
        LogOptions::default()
    };
    Ok(WriteAheadLog::open(&directory, log_options)?)
}

fn open_store(options: &ServerOptions, seed: u64) -> Result<FjallStore, ServerError> {
    let directory = options.data.join("store");
    create_directory(&directory)?;
    let store_options = if options.small {
        StoreOptions::small()
    } else {
        StoreOptions::default()
    };
    Ok(FjallStore::open(&directory, store_options.spread_by(seed))?)
}

/// What is free on the disk that a directory lies on.
fn disk_space(data: &Path, reserve: Option<u64>) -> Result<DiskSpace, ServerError> {
    let what = || format!("looking at the disk of {}", data.display());
    let disk = rustix::fs::statvfs(data).map_err(|errno| io_error(what())(errno.into()))?;
    let usual = || (disk.f_blocks * disk.f_frsize / DISK_RESERVE_PART).min(DISK_RESERVE_MAX);
    Ok(DiskSpace {
        free: disk.f_bavail * disk.f_frsize,
        reserve: reserve.unwrap_or_else(usual),
    })
}

fn create_directory(path: &Path) -> Result<(), ServerError> {
    std::fs::create_dir_all(path).map_err(io_error(format!("making {}", path.display())))
}

/// Different at every start and on every node: the physical clock's nanoseconds, and the address.
fn seed(address: SocketAddr, now: &clock::Now) -> u64 {
    let place = Timestamp::from_micros(u64::from(address.port())).to_bits();
    (now.physical.as_nanos() as u64) ^ place ^ (u64::from(std::process::id()) << 40)
}
