//! Replicas that begin on this node, and end on it, by changes of members.
//!
//! ```text
//!   Join ──► no replica here ──► ReplicaInstalled, empty ──► learns ──► votes
//!   Removed, or the own log says so ──► ReplicaDropped, and since when: nothing older begins it again
//! ```
//!
//! Invariants
//! - A replica begins as a new one only if this node cannot have held one that others may still count on: it
//!   has not lost its log since the founding, it has not lost what the replica held when that was dropped,
//!   and the change that names it is later than the one that removed it. Otherwise it has forgotten, and
//!   asks everybody first (docs/decisions/0010, 0012).
//! - It begins above every term of its life before, and at that of the change which names it. *Else a leader
//!   that counts on what the life before acknowledged would go on to, and one that does not know that this
//!   node was removed would be acknowledged again.*
//! - Both are in the log before anything that the replica says counts.
//! - Whoever asks what a partition may have seen is answered without a replica, too: its founders may all
//!   have lost what they knew, and take it for new if nobody says otherwise.

use super::Node;
use super::replicas::{fact, forgotten_record, meta_record};
use crate::identity::{META_INCARNATIONS, META_MEMBERS, META_REMOVED};
use crate::log_queue::Held;
use crate::node::NodeError;
use clock::Now;
use partition::log::{LogRecord, RecoveredLog, RecoveredReplica};
use partition::replication::{ChangeRefused, Recollection};
use partition::versions::MemoryStore;
use partition::{Replica, ReplicaConfig, ReplicaContext};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wire::ids::{NodeId, PartitionId, Term};
use wire::message::{Configured, LogPosition, Memory, PeerMessage, ReplicationMessage};

/// A replica that was dropped because it was no member any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct RemovedReplica {
    /// The committed configuration that does not name this node.
    configured: Configured,
    /// It is the last one up to here.
    as_of: LogPosition,
    /// It had lost its memory, and did not have it again.
    had_forgotten: bool,
    /// It acknowledged nothing and voted for nobody in a later term.
    term: Term,
}

/// Which replicas were removed, as the log remembers it.
pub(super) fn removed(
    recovered: &RecoveredLog,
) -> Result<BTreeMap<PartitionId, RemovedReplica>, NodeError> {
    fact(recovered, META_REMOVED, "list of removed replicas")
}

/// Which members each replica knew last, as the log remembers it.
pub(crate) fn noted_members(
    recovered: &RecoveredLog,
) -> Result<BTreeMap<PartitionId, Configured>, NodeError> {
    fact(recovered, META_MEMBERS, "list of members")
}

impl Node {
    /// Makes these nodes the voters of a partition, if this node leads it and can.
    pub(super) fn change_members(
        &mut self,
        now: &Now,
        partition: PartitionId,
        voters: BTreeSet<NodeId>,
    ) -> Result<(), ChangeRefused> {
        let promised = self.heartbeats.promised();
        let hint = self.membership.as_ref().map(|m| &m.channel);
        let leader = hint.and_then(|channel| channel.leader_hint(partition));
        let Some(replica) = self.replicas.get_mut(&partition) else {
            return Err(ChangeRefused::NotLeader { leader });
        };
        replica.change_members(&ReplicaContext { now, promised }, voters)
    }

    /// Something is said to a replica that is not here.
    pub(super) fn on_message_without_replica(
        &mut self,
        now: &Now,
        partition: PartitionId,
        from: NodeId,
        message: ReplicationMessage,
    ) {
        use ReplicationMessage as M;
        match message {
            M::Join { configured, .. } => self.maybe_begin_replica(now, partition, configured),
            M::PreVote { .. } | M::Vote { .. } => self.maybe_tell_removed(partition, from),
            M::AskMemory { nonce } => {
                self.maybe_tell_removed(partition, from);
                if nonce > 0 {
                    self.tell_memory(partition, from, nonce);
                }
            }
            _ => {}
        }
    }

    /// Whoever was removed as well may find nobody else who knows.
    fn maybe_tell_removed(&mut self, partition: PartitionId, to: NodeId) {
        if let Some(removed) = self.removed.get(&partition)
            && !removed.configured.configuration.has_member(to)
        {
            let message = ReplicationMessage::Removed {
                configured: removed.configured.clone(),
                as_of: removed.as_of,
            };
            let told = PeerMessage::Replication { partition, message };
            self.outbox.push(to, told);
        }
    }

    fn tell_memory(&mut self, partition: PartitionId, to: NodeId, nonce: u64) {
        let memory = self.memory_without_replica(partition);
        let message = ReplicationMessage::Memory { nonce, memory };
        let message = PeerMessage::Replication { partition, message };
        // What it was removed by may be on its way to the disk.
        self.hold_for_log(Held::Peer { to, message });
    }

    /// What this node knows of a partition of which it holds nothing: by what it was removed, or nothing.
    pub(super) fn memory_without_replica(&self, partition: PartitionId) -> Option<Memory> {
        let removed = self.removed.get(&partition)?;
        Some(Memory {
            term: removed.term,
            promised: self.heartbeats.promised(),
            last: removed.as_of,
            configured: removed.configured.clone(),
            remembers: !removed.had_forgotten,
        })
    }

    fn maybe_begin_replica(&mut self, now: &Now, partition: PartitionId, configured: Configured) {
        let Some(me) = self.me() else { return };
        let removed = self.removed.get(&partition);
        let is_late = removed.is_some_and(|removed| removed.as_of >= configured.at);
        if is_late || !configured.configuration.has_member(me) {
            return;
        }
        let founding = self.founder.founding();
        let mut descriptors = founding.iter().flat_map(|founding| &founding.descriptors);
        let Some(descriptor) = descriptors.find(|d| d.partition == partition).cloned() else {
            tracing::warn!(%partition, "this node is to be a member of a partition that it does not know");
            return;
        };
        let has_lost = !self.founder.took_part() || removed.is_some_and(|r| r.had_forgotten);
        let is_new = configured.configuration.learners.contains(&me) && !has_lost;
        let memory = match is_new {
            true => Recollection::BegunAt(configured.at),
            false => Recollection::Lost,
        };
        let term = self.least_term(partition, memory);
        tracing::info!(%partition, index = %configured.at.index, %term, is_new, "begins a replica");
        let incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        self.forgotten.insert(partition, memory);
        self.log
            .push(meta_record_of_incarnation(self.next_incarnation));
        self.log.push(forgotten_record(&self.forgotten));
        self.log.push(LogRecord::ReplicaInstalled {
            partition,
            incarnation,
            descriptor: descriptor.clone(),
            base: LogPosition::default(),
        });
        self.log.push(begun_in(partition, term));
        let empty = RecoveredReplica {
            incarnation,
            descriptor,
            term,
            voted_for: None,
            base: LogPosition::default(),
            entries: Vec::new(),
        };
        let config = ReplicaConfig {
            told: Some(configured),
            ..self.replica_config(partition)
        };
        let replica = Replica::new(config, empty, &MemoryStore::default(), now);
        let replica = replica.expect("an empty store in memory is always readable");
        self.replicas.insert(partition, replica);
        self.hold_for_log(Held::Live(self.live()));
    }

    /// A replica that had lost its memory was named a new member since.
    pub(super) fn on_begins(&mut self, partition: PartitionId, at: LogPosition) {
        tracing::info!(%partition, index = %at.index, "was named anew: need not remember");
        let memory = Recollection::BegunAt(at);
        self.forgotten.insert(partition, memory);
        self.log.push(forgotten_record(&self.forgotten));
    }

    /// The earliest term in which a replica with this memory may take part.
    fn least_term(&self, partition: PartitionId, memory: Recollection) -> Term {
        let removed = self.removed.get(&partition);
        let above = removed.map(|removed| removed.term.next());
        let named_in = match memory {
            Recollection::Whole => return Term(0),
            Recollection::Lost => Term(0),
            Recollection::BegunAt(position) => position.term,
        };
        above.unwrap_or_default().max(named_in)
    }

    /// After a restart: a torn batch may hold a replica that begins, and not its term.
    pub(super) fn restore_term(&mut self, partition: PartitionId, replica: &mut RecoveredReplica) {
        let memory = self.forgotten.get(&partition).copied().unwrap_or_default();
        let least = self.least_term(partition, memory);
        if replica.term < least {
            replica.term = least;
            replica.voted_for = None;
            self.log.push(begun_in(partition, least));
        }
    }

    /// Writes down who a replica's members are, if that is news: its own log may be discarded beyond it, and
    /// a replica that begins has it nowhere else.
    pub(super) fn note_members(&mut self, partition: PartitionId) {
        let Some(replica) = self.replicas.get(&partition) else {
            return;
        };
        let configured = replica.configured();
        let noted = self.noted_members.get(&partition);
        if noted.map(|noted| noted.at).unwrap_or_default() != configured.at {
            self.noted_members.insert(partition, configured.clone());
            let record = meta_record(META_MEMBERS, &self.noted_members);
            self.log.push(record);
        }
    }

    /// A replica of this node is no member any more: it goes, with everything that it holds.
    pub(super) fn drop_replica(
        &mut self,
        partition: PartitionId,
        configured: Configured,
        as_of: LogPosition,
    ) {
        let Some(replica) = self.replicas.remove(&partition) else {
            return;
        };
        tracing::info!(%partition, index = %configured.at.index, "is no member any more: drops its replica");
        self.noted_members.remove(&partition);
        let memory = self.forgotten.remove(&partition);
        let removed = RemovedReplica {
            configured,
            as_of,
            had_forgotten: memory == Some(Recollection::Lost),
            term: replica.term().max(as_of.term),
        };
        self.removed.insert(partition, removed);
        // In this order: a torn batch must not leave a node that has no replica and does not know why.
        self.log.push(meta_record(META_REMOVED, &self.removed));
        self.log.push(LogRecord::ReplicaDropped { partition });
        self.log.push(forgotten_record(&self.forgotten));
        self.hold_for_log(Held::Live(self.live()));
    }
}

fn begun_in(partition: PartitionId, term: Term) -> LogRecord {
    LogRecord::HardState {
        partition,
        term,
        voted_for: None,
    }
}

/// What the log says of the next incarnation to be given.
pub(super) fn meta_record_of_incarnation(next: u32) -> LogRecord {
    LogRecord::Meta {
        kind: META_INCARNATIONS,
        body: next.to_be_bytes().to_vec().into(),
    }
}
