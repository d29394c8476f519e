//! Ports that nobody else takes.
//!
//! A socket that is bound with `SO_REUSEADDR` and never listens keeps its port away from everybody who
//! asks the system for any port. A process that asks for just this port, with the same option, as every
//! listener of the standard library does, gets it. So a node's port is its own while the node is dead,
//! and no client that dials a dead node can ever be connected to itself.
//!
//! Source: Linux, `inet_csk_get_port` and `inet_hash_connect`.

use rustix::net::{
    AddressFamily, SocketAddrV4, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// A port of the loopback interface, kept as long as this lives. Whoever connects to it while no
/// process listens there is refused.
#[derive(Debug)]
pub struct ReservedPort {
    address: SocketAddr,
    _socket: OwnedFd,
}

impl ReservedPort {
    /// Any port that is free.
    pub fn any() -> rustix::io::Result<ReservedPort> {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        Ok(ReservedPort {
            address,
            _socket: socket,
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
