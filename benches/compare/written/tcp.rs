//! The configuration of proxies that carry connections which are not HTTP.
//!
//! A gateway of meshproxy lets TLS pass by the name that it asks for; the others carry whatever comes.
//! HAProxy may splice, as meshproxy does; it and Envoy may have as many connections as there are.

use serde_json::{Value, json};

use super::{Wanted, document};
use crate::tcp::HOST;

/// Far more connections than are opened.
const CONNECTIONS_MAX: u32 = 100_000;
/// More than are opened; HAProxy reserves descriptors for each.
const HAPROXY_CONNECTIONS_MAX: u32 = 10_500;
/// Pipes of HAProxy, more than directions of `tcp`: it takes their descriptors from those of connections.
const PIPES_MAX: u32 = 64;

/// Istio resources for meshproxy.
pub(super) fn meshproxy(wanted: Wanted<'_>) -> String {
    let resource = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": kind,
            "metadata": {"name": "tcp", "namespace": "default"}, "spec": spec,
        })
    };
    let port = json!({"number": wanted.listen_port, "name": "tls", "protocol": "TLS"});
    let server = json!({
        "port": port, "bind": "127.0.0.1", "hosts": [HOST], "tls": {"mode": "PASSTHROUGH"},
    });
    let route = json!({
        "match": [{"sniHosts": [HOST]}], "route": [{"destination": {"host": HOST}}],
    });
    let documents = [
        resource("Gateway", json!({"servers": [server]})),
        resource(
            "VirtualService",
            json!({"hosts": [HOST], "gateways": ["tcp"], "tls": [route]}),
        ),
        resource(
            "ServiceEntry",
            json!({
                "hosts": [HOST], "location": "MESH_EXTERNAL", "resolution": "STATIC",
                "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
                "endpoints": [{"address": "127.0.0.1", "ports": {"tls": wanted.upstream_port}}],
            }),
        ),
    ];
    documents.iter().map(document).collect()
}

/// `haproxy.cfg`.
pub(super) fn haproxy(wanted: Wanted<'_>) -> String {
    let Wanted {
        listen_port,
        upstream_port,
        ..
    } = wanted;
    format!(
        "global
  nbthread 1
  no strict-limits
  maxconn {HAPROXY_CONNECTIONS_MAX}
  maxpipes {PIPES_MAX}
defaults
  mode tcp
  option splice-auto
  maxconn {CONNECTIONS_MAX}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend edge
  bind 127.0.0.1:{listen_port}
  default_backend upstream
backend upstream
  server one 127.0.0.1:{upstream_port}
"
    )
}

/// Envoy's static bootstrap, as JSON.
pub(super) fn envoy(wanted: Wanted<'_>) -> String {
    let address =
        |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "edge", "cluster": "upstream",
    });
    let bootstrap = json!({"static_resources": {
        "listeners": [{
            "name": "edge", "address": address(wanted.listen_port),
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy},
            ]}],
        }],
        "clusters": [{
            "name": "upstream", "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [{
                "max_connections": CONNECTIONS_MAX, "max_pending_requests": CONNECTIONS_MAX,
            }]},
            "load_assignment": {"cluster_name": "upstream", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(wanted.upstream_port)}}]},
            ]},
        }],
    }});
    format!("{bootstrap:#}\n")
}
