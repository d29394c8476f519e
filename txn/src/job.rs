//! The kinds of work that a gateway has under way, and how an event reaches each.

use crate::coordinator::Coordinator;
use crate::held_locks::KeepLocks;
use crate::locking::{GetForUpdate, Rollback};
use crate::outcome::AskOutcome;
use crate::recovery::Recovery;
use crate::refresh::ClientRefresh;
use crate::request_waiting_list::{Flow, RecoveryEnd, Turn};
use crate::resolution::Resolution;
use crate::snapshot_read::SnapshotRead;
use std::time::Duration;
use wire::ids::PartitionId;
use wire::message::{CoordinatorState, PartitionReply, RequestNumber};

/// One piece of work.
#[derive(Debug)]
pub(crate) enum Job {
    Read(SnapshotRead),
    Lock(GetForUpdate),
    Rollback(Rollback),
    Keep(KeepLocks),
    Refresh(ClientRefresh),
    Outcome(AskOutcome),
    Commit(Box<Coordinator>),
    Recovery(Box<Recovery>),
    Resolution(Box<Resolution>),
}

/// What a job hears.
#[derive(Debug)]
pub(crate) enum JobEvent {
    Reply {
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    },
    Unreachable {
        number: RequestNumber,
        partition: PartitionId,
        waited: Duration,
    },
    Coordinator(CoordinatorState),
    Recovered(RecoveryEnd),
    Timer,
}

impl Job {
    pub(crate) fn on_event(&mut self, turn: &mut Turn, event: JobEvent) -> Flow {
        match event {
            JobEvent::Reply {
                number,
                partition,
                reply,
            } => self.on_reply(turn, number, partition, reply),
            JobEvent::Unreachable {
                number,
                partition,
                waited,
            } => self.on_unreachable(turn, number, partition, waited),
            JobEvent::Timer => self.on_timer(turn),
            JobEvent::Coordinator(state) => match self {
                Job::Recovery(job) => job.on_coordinator_state(turn, state),
                other => unreachable!("only a recovery asks for a coordinator, not {other:?}"),
            },
            JobEvent::Recovered(end) => match self {
                Job::Commit(job) => job.on_recovered(turn, end),
                Job::Outcome(job) => job.on_recovered(turn, end),
                other => unreachable!("{other:?} does not wait for a recovery"),
            },
        }
    }

    fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        match self {
            Job::Read(job) => job.on_reply(turn, number, partition, reply),
            Job::Lock(job) => job.on_reply(turn, number, partition, reply),
            Job::Rollback(job) => job.on_reply(turn, number, partition, reply),
            Job::Keep(job) => job.on_reply(turn, number, partition, reply),
            Job::Refresh(job) => job.on_reply(turn, number, partition, reply),
            Job::Outcome(job) => job.on_reply(turn, number, partition, reply),
            Job::Commit(job) => job.on_reply(turn, number, partition, reply),
            Job::Recovery(job) => job.on_reply(turn, number, reply),
            Job::Resolution(job) => job.on_reply(turn, number, reply),
        }
    }

    fn on_unreachable(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        match self {
            Job::Read(job) => job.on_unreachable(turn, partition, waited),
            Job::Lock(job) => job.on_unreachable(turn, partition, waited),
            Job::Rollback(job) => job.on_unreachable(turn, partition, waited),
            Job::Keep(job) => job.on_unreachable(number),
            Job::Refresh(job) => job.on_unreachable(turn, partition, waited),
            Job::Outcome(job) => job.on_unreachable(turn, partition, waited),
            Job::Commit(job) => job.on_unreachable(turn, number, partition, waited),
            Job::Recovery(job) => job.on_unreachable(turn),
            Job::Resolution(job) => job.try_again(turn, number),
        }
    }

    fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        match self {
            Job::Read(job) => job.on_timer(turn),
            Job::Lock(job) => job.on_timer(turn),
            Job::Rollback(job) => job.on_timer(turn),
            Job::Keep(_) => unreachable!("a sign for locks sets no timer"),
            Job::Refresh(job) => job.on_timer(turn),
            Job::Outcome(job) => job.on_timer(turn),
            Job::Commit(job) => job.on_timer(turn),
            Job::Recovery(job) => job.on_timer(turn),
            Job::Resolution(job) => job.on_timer(turn),
        }
    }

    /// The client is gone. Reads and questions end; a commit goes on without it.
    pub(crate) fn on_client_gone(&mut self, turn: &mut Turn, connection: u64) -> Flow {
        let is_gone = |client: &crate::ClientTag| client.connection == connection;
        match self {
            Job::Read(job) if is_gone(&job.client) => job.abandon(turn),
            Job::Lock(job) if is_gone(&job.client) => job.abandon(turn),
            Job::Refresh(job) if is_gone(&job.client) => job.abandon(turn),
            Job::Outcome(job) if is_gone(&job.client) => job.abandon(turn),
            Job::Commit(job) => {
                job.clients.retain(|client| !is_gone(client));
                return Flow::Waits;
            }
            // Locks are given back also without a client to tell.
            Job::Rollback(_) | Job::Keep(_) | Job::Recovery(_) | Job::Resolution(_) => {
                return Flow::Waits;
            }
            _ => return Flow::Waits,
        }
        Flow::Over
    }
}
