//! From a request to the rule that it meets.

use http::Method;

use crate::request::headers::X_FORWARDED_PROTO;
use crate::request::{Downstream, Rejection};
use crate::table::host::{By, VirtualHost, split_authority};
use crate::table::redirect::Original;
use crate::table::rules::{RequestView, Rule};
use crate::table::{Listener, NoHosts, PortRule, UnknownHost};
use crate::upstream::Outgoing;

/// Where a request goes: the rule it met and the port it addresses.
pub(crate) struct Routed<'s> {
    /// The host that it was found under.
    pub(crate) host: &'s VirtualHost,
    pub(crate) rule: &'s Rule,
    pub(crate) port: u16,
    /// Length of the path's part that the rule matched.
    pub(crate) matched_len: usize,
}

/// A request before the rules of the host that serves it.
pub(crate) struct Sought<'s, 'r> {
    pub(crate) host: &'s VirtualHost,
    /// How the host was found.
    by: By,
    /// What the rules look at.
    pub(crate) view: RequestView<'r>,
    /// It asks for a tunnel.
    connects: bool,
}

/// What becomes of a request, and whether that may be because the table does not know its host.
pub(super) struct Found<'s> {
    routed: Result<Routed<'s>, Rejection>,
    /// Whether the host is there by another name than its own, or not at all.
    pub(super) missed: bool,
}

/// Why no host takes a request.
#[derive(Debug)]
pub(crate) enum Unserved<'s> {
    /// Not on this connection.
    Connection(NoHosts),
    /// Nobody serves the host.
    Host,
    /// The host has no such port.
    Port(&'s VirtualHost, u16, By),
}

/// Finds the host, the port and the rule.
pub(super) fn find<'s>(
    listener: &'s Listener,
    downstream: &Downstream,
    outgoing: &Outgoing,
) -> Found<'s> {
    if !listener.admits(downstream.security.as_ref()) {
        return Err(Rejection::Misdirected).into();
    }
    match seek(listener, downstream.server_name(), outgoing) {
        Ok(sought) => {
            let missed = sought.by == By::Wildcard;
            if !missed {
                sought.host.used.note();
            }
            Found {
                routed: sought.rule(),
                missed,
            }
        }
        Err(unserved) => Found {
            missed: matches!(
                unserved,
                Unserved::Host | Unserved::Port(_, _, By::Wildcard)
            ),
            routed: Err(unserved.rejection(listener)),
        },
    }
}

// === impl Found ===

impl<'s> Found<'s> {
    /// Where it goes. Takes all of it: a request keeps the rest of what is taken in part while it waits.
    pub(super) fn routed(self) -> Result<Routed<'s>, Rejection> {
        self.routed
    }
}

impl<'s> From<Result<Routed<'s>, Rejection>> for Found<'s> {
    /// Something else than the host decided.
    fn from(routed: Result<Routed<'s>, Rejection>) -> Self {
        Self {
            routed,
            missed: false,
        }
    }
}

/// Finds the host and the port. `server_name` is what a client in TLS asked for.
pub(crate) fn seek<'s, 'r>(
    listener: &'s Listener,
    server_name: Option<&str>,
    outgoing: &'r Outgoing,
) -> Result<Sought<'s, 'r>, Unserved<'s>> {
    let authority = outgoing.authority.to_str().unwrap_or_default();
    let (name, written_port) = split_authority(authority);
    let hosts = listener.hosts_for(server_name, name);
    let hosts = hosts.map_err(Unserved::Connection)?;
    let (host, by) = hosts.meet(name).ok_or(Unserved::Host)?;
    let port = match listener.port_rule {
        PortRule::Listener(port) => port,
        PortRule::Authority => written_port.unwrap_or_else(|| host.default_port()),
    };
    if listener.port_rule == PortRule::Authority && !serves(host, port) {
        return Err(Unserved::Port(host, port, by));
    }
    let view = view(outgoing, port);
    let connects = outgoing.head.method == Method::CONNECT;
    Ok(Sought {
        host,
        by,
        view,
        connects,
    })
}

// === impl Unserved ===

impl Unserved<'_> {
    /// What becomes of the request.
    pub(crate) fn rejection(&self, listener: &Listener) -> Rejection {
        match (self, listener.unknown_host) {
            (Self::Connection(NoHosts::Misdirected), _) => Rejection::Misdirected,
            (_, UnknownHost::NotFound) => Rejection::UnknownHost,
            (_, UnknownHost::BadGateway) => Rejection::Blocked,
        }
    }
}

// === impl Sought ===

impl<'s> Sought<'s, '_> {
    /// Why no rule applies, if none does.
    pub(crate) fn no_rule(&self) -> &'static str {
        if !self.view.path.starts_with('/') {
            return "the target is no path";
        }
        match self.connects {
            true => "no rule asks for the method CONNECT by name",
            false => "no rule matches",
        }
    }

    /// The rule that the request meets.
    pub(crate) fn rule(&self) -> Result<Routed<'s>, Rejection> {
        // `*` and the like are no paths: no condition on a path can mean them.
        if !self.view.path.starts_with('/') {
            return Err(Rejection::NoRule);
        }
        let rule = self.host.rules.find(&self.view).ok_or(Rejection::NoRule)?;
        // A tunnel carries anything, so that a rule must ask for it by name.
        if self.connects && !rule.names_method("CONNECT") {
            return Err(Rejection::NoRule);
        }
        Ok(Routed {
            host: self.host,
            rule,
            port: self.view.port,
            matched_len: rule.path.replaced_len(self.view.path),
        })
    }
}

/// A request as rules see it.
fn view(outgoing: &Outgoing, port: u16) -> RequestView<'_> {
    let (path, query) = match outgoing.head.method == Method::CONNECT {
        true => ("/", None),
        false => path_and_query(outgoing),
    };
    RequestView {
        method: outgoing.head.method.as_str(),
        scheme: scheme(outgoing),
        authority: outgoing.authority.to_str().unwrap_or_default(),
        port,
        target: outgoing.target(),
        path,
        query,
        headers: &outgoing.head.headers,
        token: outgoing.token.as_deref(),
    }
}

fn serves(host: &VirtualHost, port: u16) -> bool {
    host.ports.is_empty() || host.ports.contains(&port)
}

/// Path and query as they are now, normalised.
pub(crate) fn path_and_query(outgoing: &Outgoing) -> (&str, Option<&str>) {
    match &outgoing.rewritten {
        None => (outgoing.head.uri.path(), outgoing.head.uri.query()),
        Some(rewritten) => match rewritten.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rewritten, None),
        },
    }
}

/// What `x-forwarded-proto` will say: at a gateway how the client came, else what a caller wrote, or
/// `http`.
fn scheme(outgoing: &Outgoing) -> &str {
    if let Some(proto) = outgoing.own.proto {
        return proto.as_str();
    }
    let written = outgoing.head.headers.get(&X_FORWARDED_PROTO);
    written
        .and_then(|scheme| scheme.to_str().ok())
        .unwrap_or("http")
}

// === impl Routed ===

impl Routed<'_> {
    /// The request as rules see it.
    pub(super) fn view<'r>(&self, outgoing: &'r Outgoing) -> RequestView<'r> {
        view(outgoing, self.port)
    }

    /// What a redirect needs to know of the request.
    pub(crate) fn original<'r>(&self, outgoing: &'r Outgoing) -> Original<'r> {
        let (path, query) = path_and_query(outgoing);
        Original {
            scheme: scheme(outgoing),
            authority: outgoing.authority.to_str().unwrap_or_default(),
            port: self.port,
            path,
            query,
            matched_len: self.matched_len,
        }
    }
}

/// The address that a sticky split may be keyed by.
pub(crate) fn source(downstream: &Downstream) -> Option<std::net::IpAddr> {
    downstream.peer.map(|peer| peer.ip())
}
