//! The coordinator of transactions: everything that a gateway does for its clients, and the recovery
//! of abandoned transactions for everybody.
//!
//! [`Gateway`] is a state machine without IO: it is told what happened ([`GatewayEvent`]) and says
//! what is to be done ([`GatewayEffect`]). It speaks to partitions only in `wire`'s messages, so a
//! lost or doubled message can be written down in any test.
//!
//! | module | duty | protocol |
//! | --- | --- | --- |
//! | `gateway` | events to jobs | |
//! | `request_waiting_list` | numbers, who waits for which, timers | |
//! | `coordinator` | one commit: attempts, answer | R4 to R7 |
//! | `plan` | a commit divided over partitions, the limit | R5 |
//! | `one_partition` | everything in one partition | R4 |
//! | `two_phase_commit` | guards elsewhere, prepares, the decision | R5 |
//! | `refresh` | reads moved to a later timestamp | R5 |
//! | `abort` | the record, until it says what is to be told | R5, R7 |
//! | `resolution` | participants end an attempt, the record goes | R7 |
//! | `recovery` | abandoned transactions | R8 |
//! | `outcome` | what became of a commit | R10 |
//! | `hot_keys` | which keys to queue for at once | R11 |
//! | `patient_asks` | asking again, and giving up: for everything below | |
//! | `held_locks` | locks of open transactions: kept, lost, given back | R3, R11 |
//! | `locking` | locks before the commit | R3, R11 |
//! | `snapshot_read` | reads over partitions | R1, R2 |
//! | `limits` | sizes, sense, maxima | |

pub mod limits;

mod abort;
mod contract;
mod coordinator;
mod gateway;
mod held_locks;
mod hot_keys;
mod job;
mod locking;
#[cfg(feature = "mutants")]
mod mutant;
mod one_partition;
mod outcome;
mod patient_asks;
mod plan;
mod recovery;
mod refresh;
mod request_waiting_list;
mod resolution;
mod snapshot_read;
mod two_phase_commit;

#[cfg(test)]
mod scenarios;

pub use contract::{
    ClientTag, GatewayConfig, GatewayContext, GatewayEffect, GatewayEvent, GatewayTiming,
};
pub use gateway::Gateway;
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
