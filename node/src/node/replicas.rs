//! Which replicas this node holds, and under which incarnations their rows stand in its store.

use super::Node;
use super::members::meta_record_of_incarnation;
use super::membership::FIRST_INCARNATION;
use crate::identity::{META_FORGOTTEN, META_INCARNATIONS};
use crate::log_queue::Held;
use crate::node::NodeError;
use partition::log::{LogRecord, RecoveredLog};
use partition::replication::Recollection;
use partition::versions::Live;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use wire::ids::PartitionId;
use wire::message::Founding;

/// A partition's share of what a member that is away may hold back is no less, bytes.
const HELD_BACK_BYTES_MIN: u64 = 1 << 10;

impl Node {
    /// Gives a replica an incarnation that no rows stand under; it is told once that is durable.
    pub(super) fn give_incarnation(&mut self, partition: PartitionId) {
        let incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        self.given.insert(incarnation);
        self.log
            .push(meta_record_of_incarnation(self.next_incarnation));
        self.hold_for_log(Held::Incarnation {
            partition,
            incarnation,
        });
    }

    /// Which rows of the store are needed, once everything that was logged so far is durable.
    pub(super) fn live(&self) -> Live {
        let replicas = self.replicas.iter().flat_map(|(partition, replica)| {
            let range = replica.descriptor().range.clone();
            let incarnations = replica.incarnations();
            incarnations.map(move |incarnation| (*partition, incarnation, range.clone()))
        });
        Live {
            replicas: replicas.collect(),
            below: self.given.first().copied().unwrap_or(self.next_incarnation),
        }
    }

    /// This node was not there at the founding: it is late, or it was a member before and has lost its
    /// log. Until the others have told what they may count on, its replicas take no part.
    pub(super) fn begin_without_memory(&mut self, founding: &Founding) {
        tracing::warn!(
            cluster = %founding.cluster,
            "the cluster was founded without this log: this node is late, or its data directory was \
             replaced. Its replicas ask the others what they may have forgotten before they take part"
        );
        if self.config.takes_part_without_memory() {
            return;
        }
        let expected = self.expected_replicas(founding).into_iter();
        self.forgotten = expected.map(|p| (p, Recollection::Lost)).collect();
        self.log.push(forgotten_record(&self.forgotten));
    }

    /// A replica holds everything again that others may count on.
    pub(super) fn on_remembered(&mut self, partition: PartitionId) {
        let Some(memory) = self.forgotten.remove(&partition) else {
            return;
        };
        self.log.push(forgotten_record(&self.forgotten));
        if memory != Recollection::Lost {
            return tracing::info!(%partition, "the new replica holds the change that made it one");
        }
        tracing::info!(%partition, left = self.forgotten.len(), "holds again what it had forgotten");
        if self.forgotten.is_empty() {
            tracing::info!("every replica of this node takes part again");
        }
    }

    /// A replica's own record for the log.
    pub(super) fn log_record(&mut self, record: LogRecord) {
        if let LogRecord::Ceiling { timestamp } = &record {
            // Somebody else's promise, which this node tells from now on at votes like its own.
            self.ceiling.propose(*timestamp);
            self.heartbeats.acknowledge_own(*timestamp);
        }
        self.log.push(record);
    }

    /// How much of its log each partition lets a member that is away hold back.
    pub(super) fn held_back_bytes_max(&self) -> u64 {
        let founding = self.founder.founding();
        let replicas = founding.map_or(1, |founding| self.expected_replicas(founding).len());
        let replicas = replicas.max(self.replicas.len());
        let share = self.config.held_back_bytes_max / replicas.max(1) as u64;
        share.max(HELD_BACK_BYTES_MIN)
    }
}

/// What the log says of replicas that have lost their memory.
pub(crate) fn forgotten_record(partitions: &BTreeMap<PartitionId, Recollection>) -> LogRecord {
    meta_record(META_FORGOTTEN, partitions)
}

pub(crate) fn meta_record<T: Serialize>(kind: u8, fact: &T) -> LogRecord {
    let body = postcard::to_stdvec(fact).expect("plain data always encodes");
    LogRecord::Meta {
        kind,
        body: body.into(),
    }
}

/// Which replicas have lost their memory or are new, as the log remembers it.
pub(crate) fn forgotten(
    recovered: &RecoveredLog,
) -> Result<BTreeMap<PartitionId, Recollection>, NodeError> {
    fact(recovered, META_FORGOTTEN, "list of replicas without memory")
}

/// A fact of the log's, or the empty one.
pub(super) fn fact<T: DeserializeOwned + Default>(
    recovered: &RecoveredLog,
    kind: u8,
    what: &'static str,
) -> Result<T, NodeError> {
    let Some(body) = recovered.metas.get(&kind) else {
        return Ok(T::default());
    };
    postcard::from_bytes(body).map_err(|error| NodeError::Damaged {
        what,
        why: error.to_string(),
    })
}

/// The next incarnation to be given, as the log remembers it.
pub(crate) fn next_incarnation(recovered: &RecoveredLog) -> Result<u32, NodeError> {
    let Some(body) = recovered.metas.get(&META_INCARNATIONS) else {
        return Ok(FIRST_INCARNATION + 1);
    };
    let bytes = body[..].try_into().map_err(|_| NodeError::Damaged {
        what: "next incarnation",
        why: format!("it has {} bytes instead of 4", body.len()),
    })?;
    Ok(u32::from_be_bytes(bytes))
}
