//! Processes that are killed with SIGKILL, and started again.

use super::{Arena, Harm, Undo, Whom, leading, names, victims};
use crate::error::SuiteError;
use wire::SplitMix64;

pub(super) async fn begin(
    whom: Whom,
    arena: &Arena,
    random: &mut SplitMix64,
) -> Result<Option<Harm>, SuiteError> {
    let (seats, led) = victims(whom, arena, random).await;
    let mut killed = Vec::new();
    let mut cluster = arena.cluster.lock().await;
    for seat in seats {
        if cluster.kill(seat)? {
            killed.push(seat);
        }
    }
    if killed.is_empty() {
        return Ok(None);
    }
    Ok(Some(Harm {
        detail: format!("{} killed{}", names(&killed), leading(&led)),
        undo: killed.into_iter().map(Undo::Start).collect(),
        led,
    }))
}
