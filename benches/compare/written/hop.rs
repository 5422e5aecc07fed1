//! The configuration of the two sides of a hop in a mesh: one takes plain text and speaks mutual TLS,
//! the other the other way round. TLS 1.3 only, both sides verify each other against one authority,
//! keys are of P-256; everything else is the program's default.

use serde_json::{Value, json};

use super::{Wanted, document};
use crate::identity::Side;

/// Istio resources for meshproxy, which gets its certificates by `--identity-dir`.
pub(super) fn meshproxy(wanted: Wanted<'_>) -> String {
    let Wanted {
        side,
        listen_port,
        upstream_port,
        ..
    } = wanted;
    let resource = |group: &str, kind: &str, spec: Value| {
        json!({
            "apiVersion": format!("{group}.istio.io/v1"), "kind": kind,
            "metadata": {"name": "hop", "namespace": "default"}, "spec": spec,
        })
    };
    let port = json!({"number": listen_port, "name": "http", "protocol": "HTTP"});
    let documents = match side {
        Side::Plain => Vec::new(),
        Side::Client => vec![
            resource(
                "networking",
                "Gateway",
                json!({"servers": [
                    {"port": port, "bind": "127.0.0.1", "hosts": ["*"]},
                ]}),
            ),
            resource(
                "networking",
                "VirtualService",
                json!({
                    "hosts": ["*"], "gateways": ["hop"],
                    "http": [{"route": [{"destination": {"host": "upstream.example.com"}}]}],
                }),
            ),
            resource(
                "networking",
                "ServiceEntry",
                json!({
                    "hosts": ["upstream.example.com"], "resolution": "STATIC",
                    "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                    "endpoints": [{"address": "127.0.0.1", "ports": {"http": upstream_port}}],
                }),
            ),
            resource(
                "networking",
                "DestinationRule",
                json!({
                    "host": "upstream.example.com",
                    "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}},
                }),
            ),
        ],
        Side::Server => vec![
            resource(
                "networking",
                "Sidecar",
                json!({"ingress": [{
                    "port": port, "bind": "127.0.0.1",
                    "defaultEndpoint": format!("127.0.0.1:{upstream_port}"),
                }]}),
            ),
            resource(
                "security",
                "PeerAuthentication",
                json!({"mtls": {"mode": "STRICT"}}),
            ),
        ],
    };
    documents.iter().map(document).collect()
}

/// What stands after the address of HAProxy's listener and of its server.
pub(super) fn haproxy(wanted: Wanted<'_>) -> (String, String) {
    let tls = || {
        let file = |name| wanted.identities.file(wanted.side, name);
        format!(
            " ssl crt {} ca-file {} verify required ssl-min-ver TLSv1.3 alpn http/1.1",
            file("both.pem"),
            file("root-cert.pem")
        )
    };
    match wanted.side {
        Side::Plain => (String::new(), String::new()),
        Side::Client => (String::new(), tls()),
        Side::Server => (tls(), String::new()),
    }
}

/// The transport sockets of Envoy's listener and of its cluster.
pub(super) fn envoy(wanted: Wanted<'_>) -> (Option<Value>, Option<Value>) {
    let api = "envoy.extensions.transport_sockets.tls.v3";
    let file = |name| json!({"filename": wanted.identities.file(wanted.side, name)});
    let common = json!({
        // By itself it speaks at most TLS 1.2 to upstreams.
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "alpn_protocols": ["http/1.1"],
        "tls_certificates": [
            {"certificate_chain": file("cert-chain.pem"), "private_key": file("key.pem")},
        ],
        "validation_context": {"trusted_ca": file("root-cert.pem")},
    });
    let socket = |context: &str, mut typed: Value| {
        typed["@type"] = json!(format!("type.googleapis.com/{api}.{context}"));
        typed["common_tls_context"] = common.clone();
        json!({"name": "envoy.transport_sockets.tls", "typed_config": typed})
    };
    match wanted.side {
        Side::Plain => (None, None),
        Side::Client => {
            let upstream = json!({"sni": "upstream.example.com"});
            (None, Some(socket("UpstreamTlsContext", upstream)))
        }
        Side::Server => {
            let downstream = json!({"require_client_certificate": true});
            (Some(socket("DownstreamTlsContext", downstream)), None)
        }
    }
}
