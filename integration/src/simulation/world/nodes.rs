//! Turns of nodes and what they want done: log, store, network, answers.

use super::{Happening, World};
use crate::simulation::damage::Damage;
use crate::simulation::disk::DiskError;
use crate::simulation::machine::NotStarted;
use crate::simulation::marks::Mark;
use crate::simulation::network::Seat;
use crate::simulation::telling;
use crate::simulation::trace::{About, node};
use node::{Effect, Event};
use partition::log::{LogBatch, LogRecord};
use partition::versions::StoreTask;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::{LogIndex, PartitionId, Term};

/// The invariants of a node are checked every so many turns: each check walks all its replicas.
const INVARIANTS_EVERY: u64 = 64;
/// One task of the store in so many is held up by the store's own flushing.
const STORE_STALL_ONE_IN: u64 = 200;

/// One persisting in so many comes with a compaction of the table that is damaged.
const COMPACTED_ONE_IN: u64 = 8;
/// A node that was up for so long did not get a snapshot because it had been away.
const A_GOOD_WHILE: Duration = Duration::from_secs(5);

impl World {
    /// A node gets power, if it has none.
    pub fn start(&mut self, seat: Seat) {
        if self.machines[seat].is_up() || self.machines[seat].waits_for_rebuild {
            return;
        }
        let now = self.now();
        let seed = self.random.next_u64();
        match self.machines[seat].start(&self.options, now, seed) {
            Ok(()) if self.machines[seat].damage == Some(Damage::Log) => {
                // It made no difference: the disk saw to that.
                self.machines[seat].damage = None;
            }
            Ok(()) => {}
            Err(NotStarted::Disk(DiskError::Log(why)))
                if self.machines[seat].damage == Some(Damage::Log) =>
            {
                self.trace
                    .line_about(now, About::node(seat).landmark(), || {
                        format!("{} does not start: {why}", node(seat))
                    });
                self.marks.hit(Mark::LogDamageFound);
                return self.wait_for_rebuild(seat);
            }
            Err(why) => return self.fail(format!("node {seat} does not start: {why}")),
        }
        if self.machines[seat].had_torn_tail {
            self.marks.hit(Mark::TornTail);
        }
        let boot = self.machines[seat].boot;
        self.trace
            .record(now, "start", &[seat as u64, u64::from(boot)], &[]);
        self.trace
            .line_about(now, About::node(seat).landmark(), || {
                format!("{} starts, life {boot}", node(seat))
            });
        self.schedule_persist(seat);
        self.schedule_turn(seat);
    }

    /// A node loses power.
    pub fn crash(&mut self, seat: Seat) {
        if !self.machines[seat].is_up() {
            return;
        }
        let now = self.now();
        let boot = self.machines[seat].boot;
        self.trace.record(now, "crash", &[seat as u64], &[]);
        self.leads_no_more(seat);
        self.trace
            .line_about(now, About::node(seat).landmark(), || {
                format!("{} crashes", node(seat))
            });
        self.machines[seat].crash(&mut self.random);
        self.break_links_of(seat);
        self.break_sessions_of(seat, boot);
        self.break_asides_of(seat, boot);
    }

    /// Puts an event into a node's inbox; it takes a turn as soon as it can.
    pub(super) fn give(&mut self, seat: Seat, event: Event) {
        if self.machines[seat].is_up() {
            self.machines[seat].inbox.push(event);
            self.schedule_turn(seat);
        }
    }

    fn schedule_turn(&mut self, seat: Seat) {
        let now = self.now();
        let machine = &mut self.machines[seat];
        if !machine.turn_scheduled {
            machine.turn_scheduled = true;
            let boot = machine.boot;
            let at = now.max(machine.busy_until);
            self.heap.at(at, Happening::Turn { seat, boot });
        }
    }

    pub(super) fn turn(&mut self, seat: Seat, boot: u32) {
        if !self.lives(seat, boot) {
            return;
        }
        let now = self.now();
        if self.machines[seat].busy_until > now {
            // It was made to stand still meanwhile.
            let at = self.machines[seat].busy_until;
            return self.heap.at(at, Happening::Turn { seat, boot });
        }
        let takes = self.options.turn.draw(&mut self.random);
        let machine = &mut self.machines[seat];
        machine.turn_scheduled = false;
        machine.turns += 1;
        machine.busy_until = now + takes;
        let begin = machine.clock.read(now);
        let end = machine.clock.read(now + takes);
        let node = machine.node.as_mut().expect("it lives");
        let events = std::mem::take(&mut machine.inbox);
        self.trace
            .record(now, "turn", &[seat as u64, events.len() as u64], &[]);
        for event in events {
            node.step(&begin, event);
        }
        let mut effects = Vec::new();
        node.flush(&end, &mut effects);
        if machine.turns.is_multiple_of(INVARIANTS_EVERY) {
            node.invariants();
        }
        let wake = node.next_wake(&end);
        self.see_leaders(seat);
        if let Some(wake) = wake {
            self.schedule_wake(seat, now + takes + wake);
        }
        if takes.is_zero() {
            self.turn_over(seat, boot, effects);
        } else {
            self.heap.after(
                takes,
                Happening::TurnOver {
                    seat,
                    boot,
                    effects,
                },
            );
        }
    }

    /// For whoever reads the trace: which partitions a node leads and serves since this turn, or no more.
    fn see_leaders(&mut self, seat: Seat) {
        if !self.trace.is_readable() {
            return;
        }
        let replicas = self.machines[seat].node.iter().flat_map(|n| n.replicas());
        let served = replicas.filter(|(_, replica)| replica.is_serving());
        let served: BTreeMap<PartitionId, Term> =
            served.map(|(p, replica)| (*p, replica.term())).collect();
        let before = std::mem::replace(&mut self.led[seat], served);
        let now = self.now();
        let led = &self.led[seat];
        let mut tell = |partition: PartitionId, words: String| {
            let about = About::node(seat).of(Some(partition)).landmark();
            self.trace
                .line_about(now, about, || format!("{} {words}", node(seat)));
        };
        for (partition, term) in before.iter().filter(|(p, t)| led.get(p) != Some(t)) {
            tell(*partition, format!("leads {partition} in {term} no more"));
        }
        for (partition, term) in led.iter().filter(|(p, t)| before.get(p) != Some(t)) {
            tell(
                *partition,
                format!("leads {partition} in {term} from now on"),
            );
        }
    }

    fn leads_no_more(&mut self, seat: Seat) {
        self.led[seat].clear();
    }

    fn schedule_wake(&mut self, seat: Seat, at: Duration) {
        let machine = &mut self.machines[seat];
        if machine.wake_at.is_none_or(|earlier| at < earlier) {
            machine.wake_at = Some(at);
            let boot = machine.boot;
            self.heap.at(at, Happening::Wake { seat, boot });
        }
    }

    pub(super) fn wake(&mut self, seat: Seat, boot: u32) {
        let now = self.now();
        if self.lives(seat, boot) && self.machines[seat].wake_at == Some(now) {
            self.machines[seat].wake_at = None;
            self.give(seat, Event::Wake);
        }
    }

    pub(super) fn turn_over(&mut self, seat: Seat, boot: u32, effects: Vec<Effect>) {
        if !self.lives(seat, boot) {
            return;
        }
        for effect in effects {
            self.carry_out(seat, boot, effect);
        }
    }

    fn carry_out(&mut self, seat: Seat, boot: u32, effect: Effect) {
        match effect {
            Effect::Reply {
                connection,
                number,
                reply,
            } => self.answer_leaves(connection, number, reply),
            Effect::Send { to, frame } => self.send_frame(seat, to, &frame),
            Effect::Founding { to, message } => self.send_founding(seat, &to, message),
            Effect::Log(batch) => {
                self.see_log(seat, &batch);
                self.machines[seat].disk.append(batch);
                self.maybe_flush(seat);
            }
            Effect::Discard { partition, up_to } => {
                self.machines[seat].disk.discard(partition, up_to);
            }
            Effect::Store(task) => self.store_task(seat, boot, task),
            Effect::Identity { node, .. } => self.identified(seat, node),
        }
    }

    /// A replica that begins above nothing was made from a snapshot.
    fn see_log(&mut self, seat: Seat, batch: &LogBatch) {
        let is_made = |record: &LogRecord| matches!(record, LogRecord::ReplicaInstalled { base, .. } if base.index > LogIndex(0));
        let made = batch.records.iter().filter(|record| is_made(record));
        let there_for = self.now() - self.machines[seat].started;
        for _ in made {
            self.marks.hit(Mark::SnapshotInstalled);
            if there_for > A_GOOD_WHILE && self.nemesis.is_some() {
                self.marks.hit(Mark::SlowFollowerCaughtUp);
            }
        }
    }

    fn maybe_flush(&mut self, seat: Seat) {
        if self.machines[seat].disk.maybe_begin_flush() {
            let takes = self.machines[seat].flush.draw(&mut self.random);
            let boot = self.machines[seat].boot;
            self.heap.after(takes, Happening::Flushed { seat, boot });
        }
    }

    pub(super) fn flushed(&mut self, seat: Seat, boot: u32) {
        if !self.lives(seat, boot) {
            return;
        }
        if self.machines[seat].disk_fails {
            self.marks.hit(Mark::DiskFailed);
            return self.crash(seat);
        }
        let now = self.now();
        let sequence = self.machines[seat].disk.end_flush();
        self.trace
            .record(now, "flushed", &[seat as u64, sequence], &[]);
        self.give(seat, Event::LogDurable { sequence });
        self.maybe_flush(seat);
    }

    /// A node came to a damaged table: it stops, saying why.
    pub(super) fn store_failed(&mut self, seat: Seat, boot: u32) {
        if self.lives(seat, boot) {
            self.marks.hit(Mark::TableDamageFound);
            self.crash(seat);
            self.wait_for_rebuild(seat);
        }
    }

    fn store_task(&mut self, seat: Seat, boot: u32, task: StoreTask) {
        let now = self.now();
        let mut takes = self.options.store.draw(&mut self.random);
        if self.random.chance(1, STORE_STALL_ONE_IN) {
            takes += self.options.store_stall;
        }
        let machine = &mut self.machines[seat];
        let at = now.max(machine.store_free_at) + takes;
        machine.store_free_at = at;
        self.trace.line_about(now, About::node(seat), || {
            format!("{}'s store: {}", node(seat), telling::clipped(&task))
        });
        let damage = machine.damage.as_ref();
        if damage.is_some_and(|damage| damage.is_met_by(&task)) {
            return self.heap.at(at, Happening::StoreFailed { seat, boot });
        }
        match machine.do_store_task(task) {
            Ok(reports) => {
                for report in reports {
                    self.heap
                        .at(at, Happening::StoreReport { seat, boot, report });
                }
            }
            Err(why) => self.fail(format!("the store of node {seat} failed: {why}")),
        }
    }

    fn schedule_persist(&mut self, seat: Seat) {
        let every = self.options.persist_every.as_nanos() as u64;
        let pause = Duration::from_nanos(every / 2 + self.random.below(every + 1));
        let boot = self.machines[seat].boot;
        self.heap.after(pause, Happening::Persist { seat, boot });
    }

    pub(super) fn persist(&mut self, seat: Seat, boot: u32) {
        if !self.lives(seat, boot) {
            return;
        }
        let is_damaged = matches!(self.machines[seat].damage, Some(Damage::Row { .. }));
        if is_damaged && self.random.chance(1, COMPACTED_ONE_IN) {
            return self.store_failed(seat, boot);
        }
        match self.machines[seat].persist() {
            Ok(reports) => {
                // Not before what was applied is known to be.
                let at = self.now().max(self.machines[seat].store_free_at);
                for report in reports {
                    self.heap
                        .at(at, Happening::StoreReport { seat, boot, report });
                }
            }
            Err(why) => self.fail(format!("the store of node {seat} failed: {why}")),
        }
        self.schedule_persist(seat);
    }
}
