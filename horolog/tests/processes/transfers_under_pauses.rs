//! No money is made or lost while nodes, drawn at random, stand still for longer than any lease: a
//! leader that wakes up must neither answer from its old promise nor disturb its successor.

use super::transfers::{Fault, Faults, transfers_under};
use std::time::Duration;

#[tokio::test]
async fn no_money_is_made_or_lost_while_nodes_stand_still() {
    let pauses = Faults {
        fault: Fault::Pause,
        every: Duration::from_millis(7000),
        lasting: Duration::from_millis(5000),
    };
    transfers_under(pauses, 16).await;
}
