//! Processes that ask: one operation at a time each, at a pace, until they are told to stop.

use super::layout::Layout;
use super::outcomes::Questioner;
use super::session::{Session, Shared, connect};
use crate::error::SuiteError;
use crate::run::{Counts, Load};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::SplitMix64;

/// What is asked, and how it is recorded.
pub(super) trait Workload: Send + Sync + 'static {
    /// As `--workload` takes it, and its checker's.
    const NAME: &'static str;
    /// Operations a second, by all processes together: as many as bite and can still be checked.
    const RATE: u32;

    /// Its keys lie as the layout says.
    fn new(layout: Layout) -> Self;

    /// Before anything is recorded.
    fn prepare(
        &self,
        _session: &mut Session,
    ) -> impl Future<Output = Result<(), SuiteError>> + Send {
        async { Ok(()) }
    }

    /// One operation, recorded.
    fn operate(&self, session: &mut Session)
    -> impl Future<Output = Result<(), SuiteError>> + Send;

    /// Reads that end the history, when the cluster is healed and quiet.
    fn finish(&self, session: &mut Session) -> impl Future<Output = Result<(), SuiteError>> + Send;
}

pub(super) async fn drive<W: Workload>(
    addresses: Vec<String>,
    load: Load,
) -> Result<Counts, SuiteError> {
    let mut random = SplitMix64::new(load.seed);
    let client = connect(&addresses).await?;
    let name = format!("{}-{}", W::NAME, now(&client).await?);
    let map = client.map().await;
    let map =
        map.map_err(|error| SuiteError::Load(format!("no map of the partitions: {error}")))?;
    let workload = Arc::new(W::new(Layout::of(&map, &name)?));
    let (questioner, questions) = Questioner::start(client.clone(), load.clone());
    let shared = Arc::new(Shared::new(&load, questions));
    let mut session = shared.session(client, random.fork())?;
    workload.prepare(&mut session).await?;

    let mut processes = JoinSet::new();
    for number in 0..load.processes {
        // Each begins with another node.
        let mut addresses = addresses.clone();
        let first = number % addresses.len().max(1);
        addresses.rotate_left(first);
        let (workload, shared) = (workload.clone(), shared.clone());
        let (load, random) = (load.clone(), random.fork());
        processes.spawn(async move {
            let client = connect(&addresses).await?;
            let session = shared.session(client, random)?;
            ask::<W>(&workload, session, &load).await
        });
    }
    while let Some(ended) = processes.join_next().await {
        ended.map_err(|panicked| SuiteError::Load(panicked.to_string()))??;
    }
    load.quiet.cancelled().await;
    workload.finish(&mut session).await?;
    drop(session);
    let counts = shared.counts();
    drop(shared);
    questioner.end().await?;
    Ok(counts)
}

/// What makes the names of this run's keys differ from those of all others.
async fn now(client: &wire::client::Client) -> Result<u64, SuiteError> {
    let now = client.timestamp().await;
    let now = now.map_err(|error| SuiteError::Load(format!("no timestamp: {error}")))?;
    Ok(now.micros())
}

async fn ask<W: Workload>(
    workload: &W,
    mut session: Session,
    load: &Load,
) -> Result<(), SuiteError> {
    let pace = Duration::from_secs(1) * load.processes as u32 / W::RATE;
    let mut due = load.clock.elapsed() + pace.mul_f64(session.fraction());
    loop {
        let early = due.saturating_sub(load.clock.elapsed());
        tokio::select! {
            biased;
            () = load.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(early) => {}
        }
        workload.operate(&mut session).await?;
        // Whoever was held up does not catch up.
        let next = due + pace.mul_f64(0.5 + session.fraction());
        due = next.max(load.clock.elapsed());
    }
}
