//! All connections of a client, and which one a request takes.
//!
//! Invariant: a request is sent a second time only if that can do no harm: reads, locks and questions
//! are idempotent; commits go their own way (`commit`).

use super::connection::{Connection, ConnectionError};
use super::machine::{Backoff, Patience, monotonic, wall};
use crate::client::commit_retry::{Unanswered, is_served_elsewhere};
use crate::client::error::rounded;
use crate::client::routing::Routing;
use crate::client::{ClientOptions, Error};
use crate::ids::ClusterId;
use crate::keys::Key;
use crate::message::{ClientAnswer, ClientReply, ClientRequest, MapAnswer};
use clock::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long dialling and shaking hands may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a node that is asked alone may take, dialling it included.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a gateway may take to give its map.
const MAP_TIMEOUT: Duration = Duration::from_secs(1);
/// A map older than this is asked for anew beside the next request.
const MAP_AGE_MAX: Duration = Duration::from_secs(5);
/// A map younger than this is not asked for again.
const MAP_AGE_MIN: Duration = Duration::from_millis(100);
/// How long a gateway may be silent about a read before another one is tried.
const READ_SILENCE_MAX: Duration = Duration::from_secs(5);
/// The first pause after all gateways failed, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Clocks that differ by less than this count as equal.
const CLOCK_DIFFERENCE_MIN: Duration = Duration::from_millis(500);

/// Which gateway should serve a request.
#[derive(Clone, Default)]
pub(in crate::client) struct Route {
    key: Option<Key>,
    stay_at: Option<Arc<str>>,
}

impl Route {
    /// Where the partition of this key is led.
    pub(in crate::client) fn to(key: &Key) -> Route {
        let key = Some(key.clone());
        Route { key, stay_at: None }
    }

    /// Any.
    pub(in crate::client) fn anywhere() -> Route {
        Route::default()
    }

    /// The same gateway as before if possible.
    pub(in crate::client) fn staying_at(mut self, gateway: Option<Arc<str>>) -> Route {
        self.stay_at = gateway;
        self
    }
}

/// An answer and who gave it.
pub(in crate::client) struct Answered {
    pub(in crate::client) answer: ClientAnswer,
    pub(in crate::client) gateway: Arc<str>,
}

impl Answered {
    pub(in crate::client) fn unexpected(&self, expected: &'static str) -> Error {
        let gateway = self.gateway.to_string();
        Error::UnexpectedAnswer { gateway, expected }
    }
}

/// One connection to a node, and why it could not be made when that was last tried.
#[derive(Default)]
struct Dialled {
    connection: Option<Arc<Connection>>,
    failed: Option<(Instant, String)>,
}

type Slot = Arc<tokio::sync::Mutex<Dialled>>;

pub(in crate::client) struct Pool {
    cluster: ClusterId,
    options: ClientOptions,
    routing: Mutex<Routing>,
    slots: Mutex<BTreeMap<(Arc<str>, usize), Slot>>,
    next_slot: AtomicUsize,
    map_read: Mutex<Instant>,
    refreshing: AtomicBool,
    clock_ahead_us: AtomicI64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why an address gives no connection or map, and whether a node said so itself.
struct Failed {
    answered: bool,
    why: String,
}

impl Failed {
    fn silent(why: impl ToString) -> Failed {
        let why = why.to_string();
        let answered = false;
        Failed { answered, why }
    }

    fn said(why: impl ToString) -> Failed {
        let why = why.to_string();
        let answered = true;
        Failed { answered, why }
    }
}

/// What a node said leads; without any, all addresses are told alike.
fn none_serves(failures: Vec<(String, Failed)>) -> Error {
    let spoke = failures.iter().position(|(_, failed)| failed.answered);
    let mut tried: Vec<_> = failures.into_iter().map(|(at, f)| (at, f.why)).collect();
    match spoke {
        None => Error::Connect { tried },
        Some(spoke) => {
            let (at, why) = tried.remove(spoke);
            Error::NotServing { at, why, tried }
        }
    }
}

async fn dial(address: &str, cluster: Option<ClusterId>) -> Result<Arc<Connection>, Failed> {
    match tokio::time::timeout(DIAL_TIMEOUT, Connection::dial(address, cluster)).await {
        Ok(Ok(connection)) => Ok(Arc::new(connection)),
        Ok(Err(error @ (ConnectionError::Refused(_) | ConnectionError::Left(_)))) => {
            Err(Failed::said(error))
        }
        Ok(Err(error)) => Err(Failed::silent(error)),
        Err(_) => Err(Failed::silent(format!(
            "no connection within {DIAL_TIMEOUT:?}"
        ))),
    }
}

async fn ask_map(connection: &Connection) -> Result<MapAnswer, Failed> {
    let asked = connection.request(&ClientRequest::Map);
    match tokio::time::timeout(MAP_TIMEOUT, asked).await {
        Ok(Ok(Ok(ClientAnswer::Map(map)))) => Ok(map),
        Ok(Ok(Ok(_))) => Err(Failed::said("it did not answer with a map")),
        Ok(Ok(Err(error))) => Err(Failed::said(error)),
        Ok(Err(unanswered)) => Err(Failed::silent(unanswered.why())),
        Err(_) => Err(Failed::silent(format!("no map within {MAP_TIMEOUT:?}"))),
    }
}

impl Pool {
    pub(in crate::client) async fn connect(
        seeds: Vec<Arc<str>>,
        options: ClientOptions,
    ) -> Result<Arc<Pool>, Error> {
        let patience = Patience::new(options.connect_timeout);
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            let mut tried = Vec::new();
            for seed in &seeds {
                match Pool::connect_through(seed, &seeds, &options).await {
                    Ok(pool) => return Ok(pool),
                    Err(failed) => tried.push((seed.to_string(), failed)),
                }
            }
            if patience.left().is_zero() || seeds.is_empty() {
                return Err(none_serves(tried));
            }
            backoff.pause(patience.left()).await;
        }
    }

    async fn connect_through(
        seed: &Arc<str>,
        seeds: &[Arc<str>],
        options: &ClientOptions,
    ) -> Result<Arc<Pool>, Failed> {
        let connection = dial(seed, None).await?;
        let map = ask_map(&connection).await?;
        let cluster = map.cluster;
        let routing = Routing::new(map, seeds.to_vec()).map_err(Failed::said)?;
        let pool = Pool {
            cluster,
            options: options.clone(),
            routing: Mutex::new(routing),
            slots: Mutex::default(),
            next_slot: AtomicUsize::new(0),
            map_read: Mutex::new(monotonic()),
            refreshing: AtomicBool::new(false),
            clock_ahead_us: AtomicI64::new(0),
        };
        pool.compare_clocks(&connection).await;
        let slot: Slot = Arc::new(tokio::sync::Mutex::new(Dialled {
            connection: Some(connection),
            failed: None,
        }));
        locked(&pool.slots).insert((seed.clone(), 0), slot);
        Ok(Arc::new(pool))
    }

    /// A client whose clock is wrong would send commits that have expired already, so it learns how
    /// far the cluster's time is ahead of its own. If that fails, it relies on its own.
    async fn compare_clocks(&self, connection: &Connection) {
        let asked = connection.request(&ClientRequest::Timestamp);
        let answer = tokio::time::timeout(MAP_TIMEOUT, asked).await;
        if let Ok(Ok(Ok(ClientAnswer::Timestamp(theirs)))) = answer {
            let ahead = theirs.micros() as i64 - wall().micros() as i64;
            if ahead.unsigned_abs() > CLOCK_DIFFERENCE_MIN.as_micros() as u64 {
                tracing::warn!(
                    ahead_us = ahead,
                    "the cluster's clock differs from this machine's"
                );
                self.clock_ahead_us.store(ahead, Ordering::Relaxed);
            }
        }
    }

    pub(in crate::client) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    pub(in crate::client) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// The cluster's time, roughly.
    pub(in crate::client) fn wall(&self) -> Timestamp {
        let ahead = self.clock_ahead_us.load(Ordering::Relaxed);
        Timestamp::from_micros(wall().micros().saturating_add_signed(ahead))
    }

    /// The gateways to try, the best first.
    pub(super) fn gateways(&self, route: &Route) -> Vec<Arc<str>> {
        let mut order = locked(&self.routing).gateways(route.key.as_ref());
        if let Some(stay) = &route.stay_at
            && let Some(at) = order.iter().position(|address| address == stay)
        {
            order[..=at].rotate_right(1);
        }
        order
    }

    /// The gateways that a request for this key may be sent to, the best first.
    pub(in crate::client) fn gateways_to(&self, key: &Key) -> Vec<Arc<str>> {
        self.gateways(&Route::to(key))
    }

    /// Sends to one gateway; waits for so long.
    pub(super) async fn send(
        self: &Arc<Self>,
        gateway: &Arc<str>,
        request: &ClientRequest,
        silence_max: Duration,
    ) -> Result<ClientReply, Unanswered> {
        self.maybe_refresh_beside();
        // Whoever dials a node that does not answer keeps the others waiting for the same connection.
        let connection = tokio::time::timeout(silence_max, self.connection(gateway)).await;
        let answer = match connection {
            Err(_) => Err(Unanswered::NotSent(format!(
                "{gateway}: no connection within {}",
                rounded(silence_max)
            ))),
            Ok(Err(why)) => Err(Unanswered::NotSent(why)),
            Ok(Ok(connection)) => {
                match tokio::time::timeout(silence_max, connection.request(request)).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        let why = format!("no answer within {}", rounded(silence_max));
                        Err(Unanswered::Lost(why))
                    }
                }
            }
        };
        let mut routing = locked(&self.routing);
        match &answer {
            Ok(Err(error)) if is_served_elsewhere(error) => routing.on_failure(gateway),
            Ok(_) => routing.on_success(gateway),
            Err(_) => routing.on_failure(gateway),
        }
        answer
    }

    async fn connection(&self, gateway: &Arc<str>) -> Result<Arc<Connection>, String> {
        let turn = self.next_slot.fetch_add(1, Ordering::Relaxed);
        let number = turn % self.options.connections_per_node.max(1);
        let slot = {
            let mut slots = locked(&self.slots);
            slots.entry((gateway.clone(), number)).or_default().clone()
        };
        let began = monotonic();
        let mut slot = slot.lock().await;
        let lives = |connection: &&Arc<Connection>| !connection.is_lost();
        if let Some(connection) = slot.connection.as_ref().filter(lives) {
            return Ok(connection.clone());
        }
        // Dialling may take its whole time: whoever waited for it here need not try once more each.
        if let Some((_, why)) = slot.failed.as_ref().filter(|(at, _)| *at >= began) {
            return Err(why.clone());
        }
        match dial(gateway, Some(self.cluster)).await {
            Ok(connection) => {
                slot.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(failed) => {
                let why = format!("{gateway}: {}", failed.why);
                slot.failed = Some((monotonic(), why.clone()));
                Err(why)
            }
        }
    }

    /// Asks one node, no other. A connection that turns out to be lost is made anew once.
    pub(in crate::client) async fn ask(
        self: &Arc<Self>,
        gateway: &Arc<str>,
        request: &ClientRequest,
    ) -> Result<Answered, Error> {
        let limit = self.options.timeout.min(ASK_TIMEOUT);
        let asked = async {
            match self.send(gateway, request, limit).await {
                Err(Unanswered::Lost(_)) => self.send(gateway, request, limit).await,
                ended => ended,
            }
        };
        let why = match tokio::time::timeout(limit, asked).await {
            Ok(Ok(reply)) => {
                return Ok(Answered {
                    answer: reply?,
                    gateway: gateway.clone(),
                });
            }
            Ok(Err(unanswered)) => unanswered.why().to_owned(),
            Err(_) => {
                locked(&self.routing).on_failure(gateway);
                format!("{gateway}: no answer within {limit:?}")
            }
        };
        Err(Error::NoAnswer { why })
    }

    /// Asks gateway after gateway until one serves the request or time is up. Only for requests that
    /// may be served twice.
    pub(in crate::client) async fn call(
        self: &Arc<Self>,
        route: &Route,
        request: &ClientRequest,
    ) -> Result<Answered, Error> {
        let patience = Patience::new(self.options.timeout);
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut last = Error::Unreachable {
            waited: self.options.timeout,
            last: "no gateway is known".into(),
        };
        let mut reached: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        loop {
            for gateway in self.gateways(route) {
                let silence_max = silence_max(request).min(patience.left());
                if silence_max.is_zero() {
                    break;
                }
                let answer = self.send(&gateway, request, silence_max).await;
                let dialled = !matches!(answer, Err(Unanswered::NotSent(_)));
                reached.insert(gateway.clone(), dialled);
                match answer {
                    Ok(Ok(answer)) => return Ok(Answered { answer, gateway }),
                    Ok(Err(error)) if is_served_elsewhere(&error) => last = error.into(),
                    Ok(Err(error)) => return Err(error.into()),
                    Err(unsendable @ Unanswered::Unsendable(_)) => {
                        return Err(unsendable.into_error(patience.waited()));
                    }
                    Err(unanswered) => last = unanswered.into_error(patience.waited()),
                }
            }
            if patience.left().is_zero() {
                return Err(with_reach(last, route.key.as_ref(), &reached));
            }
            self.refresh().await;
            backoff.pause(patience.left()).await;
        }
    }

    /// Reads the map anew, from whichever gateway gives it first.
    pub(super) async fn refresh(&self) {
        if self.map_age() < MAP_AGE_MIN {
            return;
        }
        for gateway in self.gateways(&Route::anywhere()) {
            let asked = match self.connection(&gateway).await {
                Ok(connection) => ask_map(&connection).await.map_err(|failed| failed.why),
                Err(why) => Err(why),
            };
            let updated = asked.and_then(|map| self.on_map(map));
            match updated {
                Ok(()) => return locked(&self.routing).forgive(),
                Err(error) => tracing::debug!(%gateway, error, "no map from this node"),
            }
        }
    }

    /// Later requests go by this map.
    pub(in crate::client) fn on_map(&self, map: MapAnswer) -> Result<(), String> {
        if map.cluster != self.cluster {
            return Err(format!("it belongs to cluster {} now", map.cluster));
        }
        let updated = locked(&self.routing).update(map);
        updated.map_err(|error| error.to_string())?;
        *locked(&self.map_read) = monotonic();
        Ok(())
    }

    fn map_age(&self) -> Duration {
        monotonic() - *locked(&self.map_read)
    }

    /// Leaders move without a request failing, so an old map is read anew while requests go on.
    fn maybe_refresh_beside(self: &Arc<Self>) {
        if self.map_age() < MAP_AGE_MAX || self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            pool.refresh().await;
            pool.refreshing.store(false, Ordering::Release);
        });
    }
}

/// Nodes that can be reached and yet do not answer lack a leader, most often for want of a majority.
fn with_reach(error: Error, key: Option<&Key>, reached: &BTreeMap<Arc<str>, bool>) -> Error {
    let up = reached.values().filter(|reached| **reached).count();
    match (error, key) {
        (Error::Unreachable { waited, last }, Some(key)) if up > 0 => Error::Unreachable {
            waited,
            last: format!(
                "{last} ({up} of {} nodes could be reached; {key} is served while a majority of its partition's nodes is up)",
                reached.len()
            ),
        },
        (error, _) => error,
    }
}

/// How long a gateway may be silent about a request. A lock may have to wait for its holder.
fn silence_max(request: &ClientRequest) -> Duration {
    match request {
        ClientRequest::Lock { .. } => Duration::MAX,
        _ => READ_SILENCE_MAX,
    }
}
