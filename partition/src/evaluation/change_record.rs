//! Changing a record by compare-and-set on its whole value: state, attempt and limit (R5, R8).
//!
//! If recovery compared the state alone, it would abort what was just acknowledged under a raised
//! limit. A change that was made already counts as made: the request may be sent again. A commit does
//! only if it was made from what is expected now, because "committed at" does not say of which attempt,
//! and the asker would go on to resolve its own.
//!
//! A transaction with too many keys to list is not staged: it is prepared first, and then its record is
//! born committed, from *missing* or from the *aborted* of an earlier attempt. Whoever finds one of its
//! locks before that writes *aborted*, and then this compare-and-set fails. Once `closed` has passed
//! `expires` nothing of it is accepted: outcome and record may have been forgotten, and *missing* no
//! longer means that nobody was told "aborted". In the same way nothing is closed whose outcome is no
//! longer kept: it may have been committed. *Aborted (n)* may still be written then, for the locks of an
//! attempt that are left: a record goes only when all that it committed is resolved.

use super::{Evaluated, Evaluator, Known, Verdict};
use crate::committed_state::is_born_committed;
use crate::effects::Effect;
use wire::message::{ChangeRecord, PartitionReply, RecordAnswer, RecordChange, RecordState};

impl Evaluator<'_> {
    pub(super) fn change_record(&mut self, change: &ChangeRecord) -> Evaluated<Verdict> {
        let known = self.known(&change.name)?;
        let now = known.state;
        let Some(target) = target(change) else {
            return Ok(answer(known, false));
        };
        if now == target {
            let is_made = is_made_from(&known, change.expected);
            return Ok(answer(known, is_made));
        }
        let is_lost = match (now, target) {
            (RecordState::Missing | RecordState::Aborted { .. }, RecordState::Closed) => {
                self.outcome_is_no_longer_kept(&change.name)
            }
            (RecordState::Missing | RecordState::Aborted { .. }, RecordState::Committed { .. }) => {
                change.name.expires <= self.closed
            }
            _ => false,
        };
        let is_expected = now == change.expected;
        #[cfg(feature = "mutants")]
        let is_expected = match (now, change.expected) {
            (
                RecordState::Staging { attempt, .. },
                RecordState::Staging {
                    attempt: expected, ..
                },
            ) if self.is(crate::Mutant::LimitNotCompared) => attempt == expected,
            _ => is_expected,
        };
        if !is_expected || !is_allowed(now, target) || is_lost {
            return Ok(answer(known, false));
        }
        Ok(Verdict::Propose {
            effect: Effect::SetRecord {
                name: change.name.clone(),
                state: target,
            },
            reply: PartitionReply::Record(RecordAnswer {
                state: target,
                keys: if is_born_committed(now, target) {
                    Vec::new()
                } else {
                    known.keys
                },
                changed: true,
            }),
        })
    }
}

fn answer(known: Known, changed: bool) -> Verdict {
    let Known { state, keys, .. } = known;
    Verdict::Reply(PartitionReply::Record(RecordAnswer {
        state,
        keys,
        changed,
    }))
}

/// Whether a record that says what it is to say was changed from the expected state, or from one of
/// the same attempt. Attempts of one number cannot both be prepared everywhere, so a record that was
/// born committed is told by the attempt that was dead before.
fn is_made_from(known: &Known, expected: RecordState) -> bool {
    let RecordState::Committed { .. } = known.state else {
        return true;
    };
    let is_born_committed = known.keys.is_empty();
    match expected {
        RecordState::Staging { attempt, .. } => {
            !is_born_committed && known.attempt == Some(attempt)
        }
        RecordState::Aborted { attempt } => is_born_committed && known.attempt == Some(attempt),
        RecordState::Missing => known.has_record && is_born_committed && known.attempt.is_none(),
        RecordState::Committed { .. } | RecordState::Closed => false,
    }
}

/// What the record is to become.
fn target(change: &ChangeRecord) -> Option<RecordState> {
    match (change.change, change.expected) {
        (RecordChange::None, _) => None,
        (RecordChange::Abort { attempt }, _) => Some(RecordState::Aborted { attempt }),
        (RecordChange::Close, _) => Some(RecordState::Closed),
        (RecordChange::Commit { at }, _) => Some(RecordState::Committed { at }),
        (RecordChange::RaiseLimit { to }, RecordState::Staging { attempt, .. }) => {
            Some(RecordState::Staging { attempt, limit: to })
        }
        (RecordChange::RaiseLimit { .. }, _) => None,
    }
}

fn is_allowed(now: RecordState, target: RecordState) -> bool {
    use RecordState::{Aborted, Closed, Committed, Missing, Staging};
    match (now, target) {
        (Committed { .. } | Closed, _) => false,
        (Missing, Aborted { .. }) | (Missing | Staging { .. } | Aborted { .. }, Closed) => true,
        (Staging { attempt, .. }, Aborted { attempt: dead }) => attempt == dead,
        (Aborted { attempt }, Aborted { attempt: dead }) => dead.number > attempt.number,
        (Missing | Staging { .. } | Aborted { .. }, Committed { .. }) => true,
        (Staging { limit, .. }, Staging { limit: to, .. }) => to > limit,
        (_, _) => false,
    }
}
