use serde_json::{Value, json};

use crate::validate::tests::assert_reports;

fn ingress(fields: Value) -> Value {
    let mut listener = json!({"port": {"number": 80, "protocol": "HTTP"}});
    for (name, value) in fields.as_object().into_iter().flatten() {
        listener[name] = value.clone();
    }
    json!({"ingress": [listener]})
}

#[test]
fn ingress_listeners_have_a_port_and_a_local_endpoint() {
    for endpoint in [
        "127.0.0.1:1",
        "[::1]:1",
        "0.0.0.0:1",
        "[::]:1",
        "unix:///run/a",
    ] {
        assert_reports(
            "Sidecar",
            &[(ingress(json!({"defaultEndpoint": endpoint})), &[])],
        );
    }
    let form = "must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH, got";
    assert_reports(
        "Sidecar",
        &[
            (
                json!({}),
                &[
                    "spec: must have one of ingress, egress, outboundTrafficPolicy, inboundConnectionPool",
                ],
            ),
            (
                json!({"ingress": [{}]}),
                &["spec.ingress[0].port: is required"],
            ),
            (
                ingress(json!({"defaultEndpoint": "10.0.0.1:80"})),
                &[&format!(
                    "spec.ingress[0].defaultEndpoint: {form} \"10.0.0.1:80\""
                )],
            ),
            (
                ingress(json!({"defaultEndpoint": "127.0.0.1:0", "bind": "unix:///a"})),
                &[
                    "spec.ingress[0].bind: must be an IP address, got \"unix:///a\"",
                    "spec.ingress[0].defaultEndpoint: must be a port number from 1 to 65535, got 0",
                ],
            ),
            (
                ingress(json!({"tls": {"mode": "ISTIO_MUTUAL"}})),
                &[
                    "spec.ingress[0].tls.mode: must be SIMPLE or MUTUAL in a Sidecar, got ISTIO_MUTUAL",
                    "spec.ingress[0].tls: must not be set unless the port's protocol is HTTPS or TLS",
                ],
            ),
        ],
    );
}

#[test]
fn egress_listeners_name_hosts_by_namespace() {
    let hosts = |hosts: Value| json!({"egress": [{"hosts": hosts}]});
    assert_reports(
        "Sidecar",
        &[
            (hosts(json!(["./*", "ns/a.b", "~/*.c"])), &[]),
            (hosts(json!(["*/*", "~ns/*"])), &[]),
            (
                hosts(json!([])),
                &["spec.egress[0].hosts: must have at least one host"],
            ),
            (
                hosts(json!(["a.b"])),
                &["spec.egress[0].hosts[0]: must have the form namespace/name, got \"a.b\""],
            ),
            (
                hosts(json!(["~N_S/*"])),
                &[
                    "spec.egress[0].hosts[0]: must have \"*\", \".\", \"~\" or a namespace before the \
                   '/', got \"~N_S/*\"",
                ],
            ),
            (
                hosts(json!(["ns/*", "ns/a.b"])),
                &[
                    "warning: spec.egress[0].hosts[1]: is in scope already by another entry, got \
                   \"ns/a.b\"",
                ],
            ),
        ],
    );
}

#[test]
fn egress_ports_are_unique_and_only_the_last_listener_has_none() {
    let listener = |fields: Value| {
        let mut listener = json!({"hosts": ["./*"]});
        listener["port"] = fields;
        listener
    };
    let port = json!({"number": 80, "protocol": "HTTP"});
    assert_reports(
        "Sidecar",
        &[
            (
                json!({"egress": [listener(port.clone()), {"hosts": ["./*"]}]}),
                &[],
            ),
            (
                json!({"egress": [{"hosts": ["./*"]}, listener(port.clone()), listener(port.clone())]}),
                &[
                    "spec.egress[0].port: is required except in the last listener",
                    "spec.egress[2].port.number: must be unique, got 80 again",
                ],
            ),
            (
                json!({"egress": [listener(json!({"number": 0}))]}),
                &[
                    "spec.egress[0].port.number: must be from 1 to 65535 unless bind is a Unix socket",
                ],
            ),
        ],
    );
}

#[test]
fn an_egress_proxy_needs_allow_any_and_a_port() {
    let policy = |fields: Value| json!({"outboundTrafficPolicy": fields});
    assert_reports(
        "Sidecar",
        &[
            (
                policy(
                    json!({"mode": "ALLOW_ANY", "egressProxy": {"host": "a", "port": {"number": 1}}}),
                ),
                &[],
            ),
            (
                policy(json!({"egressProxy": {"host": "a"}})),
                &[
                    "spec.outboundTrafficPolicy.egressProxy: must not be set unless mode is ALLOW_ANY",
                ],
            ),
            (
                policy(json!({"mode": "ALLOW_ANY", "egressProxy": {"host": "a"}})),
                &["spec.outboundTrafficPolicy.egressProxy.port: is required"],
            ),
        ],
    );
}
