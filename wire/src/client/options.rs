//! What a program may choose.

use std::time::Duration;

/// Options of a [`super::Client`].
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How long a request is tried, over all gateways. Commits have their own time (10 s until they
    /// expire, then up to 20 s to learn their outcome).
    pub timeout: Duration,
    /// How long `connect` tries the addresses.
    pub connect_timeout: Duration,
    /// How long `transact` runs its closure again after conflicts.
    pub transact_timeout: Duration,
    /// Connections to each node.
    pub connections_per_node: usize,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(3),
            transact_timeout: Duration::from_secs(30),
            connections_per_node: 1,
        }
    }
}
