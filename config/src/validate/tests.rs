//! Reads a resource as JSON, validates it, and compares what is reported with tables.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::problem::Severity;
use crate::resource::{Metadata, Source};

/// A resource of a kind, from its spec, named `test` in namespace `default`.
pub(crate) fn resource(kind: &str, spec: &Value) -> Resource {
    let value = spec.clone();
    let read = "a spec that decodes";
    let spec = match kind {
        "VirtualService" => Spec::VirtualService(serde_json::from_value(value).expect(read)),
        "DestinationRule" => Spec::DestinationRule(serde_json::from_value(value).expect(read)),
        "Gateway" => Spec::Gateway(serde_json::from_value(value).expect(read)),
        "ServiceEntry" => Spec::ServiceEntry(serde_json::from_value(value).expect(read)),
        "WorkloadEntry" => Spec::WorkloadEntry(serde_json::from_value(value).expect(read)),
        "Sidecar" => Spec::Sidecar(serde_json::from_value(value).expect(read)),
        "PeerAuthentication" => {
            Spec::PeerAuthentication(serde_json::from_value(value).expect(read))
        }
        "RequestAuthentication" => {
            Spec::RequestAuthentication(serde_json::from_value(value).expect(read))
        }
        "RateLimitPolicy" => Spec::RateLimitPolicy(serde_json::from_value(value).expect(read)),
        "Service" => Spec::Service(serde_json::from_value(value).expect(read)),
        "EndpointSlice" => Spec::EndpointSlice(serde_json::from_value(value).expect(read)),
        other => panic!("no such kind: {other}"),
    };
    let name = "test".to_owned();
    let namespace = "default".to_owned();
    let meta = Metadata {
        name,
        namespace,
        ..Metadata::default()
    };
    Resource {
        meta,
        source: Source {
            file: Path::new("test.yaml").into(),
            line: 1,
        },
        spec,
    }
}

/// What is reported of a resource, each as `path: message`, warnings with `warning: ` in front.
pub(crate) fn reports(resource: &Resource) -> Vec<String> {
    let line = |finding: Finding| match finding.severity {
        Severity::Error => format!("{}: {}", finding.path, finding.message),
        Severity::Warning => format!("warning: {}: {}", finding.path, finding.message),
    };
    validate(resource).into_iter().map(line).collect()
}

/// Validates every spec of a table and compares all that is reported.
pub(crate) fn assert_reports(kind: &str, table: &[(Value, &[&str])]) {
    for (spec, expected) in table {
        assert_eq!(reports(&resource(kind, spec)), *expected, "{spec}");
    }
}

#[test]
fn every_problem_of_a_resource_is_reported_at_once() {
    let spec = serde_json::json!({"hosts": ["a_b"], "http": [{"timeout": "0s", "route": [
        {"destination": {"host": "reviews"}, "weight": 1},
        {"destination": {"host": "reviews", "subset": "V_2"}, "weight": -5}]}]});

    let reports = reports(&resource("VirtualService", &spec));

    let label = "must be a DNS label (letters, digits and inner hyphens), got \"V_2\"";
    let host = "must be a DNS name, got \"a_b\": \"a_b\" is not 1 to 63 letters, digits and inner \
                hyphens";
    assert_eq!(
        reports,
        [
            format!("spec.hosts[0]: {host}"),
            format!("spec.http[0].route[1].destination.subset: {label}"),
            "spec.http[0].route[1].weight: must not be negative, got -5".to_owned(),
            "spec.http[0].timeout: must be at least 1ms, got 0s".to_owned(),
        ]
    );
}

#[test]
fn a_plain_resource_of_every_kind_has_no_problem() {
    use serde_json::json;

    let route = json!([{"destination": {"host": "reviews"}}]);
    let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
    for (kind, spec) in [
        (
            "VirtualService",
            json!({"hosts": ["reviews"], "http": [{"route": route}]}),
        ),
        (
            "DestinationRule",
            json!({"host": "reviews", "subsets": [{"name": "v1"}]}),
        ),
        (
            "Gateway",
            json!({"servers": [{"port": port, "hosts": ["*"]}]}),
        ),
        (
            "ServiceEntry",
            json!({"hosts": ["a.example"], "resolution": "DNS", "ports": [port]}),
        ),
        ("WorkloadEntry", json!({"address": "10.0.0.1"})),
        ("Sidecar", json!({"egress": [{"hosts": ["./*"]}]})),
        (
            "Service",
            json!({"spec": {"ports": [{"port": 80}], "clusterIP": "None"}}),
        ),
        (
            "EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"]}]}),
        ),
    ] {
        assert_reports(kind, &[(spec, &[])]);
    }
}
