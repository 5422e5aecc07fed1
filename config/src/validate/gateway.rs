//! `Gateway`: servers, their ports, addresses and hosts.

use std::collections::BTreeSet;

use crate::resource::gateway::{Gateway, Port, Server, ServerTlsMode};
use crate::validate::field::{self, Protocol, written};
use crate::validate::findings::Findings;
use crate::validate::{host, server_tls};

/// Checks a `Gateway`.
pub(crate) fn check(gateway: &Gateway, f: &mut Findings) {
    if gateway.servers.is_empty() {
        f.error_in("servers", "must have at least one server");
    }
    let mut names = BTreeSet::new();
    f.each("servers", &gateway.servers, |f, server| {
        check_server(server, f);
        if let Some(port) = &server.port
            && !names.insert(port.name.as_str())
        {
            f.error_in(
                "port.name",
                format!("must be unique, got \"{}\" again", port.name),
            );
        }
    });
}

fn check_server(server: &Server, f: &mut Findings) {
    if server.hosts.is_empty() {
        f.error_in("hosts", "must have at least one host");
    }
    f.each("hosts", &server.hosts, |f, name| {
        f.require(check_host(name));
    });
    let bind = server.bind.as_deref().unwrap_or_default();
    check_bind(bind, f);
    let port_is_valid = match &server.port {
        Some(port) => f.field("port", |f| check_port(port, bind, f)),
        None => {
            f.error_in("port", "is required");
            false
        }
    };
    if let Some(tls) = &server.tls {
        f.field("tls", |f| server_tls::check(tls, f));
    }
    if let (true, Some(port)) = (port_is_valid, &server.port) {
        check_tls_for_port(server, port, f);
    }
}

/// A host of a server is `[namespace/]name`, where the name may be a wildcard or an address.
fn check_host(text: &str) -> Result<(), String> {
    let name = match text.split_once('/') {
        None => text,
        Some((namespace, name)) => {
            if !matches!(namespace, "*" | ".") && !host::is_label(namespace) {
                return Err(format!(
                    "must have \"*\", \".\" or a namespace before the '/', got \"{text}\""
                ));
            }
            name
        }
    };
    if host::is_address(name) && name.contains('.') {
        return Ok(());
    }
    check_listener_host(name)
}

/// The name of a host that a listener serves: no short name, no partial wildcard.
pub(crate) fn check_listener_host(name: &str) -> Result<(), String> {
    host::check_pattern(name)?;
    if name != "*" && !name.contains('.') {
        Err(format!("must be a full name with a dot, got \"{name}\""))
    } else if host::is_partial_wildcard(name) {
        Err(format!(
            "must have a wildcard only as the whole first label, got \"{name}\""
        ))
    } else {
        Ok(())
    }
}

fn check_bind(bind: &str, f: &mut Findings) {
    if let Some(path) = bind.strip_prefix(field::UNIX) {
        f.require_in("bind", field::unix_path(path));
    } else if !bind.is_empty() {
        f.require_in("bind", host::check_address(bind));
    }
}

fn check_port(port: &Port, bind: &str, f: &mut Findings) -> bool {
    let mut valid = f.require_in("protocol", field::required_protocol(&port.protocol));
    valid &= if !bind.starts_with(field::UNIX) {
        f.require_in("number", field::port(port.number))
    } else if port.number != 0 {
        f.error_in(
            "number",
            format!("must be 0 for a Unix socket, got {}", port.number),
        );
        false
    } else {
        true
    };
    if port.target_port.is_some_and(|target| target != 0) {
        f.error_in("targetPort", "has no effect in a Gateway; remove it");
        valid = false;
    }
    if port.name.is_empty() {
        f.error_in("name", "is required");
        valid = false;
    }
    valid
}

fn check_tls_for_port(server: &Server, port: &Port, f: &mut Findings) {
    let protocol = field::protocol(&port.protocol).unwrap_or(Protocol::Other);
    match (&server.tls, protocol) {
        (None, Protocol::Tls) => {
            f.error_in("tls", format!("is required for protocol {}", port.protocol));
        }
        (Some(tls), Protocol::Http) => {
            let passes = matches!(
                tls.mode,
                None | Some(ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough)
            );
            let files = [
                &tls.ca_certificates,
                &tls.private_key,
                &tls.server_certificate,
            ];
            if !passes
                || files
                    .into_iter()
                    .any(|file| written(file.as_ref()).is_some())
            {
                f.error_in(
                    "tls",
                    format!(
                        "must have only httpsRedirect for protocol {}",
                        port.protocol
                    ),
                );
            }
        }
        (Some(_), Protocol::Tcp | Protocol::Other) => {
            f.error_in(
                "tls",
                format!("must not be set for protocol {}", port.protocol),
            );
        }
        (Some(_), Protocol::Tls) | (None, _) => {}
    }
    let redirects = server
        .tls
        .as_ref()
        .is_some_and(|tls| tls.https_redirect == Some(true));
    if redirects && protocol != Protocol::Http {
        f.warn_in(
            "tls.httpsRedirect",
            "has no effect on a port that is not plain HTTP",
        );
    }
}

#[cfg(test)]
mod tests;
