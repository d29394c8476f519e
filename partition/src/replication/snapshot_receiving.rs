//! Taking a snapshot in place of entries that nobody has any more (Ongaro 2014, chapter 5).
//!
//! ```text
//!   Snapshot ─► TakeSnapshot (in order) ─► written ─► on_snapshot_stored ─► SnapshotReceived
//!                                          … all of it for good ─► install_snapshot ─► Appended
//! ```
//!
//! Until it is installed, the log stands as it was: the replica votes and follows by it. Installing
//! replaces the whole log by the snapshot's position.
//!
//! Why no entry is lost by that: the snapshot's position is committed. If the log holds it, the log
//! agrees with it, and no snapshot is taken at all. Else the log ends below it, or conflicts with what
//! is committed there; then nothing from there on in it is committed, or can be.
//!
//! Invariants:
//! - chunks are taken in order, each once;
//! - a snapshot with a lower (term, number) than another that was seen is not taken;
//! - nothing is installed at or below the high-water mark, or while entries are on their way to the disk.

use super::replicated_log::ReplicatedLog;
use super::{Replication, ReplicationEffect, Role, RoleState};
use clock::Timestamp;
use std::time::Duration;
use wire::ids::{NodeId, Term};
use wire::message::{Configured, LogPosition, ReplicationMessage, SnapshotChunk};

/// A snapshot that comes in.
#[derive(Clone, Debug)]
pub(super) struct SnapshotReceiving {
    from: NodeId,
    term: Term,
    number: u64,
    position: LogPosition,
    taken: u64,
    stored: u64,
    is_complete: bool,
    /// It cannot be read: nothing more of it is taken, and nothing is said of it.
    is_refused: bool,
}

/// What became of the wish to install.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Installed {
    /// The log begins at the snapshot's position now; the driver logs that in the same turn.
    Now,
    /// Not yet: entries are on their way to the disk.
    Later,
    /// It is not needed any more.
    NotNeeded,
}

impl Replication {
    pub(super) fn on_snapshot(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        number: u64,
        chunk: SnapshotChunk,
        out: &mut Vec<ReplicationEffect>,
    ) {
        if term < self.term() {
            return self.tell_received(from, number, 0, out);
        }
        self.on_leader_heard(now, from, term, out);
        let position = chunk.position;
        if self.has(position) {
            self.drop_snapshot(out);
            self.maybe_commit(position.index, out);
            let RoleState::Follower(follower) = &mut self.role else {
                unreachable!("whoever heard a leader follows it");
            };
            return follower.owe_answer(position.index);
        }
        let known = self.receiving.as_ref().map(|r| (r.term, r.number));
        if known < Some((term, number)) && chunk.sequence == 0 {
            self.receiving = Some(SnapshotReceiving {
                from,
                term,
                number,
                position,
                taken: 0,
                stored: 0,
                is_complete: false,
                is_refused: false,
            });
        }
        let Some(receiving) = &mut self.receiving else {
            return;
        };
        if (receiving.term, receiving.number) != (term, number) || receiving.is_refused {
            return;
        }
        if chunk.sequence == receiving.taken && !receiving.is_complete {
            receiving.taken += 1;
            receiving.is_complete = chunk.is_last;
            out.push(ReplicationEffect::TakeSnapshot(chunk));
        } else {
            self.speak_of_snapshot(out);
        }
    }

    /// Whether everything up to a committed position is here.
    fn has(&self, position: LogPosition) -> bool {
        position.index <= self.commit() || self.log.holds(position)
    }

    /// The first so many chunks of the snapshot are written.
    pub fn on_snapshot_stored(&mut self, chunks: u64, out: &mut Vec<ReplicationEffect>) {
        if let Some(receiving) = &mut self.receiving
            && chunks > receiving.stored
        {
            receiving.stored = chunks.min(receiving.taken);
            self.speak_of_snapshot(out);
        }
    }

    /// Tells its sender how far it has come, if there is one.
    pub(super) fn speak_of_snapshot(&self, out: &mut Vec<ReplicationEffect>) {
        if let Some(receiving) = &self.receiving
            && receiving.term == self.term()
            && !receiving.is_refused
        {
            self.tell_received(receiving.from, receiving.number, receiving.stored, out);
        }
    }

    fn tell_received(
        &self,
        to: NodeId,
        number: u64,
        chunks: u64,
        out: &mut Vec<ReplicationEffect>,
    ) {
        out.push(ReplicationEffect::Send {
            to,
            message: ReplicationMessage::SnapshotReceived {
                term: self.term(),
                number,
                chunks,
            },
            after_log: false,
        });
    }

    /// Nobody will send the rest of an unfinished snapshot once its sender's term is over.
    pub(super) fn maybe_drop_unfinished(&mut self, out: &mut Vec<ReplicationEffect>) {
        let term = self.term();
        let is_left = |r: &SnapshotReceiving| !r.is_complete && r.term < term;
        if self.receiving.as_ref().is_some_and(is_left) {
            self.drop_snapshot(out);
        }
    }

    /// What was taken last cannot be read. Its sender hears no more of this snapshot, and after a while
    /// begins another.
    pub fn refuse_snapshot(&mut self) {
        if let Some(receiving) = &mut self.receiving {
            (receiving.is_refused, receiving.is_complete) = (true, false);
        }
    }

    pub(super) fn drop_snapshot(&mut self, out: &mut Vec<ReplicationEffect>) {
        if self.receiving.take().is_some() {
            out.push(ReplicationEffect::DropSnapshot);
        }
    }

    /// All of the snapshot is written for good: puts its position in place of the log.
    ///
    /// `configured`: the members by the snapshot's state; `carried`: the highest promise that a change of
    /// members up to there carried.
    pub fn install_snapshot(
        &mut self,
        now: Duration,
        configured: &Configured,
        carried: Timestamp,
        out: &mut Vec<ReplicationEffect>,
    ) -> Installed {
        let Some(receiving) = &self.receiving else {
            return Installed::NotNeeded;
        };
        assert!(
            receiving.is_complete,
            "a snapshot is installed when it is complete: {receiving:?}"
        );
        let (from, position) = (receiving.from, receiving.position);
        if self.has(position) {
            self.receiving = None;
            return Installed::NotNeeded;
        }
        if self.durable() < self.last().index {
            return Installed::Later;
        }
        assert!(
            self.role() != Role::Leader,
            "a leader holds what is committed, but lacks {position:?}"
        );
        let is_present = receiving.term == self.term();
        self.receiving = None;
        self.log = ReplicatedLog::new(position, Vec::new());
        let known = configured.clone();
        self.configurations.on_installed(known, carried, position);
        self.reconfigure();
        self.commit.maybe_raise(position.index);
        self.logged_in_turn = true;
        // Whoever was asked for a vote was told of the log that is gone.
        let leader = self.leader();
        self.follow(now, leader, out);
        if let RoleState::Follower(follower) = &mut self.role
            && is_present
            && leader == Some(from)
        {
            follower.owe_answer(position.index);
        }
        Installed::Now
    }
}
