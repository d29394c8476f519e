//! Machines and the network between them, in the order of virtual time.

use super::super::*;
use super::machine::{Batch, Disk, Faults, Machine, Record};
use super::{Deeds, TICK, TIMING};
use std::collections::{BTreeMap, BTreeSet};
use wire::message::Configured;

pub(super) enum Packet {
    Message(ReplicationMessage),
    Heartbeat {
        term: Term,
        commit: LogIndex,
        promise: Timestamp,
    },
    HeartbeatReply {
        term: Term,
        answer: Result<Timestamp, Term>,
    },
}

pub(super) enum Arrival {
    Packet {
        from: NodeId,
        packet: Packet,
    },
    Flushed {
        incarnation: u32,
    },
    SnapshotRead {
        view: u64,
    },
    ChunkWritten {
        incarnation: u32,
        position: LogPosition,
        chunks: u64,
    },
}

/// Nothing is answered at or below it by the leader that started from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Start {
    pub(super) at: Timestamp,
    /// It was handed over, not told by voters.
    pub(super) is_handed_over: bool,
}

pub(super) struct World {
    pub(super) random: SplitMix64,
    pub(super) faults: Faults,
    pub(super) now: Duration,
    pub(super) sequence: u64,
    pub(super) machines: BTreeMap<NodeId, Machine>,
    pub(super) arrivals: BTreeMap<(Duration, u64), (NodeId, Arrival)>,
    /// Nobody on one side hears the other.
    pub(super) cut_off: Vec<NodeId>,
    /// Leaders by term, and what each started from.
    pub(super) elected: BTreeMap<Term, (NodeId, Start)>,
    /// Terms whose leader nobody else has heard of yet: it was alone, and its vote may not be on its disk.
    pub(super) unheard: BTreeSet<Term>,
    /// The highest promise that the leader of a term obtained.
    pub(super) obtained: BTreeMap<Term, Timestamp>,
    /// The highest timestamp at which the leader of a term answered.
    pub(super) answered: BTreeMap<Term, Timestamp>,
    pub(super) committed: Vec<Entry>,
    pub(super) proposed: u64,
    pub(super) deeds: Deeds,
    /// The members at the founding.
    pub(super) founding: Configured,
    /// The voters that are wanted.
    pub(super) wanted: Option<BTreeSet<NodeId>>,
    /// Changes of members carry no promise.
    pub(super) without_promise: bool,
}

impl World {
    pub(super) fn new(members: u32, seed: u64) -> World {
        let mut random = SplitMix64::new(seed);
        let mut world = World {
            faults: Faults::drawn(&mut random),
            random,
            now: Duration::ZERO,
            sequence: 0,
            machines: (1..=members)
                .map(|n| (node(n), Machine::default()))
                .collect(),
            arrivals: BTreeMap::new(),
            cut_off: Vec::new(),
            elected: BTreeMap::new(),
            unheard: BTreeSet::new(),
            obtained: BTreeMap::new(),
            answered: BTreeMap::new(),
            committed: Vec::new(),
            proposed: 0,
            deeds: Deeds::default(),
            founding: founded(1..=members),
            wanted: None,
            without_promise: false,
        };
        for member in world.members() {
            let founding = world.founding.clone();
            let disk = &mut world.machine(member).disk;
            (disk.exists, disk.configured) = (true, founding);
            world.start(member);
        }
        world
    }

    pub(super) fn members(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    pub(super) fn machine(&mut self, member: NodeId) -> &mut Machine {
        self.machines.get_mut(&member).expect("a member")
    }

    pub(super) fn start(&mut self, member: NodeId) {
        self.start_told(member, None);
    }

    /// Starts a replica that exists; it may be new, and told of its members.
    pub(super) fn start_told(&mut self, member: NodeId, told: Option<Configured>) {
        let (seed, now) = (self.random.next_u64(), self.now);
        let commit = self.known_committed(member);
        let nodes = self.machines.keys().copied().collect();
        let machine = self.machine(member);
        let disk = &machine.disk;
        let config = ReplicationConfig {
            me: member,
            configured: disk.configured.clone(),
            carried: disk.carried,
            told,
            nodes,
            timing: TIMING,
            seed,
            memory: disk.memory,
        };
        machine.incarnation += 1;
        machine.running = Some(Replication::new(
            config,
            disk.term,
            disk.voted_for,
            disk.base,
            disk.entries.clone(),
            commit,
            now,
        ));
        self.check_committed_prefix(member);
    }

    /// What a member may know to be committed when it starts: some of what is, as far as it holds it.
    pub(super) fn known_committed(&mut self, member: NodeId) -> LogIndex {
        let disk = &self.machines[&member].disk;
        let base = disk.base.index.0;
        let committed = self.committed.iter().skip(base as usize);
        let held = disk.entries.iter().zip(committed);
        let count = held.take_while(|(mine, known)| mine == known).count() as u64;
        LogIndex(base + self.random.below(count + 1))
    }

    /// What is not on the disk is lost; of what was on its way there, the first part may be saved.
    pub(super) fn crash(&mut self, member: NodeId) {
        let mut random = self.random.fork();
        let machine = self.machine(member);
        let on_the_way: Vec<_> = machine.batches.drain(..).flat_map(|b| b.records).collect();
        let saved = random.below(on_the_way.len() as u64 + 1) as usize;
        for record in &on_the_way[..saved] {
            machine.disk.write(record);
        }
        machine.running = None;
        let wipes = self.faults.wipes;
        let founding = self.founding.clone();
        let mut machines = self.machines.values();
        let all_remember = machines.all(|m| m.disk.memory != Recollection::Lost);
        let is_wiped = all_remember && self.random.chance(wipes, 1000);
        let machine = self.machine(member);
        if is_wiped {
            machine.disk = Disk {
                exists: founding.configuration.has_member(member),
                memory: Recollection::Lost,
                was_wiped: true,
                configured: founding,
                ..Disk::default()
            };
        }
        machine.promises.clear();
        machine.told = Timestamp::ZERO;
        machine.reading = None;
        machine.taking = None;
        self.deeds.crashes += 1;
        self.deeds.wiped += usize::from(is_wiped);
    }

    /// One turn of a member, if it runs.
    pub(super) fn turn(
        &mut self,
        member: NodeId,
        act: impl FnOnce(&mut Replication, Timestamp, &mut Vec<ReplicationEffect>),
    ) {
        self.turn_with(member, |replication, promised, out| {
            act(replication, promised, out);
            None
        });
    }

    /// A turn that may log something of its own, before everything else.
    pub(super) fn turn_with(
        &mut self,
        member: NodeId,
        act: impl FnOnce(&mut Replication, Timestamp, &mut Vec<ReplicationEffect>) -> Option<Record>,
    ) {
        let now = self.now;
        let machine = self.machine(member);
        let promised = machine.disk.ceiling.max(machine.told);
        let Some(replication) = &mut machine.running else {
            return;
        };
        let mut out = Vec::new();
        let last_before = replication.last();
        let record = act(replication, promised, &mut out);
        replication.flush(now, &mut out);
        replication.invariants();
        let heard = replication.may_be_heard().then(|| replication.term());
        let replaced = replication.term_at(last_before.index) != Some(last_before.term);
        if let Some(term) = heard {
            self.unheard.remove(&term);
        }
        self.deeds.replaced += usize::from(replaced);
        self.perform(member, record, out);
    }

    pub(super) fn perform(
        &mut self,
        member: NodeId,
        record: Option<Record>,
        effects: Vec<ReplicationEffect>,
    ) {
        use ReplicationEffect as E;
        let (mut records, mut held) = (Vec::from_iter(record), Vec::new());
        for effect in effects {
            match effect {
                E::Removed { configured, as_of } => return self.remove(member, configured, as_of),
                E::Begins { .. } => {
                    self.deeds.named_anew += 1;
                    records.push(Record::Effect(effect));
                }
                E::LogEntry(_) | E::LogHardState { .. } | E::Remembered => {
                    records.push(Record::Effect(effect));
                }
                E::Promised { promised } => {
                    let told = &mut self.machine(member).told;
                    *told = promised.max(*told);
                    records.push(Record::Effect(effect));
                }
                E::Send {
                    to,
                    message,
                    after_log: true,
                } => held.push((to, message)),
                E::Send { to, message, .. } => self.send(member, to, Packet::Message(message)),
                E::Committed { .. } => self.check_committed_prefix(member),
                E::BecameLeader { term } => self.on_elected(member, term),
                E::TransferEnded { ended, .. } => {
                    self.deeds.handed_over += usize::from(ended.is_ok());
                    self.deeds.given_up += usize::from(ended.is_err());
                }
                E::BecameFollower { .. } | E::BecameCandidate { .. } => {
                    self.machine(member).reading = None;
                }
                E::ReadSnapshot { number } => self.read_snapshot(member, number),
                E::EndSnapshot => self.machine(member).reading = None,
                E::TakeSnapshot(chunk) => self.take_chunk(member, chunk),
                E::DropSnapshot => self.machine(member).taking = None,
            }
        }
        // Some messages lean on what was logged in turns before.
        let tells = |(_, message): &(NodeId, ReplicationMessage)| {
            matches!(message, ReplicationMessage::Memory { .. })
        };
        let waits = self.machine(member).installs() || held.iter().any(tells);
        if records.is_empty() && !waits {
            for (to, message) in held {
                self.send(member, to, Packet::Message(message));
            }
            return;
        }
        let delay = self.delay(self.faults.flush_max);
        let machine = self.machine(member);
        machine.batches.push_back(Batch { records, held });
        let incarnation = machine.incarnation;
        self.arrive(delay, member, Arrival::Flushed { incarnation });
    }

    pub(super) fn delay(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.random.below(max.as_micros() as u64))
    }

    pub(super) fn arrive(&mut self, delay: Duration, to: NodeId, arrival: Arrival) {
        self.sequence += 1;
        let key = (self.now + delay, self.sequence);
        self.arrivals.insert(key, (to, arrival));
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        if self.random.chance(self.faults.doubled_percent, 100)
            && let Packet::Message(message) = &packet
        {
            let doubled = Packet::Message(message.clone());
            self.send_once(from, to, doubled);
        }
        self.send_once(from, to, packet);
    }

    pub(super) fn send_once(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        let is_cut = self.cut_off.contains(&from) != self.cut_off.contains(&to);
        if is_cut || self.random.chance(self.faults.lost_percent, 100) {
            return;
        }
        let delay = self.delay(self.faults.delay_max);
        self.arrive(delay, to, Arrival::Packet { from, packet });
    }

    pub(super) fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            let until = self.now + TICK;
            while let Some(first) = self.arrivals.first_entry()
                && first.key().0 <= until
            {
                let ((at, _), (to, arrival)) = first.remove_entry();
                self.now = at;
                self.on_arrival(to, arrival);
            }
            self.now = until;
            self.on_tick();
        }
    }

    pub(super) fn on_arrival(&mut self, to: NodeId, arrival: Arrival) {
        let now = self.now;
        match arrival {
            Arrival::Flushed { incarnation } => self.on_flushed(to, incarnation),
            Arrival::SnapshotRead { view } => self.on_snapshot_read(to, view),
            Arrival::ChunkWritten {
                incarnation,
                position,
                chunks,
            } => self.on_chunk_written(to, incarnation, position, chunks),
            Arrival::Packet { from, packet } => match packet {
                Packet::Message(message) if !self.machines[&to].disk.exists => {
                    self.on_message_without_replica(to, from, message);
                }
                Packet::Message(message) => self.turn(to, |replication, promised, out| {
                    replication.step(now, promised, from, message, out);
                }),
                Packet::Heartbeat {
                    term,
                    commit,
                    promise,
                } => self.on_heartbeat(to, from, term, commit, promise),
                Packet::HeartbeatReply { term, answer } => {
                    self.on_heartbeat_reply(to, from, term, answer);
                }
            },
        }
    }

    /// The first batch on the way is on the disk.
    pub(super) fn on_flushed(&mut self, member: NodeId, incarnation: u32) {
        let machine = self.machine(member);
        if machine.incarnation != incarnation || machine.running.is_none() {
            return;
        }
        let batch = machine.batches.pop_front().expect("one report a batch");
        let mut position = None;
        for record in &batch.records {
            machine.disk.write(record);
            if let Record::Effect(ReplicationEffect::LogEntry(entry)) = record {
                position = Some(entry.position());
            }
        }
        for (to, message) in batch.held {
            self.send(member, to, Packet::Message(message));
        }
        if let Some(position) = position {
            self.turn(member, |replication, _, out| {
                replication.on_durable(position, out);
            });
        }
        self.maybe_install(member);
    }

    pub(super) fn on_tick(&mut self) {
        let now = self.now;
        if self.random.chance(self.faults.cuts, 1000) {
            let members = self.members();
            let side = self.random.next_u64();
            let is_off = |member: &NodeId| side >> member.0 & 1 == 1;
            self.cut_off = members.into_iter().filter(is_off).collect();
        } else if self.random.chance(self.faults.cuts * 2, 1000) {
            self.cut_off.clear();
        }
        for member in self.members() {
            if !self.machine(member).disk.exists {
                continue;
            }
            let runs = self.machine(member).running.is_some();
            // Leaders die young: what they began and did not finish is where the holes are.
            let crashes = self.faults.crashes * if self.leads(member) { 5 } else { 1 };
            if runs && self.random.chance(crashes, 1000) {
                self.crash(member);
            } else if !runs && self.random.chance(self.faults.restarts, 1000) {
                self.start(member);
            }
            self.turn(member, |replication, promised, out| {
                replication.tick(now, promised, out);
            });
            if self.random.chance(self.faults.proposals_percent, 100) {
                self.propose(member);
            }
            self.answer(member);
            if self.random.chance(self.faults.transfers, 1000) {
                self.begin_transfer(member);
            }
            self.maybe_hand_over(member);
            self.go_on_changing(member);
            if now.as_millis().is_multiple_of(TIMING.heartbeat.as_millis()) {
                self.send_heartbeats(member);
            }
        }
        if self.random.chance(self.faults.changes, 1000) {
            self.want_others();
        }
        if self.random.chance(1, 20) {
            self.check_log_matching();
        }
        if self.random.chance(1, 50) {
            self.discard();
        }
    }

    pub(super) fn propose(&mut self, member: NodeId) {
        let body = Bytes::copy_from_slice(&self.proposed.to_be_bytes());
        self.proposed += 1;
        self.turn(member, |replication, _, out| {
            if replication.is_draining() || replication.handed_over_to().is_some() {
                return;
            }
            let is_leader = replication.role() == Role::Leader;
            assert_eq!(replication.propose(body, out).is_some(), is_leader);
        });
    }

    pub(super) fn leads(&self, member: NodeId) -> bool {
        let running = self.machines[&member].running.as_ref();
        running.is_some_and(|replication| replication.role() == Role::Leader)
    }

    pub(super) fn running(&self, member: NodeId) -> &Replication {
        let machine = &self.machines[&member];
        machine.running.as_ref().expect("it runs")
    }
}
