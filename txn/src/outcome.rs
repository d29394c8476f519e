//! What became of a commit (R10): asked of the anchor, which closes what it does not know below
//! `expires`. An attempt that may still be alive is recovered first, so there is no ambiguous answer.

use crate::ClientTag;
use crate::request_waiting_list::{Flow, Order, RecoveryEnd, Turn};
use crate::snapshot_read::{Refused, refused};
use clock::Timestamp;
use std::time::Duration;
use wire::ids::PartitionId;
use wire::message::{
    ClientAnswer, ClientReply, OutcomeAnswer, PartitionReply, PartitionRequest, RequestError,
    RequestNumber, TransactionName,
};

/// A question for an outcome.
#[derive(Debug)]
pub(crate) struct AskOutcome {
    pub(crate) client: ClientTag,
    name: TransactionName,
    number: Option<RequestNumber>,
    tries: u32,
    until: Duration,
}

impl AskOutcome {
    pub(crate) fn begin(
        turn: &mut Turn,
        client: ClientTag,
        name: TransactionName,
    ) -> (AskOutcome, Flow) {
        let mut job = AskOutcome {
            client,
            name,
            number: None,
            tries: 0,
            until: turn.monotonic() + turn.list.config.timing.recovery_max,
        };
        let flow = job.send(turn);
        (job, flow)
    }

    fn send(&mut self, turn: &mut Turn) -> Flow {
        let name = self.name.clone();
        let partition = turn.map().locate(&name.anchor).partition;
        let deadline = turn.request_deadline().min(self.until);
        self.number = Some(turn.ask(partition, PartitionRequest::Outcome { name }, deadline));
        Flow::Waits
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        self.number = None;
        match reply {
            PartitionReply::Outcome(OutcomeAnswer::Staging { attempt, .. }) => {
                turn.order(Order::Recover {
                    name: self.name.clone(),
                    attempt,
                    waiter: turn.job,
                });
                Flow::Waits
            }
            PartitionReply::Outcome(answer) => {
                let depends_on = match answer {
                    OutcomeAnswer::Committed { at } => at,
                    _ => Timestamp::ZERO,
                };
                self.tell(turn, Ok(ClientAnswer::Outcome(answer)), depends_on)
            }
            PartitionReply::Refused { refusal, .. } => {
                let why = format!("the outcome cannot be asked for: {refusal:?}");
                self.tell(turn, Err(RequestError::Invalid { why }), Timestamp::ZERO)
            }
            PartitionReply::Error(error) => match refused(turn, partition, error, self.until) {
                Refused::Tell(why) => self.tell(turn, Err(why), Timestamp::ZERO),
                Refused::TryAgain => self.try_again(turn),
            },
            other => unreachable!("a leader answered a question for an outcome with {other:?}"),
        }
    }

    pub(crate) fn on_unreachable(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        let why = turn.unavailable(partition, waited);
        self.tell(turn, Err(why), Timestamp::ZERO)
    }

    pub(crate) fn on_recovered(&mut self, turn: &mut Turn, end: RecoveryEnd) -> Flow {
        match end {
            RecoveryEnd::GaveUp { partition, waited } if turn.monotonic() >= self.until => {
                self.on_unreachable(turn, partition, waited)
            }
            RecoveryEnd::GaveUp { .. } => self.try_again(turn),
            RecoveryEnd::Decided(_) => self.send(turn),
        }
    }

    fn try_again(&mut self, turn: &mut Turn) -> Flow {
        self.tries += 1;
        turn.back_off(self.tries);
        Flow::Waits
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        self.send(turn)
    }

    fn tell(&mut self, turn: &mut Turn, reply: ClientReply, depends_on: Timestamp) -> Flow {
        turn.answer(self.client, reply, depends_on);
        Flow::Over
    }

    pub(crate) fn abandon(&mut self, turn: &mut Turn) {
        if let Some(number) = self.number.take() {
            turn.cancel(number);
        }
    }
}
