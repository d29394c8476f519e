//! The IO of the client: connections, the pool of them, clocks and random numbers.

mod commit;
mod connection;
mod machine;
mod pool;
mod silence;

pub(super) use commit::{commit, send_once};
pub(super) use machine::{Backoff, Patience, new_transaction_id};
pub(super) use pool::{Answered, Pool, Route};
