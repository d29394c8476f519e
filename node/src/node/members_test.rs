//! Replicas that go and come back, and a member that is alone.

use super::Node;
use super::members::removed;
use super::replicas::forgotten;
use crate::{Effect, Event, NodeConfig};
use clock::Now;
use partition::log::{LogRecord, RecoveredLog, RecoveredReplica};
use partition::replication::Recollection;
use partition::versions::{MemoryStore, StoreReport, StoreTask};
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, PartitionId, Term};
use wire::message::{Configuration, Configured, LogPosition, ReplicationMessage};

const CORE_PARTITION: PartitionId = PartitionId(1);

const START: Now = Now {
    monotonic: Duration::from_secs(7),
    physical: Duration::from_secs(1_790_000_000),
    bound: Some(Duration::from_micros(50)),
};

/// A cluster of one node, its disk and its store, both of which take no time.
struct Alone {
    node: Node,
    now: Now,
    logged: Vec<LogRecord>,
}

impl Alone {
    fn new() -> Alone {
        let config = NodeConfig::new("a:1", vec!["a:1".to_owned()], 1);
        let recovered = RecoveredLog::default();
        let node = Node::new(config, recovered, &MemoryStore::default(), &START);
        Alone {
            node: node.expect("starts"),
            now: START,
            logged: Vec::new(),
        }
    }

    /// Whatever there is to do at this moment.
    fn work(&mut self) {
        self.node.step(&self.now, Event::Wake);
        loop {
            let mut out = Vec::new();
            self.node.flush(&self.now, &mut out);
            self.node.invariants();
            let answers: Vec<Event> = out.into_iter().filter_map(|e| self.answer(e)).collect();
            if answers.is_empty() {
                return;
            }
            for answer in answers {
                self.node.step(&self.now, answer);
            }
        }
    }

    fn answer(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Log(batch) => {
                self.logged.extend(batch.records);
                let sequence = batch.sequence;
                Some(Event::LogDurable { sequence })
            }
            Effect::Store(StoreTask::Apply(batch)) => Some(Event::Store(StoreReport::Applied {
                partition: batch.partition,
                incarnation: batch.incarnation,
                position: batch.applied,
            })),
            _ => None,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.physical += time;
        self.work();
    }

    /// Until its replica leads.
    fn leading() -> Alone {
        let mut alone = Alone::new();
        alone.work();
        let limit = START.monotonic + Duration::from_secs(10);
        while !alone.leads() {
            assert!(alone.now.monotonic < limit, "it elects itself");
            alone.pass(Duration::from_millis(1));
        }
        alone
    }

    fn leads(&self) -> bool {
        let replica = self.node.replicas.get(&CORE_PARTITION);
        replica.is_some_and(partition::Replica::may_be_heard)
    }

    /// It is named, by a change at this entry.
    fn named(&mut self, at: LogPosition) {
        let configured = Configured {
            configuration: Configuration {
                learners: [NodeId(1)].into(),
                ..others()
            },
            at,
        };
        let join = ReplicationMessage::Join {
            configured,
            since: None,
        };
        let now = self.now;
        self.node
            .on_message_without_replica(&now, CORE_PARTITION, NodeId(2), join);
    }

    fn dropped(&mut self, at: LogPosition) {
        let configured = Configured {
            configuration: others(),
            at,
        };
        self.node.drop_replica(CORE_PARTITION, configured, at);
    }

    fn term(&self) -> Term {
        self.node.replicas[&CORE_PARTITION].term()
    }

    /// What the log would give back after a crash if it ended before any term or entry of a replica.
    fn recovered_without_terms(&self) -> RecoveredLog {
        let mut recovered = RecoveredLog::default();
        for record in &self.logged {
            match record {
                LogRecord::Meta { kind, body } => {
                    recovered.metas.insert(*kind, body.clone());
                }
                LogRecord::ReplicaInstalled {
                    partition,
                    incarnation,
                    descriptor,
                    base,
                } => {
                    let replica = RecoveredReplica {
                        incarnation: *incarnation,
                        descriptor: descriptor.clone(),
                        term: Term(0),
                        voted_for: None,
                        base: *base,
                        entries: Vec::new(),
                    };
                    recovered.replicas.insert(*partition, replica);
                }
                _ => {}
            }
        }
        recovered
    }
}

fn others() -> Configuration {
    Configuration::of([NodeId(2), NodeId(3)])
}

fn position(term: u64, index: u64) -> LogPosition {
    LogPosition {
        term: Term(term),
        index: LogIndex(index),
    }
}

#[test]
fn a_replica_begins_above_the_terms_of_its_life_before() {
    let mut alone = Alone::leading();
    let before = alone.term();
    assert!(before > Term(0), "it led");
    alone.dropped(position(before.0, 8));
    alone.named(position(before.0, 9));
    assert_eq!(alone.term(), before.next());
    alone.logged.clear();
    let mut out = Vec::new();
    alone.node.flush(&alone.now, &mut out);
    for effect in out {
        alone.answer(effect);
    }
    let is_of_it = |record: &&LogRecord| {
        matches!(
            record,
            LogRecord::ReplicaInstalled { .. } | LogRecord::HardState { .. }
        )
    };
    let of_it: Vec<&LogRecord> = alone.logged.iter().filter(is_of_it).collect();
    let begun = LogRecord::HardState {
        partition: CORE_PARTITION,
        term: before.next(),
        voted_for: None,
    };
    assert!(
        matches!(of_it[..], [LogRecord::ReplicaInstalled { .. }, state] if *state == begun),
        "{of_it:?}"
    );
}

#[test]
fn a_replica_begins_in_the_term_that_names_it_if_that_is_later() {
    let mut alone = Alone::leading();
    let before = alone.term();
    alone.dropped(position(before.0, 8));
    let late = Term(before.0 + 5);
    alone.named(position(late.0, 9));
    assert_eq!(alone.term(), late);
}

#[test]
fn a_replica_that_is_dropped_before_it_remembers_proves_only_that_its_partition_lived() {
    let mut alone = Alone::leading();
    let mut whole = Alone::leading();
    let at = position(alone.term().0 + 5, 8);
    whole.dropped(at);
    let lost = Recollection::Lost;
    alone.node.forgotten.insert(CORE_PARTITION, lost);
    alone.dropped(at);
    for (told, remembers) in [(whole, true), (alone, false)] {
        let memory = told.node.memory_without_replica(CORE_PARTITION);
        let memory = memory.expect("it was removed");
        assert_eq!((memory.last, memory.remembers), (at, remembers));
        // It may have heard of no term itself: that of what removed it is one.
        assert_eq!(memory.term, at.term);
    }
}

#[test]
fn a_torn_log_does_not_take_the_term_back() {
    let mut alone = Alone::leading();
    let before = alone.term();
    alone.dropped(position(before.0, 8));
    alone.named(position(before.0, 9));
    alone.work();
    let recovered = alone.recovered_without_terms();
    assert_eq!(removed(&recovered).expect("readable").len(), 1);
    assert_eq!(forgotten(&recovered).expect("readable").len(), 1);
    let config = NodeConfig::new("a:1", vec!["a:1".to_owned()], 1);
    let node = Node::new(config, recovered, &MemoryStore::default(), &alone.now);
    alone.node = node.expect("starts");
    assert_eq!(alone.term(), before.next());
}

#[test]
fn a_member_that_is_alone_serves_as_soon_as_its_disk_has_its_first_entry() {
    let mut alone = Alone::leading();
    let brief = Duration::from_millis(20);
    let heartbeat = alone.node.config.timing.heartbeat;
    assert!(brief < heartbeat, "{heartbeat:?}");
    alone.pass(brief);
    assert!(
        alone.node.replicas[&CORE_PARTITION].is_serving(),
        "it waits for the next heartbeat"
    );
}
