//! The whole of a transaction in one request and one entry (R4): a record born committed.

use super::share::{Placed, ToPlace};
use super::{Evaluated, Evaluator, Verdict, check_identity, refusal};
use crate::committed_state::MarkerState;
use crate::effects::Effect;
use clock::Timestamp;
use wire::message::{CommitOne, PartitionError, PartitionReply, RecordState, Refusal};

impl Evaluator<'_> {
    pub(super) fn commit(&mut self, commit: &CommitOne) -> Evaluated<Verdict> {
        self.check_unknown(commit)?;
        self.check_not_ahead(commit.timestamp)?;
        let placed = self.place(&ToPlace {
            name: &commit.name,
            timestamp: commit.timestamp,
            reads: &commit.reads,
            guards: &commit.guards,
            operations: &commit.operations,
            locked_reads: &[],
            locks_guards: false,
        })?;
        let Placed {
            at,
            writes,
            results,
        } = match placed {
            Ok(placed) => placed,
            Err((why, depends_on)) => return Ok(self.refuse_commit(commit, why, depends_on)),
        };
        if writes.is_empty() {
            return Ok(Verdict::Reply(PartitionReply::Unchanged { at }));
        }
        Ok(Verdict::Propose {
            effect: Effect::Commit {
                name: commit.name.clone(),
                attempt: commit.attempt,
                at,
                writes: writes.into_iter().collect(),
            },
            reply: PartitionReply::Committed { at, results },
        })
    }

    /// Answers from what is known of the id, if anything is.
    fn check_unknown(&mut self, commit: &CommitOne) -> Evaluated<()> {
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::ResentEvaluatedAnew) {
            return Ok(());
        }
        let attempt = commit.attempt;
        let stale = || refusal(Refusal::StaleAttempt, false, Timestamp::ZERO);
        let known = self.known(&commit.name)?;
        match known.state {
            RecordState::Committed { at } => {
                let results = Vec::new();
                return Err(PartitionReply::Committed { at, results }.into());
            }
            RecordState::Closed => {
                return Err(refusal(Refusal::Closed, true, Timestamp::ZERO).into());
            }
            RecordState::Staging { attempt, .. } => {
                return Err(PartitionReply::OtherCoordinator { attempt }.into());
            }
            RecordState::Aborted { attempt: dead } if dead.number >= attempt.number => {
                return Err(stale().into());
            }
            RecordState::Aborted { .. } => {}
            RecordState::Missing if self.outcome_is_no_longer_kept(&commit.name) => {
                // It may have been committed: neither "expired" nor "closed" can be said.
                let horizon = self.state.closed().minus(super::OUTCOME_RETENTION);
                let timestamp = commit.name.expires;
                return Err(PartitionError::BelowHorizon { timestamp, horizon }.into());
            }
            RecordState::Missing => {}
        }
        let Some(marker) = self.state.marker(commit.name.id) else {
            return Ok(());
        };
        check_identity(&marker.name, &commit.name)?;
        let known = marker.state.attempt();
        match marker.state {
            MarkerState::Prepared(_) if known.number >= attempt.number => {
                Err(PartitionReply::OtherCoordinator { attempt: known }.into())
            }
            _ if known.number >= attempt.number => Err(stale().into()),
            _ => Ok(()),
        }
    }

    /// Refuses; if the commit may also have been sent another way, closes the transaction first.
    pub(super) fn refuse_commit(
        &self,
        commit: &CommitOne,
        why: Refusal,
        depends_on: Timestamp,
    ) -> Verdict {
        let reply = refusal(why, commit.resent, depends_on);
        if !commit.resent {
            return Verdict::Reply(reply);
        }
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::ResentRefusedWithoutClosing) {
            return Verdict::Reply(reply);
        }
        let name = commit.name.clone();
        let state = RecordState::Closed;
        Verdict::Propose {
            effect: Effect::SetRecord { name, state },
            reply,
        }
    }
}
