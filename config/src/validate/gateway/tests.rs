use serde_json::{Value, json};

use crate::validate::tests::{assert_reports, reports, resource};

/// A server of a protocol with further fields.
fn server(protocol: &str, fields: Value) -> Value {
    let mut server =
        json!({"port": {"number": 443, "name": "p", "protocol": protocol}, "hosts": ["a.b"]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        server[name] = value.clone();
    }
    json!({"servers": [server]})
}

/// Compares what is reported of single servers; paths are within the server.
fn assert_servers(table: &[(Value, &[&str])]) {
    for (gateway, expected) in table {
        let reports = reports(&resource("Gateway", gateway));
        let reports: Vec<String> = reports
            .iter()
            .map(|report| report.replacen("spec.servers[0].", "", 1))
            .collect();
        assert_eq!(reports, *expected, "{gateway}");
    }
}

#[test]
fn servers_have_hosts_and_ports() {
    let port = json!({"number": 80, "name": "p", "protocol": "HTTP"});
    assert_reports(
        "Gateway",
        &[
            (json!({}), &["spec.servers: must have at least one server"]),
            (
                json!({"servers": [{}]}),
                &[
                    "spec.servers[0].hosts: must have at least one host",
                    "spec.servers[0].port: is required",
                ],
            ),
            (
                json!({"servers": [{"port": port, "hosts": ["*"]}, {"port": port, "hosts": ["*"]}]}),
                &["spec.servers[1].port.name: must be unique, got \"p\" again"],
            ),
        ],
    );
}

#[test]
fn hosts_are_full_names_with_an_optional_namespace() {
    for host in ["*", "*.a", "a.b", "./a.b", "*/a.b", "ns/*", "1.2.3.4"] {
        assert_servers(&[(server("HTTP", json!({"hosts": [host]})), &[])]);
    }
    for (host, message) in [
        (
            "~/a.b",
            "must have \"*\", \".\" or a namespace before the '/', got \"~/a.b\"",
        ),
        ("a", "must be a full name with a dot, got \"a\""),
        (
            "*a.b",
            "must have a wildcard only as the whole first label, got \"*a.b\"",
        ),
    ] {
        let expected = format!("hosts[0]: {message}");
        assert_servers(&[(server("HTTP", json!({"hosts": [host]})), &[&expected])]);
    }
}

#[test]
fn ports_have_a_number_unless_the_address_is_a_socket() {
    let port = |number: u32| json!({"number": number, "name": "p", "protocol": "HTTP"});
    assert_servers(&[
        (
            server("", json!({"port": port(0), "bind": "unix:///run/a"})),
            &[],
        ),
        (
            server("", json!({"port": port(0), "bind": "a"})),
            &[
                "bind: must be an IP address, got \"a\"",
                "port.number: must be a port number from 1 to 65535, got 0",
            ],
        ),
        (
            server("", json!({"port": port(1), "bind": "unix://run"})),
            &[
                "bind: must be unix:// and an absolute path or @name, got \"unix://run\"",
                "port.number: must be 0 for a Unix socket, got 1",
            ],
        ),
        (
            server("KAFKA", json!({})),
            &[
                "port.protocol: must be HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL \
               or REDIS, got \"KAFKA\"",
            ],
        ),
    ]);
}

#[test]
fn tls_stands_with_protocols_that_have_it() {
    assert_servers(&[
        (server("HTTP", json!({"tls": {"httpsRedirect": true}})), &[]),
        (
            server("HTTPS", json!({})),
            &["tls: is required for protocol HTTPS"],
        ),
        (
            server(
                "HTTP",
                json!({"tls": {"mode": "SIMPLE", "credentialName": "c"}}),
            ),
            &["tls: must have only httpsRedirect for protocol HTTP"],
        ),
        (
            server(
                "TCP",
                json!({"tls": {"mode": "SIMPLE", "credentialName": "c"}}),
            ),
            &["tls: must not be set for protocol TCP"],
        ),
    ]);
}

#[test]
fn certificates_come_from_one_source() {
    let tls = |fields: Value| server("HTTPS", json!({"tls": fields}));
    assert_servers(&[
        (tls(json!({"mode": "SIMPLE", "credentialName": "c"})), &[]),
        (tls(json!({"mode": "PASSTHROUGH"})), &[]),
        (
            tls(json!({"mode": "MUTUAL", "serverCertificate": "c"})),
            &[
                "tls.privateKey: is required in mode MUTUAL",
                "tls.caCertificates: is required in mode MUTUAL",
            ],
        ),
        (
            tls(json!({"mode": "SIMPLE", "credentialName": "c", "credentialNames": ["d"]})),
            &["tls.credentialNames: must not be set together with credentialName"],
        ),
        (
            tls(json!({"mode": "SIMPLE", "tlsCertificates": [{"privateKey": "k"}]})),
            &["tls.tlsCertificates[0].serverCertificate: is required in mode SIMPLE"],
        ),
        (
            tls(json!({"mode": "ISTIO_MUTUAL", "privateKey": "k"})),
            &["tls.privateKey: must not be set in mode ISTIO_MUTUAL"],
        ),
        (
            tls(json!({"mode": "PASSTHROUGH", "caCrl": "f", "cipherSuites": ["x"]})),
            &[
                "warning: tls.cipherSuites[0]: is not known and is ignored, got \"x\"",
                "warning: tls.caCrl: has no effect in a mode that passes TLS through",
            ],
        ),
    ]);
}
