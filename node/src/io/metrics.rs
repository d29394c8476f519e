//! Serves what a node counts as Prometheus text over HTTP. Documented in `docs/metrics.md`.
//!
//! Every scrape asks the node thread once; nothing is kept in between. At most [`SCRAPES_MAX`]
//! connections are served at a time, each for at most [`SCRAPE_WITHIN`]: more have to wait.

use crate::counters::{BUCKETS_US, Counters, Distribution};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use wire::io::ListenerCounts;
use wire::message::{NodeStatus, ReplicaRole};

/// The most scrapes at a time.
pub const SCRAPES_MAX: usize = 8;
/// The longest that a scrape may take.
pub const SCRAPE_WITHIN: Duration = Duration::from_secs(10);

/// The content type of the OpenMetrics text format.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers of one moment.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) status: Option<NodeStatus>,
    pub(super) counters: Counters,
    pub(super) listener: ListenerCounts,
}

/// Asks the node thread for a scrape; an error: it has ended.
pub(super) type Ask = Arc<dyn Fn(oneshot::Sender<Scrape>) + Send + Sync>;

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, ask: Ask) {
    let room = Arc::new(Semaphore::new(SCRAPES_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let ask = ask.clone();
                tokio::spawn(async move {
                    let served = tokio::time::timeout(SCRAPE_WITHIN, serve_one(stream, ask)).await;
                    if let Ok(Err(error)) = served {
                        tracing::debug!(%error, "a scrape of metrics ended early");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection for metrics can be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, ask: Ask) -> Result<(), hyper::Error> {
    let answer = service_fn(move |request| answer(request, ask.clone()));
    hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

async fn answer(request: Request<Incoming>, ask: Ask) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => scrape(&ask).await,
        _ => (
            StatusCode::NOT_FOUND,
            "metrics are at GET /metrics\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let text = hyper::header::HeaderValue::from_static(TEXT);
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, text);
    Ok(response)
}

async fn scrape(ask: &Ask) -> (StatusCode, String) {
    let (tell, told) = oneshot::channel();
    ask(tell);
    let stopping = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    let Ok(scrape) = told.await else {
        return stopping("the node is stopping");
    };
    let mut registry = Registry::with_prefix("horolog");
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => (StatusCode::OK, text),
        Err(error) => stopping(&error.to_string()),
    }
}

/// Writes one metric after another.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        let encoder = self
            .0
            .encode_descriptor(name, help, None, counter.metric_type())?;
        counter.encode(encoder)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: &BTreeMap<&'static str, u64>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, value) in values {
            let labels = [("reason", *reason)];
            let one = family.encode_family(&labels)?;
            ConstCounter::new(*value).encode(one)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        let encoder = self
            .0
            .encode_descriptor(name, help, None, gauge.metric_type())?;
        gauge.encode(encoder)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(String, f64)],
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            let labels = [(label, of.as_str())];
            let one = family.encode_family(&labels)?;
            ConstGauge::new(*value).encode(one)?;
        }
        Ok(())
    }

    fn distribution(&mut self, name: &str, help: &str, values: &Distribution) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        let borders = BUCKETS_US.iter().map(|us| *us as f64 / 1e6);
        let borders = borders.chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = borders.zip(values.counts).collect();
        let sum = values.sum.as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, values.count(), &buckets, None)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let page = &mut Page(encoder);
        self.clients(page)?;
        self.connections(page)?;
        match &self.status {
            Some(status) => of_node(page, status),
            None => Ok(()),
        }
    }
}

impl Scrape {
    fn clients(&self, page: &mut Page) -> fmt::Result {
        let counters = &self.counters;
        page.counter(
            "commits",
            "Commits that clients were told of",
            counters.commits,
        )?;
        page.counters("aborts", "Commits that were aborted", &counters.aborts)?;
        page.counter("reads", "Reads that were answered", counters.reads)?;
        page.counters(
            "requests_refused",
            "Requests of clients that were not served",
            &counters.refused,
        )?;
        page.distribution(
            "commit_seconds",
            "From a commit's arrival at this gateway to its answer",
            &counters.commit_times,
        )?;
        page.distribution(
            "log_write_seconds",
            "From a batch's hand-over to the log until it is durable",
            &counters.log_times,
        )
    }

    fn connections(&self, page: &mut Page) -> fmt::Result {
        let listener = &self.listener;
        let standing = listener.connections as f64;
        page.gauge("connections", "Connections that stand", standing)?;
        page.counter(
            "connections_accepted",
            "Connections accepted",
            listener.accepted,
        )?;
        page.counters(
            "connections_ended",
            "Connections that this node ended, bad frames among the reasons",
            &listener.ended,
        )
    }
}

fn of_node(page: &mut Page, status: &NodeStatus) -> fmt::Result {
    let seconds = |us: i64| us as f64 / 1e6;
    let leads = |role| matches!(role, ReplicaRole::Leader | ReplicaRole::LeaderStarting);
    let replicas = &status.replicas;
    let leaders = replicas.iter().filter(|r| leads(r.role)).count();
    page.gauge("replicas", "Replicas on this node", replicas.len() as f64)?;
    page.gauge("leaders", "Partitions that this node leads", leaders as f64)?;
    page.gauge("log_bytes", "Bytes of log on disk", status.log_bytes as f64)?;
    if let Some(free) = status.disk_free {
        page.gauge("disk_free_bytes", "Bytes free on the disk", free as f64)?;
    }
    let help = "Bytes to stay free on the disk: with less, leaders refuse writes";
    page.gauge("disk_reserve_bytes", help, status.disk_reserve as f64)?;
    let lag = replicas
        .iter()
        .map(|r| r.commit.0.saturating_sub(r.stored.0));
    let lag = lag.max().unwrap_or_default();
    let help = "Entries committed and not yet in the store, of the replica with the most";
    page.gauge("store_lag_entries", help, lag as f64)?;
    let waiting: u64 = replicas.iter().map(|r| r.waiting).sum();
    page.gauge(
        "requests_waiting",
        "Requests that wait at leaders here",
        waiting as f64,
    )?;
    let coordinating = status.coordinating as f64;
    page.gauge(
        "commits_coordinated",
        "Commits under way at this gateway",
        coordinating,
    )?;
    let heard = |ms: u64| ms < 1000;
    let heard = status
        .peers
        .iter()
        .filter(|p| p.heard_ms.is_some_and(heard));
    let heard = heard.count() as f64;
    page.gauge(
        "peers_heard",
        "Other nodes that were heard within a second",
        heard,
    )?;
    let bound = status
        .clock_bound_us
        .map_or(f64::NAN, |us| seconds(us as i64));
    let help = "The clock's bound; NaN: nothing is vouched for";
    page.gauge("clock_bound_seconds", help, bound)?;
    let quarantined = f64::from(u8::from(status.clock_trouble.is_some()));
    let help = "1 while the clock is not relied on: this node leads and coordinates nothing";
    page.gauge("clock_quarantined", help, quarantined)?;
    let times = status.clock_quarantines;
    page.counter(
        "clock_quarantines",
        "How often the clock was found unreliable",
        times,
    )?;
    let help = "Frames dropped because their stamp lies too far ahead of this node's clock";
    page.counter("drift_refused", help, status.drift_refused)?;
    let clocks = status
        .peers
        .iter()
        .filter_map(|peer| Some((peer.node, peer.clock?)));
    let offsets: Vec<(String, f64)> = clocks
        .clone()
        .map(|(node, clock)| (node.0.to_string(), seconds(clock.ahead_us)))
        .collect();
    let help = "How far another node's clock is ahead of this one's";
    page.gauges("peer_clock_ahead_seconds", help, "peer", &offsets)?;
    let contradicted: Vec<(String, f64)> = clocks
        .map(|(node, clock)| {
            (
                node.0.to_string(),
                f64::from(u8::from(clock.agrees == Some(false))),
            )
        })
        .collect();
    let help = "1 if another node's clock contradicts this one's";
    page.gauges("peer_clock_contradicts", help, "peer", &contradicted)
}
