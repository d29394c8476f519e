//! What waits for this node's own log: messages that may leave only when everything logged before
//! them is durable, and who must hear of it (patterns Write-Ahead Log, Request Waiting List).
//!
//! ```text
//!   turn 7:  records ──► batch 7 ──► log thread ──► LogDurable 7 ──► messages of turn 7 leave
//!   turn 8:  no records, a message "after the log" ─────────────────► leaves with batch 7 too
//! ```
//!
//! The log is one ordered file, so "everything logged before" is one number: the last batch handed over.

use clock::Timestamp;
use partition::log::{LogBatch, LogRecord};
use partition::versions::Live;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use wire::ids::{NodeId, PartitionId};
use wire::message::{FoundingMessage, LogPosition, PeerMessage};

/// What waits for the log: messages, and what this node tells itself.
#[derive(Debug, PartialEq)]
pub(crate) enum Held {
    Peer {
        to: NodeId,
        message: PeerMessage,
    },
    Founding {
        to: String,
        message: FoundingMessage,
    },
    /// A replica may use this incarnation.
    Incarnation {
        partition: PartitionId,
        incarnation: u32,
    },
    /// These replicas live, and no others.
    Live(Live),
}

/// What became durable with one batch.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Durable {
    /// The last entry of each partition in it.
    pub(crate) entries: BTreeMap<PartitionId, LogPosition>,
    /// The highest ceiling in it.
    pub(crate) ceiling: Option<Timestamp>,
    /// Whether it holds this start's identity.
    pub(crate) identity: bool,
}

/// A batch that was handed over and is not durable yet.
#[derive(Debug)]
struct UnderWay {
    sequence: u64,
    since: Duration,
    holds: Durable,
}

#[derive(Debug, Default)]
pub(crate) struct LogQueue {
    handed_over: u64,
    durable: u64,
    records: Vec<LogRecord>,
    pending: Durable,
    under_way: VecDeque<UnderWay>,
    held: VecDeque<(u64, Held)>,
}

impl LogQueue {
    /// Adds a record to this turn's batch.
    pub(crate) fn push(&mut self, record: LogRecord) {
        match &record {
            LogRecord::Entry { partition, entry } => {
                self.pending.entries.insert(*partition, entry.position());
            }
            LogRecord::ReplicaDropped { partition } => self.forget(*partition),
            LogRecord::Ceiling { timestamp } => {
                self.pending.ceiling = self.pending.ceiling.max(Some(*timestamp));
            }
            LogRecord::Meta { kind, .. } if *kind == crate::identity::META_IDENTITY => {
                self.pending.identity = true;
            }
            _ => {}
        }
        self.records.push(record);
    }

    /// Nobody waits for the entries of a replica that is dropped. *Told of them, the next replica of the
    /// partition could take its own for durable, which may be the same once more.*
    fn forget(&mut self, partition: PartitionId) {
        self.pending.entries.remove(&partition);
        for batch in &mut self.under_way {
            batch.holds.entries.remove(&partition);
        }
    }

    /// Holds a message until everything pushed so far is durable; gives it back if it already is.
    pub(crate) fn hold(&mut self, message: Held) -> Option<Held> {
        let needs = if self.records.is_empty() {
            self.handed_over
        } else {
            self.handed_over + 1
        };
        if needs <= self.durable {
            return Some(message);
        }
        self.held.push_back((needs, message));
        None
    }

    /// Ends a turn: its batch, if anything was pushed.
    pub(crate) fn take_batch(&mut self, now: Duration) -> Option<LogBatch> {
        if self.records.is_empty() {
            return None;
        }
        self.handed_over += 1;
        self.under_way.push_back(UnderWay {
            sequence: self.handed_over,
            since: now,
            holds: std::mem::take(&mut self.pending),
        });
        Some(LogBatch {
            sequence: self.handed_over,
            records: std::mem::take(&mut self.records),
        })
    }

    /// Batches up to `sequence` are durable: what they held, oldest first.
    pub(crate) fn on_durable(&mut self, sequence: u64) -> Vec<Durable> {
        assert!(
            sequence <= self.handed_over,
            "batch {sequence} became durable, but only {} were handed over",
            self.handed_over
        );
        self.durable = self.durable.max(sequence);
        let mut durable = Vec::new();
        while self
            .under_way
            .front()
            .is_some_and(|batch| batch.sequence <= self.durable)
        {
            durable.extend(self.under_way.pop_front().map(|batch| batch.holds));
        }
        durable
    }

    /// For how long the oldest batch has waited to become durable.
    pub(crate) fn stalled_for(&self, now: Duration) -> Duration {
        let oldest = self.under_way.front();
        oldest.map_or(Duration::ZERO, |batch| now.saturating_sub(batch.since))
    }

    /// Takes a held message whose wait is over, in the order in which they were held.
    pub(crate) fn pop_released(&mut self) -> Option<Held> {
        if self.held.front()?.0 > self.durable {
            return None;
        }
        self.held.pop_front().map(|(_, held)| held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Held {
        Held::Founding {
            to: text.to_owned(),
            message: FoundingMessage::OtherList { list: Vec::new() },
        }
    }

    fn record() -> LogRecord {
        LogRecord::Ceiling {
            timestamp: Timestamp::from_micros(5),
        }
    }

    #[test]
    fn a_message_leaves_with_the_batch_of_its_turn_and_not_before() {
        let mut queue = LogQueue::default();
        queue.push(record());
        assert_eq!(queue.hold(message("a")), None);
        assert_eq!(queue.take_batch(Duration::ZERO).unwrap().sequence, 1);
        assert_eq!(queue.pop_released(), None);
        assert_eq!(
            queue.on_durable(1)[0].ceiling,
            Some(Timestamp::from_micros(5))
        );
        assert_eq!(queue.pop_released(), Some(message("a")));
    }

    #[test]
    fn a_turn_without_records_waits_for_what_was_handed_over_before() {
        let mut queue = LogQueue::default();
        assert_eq!(
            queue.hold(message("free")),
            Some(message("free")),
            "nothing was ever logged"
        );
        queue.push(record());
        queue.take_batch(Duration::ZERO);
        assert_eq!(queue.take_batch(Duration::ZERO), None);
        assert_eq!(queue.hold(message("b")), None);
        queue.on_durable(1);
        assert_eq!(queue.pop_released(), Some(message("b")));
        assert_eq!(queue.hold(message("c")), Some(message("c")));
    }

    fn entry(partition: u32) -> LogRecord {
        let entry = wire::message::Entry {
            term: wire::ids::Term(1),
            index: wire::ids::LogIndex(1),
            body: bytes::Bytes::new(),
        };
        let partition = PartitionId(partition);
        LogRecord::Entry { partition, entry }
    }

    #[test]
    fn nobody_hears_of_the_entries_of_a_replica_that_was_dropped() {
        let mut queue = LogQueue::default();
        queue.push(entry(1));
        queue.push(entry(2));
        queue.take_batch(Duration::ZERO);
        queue.push(entry(1));
        let partition = PartitionId(1);
        queue.push(LogRecord::ReplicaDropped { partition });
        queue.take_batch(Duration::ZERO);
        // The next replica of the partition has the same entry.
        queue.push(entry(1));
        queue.take_batch(Duration::ZERO);
        let held = |durable: Vec<Durable>| -> Vec<u32> {
            let entries = durable.into_iter().flat_map(|d| d.entries.into_keys());
            entries.map(|partition| partition.0).collect()
        };
        assert_eq!(held(queue.on_durable(2)), [2]);
        assert_eq!(held(queue.on_durable(3)), [1]);
    }

    #[test]
    fn one_report_covers_all_batches_below_it() {
        let mut queue = LogQueue::default();
        for _ in 0..3 {
            queue.push(record());
            queue.take_batch(Duration::ZERO);
        }
        assert_eq!(queue.on_durable(2).len(), 2);
        let waited = Duration::from_millis(7);
        assert_eq!(queue.stalled_for(waited), waited);
        assert_eq!(queue.on_durable(3).len(), 1);
        assert_eq!(queue.stalled_for(waited), Duration::ZERO);
    }
}
