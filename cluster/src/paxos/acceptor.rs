//! The acceptor: what one founder has promised and accepted, and what it knows to be chosen.
//!
//! Its whole state is small and is logged whole. Invariants: `promised` only grows, also over a
//! change of the list; `accepted.0 <= promised`; `founded` never changes once it is there.

use crate::founding::FoundingError;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::message::{Ballot, Founding, FoundingMessage};

/// What is in the log, with room for later versions.
#[derive(Serialize, Deserialize)]
enum Stored {
    V1(Acceptor),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Acceptor {
    list: Vec<String>,
    promised: Ballot,
    accepted: Option<(Ballot, Founding)>,
    founded: Option<Founding>,
}

impl Acceptor {
    pub(super) fn new(list: Vec<String>) -> Acceptor {
        Acceptor {
            list,
            promised: Ballot::default(),
            accepted: None,
            founded: None,
        }
    }

    /// The acceptor of an earlier start, now started with `list`.
    ///
    /// One that is founded does not care for the list any more. One that accepted nothing may change
    /// it: to the old list it is from then on an acceptor that never answers again, and it keeps
    /// `promised`, so that it may even come back. One that accepted a value may not.
    pub(super) fn recover(stored: &[u8], list: &[String]) -> Result<Acceptor, FoundingError> {
        let Stored::V1(mut acceptor) = postcard::from_bytes(stored)
            .map_err(|error| FoundingError::Unreadable(error.to_string()))?;
        if acceptor.founded.is_none() && acceptor.list != list {
            if acceptor.accepted.is_some() {
                return Err(FoundingError::ListChanged {
                    recorded: acceptor.list,
                    given: list.to_vec(),
                });
            }
            acceptor.list = list.to_vec();
        }
        Ok(acceptor)
    }

    pub(super) fn encode(&self) -> Bytes {
        postcard::to_stdvec(&Stored::V1(self.clone()))
            .expect("an acceptor has only parts that postcard can write, into memory")
            .into()
    }

    pub(super) fn promised(&self) -> Ballot {
        self.promised
    }

    pub(super) fn accepted(&self) -> Option<&(Ballot, Founding)> {
        self.accepted.as_ref()
    }

    pub(super) fn founded(&self) -> Option<&Founding> {
        self.founded.as_ref()
    }

    /// Phase 1b. The same ballot again gets the same promise.
    pub(super) fn on_prepare(&mut self, ballot: Ballot) -> FoundingMessage {
        if ballot < self.promised {
            return self.outbid(ballot);
        }
        self.promised = ballot;
        FoundingMessage::Promise {
            ballot,
            accepted: self.accepted.clone(),
        }
    }

    /// Phase 2b. The same ballot again gets the same answer; with another value, which only a
    /// proposer that lost its disk can send, it is refused.
    pub(super) fn on_accept(&mut self, ballot: Ballot, value: Founding) -> FoundingMessage {
        let conflicts =
            matches!(&self.accepted, Some((at, other)) if *at == ballot && *other != value);
        if ballot < self.promised || conflicts {
            return self.outbid(ballot);
        }
        self.promised = ballot;
        self.accepted = Some((ballot, value));
        FoundingMessage::Accepted { ballot }
    }

    /// The value that a majority accepted.
    pub(super) fn on_founded(&mut self, value: Founding) {
        assert!(
            self.founded.is_none(),
            "a cluster is founded once: knows {:?}, learns {value:?}",
            self.founded
        );
        self.founded = Some(value);
    }

    fn outbid(&self, ballot: Ballot) -> FoundingMessage {
        FoundingMessage::Outbid {
            ballot,
            promised: self.promised,
        }
    }
}
