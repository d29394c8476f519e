//! What to do about a commit whose answer has not come (pattern Idempotent Receiver; R10).
//!
//! ```text
//!            answer lost          expires                    expires + 20 s
//!   send ───► send again … ───────► ask for the outcome … ─────────► unknown
//!   (to any gateway, same name,      (closes what is not
//!    marked as sent before)           committed)
//! ```
//!
//! Invariants:
//! - once an answer may have been lost, "aborted" is believed only if it is durable: the lost answer
//!   may have been "committed";
//! - "not known" is said only if an answer may have been lost.

use super::Error;
use crate::message::{
    AbortReason, ClientAnswer, ClientReply, Committed, OutcomeAnswer, RequestError, TransactionName,
};
use clock::Timestamp;
use std::time::Duration;

/// From the first send of a commit until it expires.
pub(super) const COMMIT_EXPIRES_AFTER: Duration = Duration::from_secs(10);
/// From there until the outcome is given up.
pub(super) const OUTCOME_ASKED_FOR: Duration = Duration::from_secs(20);

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Send the commit, with `resent` as said.
    Send { resent: bool },
    /// Ask for the outcome.
    Ask,
    /// It is over without an answer.
    GiveUp,
}

/// How a send failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unanswered {
    /// The request never left.
    NotSent(String),
    /// It cannot be sent at all: no gateway would take it.
    Unsendable(String),
    /// It left, or part of it, and no answer came.
    Lost(String),
}

impl Unanswered {
    pub(super) fn why(&self) -> &str {
        match self {
            Unanswered::NotSent(why) | Unanswered::Unsendable(why) | Unanswered::Lost(why) => why,
        }
    }

    /// As the error of a request that is given up.
    pub(super) fn into_error(self, waited: Duration) -> Error {
        match self {
            Unanswered::Unsendable(why) => RequestError::Invalid { why }.into(),
            Unanswered::NotSent(last) | Unanswered::Lost(last) => {
                Error::Unreachable { waited, last }
            }
        }
    }
}

/// One commit under way.
#[derive(Debug)]
pub(super) struct CommitRetry {
    name: TransactionName,
    /// An answer may have been lost.
    uncertain: bool,
    /// Sending again is of no use.
    ask: bool,
    refusal: Option<AbortReason>,
    last_failure: Option<Error>,
}

impl CommitRetry {
    pub(super) fn new(name: TransactionName) -> CommitRetry {
        CommitRetry {
            name,
            uncertain: false,
            ask: false,
            refusal: None,
            last_failure: None,
        }
    }

    /// What to do now.
    pub(super) fn next(&self, now: Timestamp) -> Step {
        if now < self.name.expires && !self.ask {
            return Step::Send {
                resent: self.uncertain,
            };
        }
        if self.uncertain && now < self.name.expires.plus(OUTCOME_ASKED_FOR) {
            return Step::Ask;
        }
        Step::GiveUp
    }

    /// Whose commit it is.
    pub(super) fn name(&self) -> &TransactionName {
        &self.name
    }

    /// The end, if what became of a send is one.
    pub(super) fn on_answer(
        &mut self,
        answer: Result<ClientReply, Unanswered>,
    ) -> Option<Result<Committed, Error>> {
        match answer {
            Ok(reply) => self.on_reply(reply),
            Err(Unanswered::Unsendable(why)) => {
                self.on_request_error(RequestError::Invalid { why })
            }
            Err(unanswered) => {
                self.uncertain |= matches!(unanswered, Unanswered::Lost(_));
                self.last_failure = Some(unanswered.into_error(COMMIT_EXPIRES_AFTER));
                None
            }
        }
    }

    fn on_reply(&mut self, reply: ClientReply) -> Option<Result<Committed, Error>> {
        match reply {
            Ok(ClientAnswer::Committed(committed)) => Some(Ok(committed)),
            Ok(ClientAnswer::Aborted(aborted)) if aborted.durable || !self.uncertain => {
                Some(Err(self.aborted(aborted.reason)))
            }
            Ok(ClientAnswer::Aborted(aborted)) => {
                self.refusal = Some(aborted.reason);
                None
            }
            Ok(_) => {
                self.uncertain = true;
                self.ask = true;
                None
            }
            Err(error) => self.on_request_error(error),
        }
    }

    fn on_request_error(&mut self, error: RequestError) -> Option<Result<Committed, Error>> {
        let was_begun = matches!(
            error,
            RequestError::Unavailable { .. } | RequestError::ClockUnusable { begun: true, .. }
        );
        if was_begun {
            self.uncertain = true;
        } else if !is_served_elsewhere(&error) {
            if !self.uncertain {
                return Some(Err(error.into()));
            }
            self.ask = true;
        }
        self.last_failure = Some(error.into());
        None
    }

    /// The end, if what became of the question for the outcome is one.
    pub(super) fn on_outcome(
        &mut self,
        answer: Result<ClientReply, Unanswered>,
    ) -> Option<Result<Committed, Error>> {
        let Ok(Ok(ClientAnswer::Outcome(outcome))) = answer else {
            return None;
        };
        match outcome {
            OutcomeAnswer::Committed { at } => Some(Ok(Committed {
                at,
                results: vec![],
                attempts: 0,
                partitions: 0,
            })),
            OutcomeAnswer::Aborted => {
                let reason = self.refusal.take().unwrap_or(AbortReason::Closed);
                Some(Err(self.aborted(reason)))
            }
            OutcomeAnswer::NoLongerKept => Some(Err(self.unknown())),
            OutcomeAnswer::Staging { .. } => None,
        }
    }

    /// What is said when time is up.
    pub(super) fn give_up(mut self) -> Error {
        if self.uncertain {
            return self.unknown();
        }
        self.last_failure
            .take()
            .unwrap_or_else(|| self.aborted(AbortReason::Expired))
    }

    fn aborted(&self, reason: AbortReason) -> Error {
        let id = self.name.id;
        Error::Aborted { id, reason }
    }

    fn unknown(&self) -> Error {
        let name = self.name.clone();
        Error::OutcomeUnknown { name }
    }
}

/// Whether another gateway, or the same one later, may serve what this error refuses.
pub(super) fn is_served_elsewhere(error: &RequestError) -> bool {
    matches!(
        error,
        RequestError::Unavailable { .. }
            | RequestError::Overloaded { .. }
            | RequestError::ClockUnusable { .. }
            | RequestError::NotFounded { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NodeId, PartitionId, TransactionId};
    use crate::keys::Key;
    use crate::message::Aborted;

    const BEFORE: Timestamp = Timestamp::from_micros(1_000_000);
    const EXPIRES: Timestamp = Timestamp::from_micros(11_000_000);
    const TOO_LATE: Timestamp = Timestamp::from_micros(31_000_000);

    fn retry() -> CommitRetry {
        CommitRetry::new(TransactionName {
            id: TransactionId {
                time: BEFORE,
                random: 1,
            },
            expires: EXPIRES,
            anchor: Key::least(),
        })
    }

    fn aborted(reason: AbortReason, durable: bool) -> ClientReply {
        Ok(ClientAnswer::Aborted(Aborted { reason, durable }))
    }

    fn unavailable() -> ClientReply {
        Err(RequestError::Unavailable {
            partition: PartitionId(2),
            start: Key::least(),
            members: vec![NodeId(1)],
            waited_ms: 1,
        })
    }

    fn lost() -> Result<ClientReply, Unanswered> {
        Err(Unanswered::Lost("cut".into()))
    }

    #[test]
    fn a_first_refusal_is_believed_a_later_one_only_if_durable() {
        let mut once = retry();
        let ended = once.on_reply(aborted(AbortReason::Expired, false));
        assert!(matches!(ended, Some(Err(Error::Aborted { .. }))));

        for uncertain in [
            |retry: &mut CommitRetry| assert!(retry.on_answer(lost()).is_none()),
            |retry: &mut CommitRetry| assert!(retry.on_reply(unavailable()).is_none()),
        ] {
            let mut twice = retry();
            uncertain(&mut twice);
            assert_eq!(twice.next(BEFORE), Step::Send { resent: true });
            assert!(
                twice
                    .on_reply(aborted(AbortReason::Expired, false))
                    .is_none()
            );
            assert_eq!(twice.next(BEFORE), Step::Send { resent: true });
            let ended = twice.on_reply(aborted(AbortReason::Expired, true));
            assert!(matches!(ended, Some(Err(Error::Aborted { .. }))));
        }
    }

    #[test]
    fn a_node_whose_clock_failed_is_left_for_another() {
        let failed = |begun| {
            let (node, why) = (NodeId(1), "it stepped".to_owned());
            Err(RequestError::ClockUnusable { node, why, begun })
        };
        let mut refused = retry();
        assert!(refused.on_reply(failed(false)).is_none());
        assert_eq!(refused.next(BEFORE), Step::Send { resent: false });
        let mut begun = retry();
        assert!(begun.on_reply(failed(true)).is_none());
        assert_eq!(begun.next(BEFORE), Step::Send { resent: true });
        assert_eq!(begun.next(EXPIRES), Step::Ask);
    }

    #[test]
    fn what_never_left_or_was_never_looked_at_is_no_second_send() {
        let mut retry = retry();
        let refused = Unanswered::NotSent("refused".into());
        assert!(retry.on_answer(Err(refused)).is_none());
        assert!(
            retry
                .on_reply(Err(RequestError::Overloaded { retry_ms: 1 }))
                .is_none()
        );
        assert_eq!(retry.next(BEFORE), Step::Send { resent: false });
        assert_eq!(retry.next(EXPIRES), Step::GiveUp);
        assert!(matches!(
            retry.give_up(),
            Error::Request(RequestError::Overloaded { .. })
        ));
    }

    #[test]
    fn after_it_expired_the_outcome_is_asked_for_until_it_is_definite() {
        let mut retry = retry();
        assert!(retry.on_answer(lost()).is_none());
        assert_eq!(retry.next(EXPIRES), Step::Ask);
        assert!(retry.on_outcome(Ok(unavailable())).is_none());
        assert_eq!(retry.next(EXPIRES), Step::Ask);
        let at = BEFORE;
        let committed = Ok(ClientAnswer::Outcome(OutcomeAnswer::Committed { at }));
        assert!(matches!(retry.on_outcome(Ok(committed)), Some(Ok(c)) if c.at == at));
        let aborted = Ok(ClientAnswer::Outcome(OutcomeAnswer::Aborted));
        let ended = retry.on_outcome(Ok(aborted));
        assert!(matches!(
            ended,
            Some(Err(Error::Aborted {
                reason: AbortReason::Closed,
                ..
            }))
        ));
        assert_eq!(retry.next(TOO_LATE), Step::GiveUp);
        assert!(matches!(retry.give_up(), Error::OutcomeUnknown { .. }));
    }

    #[test]
    fn an_error_that_would_come_again_ends_a_first_send_and_asks_after_a_second() {
        let invalid = || Err(RequestError::Invalid { why: "x".into() });
        let ended = retry().on_reply(invalid());
        assert!(matches!(ended, Some(Err(Error::Request(_)))));
        let mut twice = retry();
        assert!(twice.on_answer(lost()).is_none());
        assert!(twice.on_reply(invalid()).is_none());
        assert_eq!(twice.next(BEFORE), Step::Ask);
    }
}
