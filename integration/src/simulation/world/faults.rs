//! What the nemesis decides is done here, and undone.

use super::{Happening, World};
use crate::simulation::clocks::{ClockBreak, draw_motion};
use crate::simulation::nemesis::{Fault, FaultKind, Struck};
use crate::simulation::network::{CHANCE_PARTS, DelayModel, Disturbance, NetworkMode, Seat};
use crate::simulation::trace::{About, node};
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::NodeId;

impl World {
    pub(super) fn next_strike(&mut self) {
        let since = self.now() - self.begun;
        let pause = self
            .nemesis
            .as_mut()
            .and_then(|nemesis| nemesis.next_pause(since));
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
        self.tell_fault(&fault);
        self.struck.push(Struck {
            at: now - self.begun,
            fault: fault.clone(),
        });
        self.begin_fault(&fault);
        self.heap.after(fault.lasts, Happening::FaultEnds(fault));
        self.next_strike();
    }

    fn tell_fault(&mut self, fault: &Fault) {
        let now = self.now();
        let seats: Vec<String> = fault.seats.iter().map(|s| node(*s).to_string()).collect();
        let mut told = fault.seats.iter().copied();
        let about = About {
            seats: match fault.seats.len() {
                1 | 2 => [told.next(), told.next()],
                _ => [None, None],
            },
            ..About::default()
        };
        self.trace.line_about(now, about.landmark(), || {
            let Fault { kind, lasts, .. } = fault;
            format!(
                "fault: {} at {} for {lasts:?}",
                kind.name(),
                seats.join(", ")
            )
        });
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
                self.maybe_break_clock(seat, how);
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
            FaultKind::Members => self.want_members(random),
            FaultKind::StallDisk => self.stall_disk(seat, fault.lasts),
            FaultKind::FullDisk => {
                for seat in &fault.seats {
                    self.fill_disk(*seat, random);
                }
            }
            FaultKind::DamageLog => self.maybe_damage(seat, true, random),
            FaultKind::DamageTable => self.maybe_damage(seat, false, random),
            FaultKind::Lag => {
                let slow = Duration::from_millis(400 + random.below(1200));
                self.disturb_around(
                    seat,
                    Disturbance {
                        slow,
                        ..Disturbance::default()
                    },
                );
            }
            FaultKind::TakenForDead => self.take_for_dead(fault, random),
            FaultKind::LostWhileAhead => self.lose_while_ahead(fault, random),
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
            FaultKind::Members => self.want_members(&mut SplitMix64::new(!fault.seed)),
            FaultKind::Transfer => self.begin_transfers(&mut SplitMix64::new(!fault.seed)),
            FaultKind::DiskError => {
                self.machines[seat].disk_fails = false;
                self.start(seat);
            }
            FaultKind::FullDisk => {
                for seat in &fault.seats {
                    self.empty_disk(*seat);
                }
            }
            FaultKind::DamageLog | FaultKind::DamageTable => self.start(seat),
            FaultKind::Lag => self.disturb_around(seat, Disturbance::default()),
            FaultKind::TakenForDead => {
                let (late, other) = (fault.seats[1], fault.seats[2]);
                self.network.disturb(seat, late, Disturbance::default());
                self.network.disturb(other, late, Disturbance::default());
            }
            FaultKind::Clock
            | FaultKind::Pause
            | FaultKind::CutClient
            | FaultKind::LostWhileAhead => {}
        }
    }

    /// A node's clock leaves its bound from now on.
    pub fn break_clock(&mut self, seat: Seat, how: ClockBreak) {
        let now = self.now();
        self.trace
            .line_about(now, About::node(seat).landmark(), || {
                format!("clock of {}: {how:?}", node(seat))
            });
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

    /// What a node sends to one of the others comes late from now on, and a little later nothing of it
    /// reaches the third, which asks after its transactions, gets no answer, and recovers them while their
    /// messages are on the way. The third's own may come late as well, so that what it found is old.
    fn take_for_dead(&mut self, fault: &Fault, random: &mut SplitMix64) {
        let (seat, late, deaf) = (fault.seats[0], fault.seats[1], fault.seats[2]);
        let slowed = |random: &mut SplitMix64, most| Disturbance {
            slow: Duration::from_millis(20 + random.below(most)),
            ..Disturbance::default()
        };
        let slow = slowed(random, 2000);
        self.network.disturb(seat, late, slow);
        if random.chance(1, 2) {
            let slow = slowed(random, 300);
            self.network.disturb(deaf, late, slow);
        }
        let pause = Duration::from_millis(random.below(300));
        let cut = Fault {
            kind: FaultKind::CutOneWay,
            seats: vec![seat, deaf],
            lasts: fault.lasts.saturating_sub(pause),
            seed: fault.seed,
        };
        self.heap.after(pause, Happening::FaultBegins(cut));
    }

    /// First the third is cut off and the others go on; then the first is, and the second loses its disk.
    fn lose_while_ahead(&mut self, fault: &Fault, random: &mut SplitMix64) {
        let part = |kind, seat, lasts| Fault {
            kind,
            seats: vec![seat],
            lasts,
            seed: fault.seed,
        };
        let ahead = Duration::from_millis(200 + random.below(1000));
        let left = fault.lasts.saturating_sub(ahead);
        let [keeps, loses, lags] = [fault.seats[0], fault.seats[1], fault.seats[2]];
        self.part_begins(part(FaultKind::Isolate, lags, ahead));
        let back = Duration::from_millis(10 + random.below(100));
        for part in [
            part(FaultKind::Isolate, keeps, left),
            part(FaultKind::Wipe, loses, back),
        ] {
            self.heap.after(ahead, Happening::FaultBegins(part));
        }
    }

    /// A part of a fault begins, unless all was healed meanwhile.
    pub(super) fn part_begins(&mut self, fault: Fault) {
        if self.nemesis.is_some() {
            self.begin_fault(&fault);
            self.heap.after(fault.lasts, Happening::FaultEnds(fault));
        }
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
        if self.all_well_but(None) {
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
            self.empty_disk(seat);
            let now = self.now();
            let turn = self.options.turn.least + self.options.turn.spread;
            let machine = &mut self.machines[seat];
            machine.busy_until = machine.busy_until.min(now + turn);
            self.look_for_damage(seat);
        }
    }
}
