//! The client library against gateways that misbehave.

mod commit;
mod connection;
mod support;
mod transaction;
