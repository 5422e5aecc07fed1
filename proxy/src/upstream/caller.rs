//! Whose connection it is that is opened: the header of the PROXY protocol with which connections to
//! some upstreams begin, and what keeps one caller's connections from another's requests.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// What begins a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and a caller that the sender speaks for.
const PROXIED: u8 = 0x21;
/// Version 2, and nobody but the sender.
const LOCAL: u8 = 0x20;

/// Version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// A downstream connection, as upstreams are told of it. Connections that were opened for one serve no
/// other, and are closed once it is gone.
#[derive(Debug)]
pub struct Caller {
    /// Unique in the process, never reused, and not 0.
    pub(crate) id: u64,
    /// From where it came, and where it arrived; none of a caller without an address.
    addrs: Option<(SocketAddr, SocketAddr)>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

// === impl Caller ===

impl Caller {
    /// A connection with these addresses.
    pub(crate) fn new(addrs: Option<(SocketAddr, SocketAddr)>) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            addrs,
        }
    }
}

// === impl ProxyProtocol ===

impl ProxyProtocol {
    /// As configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        }
    }

    /// The header of a connection for `caller`; without one it is for ourselves, as a check of health
    /// is.
    pub(crate) fn header(self, caller: Option<&Caller>) -> Vec<u8> {
        let addrs = caller.and_then(|caller| caller.addrs);
        let addrs = addrs.map(|(source, destination)| alike(source, destination));
        match self {
            Self::V1 => line(addrs),
            Self::V2 => binary(addrs),
        }
    }
}

/// Both in one family, as a header has only one: in IPv4 if both are of it.
fn alike(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let wide = |addr: SocketAddr| match addr.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let is_v4 = [source, destination]
        .iter()
        .all(|addr| addr.ip().to_canonical().is_ipv4());
    let written = |addr: SocketAddr| {
        let ip: Ipv6Addr = wide(addr);
        let ip = match is_v4 {
            true => IpAddr::V6(ip).to_canonical(),
            false => IpAddr::V6(ip),
        };
        SocketAddr::new(ip, addr.port())
    };
    (written(source), written(destination))
}

fn line(addrs: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = addrs else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let (source, destination) = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {source} {destination}\r\n").into_bytes()
}

fn binary(addrs: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = addrs else {
        return [SIGNATURE, &[LOCAL, 0, 0, 0][..]].concat();
    };
    let bytes = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (family, len): (u8, u8) = match source.is_ipv4() {
        true => (0x11, 12),
        false => (0x21, 36),
    };
    [
        &SIGNATURE[..],
        &[PROXIED, family, 0, len],
        &bytes(source.ip()),
        &bytes(destination.ip()),
        &source.port().to_be_bytes(),
        &destination.port().to_be_bytes(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: ProxyProtocol, source: &str, destination: &str) -> Vec<u8> {
        let addr = |text: &str| text.parse().expect("an address");
        let caller = Caller::new(Some((addr(source), addr(destination))));
        version.header(Some(&caller))
    }

    #[test]
    fn a_line_says_who_called() {
        let line = |source, destination| {
            let line = header(ProxyProtocol::V1, source, destination);
            String::from_utf8(line).expect("text")
        };

        assert_eq!(
            line("192.0.2.1:56324", "198.51.100.2:443"),
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
        );
        assert_eq!(
            line("[::ffff:192.0.2.1]:1", "198.51.100.2:2"),
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"
        );
        assert_eq!(
            line("[2001:db8::1]:1", "198.51.100.2:2"),
            "PROXY TCP6 2001:db8::1 ::ffff:198.51.100.2 1 2\r\n"
        );
        assert_eq!(ProxyProtocol::V1.header(None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn a_binary_header_says_who_called() {
        let v4 = header(ProxyProtocol::V2, "10.0.0.1:1024", "10.0.0.2:443");
        let rest = [0x21, 0x11, 0, 12, 10, 0, 0, 1, 10, 0, 0, 2, 4, 0, 1, 0xbb];
        assert_eq!(v4, [&SIGNATURE[..], &rest].concat());

        let v6 = header(ProxyProtocol::V2, "[::1]:7", "[::2]:9");
        assert_eq!(v6.len(), 16 + 36);
        assert_eq!(v6[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!((v6[31], v6[47], v6[49], v6[51]), (1, 2, 7, 9));

        let local = ProxyProtocol::V2.header(None);
        assert_eq!(local, [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat());
    }
}
