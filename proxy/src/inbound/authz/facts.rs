//! What policies look at: a connection, and the request on it if it speaks HTTP.

use std::net::{IpAddr, SocketAddr};

use config::spiffe::SpiffeId;
use http::HeaderMap;

use crate::inbound::jwt::Token;
use crate::request::Downstream;
use crate::request::headers::X_FORWARDED_FOR;
use crate::table::{Bind, Direction};
use crate::upstream::Outgoing;

/// Most entries of `x-forwarded-for` that are counted from its end; clients can make it long.
const FORWARDED_MAX: usize = 64;

/// What is known of a connection, and of the request on it.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'r> {
    /// Whom the peer proved to be.
    pub(crate) peer: Option<&'r SpiffeId>,
    /// The address that the connection comes from; none on a Unix socket.
    pub(crate) source_ip: Option<IpAddr>,
    /// The address of the client behind proxies that are trusted.
    pub(crate) remote_ip: Option<IpAddr>,
    /// The address that the connection reached.
    pub(crate) destination_ip: Option<IpAddr>,
    /// The port that the connection reached.
    pub(crate) destination_port: u16,
    /// The name that was asked for in TLS; empty if none was.
    pub(crate) server_name: &'r str,
    /// None where HTTP is not spoken.
    pub(crate) request: Option<Request<'r>>,
}

/// What is known of a request.
#[derive(Debug, Clone)]
pub(crate) struct Request<'r> {
    pub(crate) method: &'r str,
    /// Path in the form in which the upstream gets it, with its query.
    pub(crate) target: &'r str,
    /// As it is sent on.
    pub(crate) authority: &'r str,
    /// Whether it came in TLS.
    pub(crate) secure: bool,
    pub(crate) headers: &'r HeaderMap,
    /// The token that was found valid.
    pub(crate) token: Option<&'r Token>,
}

// === impl Facts ===

impl<'r> Facts<'r> {
    /// What is known of a connection.
    pub(crate) fn of_connection(downstream: &'r Downstream) -> Self {
        let ip = |addr: Option<SocketAddr>| addr.map(|addr| addr.ip().to_canonical());
        let security = downstream.security.as_ref();
        Self {
            peer: security.and_then(|it| it.principal.as_ref()),
            source_ip: ip(downstream.peer),
            remote_ip: ip(downstream.peer),
            destination_ip: ip(downstream.addressed()),
            destination_port: match (downstream.addressed(), &downstream.bind) {
                (Some(addr), _) => addr.port(),
                (None, Bind::Tcp(addr)) => addr.port(),
                (None, Bind::Unix(_)) => 0,
            },
            server_name: downstream.server_name().unwrap_or_default(),
            request: None,
        }
    }

    /// What is known of a request. `hops` proxies in front are believed what they say of whom they got
    /// it from.
    pub(crate) fn of_request(
        downstream: &'r Downstream,
        direction: Direction,
        hops: u32,
        outgoing: &'r Outgoing,
    ) -> Self {
        let request = Request {
            method: outgoing.head.method.as_str(),
            target: outgoing.target(),
            authority: outgoing.authority.to_str().unwrap_or_default(),
            secure: downstream.security.is_some(),
            headers: &outgoing.head.headers,
            token: outgoing.token.as_deref(),
        };
        Self::of_parts(downstream, direction, hops, request)
    }

    /// The same of a request that is known by its parts.
    pub(crate) fn of_parts(
        downstream: &'r Downstream,
        direction: Direction,
        hops: u32,
        request: Request<'r>,
    ) -> Self {
        let connection = Self::of_connection(downstream);
        let remote_ip = match hops {
            0 => connection.source_ip,
            hops => {
                // At a gateway the caller stands last already, put there by ourselves.
                let own = match direction {
                    Direction::Gateway => 1,
                    Direction::Inbound | Direction::Outbound => 0,
                };
                let place = usize::try_from(hops).unwrap_or(FORWARDED_MAX) - 1 + own;
                forwarded_for(request.headers, place).or(connection.source_ip)
            }
        };
        Self {
            remote_ip,
            request: Some(request),
            ..connection
        }
    }
}

/// The address at `place` of `x-forwarded-for`, counted from its end; none if the header is shorter or
/// has no address there.
fn forwarded_for(headers: &HeaderMap, place: usize) -> Option<IpAddr> {
    if place >= FORWARDED_MAX {
        return None;
    }
    // Whatever the number of lines, together they are one list.
    let lines = headers.get_all(&X_FORWARDED_FOR).iter().rev();
    let mut entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let entry = std::str::from_utf8(entries.nth(place)?).ok()?.trim();
    let entry = entry.strip_prefix('[').unwrap_or(entry);
    let entry = entry.strip_suffix(']').unwrap_or(entry);
    let ip = entry.parse::<IpAddr>().ok();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|addr| addr.ip());
    ip.or_else(with_port).map(|ip| ip.to_canonical())
}

// === impl Request ===

impl<'r> Request<'r> {
    /// The path without its query.
    pub(crate) fn path(&self) -> &'r str {
        let end = self.target.find(['?', '#']).unwrap_or(self.target.len());
        &self.target[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_captured_connection_is_judged_by_where_it_was_going() {
        let bind: SocketAddr = "[::]:15006".parse().expect("an address");
        let mut downstream = Downstream::new(Bind::Tcp(bind), None, Some(bind));
        downstream.original = "10.0.0.1:9080".parse().ok();

        let facts = Facts::of_connection(&downstream);

        assert_eq!(facts.destination_port, 9080);
        assert_eq!(facts.destination_ip, "10.0.0.1".parse().ok());
    }

    #[test]
    fn clients_are_found_behind_as_many_proxies_as_are_trusted() {
        let mut headers = HeaderMap::new();
        let mut add = |line: &'static str| {
            headers.append(&X_FORWARDED_FOR, line.parse().expect("a value"));
        };
        add("6.6.6.6, 1.1.1.1");
        add("2.2.2.2:80,[2001:db8::3]");

        let at = |place| forwarded_for(&headers, place).map(|ip| ip.to_string());

        assert_eq!(at(0).as_deref(), Some("2001:db8::3"));
        assert_eq!(at(1).as_deref(), Some("2.2.2.2"));
        assert_eq!(at(2).as_deref(), Some("1.1.1.1"));
        assert_eq!(at(3).as_deref(), Some("6.6.6.6"));
        assert_eq!(at(4), None);
    }
}
