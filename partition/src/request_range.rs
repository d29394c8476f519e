//! Which keys a request is about: all of them must lie in the partition's range.

use wire::keys::{Key, KeyRange};
use wire::message::{PartitionRequest, ReadRequest};

/// Whether everything that a request names lies in a range.
pub(crate) fn lies_in(request: &PartitionRequest, range: &KeyRange) -> bool {
    let key = |key: &Key| range.contains(key);
    let part = |part: &KeyRange| {
        part.is_empty() || range.intersection(part).is_some_and(|both| both == *part)
    };
    match request {
        PartitionRequest::Read(read) => read.requests.iter().all(|request| match request {
            ReadRequest::Get { key: k } => key(k),
            ReadRequest::Scan { range, .. } => part(range),
        }),
        PartitionRequest::Lock(lock) => key(&lock.key),
        PartitionRequest::LockAll(lock) => lock.keys.iter().all(key),
        PartitionRequest::KeepLocks { keys, .. } | PartitionRequest::Unlock { keys, .. } => {
            keys.iter().all(key)
        }
        PartitionRequest::Commit(commit) => {
            key(&commit.name.anchor)
                && commit.reads.iter().all(part)
                && commit.guards.iter().all(|guard| key(&guard.key))
                && commit.operations.iter().all(|o| key(&o.key))
        }
        PartitionRequest::Prepare(prepare) => {
            (prepare.staging.is_none() || key(&prepare.name.anchor))
                && prepare.reads.iter().all(part)
                && prepare.guards.iter().all(|guard| key(&guard.key))
                && prepare.operations.iter().all(|o| key(&o.key))
                && prepare.locked_reads.iter().all(key)
        }
        PartitionRequest::Refresh(refresh) => refresh.reads.iter().all(part),
        PartitionRequest::ChangeRecord(change) => key(&change.name.anchor),
        PartitionRequest::CheckPrepared(check) => check.keys.iter().all(key),
        // Named by id alone: whoever holds a share here is asked here.
        PartitionRequest::Resolve(_) => true,
        PartitionRequest::ForgetRecord { name } | PartitionRequest::Outcome { name } => {
            key(&name.anchor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{id, key, range, ts};
    use wire::message::{Read, Refresh};

    #[test]
    fn every_key_and_span_counts() {
        let here = range("b", "m");
        let get = |user| ReadRequest::Get { key: key(user) };
        let read = |requests| {
            PartitionRequest::Read(Read {
                reader: None,
                timestamp: ts(1),
                requests,
            })
        };
        assert!(lies_in(&read(vec![get("b"), get("l")]), &here));
        assert!(!lies_in(&read(vec![get("b"), get("m")]), &here));
        let refresh = |reads| {
            PartitionRequest::Refresh(Refresh {
                reader: id(1),
                from: ts(1),
                to: ts(2),
                reads,
            })
        };
        assert!(lies_in(&refresh(vec![range("b", "m")]), &here));
        assert!(!lies_in(&refresh(vec![range("b", "n")]), &here));
        assert!(!lies_in(&refresh(vec![KeyRange::all()]), &here));
    }
}
