//! Copies of a commit, and questions for its outcome, that a client sends through other gateways beside
//! the first copy (R10); the world carries them (`world/asides.rs`).

use super::{Client, ClientEffect};
use std::time::Duration;
use wire::message::{ClientRequest, Commit};

impl Client {
    /// The same commit goes to other gateways too, at once or a little later: it counts as sent several
    /// times from now on, so refusals that are not durable are believed no more. Somebody may ask for the
    /// outcome instead, which ends the transaction unless it is committed.
    pub(super) fn send_beside(&mut self, out: &mut Vec<ClientEffect>) {
        let others = self.gateways as u64;
        let run = self
            .run
            .as_mut()
            .expect("only a running plan is sent beside");
        let commit = run.commit.as_ref().expect("a commit was made");
        let copy = ClientRequest::Commit(Commit {
            resent: true,
            ..commit.clone()
        });
        let name = commit.name.clone();
        let question = ClientRequest::Outcome { name };
        let requests = match self.random.below(6) {
            0 => vec![question],
            1 => vec![copy, question],
            2 => vec![copy.clone(), copy],
            _ => vec![copy],
        };
        for request in requests {
            let most = match self.random.below(3) {
                0 => Duration::from_millis(2),
                1 => Duration::from_millis(40),
                _ => 2 * self.timing.timeout,
            };
            if matches!(request, ClientRequest::Commit(_)) {
                run.sends += 1;
            }
            out.push(ClientEffect::Aside {
                after: Duration::from_nanos(self.random.below(most.as_nanos() as u64 + 1)),
                gateway: self.random.below(others) as usize,
                index: run.index,
                request,
            });
        }
    }
}
