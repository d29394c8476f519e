//! Sockets: the listener of a node and the channels between nodes.
//!
//! - [`serve`]: accepts connections and turns their frames into [`Incoming`];
//! - [`PeerChannel`]: one ordered, one-way connection to another node;
//! - [`SharedIdentity`]: who this node is, as far as it knows by now.
//!
//! Everything here runs on the runtime that it is started on and needs no thread of its own; a node
//! runs it all on the current-thread runtime of its node thread.

mod identity;
mod limits;
mod listener;
mod outbox;
mod peer_channel;
mod reader;
mod session_registry;
mod socket;

pub use identity::SharedIdentity;
pub use limits::{
    HANDSHAKE_TIMEOUT, ListenerCounts, ListenerLimits, PEER_CONNECTIONS_MAX,
    SLOWEST_BYTES_PER_SECOND, WAITING_BYTES_PAUSE,
};
pub use listener::{CLIENT_REQUESTS_IN_FLIGHT_MAX, Incoming, Server, serve, serve_within};
pub use outbox::{OUTBOX_BYTES_MAX, SendError};
pub use peer_channel::{DIAL_BACKOFF_MAX, DIAL_BACKOFF_MIN, FOUNDING_WAITING_MAX, PeerChannel};
pub use socket::{is_loopback, resolves_to_loopback};

pub(crate) use outbox::Outbox;
pub(crate) use reader::FrameReader;
pub(crate) use socket::tune;
