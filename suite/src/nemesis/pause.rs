//! Processes that stand still (SIGSTOP) beyond their promise, and go on.

use super::{Arena, Harm, Undo, Whom, leading, names, victims};
use crate::error::SuiteError;
use rustix::process::Signal;
use wire::SplitMix64;

pub(super) async fn begin(
    whom: Whom,
    arena: &Arena,
    random: &mut SplitMix64,
) -> Result<Option<Harm>, SuiteError> {
    let (seats, led) = victims(whom, arena, random).await;
    let mut paused = Vec::new();
    let mut cluster = arena.cluster.lock().await;
    for seat in seats {
        if cluster.signal(seat, Signal::STOP)? {
            paused.push(seat);
        }
    }
    if paused.is_empty() {
        return Ok(None);
    }
    Ok(Some(Harm {
        detail: format!("{} paused{}", names(&paused), leading(&led)),
        undo: paused.into_iter().map(Undo::GoOn).collect(),
        led,
    }))
}
