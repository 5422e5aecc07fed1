use serde_json::json;

use crate::validate::tests::assert_reports;

#[test]
fn services_have_ports_and_addresses_that_can_be_used() {
    assert_reports(
        "Service",
        &[
            (
                json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}}),
                &[],
            ),
            (
                json!({"spec": {"ports": [{"port": 0, "targetPort": 70000}], "clusterIP": "x"}}),
                &[
                    "spec.ports[0].port: must be a port number from 1 to 65535, got 0",
                    "spec.ports[0].targetPort: must be a port number from 1 to 65535, got 70000",
                    "spec.clusterIP: must be an IP address, got \"x\"",
                ],
            ),
            (
                json!({"spec": {"type": "ExternalName"}}),
                &["spec.externalName: must be a DNS name, got \"\""],
            ),
        ],
    );
}

#[test]
fn slices_have_addresses_of_their_type() {
    let slice = |kind: &str| json!({"addressType": kind, "endpoints": [{"addresses": ["a.b"]}], "ports": [{"port": 1}]});
    assert_reports(
        "EndpointSlice",
        &[
            (slice("FQDN"), &[]),
            (
                slice("IPv4"),
                &["endpoints[0].addresses[0]: must be an IP address, got \"a.b\""],
            ),
        ],
    );
}
