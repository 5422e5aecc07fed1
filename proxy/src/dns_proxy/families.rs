//! Which families of addresses this host has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Addresses of which nobody has one, as those that are allotted. Whether there is a way to them says
/// whether there is one for what is to be captured.
const SOMEWHERE_V4: Ipv4Addr = Ipv4Addr::new(240, 240, 0, 1);
const SOMEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
/// Any port.
const PORT: u16 = 9;

/// Which families can be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Families {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

// === impl Families ===

impl Families {
    /// Both.
    pub(crate) const BOTH: Self = Self { v4: true, v6: true };

    /// Those of this host; both where there is a way to nowhere, which says nothing.
    pub(crate) fn of_host() -> Self {
        let found = Self {
            v4: has_route(SOMEWHERE_V4.into()),
            v6: has_route(SOMEWHERE_V6.into()),
        };
        match found {
            Self {
                v4: false,
                v6: false,
            } => Self::BOTH,
            Self { .. } => found,
        }
    }
}

/// Whether the system knows a way to an address. Nothing is sent.
fn has_route(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0));
    socket.is_ok_and(|socket| socket.connect((address, PORT)).is_ok())
}
