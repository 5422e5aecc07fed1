//! Who may know what became of a request.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

use super::X_EXPLAIN;

/// Networks from which callers may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callers(Box<[Network]>);

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

// === impl Callers ===

impl Callers {
    /// Who may ask; none if nobody may.
    pub fn new(networks: &[Network]) -> Option<Self> {
        (!networks.is_empty()).then(|| Self(networks.into()))
    }

    /// Whether a caller may know what became of its request and asks for it.
    pub(crate) fn asks(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
        let asked = headers.get(&X_EXPLAIN).is_some_and(|value| value == "1");
        let allowed = |peer: SocketAddr| self.0.iter().any(|it| it.contains(peer.ip()));
        asked && peer.is_some_and(allowed)
    }
}

// === impl Network ===

impl Network {
    /// Whether an address is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.first, addr.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(addr)) => {
                (u32::from(first) ^ u32::from(addr)).leading_zeros() >= self.bits
            }
            (IpAddr::V6(first), IpAddr::V6(addr)) => {
                (u128::from(first) ^ u128::from(addr)).leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The same network by its addresses of IPv4, if they are written as IPv6 ones: callers are
    /// compared that way.
    fn canonical(self) -> Self {
        match (self.first.to_canonical(), self.bits.checked_sub(96)) {
            (first @ IpAddr::V4(_), Some(bits)) if self.first.is_ipv6() => Self { first, bits },
            _ => self,
        }
    }

    /// Whether no bit is set beyond those that count.
    fn is_first(&self) -> bool {
        match self.first {
            IpAddr::V4(first) => first.to_bits().trailing_zeros() + self.bits >= 32,
            IpAddr::V6(first) => first.to_bits().trailing_zeros() + self.bits >= 128,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or a single address.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be such as 10.0.0.0/8 or ::1, got \"{text}\"");
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = addr.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        let network = Self { first, bits };
        if bits > most {
            return Err(wrong());
        }
        match network.is_first() {
            true => Ok(network.canonical()),
            false => Err(format!(
                "must be the first address of a network, got \"{text}\""
            )),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect(text)
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        for (network, addr, within) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "10.0.0.1", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.0.0.0", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:0:0/96", "203.0.113.9", true),
        ] {
            let addr = addr.parse().expect(addr);
            assert_eq!(
                self::network(network).contains(addr),
                within,
                "{network} {addr}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "a/8",
            "10.0.0.0/-1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_callers_of_the_networks_ask_and_only_with_the_header() {
        let callers = Callers::new(&[network("10.0.0.0/8")]).expect("one network");
        let asking: HeaderMap = [(X_EXPLAIN.clone(), HeaderValue::from_static("1"))]
            .into_iter()
            .collect();
        let near = Some(SocketAddr::from(([10, 0, 0, 1], 1)));
        let far = Some(SocketAddr::from(([192, 0, 2, 1], 1)));

        assert!(callers.asks(near, &asking));
        assert!(!callers.asks(far, &asking));
        assert!(!callers.asks(None, &asking));
        assert!(!callers.asks(near, &HeaderMap::new()));
        assert_eq!(Callers::new(&[]), None);
    }
}
