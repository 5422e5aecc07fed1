//! Where a captured connection was going.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;

use crate::io::Io;

/// Where connections to the workload come from: rules that capture traffic leave these alone, so that
/// what was let in is not captured again. The addresses are those that Istio's proxies use.
pub(crate) const OWN_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
/// The same in IPv6, where it must be an address of the loopback interface.
pub(crate) const OWN_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// Why a connection is none that may be taken where captured ones are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stray {
    /// Nobody redirected it: it could only lead back here.
    #[error("it was not redirected")]
    Direct,
    /// It was going to where captured connections are taken.
    #[error("it was going to the proxy itself")]
    ToUs,
    /// It is one of our own.
    #[error("it comes from the proxy itself")]
    FromUs,
}

/// The address that the caller `peer` asked for, as the system redirected the connection here
/// (`SO_ORIGINAL_DST`). `takes_captured` says at which ports captured connections are taken.
///
/// # Errors
///
/// It was not redirected, or would go in a circle.
pub(crate) fn original_dst(
    io: &Io,
    peer: Option<SocketAddr>,
    takes_captured: impl Fn(u16) -> bool,
) -> Result<SocketAddr, Stray> {
    let (local, original) = ends(io).ok_or(Stray::Direct)?;
    check(original, local, peer, takes_captured)
}

/// The address that the connection reached, and the one that the system has noted.
fn ends(io: &Io) -> Option<(SocketAddr, SocketAddr)> {
    let Io::Tcp(tcp) = io else { return None };
    let socket = SockRef::from(tcp);
    let local = canonical(tcp.local_addr().ok()?);
    let original = match local.is_ipv4() {
        true => socket.original_dst_v4(),
        false => socket.original_dst_v6(),
    };
    Some((local, canonical(original.ok()?.as_socket()?)))
}

fn check(
    original: SocketAddr,
    local: SocketAddr,
    peer: Option<SocketAddr>,
    takes_captured: impl Fn(u16) -> bool,
) -> Result<SocketAddr, Stray> {
    let peer = peer.map(|peer| peer.ip().to_canonical());
    if matches!(peer, Some(IpAddr::V4(OWN_V4) | IpAddr::V6(OWN_V6))) {
        return Err(Stray::FromUs);
    }
    if original == local {
        return Err(Stray::Direct);
    }
    // What the workload sends comes from one of its addresses, and what is sent to it reaches one.
    let ip = original.ip();
    let is_here = ip.is_loopback() || ip == local.ip() || Some(ip) == peer;
    if is_here && takes_captured(original.port()) {
        return Err(Stray::ToUs);
    }
    Ok(original)
}

/// An address of IPv4 as one, however the socket has it.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

// === impl Stray ===

impl Stray {
    /// The cause as metrics name it.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Direct => "not_captured",
            Self::ToUs | Self::FromUs => "capture_loop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn judge(original: &str, local: &str, peer: &str) -> Result<SocketAddr, Stray> {
        let takes_captured = |port| matches!(port, 15_001 | 15_006);
        check(
            addr(original),
            addr(local),
            Some(addr(peer)),
            takes_captured,
        )
    }

    #[test]
    fn what_was_redirected_goes_on_to_where_it_was_going() {
        for (original, local, peer) in [
            ("10.96.0.1:80", "127.0.0.1:15001", "10.0.0.5:40000"),
            ("10.0.0.5:80", "10.0.0.5:15006", "10.0.0.9:40000"),
            ("10.0.0.9:15001", "127.0.0.1:15001", "10.0.0.5:40000"),
            ("[fd00::1]:80", "[::1]:15001", "[fd00::5]:40000"),
        ] {
            assert_eq!(judge(original, local, peer), Ok(addr(original)));
        }
    }

    #[test]
    fn what_would_go_in_a_circle_is_none_to_be_taken() {
        for (original, local, peer, why) in [
            (
                "10.0.0.5:15001",
                "10.0.0.5:15001",
                "10.0.0.9:4",
                Stray::Direct,
            ),
            (
                "10.0.0.5:15006",
                "127.0.0.1:15001",
                "10.0.0.5:4",
                Stray::ToUs,
            ),
            (
                "10.0.0.5:15001",
                "10.0.0.5:15006",
                "10.0.0.9:4",
                Stray::ToUs,
            ),
            (
                "127.0.0.1:15001",
                "127.0.0.1:15006",
                "127.0.0.1:4",
                Stray::ToUs,
            ),
            (
                "10.0.0.5:80",
                "127.0.0.1:15001",
                "127.0.0.6:4",
                Stray::FromUs,
            ),
            (
                "10.0.0.5:80",
                "127.0.0.1:15001",
                "[::ffff:127.0.0.6]:4",
                Stray::FromUs,
            ),
            ("[fd00::5]:80", "[::1]:15001", "[::6]:4", Stray::FromUs),
        ] {
            assert_eq!(judge(original, local, peer), Err(why), "{original}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_nobody_redirected_is_told() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(host).await else {
                continue; // IPv6 may be off.
            };
            let to = listener.local_addr().expect("bound");
            let client = tokio::net::TcpStream::connect(to)
                .await
                .expect("a listener");
            let (tcp, peer) = listener.accept().await.expect("a connection");

            let original = original_dst(&Io::Tcp(tcp), Some(peer), |_| false);

            assert_eq!(original, Err(Stray::Direct), "{client:?}");
        }
    }
}
