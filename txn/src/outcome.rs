//! What became of a commit (R10): asked of the anchor, which closes what it does not know below
//! `expires`. An attempt that may still be alive is recovered first, so there is no ambiguous answer.

use crate::ClientTag;
use crate::patient_asks::PatientAsks;
use crate::request_waiting_list::{Flow, Order, RecoveryEnd, Turn};
use clock::Timestamp;
use std::time::Duration;
use wire::ids::PartitionId;
use wire::message::{
    ClientAnswer, ClientReply, OutcomeAnswer, PartitionReply, PartitionRequest, Refusal,
    RequestError, RequestNumber, TransactionName,
};

/// A question for an outcome.
#[derive(Debug)]
pub(crate) struct AskOutcome {
    pub(crate) client: ClientTag,
    name: TransactionName,
    asks: PatientAsks<()>,
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
            asks: PatientAsks::new(turn.monotonic() + turn.list.config.timing.recovery_max),
        };
        let flow = job.send(turn);
        (job, flow)
    }

    fn send(&mut self, turn: &mut Turn) -> Flow {
        let name = self.name.clone();
        let partition = turn.map().locate(&name.anchor).partition;
        let body = PartitionRequest::Outcome { name };
        self.asks.ask(turn, partition, body, ());
        Flow::Waits
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        self.asks.take(number);
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
            PartitionReply::Refused {
                refusal: Refusal::OtherIdentity,
                ..
            } => {
                let id = self.name.id;
                self.tell(
                    turn,
                    Err(RequestError::OtherIdentity { id }),
                    Timestamp::ZERO,
                )
            }
            PartitionReply::Error(error) => {
                let refused = self.asks.refused(turn, partition, error, ());
                refused.unwrap_or_else(|why| self.tell(turn, Err(why), Timestamp::ZERO))
            }
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
            RecoveryEnd::GaveUp { partition, waited } if turn.monotonic() >= self.asks.until() => {
                self.on_unreachable(turn, partition, waited)
            }
            RecoveryEnd::GaveUp { .. } => self.asks.later(turn, ()),
            RecoveryEnd::Decided(_) => self.send(turn),
        }
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        self.asks.take_again();
        self.send(turn)
    }

    fn tell(&mut self, turn: &mut Turn, reply: ClientReply, depends_on: Timestamp) -> Flow {
        turn.answer(self.client, reply, depends_on);
        Flow::Over
    }

    pub(crate) fn abandon(&mut self, turn: &mut Turn) {
        self.asks.cancel(turn);
    }
}
