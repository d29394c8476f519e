//! The coordinator of transactions: everything that a gateway does for its clients, and the recovery
//! of abandoned transactions for everybody.
//!
//! [`Gateway`] is a state machine without IO. It speaks to partitions only in `wire`'s messages.

mod contract;
mod gateway;

pub use contract::{
    ClientTag, GatewayConfig, GatewayContext, GatewayEffect, GatewayEvent, GatewayTiming,
};
pub use gateway::Gateway;
