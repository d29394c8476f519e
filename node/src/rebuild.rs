//! What the log of a stopped node says after its replicas were dropped (`horolog rebuild`): it stays who
//! it is, and its replicas are empty and have lost their memory, so they take part in nothing before the
//! others have told what they may count on (decision 0010).

use crate::identity::{META_FORGOTTEN, META_FOUNDER, META_INCARNATIONS};
use crate::node::NodeError;
use crate::node::replicas::{forgotten_record, next_incarnation};
use partition::log::{LogRecord, RecoveredLog, RecoveredReplica};
use partition::replication::{ConfigurationEntry, Recollection};
use wire::message::{Configuration, LogPosition};

/// Why replicas cannot be dropped.
#[derive(Debug, thiserror::Error)]
pub enum NotRebuilt {
    /// There are none.
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
/// the partition. If no change of members is in the log, the founding's members count.
fn may_be_only_copy(replica: &RecoveredReplica) -> bool {
    let bodies = replica.entries.iter().rev().map(|entry| &entry.body);
    let latest = bodies.filter_map(ConfigurationEntry::decode).next();
    let configuration = match latest {
        Some(entry) => entry.configuration,
        None => Configuration::of(replica.descriptor.members.iter().copied()),
    };
    configuration.voters.len() == 1 || configuration.outgoing.len() == 1
}

/// All records of the new log.
pub fn rebuilt_log(recovered: &RecoveredLog) -> Result<Vec<LogRecord>, NotRebuilt> {
    if !recovered.metas.contains_key(&META_FOUNDER) || recovered.replicas.is_empty() {
        return Err(NotRebuilt::Nothing);
    }
    let mut replicas = recovered.replicas.values();
    if replicas.any(may_be_only_copy) {
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
