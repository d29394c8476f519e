//! What is said on a connection, the connection, and the client library.

pub mod ids;
pub mod keys;
pub mod message;

mod random;

pub use random::SplitMix64;
