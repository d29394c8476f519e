//! Leaderships that are handed over by command, one after another.

use super::{Arena, Harm};
use crate::error::SuiteError;
use wire::SplitMix64;

/// Transfers of one fault.
const TRANSFERS: usize = 4;

pub(super) async fn begin(
    arena: &Arena,
    random: &mut SplitMix64,
) -> Result<Option<Harm>, SuiteError> {
    let mut done = Vec::new();
    for _ in 0..TRANSFERS {
        let leaders: Vec<_> = arena.watcher.leaders().await.into_iter().collect();
        if leaders.is_empty() {
            break;
        }
        let (partition, _) = leaders[random.below(leaders.len() as u64) as usize];
        // Refused if it is on the move already, or nobody is fit: then there is one transfer less.
        match arena.watcher.transfer(partition).await {
            Ok(told) => done.push(format!("{partition} from {} to {}", told.from, told.to)),
            Err(why) => tracing::info!("{partition} was not handed over: {why}"),
        }
    }
    if done.is_empty() {
        return Ok(None);
    }
    Ok(Some(Harm {
        detail: done.join(", "),
        ..Harm::default()
    }))
}
