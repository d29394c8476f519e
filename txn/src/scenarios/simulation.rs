//! Three gateways over model partitions, with requests lost, doubled, late and out of order, and
//! gateways that crash and begin anew.
//!
//! The clients move amounts between accounts and read them all. However it goes: every read sums to
//! zero (all writes of a transaction are visible or none), what was told committed is there at its
//! timestamp, what was told aborted is not, and in the end no lock is left.

use super::fixture::{at, four_partitions, guard, key};
use super::model_partition::{InTheWay, ModelPartition};
use crate::{
    ClientTag, Gateway, GatewayConfig, GatewayContext, GatewayEffect, GatewayEvent, GatewayTiming,
};
use clock::{HybridClock, Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::{NodeId, PartitionId, TransactionId};
use wire::keys::{Key, KeyRange, RangeMap};
use wire::message::{
    ClientAnswer, ClientReply, ClientRequest, Commit, Condition, CoordinatorState, Operation,
    OperationKind, OutcomeAnswer, PartitionReply, PartitionRequest, ReadRequest, ReadResult,
    RecordState, RequestNumber, Snapshot, TransactionName,
};

const ACCOUNTS: [&str; 7] = ["a", "b", "n", "o", "u", "v", "w"];
const GATEWAYS: usize = 3;
const SEEDS: u64 = 120;
const TRANSACTIONS: u64 = 60;
const STEPS: u64 = 8_000;
/// Virtual time after the faults: so many times 100 ms, more than the longest wait there is.
const DRAIN_ROUNDS: u64 = 700;
const DRAIN_STEPS: u64 = 200;
/// A transaction expires so soon that some do while they are tried.
const EXPIRES_IN: Duration = Duration::from_millis(1_000);

/// A request that is out, and how often it was delivered.
struct Out {
    gateway: usize,
    start: u32,
    number: RequestNumber,
    partition: PartitionId,
    body: PartitionRequest,
    deadline: Duration,
    deliveries: u32,
    in_pool: u32,
    is_over: bool,
}

/// What a client has heard of a commit.
pub(super) struct Client {
    pub(super) commit: Commit,
    gateway: usize,
    sends: u32,
    pub(super) said: Option<RecordState>,
    /// How many answers came, to commits and to questions.
    pub(super) answers: u32,
}

pub(super) struct World {
    random: SplitMix64,
    map: RangeMap,
    pub(super) now: Now,
    gateways: Vec<(Gateway, HybridClock, u32)>,
    pub(super) partitions: BTreeMap<PartitionId, ModelPartition>,
    outs: Vec<Out>,
    /// All before it are over.
    first_open: usize,
    pool: Vec<usize>,
    events: Vec<(usize, u32, GatewayEvent)>,
    /// What is told of each transaction.
    pub(super) clients: BTreeMap<u64, Client>,
    reads: u64,
    committed: u64,
    recovered: u64,
}

fn new_gateway(node: usize, start: u32) -> Gateway {
    Gateway::new(GatewayConfig {
        #[cfg(feature = "mutants")]
        mutant: None,
        me: NodeId(node as u32 + 1),
        start,
        seed: u64::from(start),
        timing: GatewayTiming::default(),
    })
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let clock = || {
            let mut clock = HybridClock::new(Timestamp::ZERO, Duration::from_millis(500));
            clock.raise_ceiling(Timestamp::MAX);
            clock
        };
        let map = four_partitions();
        World {
            random: SplitMix64::new(seed),
            now: Now {
                monotonic: Duration::from_secs(1),
                physical: Duration::from_micros(at(0).micros()),
                bound: Some(Duration::from_micros(100)),
            },
            gateways: (0..GATEWAYS)
                .map(|node| (new_gateway(node, 1), clock(), 1))
                .collect(),
            partitions: map
                .iter()
                .map(|d| (d.partition, ModelPartition::default()))
                .collect(),
            map,
            outs: Vec::new(),
            first_open: 0,
            pool: Vec::new(),
            events: Vec::new(),
            clients: BTreeMap::new(),
            reads: 0,
            committed: 0,
            recovered: 0,
        }
    }

    fn any(&mut self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    fn step_gateway(&mut self, node: usize, event: Option<GatewayEvent>) {
        let mut out = Vec::new();
        let (gateway, clock, _) = &mut self.gateways[node];
        let mut cx = GatewayContext {
            now: &self.now,
            clock,
            map: &self.map,
        };
        match event {
            Some(event) => gateway.step(&mut cx, event, &mut out),
            None => gateway.tick(&mut cx, &mut out),
        }
        gateway.invariants();
        for effect in out {
            self.on_effect(node, effect);
        }
    }

    fn on_effect(&mut self, node: usize, effect: GatewayEffect) {
        let start = self.gateways[node].2;
        match effect {
            GatewayEffect::Ask {
                number,
                partition,
                body,
                deadline,
            } => {
                self.pool.push(self.outs.len());
                self.outs.push(Out {
                    gateway: node,
                    start,
                    number,
                    partition,
                    body,
                    deadline,
                    deliveries: 0,
                    in_pool: 1,
                    is_over: false,
                });
            }
            GatewayEffect::Cancel { number } => {
                for out in &mut self.outs {
                    let is_it = out.gateway == node && out.start == start && out.number == number;
                    out.is_over |= is_it;
                }
            }
            GatewayEffect::AskCoordinator {
                number,
                node: asked,
                name,
                attempt,
            } => {
                let by = NodeId(node as u32 + 1);
                let event = GatewayEvent::AskedAbout {
                    by,
                    number,
                    name,
                    attempt,
                };
                let asked = asked.0 as usize - 1;
                let asked_start = self.gateways[asked].2;
                self.events.push((asked, asked_start, event));
            }
            GatewayEffect::TellCoordinatorState { to, number, state } => {
                self.recovered += u64::from(state == CoordinatorState::Unknown);
                let to = to.0 as usize - 1;
                let start = self.gateways[to].2;
                let event = GatewayEvent::CoordinatorState { number, state };
                self.events.push((to, start, event));
            }
            GatewayEffect::Answer { client, reply, .. } => self.on_answer(client, reply),
        }
    }

    /// Connection 0 reads; the others commit, and the number is the transaction. On connection 1 it is
    /// sent for the first time: what is refused there for now is not believed if it was sent again.
    fn on_answer(&mut self, tag: ClientTag, reply: ClientReply) {
        if tag.connection == 0 {
            let Ok(ClientAnswer::Read { results, .. }) = reply else {
                return;
            };
            let sum: i64 = results.iter().map(amount).sum();
            assert_eq!(sum, 0, "a snapshot shows transactions whole: {results:?}");
            self.reads += 1;
            return;
        }
        let client = self.clients.get_mut(&tag.number).unwrap();
        client.answers += 1;
        let said = match reply {
            Ok(ClientAnswer::Committed(committed)) => RecordState::Committed { at: committed.at },
            Ok(ClientAnswer::Outcome(OutcomeAnswer::Committed { at })) => {
                RecordState::Committed { at }
            }
            Ok(ClientAnswer::Aborted(aborted)) => {
                assert!(
                    aborted.durable || tag.connection == 1,
                    "a commit that was sent again is told aborted only for good: {tag:?}"
                );
                if !aborted.durable && client.sends > 1 {
                    return;
                }
                RecordState::Closed
            }
            Ok(ClientAnswer::Outcome(OutcomeAnswer::Aborted)) => RecordState::Closed,
            _ => return,
        };
        if let Some(before) = client.said {
            assert_eq!(before, said, "an outcome that was told never changes");
        }
        client.said = Some(said);
    }

    fn begin_transaction(&mut self, random: u64) {
        let mut keys: BTreeSet<&str> = BTreeSet::new();
        for _ in 0..2 + self.any(2) {
            keys.insert(ACCOUNTS[self.any(ACCOUNTS.len())]);
        }
        let keys: Vec<&str> = keys.into_iter().collect();
        let share = keys.len() as i64 - 1;
        let operations: Vec<Operation> = (0..)
            .zip(&keys)
            .map(|(place, user)| Operation {
                key: key(user),
                kind: OperationKind::Add(if place == 0 { -share } else { 1 }),
            })
            .collect();
        let mut commit = Commit {
            name: TransactionName {
                id: TransactionId {
                    time: self.now.latest(),
                    random,
                },
                expires: self.now.latest().plus(EXPIRES_IN),
                anchor: operations[self.random.below(operations.len() as u64) as usize]
                    .key
                    .clone(),
            },
            age: TransactionId {
                time: self.now.latest(),
                random,
            },
            snapshot: Snapshot::Fresh,
            reads: Vec::new(),
            guards: Vec::new(),
            operations,
            locked: Vec::new(),
            resent: false,
        };
        let other = ACCOUNTS[self.any(ACCOUNTS.len())];
        match self.any(4) {
            0 => commit.guards.push(guard(other, Condition::AtLeast(-3))),
            1 => {
                commit.snapshot = Snapshot::At(self.now.latest());
                commit.reads.push(KeyRange::point(key(other)));
            }
            _ => {}
        }
        let gateway = self.any(GATEWAYS);
        let client = Client {
            commit,
            gateway,
            sends: 0,
            said: None,
            answers: 0,
        };
        self.clients.insert(random, client);
        let gateway = self.any(GATEWAYS);
        self.send(gateway, random);
    }

    /// A client that is about to send this.
    pub(super) fn add_client(&mut self, commit: Commit) {
        let client = Client {
            gateway: 0,
            sends: 0,
            said: None,
            answers: 0,
            commit,
        };
        let random = client.commit.name.id.random;
        self.clients.insert(random, client);
    }

    /// Sends a commit, again if it was sent before, then over another connection.
    pub(super) fn send(&mut self, gateway: usize, random: u64) {
        let client = self.clients.get_mut(&random).unwrap();
        client.sends += 1;
        client.gateway = gateway;
        client.commit.resent = client.sends > 1;
        let connection = u64::from(client.sends);
        let request = ClientRequest::Commit(client.commit.clone());
        self.ask_gateway(gateway, connection, random, request);
    }

    pub(super) fn ask_gateway(
        &mut self,
        gateway: usize,
        connection: u64,
        number: u64,
        request: ClientRequest,
    ) {
        let client = ClientTag { connection, number };
        self.step_gateway(gateway, Some(GatewayEvent::Client { client, request }));
    }

    fn read_all(&mut self) {
        let gets = ACCOUNTS
            .iter()
            .map(|user| ReadRequest::Get { key: key(user) });
        let request = ClientRequest::Read {
            reader: None,
            snapshot: Snapshot::Fresh,
            requests: gets.collect(),
        };
        let gateway = self.any(GATEWAYS);
        self.ask_gateway(gateway, 0, 0, request);
    }

    /// The one thing that happens next, the oldest or any. `false`: nothing is under way.
    pub(super) fn step(&mut self, is_in_order: bool) -> bool {
        match (self.pool.is_empty(), self.events.is_empty()) {
            (true, true) => return false,
            (_, false) if is_in_order => self.handle_event(0),
            (false, _) if is_in_order => self.deliver(0, true),
            (false, false) if self.random.chance(1, 2) => {
                let place = self.any(self.pool.len());
                self.deliver(place, true);
            }
            (false, true) => {
                let place = self.any(self.pool.len());
                self.deliver(place, true);
            }
            (_, false) => {
                let place = self.any(self.events.len());
                self.handle_event(place);
            }
        }
        true
    }

    /// Everything that is out now arrives once more later, after all else.
    pub(super) fn double(&mut self) {
        let open: BTreeSet<usize> = self.pool.iter().copied().collect();
        for which in open {
            self.put_back(which);
        }
    }

    /// One request reaches its partition, or is lost on the way, or is there twice.
    fn deliver(&mut self, place: usize, is_healed: bool) {
        let which = self.pool.remove(place);
        self.outs[which].in_pool -= 1;
        let is_lost = !is_healed && self.random.chance(1, 8);
        let is_doubled = !is_healed && self.random.chance(1, 8);
        if is_doubled || (is_lost && !self.outs[which].is_over) {
            self.put_back(which);
        }
        if is_lost {
            return;
        }
        let out = &mut self.outs[which];
        out.deliveries += 1;
        if let PartitionRequest::Commit(commit) = &mut out.body {
            commit.resent |= out.deliveries > 1 || out.in_pool > 0;
        }
        let partition = self.partitions.get_mut(&out.partition).unwrap();
        let reply = partition.evaluate(&out.body);
        let pushes = std::mem::take(&mut partition.pushes);
        let is_answer_lost = !is_healed && self.random.chance(1, 8);
        let is_unsure = matches!(
            (&self.outs[which].body, &reply),
            (PartitionRequest::Commit(commit), PartitionReply::Refused { durable: false, .. })
                if commit.resent
        );
        if !self.outs[which].is_over {
            if is_answer_lost || is_unsure {
                self.put_back(which);
            } else {
                self.answer(which, reply);
            }
        }
        for lock in pushes {
            self.push(lock);
        }
    }

    fn put_back(&mut self, which: usize) {
        self.pool.push(which);
        self.outs[which].in_pool += 1;
    }

    fn answer(&mut self, which: usize, reply: PartitionReply) {
        let out = &mut self.outs[which];
        out.is_over = true;
        let event = GatewayEvent::Reply {
            number: out.number,
            partition: out.partition,
            reply,
        };
        self.events.push((out.gateway, out.start, event));
    }

    fn push(&mut self, lock: InTheWay) {
        let gateway = self.any(GATEWAYS);
        let start = self.gateways[gateway].2;
        let wound = self.any(4) == 0;
        let event = GatewayEvent::Push {
            partition: self.map.locate(&lock.key).partition,
            key: lock.key,
            holder: lock.name,
            attempt: lock.attempt,
            wound,
        };
        self.events.push((gateway, start, event));
    }

    fn handle_event(&mut self, place: usize) {
        let (gateway, start, event) = self.events.remove(place);
        if self.gateways[gateway].2 == start {
            self.step_gateway(gateway, Some(event));
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.physical += time;
        while self
            .outs
            .get(self.first_open)
            .is_some_and(|out| out.is_over)
        {
            self.first_open += 1;
        }
        for which in self.first_open..self.outs.len() {
            let out = &mut self.outs[which];
            if out.is_over || out.deadline > self.now.monotonic {
                continue;
            }
            out.is_over = true;
            let event = GatewayEvent::Unreachable {
                number: out.number,
                partition: out.partition,
                waited: Duration::from_secs(1),
            };
            self.events.push((out.gateway, out.start, event));
        }
        for node in 0..GATEWAYS {
            self.step_gateway(node, None);
        }
    }

    /// Everything that the gateway had under way is forgotten. Whose commit it was.
    pub(super) fn crash(&mut self, node: usize) -> Vec<u64> {
        let start = self.gateways[node].2 + 1;
        self.gateways[node].0 = new_gateway(node, start);
        self.gateways[node].2 = start;
        for out in self.outs.iter_mut().filter(|out| out.gateway == node) {
            out.is_over = true;
        }
        // Whoever waits for this node to say what it works on hears that it is not known.
        let lost: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| client.gateway == node && client.said.is_none())
            .map(|(random, _)| *random)
            .collect();
        let mut kept = Vec::new();
        for (to, to_start, event) in std::mem::take(&mut self.events) {
            match event {
                GatewayEvent::AskedAbout { by, number, .. } if to == node => {
                    let by = by.0 as usize - 1;
                    let state = CoordinatorState::Unknown;
                    let event = GatewayEvent::CoordinatorState { number, state };
                    kept.push((by, self.gateways[by].2, event));
                }
                event => kept.push((to, to_start, event)),
            }
        }
        self.events = kept;
        lost
    }

    fn run(&mut self) {
        let mut begun = 0;
        for _ in 0..STEPS {
            match self.any(40) {
                0 if begun < TRANSACTIONS => {
                    begun += 1;
                    self.begin_transaction(begun);
                }
                1 => self.read_all(),
                2 if self.random.chance(1, 12) => {
                    let node = self.any(GATEWAYS);
                    for random in self.crash(node) {
                        if self.random.chance(3, 4) {
                            let gateway = self.any(GATEWAYS);
                            self.send(gateway, random);
                        }
                    }
                }
                3 => {
                    let time = Duration::from_micros(self.random.below(4_000));
                    self.pass(time);
                }
                choice if choice % 2 == 0 && !self.pool.is_empty() => {
                    let place = self.any(self.pool.len());
                    self.deliver(place, false);
                }
                _ if !self.events.is_empty() => {
                    let place = self.any(self.events.len());
                    self.handle_event(place);
                }
                _ => self.pass(Duration::from_micros(200)),
            }
        }
        self.heal();
    }

    /// No more faults. Everybody asks for the outcome, and every lock that is left is pushed.
    pub(super) fn heal(&mut self) {
        for round in 0..6 {
            self.drain();
            let open: Vec<(u64, TransactionName)> = self
                .clients
                .iter()
                .filter(|(_, client)| client.said.is_none())
                .map(|(random, client)| (*random, client.commit.name.clone()))
                .collect();
            for (random, name) in open {
                let gateway = self.any(GATEWAYS);
                self.ask_gateway(gateway, 1, random, ClientRequest::Outcome { name });
            }
            let locks: Vec<InTheWay> = self.partitions.values().flat_map(|p| p.locks()).collect();
            if round > 3 {
                assert!(
                    locks.is_empty(),
                    "every lock is resolved in the end: {locks:?}"
                );
            }
            for lock in locks {
                self.push(lock);
            }
        }
        self.drain();
        self.read_all();
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..DRAIN_ROUNDS {
            for _ in 0..DRAIN_STEPS {
                match (self.pool.is_empty(), self.events.is_empty()) {
                    (false, _) => {
                        let place = self.any(self.pool.len());
                        self.deliver(place, true);
                    }
                    (true, false) => {
                        let place = self.any(self.events.len());
                        self.handle_event(place);
                    }
                    (true, true) => break,
                }
            }
            self.pass(Duration::from_millis(100));
        }
    }

    pub(super) fn check(&mut self) {
        for (random, client) in &self.clients {
            let name = &client.commit.name;
            let anchor = self.map.locate(&name.anchor).partition;
            let state = self.partitions[&anchor].state(name.id);
            let said = client
                .said
                .unwrap_or_else(|| panic!("{random} heard nothing"));
            let keys = client
                .commit
                .operations
                .iter()
                .map(|operation| &operation.key);
            let holds = |key: &Key, at| {
                self.partitions[&self.map.locate(key).partition].has_version(key, at)
            };
            match said {
                RecordState::Committed { at } => {
                    assert_eq!(state, said, "{random} was told committed");
                    for key in keys {
                        assert!(holds(key, at), "{random} committed at {at} wrote {key}");
                    }
                    self.committed += 1;
                }
                _ => assert!(
                    !matches!(state, RecordState::Committed { .. }),
                    "{random} was told aborted, but is {state:?}"
                ),
            }
        }
        self.check_exactly_once();
        for (gateway, _, _) in &self.gateways {
            assert_eq!(gateway.coordinating(), 0, "nothing is under way in the end");
            assert_eq!(gateway.next_tick(), None, "nothing waits in the end");
        }
    }
}

impl World {
    /// What each account holds is what the committed transactions, each of them once, have added.
    fn check_exactly_once(&self) {
        let mut expected: BTreeMap<&Key, i64> = BTreeMap::new();
        for client in self.clients.values() {
            if !matches!(client.said, Some(RecordState::Committed { .. })) {
                continue;
            }
            for operation in &client.commit.operations {
                let OperationKind::Add(number) = operation.kind else {
                    unreachable!("the workload adds");
                };
                *expected.entry(&operation.key).or_default() += number;
            }
        }
        for (key, expected) in expected {
            let partition = &self.partitions[&self.map.locate(key).partition];
            let found = partition.value_at(key, Timestamp::MAX);
            assert_eq!(found, Some(expected), "what {key} holds");
        }
    }
}

fn amount(result: &ReadResult) -> i64 {
    match result {
        ReadResult::Value(None) => 0,
        ReadResult::Value(Some(found)) => {
            std::str::from_utf8(&found.value).unwrap().parse().unwrap()
        }
        ReadResult::Rows { .. } => unreachable!("only points are read"),
    }
}

#[test]
fn whatever_is_lost_doubled_or_crashes_transactions_stay_whole() {
    let (mut committed, mut reads, mut recovered) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.run();
        world.check();
        committed += world.committed;
        reads += world.reads;
        recovered += world.recovered;
    }
    // The workload must reach what it is to check.
    assert!(committed > 1_500, "only {committed} commits");
    assert!(reads > 1_000, "only {reads} reads");
    assert!(recovered > 100, "only {recovered} recoveries");
}
