//! Which keyspaces there are, as far as this node knows (pattern Consistent Core).
//!
//! Ids of keyspaces are given in ascending order and never twice, so all that is to be known is the next one.
//! Whoever names an id at or above it is kept waiting while the row is read, through this node's own gateway:
//! rows under an id that nobody has yet would be found by whoever creates a keyspace with it later.
//!
//! The row is read once when the node has started, so that as a rule nobody waits: whoever does depends on the
//! partition of the row, though it asked for another one.
//!
//! Invariant: a request is refused by a read only that was begun after the request came. One that was under way
//! may have seen the moment before another client created the keyspace.

use cluster::consistent_core::keyspace_next_key;
use std::time::Duration;
use txn::ClientTag;
use wire::ids::KeyspaceId;
use wire::keys::{DEFAULT_KEYSPACE, KEY_BYTES_MAX, Key, KeyRange, TRANSACTION_BYTES_MAX};
use wire::message::{
    ClientAnswer, ClientReply, ClientRequest, OperationKind, ReadRequest, ReadResult, RequestError,
    Snapshot,
};

/// The numbers of these reads on the node's own connection begin here; others do not lie above it and below
/// [`NUMBERS_END`].
const FIRST_NUMBER: u64 = 1 << 62;
pub(crate) const NUMBERS_END: u64 = 1 << 63;
/// So many requests wait at a time; one more is to be sent again.
const WAITING_MAX: usize = 1_000;
/// So many bytes of them; one more is to be sent again.
const WAITING_BYTES_MAX: usize = TRANSACTION_BYTES_MAX;
/// The first read, if it failed, is made again after this.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// When it is to be sent again, milliseconds.
const RETRY_MS: u32 = 50;

/// A request that names a keyspace of which this node does not know.
#[derive(Debug)]
struct Waiting {
    client: ClientTag,
    request: ClientRequest,
    keyspace: KeyspaceId,
    came: u64,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Judged {
    /// Its keyspaces exist.
    GoesOn(ClientTag, ClientRequest),
    /// One of them does not, or it could not be learned.
    Refused(ClientTag, RequestError),
}

#[derive(Debug)]
pub(crate) struct Keyspaces {
    /// The next id that is given, when it was read last. It only rises.
    next: KeyspaceId,
    /// The row was read once.
    is_read: bool,
    due_at: Duration,
    waiting: Vec<Waiting>,
    /// Requests that came so far.
    came: u64,
    /// The read under way: its number, and how many requests had come when it began.
    under_way: Option<(u64, u64)>,
    next_number: u64,
}

impl Default for Keyspaces {
    fn default() -> Keyspaces {
        Keyspaces {
            next: KeyspaceId(DEFAULT_KEYSPACE.0 + 1),
            is_read: false,
            due_at: Duration::ZERO,
            waiting: Vec::new(),
            came: 0,
            under_way: None,
            next_number: FIRST_NUMBER,
        }
    }
}

impl Keyspaces {
    /// Takes a request; gives it back unless it has to wait.
    pub(crate) fn on_request(
        &mut self,
        client: ClientTag,
        request: ClientRequest,
    ) -> Option<Judged> {
        let keyspace = greatest(&request);
        if keyspace < self.next {
            return Some(Judged::GoesOn(client, request));
        }
        let bytes: usize = self
            .waiting
            .iter()
            .map(|waiting| size(&waiting.request))
            .sum();
        if self.waiting.len() >= WAITING_MAX || bytes + size(&request) > WAITING_BYTES_MAX {
            let error = RequestError::Overloaded { retry_ms: RETRY_MS };
            return Some(Judged::Refused(client, error));
        }
        self.came += 1;
        self.waiting.push(Waiting {
            client,
            request,
            keyspace,
            came: self.came,
        });
        None
    }

    /// The read that is due now, with its number.
    pub(crate) fn due(&mut self, now: Duration) -> Option<(u64, ClientRequest)> {
        let is_first = !self.is_read && self.due_at <= now;
        if self.under_way.is_some() || (self.waiting.is_empty() && !is_first) {
            return None;
        }
        self.due_at = now + READ_AGAIN_AFTER;
        let number = self.next_number;
        self.next_number += 1;
        self.under_way = Some((number, self.came));
        let request = ClientRequest::Read {
            reader: None,
            snapshot: Snapshot::Fresh,
            requests: vec![ReadRequest::Get {
                key: keyspace_next_key(),
            }],
        };
        Some((number, request))
    }

    /// Whether an answer on the node's own connection is to a read of these.
    pub(crate) fn has_asked(number: u64) -> bool {
        (FIRST_NUMBER..NUMBERS_END).contains(&number)
    }

    /// Takes an answer; gives what it decides.
    pub(crate) fn on_reply(&mut self, number: u64, reply: ClientReply) -> Vec<Judged> {
        let Some((_, came)) = self.under_way.take_if(|(asked, _)| *asked == number) else {
            return Vec::new();
        };
        let error = match reply {
            Ok(ClientAnswer::Read { results, .. }) => self.learn(&results).err(),
            Ok(other) => unreachable!("a read is not answered with {other:?}"),
            Err(error) => Some(error),
        };
        let next = self.next;
        let is_judged = |waiting: &mut Waiting| waiting.keyspace < next || waiting.came <= came;
        let judged = self.waiting.extract_if(.., is_judged);
        let judged = judged.map(|waiting| {
            let Waiting {
                client,
                request,
                keyspace,
                ..
            } = waiting;
            match &error {
                _ if keyspace < next => Judged::GoesOn(client, request),
                Some(error) => Judged::Refused(client, error.clone()),
                None => Judged::Refused(client, RequestError::NoSuchKeyspace { id: keyspace }),
            }
        });
        judged.collect()
    }

    fn learn(&mut self, results: &[ReadResult]) -> Result<(), RequestError> {
        let row = match results {
            [ReadResult::Value(None)] => {
                self.is_read = true;
                return Ok(());
            }
            [ReadResult::Value(Some(row))] => row,
            other => unreachable!("one key was asked for, not {other:?}"),
        };
        let text = std::str::from_utf8(&row.value).ok();
        let Some(next) = text.and_then(|text| text.parse().ok()) else {
            let why = format!(
                "the cluster's row of the next keyspace holds '{}', which is no number",
                row.value.escape_ascii()
            );
            return Err(RequestError::Invalid { why });
        };
        self.next = self.next.max(KeyspaceId(next));
        self.is_read = true;
        Ok(())
    }

    /// Nobody waits for an answer to these any more. Of a commit nothing has begun here; if it was begun
    /// elsewhere, it is ended there.
    pub(crate) fn on_client_gone(&mut self, connection: u64) {
        self.waiting
            .retain(|waiting| waiting.client.connection != connection);
    }
}

/// The size of what a request holds, bytes.
fn size(request: &ClientRequest) -> usize {
    match request {
        ClientRequest::Read { requests, .. } => requests.len() * KEY_BYTES_MAX,
        ClientRequest::Commit(commit) => {
            let guards = commit.guards.len() * KEY_BYTES_MAX;
            let operations = commit.operations.iter().map(|operation| {
                let value = match &operation.kind {
                    OperationKind::Put(value) | OperationKind::Append(value) => value.len(),
                    _ => 0,
                };
                operation.key.bytes().len() + value
            });
            guards + operations.sum::<usize>()
        }
        _ => 0,
    }
}

/// The greatest keyspace that a request reads or writes. What only locks writes nothing, and its commit is
/// looked at.
fn greatest(request: &ClientRequest) -> KeyspaceId {
    let of = |key: &Key| key.keyspace().unwrap_or_default();
    // A range that is to be read ends where its keyspace ends, which is a key of the next one.
    let of_range = |range: &KeyRange| of(&range.start);
    let all = match request {
        ClientRequest::Read { requests, .. } => requests
            .iter()
            .map(|request| match request {
                ReadRequest::Get { key } => of(key),
                ReadRequest::Scan { range, .. } => of_range(range),
            })
            .max(),
        ClientRequest::Commit(commit) => {
            let written = commit.operations.iter().map(|operation| of(&operation.key));
            let guarded = commit.guards.iter().map(|guard| of(&guard.key));
            written.chain(guarded).max()
        }
        _ => None,
    };
    all.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Timestamp;
    use wire::message::VersionedValue;

    fn get(number: u64, keyspace: u32) -> (ClientTag, ClientRequest) {
        let client = ClientTag {
            connection: 1,
            number,
        };
        let request = ClientRequest::Read {
            reader: None,
            snapshot: Snapshot::Fresh,
            requests: vec![ReadRequest::Get {
                key: Key::new(KeyspaceId(keyspace), b"k"),
            }],
        };
        (client, request)
    }

    fn ask(keyspaces: &mut Keyspaces, number: u64, keyspace: u32) -> Option<String> {
        let (client, request) = get(number, keyspace);
        keyspaces.on_request(client, request).as_ref().map(told)
    }

    fn told(judged: &Judged) -> String {
        match judged {
            Judged::GoesOn(client, _) => format!("{} goes on", client.number),
            Judged::Refused(client, why) => format!("{}: {why}", client.number),
        }
    }

    fn read(keyspaces: &mut Keyspaces) -> u64 {
        let (number, _) = keyspaces.due(Duration::ZERO).expect("it is due");
        assert!(Keyspaces::has_asked(number));
        assert!(keyspaces.due(Duration::ZERO).is_none(), "one at a time");
        number
    }

    fn next_is(keyspaces: &mut Keyspaces, number: u64, next: Option<&'static str>) -> Vec<String> {
        let row = next.map(|next| VersionedValue {
            timestamp: Timestamp::ZERO,
            value: next.into(),
        });
        let answer = ClientAnswer::Read {
            at: Timestamp::ZERO,
            results: vec![ReadResult::Value(row)],
        };
        let judged = keyspaces.on_reply(number, Ok(answer));
        judged.iter().map(told).collect()
    }

    const UNKNOWN: &str = "there is no keyspace with the id";

    #[test]
    fn an_id_that_is_not_known_waits_for_a_read_and_is_known_from_then_on() {
        let mut keyspaces = Keyspaces::default();
        assert_eq!(ask(&mut keyspaces, 1, 0).as_deref(), Some("1 goes on"));
        assert_eq!(ask(&mut keyspaces, 2, 1).as_deref(), Some("2 goes on"));
        let first = read(&mut keyspaces);
        assert_eq!(next_is(&mut keyspaces, first, None), [""; 0]);
        assert!(keyspaces.due(READ_AGAIN_AFTER).is_none(), "nobody waits");
        assert_eq!(ask(&mut keyspaces, 3, 2), None);
        assert_eq!(ask(&mut keyspaces, 4, 3), None);
        let number = read(&mut keyspaces);
        let judged = next_is(&mut keyspaces, number, Some("3"));
        assert_eq!(judged.len(), 2);
        assert_eq!(judged[0], "3 goes on");
        assert!(
            judged[1].starts_with(&format!("4: {UNKNOWN} 3")),
            "{judged:?}"
        );
        assert_eq!(ask(&mut keyspaces, 5, 2).as_deref(), Some("5 goes on"));
    }

    #[test]
    fn a_read_that_was_under_way_refuses_nobody() {
        let mut keyspaces = Keyspaces::default();
        assert_eq!(ask(&mut keyspaces, 1, 7), None);
        let first = read(&mut keyspaces);
        assert_eq!(ask(&mut keyspaces, 2, 2), None);
        let judged = next_is(&mut keyspaces, first, None);
        assert_eq!(judged.len(), 1, "{judged:?}");
        assert!(
            judged[0].starts_with(&format!("1: {UNKNOWN} 7")),
            "{judged:?}"
        );
        let second = read(&mut keyspaces);
        assert_eq!(next_is(&mut keyspaces, first, Some("9")), [""; 0], "late");
        assert_eq!(next_is(&mut keyspaces, second, Some("3")), ["2 goes on"]);
    }

    #[test]
    fn a_read_that_fails_is_told_and_too_many_are_sent_away() {
        let mut keyspaces = Keyspaces::default();
        for number in 0..WAITING_MAX as u64 {
            assert_eq!(ask(&mut keyspaces, number, 2), None);
        }
        let full = ask(&mut keyspaces, 5_000, 2).expect("it is sent away");
        assert!(
            full.starts_with("5000: the node has too many requests"),
            "{full}"
        );
        let number = read(&mut keyspaces);
        let error = RequestError::Overloaded { retry_ms: 1 };
        let judged = keyspaces.on_reply(number, Err(error));
        assert_eq!(judged.len(), WAITING_MAX);
        assert!(
            keyspaces.due(Duration::ZERO).is_none(),
            "nobody waits any more"
        );
        assert!(
            keyspaces.due(READ_AGAIN_AFTER).is_some(),
            "the first read failed"
        );
        assert_eq!(ask(&mut keyspaces, 6_000, 2), None);
        keyspaces.on_client_gone(1);
        assert!(keyspaces.waiting.is_empty(), "who is gone does not wait");
    }
}
