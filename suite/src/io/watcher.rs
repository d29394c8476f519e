//! Asking the nodes themselves, around the proxy.

use super::RunClock;
use super::proxy::Seat;
use crate::error::SuiteError;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use wire::client::{Client, ClientOptions};
use wire::ids::{PartitionId, Term};
use wire::message::{NodeStatus, ReplicaRole, ReplicaStatus, Transferred};

/// A node that has not answered by then counts as silent.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// A transfer that takes longer is not waited for.
const TRANSFERRED_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Asks nodes for their state.
pub struct Watcher {
    addresses: Vec<String>,
    client: Mutex<Option<Client>>,
}

impl Watcher {
    /// Of the nodes that listen there, by seat.
    pub fn new(addresses: &[SocketAddr]) -> Watcher {
        Watcher {
            addresses: addresses.iter().map(ToString::to_string).collect(),
            client: Mutex::new(None),
        }
    }

    async fn client(&self) -> Result<Client, String> {
        let mut known = self.client.lock().await;
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let options = ClientOptions {
            timeout: ANSWERS_WITHIN,
            connect_timeout: ANSWERS_WITHIN,
            ..ClientOptions::default()
        };
        let client = Client::connect_with(&self.addresses, options).await;
        let client = client.map_err(|error| error.to_string())?;
        *known = Some(client.clone());
        Ok(client)
    }

    /// What each node says of itself, by seat, or why it says nothing.
    pub async fn statuses(&self) -> Vec<Result<NodeStatus, String>> {
        let client = match self.client().await {
            Ok(client) => client,
            Err(why) => return self.addresses.iter().map(|_| Err(why.clone())).collect(),
        };
        let mut asking = JoinSet::new();
        for (seat, address) in self.addresses.iter().cloned().enumerate() {
            let client = client.clone();
            asking.spawn(async move {
                let asked = tokio::time::timeout(ANSWERS_WITHIN, client.status_of(&address)).await;
                let answer = match asked {
                    Ok(answer) => answer.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {ANSWERS_WITHIN:?}")),
                };
                (seat, answer)
            });
        }
        let silent = || Err("it was not asked".to_owned());
        let mut answers: Vec<_> = self.addresses.iter().map(|_| silent()).collect();
        for (seat, answer) in asking.join_all().await {
            answers[seat] = answer;
        }
        answers
    }

    /// Who leads and serves each partition, as the nodes that answer say.
    pub async fn leaders(&self) -> BTreeMap<PartitionId, Seat> {
        leaders(&self.statuses().await)
    }

    /// Has a partition handed over to whoever is fittest; why not, if not.
    pub async fn transfer(&self, partition: PartitionId) -> Result<Transferred, String> {
        let client = self.client().await?;
        let asked = tokio::time::timeout(TRANSFERRED_WITHIN, client.transfer(partition, None));
        match asked.await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {TRANSFERRED_WITHIN:?}")),
        }
    }

    /// Waits until `look` finds nothing to wait for in what the nodes say; what it waited for, if not.
    pub async fn until(
        &self,
        within: Duration,
        look: impl Fn(&[Result<NodeStatus, String>]) -> Result<(), String>,
    ) -> Result<Duration, String> {
        let clock = RunClock::start();
        loop {
            match look(&self.statuses().await) {
                Ok(()) => return Ok(clock.elapsed()),
                Err(why) if clock.elapsed() > within => return Err(why),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Waits until every node answers and every partition is led.
    pub async fn led(&self, within: Duration) -> Result<Duration, SuiteError> {
        let led = self.until(within, is_led).await;
        led.map_err(|why| {
            SuiteError::Cluster(format!(
                "the cluster does not serve within {within:?}: {why}"
            ))
        })
    }
}

/// Of those who say that they lead and serve a partition, the one of the latest term.
fn leaders(statuses: &[Result<NodeStatus, String>]) -> BTreeMap<PartitionId, Seat> {
    let mut latest: BTreeMap<PartitionId, (Term, Seat)> = BTreeMap::new();
    for (seat, status) in statuses.iter().enumerate() {
        let replicas = status.iter().flat_map(|status| &status.replicas);
        for replica in replicas.filter(|replica| replica.role == ReplicaRole::Leader) {
            let known = latest.entry(replica.descriptor.partition);
            let known = known.or_insert((replica.term, seat));
            *known = (*known).max((replica.term, seat));
        }
    }
    let seats = latest.into_iter();
    seats
        .map(|(partition, (_, seat))| (partition, seat))
        .collect()
}

/// Every node answers, and every partition that anybody knows has a leader that serves.
pub fn is_led(statuses: &[Result<NodeStatus, String>]) -> Result<(), String> {
    let mut partitions = Vec::new();
    for (seat, status) in statuses.iter().enumerate() {
        let status = status.as_ref();
        let status = status.map_err(|why| format!("n{} says nothing: {why}", seat + 1))?;
        partitions.extend(status.replicas.iter().map(|r| r.descriptor.partition));
    }
    let leaders = leaders(statuses);
    match partitions
        .iter()
        .find(|partition| !leaders.contains_key(partition))
    {
        Some(partition) => Err(format!("{partition} has no leader")),
        None if partitions.is_empty() => Err("the cluster is not founded".to_owned()),
        None => Ok(()),
    }
}

/// Every node answers and holds what the others may count on.
pub fn is_whole(statuses: &[Result<NodeStatus, String>]) -> Result<(), String> {
    for (seat, status) in statuses.iter().enumerate() {
        let status = status.as_ref();
        let status = status.map_err(|why| format!("n{} says nothing: {why}", seat + 1))?;
        let is_hollow =
            |replica: &&ReplicaStatus| replica.has_forgotten || replica.installing.is_some();
        if let Some(replica) = status.replicas.iter().find(is_hollow) {
            let partition = replica.descriptor.partition;
            return Err(format!(
                "{partition} on n{} does not hold again what it lost",
                seat + 1
            ));
        }
    }
    is_led(statuses)
}

/// The properties of a cluster that was healed and left alone: nothing is left of what was under way, and
/// all replicas of a partition have come to the same point.
pub fn is_quiet(statuses: &[Result<NodeStatus, String>]) -> Result<(), String> {
    is_whole(statuses)?;
    let mut ends = BTreeMap::new();
    for (seat, status) in statuses.iter().enumerate() {
        let status = status.as_ref().map_err(Clone::clone)?;
        let name = format!("n{}", seat + 1);
        if status.coordinating > 0 {
            return Err(format!(
                "{name} still coordinates {} transactions",
                status.coordinating
            ));
        }
        if let Some(trouble) = &status.clock_trouble {
            return Err(format!("{name} does not rely on its clock: {trouble}"));
        }
        for replica in &status.replicas {
            let partition = replica.descriptor.partition;
            let at = format!("{partition} on {name}");
            if replica.locks > 0 || replica.waiting > 0 {
                return Err(format!(
                    "{at}: {} locks of prepared transactions are left, and {} requests that wait",
                    replica.locks, replica.waiting
                ));
            }
            if (replica.stored, replica.commit) != (replica.last, replica.last) {
                return Err(format!(
                    "{at}: stored up to {}, committed up to {}, the log ends at {}",
                    replica.stored, replica.commit, replica.last
                ));
            }
            let (other, end) = ends.entry(partition).or_insert((seat, replica.last));
            if *end != replica.last {
                return Err(format!(
                    "{at} ends at {}, on n{} at {end}",
                    replica.last,
                    *other + 1
                ));
            }
        }
    }
    Ok(())
}
