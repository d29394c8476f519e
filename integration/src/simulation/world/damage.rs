//! Disks that are full or damaged, and the hand that mends them.

use super::{Happening, World};
use crate::simulation::clocks::ClockBreak;
use crate::simulation::damage::Damage;
use crate::simulation::machine::Machine;
use crate::simulation::marks::Mark;
use crate::simulation::network::Seat;
use crate::simulation::trace::{About, node};
use node::DiskSpace;
use std::time::Duration;
use wire::SplitMix64;
use wire::message::{AbortReason, ClientAnswer, ClientReply};

/// How long after room has come back somebody may still be told that there was none: an answer may be
/// that much on its way, through gateways, and clocks waited for.
const REFUSED_FOR: Duration = Duration::from_secs(15);
/// A node that is this far ahead is not waited for.
const TOO_LONG_AHEAD: Duration = Duration::from_secs(5);
/// What is to stay free on a simulated disk, bytes.
const RESERVE: u64 = 1 << 20;

impl World {
    /// So much is free on a node's disk, of [`World::disk_reserve`]; `None`: plenty.
    pub fn set_free_space(&mut self, seat: Seat, free: Option<u64>) {
        let space = free.map(|free| DiskSpace {
            free,
            reserve: RESERVE,
        });
        let now = self.now();
        self.machines[seat].set_disk_space(space, now);
    }

    /// What is to stay free on a disk, bytes.
    pub fn disk_reserve(&self) -> u64 {
        RESERVE
    }

    /// Leaders refuse, followers take nothing any more, or the log itself finds no room and the node
    /// stops.
    pub(super) fn fill_disk(&mut self, seat: Seat, random: &mut SplitMix64) {
        let free = match random.below(4) {
            0 | 1 => RESERVE / 4 + random.below(RESERVE / 2),
            2 => random.below(RESERVE / 4),
            _ => {
                self.machines[seat].disk_fails = true;
                0
            }
        };
        self.set_free_space(seat, Some(free));
    }

    /// There is room again; who stopped for want of it is started.
    pub(super) fn empty_disk(&mut self, seat: Seat) {
        self.set_free_space(seat, None);
        if self.machines[seat].disk_fails {
            self.machines[seat].disk_fails = false;
        }
        self.start(seat);
    }

    /// Whoever is told of a full disk is told the truth.
    pub(super) fn see_refusal(&mut self, reply: &ClientReply) {
        let Ok(ClientAnswer::Aborted(aborted)) = reply else {
            return;
        };
        let AbortReason::DiskFull { node: refuses, .. } = aborted.reason else {
            return;
        };
        self.marks.hit(Mark::DiskFull);
        let mut machines = self.machines.iter();
        let Some(machine) = machines.find(|machine| machine.identity == Some(refuses)) else {
            return;
        };
        let now = self.now();
        let lately = |until: Duration| now - until < REFUSED_FOR;
        if !machine.is_short() && !machine.short_until.is_some_and(lately) {
            self.fail(format!(
                "{refuses} refuses a write for lack of room, which it has: {aborted:?}"
            ));
        }
    }

    /// A bit of a node's log is flipped, or its log is cut off, or a table is damaged, while the node has no
    /// power. Whether there was anything to damage.
    pub fn damage(&mut self, seat: Seat, log: bool, random: &mut SplitMix64) -> bool {
        self.crash(seat);
        let machine = &mut self.machines[seat];
        let done = match log {
            true => machine.damage_log(random),
            false => machine.damage_table(random),
        };
        let now = self.now();
        self.trace
            .line_about(now, About::node(seat).landmark(), || {
                format!("damage on {}: {done:?}", node(seat))
            });
        done.is_some()
    }

    /// The same, if all nodes are well; else nothing.
    pub(super) fn maybe_damage(&mut self, seat: Seat, log: bool, random: &mut SplitMix64) {
        if self.all_well_but(None) {
            self.damage(seat, log, random);
        }
    }

    /// A node has stopped because of damage, and somebody will see to it.
    pub(super) fn wait_for_rebuild(&mut self, seat: Seat) {
        self.machines[seat].waits_for_rebuild = true;
        let pause = Duration::from_millis(100 + self.random.below(1500));
        self.heap.after(pause, Happening::Rebuild { seat });
    }

    pub(super) fn rebuild(&mut self, seat: Seat) {
        if !self.machines[seat].waits_for_rebuild {
            return;
        }
        if !self.all_well_but(Some(seat)) {
            return self.wait_for_rebuild(seat);
        }
        let now = self.now();
        self.trace.record(now, "rebuild", &[seat as u64], &[]);
        self.trace
            .line_about(now, About::node(seat).landmark(), || {
                format!("{} is rebuilt", node(seat))
            });
        if let Err(why) = self.machines[seat].rebuild(&self.options) {
            return self.fail(format!("node {seat} is not rebuilt: {why}"));
        }
        self.marks.hit(Mark::Rebuilt);
        self.start(seat);
    }

    /// Somebody looks at all tables of a node, and finds what no read came upon; or finds that nobody will
    /// listen to the node for long.
    pub(super) fn look_for_damage(&mut self, seat: Seat) {
        let now = self.now();
        let machine = &mut self.machines[seat];
        if machine.damage.is_none() && machine.is_ahead(now, TOO_LONG_AHEAD) {
            machine.damage = Some(Damage::Ahead);
            self.crash(seat);
            return self.wait_for_rebuild(seat);
        }
        if machine.is_up() && matches!(machine.damage, Some(Damage::Row { .. })) {
            self.crash(seat);
            self.wait_for_rebuild(seat);
        }
    }

    /// Whether every node, but for one, is up and holds everything that others may count on.
    pub(super) fn all_well_but(&self, one: Option<Seat>) -> bool {
        let mut others = self.machines.iter().filter(|m| Some(m.seat) != one);
        let (now, drift_max) = (self.now(), self.options.timing.drift_max);
        others.all(|machine| machine.is_well(now, drift_max))
    }

    /// A clock leaves its bound, unless some node has yet to be given what it lost: a node that is no
    /// longer heard would keep that from it for as long as its clock was ahead.
    pub(super) fn maybe_break_clock(&mut self, seat: Seat, how: ClockBreak) {
        let lacks_some = |machine: &Machine| match &machine.node {
            Some(_) => !machine.holds_all(),
            None => machine.damage.is_some() || machine.waits_for_rebuild || machine.is_wiped(),
        };
        if !self.machines.iter().any(lacks_some) {
            self.break_clock(seat, how);
        }
    }

    /// The nodes that do not hold now what others may count on.
    pub fn unwell(&self) -> Vec<Seat> {
        let unwell = self.machines.iter().filter(|machine| !machine.holds_all());
        unwell.map(|machine| machine.seat).collect()
    }
}
