//! The proxy: everything that is sent to a node goes through it.
//!
//! ```text
//!   client ──┐                             ┌── n1 advertises P1
//!            ├──► P1 ──── rules ────► n1   │
//!   n2, n3 ──┘    (who dialled? the hello says it)
//! ```
//!
//! Each node advertises the proxy's address, so clients and other nodes dial that. A node's messages to
//! another go over the connection that it dialled itself (pattern Single-Socket Channel), so a rule for
//! one of the two connections of a pair is a fault of one direction.
//!
//! Invariants:
//! - Without a rule, frames arrive as they were sent, in order, and connections end when either side ends them.
//! - Faults are done to whole frames: but for corruption, what arrives is well formed.
//! - Handshakes are cut and never disturbed.
//!
//! It knows frames and the handshake, nothing of what is said. Losing or reordering single frames of a
//! connection is more than a network does to TCP: the protocol claims to stand that too.

mod connection;
mod pump;
mod rules;

pub use rules::{CHANCE_PARTS, ClientFault, Cut, Dialler, Disturbance, Rule, Seat};

use crate::error::SuiteError;
use rules::Rules;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use wire::SplitMix64;

/// What is sent into a silent cut is held so long; then the connection is lost, as the system gives up
/// on bytes that nobody acknowledges.
pub const HELD_FOR_MAX: Duration = Duration::from_secs(5);
/// A frame that is overtaken comes at most so much later.
pub const OVERTAKEN_BY_MAX: Duration = Duration::from_millis(30);

/// What the proxy did so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProxyCounts {
    /// Frames that came in.
    pub frames: u64,
    /// Frames that were lost alone.
    pub lost: u64,
    /// Frames that were sent twice.
    pub doubled: u64,
    /// Frames that could be overtaken.
    pub reordered: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Connections that a rule ended, or kept from beginning.
    pub ended: u64,
    /// Commits that were sent once more.
    pub replayed: u64,
}

impl ProxyCounts {
    /// What was done since an earlier count, in words; empty if nothing was.
    pub fn since(&self, earlier: &ProxyCounts) -> String {
        let all = [
            (self.lost - earlier.lost, "lost"),
            (self.doubled - earlier.doubled, "doubled"),
            (self.reordered - earlier.reordered, "overtaken"),
            (self.corrupted - earlier.corrupted, "damaged"),
        ];
        let some = all.iter().filter(|(count, _)| *count > 0);
        let mut words: Vec<String> = some
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !words.is_empty() {
            words.push(format!("of {} frames", self.frames - earlier.frames));
        }
        let more = [
            (self.ended - earlier.ended, "connections ended"),
            (self.replayed - earlier.replayed, "commits sent once more"),
        ];
        let some = more.iter().filter(|(count, _)| *count > 0);
        words.extend(some.map(|(count, what)| format!("{count} {what}")));
        words.join(", ")
    }
}

pub(crate) struct Shared {
    rules: Mutex<Rules>,
    /// Told after each change of the rules.
    changed: watch::Sender<u64>,
    counts: Mutex<ProxyCounts>,
    random: Mutex<SplitMix64>,
    /// What the nodes advertise, by seat.
    advertised: Vec<String>,
    /// Where they really listen, by seat.
    targets: Vec<SocketAddr>,
}

impl Shared {
    // Nothing that holds these locks can panic half-way through a change.
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, count: impl FnOnce(&mut ProxyCounts)) {
        count(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn fork_random(&self) -> SplitMix64 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.fork()
    }

    fn seat_of(&self, advertised: &str) -> Option<Seat> {
        let mut all = self.advertised.iter();
        all.position(|address| address == advertised)
    }
}

/// A proxy with a thread of its own. Dropping it ends all connections.
pub struct Proxy {
    shared: Arc<Shared>,
    closes: Option<DropGuard>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens once for each of these nodes.
    pub fn start(targets: Vec<SocketAddr>, seed: u64) -> Result<Proxy, SuiteError> {
        let failed = || SuiteError::io("the proxy cannot listen");
        let mut listeners = Vec::new();
        for _ in &targets {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed())?;
            listener.set_nonblocking(true).map_err(failed())?;
            let address = listener.local_addr().map_err(failed())?;
            listeners.push((address.to_string(), listener));
        }
        // A cluster numbers its founders by their sorted addresses: so a seat's name is the node's own.
        listeners.sort_by(|one, other| one.0.cmp(&other.0));
        let (advertised, listeners): (Vec<_>, Vec<_>) = listeners.into_iter().unzip();
        let shared = Arc::new(Shared {
            rules: Mutex::default(),
            changed: watch::Sender::new(0),
            counts: Mutex::default(),
            random: Mutex::new(SplitMix64::new(seed)),
            advertised,
            targets,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed())?;
        let closed = CancellationToken::new();
        let (served, until) = (shared.clone(), closed.clone());
        let thread = std::thread::Builder::new().name("proxy".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(until.run_until_cancelled_owned(connection::serve(listeners, served)));
        });
        Ok(Proxy {
            shared,
            closes: Some(closed.drop_guard()),
            thread: Some(thread.map_err(failed())?),
        })
    }

    /// What each node is to advertise, by seat.
    pub fn addresses(&self) -> Vec<String> {
        self.shared.advertised.clone()
    }

    /// Adds rules; their numbers, to remove them with.
    pub fn add(&self, rules: impl IntoIterator<Item = Rule>) -> Vec<u64> {
        let mut all = self.shared.rules();
        let numbers = rules.into_iter().map(|rule| all.add(rule)).collect();
        drop(all);
        self.tell();
        numbers
    }

    /// Removes rules.
    pub fn remove(&self, numbers: &[u64]) {
        let mut all = self.shared.rules();
        numbers.iter().for_each(|number| all.remove(*number));
        drop(all);
        self.tell();
    }

    /// What it did so far.
    pub fn counts(&self) -> ProxyCounts {
        let counts = self.shared.counts.lock();
        *counts.unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.shared.changed.send_modify(|number| *number += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.closes.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the proxy's thread panicked");
        }
    }
}
