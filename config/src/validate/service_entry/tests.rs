use serde_json::{Value, json};

use crate::validate::tests::{assert_reports, reports, resource};

/// An entry with an HTTP port and further fields.
fn entry(fields: Value) -> Value {
    let mut entry =
        json!({"hosts": ["a.b"], "ports": [{"number": 80, "name": "p", "protocol": "HTTP"}]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        entry[name] = value.clone();
    }
    entry
}

#[test]
fn hosts_suit_the_resolution() {
    assert_reports(
        "ServiceEntry",
        &[
            (entry(json!({"hosts": ["*.a"]})), &[]),
            (
                entry(json!({"hosts": []})),
                &["spec.hosts: must have at least one host"],
            ),
            (
                entry(json!({"hosts": ["*"]})),
                &[
                    "spec.hosts[0]: must be a host name or a wildcard such as \"*.example.com\", got \"*\"",
                ],
            ),
            (
                entry(json!({"hosts": ["*.a"], "resolution": "DNS"})),
                &[
                    "spec.hosts[0]: must be a DNS name without wildcard when DNS has no endpoints to \
                   resolve, got \"*.a\"",
                ],
            ),
            (
                entry(json!({"hosts": ["*.a"], "resolution": "DYNAMIC_DNS"})),
                &[],
            ),
            (
                entry(json!({"resolution": "DYNAMIC_DNS"})),
                &["spec.hosts[0]: must be a wildcard for DYNAMIC_DNS, got \"a.b\""],
            ),
        ],
    );
}

#[test]
fn addresses_are_ranges_only_where_nothing_is_resolved() {
    assert_reports(
        "ServiceEntry",
        &[
            (entry(json!({"addresses": ["10.0.0.0/8", "::1"]})), &[]),
            (
                entry(json!({"addresses": ["10.0.0.0/8"], "resolution": "DNS"})),
                &[
                    "spec.addresses[0]: must not be a range unless resolution is NONE or STATIC, got \
                   \"10.0.0.0/8\"",
                ],
            ),
        ],
    );
}

#[test]
fn ports_are_unique_and_tell_hosts_apart() {
    let port = |number: u32, name: &str, protocol: &str| json!({"number": number, "name": name, "protocol": protocol});
    assert_reports(
        "ServiceEntry",
        &[
            (
                entry(json!({"ports": [port(1, "a", "HTTP"), port(1, "a", "HTTP")]})),
                &[
                    "spec.ports[1].name: must be unique, got \"a\" again",
                    "spec.ports[1].number: must be unique, got 1 again",
                ],
            ),
            (
                entry(json!({"ports": [port(0, "", "HTTP")]})),
                &[
                    "spec.ports[0].number: must be a port number from 1 to 65535, got 0",
                    "spec.ports[0].name: must be a DNS label (letters, digits and inner hyphens), \
                     got \"\"",
                ],
            ),
            (
                entry(
                    json!({"hosts": ["a.b", "c.d"], "ports": [port(1, "a", "TCP")], "resolution": "DNS"}),
                ),
                &[
                    "spec.ports[0].protocol: must be HTTP or TLS to tell several hosts apart, got \"TCP\"",
                ],
            ),
            (
                entry(json!({"ports": [port(1, "a", "TCP")]})),
                &[
                    "warning: spec.ports[0].protocol: needs spec.addresses to tell connections of TCP \
                   apart",
                ],
            ),
        ],
    );
}

#[test]
fn endpoints_suit_the_resolution() {
    let with = |resolution: &str, endpoints: Value| {
        entry(json!({"resolution": resolution, "endpoints": endpoints}))
    };
    assert_reports(
        "ServiceEntry",
        &[
            (
                with(
                    "STATIC",
                    json!([{"address": "1.1.1.1", "ports": {"p": 8080}}]),
                ),
                &[],
            ),
            (with("STATIC", json!([{"address": "unix:///run/a"}])), &[]),
            (
                with("DNS", json!([{"address": "c.d"}, {"address": "1.1.1.1"}])),
                &[],
            ),
            (
                with("NONE", json!([{"address": "1.1.1.1"}])),
                &["spec.endpoints: must not be set with resolution NONE"],
            ),
            (
                with("STATIC", json!([{"address": "c.d", "ports": {"q": 0}}])),
                &[
                    "spec.endpoints[0].address: must be an IP address, got \"c.d\"",
                    "spec.endpoints[0].ports.q: must be a port number from 1 to 65535, got 0",
                    "spec.endpoints[0].ports.q: must be the name of one of spec.ports, got \"q\"",
                ],
            ),
            (
                with(
                    "DNS_ROUND_ROBIN",
                    json!([{"address": "c.d"}, {"address": "e.f"}]),
                ),
                &["spec.endpoints: must have at most 1 entry with DNS_ROUND_ROBIN, got 2"],
            ),
            (
                entry(
                    json!({"resolution": "STATIC", "endpoints": [{"address": "1.1.1.1"}],
                             "workloadSelector": {"labels": {"a": "*"}}}),
                ),
                &[
                    "spec.workloadSelector: must not have a wildcard, got \"a=*\"",
                    "spec.workloadSelector: must not be set together with endpoints",
                ],
            ),
        ],
    );
}

#[test]
fn an_entry_can_be_exported_to_nobody_but_not_besides() {
    assert!(
        reports(&resource(
            "ServiceEntry",
            &entry(json!({"exportTo": ["~"]}))
        ))
        .is_empty()
    );
    let expected = "spec.exportTo: must have no other entry beside \"~\", nobody";
    assert_reports(
        "ServiceEntry",
        &[(entry(json!({"exportTo": ["~", "."]})), &[expected])],
    );
}
