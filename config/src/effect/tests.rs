use serde_json::json;

use super::*;
use crate::decode::{Unknown, decode};
use crate::resource::destination_rule::DestinationRule;
use crate::resource::request_authentication::RequestAuthentication;
use crate::resource::service_entry::ServiceEntry;
use crate::resource::sidecar::Sidecar;
use crate::resource::virtual_service::VirtualService;
use crate::resource::workload_entry::WorkloadEntry;

/// What `kind` makes of a spec that has the fields of a pattern and nothing else.
fn decoded(kind: &str, spec: &Value) -> Vec<String> {
    let report = Report::default();
    let path = &Path::Root;
    match kind {
        VS => drop(decode::<VirtualService>(
            spec,
            path,
            Unknown::Refuse,
            &report,
        )),
        DR => drop(decode::<DestinationRule>(
            spec,
            path,
            Unknown::Refuse,
            &report,
        )),
        SE => drop(decode::<ServiceEntry>(spec, path, Unknown::Refuse, &report)),
        WE => drop(decode::<WorkloadEntry>(
            spec,
            path,
            Unknown::Refuse,
            &report,
        )),
        RA => drop(decode::<RequestAuthentication>(
            spec,
            path,
            Unknown::Refuse,
            &report,
        )),
        SC => drop(decode::<Sidecar>(spec, path, Unknown::Refuse, &report)),
        other => panic!("{other} is no kind of the table"),
    }
    report
        .into_found()
        .into_iter()
        .map(|found| found.message)
        .collect()
}

/// A spec that has the field a pattern names, with null as its value.
fn spec_with(steps: &[String]) -> Value {
    let Some((step, rest)) = steps.split_first() else {
        return Value::Null;
    };
    match step.strip_suffix("[]") {
        Some(name) => json!({ name: [spec_with(rest)] }),
        None => json!({ step: spec_with(rest) }),
    }
}

fn warnings(kind: &str, spec: &Value) -> Vec<String> {
    let report = Report::default();
    warn(kind, spec, &Path::Root, &report);
    let found = report.into_found().into_iter();
    found
        .map(|found| crate::decode::path::text_of(&found.path))
        .collect()
}

#[test]
fn every_pattern_names_a_field_of_its_kind() {
    for row in TABLE {
        for steps in row.patterns() {
            assert_eq!(
                decoded(row.kind, &spec_with(&steps)),
                [""; 0],
                "{} {steps:?}",
                row.kind
            );
        }
    }
}

#[test]
fn a_pattern_that_names_no_field_would_be_noticed() {
    let steps = ["http[]".to_owned(), "faults".to_owned()];

    assert_eq!(decoded(VS, &spec_with(&steps)).len(), 1);
}

#[test]
fn policies_are_looked_at_on_all_four_levels() {
    let tls = json!({"mode": "SIMPLE", "credentialName": "a"});
    let policy = json!({"tls": tls});
    let level = json!({"tls": tls, "portLevelSettings": [policy]});
    let spec = json!({"trafficPolicy": level, "subsets": [{"trafficPolicy": level}]});

    assert_eq!(
        warnings(DR, &spec),
        [
            "trafficPolicy.tls.credentialName",
            "subsets[0].trafficPolicy.tls.credentialName",
            "trafficPolicy.portLevelSettings[0].tls.credentialName",
            "subsets[0].trafficPolicy.portLevelSettings[0].tls.credentialName",
        ]
    );
}

#[test]
fn conditions_of_retries_that_cannot_hold_are_told_from_the_others() {
    let rule = |on: &str| json!({"http": [{"retries": {"attempts": 2, "retryOn": on}}]});

    assert_eq!(warnings(VS, &rule("5xx,503,unavailable")), [""; 0]);
    assert_eq!(
        warnings(VS, &rule("5xx,retriable-headers")),
        ["http[0].retries.retryOn"]
    );
    assert_eq!(
        warnings(VS, &rule("http3-post-connect-failure")),
        ["http[0].retries.retryOn"]
    );
}

#[test]
fn header_values_are_told_from_expressions_on_both_levels() {
    let rule = |value: &str| {
        let headers = json!({"request": {"set": {"x-a": value}}});
        json!({"http": [{"headers": headers, "route": [{"headers": headers}]}]})
    };

    assert_eq!(warnings(VS, &rule("50%%")), [""; 0]);
    assert_eq!(
        warnings(VS, &rule("%REQ(x-b)%")),
        [
            "http[0].headers.request.set",
            "http[0].route[0].headers.request.set",
        ]
    );
}
