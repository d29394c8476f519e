//! The requests that a client sends, made from where its plan stands.

use super::{Client, Run, Want};
use crate::history::Observation;
use crate::simulation::clocks::true_timestamp;
use crate::workload::Writes;
use clock::Timestamp;
use std::time::Duration;
use wire::keys::{Key, KeyRange};
use wire::message::{ClientRequest, Commit, LockWait, Snapshot, TransactionName};

impl Run {
    fn snapshot(&self) -> Snapshot {
        self.snapshot.map_or(Snapshot::Fresh, Snapshot::At)
    }

    fn covered(&self) -> Vec<KeyRange> {
        self.seen.iter().map(Observation::covered).collect()
    }
}

impl Client {
    /// Now and then a snapshot in the past, a moment ago or long ago.
    pub(super) fn past_snapshot(&mut self, now: Duration, begun: Duration) -> Option<Timestamp> {
        if self.timing.past_one_in == 0 || !self.random.chance(1, self.timing.past_one_in) {
            return None;
        }
        let (least, most) = match self.random.below(3) {
            0 => (0, 300),
            1 => (0, 3_000),
            _ => (12_000, 30_000),
        };
        let ago = Duration::from_millis(least + self.random.below(most - least));
        Some(true_timestamp(now.saturating_sub(ago).max(begun)))
    }

    pub(super) fn request(&mut self, want: Want) -> ClientRequest {
        if want == Want::Outcome {
            let question = self.asking.as_ref().expect("an outcome is asked for");
            let name = question.name.clone();
            return ClientRequest::Outcome { name };
        }
        let run = self.run.as_mut().expect("a plan is carried out");
        match want {
            Want::Lock => ClientRequest::Lock {
                id: run.id,
                age: run.age,
                snapshot: run.snapshot(),
                key: run.plan.locks[run.locked.len()].clone(),
                wait: LockWait::Queue,
            },
            Want::Move { to } => ClientRequest::Refresh {
                id: run.id,
                from: run.snapshot.expect("only a snapshot that is held moves"),
                to,
                reads: run.covered(),
            },
            Want::Round => ClientRequest::Read {
                reader: run.plan.decide.is_some().then_some(run.id),
                snapshot: run.snapshot(),
                requests: run.plan.rounds[run.rounds_done].clone(),
            },
            Want::Commit => {
                run.sends += 1;
                let resent = run.sends > 1;
                let commit = run.commit.as_mut().expect("a commit was made");
                commit.resent = resent;
                ClientRequest::Commit(commit.clone())
            }
            Want::Rollback => ClientRequest::Rollback {
                id: run.id,
                keys: run.locked.clone(),
            },
            Want::Outcome => unreachable!("answered above"),
        }
    }
}

/// The whole commit of a run that has read everything.
pub(super) fn commit_of(run: &Run, writes: &Writes, expires: Timestamp) -> Commit {
    let written = |key: &Key| writes.operations.iter().any(|o| o.key == *key);
    let anchor = writes.operations[0].key.clone();
    Commit {
        name: TransactionName {
            id: run.id,
            expires,
            anchor,
        },
        age: run.age,
        snapshot: run.snapshot(),
        reads: run.covered(),
        guards: writes.guards.clone(),
        operations: writes.operations.clone(),
        locked: run
            .locked
            .iter()
            .filter(|key| !written(key))
            .cloned()
            .collect(),
        resent: false,
    }
}
