//! What befalls the cluster: faults drawn from the seed, each for a while, and in the end all healed.
//!
//! A nemesis decides only what happens and when; [`super::World`] does it.

use super::network::Seat;
use std::time::Duration;
use wire::SplitMix64;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// One node loses power and comes back.
    CrashOne,
    /// One node loses power, and comes back when the others may have forgotten what it lacks.
    Away,
    /// One node loses its disk, if all others are well, and comes back with an empty one.
    Wipe,
    /// A majority loses power at once.
    CrashMajority,
    /// Every node loses power at once.
    CrashAll,
    /// Nobody reaches a node, and it reaches nobody.
    Isolate,
    /// What one node sends to another does not arrive; the other direction does.
    CutOneWay,
    /// Many frames are lost.
    Loss,
    /// Frames take much longer.
    Slow,
    /// Frames are doubled and overtake each other.
    Wild,
    /// A clock moves otherwise, inside its bound.
    Clock,
    /// A disk takes much longer.
    SlowDisk,
    /// A flush fails: the node stops, and is started later with its disk as it was.
    DiskError,
    /// A node stands still, longer than its promise perhaps, and goes on.
    Pause,
    /// A client's connection breaks.
    CutClient,
    /// The leadership of some partitions is handed over, one after another.
    Transfer,
    /// Partitions get other members, one after another.
    Members,
    /// A disk does not finish a write for a while; the node goes on otherwise.
    StallDisk,
    /// A disk is nearly full, or as full as can be, on one node or on all; then there is room again.
    FullDisk,
    /// A node loses power, and what was durable in its log is damaged meanwhile: a flipped bit, or an older
    /// segment that is cut off. Only if all others are well; it is rebuilt by hand.
    DamageLog,
    /// A node loses power, and a table of its store is damaged meanwhile. The same.
    DamageTable,
    /// A node is so slow that others discard what it still lacks.
    Lag,
    /// What a node sends to one comes very late, and another hears nothing of it: the one takes for
    /// dead a coordinator whose messages are still on their way to the other.
    TakenForDead,
    /// Two of three commit without the third; then one of the two loses its disk while the other, which
    /// alone knows now, is cut off.
    LostWhileAhead,
    /// A clock leaves its bound, or is vouched for no more. Then only serializability, atomicity and
    /// durability are promised; not among [`FaultKind::ALL`].
    BreakClock,
}

impl FaultKind {
    /// Every kind after which everything that is promised must hold.
    pub const ALL: [FaultKind; 24] = [
        FaultKind::CrashOne,
        FaultKind::Away,
        FaultKind::Wipe,
        FaultKind::CrashMajority,
        FaultKind::CrashAll,
        FaultKind::Isolate,
        FaultKind::CutOneWay,
        FaultKind::Loss,
        FaultKind::Slow,
        FaultKind::Wild,
        FaultKind::Clock,
        FaultKind::SlowDisk,
        FaultKind::DiskError,
        FaultKind::Pause,
        FaultKind::CutClient,
        FaultKind::Transfer,
        FaultKind::Members,
        FaultKind::StallDisk,
        FaultKind::FullDisk,
        FaultKind::DamageLog,
        FaultKind::DamageTable,
        FaultKind::Lag,
        FaultKind::TakenForDead,
        FaultKind::LostWhileAhead,
    ];

    /// Whether nobody may be served while it lasts, and for a while after.
    pub fn stops_all(self) -> bool {
        use FaultKind::{CrashAll, CrashMajority, LostWhileAhead};
        [CrashMajority, CrashAll, LostWhileAhead].contains(&self)
    }

    /// In words, for a summary.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::CrashOne => "crash of one",
            FaultKind::Wipe => "disk lost",
            FaultKind::Away => "node away for long",
            FaultKind::CrashMajority => "crash of a majority",
            FaultKind::CrashAll => "crash of all",
            FaultKind::Isolate => "node cut off",
            FaultKind::CutOneWay => "one-way cut",
            FaultKind::Loss => "loss",
            FaultKind::Slow => "delay",
            FaultKind::Wild => "doubling and reordering",
            FaultKind::Clock => "clock moved",
            FaultKind::SlowDisk => "slow disk",
            FaultKind::DiskError => "disk error",
            FaultKind::Pause => "pause",
            FaultKind::CutClient => "client cut off",
            FaultKind::BreakClock => "clock out of bound",
            FaultKind::Transfer => "leadership handed over",
            FaultKind::Members => "members changed",
            FaultKind::StallDisk => "disk stalled",
            FaultKind::FullDisk => "disk full",
            FaultKind::DamageLog => "log damaged",
            FaultKind::DamageTable => "table damaged",
            FaultKind::Lag => "follower far behind",
            FaultKind::TakenForDead => "coordinator taken for dead",
            FaultKind::LostWhileAhead => "disk lost while ahead",
        }
    }
}

/// One fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// The nodes that it befalls; of a one-way cut, from and to.
    pub seats: Vec<Seat>,
    /// How long it lasts.
    pub lasts: Duration,
    /// For what the fault itself draws.
    pub seed: u64,
}

/// Decides what happens next.
pub struct Nemesis {
    kinds: Vec<FaultKind>,
    every: Duration,
    nodes: usize,
    random: SplitMix64,
}

impl Nemesis {
    /// One with these faults, about so often.
    pub fn new(kinds: Vec<FaultKind>, every: Duration, nodes: usize, seed: u64) -> Nemesis {
        Nemesis {
            kinds,
            every,
            nodes,
            random: SplitMix64::new(seed),
        }
    }

    /// How long until the next fault; `None`: there is none to come.
    pub fn next_pause(&mut self) -> Option<Duration> {
        if self.kinds.is_empty() {
            return None;
        }
        let mean = self.every.as_nanos() as u64;
        Some(Duration::from_nanos(
            mean / 4 + self.random.below(3 * mean / 2),
        ))
    }

    /// The next fault.
    pub fn next_fault(&mut self) -> Fault {
        let random = &mut self.random;
        let kind = self.kinds[random.below(self.kinds.len() as u64) as usize];
        let seats = match kind {
            FaultKind::CrashAll => (0..self.nodes).collect(),
            FaultKind::CrashMajority => some_seats(random, self.nodes, self.nodes / 2 + 1),
            FaultKind::CutOneWay => some_seats(random, self.nodes, 2),
            FaultKind::TakenForDead | FaultKind::LostWhileAhead => shuffled(random, self.nodes),
            FaultKind::FullDisk if random.chance(1, 3) => (0..self.nodes).collect(),
            _ => some_seats(random, self.nodes, 1),
        };
        let lasts = match kind {
            FaultKind::CrashMajority | FaultKind::CrashAll => 50 + random.below(800),
            FaultKind::TakenForDead | FaultKind::LostWhileAhead => 1500 + random.below(2000),
            FaultKind::Away | FaultKind::Lag => 4000 + random.below(6000),
            _ => match random.below(4) {
                0 => 20 + random.below(150),
                1 | 2 => 150 + random.below(800),
                _ => 900 + random.below(2000),
            },
        };
        Fault {
            kind,
            seats,
            lasts: Duration::from_millis(lasts),
            seed: random.next_u64(),
        }
    }
}

fn some_seats(random: &mut SplitMix64, nodes: usize, count: usize) -> Vec<Seat> {
    let mut all: Vec<Seat> = (0..nodes).collect();
    while all.len() > count.min(nodes) {
        all.remove(random.below(all.len() as u64) as usize);
    }
    if random.chance(1, 2) {
        all.reverse();
    }
    all
}

fn shuffled(random: &mut SplitMix64, nodes: usize) -> Vec<Seat> {
    let mut left: Vec<Seat> = (0..nodes).collect();
    let mut all = Vec::new();
    while !left.is_empty() {
        all.push(left.remove(random.below(left.len() as u64) as usize));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_and_befalls_as_many_nodes_as_it_says() {
        let mut nemesis = Nemesis::new(FaultKind::ALL.to_vec(), Duration::from_millis(100), 3, 1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..400 {
            let fault = nemesis.next_fault();
            seen.insert(fault.kind);
            let expected: &[usize] = match fault.kind {
                FaultKind::CrashAll | FaultKind::TakenForDead | FaultKind::LostWhileAhead => &[3],
                FaultKind::CrashMajority | FaultKind::CutOneWay => &[2],
                FaultKind::FullDisk => &[1, 3],
                _ => &[1],
            };
            assert!(expected.contains(&fault.seats.len()), "{fault:?}");
        }
        assert_eq!(seen.len(), FaultKind::ALL.len());
    }
}
