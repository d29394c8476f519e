//! No money is made or lost while one partition after another changes its leader as planned, and
//! nobody has to wait for an election.
//!
//! The same without any hand-over tells what the machine alone makes clients wait for: where its processors
//! stall for 100 ms, so does a hand-over.

use super::transfers::{Fault, Faults, transfers_under};
use std::time::Duration;

async fn each_second(fault: Fault) {
    let faults = Faults {
        fault,
        every: Duration::from_millis(1000),
        lasting: Duration::ZERO,
    };
    transfers_under(faults, 8).await;
}

#[tokio::test]
async fn no_money_is_made_or_lost_while_leaders_hand_over() {
    each_second(Fault::HandOver).await;
}

#[tokio::test]
async fn no_money_is_made_or_lost_while_nothing_happens() {
    each_second(Fault::Nothing).await;
}
