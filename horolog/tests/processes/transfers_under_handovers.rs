//! No money is made or lost while one partition after another changes its leader as planned, and
//! nobody has to wait for an election.

use super::transfers::{Fault, Faults, transfers_under};
use std::time::Duration;

#[tokio::test]
async fn no_money_is_made_or_lost_while_leaders_hand_over() {
    let transfers = Faults {
        fault: Fault::HandOver,
        every: Duration::from_millis(1000),
        lasting: Duration::ZERO,
    };
    transfers_under(transfers, 8).await;
}
