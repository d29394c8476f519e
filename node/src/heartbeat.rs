//! Heartbeats between nodes, each carrying one promise for all partitions that its sender leads
//! (patterns HeartBeat, Lease; protocol R9).
//!
//! A leader's promise is acknowledged for a (partition, term), and only by the answer to a heartbeat
//! that named exactly this partition and term: so an answer on its way when leadership was lost and
//! won again counts for nothing.

use clock::Timestamp;
use std::collections::BTreeMap;
use wire::ids::{NodeId, PartitionId, Term};
use wire::message::{Heartbeat, HeartbeatReply, Leading, Standing};

/// Heartbeats to one node that may still be answered; older ones count for nothing.
const UNANSWERED_MAX: usize = 64;

/// An acknowledged promise of one partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) partition: PartitionId,
    pub(crate) term: Term,
    pub(crate) promise: Timestamp,
}

#[derive(Debug)]
struct Sent {
    promise: Timestamp,
    leading: Vec<(PartitionId, Term)>,
}

/// The heartbeats that this node has sent, and the highest promise that it has acknowledged to anyone.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    sequence: u64,
    sent: BTreeMap<NodeId, BTreeMap<u64, Sent>>,
    /// Told to candidates at the vote. After a restart: the ceiling, for nothing above it was
    /// acknowledged.
    promised: Timestamp,
}

impl Heartbeats {
    /// `ceiling`: the durable ceiling found at start. `first`: the first sequence, above those of
    /// earlier starts, so that a late answer to an earlier life pairs with nothing.
    pub(crate) fn new(ceiling: Timestamp, first: u64) -> Heartbeats {
        Heartbeats {
            sequence: first,
            sent: BTreeMap::new(),
            promised: ceiling,
        }
    }

    /// The highest promise acknowledged to anyone, this node's own leaderships included.
    pub(crate) fn promised(&self) -> Timestamp {
        self.promised
    }

    /// This node's own disk acknowledges a promise like any other member's.
    pub(crate) fn acknowledge_own(&mut self, promise: Timestamp) {
        self.promised = self.promised.max(promise);
    }

    /// A heartbeat to `to` that asks for `promise` in what this node leads.
    pub(crate) fn send(
        &mut self,
        to: NodeId,
        promise: Timestamp,
        leading: Vec<Leading>,
    ) -> Heartbeat {
        self.sequence += 1;
        let unanswered = self.sent.entry(to).or_default();
        let named = leading.iter().map(|l| (l.partition, l.term)).collect();
        unanswered.insert(
            self.sequence,
            Sent {
                promise,
                leading: named,
            },
        );
        while unanswered.len() > UNANSWERED_MAX {
            unanswered.pop_first();
        }
        Heartbeat {
            sequence: self.sequence,
            promise,
            leading,
        }
    }

    /// What an answer acknowledges. An answer that was already had, or to nothing, acknowledges nothing.
    pub(crate) fn on_reply(&mut self, from: NodeId, reply: &HeartbeatReply) -> Vec<Acknowledged> {
        let Some(sent) = self
            .sent
            .get_mut(&from)
            .and_then(|s| s.remove(&reply.sequence))
        else {
            return Vec::new();
        };
        let promise = reply.acknowledged.min(sent.promise);
        sent.leading
            .into_iter()
            .filter(|(partition, _)| reply.later.iter().all(|(later, _)| later != partition))
            .map(|(partition, term)| Acknowledged {
                partition,
                term,
                promise,
            })
            .collect()
    }

    /// Answers another node's heartbeat: acknowledges at most what is durable as the ceiling, and
    /// nothing further ahead than `furthest`.
    pub(crate) fn answer(
        &mut self,
        heartbeat: &Heartbeat,
        later: Vec<(PartitionId, Term)>,
        ceiling: Timestamp,
        furthest: Timestamp,
        standing: Standing,
    ) -> HeartbeatReply {
        let acknowledged = match heartbeat.promise <= furthest {
            true => heartbeat.promise.min(ceiling),
            false => Timestamp::ZERO,
        };
        self.promised = self.promised.max(acknowledged);
        HeartbeatReply {
            sequence: heartbeat.sequence,
            acknowledged,
            later,
            standing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::LogIndex;

    const OTHER: NodeId = NodeId(2);
    const STANDING: Standing = Standing {
        leads: 0,
        unfit: None,
    };

    fn micros(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn leading(partition: u32, term: u64) -> Leading {
        Leading {
            partition: PartitionId(partition),
            term: Term(term),
            commit: LogIndex(0),
        }
    }

    #[test]
    fn an_answer_counts_once_and_only_for_what_the_heartbeat_named() {
        let mut sender = Heartbeats::new(Timestamp::ZERO, 0);
        let mut receiver = Heartbeats::new(Timestamp::ZERO, 0);
        let heartbeat = sender.send(OTHER, micros(100), vec![leading(1, 3), leading(2, 5)]);
        let later = vec![(PartitionId(2), Term(6))];
        let reply = receiver.answer(&heartbeat, later, micros(1_000), micros(200), STANDING);
        assert_eq!(
            sender.on_reply(OTHER, &reply),
            [Acknowledged {
                partition: PartitionId(1),
                term: Term(3),
                promise: micros(100)
            }]
        );
        assert_eq!(sender.on_reply(OTHER, &reply), [], "doubled");
        assert_eq!(
            sender.on_reply(NodeId(9), &reply),
            [],
            "from a node that was not asked"
        );
    }

    #[test]
    fn nothing_is_acknowledged_above_the_durable_ceiling_or_too_far_ahead() {
        let mut sender = Heartbeats::new(Timestamp::ZERO, 0);
        let mut receiver = Heartbeats::new(micros(7), 0);
        assert_eq!(
            receiver.promised(),
            micros(7),
            "after a restart: the ceiling"
        );
        let heartbeat = sender.send(OTHER, micros(100), vec![leading(1, 1)]);
        let reply = receiver.answer(&heartbeat, Vec::new(), micros(40), micros(200), STANDING);
        assert_eq!(reply.acknowledged, micros(40));
        assert_eq!(receiver.promised(), micros(40));
        let far = sender.send(OTHER, micros(201), vec![leading(1, 1)]);
        let reply = receiver.answer(&far, Vec::new(), micros(1_000), micros(200), STANDING);
        assert_eq!(reply.acknowledged, Timestamp::ZERO);
        assert_eq!(receiver.promised(), micros(40));
    }
}
