//! An attempt has ended (R7): *prepared* turns into *ended*, so that a late prepare is refused;
//! provisional versions turn into committed ones, or go.
//!
//! Applying asserts that what is committed is prepared under the very attempt, and a replica cannot
//! pass an entry that fails it. So a commit becomes an entry only then. Any other asker is late or wrong
//! about the attempt, or asks a leader that is deposed and has not heard of the share: the three look
//! alike, so *done* is said only of what is known to have committed here, or to have been collected.
//! *Else a record is forgotten while the present leader still holds the lock.*

use super::{Evaluated, Evaluator, Verdict, check_identity};
use crate::committed_state::MarkerState;
use crate::effects::Effect;
use wire::message::{Decision, PartitionError, PartitionReply, Resolve};

impl Evaluator<'_> {
    pub(super) fn resolve(&mut self, resolve: &Resolve) -> Evaluated<Verdict> {
        self.check_settled(resolve.name.id)?;
        let marker = self.state.marker(resolve.name.id);
        if let Some(marker) = marker {
            check_identity(&marker.name, &resolve.name)?;
        }
        let known = marker.map(|marker| (&marker.state, marker.state.attempt().number));
        let number = resolve.attempt.number;
        let changes = match (known, resolve.decision) {
            // Closed in the log: the marker has gone, and no late prepare can come.
            (None, _) if resolve.name.expires <= self.state.closed() => false,
            (None, Decision::Aborted) => true,
            (Some((MarkerState::Ended(_, Decision::Aborted), _)), Decision::Committed(_)) => false,
            (
                Some((MarkerState::Ended(_, Decision::Committed(ended)), _)),
                Decision::Committed(at),
            ) => {
                assert_eq!(
                    *ended, at,
                    "{} has ended, and is resolved again with another outcome",
                    resolve.name.id
                );
                false
            }
            // The same number of another coordinator may be alive: only one of the two can be staged.
            (Some((MarkerState::Prepared(share), at)), Decision::Aborted) => {
                share.attempt == resolve.attempt || at < number
            }
            (Some((MarkerState::Refused(_), at)), Decision::Aborted) => at < number,
            (Some((MarkerState::Ended(_, Decision::Aborted), at)), Decision::Aborted) => {
                at < number
            }
            (Some((MarkerState::Ended(ended, Decision::Committed(at)), _)), Decision::Aborted) => {
                assert!(
                    ended.number > number,
                    "{} is committed at {at} under {ended}, and {} is resolved as aborted",
                    resolve.name.id,
                    resolve.attempt
                );
                false
            }
            (Some((MarkerState::Prepared(share), _)), Decision::Committed(at)) => {
                share.attempt == resolve.attempt && share.at <= at
            }
            (None | Some((MarkerState::Refused(_), _)), Decision::Committed(_)) => false,
        };
        if !changes {
            let is_collected = known.is_none() && resolve.name.expires <= self.state.closed();
            let has_committed = matches!(
                known,
                Some((MarkerState::Ended(_, Decision::Committed(_)), _))
            );
            if resolve.decision != Decision::Aborted && !has_committed && !is_collected {
                let partition = self.partition;
                return Err(PartitionError::LeadershipLost { partition }.into());
            }
            return Ok(Verdict::Reply(PartitionReply::Done));
        }
        Ok(Verdict::Propose {
            effect: Effect::Resolve {
                name: resolve.name.clone(),
                attempt: resolve.attempt,
                decision: resolve.decision,
            },
            reply: PartitionReply::Done,
        })
    }
}
