//! What befalls the cluster: faults drawn from the seed, each for a while, and in the end all healed.
//!
//! A nemesis decides only what happens and when; [`super::World`] does it.

use super::network::Seat;
use super::scenario::nanoseconds;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;
use wire::SplitMix64;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// The nodes that it befalls; of a one-way cut, from and to.
    pub seats: Vec<Seat>,
    /// How long it lasts.
    #[serde(with = "nanoseconds")]
    pub lasts: Duration,
    /// For what the fault itself draws.
    pub seed: u64,
}

/// A fault, and when it strikes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Struck {
    /// Since the clients began.
    #[serde(with = "nanoseconds")]
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

/// Where faults come from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Faults {
    /// Drawn from the seed.
    Drawn {
        /// Of these kinds; one that is named twice comes twice as often.
        kinds: Vec<FaultKind>,
        /// The mean time between two.
        #[serde(with = "nanoseconds")]
        every: Duration,
    },
    /// Exactly these, by time.
    Listed(Vec<Struck>),
}

/// Decides what happens next.
pub struct Nemesis {
    kinds: Vec<FaultKind>,
    every: Duration,
    /// What happens instead of what would be drawn.
    listed: Option<VecDeque<Struck>>,
    nodes: usize,
    random: SplitMix64,
}

impl Nemesis {
    /// One with these faults.
    pub fn new(faults: Faults, nodes: usize, seed: u64) -> Nemesis {
        let (kinds, every, listed) = match faults {
            Faults::Drawn { kinds, every } => (kinds, every, None),
            Faults::Listed(faults) => (Vec::new(), Duration::ZERO, Some(faults.into())),
        };
        Nemesis {
            kinds,
            every,
            listed,
            nodes,
            random: SplitMix64::new(seed),
        }
    }

    /// How long until the next fault, so long after the clients began; `None`: there is none to come.
    pub fn next_pause(&mut self, since: Duration) -> Option<Duration> {
        if let Some(listed) = &self.listed {
            return listed.front().map(|next| next.at.saturating_sub(since));
        }
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
        if let Some(listed) = &mut self.listed {
            let next = listed.pop_front();
            return next.expect("a pause was told, so a fault is to come").fault;
        }
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
        let faults = Faults::Drawn {
            kinds: FaultKind::ALL.to_vec(),
            every: Duration::from_millis(100),
        };
        let mut nemesis = Nemesis::new(faults, 3, 1);
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

    #[test]
    fn listed_faults_strike_at_their_times() {
        let ms = Duration::from_millis;
        let struck = |at, seat| Struck {
            at: ms(at),
            fault: Fault {
                kind: FaultKind::CrashOne,
                seats: vec![seat],
                lasts: ms(5),
                seed: 1,
            },
        };
        let mut nemesis = Nemesis::new(Faults::Listed(vec![struck(30, 0), struck(50, 2)]), 3, 1);
        assert_eq!(nemesis.next_pause(ms(10)), Some(ms(20)));
        assert_eq!(nemesis.next_fault().seats, [0]);
        assert_eq!(nemesis.next_pause(ms(30)), Some(ms(20)));
        assert_eq!(nemesis.next_fault().seats, [2]);
        assert_eq!(nemesis.next_pause(ms(50)), None);
    }
}
