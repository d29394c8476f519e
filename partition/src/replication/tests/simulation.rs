//! Whole groups of replicas under a network that loses, delays, doubles, reorders and is cut, and under
//! crashes that forget what was not on the disk; one seed is one world. Then everything is healed, and
//! progress is demanded.
//!
//! Checked while it runs:
//! - election safety: one leader a term;
//! - leader completeness: whoever is elected holds what is committed;
//! - log matching: logs that agree at an index and term agree below it;
//! - what is committed lies on a majority of disks, and never changes;
//! - whatever promise a leader obtains from a quorum, every later leader was told one as high (R9).
//!
//! The disks take "after the log" at its weakest: a message waits for what was logged in its own turn,
//! and if that is nothing, it leaves at once.

use super::*;
use std::collections::{BTreeMap, VecDeque};

/// Impatient, so that a world of a few seconds sees many elections.
const TIMING: ReplicationTiming = ReplicationTiming {
    heartbeat: Duration::from_millis(40),
    election_timeout: Duration::from_millis(150),
    resend_after: Duration::from_millis(80),
};
const TICK: Duration = Duration::from_millis(10);
const FAULTY_TICKS: u64 = 600;
const HEALED_TICKS: u64 = 300;

enum Packet {
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

enum Arrival {
    Packet { from: NodeId, packet: Packet },
    Flushed { incarnation: u32 },
}

/// What a crash leaves.
#[derive(Default)]
struct Disk {
    term: Term,
    voted_for: Option<NodeId>,
    base: LogPosition,
    entries: Vec<Entry>,
    ceiling: Timestamp,
}

impl Disk {
    fn write(&mut self, record: &ReplicationEffect) {
        match record {
            ReplicationEffect::LogHardState { term, voted_for } => {
                self.term = *term;
                self.voted_for = *voted_for;
            }
            ReplicationEffect::LogEntry(entry) => {
                let kept = (entry.index.0 - self.base.index.0 - 1) as usize;
                assert!(kept <= self.entries.len(), "the log on disk has no gap");
                self.entries.truncate(kept);
                self.entries.push(entry.clone());
            }
            other => panic!("not a record: {other:?}"),
        }
    }

    fn holds(&self, position: LogPosition) -> bool {
        let mut positions = self.entries.iter().map(Entry::position);
        position.index <= self.base.index || positions.any(|held| held == position)
    }

    fn discard(&mut self, up_to: LogPosition) {
        self.entries.retain(|entry| entry.index > up_to.index);
        self.base = self.base.max(up_to);
    }
}

/// What one turn logged, and what waits for it.
struct Batch {
    records: Vec<ReplicationEffect>,
    held: Vec<(NodeId, ReplicationMessage)>,
}

#[derive(Default)]
struct Machine {
    running: Option<Replication>,
    incarnation: u32,
    disk: Disk,
    batches: VecDeque<Batch>,
    /// While it leads: what each member has promised, in this term.
    promises: BTreeMap<NodeId, Timestamp>,
}

struct Faults {
    lost_percent: u64,
    doubled_percent: u64,
    delay_max: Duration,
    flush_max: Duration,
    /// Of a thousand ticks of a machine.
    crashes: u64,
    /// Of a thousand ticks of a machine that is down.
    restarts: u64,
    /// Of a thousand ticks.
    cuts: u64,
    /// Of a hundred ticks of a leader.
    proposals_percent: u64,
}

impl Faults {
    fn drawn(random: &mut SplitMix64) -> Faults {
        Faults {
            lost_percent: random.below(30),
            doubled_percent: random.below(30),
            delay_max: Duration::from_millis(1 + random.below(80)),
            flush_max: Duration::from_millis(1 + random.below(120)),
            crashes: random.below(6) * random.below(6),
            restarts: 5 + random.below(200),
            cuts: random.below(8) * random.below(8),
            proposals_percent: 1 + random.below(40),
        }
    }

    fn none() -> Faults {
        Faults {
            lost_percent: 0,
            doubled_percent: 0,
            delay_max: Duration::from_millis(3),
            flush_max: Duration::from_millis(3),
            crashes: 0,
            restarts: 1000,
            cuts: 0,
            proposals_percent: 30,
        }
    }
}

/// What a run did, so that a test can see that it was worth something.
#[derive(Default, Debug)]
struct Deeds {
    elections: usize,
    committed: usize,
    crashes: usize,
    replaced: usize,
    discarded: usize,
}

struct World {
    random: SplitMix64,
    faults: Faults,
    now: Duration,
    sequence: u64,
    machines: BTreeMap<NodeId, Machine>,
    arrivals: BTreeMap<(Duration, u64), (NodeId, Arrival)>,
    /// Nobody on one side hears the other.
    cut_off: Vec<NodeId>,
    /// Leaders by term, and the promise told to each at its election.
    elected: BTreeMap<Term, (NodeId, Timestamp)>,
    /// The highest promise that the leader of a term obtained.
    obtained: BTreeMap<Term, Timestamp>,
    committed: Vec<Entry>,
    proposed: u64,
    deeds: Deeds,
}

impl World {
    fn new(members: u32, seed: u64) -> World {
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
            obtained: BTreeMap::new(),
            committed: Vec::new(),
            proposed: 0,
            deeds: Deeds::default(),
        };
        for member in world.members() {
            world.start(member);
        }
        world
    }

    fn members(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    fn machine(&mut self, member: NodeId) -> &mut Machine {
        self.machines.get_mut(&member).expect("a member")
    }

    fn start(&mut self, member: NodeId) {
        let (members, seed, now) = (self.members(), self.random.next_u64(), self.now);
        let commit = self.known_committed(member);
        let machine = self.machine(member);
        let disk = &machine.disk;
        let config = ReplicationConfig {
            me: member,
            members,
            timing: TIMING,
            seed,
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
    fn known_committed(&mut self, member: NodeId) -> LogIndex {
        let disk = &self.machines[&member].disk;
        let base = disk.base.index.0;
        let committed = self.committed.iter().skip(base as usize);
        let held = disk.entries.iter().zip(committed);
        let count = held.take_while(|(mine, known)| mine == known).count() as u64;
        LogIndex(base + self.random.below(count + 1))
    }

    /// What is not on the disk is lost; of what was on its way there, the first part may be saved.
    fn crash(&mut self, member: NodeId) {
        let mut random = self.random.fork();
        let machine = self.machine(member);
        let on_the_way: Vec<_> = machine.batches.drain(..).flat_map(|b| b.records).collect();
        let saved = random.below(on_the_way.len() as u64 + 1) as usize;
        for record in &on_the_way[..saved] {
            machine.disk.write(record);
        }
        machine.running = None;
        machine.promises.clear();
        self.deeds.crashes += 1;
    }

    /// One turn of a member, if it runs.
    fn turn(
        &mut self,
        member: NodeId,
        act: impl FnOnce(&mut Replication, Timestamp, &mut Vec<ReplicationEffect>),
    ) {
        let now = self.now;
        let machine = self.machine(member);
        let promised = machine.disk.ceiling;
        let Some(replication) = &mut machine.running else {
            return;
        };
        let mut out = Vec::new();
        let last_before = replication.last();
        act(replication, promised, &mut out);
        replication.flush(now, &mut out);
        replication.invariants();
        let replaced = replication.term_at(last_before.index) != Some(last_before.term);
        self.deeds.replaced += usize::from(replaced);
        self.perform(member, out);
    }

    fn perform(&mut self, member: NodeId, effects: Vec<ReplicationEffect>) {
        use ReplicationEffect as E;
        let (mut records, mut held) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                E::LogEntry(_) | E::LogHardState { .. } => records.push(effect),
                E::Send {
                    to,
                    message,
                    after_log: true,
                } => held.push((to, message)),
                E::Send { to, message, .. } => self.send(member, to, Packet::Message(message)),
                E::Committed { .. } => self.check_committed_prefix(member),
                E::BecameLeader { term } => self.on_elected(member, term),
                E::BecameFollower { .. } | E::BecameCandidate { .. } => {}
            }
        }
        if records.is_empty() {
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

    fn delay(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.random.below(max.as_micros() as u64))
    }

    fn arrive(&mut self, delay: Duration, to: NodeId, arrival: Arrival) {
        self.sequence += 1;
        let key = (self.now + delay, self.sequence);
        self.arrivals.insert(key, (to, arrival));
    }

    fn send(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        if self.random.chance(self.faults.doubled_percent, 100)
            && let Packet::Message(message) = &packet
        {
            let doubled = Packet::Message(message.clone());
            self.send_once(from, to, doubled);
        }
        self.send_once(from, to, packet);
    }

    fn send_once(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        let is_cut = self.cut_off.contains(&from) != self.cut_off.contains(&to);
        if is_cut || self.random.chance(self.faults.lost_percent, 100) {
            return;
        }
        let delay = self.delay(self.faults.delay_max);
        self.arrive(delay, to, Arrival::Packet { from, packet });
    }

    fn run(&mut self, ticks: u64) {
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

    fn on_arrival(&mut self, to: NodeId, arrival: Arrival) {
        let now = self.now;
        match arrival {
            Arrival::Flushed { incarnation } => self.on_flushed(to, incarnation),
            Arrival::Packet { from, packet } => match packet {
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
    fn on_flushed(&mut self, member: NodeId, incarnation: u32) {
        let machine = self.machine(member);
        if machine.incarnation != incarnation || machine.running.is_none() {
            return;
        }
        let batch = machine.batches.pop_front().expect("one report a batch");
        let mut position = None;
        for record in &batch.records {
            machine.disk.write(record);
            if let ReplicationEffect::LogEntry(entry) = record {
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
    }

    fn on_heartbeat(
        &mut self,
        to: NodeId,
        from: NodeId,
        term: Term,
        commit: LogIndex,
        promise: Timestamp,
    ) {
        let now = self.now;
        let mut answer = Ok(promise);
        let runs = self.machine(to).running.is_some();
        self.turn(to, |replication, _, out| {
            let heard = replication.on_heartbeat(now, from, term, commit, out);
            answer = heard.map(|()| promise);
        });
        if !runs {
            return;
        }
        if answer.is_ok() {
            let ceiling = &mut self.machine(to).disk.ceiling;
            *ceiling = promise.max(*ceiling);
        }
        self.send(to, from, Packet::HeartbeatReply { term, answer });
    }

    fn on_heartbeat_reply(
        &mut self,
        to: NodeId,
        from: NodeId,
        term: Term,
        answer: Result<Timestamp, Term>,
    ) {
        let now = self.now;
        match answer {
            Err(later) => self.turn(to, |replication, _, out| {
                replication.on_later_term(now, later, out);
            }),
            Ok(promise) => {
                self.turn(to, |replication, _, _| {
                    replication.on_contact(now, from, term);
                });
                self.on_promise(to, from, term, promise);
            }
        }
    }

    /// A member has acknowledged a promise to the leader of a term.
    fn on_promise(&mut self, leader: NodeId, by: NodeId, term: Term, promise: Timestamp) {
        let machine = self.machine(leader);
        let Some(replication) = &machine.running else {
            return;
        };
        if replication.role() != Role::Leader || replication.term() != term {
            return;
        }
        let known = machine.promises.entry(by).or_default();
        *known = promise.max(*known);
        let obtained = replication
            .quorum
            .highest_reached_by_quorum(|m| machine.promises.get(&m).copied().unwrap_or_default());
        self.obtained.insert(term, obtained);
        for (later, (_, told)) in self.elected.range(term.next()..) {
            assert!(
                *told >= obtained,
                "the leader of {later} was told {told}, but that of {term} obtained {obtained}"
            );
        }
    }

    fn on_tick(&mut self) {
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
            if now.as_millis().is_multiple_of(TIMING.heartbeat.as_millis()) {
                self.send_heartbeats(member);
            }
        }
        if self.random.chance(1, 20) {
            self.check_log_matching();
        }
        if self.random.chance(1, 50) {
            self.discard();
        }
    }

    fn propose(&mut self, member: NodeId) {
        let body = Bytes::copy_from_slice(&self.proposed.to_be_bytes());
        self.proposed += 1;
        self.turn(member, |replication, _, out| {
            let is_leader = replication.role() == Role::Leader;
            assert_eq!(replication.propose(body, out).is_some(), is_leader);
        });
    }

    fn send_heartbeats(&mut self, member: NodeId) {
        let promise = Timestamp::from_micros(self.now.as_micros() as u64);
        let machine = self.machine(member);
        let Some(replication) = &machine.running else {
            return;
        };
        if replication.role() != Role::Leader {
            return;
        }
        let term = replication.term();
        let others: Vec<_> = replication
            .others()
            .map(|other| (other, replication.heartbeat_commit_for(other)))
            .collect();
        machine.disk.ceiling = promise.max(machine.disk.ceiling);
        self.on_promise(member, member, term, promise);
        for (to, commit) in others {
            let packet = Packet::Heartbeat {
                term,
                commit,
                promise,
            };
            self.send(member, to, packet);
        }
    }

    fn on_elected(&mut self, member: NodeId, term: Term) {
        self.machine(member).promises.clear();
        let replication = self.running(member);
        let told = replication.votes_promised().expect("it leads");
        for committed in &self.committed {
            let position = committed.position();
            assert!(
                position.index <= replication.base().index || replication.log.holds(position),
                "{member}, elected in {term}, lacks {position:?}, which is committed"
            );
        }
        for (earlier, obtained) in self.obtained.range(..term) {
            assert!(
                told >= *obtained,
                "the leader of {term} was told {told}, but that of {earlier} obtained {obtained}"
            );
        }
        let other = self.elected.insert(term, (member, told));
        assert!(
            other.is_none(),
            "{member} and {other:?} were elected in {term}"
        );
        self.deeds.elections += 1;
    }

    fn leads(&self, member: NodeId) -> bool {
        let running = self.machines[&member].running.as_ref();
        running.is_some_and(|replication| replication.role() == Role::Leader)
    }

    fn running(&self, member: NodeId) -> &Replication {
        let machine = &self.machines[&member];
        machine.running.as_ref().expect("it runs")
    }

    /// What a member takes for committed is what others do, and is on a majority of disks.
    fn check_committed_prefix(&mut self, member: NodeId) {
        let replication = self.running(member);
        let (base, commit) = (replication.base().index, replication.commit());
        let taken: Vec<Entry> = replication.entries(base.next()..=commit).cloned().collect();
        assert_eq!(taken.len() as u64, commit.0 - base.0, "{member}: no gaps");
        for entry in taken {
            let at = entry.index.0 as usize - 1;
            if let Some(known) = self.committed.get(at) {
                assert_eq!(*known, entry, "what is committed never changes");
                continue;
            }
            assert_eq!(at, self.committed.len(), "committed in order");
            let position = entry.position();
            let disks = self.machines.values().filter(|m| m.disk.holds(position));
            let count = disks.count();
            assert!(
                count > self.machines.len() / 2,
                "{position:?} is committed, but on {count} disks only"
            );
            self.committed.push(entry);
            self.deeds.committed += 1;
        }
    }

    fn check_log_matching(&self) {
        let logs: Vec<&Replication> = self
            .machines
            .values()
            .filter_map(|machine| machine.running.as_ref())
            .collect();
        for (i, one) in logs.iter().enumerate() {
            for other in &logs[i + 1..] {
                check_logs_match(one, other);
            }
        }
    }

    /// Forgets what every disk holds and knows to be committed.
    fn discard(&mut self) {
        let all_run = self.machines.values().all(|m| m.running.is_some());
        if !all_run {
            return;
        }
        let up_to = self
            .machines
            .values()
            .filter_map(|machine| machine.running.as_ref())
            .map(|replication| replication.commit().min(replication.durable()))
            .min()
            .unwrap_or_default();
        let Some(entry) = self.committed.get((up_to.0 as usize).wrapping_sub(1)) else {
            return;
        };
        let position = entry.position();
        for machine in self.machines.values_mut() {
            if let Some(replication) = &mut machine.running {
                replication.discard(position);
                machine.disk.discard(position);
            }
        }
        self.deeds.discarded += 1;
    }

    /// Without faults, one leader is followed by all, and all hold the same.
    fn heal_and_check_progress(&mut self) {
        self.faults = Faults::none();
        self.cut_off.clear();
        for member in self.members() {
            if self.machine(member).running.is_none() {
                self.start(member);
            }
        }
        let before = self.committed.len();
        self.run(HEALED_TICKS);
        assert!(
            self.committed.len() > before + 50,
            "progress after healing: {before} committed before, {} after",
            self.committed.len()
        );
        let (_, (leader, _)) = self.elected.last_key_value().expect("elected");
        for member in self.members() {
            let replication = self.running(member);
            assert_eq!(replication.leader(), Some(*leader), "{member} follows");
            assert!(
                replication.commit().0 + 50 > self.committed.len() as u64,
                "{member} keeps up"
            );
        }
        self.check_log_matching();
    }
}

/// From the highest index at which they agree on, they agree below.
fn check_logs_match(one: &Replication, other: &Replication) {
    let end = one.last().index.min(other.last().index);
    let start = one.base().index.max(other.base().index);
    let range = start.next()..=end;
    let pairs: Vec<_> = one
        .entries(range.clone())
        .zip(other.entries(range))
        .collect();
    let agreed = pairs.iter().rposition(|(a, b)| a.term == b.term);
    for (a, b) in &pairs[..agreed.map_or(0, |at| at + 1)] {
        assert_eq!(a, b, "logs that agree above agree here");
    }
}

fn run(members: u32, seeds: std::ops::Range<u64>) -> Deeds {
    let mut sum = Deeds::default();
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(members, seed);
            world.run(FAULTY_TICKS);
            world.heal_and_check_progress();
            world.deeds
        });
        let deeds = result.unwrap_or_else(|why| {
            eprintln!("members {members}, seed {seed}");
            std::panic::resume_unwind(why);
        });
        sum.elections += deeds.elections;
        sum.committed += deeds.committed;
        sum.crashes += deeds.crashes;
        sum.replaced += deeds.replaced;
        sum.discarded += deeds.discarded;
    }
    sum
}

/// A run in which nothing happened would show nothing.
fn check_eventful(deeds: &Deeds, seeds: usize) {
    assert!(
        deeds.elections > 2 * seeds
            && deeds.committed > 100 * seeds
            && deeds.crashes > seeds
            && deeds.replaced > seeds / 2
            && deeds.discarded > seeds,
        "too little happened in {seeds} worlds: {deeds:?}"
    );
}

#[test]
fn three_replicas_survive_what_may_happen() {
    check_eventful(&run(3, 0..600), 600);
}

#[test]
fn five_replicas_survive_what_may_happen() {
    check_eventful(&run(5, 10_000..10_400), 400);
}
