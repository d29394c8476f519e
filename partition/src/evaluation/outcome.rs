//! What became of a transaction (R10). There is no ambiguous answer: a transaction that nothing is
//! known of is closed, by the log, before it is called aborted.

use super::{Evaluated, Evaluator, Verdict};
use crate::effects::Effect;
use wire::message::{OutcomeAnswer, PartitionReply, RecordState, TransactionName};

impl Evaluator<'_> {
    pub(super) fn outcome(&mut self, name: &TransactionName) -> Evaluated<Verdict> {
        let known = self.known(name)?;
        let answer = match known.state {
            RecordState::Committed { at } => OutcomeAnswer::Committed { at },
            RecordState::Closed => OutcomeAnswer::Aborted,
            RecordState::Staging { attempt, .. } => OutcomeAnswer::Staging {
                attempt,
                gateway: attempt.coordinator.node,
            },
            // Also if a late coordinator or recoverer wrote *aborted* where the outcome was forgotten.
            RecordState::Missing | RecordState::Aborted { .. }
                if self.outcome_is_no_longer_kept(name) =>
            {
                OutcomeAnswer::NoLongerKept
            }
            // Closed has passed `expires`: nothing of it can be placed any more.
            RecordState::Missing if name.expires <= self.state.closed() => OutcomeAnswer::Aborted,
            RecordState::Missing | RecordState::Aborted { .. } => return Ok(close(name)),
        };
        Ok(Verdict::Reply(PartitionReply::Outcome(answer)))
    }
}

fn close(name: &TransactionName) -> Verdict {
    Verdict::Propose {
        effect: Effect::SetRecord {
            name: name.clone(),
            state: RecordState::Closed,
        },
        reply: PartitionReply::Outcome(OutcomeAnswer::Aborted),
    }
}
