//! Requests to partitions that leave nothing durable, asked again until they are served or time is up.
//!
//! Problem: reads, locks, refreshes and questions for an outcome each have several partitions to ask at
//! once, and any of these may answer that the map has moved or the leader changed. Waiting, backing off,
//! asking again by the map as it then is, and giving up are the same for all of them.
//!
//! Invariants:
//! - what was asked for is out, or waits for the next try, or was answered;
//! - every request has a deadline, at the latest the one of the whole work;
//! - after a cancellation nothing is out and nothing waits.

use crate::limits::RETRY_MS;
use crate::request_waiting_list::{Flow, Turn};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::PartitionId;
use wire::message::{PartitionError, PartitionRequest, RequestError, RequestNumber};

/// What one piece of work has asked; each request stands for a `T`, of which the next try is made.
#[derive(Debug)]
pub(crate) struct PatientAsks<T> {
    outstanding: BTreeMap<RequestNumber, T>,
    again: Vec<T>,
    tries: u32,
    until: Duration,
}

impl<T> PatientAsks<T> {
    /// Nothing is asked yet; nothing will be out at `until`, on the monotonic clock.
    pub(crate) fn new(until: Duration) -> PatientAsks<T> {
        PatientAsks {
            outstanding: BTreeMap::new(),
            again: Vec::new(),
            tries: 0,
            until,
        }
    }

    /// Until when is asked.
    pub(crate) fn until(&self) -> Duration {
        self.until
    }

    pub(crate) fn ask(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        body: PartitionRequest,
        what: T,
    ) {
        let deadline = turn.request_deadline().min(self.until);
        let number = turn.ask(partition, body, deadline);
        self.outstanding.insert(number, what);
    }

    /// An answer came: what was asked for by that request.
    pub(crate) fn take(&mut self, number: RequestNumber) -> T {
        let taken = self.outstanding.remove(&number);
        taken.expect("an answer is only given to who waits for it")
    }

    /// Whether everything is answered.
    pub(crate) fn is_done(&self) -> bool {
        self.outstanding.is_empty() && self.again.is_empty()
    }

    /// A leader did not serve a request: another try after a while, or what the client is told.
    pub(crate) fn refused(
        &mut self,
        turn: &mut Turn,
        partition: PartitionId,
        error: PartitionError,
        what: T,
    ) -> Result<Flow, RequestError> {
        Err(match error {
            PartitionError::TooFarAhead { timestamp, latest } => {
                RequestError::TooFarAhead { timestamp, latest }
            }
            PartitionError::BelowHorizon { timestamp, horizon } => {
                RequestError::BelowHorizon { timestamp, horizon }
            }
            PartitionError::LockWait { key, rival } => RequestError::LockWait { key, rival },
            PartitionError::HotKey { key, waiting } => RequestError::HotKey { key, waiting },
            PartitionError::ReadTooLarge { key } => RequestError::ReadTooLarge { key },
            PartitionError::Overloaded { .. } => RequestError::Overloaded { retry_ms: RETRY_MS },
            PartitionError::NotLeader { .. }
            | PartitionError::LeadershipLost { .. }
            | PartitionError::WrongRange { .. }
                if turn.monotonic() < self.until =>
            {
                return Ok(self.later(turn, what));
            }
            PartitionError::NotLeader { .. }
            | PartitionError::LeadershipLost { .. }
            | PartitionError::WrongRange { .. } => {
                turn.unavailable(partition, turn.list.config.timing.request_max)
            }
        })
    }

    /// Asks for it again after a while, by the map as it then is.
    pub(crate) fn later(&mut self, turn: &mut Turn, what: T) -> Flow {
        self.again.push(what);
        self.tries += 1;
        turn.back_off(self.tries);
        Flow::Waits
    }

    /// The timer came: what is to be asked for again.
    pub(crate) fn take_again(&mut self) -> Vec<T> {
        std::mem::take(&mut self.again)
    }

    /// Wants no answer any more.
    pub(crate) fn cancel(&mut self, turn: &mut Turn) {
        self.again.clear();
        for number in std::mem::take(&mut self.outstanding).into_keys() {
            turn.cancel(number);
        }
    }
}
