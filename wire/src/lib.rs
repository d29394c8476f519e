//! What is said on a connection, the connection, and the client library.
//!
//! - [`message`]: everything that is said, as types;
//! - [`frame`], [`handshake`]: how it lies on a connection, without any IO;
//! - [`io`]: the listener and the channels between nodes;
//! - [`settings`]: what holds for the whole cluster, and where it stands;
//! - [`client`]: the library for programs that use the store.

pub mod client;
pub mod frame;
pub mod handshake;
pub mod ids;
pub mod io;
pub mod keys;
pub mod message;
pub mod settings;

mod random;

pub use random::SplitMix64;
