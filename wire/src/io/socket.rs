//! Options of a TCP socket, and whether an address stays on this machine.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// How long sent bytes may stay unacknowledged before the connection counts as lost.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be silent before the system asks whether the other end still lives.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);

/// Sends at once, and notices within seconds when the other end is gone without a word.
pub(crate) fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX.as_millis() as u32)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    Ok(())
}

/// Whether an address can be reached from this machine only.
pub fn is_loopback(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
    }
}

/// Whether a host and port, as a user writes it, names this machine only. Resolves names, so it may
/// block; an address without any meaning is an error.
pub fn resolves_to_loopback(address: &str) -> std::io::Result<bool> {
    use std::net::ToSocketAddrs;
    let mut all = address.to_socket_addrs()?.peekable();
    if all.peek().is_none() {
        let why = format!("'{address}' resolves to no address");
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, why));
    }
    Ok(all.all(|address| is_loopback(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_everything_else() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(
                is_loopback(&address.parse().unwrap()),
                expected,
                "{address}"
            );
            assert_eq!(
                resolves_to_loopback(address).unwrap(),
                expected,
                "{address}"
            );
        }
        assert!(resolves_to_loopback("no port").is_err());
    }
}
