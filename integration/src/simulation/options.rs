//! What a run is like: chosen by the caller ([`SimulationOptions`]), the rest drawn from the seed
//! ([`WorldOptions`]), each seed another mixture (Groce et al., *Swarm Testing*, 2012).

use super::client::ClientTiming;
use super::clocks::{ClockMotion, draw_motion};
use super::nemesis::{FaultKind, Faults};
use super::network::{DelayModel, NetworkMode};
use super::scenario::{TimingForm, nanoseconds};
use crate::workload::{Letters, WorkloadChoice};
use node::{QuarantineTiming, Timing};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wire::SplitMix64;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// What the seeds are drawn around.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mixture {
    /// Everything that can be, each seed something else.
    Swarm,
    /// Clocks at the two edges of a wide bound, quick clients on all gateways: the mixture in which
    /// the clock-bound wait and the choice of `r` matter most.
    SkewedClocks,
    /// Few keys and conflicts in plenty: the mixture in which evaluation matters most.
    Contention,
    /// Crashes of all nodes at once, slow disks: the mixture in which durability matters most.
    PowerCuts,
    /// Few keys whose transactions read what they do not lock, and coordinators that are taken for dead
    /// while their messages are on the way: the mixture in which recovery matters most.
    LateMessages,
    /// Disks that are lost at the worst moment: the mixture in which a node's memory matters most.
    LostMemory,
    /// Partitions that get other members again and again, beside everything else or a little of it: the
    /// mixture in which it matters most who is counted.
    Members,
    /// Clocks that leave their bounds, beside crashes and cuts: real time orders nothing then, and all
    /// else must hold.
    BrokenClocks,
}

impl Mixture {
    /// Every mixture.
    pub const ALL: [Mixture; 8] = [
        Mixture::Swarm,
        Mixture::SkewedClocks,
        Mixture::Contention,
        Mixture::PowerCuts,
        Mixture::LateMessages,
        Mixture::LostMemory,
        Mixture::Members,
        Mixture::BrokenClocks,
    ];

    /// As it is called on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Mixture::Swarm => "swarm",
            Mixture::SkewedClocks => "skewed",
            Mixture::Contention => "contention",
            Mixture::PowerCuts => "power",
            Mixture::LateMessages => "late",
            Mixture::LostMemory => "memory",
            Mixture::Members => "members",
            Mixture::BrokenClocks => "clocks",
        }
    }
}

impl Mixture {
    /// So many transactions make a run worth something: fewer where all contend for a handful of keys.
    pub fn acknowledged_min(self) -> usize {
        match self {
            Mixture::LateMessages => 200,
            _ => 500,
        }
    }
}

/// What a run is like, as the caller wants it.
#[derive(Clone, Debug)]
pub struct SimulationOptions {
    /// How many nodes; `None`: three, in a swarm now and then five.
    pub nodes: Option<usize>,
    /// How many partitions, the system's own among them, 2 at least; `None`: four, in a swarm two to five.
    pub partitions: Option<u8>,
    /// How long clients begin transactions, virtual time.
    pub duration: Duration,
    /// What the seeds are drawn around.
    pub mixture: Mixture,
    /// Whether anything is made to fail.
    pub faults: bool,
    /// A run with fewer acknowledged transactions is not counted as a test of anything.
    pub acknowledged_min: usize,
    /// The same for faults.
    pub faults_min: u64,
    /// Keep a readable trace.
    pub readable: bool,
    /// A rule that is broken on purpose in every node.
    #[cfg(feature = "mutants")]
    pub mutant: Option<node::Mutant>,
}

impl Default for SimulationOptions {
    fn default() -> SimulationOptions {
        SimulationOptions {
            nodes: None,
            partitions: None,
            duration: Duration::from_secs(30),
            mixture: Mixture::Swarm,
            faults: true,
            acknowledged_min: Mixture::Swarm.acknowledged_min(),
            faults_min: 5,
            readable: false,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

/// A whole world, every number of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorldOptions {
    /// Of everything random.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many partitions, the system's own among them.
    pub partitions: u8,
    /// Between nodes.
    pub node_delay: DelayModel,
    /// Between clients and nodes.
    pub client_delay: DelayModel,
    /// Whether frames come in order.
    pub network: NetworkMode,
    /// How long a node takes for a turn.
    pub turn: DelayModel,
    /// How long a flush of the log takes.
    pub flush: DelayModel,
    /// How long the store takes for a task, one after another.
    pub store: DelayModel,
    /// How long it is held up now and then by its own flushing.
    #[serde(with = "nanoseconds")]
    pub store_stall: Duration,
    /// About how often what the store holds is persisted.
    #[serde(with = "nanoseconds")]
    pub persist_every: Duration,
    /// A segment of the log.
    pub segment_bytes: u64,
    /// So much log of all its partitions together a node that is away may hold back, bytes.
    pub held_back_bytes_max: u64,
    /// Every clock's bound.
    #[serde(with = "nanoseconds")]
    pub clock_bound: Duration,
    /// How each node's clock moves.
    pub clocks: Vec<ClockMotion>,
    /// The nodes' own times.
    #[serde(with = "TimingForm")]
    pub timing: Timing,
    /// How long a broken connection takes to come back, at most.
    #[serde(with = "nanoseconds")]
    pub reconnect: Duration,
    /// Keep a readable trace.
    #[serde(skip)]
    pub readable: bool,
    /// A rule that is broken on purpose in every node.
    #[cfg(feature = "mutants")]
    #[serde(skip)]
    pub mutant: Option<node::Mutant>,
}

impl WorldOptions {
    /// A calm world: fixed delays, no time for turns and disks, exact clocks.
    pub fn calm(seed: u64, nodes: usize, partitions: u8, one_way: Duration) -> WorldOptions {
        let never = DelayModel::exactly(Duration::ZERO);
        WorldOptions {
            seed,
            nodes,
            partitions,
            node_delay: DelayModel::exactly(one_way),
            client_delay: never,
            network: NetworkMode::Ordered,
            turn: never,
            flush: never,
            store: never,
            store_stall: Duration::ZERO,
            persist_every: ms(500),
            segment_bytes: 64 * 1024,
            held_back_bytes_max: 1 << 30,
            clock_bound: Duration::ZERO,
            clocks: vec![ClockMotion::Constant(0); nodes],
            timing: Timing::default(),
            reconnect: ms(50),
            readable: false,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// A world drawn from a seed.
    pub fn draw(seed: u64, wanted: &SimulationOptions) -> WorldOptions {
        let mut random = SplitMix64::new(seed ^ 0x0077_6f72_6c64);
        let random = &mut random;
        let skewed = wanted.mixture == Mixture::SkewedClocks;
        let late = wanted.mixture == Mixture::LateMessages;
        let slow_disk = wanted.mixture == Mixture::PowerCuts;
        let (nodes, partitions) = draw_size(seed, wanted);
        let mut options = WorldOptions::calm(seed, nodes, partitions, ms(1));
        options.node_delay = match random.below(4) {
            _ if skewed => delay(us(100), us(300)),
            0 => delay(us(100), us(400)),
            1 | 2 => delay(ms(1), ms(4)),
            _ => delay(ms(5), ms(20)),
        };
        options.client_delay = match random.below(3) {
            _ if skewed => delay(us(20), us(100)),
            0 => delay(us(20), us(200)),
            _ => delay(us(200), ms(3)),
        };
        options.network = match random.below(4) {
            0 => NetworkMode::Wild,
            _ => NetworkMode::Ordered,
        };
        options.turn = match random.below(3) {
            0 => delay(us(5), us(50)),
            _ => DelayModel::exactly(Duration::ZERO),
        };
        options.flush = match random.below(3) {
            _ if slow_disk => delay(ms(5), ms(30)),
            0 => delay(us(80), us(100)),
            1 => delay(us(200), ms(3)),
            _ => delay(ms(1), ms(10)),
        };
        options.store = delay(us(10), *pick(random, &[us(50), us(500), ms(2)]));
        options.store_stall = ms(random.below(70));
        options.persist_every = ms(100 + random.below(3000));
        options.segment_bytes = *pick(random, &[4 << 10, 16 << 10, 128 << 10]);
        options.held_back_bytes_max = *pick(random, &[4 << 10, 64 << 10, 1 << 30]);
        options.clock_bound = match random.below(5) {
            _ if skewed => ms(5 + random.below(46)),
            0 => Duration::ZERO,
            1 => us(100),
            2 => ms(1),
            3 => ms(5),
            _ => ms(20),
        };
        options.clocks = (0..nodes)
            .map(|seat| draw_clock(random, seat, skewed))
            .collect();
        options.timing = draw_timing(random);
        draw_spread(seed, &mut options.timing);
        if wanted.mixture == Mixture::Swarm && random.chance(1, 5) {
            hurry(random, &mut options);
        }
        if late || random.chance(1, 6) {
            impatient(random, &mut options);
        }
        options.reconnect = ms(20 + random.below(300));
        options.readable = wanted.readable;
        #[cfg(feature = "mutants")]
        {
            options.mutant = wanted.mutant;
        }
        options
    }

    /// How many letters the keys of workloads are spread over: one for each of the users' partitions.
    pub fn letters(&self) -> Letters {
        Letters(self.partitions.saturating_sub(1).max(1))
    }
}

fn delay(least: Duration, spread: Duration) -> DelayModel {
    DelayModel { least, spread }
}

fn pick<'a, T>(random: &mut SplitMix64, from: &'a [T]) -> &'a T {
    &from[random.below(from.len() as u64) as usize]
}

fn draw_clock(random: &mut SplitMix64, seat: usize, skewed: bool) -> ClockMotion {
    match skewed {
        true if seat.is_multiple_of(2) => ClockMotion::Constant(1000),
        true => ClockMotion::Constant(-1000),
        false => draw_motion(random),
    }
}

/// Nodes and partitions.
fn draw_size(seed: u64, wanted: &SimulationOptions) -> (usize, u8) {
    let mut random = SplitMix64::new(seed ^ 0x0073_697a_6500);
    let swarm = wanted.mixture == Mixture::Swarm;
    let nodes = match random.below(8) {
        number if wanted.mixture == Mixture::Members => 3 + number as usize % 3,
        0 if swarm => 5,
        _ => 3,
    };
    let partitions = match random.below(6) {
        _ if !swarm => 4,
        0 => 2,
        1 | 2 => 3,
        3 | 4 => 4,
        _ => 5,
    };
    (
        wanted.nodes.unwrap_or(nodes),
        wanted.partitions.unwrap_or(partitions),
    )
}

/// Promises and elections of a few message delays: leaders change every few transactions.
fn hurry(random: &mut SplitMix64, options: &mut WorldOptions) {
    let delays = 3 + random.below(6) as u32;
    let one_way = options.node_delay.least + options.node_delay.spread;
    let flush = options.flush.least + options.flush.spread;
    let promise = (delays * (one_way + flush)).max(ms(25));
    options.timing.heartbeat = promise / 4;
    options.timing.promise = promise;
    options.timing.election_timeout = promise + promise.mul_f64(random.below(100) as f64 / 100.0);
}

/// Locks are pushed, and holders ended, while a commit that had to look again at what it read is still
/// at it.
fn impatient(random: &mut SplitMix64, options: &mut WorldOptions) {
    let one_way = options.node_delay.least + options.node_delay.spread / 2;
    let flush = options.flush.least + options.flush.spread / 2;
    let step = (one_way + flush).max(ms(1));
    options.timing.push_after = step * (1 + random.below(4) as u32);
    options.timing.wound_after = options.timing.push_after + step * random.below(4) as u32;
}

fn draw_timing(random: &mut SplitMix64) -> Timing {
    let promise = ms(200 + random.below(400));
    Timing {
        heartbeat: ms(30 + random.below(80)),
        promise,
        election_timeout: promise + ms(random.below(300)),
        resend_after: ms(300 + random.below(1000)),
        quarantine: QuarantineTiming {
            good_for: ms(200 + random.below(1000)),
            good_for_max: ms(3000),
            probe_every: ms(100 + random.below(400)),
            probe_soon: ms(20 + random.below(80)),
        },
        retention: *pick(random, &[ms(500), ms(5_000), ms(20_000), ms(3_600_000)]),
        ..Timing::default()
    }
}

/// Leaders move often, and to nodes that started a moment ago; or they stay.
fn draw_spread(seed: u64, timing: &mut Timing) {
    let mut random = SplitMix64::new(seed ^ 0x7370_7265_6164);
    let every = ms(200 + random.below(2000));
    timing.spread_every = random.chance(3, 4).then_some(every);
    timing.settle = ms(200 + random.below(3000));
    timing.disk_stall = ms(400 + random.below(800));
}

/// Who works in a world, and what befalls it.
pub struct Cast {
    /// How many clients.
    pub clients: u32,
    /// How each behaves.
    pub client_timing: ClientTiming,
    /// What they do.
    pub workloads: Vec<WorkloadChoice>,
    /// So many transactions are begun at the most; `None`: any number.
    pub transactions_max: Option<u64>,
    /// What happens to the cluster.
    pub faults: Faults,
}

impl Cast {
    /// Drawn from a seed.
    pub fn draw(seed: u64, wanted: &SimulationOptions) -> Cast {
        let mut random = SplitMix64::new(seed ^ 0x0063_6173_7400);
        let random = &mut random;
        let client_timing = ClientTiming {
            think: (ms(20), *pick(random, &[ms(200), ms(500)])),
            timeout: ms(300 + random.below(900)),
            sign_after: random.chance(1, 4).then(|| ms(200 + random.below(600))),
            retry: ms(50 + random.below(100)),
            sends_max: 1 + random.below(3) as u32,
            reruns_max: 3,
            expires: ms(2000 + random.below(4000)),
            asides_one_in: *pick(random, &[0, 3, 8, 20]),
            past_one_in: *pick(random, &[0, 4, 12]),
        };
        let workloads = draw_workloads(random, wanted.mixture);
        let kinds = draw_faults(random, wanted.mixture);
        let mut every = match random.below(5) {
            0 if wanted.mixture == Mixture::Swarm => ms(600 + random.below(800)),
            _ if wanted.mixture == Mixture::LateMessages => ms(600 + random.below(800)),
            _ => ms(1800 + random.below(1700)),
        };
        if kinds.iter().all(|kind| kind.stops_all()) {
            // A cluster whose majority is always down shows nothing.
            every = every.max(ms(2500));
        }
        Cast {
            clients: 20,
            client_timing,
            workloads,
            transactions_max: None,
            faults: Faults::Drawn { kinds, every },
        }
    }
}

fn draw_workloads(random: &mut SplitMix64, mixture: Mixture) -> Vec<WorkloadChoice> {
    let swarm = mixture == Mixture::Swarm;
    let few = [Mixture::Contention, Mixture::LateMessages].contains(&mixture)
        || random.chance(1, if swarm { 5 } else { 8 });
    let keys = |random: &mut SplitMix64, most: u64| match few {
        true => 3 + random.below(3),
        false => 6 + random.below(2 * most),
    };
    if mixture == Mixture::LateMessages {
        let registers = keys(random, 12);
        let accounts = keys(random, 20);
        return vec![
            WorkloadChoice::Bank { accounts },
            WorkloadChoice::CrossedRegister { registers },
        ];
    }
    // Registers are always there: most of theirs are cold, so something gets through in any world.
    let registers = WorkloadChoice::Register {
        registers: keys(random, 12),
    };
    let mut all = vec![
        WorkloadChoice::Bank {
            accounts: keys(random, 20),
        },
        WorkloadChoice::WriteSkew {
            pairs: keys(random, 6),
        },
        WorkloadChoice::ListAppend {
            lists: keys(random, 8),
        },
        WorkloadChoice::Counter {
            counters: keys(random, 6),
        },
    ];
    // What is spread thin finds little, and few keys of few workloads let nobody through.
    let leave_out = if few {
        random.below(2)
    } else {
        random.below(4)
    };
    for _ in 0..leave_out {
        all.remove(random.below(all.len() as u64) as usize);
    }
    if swarm && random.chance(1, 3) {
        all.push(WorkloadChoice::Hot {
            keys: 2 + random.below(3),
        });
    }
    all.push(registers);
    all
}

fn draw_faults(random: &mut SplitMix64, mixture: Mixture) -> Vec<FaultKind> {
    if mixture == Mixture::PowerCuts {
        return vec![
            FaultKind::CrashAll,
            FaultKind::CrashMajority,
            FaultKind::SlowDisk,
        ];
    }
    if mixture == Mixture::LateMessages {
        let often = [FaultKind::TakenForDead; 6];
        let others = [FaultKind::CrashOne, FaultKind::Slow, FaultKind::Transfer];
        return [&often[..], &others].concat();
    }
    if mixture == Mixture::LostMemory {
        let often = [FaultKind::LostWhileAhead; 6];
        return [&often[..], &[FaultKind::CrashOne, FaultKind::Transfer]].concat();
    }
    if mixture == Mixture::BrokenClocks {
        let often = [FaultKind::BreakClock; 5];
        let others = [
            FaultKind::CrashOne,
            FaultKind::CrashAll,
            FaultKind::Isolate,
            FaultKind::CutOneWay,
            FaultKind::Slow,
        ];
        return [often, others].concat();
    }
    let mut kinds = FaultKind::ALL.to_vec();
    if mixture == Mixture::Members {
        let most = [kinds.len() as u64, 4][random.below(2) as usize];
        while kinds.len() as u64 > most {
            kinds.remove(random.below(kinds.len() as u64) as usize);
        }
        let often = 1 + kinds.len() / 4;
        kinds.extend(vec![FaultKind::Members; often]);
        return kinds;
    }
    if mixture != Mixture::Swarm {
        kinds.retain(|kind| *kind != FaultKind::Members);
    }
    // Now and then nothing fails but a few kinds: what they do is not drowned by the rest.
    let leave_out = match random.below(4) {
        0 => kinds.len() as u64 - 2 - random.below(3),
        _ => random.below(8),
    };
    for _ in 0..leave_out {
        kinds.remove(random.below(kinds.len() as u64) as usize);
    }
    // Such a seed is judged without real time, so it must be one of a few.
    if mixture == Mixture::Swarm && random.chance(1, 8) {
        kinds.push(FaultKind::BreakClock);
    }
    kinds
}
