//! Whether keys are prepared under an attempt; where not, that they never will be (R8).
//!
//! "Prepared" may be answered from any committed state, "not prepared" only through the log.

use super::{Evaluated, Evaluator, Verdict, check_identity};
use crate::committed_state::MarkerState;
use crate::effects::{Effect, Share};
use clock::Timestamp;
use wire::message::{CheckPrepared, Checked, Decision, PartitionReply};

impl Evaluator<'_> {
    pub(super) fn check_prepared(&mut self, check: &CheckPrepared) -> Evaluated<Verdict> {
        self.check_settled(check.name.id)?;
        let Some(marker) = self.state.marker(check.name.id) else {
            return Ok(self.refuse_attempt(check));
        };
        check_identity(&marker.name, &check.name)?;
        let is_covered = marker.state.attempt().number >= check.attempt.number;
        let checked = match &marker.state {
            MarkerState::Prepared(share) if share.attempt == check.attempt => {
                if !holds_all(share, check) {
                    return Ok(self.refuse_attempt(check));
                }
                Checked::Prepared(share.at)
            }
            MarkerState::Ended(_, decision @ Decision::Committed(_)) => Checked::Ended(*decision),
            MarkerState::Ended(_, decision) if is_covered => Checked::Ended(*decision),
            // A later attempt or a refusal is in the log: this one will never be prepared.
            _ if is_covered => Checked::Refused,
            _ => return Ok(self.refuse_attempt(check)),
        };
        Ok(Verdict::Reply(PartitionReply::Checked(checked)))
    }

    fn refuse_attempt(&self, check: &CheckPrepared) -> Verdict {
        let reply = PartitionReply::Checked(Checked::Refused);
        if check.name.expires <= self.state.closed() && self.state.marker(check.name.id).is_none() {
            // Closed in the log: nothing of it can be prepared any more, and a marker would stay.
            return Verdict::Reply(reply);
        }
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::NoRefusalMarker) {
            return Verdict::Reply(reply);
        }
        Verdict::Propose {
            effect: Effect::Refuse {
                name: check.name.clone(),
                attempt: check.attempt,
            },
            reply,
        }
    }
}

fn holds_all(share: &Share, check: &CheckPrepared) -> bool {
    debug_assert!(share.at > Timestamp::ZERO, "a share is placed somewhere");
    let holds = |key| share.locks.binary_search_by(|(held, _)| held.cmp(key));
    check.keys.iter().all(|key| holds(key).is_ok())
}
