//! A commit that the program sends itself, over gateways that it names.
//!
//! [`OneShot::commit`](super::OneShot::commit) sends a commit until its outcome is known. Whoever needs to
//! choose the gateways (a proxy that keeps a queue of its own, or a test that sends one commit over two
//! gateways at once) holds it instead and sends it as often as it likes: it takes effect once (R10).
//!
//! Invariants:
//! - every send but the first is marked as sent before, so a refusal of it is durable before it is told;
//! - of a refusal that is not durable nothing follows, for another send may yet succeed.

use super::io::send_once;
use super::{Client, Error};
use crate::message::{
    AbortReason, ClientAnswer, ClientReply, ClientRequest, Commit, TransactionName,
};
use clock::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};

/// What one send was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// It is committed.
    Committed(Timestamp),
    /// It is not committed and never will be, however often it is sent.
    Aborted(AbortReason),
    /// Nothing definite, and why: send it again, or ask [`Client::outcome`].
    Unknown(String),
}

/// A commit to be sent.
pub struct HeldCommit {
    client: Client,
    commit: Commit,
    was_sent: AtomicBool,
}

impl HeldCommit {
    pub(super) fn new(client: Client, commit: Commit) -> HeldCommit {
        HeldCommit {
            client,
            commit,
            was_sent: AtomicBool::new(false),
        }
    }

    /// The name under which its outcome can be asked for.
    pub fn name(&self) -> &TransactionName {
        &self.commit.name
    }

    /// Sends it over the gateway at this address, once. May be called while other sends are under way; may
    /// be dropped, and then what became of that send is not known.
    pub async fn send(&self, gateway: &str) -> Told {
        let mut commit = self.commit.clone();
        commit.resent = self.was_sent.swap(true, Ordering::Relaxed);
        let request = ClientRequest::Commit(commit);
        let answer = send_once(&self.client.pool, &gateway.into(), &request).await;
        answer.map_or_else(
            |unanswered| Told::Unknown(unanswered.why().to_owned()),
            told,
        )
    }

    /// Where it may be sent: every node that the client knows, the leader of its anchor first.
    pub fn gateways(&self) -> Vec<String> {
        let all = self.client.pool.gateways_to(&self.commit.name.anchor);
        all.iter().map(ToString::to_string).collect()
    }
}

fn told(reply: ClientReply) -> Told {
    match reply {
        Ok(ClientAnswer::Committed(committed)) => Told::Committed(committed.at),
        Ok(ClientAnswer::Aborted(aborted)) if aborted.durable => Told::Aborted(aborted.reason),
        Ok(ClientAnswer::Aborted(aborted)) => {
            Told::Unknown(format!("refused, but not durably: {}", aborted.reason))
        }
        Ok(_) => Told::Unknown("the answer is none to a commit".into()),
        Err(error) => Told::Unknown(Error::from(error).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Aborted, RequestError};

    #[test]
    fn only_what_is_durable_is_definite() {
        let refused = |durable| {
            let reason = AbortReason::Expired;
            told(Ok(ClientAnswer::Aborted(Aborted { reason, durable })))
        };
        assert_eq!(refused(true), Told::Aborted(AbortReason::Expired));
        assert!(matches!(refused(false), Told::Unknown(why) if why.starts_with("refused")));
        let busy = told(Err(RequestError::Overloaded { retry_ms: 1 }));
        assert!(matches!(busy, Told::Unknown(why) if why.contains("too many requests")));
    }
}
