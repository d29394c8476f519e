//! Effects as lines.

use super::fixture::{BEFORE_FIRST, BEGINNING};
use crate::GatewayEffect;
use clock::Timestamp;
use wire::ids::Attempt;
use wire::keys::{Key, KeyRange};
use wire::message::{
    ClientAnswer, ClientReply, Decision, Guard, Operation, OperationKind, PartitionRequest,
    RecordChange, RecordState, VersionedValue,
};

pub(super) fn effect(effect: &GatewayEffect) -> String {
    match effect {
        GatewayEffect::Ask {
            number,
            partition,
            body,
            ..
        } => format!(
            "{} -> {partition} {}",
            number.0 - BEFORE_FIRST,
            request(body)
        ),
        GatewayEffect::AskCoordinator {
            number,
            node,
            name,
            attempt: a,
        } => format!(
            "{} -> {node} works on {} {}?",
            number.0 - BEFORE_FIRST,
            name.id.random,
            attempt(a)
        ),
        GatewayEffect::TellCoordinatorState { to, number, state } => {
            format!("tell {to} {}: {state:?}", number.0)
        }
        GatewayEffect::Answer {
            client,
            reply: said,
            depends_on,
        } => format!(
            "answer {}.{}: {}, depends on {}",
            client.connection,
            client.number,
            reply(said),
            time(*depends_on)
        ),
        GatewayEffect::Cancel { number } => format!("cancel {}", number.0 - BEFORE_FIRST),
    }
}

pub(super) fn time(timestamp: Timestamp) -> String {
    if timestamp == Timestamp::MAX {
        return "unbounded".to_owned();
    }
    if timestamp == Timestamp::ZERO {
        return "nothing".to_owned();
    }
    let micros = timestamp.micros() as i64 - BEGINNING as i64;
    match timestamp.logical() {
        0 => micros.to_string(),
        logical => format!("{micros}+{logical}"),
    }
}

/// `#number@node.sequence`.
fn attempt(attempt: &Attempt) -> String {
    let by = &attempt.coordinator;
    format!("#{}@{}.{}", attempt.number, by.node, by.sequence)
}

fn keys<'a>(keys: impl IntoIterator<Item = &'a Key>) -> String {
    let all: Vec<String> = keys.into_iter().map(Key::to_string).collect();
    format!("[{}]", all.join(" "))
}

fn ranges(ranges: &[KeyRange]) -> String {
    let all: Vec<String> = ranges.iter().map(|range| format!("{range:?}")).collect();
    format!("[{}]", all.join(" "))
}

fn operation(operation: &Operation) -> String {
    let key = &operation.key;
    match &operation.kind {
        OperationKind::Put(value) => format!("{key}={}", value.escape_ascii()),
        OperationKind::Delete => format!("{key} deleted"),
        OperationKind::Add(number) => format!("{key}{number:+}"),
        other => format!("{key} {other:?}"),
    }
}

fn list(parts: impl Iterator<Item = String>) -> String {
    format!("[{}]", parts.collect::<Vec<_>>().join(" "))
}

fn guard(guard: &Guard) -> String {
    format!("{} {:?}", guard.key, guard.condition)
}

fn request(request: &PartitionRequest) -> String {
    match request {
        PartitionRequest::Read(read) => {
            let requests = &read.requests;
            let reader = read
                .reader
                .map_or(String::new(), |id| format!("{} ", id.random));
            format!("read {reader}at {} {requests:?}", time(read.timestamp))
        }
        PartitionRequest::Lock(lock) => format!(
            "lock {} for {} at {}, age {}",
            lock.key,
            lock.id.random,
            time(lock.timestamp),
            lock.age.random
        ),
        PartitionRequest::LockAll(lock) => format!(
            "lock {} for {}, age {}",
            keys(&lock.keys),
            lock.id.random,
            lock.age.random
        ),
        PartitionRequest::KeepLocks { id, keys: all } => {
            format!("keep {} for {}", keys(all), id.random)
        }
        PartitionRequest::Unlock { id, keys: all } => {
            format!("unlock {} for {}", keys(all), id.random)
        }
        PartitionRequest::Commit(commit) => format!(
            "commit {} at {} reads {} guards {} writes {}{}",
            attempt(&commit.attempt),
            time(commit.timestamp),
            ranges(&commit.reads),
            list(commit.guards.iter().map(guard)),
            list(commit.operations.iter().map(operation)),
            if commit.resent { " resent" } else { "" }
        ),
        PartitionRequest::Prepare(prepare) => {
            let staging = prepare.staging.as_ref().map_or(String::new(), |staging| {
                format!(" staging {} {}", time(staging.0), keys(&staging.1))
            });
            format!(
                "prepare {} at {} reads {} guards {} writes {} locks {}{staging}",
                attempt(&prepare.attempt),
                time(prepare.timestamp),
                ranges(&prepare.reads),
                list(prepare.guards.iter().map(guard)),
                list(prepare.operations.iter().map(operation)),
                keys(&prepare.locked_reads),
            )
        }
        PartitionRequest::Refresh(refresh) => format!(
            "refresh {} from {} to {}",
            ranges(&refresh.reads),
            time(refresh.from),
            time(refresh.to)
        ),
        PartitionRequest::ChangeRecord(change) => match change.change {
            RecordChange::None => "record?".to_owned(),
            _ => format!(
                "record {} => {}",
                state(&change.expected),
                changed(&change.change)
            ),
        },
        PartitionRequest::CheckPrepared(check) => {
            format!(
                "prepared {} {}?",
                attempt(&check.attempt),
                keys(&check.keys)
            )
        }
        PartitionRequest::Resolve(resolve) => format!(
            "resolve {} {}",
            attempt(&resolve.attempt),
            match resolve.decision {
                Decision::Committed(at) => format!("committed at {}", time(at)),
                Decision::Aborted => "aborted".to_owned(),
            }
        ),
        PartitionRequest::ForgetRecord { name } => format!("forget record of {}", name.id.random),
        PartitionRequest::Outcome { name } => format!("outcome of {}?", name.id.random),
    }
}

fn state(state: &RecordState) -> String {
    match state {
        RecordState::Missing => "missing".to_owned(),
        RecordState::Staging { attempt: a, limit } => {
            format!("staging {} {}", attempt(a), time(*limit))
        }
        RecordState::Aborted { attempt: a } => format!("aborted {}", attempt(a)),
        RecordState::Closed => "closed".to_owned(),
        RecordState::Committed { at } => format!("committed at {}", time(*at)),
    }
}

fn changed(change: &RecordChange) -> String {
    match change {
        RecordChange::None => "nothing".to_owned(),
        RecordChange::Abort { attempt: a } => format!("aborted {}", attempt(a)),
        RecordChange::Close => "closed".to_owned(),
        RecordChange::Commit { at } => format!("committed at {}", time(*at)),
        RecordChange::RaiseLimit { to } => format!("limit {}", time(*to)),
    }
}

fn value(found: &Option<VersionedValue>) -> String {
    match found {
        None => "none".to_owned(),
        Some(found) => format!("{}@{}", found.value.escape_ascii(), time(found.timestamp)),
    }
}

fn reply(reply: &ClientReply) -> String {
    use wire::message::{AbortReason, ReadResult};
    let answer = match reply {
        Ok(answer) => answer,
        Err(why) => return format!("error: {why}"),
    };
    match answer {
        ClientAnswer::Read { at, results } => {
            let results = results.iter().map(|result| match result {
                ReadResult::Value(found) => value(found),
                ReadResult::Rows { rows, rest } => {
                    format!("{} rest {rest:?}", keys(rows.iter().map(|row| &row.key)))
                }
            });
            format!("read at {} {}", time(*at), list(results))
        }
        ClientAnswer::Committed(committed) => format!(
            "committed at {} {:?} attempts {} partitions {}",
            time(committed.at),
            committed.results,
            committed.attempts,
            committed.partitions
        ),
        ClientAnswer::Aborted(aborted) => {
            let durable = if aborted.durable {
                "for good"
            } else {
                "if sent once"
            };
            let reason = match &aborted.reason {
                AbortReason::Guard { key, found } => format!("guard {key} found {}", value(found)),
                AbortReason::HotKey { key, waiting } => format!("{waiting} wait for {key}"),
                AbortReason::Changed { key, rival } => format!("{key} changed by {rival}"),
                AbortReason::Contention { key, rival } => {
                    format!("contention on {key} with {}", rival.random)
                }
                other => format!("{other:?}"),
            };
            format!("aborted {durable}, {reason}")
        }
        ClientAnswer::Locked { at, locked } => {
            format!("locked at {} {}", time(*at), value(&locked.value))
        }
        other => format!("{other:?}"),
    }
}
