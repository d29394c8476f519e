//! What the log says besides entries, small enough to be said again at the head of each segment
//! (pattern Segmented Log): so a whole older segment can go once its entries are not needed.

use super::format::Stored;
use super::record::LogRecord;
use bytes::Bytes;
use clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wire::ids::{NodeId, PartitionId, Term};
use wire::keys::Descriptor;
use wire::message::LogPosition;

/// The log's state without entries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) replicas: BTreeMap<PartitionId, ReplicaCheckpoint>,
    pub(super) ceiling: Timestamp,
    pub(super) metas: BTreeMap<u8, Bytes>,
}

/// What is remembered of a replica besides its entries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ReplicaCheckpoint {
    pub(super) incarnation: u32,
    pub(super) descriptor: Descriptor,
    pub(super) base: LogPosition,
    pub(super) term: Term,
    pub(super) voted_for: Option<NodeId>,
}

impl Checkpoint {
    /// Takes over what a record says. An error is a record about a replica that is not here.
    pub(super) fn apply(&mut self, stored: &Stored) -> Result<(), String> {
        match stored {
            Stored::Record(record) => self.apply_record(record),
            Stored::SegmentHead { checkpoint, .. } => {
                self.clone_from(checkpoint);
                Ok(())
            }
            Stored::LowWaterMark { partition, up_to } => self.raise_base(*partition, *up_to),
            Stored::Carried { partition, .. } => {
                self.replica(*partition, "a carried entry")?;
                Ok(())
            }
        }
    }

    pub(super) fn apply_record(&mut self, record: &LogRecord) -> Result<(), String> {
        match record {
            LogRecord::Entry { partition, .. } => {
                self.replica(*partition, "an entry")?;
            }
            LogRecord::HardState {
                partition,
                term,
                voted_for,
            } => {
                let replica = self.replica(*partition, "a term")?;
                replica.term = *term;
                replica.voted_for = *voted_for;
            }
            LogRecord::ReplicaInstalled {
                partition,
                incarnation,
                descriptor,
                base,
            } => {
                let before = self.replicas.get(partition);
                // The vote outlives the data: a replica that is installed anew must not vote twice.
                let (term, voted_for) = before.map_or((Term(0), None), |r| (r.term, r.voted_for));
                let installed = ReplicaCheckpoint {
                    incarnation: *incarnation,
                    descriptor: descriptor.clone(),
                    base: *base,
                    term,
                    voted_for,
                };
                self.replicas.insert(*partition, installed);
            }
            LogRecord::ReplicaDropped { partition } => {
                self.replicas.remove(partition);
            }
            LogRecord::Ceiling { timestamp } => self.ceiling = self.ceiling.max(*timestamp),
            LogRecord::Meta { kind, body } => {
                self.metas.insert(*kind, body.clone());
            }
        }
        Ok(())
    }

    /// Raises the low-water mark of a partition.
    pub(super) fn raise_base(
        &mut self,
        partition: PartitionId,
        up_to: LogPosition,
    ) -> Result<(), String> {
        let replica = self.replica(partition, "a low-water mark")?;
        if up_to.index > replica.base.index {
            replica.base = up_to;
        }
        Ok(())
    }

    fn replica(
        &mut self,
        partition: PartitionId,
        what: &str,
    ) -> Result<&mut ReplicaCheckpoint, String> {
        self.replicas.get_mut(&partition).ok_or_else(|| {
            format!("{what} of {partition}, which was never installed or is dropped")
        })
    }
}
