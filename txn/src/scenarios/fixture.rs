//! A gateway on node 1, four partitions, and a clock that stands still until it is told.

use super::render;
use crate::{ClientTag, Gateway, GatewayConfig, GatewayContext, GatewayEffect, GatewayEvent};
use bytes::Bytes;
use clock::{HybridClock, Now, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::{Attempt, CoordinatorIncarnation, Generation, NodeId, PartitionId, TransactionId};
use wire::keys::{DEFAULT_KEYSPACE, Descriptor, Key, KeyRange, RangeMap};
use wire::message::{
    Change, ClientRequest, Commit, Condition, CoordinatorState, Guard, LockLoss, LockLost,
    Operation, OperationKind, OutcomeAnswer, PartitionReply, Prepared, RecordAnswer, RecordState,
    Refusal, RequestNumber, Rival, Snapshot, TransactionName, VersionedValue,
};

/// The scenario counts requests from 1.
pub(super) const BEFORE_FIRST: u64 = 1 << crate::request_waiting_list::START_SHIFT;

/// Microseconds since 1970 at the beginning of every scenario.
pub(super) const BEGINNING: u64 = 1_790_000_000_000_000;

pub(super) fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(BEGINNING + micros)
}

pub(super) fn key(user: &str) -> Key {
    Key::new(DEFAULT_KEYSPACE, user.as_bytes())
}

pub(super) fn range(start: &str, end: &str) -> KeyRange {
    KeyRange::new(key(start), Some(key(end)))
}

/// `p1` system, `p2` up to m, `p3` up to t, `p4` from t on.
pub(super) fn four_partitions() -> RangeMap {
    let borders = [Key::new(DEFAULT_KEYSPACE, b""), key("m"), key("t")];
    let starts = std::iter::once(Key::least()).chain(borders.iter().cloned());
    let ends = borders.iter().cloned().map(Some).chain([None]);
    let descriptors = starts
        .zip(ends)
        .zip(1..)
        .map(|((start, end), number)| Descriptor {
            partition: PartitionId(number),
            generation: Generation(1),
            range: KeyRange::new(start, end),
            members: vec![NodeId(1), NodeId(2), NodeId(3)],
        });
    RangeMap::new(descriptors.collect()).unwrap()
}

pub(super) fn put(user: &str, value: &str) -> Operation {
    Operation {
        key: key(user),
        kind: OperationKind::Put(Bytes::copy_from_slice(value.as_bytes())),
    }
}

pub(super) fn add(user: &str, number: i64) -> Operation {
    Operation {
        key: key(user),
        kind: OperationKind::Add(number),
    }
}

pub(super) fn guard(user: &str, condition: Condition) -> Guard {
    Guard {
        key: key(user),
        condition,
    }
}

pub(super) fn id(random: u64) -> TransactionId {
    TransactionId {
        time: at(0),
        random,
    }
}

pub(super) fn name(random: u64, anchor: &str) -> TransactionName {
    TransactionName {
        id: id(random),
        expires: at(10_000_000),
        anchor: key(anchor),
    }
}

/// A commit with id 7 and no reads; its anchor is the first key written.
pub(super) fn commit(operations: Vec<Operation>) -> Commit {
    Commit {
        name: TransactionName {
            anchor: operations[0].key.clone(),
            ..name(7, "")
        },
        age: id(7),
        snapshot: Snapshot::Fresh,
        reads: Vec::new(),
        guards: Vec::new(),
        operations,
        locked: Vec::new(),
        resent: false,
    }
}

/// Attempt `number` of coordinator `sequence` of the first start of a node.
pub(super) fn attempt(number: u32, node: u32, sequence: u64) -> Attempt {
    Attempt {
        number,
        coordinator: CoordinatorIncarnation {
            node: NodeId(node),
            start: 1,
            sequence,
        },
    }
}

pub(super) fn value(text: &str, micros: u64) -> Option<VersionedValue> {
    Some(VersionedValue {
        timestamp: at(micros),
        value: Bytes::copy_from_slice(text.as_bytes()),
    })
}

pub(super) fn prepared(attempt: Attempt, micros: u64, limit: Option<Timestamp>) -> PartitionReply {
    PartitionReply::Prepared(Prepared {
        timestamp: at(micros),
        attempt,
        limit,
        results: vec![None],
    })
}

pub(super) fn refused(refusal: Refusal) -> PartitionReply {
    PartitionReply::Refused {
        refusal,
        durable: false,
        depends_on: at(5),
    }
}

pub(super) fn contention(user: &str) -> PartitionReply {
    refused(Refusal::Contention {
        key: key(user),
        rival: id(99),
    })
}

pub(super) fn record(state: RecordState, changed: bool) -> PartitionReply {
    PartitionReply::Record(RecordAnswer {
        state,
        keys: match state {
            RecordState::Staging { .. } => vec![key("a"), key("z")],
            _ => Vec::new(),
        },
        changed,
    })
}

pub(super) fn staging(attempt: Attempt, limit: Timestamp) -> RecordState {
    RecordState::Staging { attempt, limit }
}

pub(super) fn aborted(attempt: Attempt) -> RecordState {
    RecordState::Aborted { attempt }
}

/// The gateway and all that is given to it.
pub(super) struct Scenario {
    gateway: Gateway,
    clock: HybridClock,
    map: RangeMap,
    now: Now,
    /// Where each request that is out went.
    asked: BTreeMap<u64, PartitionId>,
    lines: Vec<String>,
}

impl Scenario {
    pub(super) fn new() -> Scenario {
        let mut clock = HybridClock::new(Timestamp::ZERO, Duration::from_millis(500));
        clock.raise_ceiling(at(100_000_000));
        Scenario {
            gateway: Gateway::new(GatewayConfig {
                #[cfg(feature = "mutants")]
                mutant: None,
                me: NodeId(1),
                start: 1,
                seed: 1,
                timing: crate::GatewayTiming::default(),
            }),
            clock,
            map: four_partitions(),
            now: Now {
                monotonic: Duration::from_secs(1),
                physical: Duration::from_micros(BEGINNING),
                bound: Some(Duration::ZERO),
            },
            asked: BTreeMap::new(),
            lines: Vec::new(),
        }
    }

    fn run(
        &mut self,
        act: impl FnOnce(&mut Gateway, &mut GatewayContext, &mut Vec<GatewayEffect>),
    ) {
        let mut out = Vec::new();
        let mut cx = GatewayContext {
            now: &self.now,
            clock: &mut self.clock,
            map: &self.map,
        };
        act(&mut self.gateway, &mut cx, &mut out);
        self.gateway.invariants();
        for effect in &out {
            match effect {
                GatewayEffect::Ask {
                    number, partition, ..
                } => {
                    self.asked.insert(number.0 - BEFORE_FIRST, *partition);
                }
                GatewayEffect::Cancel { number } => {
                    self.asked.remove(&(number.0 - BEFORE_FIRST));
                }
                _ => {}
            }
        }
        self.lines.extend(out.iter().map(render::effect));
    }

    pub(super) fn event(&mut self, event: GatewayEvent) -> &mut Scenario {
        self.run(|gateway, cx, out| gateway.step(cx, event, out));
        self
    }

    /// Client `number` of connection 1 asks.
    pub(super) fn client(&mut self, number: u64, request: ClientRequest) -> &mut Scenario {
        let client = ClientTag {
            connection: 1,
            number,
        };
        self.event(GatewayEvent::Client { client, request })
    }

    pub(super) fn commit(&mut self, number: u64, commit: Commit) -> &mut Scenario {
        self.client(number, ClientRequest::Commit(commit))
    }

    /// The answer to a request that is out.
    pub(super) fn reply(&mut self, number: u64, reply: PartitionReply) -> &mut Scenario {
        let partition = self.asked.remove(&number);
        let partition = partition.unwrap_or_else(|| panic!("request {number} is not out"));
        self.event(GatewayEvent::Reply {
            number: RequestNumber(BEFORE_FIRST + number),
            partition,
            reply,
        })
    }

    pub(super) fn done(&mut self, number: u64) -> &mut Scenario {
        self.reply(number, PartitionReply::Done)
    }

    pub(super) fn outcome(&mut self, number: u64, answer: OutcomeAnswer) -> &mut Scenario {
        self.reply(number, PartitionReply::Outcome(answer))
    }

    pub(super) fn unreachable(&mut self, number: u64) -> &mut Scenario {
        let partition = self.asked.remove(&number).expect("the request is out");
        self.event(GatewayEvent::Unreachable {
            number: RequestNumber(BEFORE_FIRST + number),
            partition,
            waited: Duration::from_secs(10),
        })
    }

    pub(super) fn push(&mut self, user: &str, random: u64, attempt: Attempt) -> &mut Scenario {
        self.pushed(user, random, attempt, false)
    }

    /// An older transaction has waited for long.
    pub(super) fn wound(&mut self, user: &str, random: u64, attempt: Attempt) -> &mut Scenario {
        self.pushed(user, random, attempt, true)
    }

    /// A leader dropped a lock that nobody had given back.
    pub(super) fn lost(&mut self, random: u64, user: &str) -> &mut Scenario {
        self.event(GatewayEvent::LockLost(LockLost {
            id: id(random),
            keys: vec![key(user)],
            loss: LockLoss::Dropped,
        }))
    }

    fn pushed(&mut self, user: &str, random: u64, attempt: Attempt, wound: bool) -> &mut Scenario {
        let partition = self.map.locate(&key(user)).partition;
        self.event(GatewayEvent::Push {
            partition,
            key: key(user),
            holder: name(random, "a"),
            attempt,
            wound,
        })
    }

    pub(super) fn coordinator(&mut self, number: u64, state: CoordinatorState) -> &mut Scenario {
        let number = RequestNumber(BEFORE_FIRST + number);
        self.event(GatewayEvent::CoordinatorState { number, state })
    }

    pub(super) fn asked_about(&mut self, random: u64, attempt: Attempt) -> &mut Scenario {
        self.event(GatewayEvent::AskedAbout {
            by: NodeId(2),
            number: RequestNumber(500),
            name: name(random, "a"),
            attempt,
        })
    }

    /// Time passes; timers that are due fire.
    pub(super) fn pass(&mut self, time: Duration) -> &mut Scenario {
        self.now.monotonic += time;
        self.now.physical += time;
        self.run(|gateway, cx, out| gateway.tick(cx, out));
        self
    }

    /// As long as the longest backoff.
    pub(super) fn back_off(&mut self) -> &mut Scenario {
        self.pass(Duration::from_millis(200))
    }

    /// Exactly these effects have come since the last look.
    #[track_caller]
    pub(super) fn expect<const N: usize>(&mut self, lines: [&str; N]) -> &mut Scenario {
        let seen = std::mem::take(&mut self.lines);
        assert_eq!(seen, lines, "\nseen:\n{}\n", seen.join("\n"));
        self
    }

    /// The effects so far are another test's concern.
    pub(super) fn lines_pass(&mut self) {
        self.lines.clear();
    }

    /// Takes the first effect since the last look.
    pub(super) fn take_first(&mut self) -> String {
        self.lines.remove(0)
    }

    pub(super) fn vouch_for_nothing(&mut self) {
        self.now.bound = None;
    }

    #[track_caller]
    pub(super) fn expect_idle(&mut self) {
        assert_eq!(self.gateway.coordinating(), 0, "no commit is under way");
        assert_eq!(self.gateway.next_tick(), None, "no timer is set");
        self.expect([]);
    }
}

pub(super) fn change(user: &str, ms: u64) -> Change {
    Change {
        key: key(user),
        rival: Rival::Version { at: at(ms) },
    }
}

pub(super) fn changed(user: &str, ms: u64) -> Refusal {
    let Change { key, rival } = change(user, ms);
    Refusal::Changed { key, rival }
}
