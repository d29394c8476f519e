//! A snapshot that takes this replica's place.
//!
//! ```text
//!   chunk ─► waits for an incarnation ─► batches under it ─► all in the store's tables
//!                                                                      │
//!        log: ReplicaInstalled ◄── state rebuilt from its small rows ◄─┘
//! ```
//!
//! Until the log says *installed*, the replica is what it was; from then on it is the new one. A crash
//! finds one or the other, by one record. Rows under an incarnation that no replica has are nobody's.
//!
//! Invariants
//! - What is installed is in the store's tables, all of it: the log forgets what it replaces.
//! - An incarnation is written under only once it is durable that it was given, so none is given twice.

use crate::committed_state::CommittedState;
use crate::event::{ReplicaContext, ReplicaEffect};
use crate::log::LogRecord;
use crate::membership::members_of;
use crate::meta_rows;
use crate::recent_writes::RecentWrites;
use crate::replica::{RECENT_WRITES_BYTES_MAX, Replica};
use crate::replication::Installed;
use crate::snapshot::{ChunkBody, Head};
use crate::versions::{StoreAnswer, StoreTask};
use std::collections::VecDeque;
use wire::ids::{LogIndex, Term};
use wire::message::{InstallingStatus, LogPosition, SnapshotChunk};

/// A snapshot that comes in.
#[derive(Debug)]
pub(crate) struct Installing {
    position: LogPosition,
    head: Head,
    incarnation: Option<u32>,
    /// Chunks that wait for the incarnation.
    waiting: VecDeque<(u64, bool, ChunkBody)>,
    /// Bytes that came in.
    bytes: u64,
    chunks: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Chunks come in.
    Taking,
    /// All are written, and not yet in the store's tables.
    Persisting,
    /// Its small rows are asked for.
    Reading { ticket: u64 },
    /// It can take this replica's place.
    Ready(Box<CommittedState>),
}

impl Installing {
    /// The incarnation under which it is written, once there is one.
    pub(crate) fn incarnation(&self) -> Option<u32> {
        self.incarnation
    }

    pub(crate) fn status(&self) -> InstallingStatus {
        InstallingStatus {
            up_to: self.position.index,
            bytes: self.bytes,
            is_complete: !matches!(self.stage, Stage::Taking),
        }
    }
}

/// What a chunk holds; an error is in words.
fn readable(chunk: &SnapshotChunk) -> Result<ChunkBody, String> {
    let body = ChunkBody::decode(&chunk.body)?;
    match chunk.sequence == 0 && body.head.is_none() {
        true => Err("it does not say what the snapshot is of".to_owned()),
        false => Ok(body),
    }
}

impl Replica {
    /// Replication has taken a chunk.
    pub(crate) fn take_chunk(&mut self, chunk: SnapshotChunk, out: &mut Vec<ReplicaEffect>) {
        let body = match readable(&chunk) {
            Ok(body) => body,
            Err(error) => return self.refuse_snapshot(&chunk, &error, out),
        };
        if chunk.sequence == 0 {
            self.drop_installing(out);
            let head = body.head.clone();
            self.installing = Some(Installing {
                position: chunk.position,
                head: head.expect("a first chunk that can be read has it"),
                incarnation: None,
                waiting: VecDeque::new(),
                bytes: 0,
                chunks: 0,
                stage: Stage::Taking,
            });
            out.push(ReplicaEffect::WantIncarnation);
        }
        let installing = self.installing.as_mut();
        let installing = installing.expect("chunks are taken in order, from the first on");
        installing.bytes += chunk.body.len() as u64;
        installing.chunks += 1;
        if chunk.is_last {
            installing.stage = Stage::Persisting;
        }
        let waiting = (chunk.sequence, chunk.is_last, body);
        installing.waiting.push_back(waiting);
        self.write_chunks(out);
    }

    /// A node of another version may write what this one cannot read. The replica stays what it is.
    fn refuse_snapshot(
        &mut self,
        chunk: &SnapshotChunk,
        error: &str,
        out: &mut Vec<ReplicaEffect>,
    ) {
        tracing::error!(
            partition = %self.descriptor.partition,
            up_to = %chunk.position.index,
            chunk = chunk.sequence,
            "a snapshot is refused, since a chunk of it cannot be read: {error}. Run the same version of the program on all nodes"
        );
        self.replication.refuse_snapshot();
        self.drop_installing(out);
    }

    /// An incarnation is this replica's to use.
    pub(crate) fn on_incarnation(&mut self, incarnation: u32, out: &mut Vec<ReplicaEffect>) {
        if let Some(installing) = &mut self.installing
            && installing.incarnation.is_none()
        {
            installing.incarnation = Some(incarnation);
            self.write_chunks(out);
        }
    }

    fn write_chunks(&mut self, out: &mut Vec<ReplicaEffect>) {
        let Some(installing) = &mut self.installing else {
            return;
        };
        let Some(incarnation) = installing.incarnation else {
            return;
        };
        while let Some((sequence, is_last, body)) = installing.waiting.pop_front() {
            let applied = match is_last {
                true => installing.position,
                false => LogPosition {
                    term: Term(0),
                    index: LogIndex(sequence + 1),
                },
            };
            let batch = body.into_batch(&installing.head, incarnation, applied);
            out.push(ReplicaEffect::Store(StoreTask::Apply(batch)));
            if is_last {
                out.push(ReplicaEffect::Store(StoreTask::Persist));
            }
        }
    }

    /// The store has applied something under an incarnation that is not this replica's.
    pub(crate) fn on_chunks_applied(&mut self, incarnation: u32, position: LogPosition) {
        let Some(installing) = &self.installing else {
            return;
        };
        if installing.incarnation != Some(incarnation) {
            return;
        }
        let chunks = match position == installing.position {
            true => installing.chunks,
            false => position.index.0,
        };
        self.replication
            .on_snapshot_stored(chunks, &mut self.effects);
    }

    /// The store's tables hold something of an incarnation that is not this replica's.
    pub(crate) fn on_chunks_persisted(
        &mut self,
        incarnation: u32,
        position: LogPosition,
        out: &mut Vec<ReplicaEffect>,
    ) {
        let partition = self.descriptor.partition;
        let Some(installing) = &mut self.installing else {
            return;
        };
        let is_all = (installing.incarnation, installing.position) == (Some(incarnation), position);
        if !is_all || !matches!(installing.stage, Stage::Persisting) {
            return;
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        installing.stage = Stage::Reading { ticket };
        out.push(ReplicaEffect::Store(StoreTask::Query {
            partition,
            incarnation,
            ticket,
            queries: meta_rows::for_a_start(installing.head.closed),
        }));
    }

    /// Whether the answer to a question was this one's, which it then takes.
    pub(crate) fn take_small_rows(
        &mut self,
        cx: &ReplicaContext,
        ticket: u64,
        answer: &StoreAnswer,
        out: &mut Vec<ReplicaEffect>,
    ) -> bool {
        let Some(installing) = &mut self.installing else {
            return false;
        };
        if !matches!(installing.stage, Stage::Reading { ticket: asked } if asked == ticket) {
            return false;
        }
        let rows = meta_rows::found_at_a_start(answer.results.clone());
        let at = installing.position.index;
        let recent = RecentWrites::new(answer.newest, at, RECENT_WRITES_BYTES_MAX);
        let Head {
            closed, horizon, ..
        } = installing.head;
        let state = CommittedState::rebuild(recent, closed, horizon, &rows);
        let state = state.unwrap_or_else(|error| panic!("what was installed: {error}"));
        installing.stage = Stage::Ready(Box::new(state));
        self.maybe_install(cx, out);
        true
    }

    /// Puts what is ready in this replica's place, unless the log has caught up without it.
    pub(crate) fn maybe_install(&mut self, cx: &ReplicaContext, out: &mut Vec<ReplicaEffect>) {
        let ready = |installing: &mut Installing| matches!(installing.stage, Stage::Ready(_));
        let Some(installing) = self.installing.take_if(ready) else {
            return;
        };
        let Stage::Ready(state) = &installing.stage else {
            unreachable!("it is ready");
        };
        let (configured, carried) = members_of(state, &installing.head.descriptor);
        let (now, effects) = (cx.now.monotonic, &mut self.effects);
        let replication = &mut self.replication;
        match replication.install_snapshot(now, &configured, carried, effects) {
            Installed::Later => self.installing = Some(installing),
            Installed::NotNeeded => out.push(ReplicaEffect::LiveChanged),
            Installed::Now => self.replace_by(installing, out),
        }
    }

    fn replace_by(&mut self, installing: Installing, out: &mut Vec<ReplicaEffect>) {
        let Stage::Ready(state) = installing.stage else {
            unreachable!("it was ready");
        };
        let (position, head) = (installing.position, installing.head);
        let incarnation = installing
            .incarnation
            .expect("it was written under an incarnation");
        // What the leader had promised is known here before anything rests on the snapshot (R9).
        out.push(ReplicaEffect::Log(LogRecord::Ceiling {
            timestamp: head.promised,
        }));
        out.push(ReplicaEffect::Log(LogRecord::ReplicaInstalled {
            partition: self.descriptor.partition,
            incarnation,
            descriptor: head.descriptor.clone(),
            base: position,
        }));
        tracing::info!(
            partition = %self.descriptor.partition,
            up_to = %position.index,
            bytes = installing.bytes,
            "a snapshot was installed"
        );
        self.incarnation = incarnation;
        self.descriptor = head.descriptor;
        self.state = *state;
        self.fed = position;
        self.held_back.clear();
        self.stored = position.index;
        self.persisted = position;
        out.push(ReplicaEffect::LiveChanged);
    }

    /// What came in so far is not wanted any more.
    pub(crate) fn drop_installing(&mut self, out: &mut Vec<ReplicaEffect>) {
        if self.installing.take().is_some() {
            out.push(ReplicaEffect::LiveChanged);
        }
    }
}
