//! Members that fall behind what is discarded, and the snapshots that they get. The state of a replica is
//! nothing but its position here; a snapshot of it comes in as many chunks as the dice say.

use super::super::*;
use super::machine::{InstallRecord, Reading, Record, Taking};
use super::world::{Arrival, World};
use wire::message::SnapshotChunk;

/// No snapshot has more chunks.
const CHUNKS_MAX: u64 = 9;

impl World {
    /// Forgets what is known to be committed and is on the own disk. Whoever lacks it needs a snapshot.
    pub(super) fn discard(&mut self) {
        let members = self.members();
        let any = members[self.random.below(members.len() as u64) as usize];
        let safe = |replication: &Replication| replication.commit().min(replication.durable());
        let Some(up_to) = self.machines[&any].running.as_ref().map(safe) else {
            return;
        };
        for machine in self.machines.values_mut() {
            let Some(replication) = &mut machine.running else {
                continue;
            };
            let index = up_to.min(safe(replication));
            if let Some(term) = replication.term_at(index) {
                let position = LogPosition { term, index };
                replication.discard(position);
                if !machine.installs() {
                    machine.disk.discard(position);
                }
            }
        }
        self.deeds.discarded += 1;
    }

    /// The next chunk is read, after a while; or the view was lost.
    pub(super) fn read_snapshot(&mut self, member: NodeId, number: u64) {
        let chunks_left = 1 + self.random.below(CHUNKS_MAX);
        let new_view = self.sequence;
        let delay = self.delay(self.faults.delay_max);
        let machine = self.machine(member);
        let replication = machine.running.as_ref().expect("it reads");
        if machine
            .reading
            .is_none_or(|reading| reading.number != number)
        {
            let index = replication.commit().min(replication.durable());
            let term = replication.term_at(index).expect("it is held");
            let position = LogPosition { term, index };
            machine.reading = Some(Reading {
                number,
                view: new_view,
                position,
                chunks_left,
            });
        }
        let view = machine.reading.expect("it was begun").view;
        self.arrive(delay, member, Arrival::SnapshotRead { view });
    }

    pub(super) fn on_snapshot_read(&mut self, member: NodeId, view: u64) {
        let is_lost = self.random.chance(1, 40);
        let now = self.now;
        let machine = self.machine(member);
        let state = machine
            .running
            .as_ref()
            .map(|replication| &replication.configurations);
        let state = state.cloned();
        let Some(reading) = machine.reading.as_mut().filter(|r| r.view == view) else {
            return;
        };
        let (number, position) = (reading.number, reading.position);
        reading.chunks_left -= 1;
        let is_last = reading.chunks_left == 0;
        if is_lost {
            machine.reading = None;
            return self.turn(member, |replication, _, _| {
                replication.on_snapshot_lost(number);
            });
        }
        self.turn(member, |replication, _, _| {
            let state = state.expect("it runs");
            let members = (state.up_to(position.index).clone(), state.promised());
            let body = postcard::to_stdvec(&members).expect("plain data");
            replication.on_snapshot_read(now, number, position, is_last, body.into());
        });
    }

    /// A chunk is written, after a while.
    pub(super) fn take_chunk(&mut self, member: NodeId, chunk: SnapshotChunk) {
        let machine = self.machine(member);
        if chunk.sequence == 0 {
            machine.taking = Some(Taking {
                position: chunk.position,
                members: postcard::from_bytes(&chunk.body).expect("it was written so"),
                chunks: 0,
                is_complete: false,
            });
        }
        let taking = machine.taking.as_mut().expect("from the first on");
        assert_eq!(taking.position, chunk.position, "of one state");
        assert_eq!(taking.chunks, chunk.sequence, "each once, and in order");
        assert!(!taking.is_complete, "nothing after the last");
        taking.chunks += 1;
        taking.is_complete = chunk.is_last;
        let arrival = Arrival::ChunkWritten {
            incarnation: machine.incarnation,
            position: chunk.position,
            chunks: taking.chunks,
        };
        let delay = self.delay(self.faults.flush_max);
        self.arrive(delay, member, arrival);
    }

    pub(super) fn on_chunk_written(
        &mut self,
        member: NodeId,
        incarnation: u32,
        position: LogPosition,
        chunks: u64,
    ) {
        let machine = self.machine(member);
        let Some(taking) = &machine.taking else {
            return;
        };
        if machine.incarnation != incarnation || taking.position != position {
            return;
        }
        self.turn(member, |replication, _, out| {
            replication.on_snapshot_stored(chunks, out);
        });
        self.maybe_install(member);
    }

    /// A whole snapshot takes the place of the log as soon as it may.
    pub(super) fn maybe_install(&mut self, member: NodeId) {
        let now = self.now;
        let is_complete = |taking: &Taking| taking.is_complete;
        let machine = self.machine(member);
        let Some(taking) = machine.taking.take_if(|taking| is_complete(taking)) else {
            return;
        };
        let mut installed = Installed::NotNeeded;
        let record = Record::Installed(InstallRecord {
            base: taking.position,
            configured: taking.members.0.clone(),
            carried: taking.members.1,
        });
        self.turn_with(member, |replication, _, out| {
            let (configured, carried) = &taking.members;
            installed = replication.install_snapshot(now, configured, *carried, out);
            (installed == Installed::Now).then_some(record)
        });
        match installed {
            Installed::Later => self.machine(member).taking = Some(taking),
            Installed::NotNeeded => {}
            Installed::Now => self.deeds.installed += 1,
        }
    }
}
