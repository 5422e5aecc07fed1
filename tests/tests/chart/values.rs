//! Which values the chart takes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use tests::chart::{VARIANTS, folder, helm, refusal};

#[test]
fn strict_lint_finds_nothing_whatever_is_set() {
    for (what, settings) in VARIANTS {
        let mut arguments = vec!["lint", "--strict", "--kube-version", "1.36.0"];
        settings
            .iter()
            .for_each(|setting| arguments.extend(["--set", setting]));

        let linted = helm(&arguments);

        let said = String::from_utf8_lossy(&linted.stdout);
        assert!(linted.status.success(), "{what}: {said}");
    }
}

#[test]
fn what_is_misspelt_or_out_of_range_is_refused_with_its_place() {
    for (setting, place, why) in [
        ("gatway.enabled=true", "''", "'gatway' not allowed"),
        ("control.replica=2", "/control", "'replica' not allowed"),
        ("control.replicas=0", "/control/replicas", "want 1"),
        ("control.replicas=two", "/control/replicas", "want integer"),
        (
            "control.resources.limit.memory=1Gi",
            "/control/resources",
            "'limit' not allowed",
        ),
        (
            "control.certificateLifetime=1 day",
            "/control/certificateLifetime",
            "does not match",
        ),
        (
            "control.extraArgs={serve}",
            "/control/extraArgs/0",
            "does not match",
        ),
        ("revision=Canary", "/revision", "does not match"),
        (
            "secrets.namespaces={shop,shop}",
            "/secrets/namespaces",
            "equal",
        ),
        (
            "webhooks.injection.failurePolicy=Maybe",
            "/webhooks/injection/failurePolicy",
            "'Fail', 'Ignore'",
        ),
        (
            "webhooks.timeoutSeconds=31",
            "/webhooks/timeoutSeconds",
            "want 30",
        ),
        (
            "sidecar.accessLog=xml",
            "/sidecar/accessLog",
            "'off', 'text', 'json'",
        ),
        (
            "gateway.service.ports[0].port=70000",
            "/gateway/service/ports/0",
            "want 65,535",
        ),
        (
            "meshConfig.trustDomain=Shop Test",
            "/meshConfig/trustDomain",
            "does not match",
        ),
    ] {
        let said = refusal(&[setting]);

        assert!(said.contains(place), "{setting}: {said}");
        assert!(said.contains(why), "{setting}: {said}");
    }
}

#[test]
fn every_object_of_the_schema_says_what_may_be_in_it() {
    let schema = schema();

    let mut open = Vec::new();
    visit(&schema, "", &mut |path, part| {
        if part["type"] == "object" && part.get("additionalProperties").is_none() {
            open.push(path.to_owned());
        }
    });

    // What these hold is told by others: Helm, Istio's reference and Kubernetes.
    let others = [
        "/properties/global",
        "/properties/meshConfig",
        "/properties/control/properties/tolerations/items",
        "/properties/control/properties/affinity",
        "/properties/gateway/properties/tolerations/items",
        "/properties/gateway/properties/affinity",
    ];
    assert_eq!(open, others);
}

#[test]
fn every_value_that_may_be_set_is_documented_with_its_default() {
    let defaults = fs::read_to_string(folder().join("values.yaml")).expect("the chart has values");
    let defaults: Value = config::strict::parse(Path::new("values.yaml"), &defaults)
        .expect("the values are YAML")
        .value;

    let missing = missing(&schema(), &defaults, "");

    // Free by nature, or only of use where a chart is below another.
    let expected = [
        "/global",
        "/meshConfig/trustDomain",
        "/meshConfig/rootNamespace",
    ];
    assert_eq!(missing, expected);
}

/// Properties of the schema that `defaults` does not have.
fn missing(schema: &Value, defaults: &Value, path: &str) -> Vec<String> {
    let properties = schema["properties"].as_object();
    let mut found = Vec::new();
    for (name, schema) in properties.into_iter().flatten() {
        let path = format!("{path}/{name}");
        match defaults.get(name) {
            Some(value) => found.extend(missing(schema, value, &path)),
            None => found.push(path),
        }
    }
    found
}

fn schema() -> Value {
    let text = fs::read(folder().join("values.schema.json")).expect("the chart has a schema");
    serde_json::from_slice(&text).expect("the schema is JSON")
}

fn visit(part: &Value, path: &str, see: &mut impl FnMut(&str, &Value)) {
    if let Value::Object(fields) = part {
        see(path, part);
        for (name, inner) in fields {
            visit(inner, &format!("{path}/{name}"), see);
        }
    }
}
