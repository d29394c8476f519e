//! Steps in words.

use super::Action;
use super::types::{Body, Change, Keys, Message, PartitionIndex, RECOVERER, Record, UNBOUNDED};
use super::world::{Answerer, Fate};
use std::fmt;

struct Limit(u8);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            UNBOUNDED => f.write_str("no limit"),
            limit => write!(f, "limit {limit}"),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Missing => f.write_str("missing"),
            Record::Staging { attempt, limit } => {
                write!(f, "staging (attempt {attempt:?}, {})", Limit(*limit))
            }
            Record::Aborted(attempt) => write!(f, "aborted (attempt {attempt:?})"),
            Record::Closed => f.write_str("closed"),
            Record::Committed { at, .. } => write!(f, "committed at {at}"),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Read { at } => write!(f, "read at {at}"),
            Body::Prepare {
                attempt,
                snapshot,
                limit,
                ..
            } => {
                write!(f, "prepare attempt {attempt:?}, snapshot {snapshot}")?;
                match limit {
                    Some(limit) => write!(f, ", and stage the record with {}", Limit(*limit)),
                    None => Ok(()),
                }
            }
            Body::Refresh { from, to } => write!(f, "has anything read changed in ({from}, {to}]?"),
            Body::Change {
                change: Change::Look,
                ..
            } => f.write_str("what does the record say?"),
            Body::Change { expected, change } => {
                write!(f, "if the record is {expected}: ")?;
                match change {
                    Change::Look => f.write_str("leave it"),
                    Change::Abort(attempt) => write!(f, "abort attempt {attempt:?}"),
                    Change::Close => f.write_str("close it"),
                    Change::Commit(at) => write!(f, "commit at {at}"),
                    Change::RaiseLimit(to) => write!(f, "raise the limit to {to}"),
                }
            }
            Body::Check { attempt } => write!(f, "is attempt {attempt:?} prepared?"),
            Body::Resolve {
                attempt,
                committed: Some(at),
            } => {
                write!(f, "attempt {attempt:?} has committed at {at}")
            }
            Body::Resolve {
                attempt,
                committed: None,
            } => {
                write!(f, "attempt {attempt:?} is aborted")
            }
        }
    }
}

fn keys_of(partition: PartitionIndex) -> Keys {
    Keys(u8::MAX).at(partition)
}

fn asker(message: &Message) -> String {
    match (message.from, message.body) {
        (_, Body::Resolve { .. }) => String::from("somebody"),
        (RECOVERER, _) => String::from("its recoverer"),
        (gateway, _) => format!("gateway {}", gateway + 1),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Begin(t, gateway, at) => {
                write!(
                    f,
                    "T{}: gateway {} begins with snapshot {at}",
                    t + 1,
                    gateway + 1
                )
            }
            Action::AskOutcome(t) => {
                write!(f, "T{}: the client asks gateway 2 how it ended", t + 1)
            }
            Action::Deliver(message, answerer, fate) => {
                let leader = match answerer {
                    Answerer::Leader => "leader",
                    Answerer::Deposed => "deposed leader",
                };
                write!(
                    f,
                    "T{}: {} to the {leader} of {:?}: {}",
                    message.transaction + 1,
                    asker(message),
                    keys_of(message.to),
                    message.body
                )?;
                crash(f, *fate)
            }
            Action::CommitNext(partition, fate) => {
                write!(
                    f,
                    "the first entry under way at {:?} is committed",
                    keys_of(*partition)
                )?;
                crash(f, *fate)
            }
            Action::GiveUp(t, gateway) => {
                write!(f, "T{}: gateway {} loses patience", t + 1, gateway + 1)
            }
            Action::Recover(t, partition) => write!(
                f,
                "T{}: somebody meets its lock in {:?} and begins to recover it",
                t + 1,
                keys_of(*partition)
            ),
            Action::ChangeLeader(partition, survivors) => write!(
                f,
                "another leader of {:?}; {survivors} entries under way survive",
                keys_of(*partition)
            ),
        }
    }
}

fn crash(f: &mut fmt::Formatter<'_>, fate: Fate) -> fmt::Result {
    match fate {
        Fate::Lives => Ok(()),
        _ => f.write_str("; the gateway crashes before it tells the client"),
    }
}
