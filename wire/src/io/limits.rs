//! What strangers and clients may cost a listening node, and how often it refused them.

use super::outbox::OUTBOX_BYTES_MAX;
use std::collections::BTreeMap;
use std::time::Duration;

/// Named maxima of a listener; the defaults are those of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenerLimits {
    /// Client connections at a time. Beyond, a client is told so and can ask another node.
    pub connections_max: usize,
    /// Connections at a time that have not shaken hands. Beyond, the oldest of them makes room.
    pub strangers_max: usize,
    /// How long a connection may take to shake hands.
    pub handshake_within: Duration,
    /// How long a frame that has begun may take, and besides for each of its bytes what a connection of
    /// [`SLOWEST_BYTES_PER_SECOND`] needs.
    pub frame_within: Duration,
    /// How long the other side may take nothing of what waits for it.
    pub stalled_max: Duration,
    /// Bytes that may wait for one client; with more, its connection ends.
    pub waiting_bytes_max: usize,
}

/// How long a connection may take to shake hands.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The slowest sender of a long frame that is put up with.
pub const SLOWEST_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Connections of other nodes that are taken in beside [`ListenerLimits::connections_max`].
pub const PEER_CONNECTIONS_MAX: usize = 512;
/// With so many bytes waiting for a client, none of its requests are read.
pub const WAITING_BYTES_PAUSE: usize = 4 * 1024 * 1024;

impl Default for ListenerLimits {
    fn default() -> ListenerLimits {
        ListenerLimits {
            connections_max: 12_000,
            strangers_max: 1024,
            handshake_within: HANDSHAKE_TIMEOUT,
            frame_within: Duration::from_secs(30),
            stalled_max: Duration::from_secs(10),
            waiting_bytes_max: OUTBOX_BYTES_MAX,
        }
    }
}

/// What a listener has seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListenerCounts {
    /// Connections that stand now.
    pub connections: u64,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections that this side ended, by reason.
    pub ended: BTreeMap<&'static str, u64>,
}
