//! Whether what was read at one timestamp still holds at a later one (R5, `Refresh`).
//!
//! Twice: a coordinator whose transaction was pushed above its limit, and a client that moves the
//! snapshot of its open transaction up. Each asks all partitions that were read at once.

use crate::coordinator::{Coordinator, Failure, Intent, Phase};
use crate::patient_asks::PatientAsks;
use crate::request_waiting_list::{Flow, Turn};
use crate::{ClientTag, plan};
use clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::{PartitionId, TransactionId};
use wire::keys::KeyRange;
use wire::message::{
    AbortReason, Change, ClientAnswer, PartitionError, PartitionReply, PartitionRequest,
    RecordChange, Refresh, RequestError, RequestNumber,
};

/// A coordinator's refresh that is under way.
#[derive(Debug)]
pub(crate) struct Refreshing {
    outstanding: BTreeMap<RequestNumber, Refresh>,
    to: Timestamp,
}

impl Coordinator {
    /// Everything is prepared at most at `to`, above the limit: may it commit there?
    pub(crate) fn refresh(&mut self, turn: &mut Turn, to: Timestamp) -> Flow {
        let mut outstanding = BTreeMap::new();
        for (partition, reads) in self.plan.to_refresh(&self.commit) {
            let refresh = Refresh {
                reader: self.commit.name.id,
                from: self.r,
                to,
                reads,
            };
            let body = PartitionRequest::Refresh(refresh.clone());
            let number = turn.ask(partition, body, self.expires_at);
            outstanding.insert(number, refresh);
        }
        assert!(
            !outstanding.is_empty(),
            "a limit of {} means that something was read, but the plan has no reads",
            self.limit
        );
        self.phase = Phase::Refreshing(Refreshing { outstanding, to });
        Flow::Waits
    }

    pub(crate) fn on_refresh_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        reply: PartitionReply,
    ) -> Flow {
        let Phase::Refreshing(refreshing) = &mut self.phase else {
            return Flow::Waits;
        };
        refreshing.outstanding.remove(&number);
        match reply {
            PartitionReply::Refreshed { changed: None } => self.on_unchanged(turn),
            PartitionReply::Refreshed {
                changed: Some(Change { key, rival }),
            } => self.on_changed(turn, AbortReason::Changed { key, rival }),
            PartitionReply::Error(PartitionError::BelowHorizon { timestamp, horizon }) => {
                self.on_changed(turn, AbortReason::BelowHorizon { timestamp, horizon })
            }
            PartitionReply::Error(_) => {
                self.cancel_refresh(turn);
                self.settle(turn, Intent::Retry { with_locks: false })
            }
            other => unreachable!("a leader answered a refresh with {other:?}"),
        }
    }

    fn on_unchanged(&mut self, turn: &mut Turn) -> Flow {
        let Phase::Refreshing(refreshing) = &self.phase else {
            return Flow::Waits;
        };
        if !refreshing.outstanding.is_empty() {
            return Flow::Waits;
        }
        let to = refreshing.to;
        let intent = Intent::Retry { with_locks: false };
        if matches!(self.record, wire::message::RecordState::Staging { .. }) {
            return self.change_record(turn, RecordChange::RaiseLimit { to }, intent);
        }
        // Nothing is staged that could be raised: the explicit record alone decides.
        self.limit = to;
        self.committed(turn, to)
    }

    fn on_changed(&mut self, turn: &mut Turn, reason: AbortReason) -> Flow {
        let Phase::Refreshing(refreshing) = &self.phase else {
            return Flow::Waits;
        };
        self.failure = Some(Failure {
            reason,
            depends_on: refreshing.to,
        });
        self.cancel_refresh(turn);
        let intent = match self.is_fresh() {
            true => Intent::Retry { with_locks: false },
            false => Intent::Close,
        };
        self.settle(turn, intent)
    }

    pub(crate) fn on_refresh_unreachable(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
    ) -> Flow {
        let expired = self.has_expired(turn);
        let Phase::Refreshing(refreshing) = &mut self.phase else {
            return Flow::Waits;
        };
        let asked = refreshing.outstanding.remove(&number);
        if expired {
            self.cancel_refresh(turn);
            self.failure = Some(Failure::new(AbortReason::Expired));
            return self.settle(turn, Intent::Close);
        }
        if let Some(refresh) = asked {
            let body = PartitionRequest::Refresh(refresh.clone());
            let again = turn.ask(partition, body, self.expires_at);
            refreshing.outstanding.insert(again, refresh);
        }
        Flow::Waits
    }

    fn cancel_refresh(&mut self, turn: &mut Turn) {
        if let Phase::Refreshing(refreshing) = &mut self.phase {
            for number in std::mem::take(&mut refreshing.outstanding).into_keys() {
                turn.cancel(number);
            }
        }
    }
}

/// A client asks whether what it read holds at a new snapshot.
#[derive(Debug)]
pub(crate) struct ClientRefresh {
    pub(crate) client: ClientTag,
    id: TransactionId,
    from: Timestamp,
    to: Timestamp,
    asks: PatientAsks<Vec<KeyRange>>,
}

impl ClientRefresh {
    pub(crate) fn begin(
        turn: &mut Turn,
        client: ClientTag,
        id: TransactionId,
        from: Timestamp,
        to: Timestamp,
        reads: Vec<KeyRange>,
    ) -> (ClientRefresh, Flow) {
        let mut job = ClientRefresh {
            client,
            id,
            from,
            to,
            asks: PatientAsks::new(turn.request_deadline()),
        };
        job.send(turn, reads);
        let flow = job.maybe_finish(turn);
        (job, flow)
    }

    fn send(&mut self, turn: &mut Turn, reads: Vec<KeyRange>) {
        for (partition, reads) in plan::split(&reads, turn.map()) {
            let body = PartitionRequest::Refresh(Refresh {
                reader: self.id,
                from: self.from,
                to: self.to,
                reads: reads.clone(),
            });
            self.asks.ask(turn, partition, body, reads);
        }
    }

    fn maybe_finish(&mut self, turn: &mut Turn) -> Flow {
        if !self.asks.is_done() {
            return Flow::Waits;
        }
        self.tell(turn, Ok(None))
    }

    pub(crate) fn on_reply(
        &mut self,
        turn: &mut Turn,
        number: RequestNumber,
        partition: PartitionId,
        reply: PartitionReply,
    ) -> Flow {
        let reads = self.asks.take(number);
        match reply {
            PartitionReply::Refreshed { changed: None } => self.maybe_finish(turn),
            PartitionReply::Refreshed { changed } => self.tell(turn, Ok(changed)),
            PartitionReply::Error(error) => {
                let refused = self.asks.refused(turn, partition, error, reads);
                refused.unwrap_or_else(|why| self.tell(turn, Err(why)))
            }
            other => unreachable!("a leader answered a refresh with {other:?}"),
        }
    }

    pub(crate) fn on_unreachable(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        waited: Duration,
    ) -> Flow {
        let why = turn.unavailable(partition, waited);
        self.tell(turn, Err(why))
    }

    pub(crate) fn on_timer(&mut self, turn: &mut Turn) -> Flow {
        let again = self.asks.take_again().concat();
        self.send(turn, again);
        Flow::Waits
    }

    fn tell(&mut self, turn: &mut Turn, result: Result<Option<Change>, RequestError>) -> Flow {
        self.abandon(turn);
        // "Nothing changed" rests on versions at or below `from`, which were waited for then.
        let depends_on = match &result {
            Ok(Some(_)) => self.to,
            _ => Timestamp::ZERO,
        };
        let reply = result.map(|changed| ClientAnswer::Refreshed { changed });
        turn.answer(self.client, reply, depends_on);
        Flow::Over
    }

    pub(crate) fn abandon(&mut self, turn: &mut Turn) {
        self.asks.cancel(turn);
    }
}
