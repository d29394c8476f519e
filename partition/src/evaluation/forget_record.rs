//! Every key of a transaction is resolved: its record goes, its outcome stays.

use super::{Evaluated, Evaluator, Verdict};
use crate::effects::Effect;
use wire::message::{PartitionReply, RecordState, TransactionName};

impl Evaluator<'_> {
    pub(super) fn forget_record(&mut self, name: &TransactionName) -> Evaluated<Verdict> {
        let known = self.known(name)?;
        let is_final = matches!(
            known.state,
            RecordState::Committed { .. } | RecordState::Closed
        );
        if !known.has_record || !is_final {
            // Only a record whose outcome stays may go: a missing one would read as never staged.
            return Ok(Verdict::Reply(PartitionReply::Done));
        }
        Ok(Verdict::Propose {
            effect: Effect::ForgetRecord { name: name.clone() },
            reply: PartitionReply::Done,
        })
    }
}
