//! No money is made or lost while nodes, drawn at random, are killed and started again.

use super::transfers::{Fault, Faults, transfers_under};
use std::time::Duration;

#[tokio::test]
async fn no_money_is_made_or_lost_while_nodes_are_killed() {
    let kills = Faults {
        fault: Fault::Kill,
        every: Duration::from_millis(3000),
        lasting: Duration::from_millis(1000),
    };
    transfers_under(kills, 12).await;
}
