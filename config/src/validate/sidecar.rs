//! `Sidecar`: listeners for traffic from and to a workload, and which hosts it may reach.

use std::collections::{BTreeMap, BTreeSet};

use crate::resource::Metadata;
use crate::resource::gateway::{ServerTls, ServerTlsMode};
use crate::resource::sidecar::{
    CaptureMode, EgressListener, IngressListener, OutboundMode, OutboundTrafficPolicy, Sidecar,
    SidecarPort,
};
use crate::validate::field::{self, Protocol, written};
use crate::validate::findings::Findings;
use crate::validate::traffic_policy::check_connection_pool;
use crate::validate::virtual_service::check_target;
use crate::validate::{gateway, host, server_tls};

/// Checks a `Sidecar`.
pub(crate) fn check(sidecar: &Sidecar, meta: &Metadata, f: &mut Findings) {
    field::workload_selector(sidecar.workload_selector.as_ref(), f);
    if sidecar.ingress.is_empty()
        && sidecar.egress.is_empty()
        && sidecar.outbound_traffic_policy.is_none()
        && sidecar.inbound_connection_pool.is_none()
    {
        f.error("must have one of ingress, egress, outboundTrafficPolicy, inboundConnectionPool");
    }
    let mut ports = BTreeSet::new();
    f.each("ingress", &sidecar.ingress, |f, listener| {
        match &listener.port {
            None => f.error_in("port", "is required"),
            Some(port) => {
                check_ingress(listener, port, f);
                if !ports.insert(port.number) {
                    f.error_in(
                        "port.number",
                        format!("must be unique, got {} again", port.number),
                    );
                }
            }
        }
    });
    check_connection_pool(
        "inboundConnectionPool",
        sidecar.inbound_connection_pool.as_ref(),
        f,
    );
    check_all_egress(&sidecar.egress, meta, f);
    if let Some(policy) = &sidecar.outbound_traffic_policy {
        f.field("outboundTrafficPolicy", |f| check_outbound(policy, f));
    }
}

fn check_port(port: &SidecarPort, f: &mut Findings) {
    if !port.name.is_empty() {
        f.require_in("name", field::port_name(&port.name));
    }
    f.require_in("protocol", field::optional_protocol(&port.protocol));
    if port.target_port.is_some_and(|target| target != 0) {
        f.error_in("targetPort", "has no effect in a Sidecar; remove it");
    }
}

fn check_ingress(listener: &IngressListener, port: &SidecarPort, f: &mut Findings) {
    f.field("port", |f| {
        check_port(port, f);
        f.require_in("number", field::port(port.number));
    });
    if let Some(bind) = written(listener.bind.as_ref()) {
        f.require_in("bind", host::check_address(bind));
    }
    if let Some(endpoint) = written(listener.default_endpoint.as_ref()) {
        f.require_in("defaultEndpoint", check_default_endpoint(endpoint));
    }
    let protocol = field::protocol(&port.protocol);
    if let Some(tls) = &listener.tls {
        f.field("tls", |f| check_tls(tls, protocol, f));
    }
    check_connection_pool("connectionPool", listener.connection_pool.as_ref(), f);
    let has_http = listener
        .connection_pool
        .as_ref()
        .is_some_and(|pool| pool.http.is_some());
    if has_http && protocol != Some(Protocol::Http) {
        f.warn_in(
            "connectionPool.http",
            "has no effect on a port that is not HTTP",
        );
    }
}

fn check_tls(tls: &ServerTls, protocol: Option<Protocol>, f: &mut Findings) {
    for (name, is_set) in [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("httpsRedirect", tls.https_redirect == Some(true)),
        (
            "credentialName",
            written(tls.credential_name.as_ref()).is_some(),
        ),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ] {
        if is_set {
            f.error_in(name, "is not supported in a Sidecar");
        }
    }
    if let Some(mode @ (ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough)) = tls.mode {
        f.error_in(
            "mode",
            format!(
                "must be SIMPLE or MUTUAL in a Sidecar, got {}",
                server_tls::name(mode)
            ),
        );
    }
    if protocol != Some(Protocol::Tls) {
        f.error("must not be set unless the port's protocol is HTTPS or TLS");
    }
    server_tls::check(tls, f);
}

/// Where an ingress listener sends traffic: a local address with a port, or a Unix socket.
fn check_default_endpoint(endpoint: &str) -> Result<(), String> {
    if let Some(path) = endpoint.strip_prefix(field::UNIX) {
        return field::unix_path(path);
    }
    let local = ["127.0.0.1:", "0.0.0.0:", "[::1]:", "[::]:", ":"];
    let port = local.iter().find_map(|local| endpoint.strip_prefix(local));
    match port.and_then(|port| port.parse::<u32>().ok()) {
        Some(port) => field::port(port),
        None => Err(format!(
            "must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH, got \
             \"{endpoint}\""
        )),
    }
}

fn check_all_egress(listeners: &[EgressListener], meta: &Metadata, f: &mut Findings) {
    let mut ports = BTreeSet::new();
    let mut sockets = BTreeSet::new();
    let last = listeners.len().saturating_sub(1);
    for (index, listener) in listeners.iter().enumerate() {
        f.item("egress", index, |f| {
            match &listener.port {
                None if index < last => {
                    f.error_in("port", "is required except in the last listener");
                }
                None => {}
                Some(port) => {
                    check_egress_port(listener, port, f);
                    let bind = listener.bind.as_deref().unwrap_or_default();
                    if port.number == 0 && !sockets.insert(bind) {
                        f.error_in("bind", format!("must be unique, got \"{bind}\" again"));
                    } else if port.number != 0 && !ports.insert(port.number) {
                        f.error_in(
                            "port.number",
                            format!("must be unique, got {} again", port.number),
                        );
                    }
                }
            }
            check_egress_hosts(&listener.hosts, meta, f);
        });
    }
}

fn check_egress_port(listener: &EgressListener, port: &SidecarPort, f: &mut Findings) {
    f.field("port", |f| check_port(port, f));
    let bind = listener.bind.as_deref().unwrap_or_default();
    if port.number != 0 {
        f.require_in("port.number", field::port(port.number));
        if !bind.is_empty() {
            f.require_in("bind", host::check_address(bind));
        }
        return;
    }
    match bind.strip_prefix(field::UNIX) {
        Some(path) => {
            f.require_in("bind", field::unix_path(path));
        }
        None => f.error_in(
            "port.number",
            "must be from 1 to 65535 unless bind is a Unix socket",
        ),
    }
    if listener.capture_mode == Some(CaptureMode::Iptables) {
        f.error_in("captureMode", "must be DEFAULT or NONE for a Unix socket");
    }
}

/// Hosts in scope: `namespace/name`, where the namespace may be `*`, `.`, `~` (none) or, to exclude,
/// `~namespace`.
fn check_egress_hosts(hosts: &[String], meta: &Metadata, f: &mut Findings) {
    if hosts.is_empty() {
        f.error_in("hosts", "must have at least one host");
    }
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    f.each("hosts", hosts, |f, entry| {
        let Some((namespace, name)) = entry.split_once('/') else {
            f.error(format!(
                "must have the form namespace/name, got \"{entry}\""
            ));
            return;
        };
        let bare = namespace.strip_prefix('~').unwrap_or(namespace);
        if !matches!(namespace, "*" | "." | "~" | "~*" | "~.") && !host::is_label(bare) {
            f.error(format!(
                "must have \"*\", \".\", \"~\" or a namespace before the '/', got \"{entry}\""
            ));
        }
        f.require(gateway::check_listener_host(name));
        let own = if namespace == "." {
            meta.namespace.as_str()
        } else {
            namespace
        };
        let names = seen.entry(own).or_default();
        let repeats = match name {
            "*" => !names.is_empty(),
            _ => names.contains(name) || names.contains("*"),
        };
        if repeats {
            f.warn(format!(
                "is in scope already by another entry, got \"{entry}\""
            ));
        }
        names.insert(name);
    });
    let all = seen.get("*").is_some_and(|names| names.contains("*"));
    if all
        && seen
            .keys()
            .any(|namespace| *namespace != "*" && !namespace.starts_with('~'))
    {
        f.warn_in(
            "hosts",
            "has \"*/*\", which makes every other entry superfluous",
        );
    }
}

fn check_outbound(policy: &OutboundTrafficPolicy, f: &mut Findings) {
    let Some(proxy) = &policy.egress_proxy else {
        return;
    };
    if policy.mode != Some(OutboundMode::AllowAny) {
        f.error_in("egressProxy", "must not be set unless mode is ALLOW_ANY");
        return;
    }
    f.field("egressProxy", |f| {
        if proxy.port.is_none() {
            f.error_in("port", "is required");
        }
        if host::check_pattern(&proxy.host).is_ok() {
            f.require_in("host", host::check_name(&proxy.host));
        }
        check_target(proxy, f);
    });
}

#[cfg(test)]
mod tests;
