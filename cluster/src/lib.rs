//! Who is here, and who holds what.
//!
//! | module | pattern | what it decides |
//! | --- | --- | --- |
//! | [`paxos`] | Paxos | which single founding the nodes named in `--join` agree on |
//! | [`founding`] | Key-Range Partitions | what such a founding says: ids, first members, first ranges |
//! | [`consistent_core`] | Consistent Core | which rows of keyspace 0 say so |
//! | [`peers`] | HeartBeat | which other nodes are heard from |
//!
//! Everything here is a state machine without IO: time and seeds are given to it, and what it wants
//! done it pushes into a list.

pub mod consistent_core;
pub mod founding;
pub mod paxos;
pub mod peers;

pub use founding::{FoundingError, FoundingPlan, PARTITIONS_MAX, even_splits, sorted_founders};
pub use paxos::{Founder, FounderEffect};
pub use peers::Peers;
