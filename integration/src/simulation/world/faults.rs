//! What the nemesis decides is done here, and undone.

use super::{Happening, World};
use crate::simulation::clocks::{ClockBreak, draw_motion};
use crate::simulation::machine::Machine;
use crate::simulation::nemesis::{Fault, FaultKind};
use crate::simulation::network::{CHANCE_PARTS, DelayModel, Disturbance, NetworkMode, Seat};
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::NodeId;

impl World {
    pub(super) fn next_strike(&mut self) {
        let pause = self
            .nemesis
            .as_mut()
            .and_then(|nemesis| nemesis.next_pause());
        if let Some(pause) = pause {
            self.heap.after(pause, Happening::Strike);
        }
    }

    pub(super) fn strike(&mut self) {
        let Some(nemesis) = &mut self.nemesis else {
            return;
        };
        let fault = nemesis.next_fault();
        let now = self.now();
        *self.faults.entry(fault.kind).or_default() += 1;
        let mut words = vec![fault.kind as u64, fault.seed];
        words.extend(fault.seats.iter().map(|seat| *seat as u64));
        self.trace.record(now, "fault", &words, &[]);
        self.trace.line(now, || format!("{fault:?}"));
        self.begin_fault(&fault);
        self.heap.after(fault.lasts, Happening::FaultEnds(fault));
        self.next_strike();
    }

    fn begin_fault(&mut self, fault: &Fault) {
        let mut random = SplitMix64::new(fault.seed);
        let random = &mut random;
        let seat = fault.seats[0];
        match fault.kind {
            FaultKind::Wipe => self.maybe_wipe(seat),
            FaultKind::CrashOne
            | FaultKind::Away
            | FaultKind::CrashMajority
            | FaultKind::CrashAll => {
                for seat in &fault.seats {
                    self.crash(*seat);
                }
            }
            FaultKind::Isolate => self.cut_off(seat),
            FaultKind::CutOneWay => self.network.cut(seat, fault.seats[1]),
            FaultKind::Loss => {
                let loss = CHANCE_PARTS / 50 + random.below(CHANCE_PARTS / 4);
                self.disturb_around(
                    seat,
                    Disturbance {
                        loss,
                        ..Disturbance::default()
                    },
                );
            }
            FaultKind::Slow => {
                let slow = Duration::from_millis(5 + random.below(300));
                self.disturb_around(
                    seat,
                    Disturbance {
                        slow,
                        ..Disturbance::default()
                    },
                );
            }
            FaultKind::Wild => {
                self.wild_bursts += 1;
                self.network.set_mode(NetworkMode::Wild);
                let doubling = CHANCE_PARTS / 20 + random.below(CHANCE_PARTS / 3);
                let slow = Duration::from_millis(random.below(50));
                let loss = random.below(CHANCE_PARTS / 50);
                self.disturb_around(
                    seat,
                    Disturbance {
                        loss,
                        doubling,
                        slow,
                    },
                );
            }
            FaultKind::Clock => {
                let motion = draw_motion(random);
                self.machines[seat].clock.set_motion(motion);
            }
            FaultKind::BreakClock => {
                let how = ClockBreak::draw(random, self.options.clock_bound);
                self.break_clock(seat, how);
            }
            FaultKind::SlowDisk => {
                self.machines[seat].flush = DelayModel {
                    least: Duration::from_millis(5),
                    spread: Duration::from_millis(20 + random.below(200)),
                };
            }
            FaultKind::DiskError => self.machines[seat].disk_fails = true,
            FaultKind::Pause => self.pause(seat, fault.lasts),
            FaultKind::Transfer => self.begin_transfers(random),
            FaultKind::StallDisk => self.stall_disk(seat, fault.lasts),
            FaultKind::CutClient => {
                if !self.sessions.is_empty() {
                    let session = random.below(self.sessions.len() as u64) as usize;
                    self.cut_session(session);
                }
            }
        }
    }

    pub(super) fn end_fault(&mut self, fault: &Fault) {
        let seat = fault.seats[0];
        match fault.kind {
            FaultKind::CrashOne
            | FaultKind::Wipe
            | FaultKind::Away
            | FaultKind::CrashMajority
            | FaultKind::CrashAll => {
                for seat in &fault.seats {
                    self.start(*seat);
                }
            }
            FaultKind::Isolate => {
                for peer in (0..self.options.nodes).filter(|peer| *peer != seat) {
                    self.network.mend(seat, peer);
                    self.network.mend(peer, seat);
                }
            }
            FaultKind::CutOneWay => self.network.mend(seat, fault.seats[1]),
            FaultKind::Loss | FaultKind::Slow => self.disturb_around(seat, Disturbance::default()),
            FaultKind::Wild => {
                self.wild_bursts = self.wild_bursts.saturating_sub(1);
                if self.wild_bursts == 0 {
                    self.network.set_mode(self.options.network);
                }
                self.disturb_around(seat, Disturbance::default());
            }
            FaultKind::BreakClock => self.mend_clock(seat),
            FaultKind::SlowDisk | FaultKind::StallDisk => self.mend_disk(seat),
            FaultKind::Transfer => self.begin_transfers(&mut SplitMix64::new(!fault.seed)),
            FaultKind::DiskError => {
                self.machines[seat].disk_fails = false;
                self.start(seat);
            }
            FaultKind::Clock | FaultKind::Pause | FaultKind::CutClient => {}
        }
    }

    /// A node's clock leaves its bound from now on.
    pub fn break_clock(&mut self, seat: Seat, how: ClockBreak) {
        let now = self.now();
        self.trace.line(now, || format!("clock of {seat}: {how:?}"));
        self.machines[seat].clock.break_as(how, now);
    }

    /// A node's clock is right again.
    pub fn mend_clock(&mut self, seat: Seat) {
        self.machines[seat].clock.mend();
    }

    /// The next flush of a node's log takes this long; the node goes on otherwise.
    pub fn stall_disk(&mut self, seat: Seat, lasts: Duration) {
        self.machines[seat].flush = DelayModel::exactly(lasts);
    }

    /// Flushes take their usual time from now on; the one that is under way ends when it ends.
    pub fn mend_disk(&mut self, seat: Seat) {
        self.machines[seat].flush = self.options.flush;
    }

    /// A node stands still for this long, and goes on.
    pub fn pause(&mut self, seat: Seat, lasts: Duration) {
        let until = self.now() + lasts;
        let machine = &mut self.machines[seat];
        machine.busy_until = machine.busy_until.max(until);
    }

    /// Some of the leaders are asked to hand over, to whomever they like or to one that is named.
    fn begin_transfers(&mut self, random: &mut SplitMix64) {
        for (seat, partition) in self.serving() {
            if random.chance(1, 2) {
                continue;
            }
            let named = NodeId(1 + random.below(self.options.nodes as u64) as u32);
            let to = random.chance(1, 2).then_some(named);
            self.begin_transfer(seat, partition, to);
        }
    }

    /// A node's disk is replaced by an empty one while it is down.
    pub fn wipe(&mut self, seat: Seat) {
        self.crash(seat);
        self.machines[seat].wipe(&self.options);
    }

    /// A disk is lost, unless another node is down or not yet well: of what two hold alone, nobody could
    /// heal the loss of one.
    fn maybe_wipe(&mut self, seat: Seat) {
        let is_well = |machine: &Machine| {
            let node = machine.node.as_ref();
            node.is_some_and(|node| node.me().is_some() && !node.has_forgotten())
        };
        if self.machines.iter().all(is_well) {
            self.wipe(seat);
        }
    }

    fn cut_off(&mut self, seat: Seat) {
        for peer in (0..self.options.nodes).filter(|peer| *peer != seat) {
            self.network.cut(seat, peer);
            self.network.cut(peer, seat);
        }
    }

    fn disturb_around(&mut self, seat: Seat, disturbance: Disturbance) {
        for peer in (0..self.options.nodes).filter(|peer| *peer != seat) {
            self.network.disturb(seat, peer, disturbance);
            self.network.disturb(peer, seat, disturbance);
        }
    }

    /// Everything is as it should be: nodes up, nothing cut, slow or lost.
    pub(super) fn heal(&mut self) {
        self.network.heal();
        self.network.set_mode(self.options.network);
        self.wild_bursts = 0;
        for seat in 0..self.options.nodes {
            self.machines[seat].flush = self.options.flush;
            self.mend_clock(seat);
            self.machines[seat].disk_fails = false;
            let now = self.now();
            let turn = self.options.turn.least + self.options.turn.spread;
            let machine = &mut self.machines[seat];
            machine.busy_until = machine.busy_until.min(now + turn);
            self.start(seat);
        }
    }
}
