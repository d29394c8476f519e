//! Marks of rare branches: what a swarm has really been through (TigerBeetle's coverage marks; Groce et
//! al., *Swarm Testing*, 2012: a swarm is worth what it reaches).
//!
//! Everything is seen from outside, in what nodes say to each other and in what the machines suffer, so
//! the code under test knows nothing of it. What a node says to itself is not seen: a mark that is hit is
//! certain, and one in a few thousand messages less is no loss.

use std::collections::BTreeMap;
use wire::ids::NodeId;
use wire::message::{
    ChangeRecord, Checked, CoordinatorState, Decision, HeartbeatReply, OutcomeAnswer,
    PartitionError, PartitionReply, PartitionRequest, PeerMessage, RecordChange, RecordState,
    Refusal, ReplicationMessage,
};

/// Defines the marks, each with its words.
macro_rules! marks {
    ($($(#[$doc:meta])* $mark:ident => $words:literal,)*) => {
        /// A rare branch.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Mark {
            $($(#[$doc])* $mark,)*
        }

        impl Mark {
            /// Every mark.
            pub const ALL: &[Mark] = &[$(Mark::$mark,)*];

            /// In words, for a summary.
            pub fn name(self) -> &'static str {
                match self {
                    $(Mark::$mark => $words,)*
                }
            }
        }
    };
}

marks! {
    /// Somebody else than the coordinator asks the record to say *committed*.
    RecoveryCommits => "recovery that commits",
    /// Somebody else than the coordinator writes *aborted*.
    RecoveryAborts => "recovery that aborts",
    /// A transaction was pushed and refreshed.
    LimitRaised => "limit raised",
    /// What was read had changed.
    RefreshFailed => "refresh failed",
    /// An attempt after the first is prepared.
    SecondAttempt => "attempt 2",
    /// An attempt after the second is prepared.
    ThirdAttempt => "attempt 3",
    /// A leader found the id under another coordinator.
    OtherCoordinator => "other coordinator",
    /// A commit was answered from its outcome.
    AnsweredFromOutcome => "answered from outcome",
    /// An attempt came after its end.
    StaleAttempt => "stale attempt",
    /// A commit came after it was closed.
    FoundClosed => "found closed",
    /// A refusal that was put into the log first.
    DurableRefusal => "refusal made durable",
    /// A share will never be prepared, by a marker.
    RefusedMarker => "refused marker",
    /// A recoverer came to a share that had ended committed.
    EndedCommitted => "share ended committed",
    /// A recoverer came to a share that had ended aborted.
    EndedAborted => "share ended aborted",
    /// The record was changed by somebody else.
    RecordRace => "record changed by another",
    /// A question closed a transaction.
    ClosedByQuestion => "closed by a question",
    /// A question found a transaction at work.
    OutcomeStaging => "outcome staging",
    /// A coordinator lives.
    CoordinatorWorks => "coordinator works",
    /// A coordinator is gone.
    CoordinatorGone => "coordinator gone",
    /// A wait for a lock was ended.
    LockWait => "lock wait ended",
    /// A transaction expired.
    Expired => "expired",
    /// Leadership was lost with a request under way.
    LeadershipLost => "leadership lost",
    /// A follower's log did not fit.
    AppendRefused => "append refused",
    /// A leader handed its partition over by plan.
    HandedOver => "leadership handed over",
    /// A candidate was refused a vote.
    VoteRefused => "vote refused",
    /// A member that lost its memory was told what it may have forgotten.
    MemoryTold => "memory told",
    /// A lock in memory was dropped for an older transaction, or with its leader, and its gateway told.
    LockLost => "lock lost",
    /// The members of a partition are others.
    MembersChanged => "members changed",
    /// A new member was told to begin a replica.
    MemberInvited => "member invited",
    /// A former member was told that it is none.
    MemberRemoved => "member removed",
    /// A heartbeat met a later term.
    LaterTerm => "later term",
    /// A promise was not acknowledged.
    PromiseRefused => "promise refused",
    /// A node did not serve because of its clock.
    Quarantine => "quarantine",
    /// A log ended in the middle of a write.
    TornTail => "torn tail",
    /// A node stopped because its disk failed.
    DiskFailed => "disk failed",
    /// A leader refused a write for lack of room.
    DiskFull => "write refused for lack of room",
    /// The log of a node did not read back, and the node did not start.
    LogDamageFound => "log damage found",
    /// A node came to a damaged table, and stopped.
    TableDamageFound => "table damage found",
    /// What a damaged node held was dropped, and the others gave it again.
    Rebuilt => "damaged node rebuilt",
    /// A replica was made from a snapshot.
    SnapshotInstalled => "snapshot installed",
    /// The same on a node that was there all the time, while clients worked.
    SlowFollowerCaughtUp => "slow follower caught up by a snapshot",
    /// Somebody read in the past and was answered.
    ReadInThePast => "read in the past",
    /// Somebody read in the past, below the retention horizon.
    BelowHorizon => "below the horizon",
    /// A copy of a commit was told committed while the first was at work.
    CopyCommitted => "copy committed",
    /// A copy of a commit was told aborted.
    CopyAborted => "copy aborted",
    /// Somebody asked for the outcome of a commit under way.
    AskedUnderWay => "asked under way",
}

/// How often each mark was hit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks(BTreeMap<Mark, u64>);

impl Marks {
    /// Once more.
    pub fn hit(&mut self, mark: Mark) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// All of another run as well.
    pub fn add(&mut self, other: &Marks) {
        for (mark, count) in &other.0 {
            *self.0.entry(*mark).or_default() += count;
        }
    }

    /// How often it was hit.
    pub fn count(&self, mark: Mark) -> u64 {
        self.0.get(&mark).copied().unwrap_or(0)
    }

    /// Those that nothing hit.
    pub fn missing(&self) -> Vec<Mark> {
        let all = Mark::ALL.iter().copied();
        all.filter(|mark| self.count(*mark) == 0).collect()
    }

    /// What a message of a node shows.
    pub fn see(&mut self, from: NodeId, message: &PeerMessage) {
        match message {
            PeerMessage::Request { body, .. } => self.see_request(from, body),
            PeerMessage::Reply { body, .. } => self.see_reply(body),
            PeerMessage::CoordinatorState { state, .. } => self.hit(match state {
                CoordinatorState::Working => Mark::CoordinatorWorks,
                CoordinatorState::Unknown => Mark::CoordinatorGone,
            }),
            PeerMessage::LockLost(_) => self.hit(Mark::LockLost),
            PeerMessage::HeartbeatReply(reply) => self.see_heartbeat_reply(reply),
            PeerMessage::Replication { message, .. } => self.see_replication(message),
            _ => {}
        }
    }

    fn see_request(&mut self, from: NodeId, request: &PartitionRequest) {
        match request {
            PartitionRequest::Prepare(prepare) => match prepare.attempt.number {
                0 | 1 => {}
                2 => self.hit(Mark::SecondAttempt),
                _ => self.hit(Mark::ThirdAttempt),
            },
            PartitionRequest::ChangeRecord(change) => self.see_change(from, change),
            _ => {}
        }
    }

    fn see_change(&mut self, from: NodeId, change: &ChangeRecord) {
        let coordinator = match (change.expected, change.change) {
            (RecordState::Staging { attempt, .. }, _) | (_, RecordChange::Abort { attempt }) => {
                attempt.coordinator.node
            }
            _ => from,
        };
        match change.change {
            RecordChange::RaiseLimit { .. } => self.hit(Mark::LimitRaised),
            RecordChange::Commit { .. } if coordinator != from => self.hit(Mark::RecoveryCommits),
            RecordChange::Abort { .. } if coordinator != from => self.hit(Mark::RecoveryAborts),
            _ => {}
        }
    }

    fn see_reply(&mut self, reply: &PartitionReply) {
        match reply {
            PartitionReply::Committed { results, .. } if results.is_empty() => {
                self.hit(Mark::AnsweredFromOutcome);
            }
            PartitionReply::Refused {
                refusal, durable, ..
            } => match refusal {
                Refusal::StaleAttempt => self.hit(Mark::StaleAttempt),
                Refusal::Closed => self.hit(Mark::FoundClosed),
                Refusal::Expired => self.hit(Mark::Expired),
                Refusal::DiskFull { .. } => self.hit(Mark::DiskFull),
                _ if *durable => self.hit(Mark::DurableRefusal),
                _ => {}
            },
            PartitionReply::OtherCoordinator { .. } => self.hit(Mark::OtherCoordinator),
            PartitionReply::Refreshed { changed: Some(_) } => self.hit(Mark::RefreshFailed),
            PartitionReply::Record(answer) if !answer.changed => match answer.state {
                RecordState::Missing => {}
                _ => self.hit(Mark::RecordRace),
            },
            PartitionReply::Checked(checked) => match checked {
                Checked::Prepared(_) => {}
                Checked::Refused => self.hit(Mark::RefusedMarker),
                Checked::Ended(Decision::Committed(_)) => self.hit(Mark::EndedCommitted),
                Checked::Ended(Decision::Aborted) => self.hit(Mark::EndedAborted),
            },
            PartitionReply::Outcome(OutcomeAnswer::Aborted) => self.hit(Mark::ClosedByQuestion),
            PartitionReply::Outcome(OutcomeAnswer::Staging { .. }) => {
                self.hit(Mark::OutcomeStaging);
            }
            PartitionReply::Error(PartitionError::LockWait { .. }) => self.hit(Mark::LockWait),
            PartitionReply::Error(PartitionError::LeadershipLost { .. }) => {
                self.hit(Mark::LeadershipLost);
            }
            _ => {}
        }
    }

    fn see_heartbeat_reply(&mut self, reply: &HeartbeatReply) {
        if reply.acknowledged == clock::Timestamp::ZERO {
            self.hit(Mark::PromiseRefused);
        }
        if !reply.later.is_empty() {
            self.hit(Mark::LaterTerm);
        }
    }

    fn see_replication(&mut self, message: &ReplicationMessage) {
        match message {
            ReplicationMessage::AppendRefused { .. } => self.hit(Mark::AppendRefused),
            ReplicationMessage::VoteReply { granted: false, .. } => self.hit(Mark::VoteRefused),
            ReplicationMessage::Memory {
                memory: Some(_), ..
            } => self.hit(Mark::MemoryTold),
            ReplicationMessage::HandOver { .. } => self.hit(Mark::HandedOver),
            ReplicationMessage::Join { .. } => self.hit(Mark::MemberInvited),
            ReplicationMessage::Removed { .. } => self.hit(Mark::MemberRemoved),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_hit_is_missing() {
        let mut marks = Marks::default();
        assert_eq!(marks.missing(), Mark::ALL);
        marks.hit(Mark::TornTail);
        let mut sum = Marks::default();
        sum.add(&marks);
        sum.add(&marks);
        assert_eq!(sum.count(Mark::TornTail), 2);
        assert!(!sum.missing().contains(&Mark::TornTail));
    }
}
