//! The network between nodes: delays, cuts, loss, doubling and reordering.
//!
//! The real transport is one ordered connection a pair (pattern Single-Socket Channel), so a frame is
//! never lost alone: what is lost breaks the connection, and with it goes everything that was on its
//! way. That is the *ordered* network. The protocol must also stand single frames that are lost,
//! doubled or out of order; that is the *wild* one.
//!
//! ```text
//!   ordered   send ──delay──► arrival, never before the frame sent before it
//!             loss            the connection is reset: both sides hear PeerDown, later PeerUp
//!   wild      send ──delay──► arrival of its own; lost and doubled one by one
//! ```
//!
//! Invariants:
//! - Nothing arrives over a cut direction, nor on a connection that has ended.
//! - On the ordered network frames of one connection arrive in the order in which they were sent.

use super::scenario::nanoseconds;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wire::SplitMix64;

/// A node of the simulation: its place among them, 0 the first. Not its id in the cluster.
pub type Seat = usize;

/// Chances are given in so many parts.
pub const CHANCE_PARTS: u64 = 1_000_000;

/// How frames travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NetworkMode {
    /// In order, or not at all.
    Ordered,
    /// Each frame for itself.
    Wild,
}

/// How long a frame takes: at least `least`, at most `least + spread`, evenly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DelayModel {
    /// The least.
    #[serde(with = "nanoseconds")]
    pub least: Duration,
    /// How much more it can take.
    #[serde(with = "nanoseconds")]
    pub spread: Duration,
}

impl DelayModel {
    /// Always the same.
    pub const fn exactly(delay: Duration) -> DelayModel {
        DelayModel {
            least: delay,
            spread: Duration::ZERO,
        }
    }

    /// One delay.
    pub fn draw(&self, random: &mut SplitMix64) -> Duration {
        let spread = self.spread.as_nanos() as u64;
        if spread == 0 {
            return self.least;
        }
        self.least + Duration::from_nanos(random.below(spread + 1))
    }
}

/// What disturbs one direction of a link; all zero in calm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disturbance {
    /// Parts of [`CHANCE_PARTS`] that are lost.
    pub loss: u64,
    /// Parts of [`CHANCE_PARTS`] that arrive twice; on the wild network only.
    pub doubling: u64,
    /// Added to each delay, up to this, each time anew.
    pub slow: Duration,
}

#[derive(Clone, Debug)]
struct Link {
    delay: DelayModel,
    disturbance: Disturbance,
    cuts: u32,
    last_arrival: Duration,
}

/// One side of a connection, as it sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Down,
    Up(u64),
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// It arrives at this time.
    Arrives(Duration),
    /// It arrives at both.
    Twice(Duration, Duration),
    /// It is lost.
    Lost,
    /// It is lost, and the connection with it.
    Breaks,
}

/// All links between the nodes.
pub struct Network {
    nodes: usize,
    mode: NetworkMode,
    links: Vec<Link>,
    sides: Vec<Side>,
    connections: u64,
    random: SplitMix64,
}

impl Network {
    /// A calm network between so many nodes, nothing connected.
    pub fn new(nodes: usize, mode: NetworkMode, delay: DelayModel, seed: u64) -> Network {
        let link = Link {
            delay,
            disturbance: Disturbance::default(),
            cuts: 0,
            last_arrival: Duration::ZERO,
        };
        Network {
            nodes,
            mode,
            links: vec![link; nodes * nodes],
            sides: vec![Side::Down; nodes * nodes],
            connections: 0,
            random: SplitMix64::new(seed),
        }
    }

    fn place(&self, from: Seat, to: Seat) -> usize {
        assert!(
            from < self.nodes && to < self.nodes && from != to,
            "no link leads from {from} to {to} among {} nodes",
            self.nodes
        );
        from * self.nodes + to
    }

    /// Another mode from now on.
    pub fn set_mode(&mut self, mode: NetworkMode) {
        self.mode = mode;
    }

    /// Another delay for one direction.
    pub fn set_delay(&mut self, from: Seat, to: Seat, delay: DelayModel) {
        let place = self.place(from, to);
        self.links[place].delay = delay;
    }

    /// Disturbs one direction, or calms it.
    pub fn disturb(&mut self, from: Seat, to: Seat, disturbance: Disturbance) {
        let place = self.place(from, to);
        self.links[place].disturbance = disturbance;
    }

    /// Cuts one direction. Cuts are counted: it takes as many mends.
    pub fn cut(&mut self, from: Seat, to: Seat) {
        let place = self.place(from, to);
        self.links[place].cuts += 1;
    }

    /// Takes one cut away.
    pub fn mend(&mut self, from: Seat, to: Seat) {
        let place = self.place(from, to);
        self.links[place].cuts = self.links[place].cuts.saturating_sub(1);
    }

    /// Whether a direction is cut.
    pub fn is_cut(&self, from: Seat, to: Seat) -> bool {
        self.links[self.place(from, to)].cuts > 0
    }

    /// No cut, no disturbance, anywhere.
    pub fn heal(&mut self) {
        for link in &mut self.links {
            link.cuts = 0;
            link.disturbance = Disturbance::default();
        }
    }

    /// The pair gets a connection. Both sides must be down.
    pub fn connect(&mut self, a: Seat, b: Seat, now: Duration) -> u64 {
        self.connections += 1;
        for (from, to) in [(a, b), (b, a)] {
            let place = self.place(from, to);
            assert_eq!(
                self.sides[place],
                Side::Down,
                "node {from} is still connected to {to}"
            );
            self.sides[place] = Side::Up(self.connections);
            self.links[place].last_arrival = now;
        }
        self.connections
    }

    /// The connection that `at` sees to `peer`.
    pub fn connection(&self, at: Seat, peer: Seat) -> Option<u64> {
        match self.sides[self.place(at, peer)] {
            Side::Up(connection) => Some(connection),
            Side::Down => None,
        }
    }

    /// The side at `at` ends; the other learns of it by itself. False if it had ended before, or if
    /// another connection stands there now.
    pub fn disconnect(&mut self, at: Seat, peer: Seat, connection: u64) -> bool {
        let place = self.place(at, peer);
        let stands = self.sides[place] == Side::Up(connection);
        if stands {
            self.sides[place] = Side::Down;
        }
        stands
    }

    /// What becomes of a frame that is sent now.
    pub fn send(&mut self, from: Seat, to: Seat, now: Duration) -> Passage {
        let place = self.place(from, to);
        let link = &mut self.links[place];
        let random = &mut self.random;
        let Disturbance {
            loss,
            doubling,
            slow,
        } = link.disturbance;
        if link.cuts > 0 {
            return Passage::Lost;
        }
        let arrival = |random: &mut SplitMix64| {
            let slower = Duration::from_nanos(random.below(slow.as_nanos() as u64 + 1));
            now + link.delay.draw(random) + slower
        };
        let first = arrival(random);
        match self.mode {
            NetworkMode::Ordered if random.chance(loss, CHANCE_PARTS) => Passage::Breaks,
            NetworkMode::Ordered => {
                let first = first.max(link.last_arrival);
                link.last_arrival = first;
                Passage::Arrives(first)
            }
            NetworkMode::Wild if random.chance(loss, CHANCE_PARTS) => Passage::Lost,
            NetworkMode::Wild if random.chance(doubling, CHANCE_PARTS) => {
                Passage::Twice(first, arrival(random))
            }
            NetworkMode::Wild => Passage::Arrives(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn network(mode: NetworkMode) -> Network {
        let delay = DelayModel {
            least: MS,
            spread: 10 * MS,
        };
        Network::new(2, mode, delay, 5)
    }

    fn arrivals(network: &mut Network, frames: u32) -> Vec<Duration> {
        (0..frames)
            .flat_map(|n| match network.send(0, 1, n * MS) {
                Passage::Arrives(at) => vec![at],
                Passage::Twice(a, b) => vec![a, b],
                Passage::Lost | Passage::Breaks => vec![],
            })
            .collect()
    }

    #[test]
    fn the_ordered_network_keeps_the_order_and_loses_only_whole_connections() {
        let mut network = network(NetworkMode::Ordered);
        let calm = arrivals(&mut network, 100);
        assert_eq!(calm.len(), 100);
        assert!(calm.is_sorted());
        network.disturb(
            0,
            1,
            Disturbance {
                loss: CHANCE_PARTS,
                ..Disturbance::default()
            },
        );
        assert_eq!(network.send(0, 1, MS), Passage::Breaks);
    }

    #[test]
    fn the_wild_network_reorders_loses_and_doubles() {
        let mut network = network(NetworkMode::Wild);
        assert!(!arrivals(&mut network, 100).is_sorted());
        let disturbance = Disturbance {
            loss: CHANCE_PARTS / 4,
            doubling: 0,
            slow: Duration::ZERO,
        };
        network.disturb(0, 1, disturbance);
        assert!(arrivals(&mut network, 200).len() < 190);
        let doubling = Disturbance {
            loss: 0,
            doubling: CHANCE_PARTS / 4,
            slow: Duration::ZERO,
        };
        network.disturb(0, 1, doubling);
        assert!(arrivals(&mut network, 200).len() > 210);
    }

    #[test]
    fn a_cut_is_one_way_and_is_counted() {
        let mut network = network(NetworkMode::Ordered);
        network.cut(0, 1);
        network.cut(0, 1);
        network.mend(0, 1);
        assert_eq!(network.send(0, 1, MS), Passage::Lost);
        assert!(matches!(network.send(1, 0, MS), Passage::Arrives(_)));
        network.mend(0, 1);
        assert!(matches!(network.send(0, 1, MS), Passage::Arrives(_)));
    }

    #[test]
    fn an_ended_connection_does_not_come_back_by_its_number() {
        let mut network = network(NetworkMode::Ordered);
        let first = network.connect(0, 1, MS);
        assert!(network.disconnect(0, 1, first));
        assert!(!network.disconnect(0, 1, first));
        assert_eq!(network.connection(1, 0), Some(first));
        assert!(network.disconnect(1, 0, first));
        let second = network.connect(0, 1, 2 * MS);
        assert!(!network.disconnect(0, 1, first));
        assert_eq!(network.connection(0, 1), Some(second));
    }
}
