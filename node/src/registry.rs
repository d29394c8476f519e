//! What a node writes into the consistent core by itself, as an ordinary transaction of its own
//! gateway: the founding's first rows, once, and its own address, at every start.

use bytes::Bytes;
use clock::Now;
use std::time::Duration;
use wire::SplitMix64;
use wire::ids::TransactionId;
use wire::keys::Key;
use wire::message::{
    ClientAnswer, ClientReply, ClientRequest, Commit, Condition, Guard, Operation, OperationKind,
    Snapshot, TransactionName,
};

/// The connection number of the node's own requests; no driver uses it.
pub(crate) const OWN_CONNECTION: u64 = 0;
/// A duty that failed is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long one try may take.
const EXPIRES_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Duty {
    guards: Vec<Guard>,
    operations: Vec<Operation>,
    under_way: Option<u64>,
    due_at: Duration,
}

/// The duties that are not done yet.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    duties: Vec<Duty>,
    next_number: u64,
}

impl Registry {
    /// Writes rows unless the first of them is there already.
    pub(crate) fn write_once(&mut self, rows: Vec<(Key, Bytes)>, now: Duration) {
        let Some((first, _)) = rows.first() else {
            return;
        };
        let guards = vec![Guard {
            key: first.clone(),
            condition: Condition::Absent,
        }];
        self.add(guards, rows, now);
    }

    /// Writes rows, whatever is there.
    pub(crate) fn write(&mut self, rows: Vec<(Key, Bytes)>, now: Duration) {
        self.add(Vec::new(), rows, now);
    }

    fn add(&mut self, guards: Vec<Guard>, rows: Vec<(Key, Bytes)>, now: Duration) {
        let operations = rows
            .into_iter()
            .map(|(key, value)| Operation {
                key,
                kind: OperationKind::Put(value),
            })
            .collect();
        self.duties.push(Duty {
            guards,
            operations,
            under_way: None,
            due_at: now,
        });
    }

    /// The commits that are due now, each with its number on [`OWN_CONNECTION`].
    pub(crate) fn due(&mut self, now: &Now, random: &mut SplitMix64) -> Vec<(u64, ClientRequest)> {
        let mut requests = Vec::new();
        for duty in &mut self.duties {
            if duty.under_way.is_some() || duty.due_at > now.monotonic {
                continue;
            }
            self.next_number += 1;
            duty.under_way = Some(self.next_number);
            let id = TransactionId {
                time: now.latest(),
                random: random.next_u64(),
            };
            let name = TransactionName {
                id,
                expires: now.latest().plus(EXPIRES_AFTER),
                anchor: duty.operations[0].key.clone(),
            };
            let commit = Commit {
                name,
                age: id,
                snapshot: Snapshot::Fresh,
                reads: Vec::new(),
                guards: duty.guards.clone(),
                operations: duty.operations.clone(),
                locked: Vec::new(),
                resent: false,
            };
            requests.push((self.next_number, ClientRequest::Commit(commit)));
        }
        requests
    }

    /// The answer to one of them. A guard that does not hold means that another node was first.
    pub(crate) fn on_reply(&mut self, number: u64, reply: &ClientReply, now: Duration) {
        let done = match reply {
            Ok(ClientAnswer::Committed(_)) => true,
            Ok(ClientAnswer::Aborted(aborted)) => {
                matches!(aborted.reason, wire::message::AbortReason::Guard { .. })
            }
            Ok(_) | Err(_) => false,
        };
        if done {
            self.duties.retain(|duty| duty.under_way != Some(number));
            return;
        }
        tracing::debug!(
            ?reply,
            "writing to the consistent core failed; it is tried again"
        );
        for duty in self
            .duties
            .iter_mut()
            .filter(|duty| duty.under_way == Some(number))
        {
            duty.under_way = None;
            duty.due_at = now + RETRY_AFTER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::keys::SYSTEM_KEYSPACE;
    use wire::message::{AbortReason, Aborted, RequestError};

    fn now(millis: u64) -> Now {
        let time = Duration::from_millis(millis);
        Now {
            monotonic: time,
            physical: time,
            bound: Some(Duration::ZERO),
        }
    }

    #[test]
    fn a_duty_is_tried_until_it_is_done_or_somebody_else_did_it() {
        let mut registry = Registry::default();
        let mut random = SplitMix64::new(1);
        let key = Key::new(SYSTEM_KEYSPACE, b"node/1");
        registry.write_once(
            vec![(key.clone(), Bytes::from_static(b"a"))],
            Duration::ZERO,
        );
        let first = registry.due(&now(0), &mut random);
        assert_eq!(first.len(), 1);
        assert!(
            registry.due(&now(0), &mut random).is_empty(),
            "one try at a time"
        );
        let failed = Err(RequestError::Overloaded { retry_ms: 1 });
        registry.on_reply(first[0].0, &failed, Duration::ZERO);
        assert!(registry.due(&now(999), &mut random).is_empty());
        let second = registry.due(&now(1_000), &mut random);
        assert_eq!(second.len(), 1);
        let reason = AbortReason::Guard { key, found: None };
        let guarded = Ok(ClientAnswer::Aborted(Aborted {
            reason,
            durable: false,
        }));
        registry.on_reply(second[0].0, &guarded, Duration::from_secs(1));
        assert!(registry.due(&now(60_000), &mut random).is_empty());
    }
}
