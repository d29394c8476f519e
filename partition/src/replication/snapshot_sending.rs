//! Giving a follower the state instead of entries that are discarded (Ongaro 2014, chapter 5).
//!
//! ```text
//!   needs a snapshot ─► ReadSnapshot ─► on_snapshot_read ─► window ─► Snapshot … ─┐
//!                            ▲              one chunk each    ▲ sent again         │
//!                            └── room in the window ◄─────────┴── SnapshotReceived ◄┘
//!   … all received, then installed: Appended, and entries follow the snapshot's position
//! ```
//!
//! - One snapshot at a time leaves a replica, so that what is on the way stays within
//!   [`SNAPSHOT_CHUNKS_MAX`] chunks; followers take turns.
//! - Chunks are kept until they are acknowledged; a lost one is sent again. A follower that has
//!   forgotten what it had (a restart) says nothing to later chunks: after a while all begins anew,
//!   under another number.
//! - While it is sent, the leader's log is held from the snapshot's position on and not from what the
//!   follower holds, or the snapshot would be out of date when it arrives. Afterwards it is held until the
//!   follower has caught up, or what it needs next would be gone. Both within [`SNAPSHOT_HELD_TIMES`] of
//!   what a member that is away may hold back, and only for a follower that is heard: *were the ordinary
//!   maximum to hold here, a snapshot that takes longer to send than the log takes to grow by that much
//!   would begin anew for ever.*

use super::progress::Progress;
use super::{Replication, ReplicationEffect, RoleState};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;
use wire::ids::{LogIndex, NodeId, Term};
use wire::message::{LogPosition, ReplicationMessage, SnapshotChunk};

/// Chunks of a snapshot on the way to a follower.
pub const SNAPSHOT_CHUNKS_MAX: usize = 4;
/// So many election timeouts without a word about a snapshot, and it begins anew.
const PATIENCE_TIMEOUTS: u32 = 4;
/// For a follower that gets a snapshot, or catches up after one, the log is held back by up to so many
/// times what it is held back for one that is away.
pub const SNAPSHOT_HELD_TIMES: u64 = 8;

/// A snapshot on its way to a follower.
#[derive(Clone, Debug)]
pub(super) struct SnapshotSending {
    to: NodeId,
    number: u64,
    /// Known with the first chunk.
    position: Option<LogPosition>,
    /// Chunks that were read.
    read: u64,
    is_reading: bool,
    is_read: bool,
    /// Read and not acknowledged.
    window: VecDeque<SnapshotChunk>,
    /// The first chunk that is yet to be sent.
    unsent: u64,
    sent_at: Duration,
    /// When something was heard of it last, or it had something to say.
    heard_at: Duration,
}

impl SnapshotSending {
    fn new(to: NodeId, number: u64, now: Duration) -> SnapshotSending {
        SnapshotSending {
            to,
            number,
            position: None,
            read: 0,
            is_reading: false,
            is_read: false,
            window: VecDeque::new(),
            unsent: 0,
            sent_at: now,
            heard_at: now,
        }
    }

    /// From where on the follower will need entries, if the snapshot is for it.
    pub(super) fn holds_for(&self, follower: NodeId) -> Option<LogIndex> {
        self.holds().filter(|_| self.to == follower)
    }

    /// From where on its follower will need entries, once that is known.
    pub(super) fn holds(&self) -> Option<LogIndex> {
        Some(self.position?.index)
    }

    /// Whether the next chunk is to be read now.
    fn wants_chunk(&mut self) -> bool {
        let wants = !self.is_reading && !self.is_read && self.window.len() < SNAPSHOT_CHUNKS_MAX;
        self.is_reading |= wants;
        wants
    }

    fn on_read(&mut self, now: Duration, position: LogPosition, is_last: bool, body: Bytes) {
        let of = *self.position.get_or_insert(position);
        assert_eq!(
            of, position,
            "all chunks of a snapshot are of one state: {of:?} and {position:?}"
        );
        if self.window.is_empty() {
            self.heard_at = now;
        }
        self.window.push_back(SnapshotChunk {
            position,
            sequence: self.read,
            is_last,
            body,
        });
        self.read += 1;
        self.is_reading = false;
        self.is_read = is_last;
    }

    fn take_unsent(&mut self, now: Duration) -> Vec<SnapshotChunk> {
        let unsent = self.unsent;
        let chunks = self.window.iter().filter(|chunk| chunk.sequence >= unsent);
        let chunks: Vec<SnapshotChunk> = chunks.cloned().collect();
        if !chunks.is_empty() {
            self.unsent = self.read;
            self.sent_at = now;
        }
        chunks
    }

    fn on_received(&mut self, chunks: u64, now: Duration) {
        self.heard_at = now;
        while self.window.pop_front_if(|c| c.sequence < chunks).is_some() {
            self.sent_at = now;
        }
    }

    /// What is not acknowledged for long is sent again. Once everything is acknowledged, nothing is: the
    /// follower speaks of the snapshot whenever it must refuse entries.
    fn maybe_resend(&mut self, now: Duration, resend_after: Duration) {
        if let Some(first) = self.window.front()
            && now.saturating_sub(self.sent_at) >= resend_after
        {
            self.unsent = first.sequence;
        }
    }

    fn is_silent(&self, now: Duration, patience: Duration) -> bool {
        let waits = !self.window.is_empty() || self.is_read;
        waits && now.saturating_sub(self.heard_at) >= patience
    }
}

impl Replication {
    /// Ends, begins, and sends again.
    pub(super) fn tick_snapshot(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        let timing = self.timing;
        let patience = timing.election_timeout * PATIENCE_TIMEOUTS;
        let commit = self.commit();
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        for progress in leader.followers.values_mut() {
            progress.maybe_end_catching_up(commit, now, patience);
        }
        if let Some(sending) = &mut leader.sending {
            let mut is_there = false;
            if let (Some(progress), Some(position)) =
                (leader.followers.get_mut(&sending.to), sending.position)
                && progress.matched() >= position.index
            {
                is_there = true;
                progress.catch_up();
            }
            if is_there || sending.is_silent(now, patience) {
                out.push(ReplicationEffect::EndSnapshot);
                leader.sending = None;
            } else {
                sending.maybe_resend(now, timing.resend_after);
            }
        }
        if leader.sending.is_some() {
            return;
        }
        let wants = leader.followers.iter().filter(|(_, progress)| {
            let heard = now.saturating_sub(progress.contact()) < timing.election_timeout;
            progress.needs_snapshot() && heard
        });
        let mut wants: Vec<NodeId> = wants.map(|(follower, _)| *follower).collect();
        let last = leader.snapshot_last_to;
        wants.sort_by_key(|follower| (Some(*follower) <= last, *follower));
        if let Some(to) = wants.first() {
            leader.snapshots_begun += 1;
            leader.snapshot_last_to = Some(*to);
            leader.sending = Some(SnapshotSending::new(*to, leader.snapshots_begun, now));
        }
    }

    /// At the end of a turn: what the window has room for is asked for, and what was read is sent.
    pub(super) fn send_snapshot(&mut self, now: Duration, out: &mut Vec<ReplicationEffect>) {
        let term = self.term();
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(sending) = &mut leader.sending else {
            return;
        };
        let (to, number) = (sending.to, sending.number);
        for chunk in sending.take_unsent(now) {
            out.push(ReplicationEffect::Send {
                to,
                message: ReplicationMessage::Snapshot {
                    term,
                    number,
                    chunk,
                },
                after_log: false,
            });
        }
        if sending.wants_chunk() {
            out.push(ReplicationEffect::ReadSnapshot { number });
        }
    }

    /// The next chunk of the snapshot with this number, of the state at `position`.
    pub fn on_snapshot_read(
        &mut self,
        now: Duration,
        number: u64,
        position: LogPosition,
        is_last: bool,
        body: Bytes,
    ) {
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(sending) = leader.sending.as_mut().filter(|s| s.number == number)
        {
            sending.on_read(now, position, is_last, body);
        }
    }

    /// The snapshot with this number cannot be read on: it begins anew.
    pub fn on_snapshot_lost(&mut self, number: u64) {
        if let RoleState::Leader(leader) = &mut self.role {
            leader.sending.take_if(|sending| sending.number == number);
        }
    }

    pub(super) fn on_snapshot_received(
        &mut self,
        now: Duration,
        from: NodeId,
        term: Term,
        number: u64,
        chunks: u64,
        out: &mut Vec<ReplicationEffect>,
    ) {
        let Some(progress) = self.progress_in(now, from, term, out) else {
            return;
        };
        progress.on_contact(now);
        if let RoleState::Leader(leader) = &mut self.role
            && let Some(sending) = &mut leader.sending
            && (sending.to, sending.number) == (from, number)
        {
            sending.on_received(chunks, now);
        }
    }

    /// Up to where nobody needs the log: everything that every member is known to hold durably, and
    /// whatever lies more than `bytes_max` below the end; [`SNAPSHOT_HELD_TIMES`] as much of what a member
    /// needs after a snapshot that it gets or got. A member that needs what is discarded gets a snapshot.
    /// `None` if it does not lead.
    pub fn not_needed(&self, bytes_max: u64) -> Option<LogIndex> {
        let RoleState::Leader(leader) = &self.role else {
            return None;
        };
        let held_by = |(follower, progress): (&NodeId, &Progress)| {
            let snapshot = leader.sending.as_ref().and_then(|s| s.holds_for(*follower));
            progress.matched().max(snapshot.unwrap_or_default())
        };
        let others = leader.followers.iter().map(held_by).min();
        let replicated = others.map_or(self.durable(), |others| others.min(self.durable()));
        let held_back = self.log.index_leaving(bytes_max);
        let held_back = match leader.needed_after_snapshots() {
            Some(needed) if needed < held_back => {
                let longer = bytes_max.saturating_mul(SNAPSHOT_HELD_TIMES);
                needed.max(self.log.index_leaving(longer))
            }
            _ => held_back,
        };
        Some(replicated.max(held_back).min(self.commit()))
    }

    /// Bytes of the entries that are kept.
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }
}
