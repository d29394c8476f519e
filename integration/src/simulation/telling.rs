//! Messages in few words, for people who read a trace: who is meant, which attempt, which keys, which
//! timestamps. What is seldom looked at is clipped.
//!
//! Timestamps are told as seconds of virtual time (`@1.250000+0`), transactions by six digits of their id.

use super::clocks::START_OF_TIME;
use clock::Timestamp;
use std::fmt::{Debug, Display};
use wire::ids::{Attempt, PartitionId, TransactionId};
use wire::keys::{Key, KeyRange};
use wire::message::{
    ChangeRecord, Checked, ClientAnswer, ClientReply, ClientRequest, Decision, Guard, Operation,
    OperationKind, OutcomeAnswer, PartitionReply, PartitionRequest, PeerMessage, ReadRequest,
    ReadResult, RecordChange, RecordState, ReplicationMessage, Resolve, Snapshot, TransactionName,
};

/// So many characters of what has no words of its own.
const CLIPPED_AT: usize = 160;

/// Anything, clipped.
pub(super) fn clipped(what: &dyn Debug) -> String {
    let text = format!("{what:?}");
    match text.char_indices().nth(CLIPPED_AT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A message between nodes, and the partition that it names.
pub(super) fn peer(message: &PeerMessage) -> (Option<PartitionId>, String) {
    match message {
        PeerMessage::Request {
            number,
            partition,
            body,
            ..
        } => (
            Some(*partition),
            format!("#{} {}", number.0, partition_request(body)),
        ),
        PeerMessage::Reply { number, body } => {
            (None, format!("#{} {}", number.0, partition_reply(body)))
        }
        PeerMessage::Replication { partition, message } => (Some(*partition), replication(message)),
        PeerMessage::Heartbeat(heartbeat) => {
            let leading = heartbeat.leading.iter().map(|leading| leading.partition);
            (
                None,
                format!(
                    "heartbeat {}, promise {}, leads {}",
                    heartbeat.sequence,
                    at(heartbeat.promise),
                    list(leading)
                ),
            )
        }
        PeerMessage::HeartbeatReply(reply) => (
            None,
            format!(
                "heartbeat {} acknowledged to {}, later terms {:?}",
                reply.sequence,
                at(reply.acknowledged),
                reply.later
            ),
        ),
        PeerMessage::AskCoordinator {
            number,
            name,
            attempt,
        } => (
            None,
            format!(
                "#{} is {} {} at work?",
                number.0,
                tx(name.id),
                of_attempt(attempt)
            ),
        ),
        PeerMessage::CoordinatorState { number, state } => {
            (None, format!("#{} it is {state:?}", number.0))
        }
        PeerMessage::LockLost(lost) => (
            None,
            format!("{} lost its locks on {}", tx(lost.id), list(&lost.keys)),
        ),
        PeerMessage::Cancel { number, partition } => {
            (Some(*partition), format!("#{} no longer wanted", number.0))
        }
        PeerMessage::ClockProbe { .. } | PeerMessage::ClockReading(_) => (None, clipped(message)),
    }
}

fn partition_request(request: &PartitionRequest) -> String {
    match request {
        PartitionRequest::Read(read) => {
            format!("read at {}: {}", at(read.timestamp), reads(&read.requests))
        }
        PartitionRequest::Lock(lock) => format!("lock {} for {}", lock.key, tx(lock.id)),
        PartitionRequest::LockAll(lock) => format!("lock {} for {}", list(&lock.keys), tx(lock.id)),
        PartitionRequest::KeepLocks { id, keys } => {
            format!("keep the locks of {} on {}", tx(*id), list(keys))
        }
        PartitionRequest::Unlock { id, keys } => {
            format!("unlock {} of {}", list(keys), tx(*id))
        }
        PartitionRequest::Commit(commit) => format!(
            "commit {} {} r {}{}",
            tx(commit.name.id),
            of_attempt(&commit.attempt),
            at(commit.timestamp),
            writes(&commit.operations, &commit.guards, &commit.reads)
        ),
        PartitionRequest::Prepare(prepare) => {
            let staging = prepare
                .staging
                .as_ref()
                .map_or(String::new(), |(limit, _)| {
                    format!(", staging with limit {}", at(*limit))
                });
            format!(
                "prepare {} {} r {}{staging}{}",
                tx(prepare.name.id),
                of_attempt(&prepare.attempt),
                at(prepare.timestamp),
                writes(&prepare.operations, &prepare.guards, &prepare.reads)
            )
        }
        PartitionRequest::Refresh(refresh) => format!(
            "refresh {} from {} to {}: {}",
            tx(refresh.reader),
            at(refresh.from),
            at(refresh.to),
            list(refresh.reads.iter().map(range))
        ),
        PartitionRequest::ChangeRecord(change) => change_record(change),
        PartitionRequest::CheckPrepared(check) => format!(
            "is {} {} prepared on {}?",
            tx(check.name.id),
            of_attempt(&check.attempt),
            list(&check.keys)
        ),
        PartitionRequest::Resolve(Resolve {
            name,
            attempt,
            decision,
        }) => format!(
            "resolve {} {} {}",
            tx(name.id),
            of_attempt(attempt),
            decided(decision)
        ),
        PartitionRequest::ForgetRecord { name } => format!("forget the record of {}", tx(name.id)),
        PartitionRequest::Outcome { name } => format!("what became of {}?", tx(name.id)),
    }
}

fn change_record(change: &ChangeRecord) -> String {
    let id = tx(change.name.id);
    let expected = state(&change.expected);
    match &change.change {
        RecordChange::None => format!("what says the record of {id}?"),
        RecordChange::Abort { attempt } => {
            format!(
                "record of {id}: {expected} → aborted {}",
                of_attempt(attempt)
            )
        }
        RecordChange::Close => format!("record of {id}: {expected} → closed"),
        RecordChange::Commit { at: c } => {
            format!("record of {id}: {expected} → committed {}", at(*c))
        }
        RecordChange::RaiseLimit { to } => {
            format!("record of {id}: {expected} → limit {}", at(*to))
        }
    }
}

fn state(state: &RecordState) -> String {
    match state {
        RecordState::Missing => "missing".to_owned(),
        RecordState::Staging { attempt, limit } => {
            format!("staging {} limit {}", of_attempt(attempt), at(*limit))
        }
        RecordState::Aborted { attempt } => format!("aborted {}", of_attempt(attempt)),
        RecordState::Closed => "closed".to_owned(),
        RecordState::Committed { at: c } => format!("committed {}", at(*c)),
    }
}

fn decided(decision: &Decision) -> String {
    match decision {
        Decision::Committed(c) => format!("committed {}", at(*c)),
        Decision::Aborted => "aborted".to_owned(),
    }
}

fn partition_reply(reply: &PartitionReply) -> String {
    match reply {
        PartitionReply::Read(answer) => format!(
            "found {}, depends on {}",
            results(&answer.results),
            at(answer.depends_on)
        ),
        PartitionReply::Committed { at: c, .. } => format!("committed {}", at(*c)),
        PartitionReply::Unchanged { at: c } => format!("nothing to change, holds at {}", at(*c)),
        PartitionReply::Prepared(prepared) => format!(
            "prepared at {} under {}{}",
            at(prepared.timestamp),
            of_attempt(&prepared.attempt),
            prepared
                .limit
                .map_or(String::new(), |limit| format!(", limit {}", at(limit)))
        ),
        PartitionReply::Refused {
            refusal, durable, ..
        } => {
            let durable = if *durable { " durably" } else { "" };
            format!("refused{durable}: {}", clipped(refusal))
        }
        PartitionReply::OtherCoordinator { attempt } => {
            format!("found under another coordinator: {}", of_attempt(attempt))
        }
        PartitionReply::Record(answer) => {
            let changed = if answer.changed { "is now" } else { "is" };
            format!("the record {changed} {}", state(&answer.state))
        }
        PartitionReply::Checked(Checked::Prepared(p)) => format!("prepared at {}", at(*p)),
        PartitionReply::Checked(Checked::Refused) => "not prepared, and never will be".to_owned(),
        PartitionReply::Checked(Checked::Ended(decision)) => {
            format!("ended: {}", decided(decision))
        }
        PartitionReply::Outcome(answer) => outcome(answer),
        PartitionReply::Error(error) => format!("not served: {error}"),
        other => clipped(other),
    }
}

fn outcome(answer: &OutcomeAnswer) -> String {
    match answer {
        OutcomeAnswer::Committed { at: c } => format!("it is committed {}", at(*c)),
        OutcomeAnswer::Aborted => "it is aborted for good".to_owned(),
        other => clipped(other),
    }
}

fn replication(message: &ReplicationMessage) -> String {
    match message {
        ReplicationMessage::PreVote { term, last } => format!("pre-vote {term}, log to {last:?}"),
        ReplicationMessage::Vote { term, last } => format!("vote {term}, log to {last:?}"),
        ReplicationMessage::VoteReply {
            term,
            granted,
            promised,
        } => format!("vote {term} given: {granted}, promised {}", at(*promised)),
        ReplicationMessage::Append {
            term,
            previous,
            entries,
            commit,
        } => {
            let entries = match (entries.first(), entries.last()) {
                (Some(first), Some(last)) => format!("entries {} to {}", first.index, last.index),
                _ => "no entries".to_owned(),
            };
            format!(
                "append {term}: {entries} after {}, commit {commit}",
                previous.index
            )
        }
        ReplicationMessage::Appended { term, matched } => format!("appended {term} to {matched}"),
        ReplicationMessage::HandOver { term, high_water } => {
            format!("hand over {term}, high water {}", at(*high_water))
        }
        ReplicationMessage::Snapshot {
            term,
            number,
            chunk,
        } => format!(
            "snapshot {number} of {term}, chunk {}{}, {} bytes, up to {}",
            chunk.sequence,
            if chunk.is_last { ", the last" } else { "" },
            chunk.body.len(),
            chunk.position.index
        ),
        other => clipped(other),
    }
}

/// What a client asks.
pub(super) fn client_request(request: &ClientRequest) -> String {
    match request {
        ClientRequest::Read {
            snapshot, requests, ..
        } => format!("read {}: {}", snapshot_of(snapshot), reads(requests)),
        ClientRequest::Lock {
            id, snapshot, key, ..
        } => format!("lock {key} for {}, {}", tx(*id), snapshot_of(snapshot)),
        ClientRequest::Refresh { id, from, to, .. } => {
            format!("refresh {} from {} to {}", tx(*id), at(*from), at(*to))
        }
        ClientRequest::Rollback { id, keys } => format!("rollback {}: {}", tx(*id), list(keys)),
        ClientRequest::Commit(commit) => format!(
            "{} {}, {}, expires {}{}",
            if commit.resent {
                "commit again"
            } else {
                "commit"
            },
            tx(commit.name.id),
            snapshot_of(&commit.snapshot),
            at(commit.name.expires),
            writes(&commit.operations, &commit.guards, &commit.reads)
        ),
        ClientRequest::Outcome { name } => format!("what became of {}?", named(name)),
        other => clipped(other),
    }
}

/// What a client is told.
pub(super) fn client_reply(reply: &ClientReply) -> String {
    match reply {
        Ok(ClientAnswer::Read {
            at: r,
            results: all,
        }) => {
            format!("found at {}: {}", at(*r), results(all))
        }
        Ok(ClientAnswer::Locked { at: r, locked }) => {
            format!("locked at {}, newest {}", at(*r), at(locked.newest))
        }
        Ok(ClientAnswer::Committed(committed)) => format!(
            "committed {} in {} partitions, {} attempts",
            at(committed.at),
            committed.partitions,
            committed.attempts
        ),
        Ok(ClientAnswer::Aborted(aborted)) => {
            let durable = if aborted.durable { " durably" } else { "" };
            format!("aborted{durable}: {}", aborted.reason)
        }
        Ok(ClientAnswer::Outcome(answer)) => outcome(answer),
        Ok(other) => clipped(other),
        Err(error) => format!("not served: {error}"),
    }
}

fn named(name: &TransactionName) -> String {
    format!("{} at {}", tx(name.id), name.anchor)
}

fn snapshot_of(snapshot: &Snapshot) -> String {
    match snapshot {
        Snapshot::Fresh => "now".to_owned(),
        Snapshot::At(r) => format!("at {}", at(*r)),
    }
}

fn reads(requests: &[ReadRequest]) -> String {
    list(requests.iter().map(|request| match request {
        ReadRequest::Get { key } => key.to_string(),
        ReadRequest::Scan { range: of, .. } => range(of),
    }))
}

fn results(results: &[ReadResult]) -> String {
    let version = |key: Option<&Key>, found: &wire::message::VersionedValue| {
        let key = key.map_or(String::new(), |key| format!("{key} "));
        format!("{key}{}{}", found.value.escape_ascii(), at(found.timestamp))
    };
    list(results.iter().map(|result| match result {
        ReadResult::Value(None) => "nothing".to_owned(),
        ReadResult::Value(Some(found)) => version(None, found),
        ReadResult::Rows { rows, .. } => {
            let rows = rows.iter().map(|row| version(Some(&row.key), &row.version));
            format!("[{}]", list(rows))
        }
    }))
}

fn writes(operations: &[Operation], guards: &[Guard], reads: &[KeyRange]) -> String {
    let mut text = String::new();
    for Operation { key, kind } in operations {
        let kind = match kind {
            OperationKind::Put(value) => format!("= {}", value.escape_ascii()),
            OperationKind::Delete => "deleted".to_owned(),
            OperationKind::Add(n) => format!("+ {n}"),
            OperationKind::Min(n) => format!("min {n}"),
            OperationKind::Max(n) => format!("max {n}"),
            OperationKind::Append(value) => format!("append {}", value.escape_ascii()),
        };
        text += &format!("; {key} {kind}");
    }
    for guard in guards {
        text += &format!("; if {} {:?}", guard.key, guard.condition);
    }
    if !reads.is_empty() {
        text += &format!("; read {}", list(reads.iter().map(range)));
    }
    text
}

fn range(range: &KeyRange) -> String {
    let point = KeyRange::point(range.start.clone());
    match &range.end {
        _ if *range == point => range.start.to_string(),
        Some(end) => format!("{}..{end}", range.start),
        None => format!("{}..", range.start),
    }
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

fn tx(id: TransactionId) -> String {
    format!("T{:06x}", id.random & 0x00ff_ffff)
}

fn of_attempt(attempt: &Attempt) -> String {
    let by = attempt.coordinator;
    format!(
        "attempt {} of {}/{}/{}",
        attempt.number, by.node, by.start, by.sequence
    )
}

/// A timestamp as virtual time.
pub(super) fn at(timestamp: Timestamp) -> String {
    let micros = timestamp.micros();
    let start = START_OF_TIME.as_micros() as u64;
    match timestamp {
        Timestamp::MAX => "unbounded".to_owned(),
        Timestamp::ZERO => "@0".to_owned(),
        _ if micros < start => format!("@{timestamp}"),
        _ => {
            let since = micros - start;
            format!(
                "@{}.{:06}+{}",
                since / 1_000_000,
                since % 1_000_000,
                timestamp.logical()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Letters;
    use crate::workload::{add, key};
    use wire::message::Commit;

    #[test]
    fn a_commit_is_told_with_its_keys_and_virtual_time() {
        let key = key(Letters(1), "bank", 3);
        let second =
            |n: u64| Timestamp::from_micros(START_OF_TIME.as_micros() as u64 + n * 1_000_000);
        let id = TransactionId {
            time: second(1),
            random: 0xabcd_ef01_2345_6789,
        };
        let commit = Commit {
            name: TransactionName {
                id,
                expires: second(6),
                anchor: key.clone(),
            },
            age: id,
            snapshot: Snapshot::At(second(2)),
            reads: vec![KeyRange::point(key.clone())],
            guards: vec![],
            operations: vec![add(&key, -7)],
            locked: vec![],
            resent: true,
        };
        assert_eq!(
            client_request(&ClientRequest::Commit(commit)),
            "commit again T456789, at @2.000000+0, expires @6.000000+0; a/bank/003 + -7; read a/bank/003"
        );
    }

    #[test]
    fn long_things_are_clipped_between_characters() {
        let text = clipped(&"ä".repeat(CLIPPED_AT));
        assert_eq!(text.chars().count(), CLIPPED_AT + 1);
        assert!(text.ends_with('…'));
        assert_eq!(clipped(&7), "7");
    }
}
