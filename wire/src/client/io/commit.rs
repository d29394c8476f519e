//! Sends a commit until its outcome is known (R10). What to do next is decided by
//! [`CommitRetry`]; this does it.

use super::machine::Backoff;
use super::{Pool, Route};
use crate::client::Error;
use crate::client::commit_retry::{CommitRetry, Step, Unanswered};
use crate::message::{
    ClientAnswer, ClientReply, ClientRequest, Commit, Committed, Operation, ReadRequest,
    ReadResult, Snapshot,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// How long a gateway may be silent about a commit before it is sent to another one.
const COMMIT_SILENCE_MAX: Duration = Duration::from_secs(4);
/// How long a gateway may be silent about an outcome.
const OUTCOME_SILENCE_MAX: Duration = Duration::from_secs(3);
/// The first pause after all gateways failed, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Commits; returns when the outcome is known, or cannot be learned in time.
pub(in crate::client) async fn commit(
    pool: &Arc<Pool>,
    route: &Route,
    commit: Commit,
) -> Result<Committed, Error> {
    let operations = commit.operations.clone();
    let mut committed = send_until_known(pool, route, commit).await?;
    if committed.results.is_empty() {
        committed.results = read_results(pool, route, &operations, &committed).await;
    }
    Ok(committed)
}

/// Sends a commit over one gateway, once.
pub(in crate::client) async fn send_once(
    pool: &Arc<Pool>,
    gateway: &Arc<str>,
    request: &ClientRequest,
) -> Result<ClientReply, Unanswered> {
    pool.send(gateway, request, COMMIT_SILENCE_MAX).await
}

async fn send_until_known(
    pool: &Arc<Pool>,
    route: &Route,
    commit: Commit,
) -> Result<Committed, Error> {
    let mut retry = CommitRetry::new(commit.name.clone());
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut request = ClientRequest::Commit(commit);
    loop {
        for gateway in pool.gateways(route) {
            let ended = match retry.next(pool.wall()) {
                Step::Send { resent } => {
                    mark_resent(&mut request, resent);
                    let answer = pool.send(&gateway, &request, COMMIT_SILENCE_MAX).await;
                    retry.on_answer(answer)
                }
                Step::Ask => {
                    let name = retry.name().clone();
                    let question = ClientRequest::Outcome { name };
                    let answer = pool.send(&gateway, &question, OUTCOME_SILENCE_MAX).await;
                    retry.on_outcome(answer)
                }
                Step::GiveUp => return Err(retry.give_up()),
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
        pool.refresh().await;
        backoff.pause(BACKOFF.1).await;
    }
}

/// The bytes of a large commit are not copied for another send; only this changes.
fn mark_resent(request: &mut ClientRequest, resent: bool) {
    if let ClientRequest::Commit(commit) = request {
        commit.resent = resent;
    }
}

/// What the operations of a committed transaction computed, read again: for several on one key all
/// show the last value. Empty if it can no longer be read; the commit itself stands.
async fn read_results(
    pool: &Arc<Pool>,
    route: &Route,
    operations: &[Operation],
    committed: &Committed,
) -> Vec<Option<Bytes>> {
    let computed = |operation: &&Operation| operation.kind.reads_old_value();
    let requests: Vec<ReadRequest> = operations
        .iter()
        .filter(computed)
        .map(|operation| ReadRequest::Get {
            key: operation.key.clone(),
        })
        .collect();
    if requests.is_empty() {
        return vec![None; operations.len()];
    }
    let request = ClientRequest::Read {
        reader: None,
        snapshot: Snapshot::At(committed.at),
        requests,
    };
    let read = match pool
        .call(route, &request)
        .await
        .map(|answered| answered.answer)
    {
        Ok(ClientAnswer::Read { results, .. }) => results,
        Ok(_) => return vec![],
        Err(error) => {
            tracing::debug!(%error, "the results of a commit cannot be read again");
            return vec![];
        }
    };
    let mut values = read.into_iter();
    let result = |operation: &Operation| match computed(&operation).then(|| values.next())?? {
        ReadResult::Value(version) => version.map(|version| version.value),
        ReadResult::Rows { .. } => None,
    };
    operations.iter().map(result).collect()
}
