//! How long a client waits, and what it asks of a gateway that is silent meanwhile (decision 0018).

use super::{Client, ClientEffect, SET_UP_PATIENCE};
use std::time::Duration;
use wire::message::ClientRequest;

impl Client {
    pub(super) fn may_ask_for_sign(&self) -> bool {
        self.timing.sign_after.is_some() && self.sign.is_none()
    }

    pub(super) fn ask_for_sign(&mut self, out: &mut Vec<ClientEffect>) {
        self.requests += 1;
        self.sign = Some(self.requests);
        out.push(ClientEffect::Send {
            number: self.requests,
            request: ClientRequest::Timestamp,
        });
        self.set_timer(2 * self.patience(), out);
    }

    /// What must be there before all else is waited for longer: giving it up gains nothing.
    pub(super) fn patience(&self) -> Duration {
        let must = self
            .run
            .as_ref()
            .is_some_and(|run| run.plan.until_committed);
        match self.timing.sign_after {
            Some(sign_after) => sign_after,
            None if must => self.timing.timeout.max(SET_UP_PATIENCE),
            None => self.timing.timeout,
        }
    }
}
