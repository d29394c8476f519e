//! What the log of a stopped node says after its replicas were dropped (`horolog rebuild`): it stays who
//! it is, and its replicas are empty and have lost their memory, so they take part in nothing before the
//! others have told what they may count on (decision 0010).

use crate::identity::{META_FORGOTTEN, META_FOUNDER, META_IDENTITY, META_INCARNATIONS};
use crate::node::NodeError;
use crate::node::members::noted_members;
use crate::node::replicas::{forgotten_record, next_incarnation};
use partition::log::{LogRecord, RecoveredLog, RecoveredReplica};
use partition::replication::{ConfigurationEntry, Recollection};
use wire::message::{Configuration, Configured, LogPosition};

/// Why replicas cannot be dropped.
#[derive(Debug, thiserror::Error)]
pub enum NotRebuilt {
    /// It is no member of a cluster.
    #[error("the log is not one of a node that belongs to a cluster")]
    Nothing,
    /// Nobody else has what this node has.
    #[error("the node holds the only copy of its data")]
    OnlyCopy,
    /// The log's content does not fit.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Whether the log says that one node has, or had until a change that may be under way still, all data of
/// the partition. If no change of members is in the log, what was `noted` when it was counts, else the
/// founding's members.
fn may_be_only_copy(replica: &RecoveredReplica, noted: Option<&Configured>) -> bool {
    let bodies = replica.entries.iter().rev().map(|entry| &entry.body);
    let latest = bodies.filter_map(ConfigurationEntry::decode).next();
    let configuration = match (latest, noted) {
        (Some(entry), _) => entry.configuration,
        (None, Some(noted)) => noted.configuration.clone(),
        (None, None) => Configuration::of(replica.descriptor.members.iter().copied()),
    };
    configuration.voters.len() == 1 || configuration.outgoing.len() == 1
}

/// All records of the new log. A member that holds no replica at the moment has a store all the same.
pub fn rebuilt_log(recovered: &RecoveredLog) -> Result<Vec<LogRecord>, NotRebuilt> {
    let is_there = |kind: &u8| recovered.metas.contains_key(kind);
    if ![META_FOUNDER, META_IDENTITY].iter().all(is_there) {
        return Err(NotRebuilt::Nothing);
    }
    let noted = noted_members(recovered)?;
    let mut replicas = recovered.replicas.iter();
    if replicas.any(|(partition, replica)| may_be_only_copy(replica, noted.get(partition))) {
        return Err(NotRebuilt::OnlyCopy);
    }
    let incarnation = next_incarnation(recovered)?;
    let is_kept = |kind: &u8| ![META_FORGOTTEN, META_INCARNATIONS].contains(kind);
    let kept = recovered.metas.iter().filter(|(kind, _)| is_kept(kind));
    let mut records: Vec<LogRecord> = kept
        .map(|(kind, body)| LogRecord::Meta {
            kind: *kind,
            body: body.clone(),
        })
        .collect();
    records.push(LogRecord::Ceiling {
        timestamp: recovered.ceiling,
    });
    records.push(LogRecord::Meta {
        kind: META_INCARNATIONS,
        body: (incarnation + 1).to_be_bytes().to_vec().into(),
    });
    let partitions = recovered.replicas.keys();
    let lost = partitions.map(|partition| (*partition, Recollection::Lost));
    records.push(forgotten_record(&lost.collect()));
    for (partition, replica) in &recovered.replicas {
        records.push(LogRecord::ReplicaInstalled {
            partition: *partition,
            incarnation,
            descriptor: replica.descriptor.clone(),
            base: LogPosition::default(),
        });
    }
    Ok(records)
}
