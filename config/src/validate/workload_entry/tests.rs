use serde_json::json;

use crate::validate::tests::assert_reports;

#[test]
fn an_address_is_an_address_a_name_or_a_socket() {
    assert_reports(
        "WorkloadEntry",
        &[
            (json!({"address": "1.1.1.1", "ports": {"http": 80}}), &[]),
            (json!({"address": "a.b"}), &[]),
            (json!({"address": "unix:///run/a"}), &[]),
            (json!({}), &["spec.address: is required without network"]),
            (
                json!({"network": "n"}),
                &["warning: spec.address: is not set; traffic goes to the gateway of its network"],
            ),
            (
                json!({"address": "unix:///run/a/", "ports": {"a_b": 1}}),
                &[
                    "spec.address: must be unix:// and an absolute path or @name, got \
                     \"unix:///run/a/\"",
                    "spec.ports: must not be set for a Unix socket",
                    "spec.ports.a_b: must be a DNS label (letters, digits and inner hyphens), got \
                     \"a_b\"",
                ],
            ),
            (
                json!({"address": "a.b:9443"}),
                &[
                    "spec.address: must be a DNS name, got \"a.b:9443\": \"b:9443\" is not 1 to 63 \
                   letters, digits and inner hyphens",
                ],
            ),
        ],
    );
}
