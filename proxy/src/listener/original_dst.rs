//! Where a captured connection was going.

use std::net::SocketAddr;

use socket2::SockRef;

use crate::io::Io;

/// The address that the caller asked for, as the system redirected the connection here
/// (`SO_ORIGINAL_DST`); none if it was not redirected.
pub(crate) fn original_dst(io: &Io) -> Option<SocketAddr> {
    let Io::Tcp(tcp) = io else { return None };
    let socket = SockRef::from(tcp);
    let local = tcp.local_addr().ok()?;
    let original = match local.ip().to_canonical().is_ipv4() {
        true => socket.original_dst_v4(),
        false => socket.original_dst_v6(),
    };
    let original = original.ok()?.as_socket()?;
    (original != local).then_some(original)
}
