//! `status`: what every node says of itself.
//!
//! The map of any one node names all nodes; each is then asked directly, so a node that cannot be
//! reached is shown as such, with what went wrong.

use super::partitions::{from, nodes, partition_json};
use crate::failure::Failure;
use crate::output::Object;
use crate::session::Session;
use crate::text::quantity;
use crate::text::table::table;
use clap::Args;
use serde_json::Value;
use std::collections::BTreeSet;
use wire::ids::{NodeId, PartitionId};
use wire::message::{
    ClockTrouble, Configuration, MapAnswer, MemberAddress, NodeStatus, PeerStatus, ReplicaRole,
    ReplicaStatus, Unfit,
};

/// Show the state of all nodes and partitions
///
/// Nodes: whether they answer, the bound of their clock and who vouches for it, how often they were
/// started. Partitions: leader, term, log positions (stored <= committed <= last), locks of
/// prepared transactions. Exit code 1 only if no node answers.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog status
  horolog status --json")]
pub(crate) struct Status {}

/// What a node answered, or why it did not.
pub(crate) struct Answer {
    member: MemberAddress,
    status: Result<NodeStatus, String>,
}

impl Status {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        let map = session.map().await?;
        let statuses = session.statuses(&map.nodes).await?;
        let members = map.nodes.iter().cloned().zip(statuses);
        let answers: Vec<Answer> = members
            .map(|(member, status)| Answer { member, status })
            .collect();
        session
            .output
            .print(|| text(&map, &answers), || json(&map, &answers))?;
        if answers.iter().all(|answer| answer.status.is_err()) {
            return Err(Failure::error("no node answers"));
        }
        Ok(())
    }
}

fn text(map: &MapAnswer, answers: &[Answer]) -> String {
    let up = answers
        .iter()
        .filter(|answer| answer.status.is_ok())
        .count();
    let mut parts = vec![format!(
        "cluster {}: {up} of {} nodes answer",
        map.cluster,
        answers.len()
    )];
    let rows: Vec<Vec<String>> = answers.iter().map(node_row).collect();
    let header = [
        "NODE",
        "ADDRESS",
        "STATE",
        "CLOCK BOUND",
        "VOUCHED BY",
        "STARTS",
        "UP FOR",
        "LEADS",
        "REPLICAS",
        "LOG",
        "FREE",
    ];
    let nodes_say = silences(answers) + &clocks(answers) + &unfit(answers);
    parts.push(table(&header, &rows) + &nodes_say);
    let rows: Vec<Vec<String>> = map
        .partitions
        .iter()
        .map(|(descriptor, _)| {
            let best = best_replica(descriptor.partition, answers);
            let mut row = vec![descriptor.partition.to_string(), from(&descriptor.range)];
            row.extend(replica_cells(best));
            row.push(best.map_or_else(
                || nodes(&descriptor.members),
                |(_, replica)| members(&replica.configuration),
            ));
            row
        })
        .collect();
    let header = [
        "PARTITION",
        "FROM",
        "LEADER",
        "TERM",
        "STORED",
        "COMMITTED",
        "LAST",
        "LOCKS",
        "WAITING",
        "NODES",
    ];
    parts.push(table(&header, &rows) + &installations(answers) + &forgotten(answers));
    parts.join("\n").trim_end().to_owned()
}

/// A line for every node that does not answer.
fn silences(answers: &[Answer]) -> String {
    let silent = answers.iter().filter_map(|answer| {
        let why = answer.status.as_ref().err()?;
        Some(format!("{}: {why}\n", answer.member.node))
    });
    silent.collect()
}

/// A line for every node that does not rely on its clock, and for every clock that is contradicted.
fn clocks(answers: &[Answer]) -> String {
    let statuses = answers.iter().filter_map(|a| a.status.as_ref().ok());
    statuses
        .flat_map(|status| {
            let trouble = status.clock_trouble.iter().map(|trouble| {
                format!(
                    "{} leads and coordinates nothing, for {}: {trouble}\n",
                    status.node,
                    quantity::micros(trouble.for_ms.saturating_mul(1000))
                )
            });
            let peers = status.peers.iter().filter_map(|peer| {
                let clock = peer.clock.filter(|clock| clock.agrees == Some(false))?;
                Some(format!(
                    "{} sees the clock of {} {}{} ±{} away, further than the bounds of both allow\n",
                    status.node,
                    peer.node,
                    if clock.ahead_us < 0 { "-" } else { "+" },
                    quantity::micros(clock.ahead_us.unsigned_abs()),
                    quantity::micros(clock.within_us)
                ))
            });
            trouble.chain(peers)
        })
        .collect()
}

/// A line for every node that should lead nothing. Of clocks is told elsewhere.
fn unfit(answers: &[Answer]) -> String {
    let statuses = answers
        .iter()
        .filter_map(|answer| answer.status.as_ref().ok());
    let lines = statuses.filter_map(|status| match status.unfit? {
        Unfit::NoClock => None,
        why @ Unfit::Starting => Some(format!(
            "{} is given no further leaderships yet: {why}\n",
            status.node
        )),
        why => Some(format!(
            "{} gives its leaderships to other nodes, if they can take them: {why}\n",
            status.node
        )),
    });
    lines.collect()
}

/// Who votes; while that changes, who did before, and who learns.
fn members(configuration: &Configuration) -> String {
    let names = |set: &BTreeSet<NodeId>| nodes(&set.iter().copied().collect::<Vec<_>>());
    let mut cell = names(&configuration.voters);
    for (others, what) in [
        (&configuration.outgoing, "instead of"),
        (&configuration.learners, "learning:"),
    ] {
        if !others.is_empty() {
            cell.push_str(&format!(" {what} {}", names(others)));
        }
    }
    cell
}

/// A line for every node with replicas that have lost their memory.
fn forgotten(answers: &[Answer]) -> String {
    let statuses = answers
        .iter()
        .filter_map(|answer| answer.status.as_ref().ok());
    let lines = statuses.filter_map(|status| {
        let replicas = status.replicas.iter().filter(|r| r.has_forgotten);
        let names: Vec<String> = replicas
            .map(|replica| replica.descriptor.partition.to_string())
            .collect();
        (!names.is_empty()).then(|| {
            format!(
                "{} lost its data and is rebuilt from the others, which must all be up: {}\n",
                status.node,
                names.join(" ")
            )
        })
    });
    lines.collect()
}

/// A line for every replica that is being installed from a snapshot.
fn installations(answers: &[Answer]) -> String {
    let statuses = answers
        .iter()
        .filter_map(|answer| answer.status.as_ref().ok());
    let replicas = statuses.flat_map(|status| status.replicas.iter().map(|r| (status.node, r)));
    let lines = replicas.filter_map(|(node, replica)| {
        let installing = replica.installing?;
        let partition = replica.descriptor.partition;
        let bytes = quantity::bytes(installing.bytes);
        let stage = match installing.is_complete {
            true => "all of it has come in",
            false => "so far",
        };
        Some(format!(
            "{node} is far behind in {partition} and gets a snapshot of it up to entry {}: {bytes}, {stage}\n",
            installing.up_to.0
        ))
    });
    lines.collect()
}

fn node_row(answer: &Answer) -> Vec<String> {
    let mut row = vec![
        answer.member.node.to_string(),
        answer.member.address.clone(),
    ];
    match &answer.status {
        Err(_) => row.push("no answer".to_owned()),
        Ok(status) => {
            let leads = status.replicas.iter().filter(|r| leads(r)).count();
            let bound = status.clock_bound_us;
            let state = match status.clock_trouble {
                None => "up",
                Some(_) => "quarantined",
            };
            row.extend([
                state.to_owned(),
                bound.map_or("NONE".into(), |us| format!("±{}", quantity::micros(us))),
                status.clock_source.clone(),
                status.start.to_string(),
                quantity::micros(status.up_ms.saturating_mul(1000)),
                leads.to_string(),
                status.replicas.len().to_string(),
                quantity::bytes(status.log_bytes),
                free_space(status),
            ]);
        }
    }
    row
}

/// What is free on a node's disk, and whether that is too little.
fn free_space(status: &NodeStatus) -> String {
    match status.disk_free {
        None => "?".to_owned(),
        Some(free) if free < status.disk_reserve => format!(
            "{}: NO WRITES, below the reserve of {}",
            quantity::bytes(free),
            quantity::bytes(status.disk_reserve)
        ),
        Some(free) => quantity::bytes(free),
    }
}

fn leads(replica: &ReplicaStatus) -> bool {
    matches!(
        replica.role,
        ReplicaRole::Leader | ReplicaRole::LeaderStarting
    )
}

/// The replica that knows most: a leader of the highest term, else any of the highest term.
fn best_replica(
    partition: PartitionId,
    answers: &[Answer],
) -> Option<(&NodeStatus, &ReplicaStatus)> {
    let replicas = answers.iter().flat_map(|answer| {
        let status = answer.status.as_ref().ok();
        status.into_iter().flat_map(|status| {
            let replicas = status.replicas.iter();
            replicas.map(move |replica| (status, replica))
        })
    });
    replicas
        .filter(|(_, replica)| replica.descriptor.partition == partition)
        .max_by_key(|(_, replica)| (replica.term, leads(replica), replica.commit))
}

fn replica_cells(best: Option<(&NodeStatus, &ReplicaStatus)>) -> [String; 7] {
    let Some((status, replica)) = best else {
        let unknown = || "?".to_owned();
        return [
            "not known".into(),
            unknown(),
            unknown(),
            unknown(),
            unknown(),
            unknown(),
            unknown(),
        ];
    };
    let leader = match (replica.role, replica.leader) {
        (ReplicaRole::Leader, _) => status.node.to_string(),
        (ReplicaRole::LeaderStarting, _) => format!("{} (starting)", status.node),
        (ReplicaRole::Candidate, _) => "being elected".to_owned(),
        (ReplicaRole::Follower, Some(leader)) => format!("{leader} (says {})", status.node),
        (ReplicaRole::Follower, None) => "none".to_owned(),
    };
    [
        leader,
        replica.term.0.to_string(),
        replica.stored.0.to_string(),
        replica.commit.0.to_string(),
        replica.last.0.to_string(),
        replica.locks.to_string(),
        replica.waiting.to_string(),
    ]
}

fn json(map: &MapAnswer, answers: &[Answer]) -> Object {
    let nodes: Vec<Value> = answers.iter().map(node_json).collect();
    let partitions = map.partitions.iter();
    let partitions: Vec<Value> = partitions
        .map(|(descriptor, leader)| {
            let best = best_replica(descriptor.partition, answers);
            let leader = match best {
                Some((status, replica)) if leads(replica) => Some(status.node),
                Some((_, replica)) => replica.leader,
                None => *leader,
            };
            let object = partition_json(descriptor, leader);
            object
                .with(
                    "replica",
                    best.map_or(Value::Null, |(_, r)| replica_json(r)),
                )
                .into()
        })
        .collect();
    Object::new()
        .with("cluster", map.cluster.to_string())
        .with("nodes", nodes)
        .with("partitions", partitions)
}

fn node_json(answer: &Answer) -> Value {
    let object = Object::new()
        .with("node", answer.member.node.0)
        .with("address", answer.member.address.as_str())
        .with("up", answer.status.is_ok());
    match &answer.status {
        Err(why) => object.with("error", why.as_str()),
        Ok(status) => {
            let replicas: Vec<Value> = status.replicas.iter().map(replica_json).collect();
            object
                .with("version", status.version.as_str())
                .with("start", status.start)
                .with("up_ms", status.up_ms)
                .with("clock_bound_us", status.clock_bound_us)
                .with("clock_source", status.clock_source.as_str())
                .with(
                    "clock_trouble",
                    status.clock_trouble.map_or(Value::Null, trouble_json),
                )
                .with("clock_quarantines", status.clock_quarantines)
                .with("unfit", status.unfit.map(|why| why.to_string()))
                .with(
                    "clocks",
                    status
                        .peers
                        .iter()
                        .filter_map(clock_json)
                        .collect::<Vec<Value>>(),
                )
                .timestamp("hybrid_clock", status.hybrid_clock)
                .timestamp("ceiling", status.ceiling)
                .with("log_bytes", status.log_bytes)
                .with("disk_free", status.disk_free)
                .with("disk_reserve", status.disk_reserve)
                .with("drift_refused", status.drift_refused)
                .with("coordinating", status.coordinating)
                .with("replicas", replicas)
        }
    }
    .into()
}

fn trouble_json(trouble: ClockTrouble) -> Value {
    Object::new()
        .with("why", trouble.cause.to_string())
        .with("for_ms", trouble.for_ms)
        .with("back_in_ms", trouble.back_in_ms)
        .into()
}

/// How the node sees another's clock.
fn clock_json(peer: &PeerStatus) -> Option<Value> {
    let clock = peer.clock?;
    let object = Object::new()
        .with("node", peer.node.0)
        .with("ahead_us", clock.ahead_us)
        .with("within_us", clock.within_us)
        .with("bound_us", clock.bound_us)
        .with("agrees", clock.agrees);
    Some(object.into())
}

fn numbers(members: &BTreeSet<NodeId>) -> Vec<u32> {
    members.iter().map(|node| node.0).collect()
}

fn replica_json(replica: &ReplicaStatus) -> Value {
    let role = match replica.role {
        ReplicaRole::Follower => "follower",
        ReplicaRole::Candidate => "candidate",
        ReplicaRole::LeaderStarting => "leader_starting",
        ReplicaRole::Leader => "leader",
    };
    Object::new()
        .with("partition", replica.descriptor.partition.0)
        .with("role", role)
        .with("term", replica.term.0)
        .with("leader", replica.leader.map(|node| node.0))
        .with("voters", numbers(&replica.configuration.voters))
        .with("outgoing", numbers(&replica.configuration.outgoing))
        .with("learners", numbers(&replica.configuration.learners))
        .with("low_water", replica.low_water.0)
        .with("stored", replica.stored.0)
        .with("commit", replica.commit.0)
        .with("last", replica.last.0)
        .timestamp("horizon", replica.horizon)
        .timestamp("promise", replica.promise)
        .with("locks", replica.locks)
        .with("waiting", replica.waiting)
        .with("has_forgotten", replica.has_forgotten)
        .with(
            "installing",
            replica.installing.map_or(Value::Null, |installing| {
                Object::new()
                    .with("up_to", installing.up_to.0)
                    .with("bytes", installing.bytes)
                    .with("complete", installing.is_complete)
                    .into()
            }),
        )
        .into()
}
