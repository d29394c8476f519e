//! One story at a time, and none without an end.

use std::pin::pin;
use std::time::Duration;
use tokio::sync::Mutex;

/// The longest that any story may take. A healthy one is done in a fraction of it.
const STORY_MAX: Duration = Duration::from_secs(60);

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Runs a story, alone and in bounded time; `more` is what it was asked to run longer.
pub(crate) async fn story(more: Duration, told: impl Future<Output = ()>) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let within = STORY_MAX + more;
    // Dropped while the panic unwinds, so that every process shows what it said last.
    let mut told = pin!(told);
    tokio::select! {
        () = &mut told => {}
        () = tokio::time::sleep(within) => panic!("the story did not end within {within:?}"),
    }
}
