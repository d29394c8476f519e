//! One participant's share of a transaction over several partitions (R5).
//!
//! The same attempt again gets the answer that was stored with its marker and is never evaluated anew.
//! A later attempt replaces the earlier one in the same entry. Refused and ended markers refuse every
//! attempt at or below theirs.

use super::share::{Placed, ToPlace};
use super::{Evaluated, Evaluator, Verdict, check_identity, refusal};
use crate::committed_state::MarkerState;
use crate::effects::{Effect, LockKind, Share};
use clock::Timestamp;
use std::collections::BTreeMap;
use wire::keys::Key;
use wire::message::{Decision, PartitionReply, Prepare, Prepared, RecordState, Refusal};

pub(super) fn refused(why: Refusal, depends_on: Timestamp) -> Verdict {
    Verdict::Reply(refusal(why, false, depends_on))
}

impl Evaluator<'_> {
    pub(super) fn prepare(&mut self, prepare: &Prepare) -> Evaluated<Verdict> {
        self.check_settled(prepare.name.id)?;
        self.check_anchor(prepare)?;
        self.check_marker(prepare)?;
        self.check_not_ahead(prepare.timestamp)?;
        let placed = self.place(&ToPlace {
            name: &prepare.name,
            timestamp: prepare.timestamp,
            reads: &prepare.reads,
            guards: &prepare.guards,
            operations: &prepare.operations,
            locked_reads: &prepare.locked_reads,
            locks_guards: true,
        })?;
        match placed {
            Err((why, depends_on)) => Ok(refused(why, depends_on)),
            Ok(placed) => Ok(self.accept(prepare, placed)),
        }
    }

    fn accept(&self, prepare: &Prepare, placed: Placed) -> Verdict {
        let unchanged = prepare.guards.iter().map(|guard| &guard.key);
        let unchanged = unchanged.chain(&prepare.locked_reads);
        let mut locks: BTreeMap<Key, LockKind> = unchanged
            .map(|key| (key.clone(), LockKind::Unchanged))
            .collect();
        let writes = placed.writes.into_iter();
        locks.extend(writes.map(|(key, value)| (key, LockKind::Write(value))));
        let share = Share {
            attempt: prepare.attempt,
            at: placed.at,
            age: prepare.age,
            locks: locks.into_iter().collect(),
            results: placed.results,
        };
        let limit = prepare.staging.as_ref().map(|(limit, _)| *limit);
        let reply = PartitionReply::Prepared(prepared(&share, limit));
        let effect = Effect::Prepare {
            name: prepare.name.clone(),
            share,
            staging: prepare.staging.clone(),
        };
        Verdict::Propose { effect, reply }
    }

    /// What the record or an outcome here says to this attempt.
    fn check_anchor(&self, prepare: &Prepare) -> Evaluated<()> {
        let id = prepare.name.id;
        let outcome = self.state.outcome(id);
        if let Some(outcome) = outcome {
            check_identity(&outcome.name, &prepare.name)?;
        }
        let record = self.state.record(id);
        if let Some(record) = record {
            check_identity(&record.name, &prepare.name)?;
        }
        let state = record.map(|record| record.state);
        #[cfg(feature = "mutants")]
        if let (true, Some(RecordState::Staging { attempt, .. })) =
            (self.is(crate::Mutant::AttemptOfTwoGateways), state)
            && attempt.number == prepare.attempt.number
        {
            return Ok(());
        }
        let why = match state.or_else(|| outcome.map(|outcome| outcome.state())) {
            Some(RecordState::Closed) => Refusal::Closed,
            Some(RecordState::Committed { .. }) => Refusal::StaleAttempt,
            Some(RecordState::Aborted { attempt }) if attempt.number >= prepare.attempt.number => {
                Refusal::StaleAttempt
            }
            Some(RecordState::Staging { attempt, .. }) if attempt != prepare.attempt => {
                if attempt.number > prepare.attempt.number {
                    Refusal::StaleAttempt
                } else {
                    return Err(PartitionReply::OtherCoordinator { attempt }.into());
                }
            }
            _ => return Ok(()),
        };
        Err(refusal(why, false, Timestamp::ZERO).into())
    }

    /// What the marker says to this attempt.
    fn check_marker(&self, prepare: &Prepare) -> Evaluated<()> {
        let Some(marker) = self.state.marker(prepare.name.id) else {
            return Ok(());
        };
        check_identity(&marker.name, &prepare.name)?;
        let known = marker.state.attempt();
        let is_later = prepare.attempt.number > known.number;
        match &marker.state {
            #[cfg(feature = "mutants")]
            MarkerState::Prepared(share)
                if share.attempt == prepare.attempt && self.is(crate::Mutant::PreparedAnew) =>
            {
                Ok(())
            }
            MarkerState::Prepared(share) if share.attempt == prepare.attempt => {
                let limit = self.limit_of(prepare);
                Err(PartitionReply::Prepared(prepared(share, limit)).into())
            }
            #[cfg(feature = "mutants")]
            MarkerState::Prepared(share)
                if known.number == prepare.attempt.number
                    && self.is(crate::Mutant::AttemptOfTwoGateways) =>
            {
                let mut taken = prepared(share, prepare.staging.as_ref().map(|(limit, _)| *limit));
                taken.attempt = prepare.attempt;
                Err(PartitionReply::Prepared(taken).into())
            }
            MarkerState::Prepared(_) if known.number == prepare.attempt.number => {
                Err(PartitionReply::OtherCoordinator { attempt: known }.into())
            }
            MarkerState::Ended(_, Decision::Committed(_)) => {
                Err(refusal(Refusal::StaleAttempt, false, Timestamp::ZERO).into())
            }
            _ if is_later => Ok(()),
            _ => Err(refusal(Refusal::StaleAttempt, false, Timestamp::ZERO).into()),
        }
    }

    /// The limit of the record as it is stored, if this is its attempt's prepare at the anchor.
    fn limit_of(&self, prepare: &Prepare) -> Option<Timestamp> {
        prepare.staging.as_ref()?;
        match self.state.record(prepare.name.id)?.state {
            RecordState::Staging { attempt, limit } if attempt == prepare.attempt => Some(limit),
            _ => None,
        }
    }
}

fn prepared(share: &Share, limit: Option<Timestamp>) -> Prepared {
    Prepared {
        timestamp: share.at,
        attempt: share.attempt,
        limit,
        results: share.results.clone(),
    }
}
