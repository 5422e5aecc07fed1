use serde_json::json;

use super::*;
use crate::decode::path::{segments_of, text_of};
use crate::resource::kubernetes::Service;
use crate::resource::virtual_service::VirtualService;

fn told(report: Report) -> Vec<String> {
    let found = report.into_found().into_iter();
    found
        .map(|found| format!("{}: {}", text_of(&found.path), found.message))
        .collect()
}

fn rule(value: &Value) -> (Option<VirtualService>, Report) {
    let report = Report::default();
    let rule = decode(value, &Path::Root, Unknown::Refuse, &report);
    (rule, report)
}

#[test]
fn what_is_right_is_decoded_beside_what_is_wrong() {
    let (rule, report) = rule(&json!({"hosts": ["a", 5, "c"], "http": [{"timeout": "soon"}]}));

    assert_eq!(rule.unwrap().hosts, ["a", "c"]);
    assert_eq!(report.len(), 2);
}

#[test]
fn null_is_absent_but_not_under_a_wrong_name() {
    let (rule, report) = rule(&json!({"hosts": null, "hots": null}));

    assert!(rule.unwrap().hosts.is_empty());
    assert_eq!(
        told(report),
        ["hots: unknown field `hots`, did you mean `hosts`?"]
    );
}

#[test]
fn alternate_spellings_of_the_api_are_read() {
    let (rule, report) = rule(&json!({"http": [{"mirror_percent": 5}]}));

    assert_eq!(rule.unwrap().http[0].mirror_percent, Some(5));
    assert_eq!(told(report), [""; 0]);
}

#[test]
fn two_spellings_of_one_field_are_told() {
    let (_, report) = rule(&json!({"http": [{"mirror_percent": 5, "mirrorPercent": 5}]}));

    assert_eq!(
        told(report),
        ["http[0]: has the field `mirrorPercent` in two spellings"]
    );
}

#[test]
fn kubernetes_kinds_may_have_fields_we_do_not_read() {
    let report = Report::default();
    let value =
        json!({"spec": {"sessionAffinity": "None", "ports": [{"port": 80, "nodePort": 3}]}});

    let service: Option<Service> = decode(&value, &Path::Root, Unknown::Ignore, &report);

    assert_eq!(service.unwrap().spec.ports[0].port, 80);
    assert_eq!(told(report), [""; 0]);
}

#[test]
fn problems_are_bounded_and_the_last_line_says_so() {
    let hosts: Vec<Value> = (0..500).map(Value::from).collect();

    let (_, report) = rule(&json!({ "hosts": hosts }));

    let told = told(report);
    assert_eq!(told.len(), PROBLEMS_MAX + 1);
    assert_eq!(
        told[PROBLEMS_MAX],
        ": too many problems: only the first 100 are shown"
    );
}

#[test]
fn a_mistake_overshadows_what_only_follows_from_it() {
    let (_, report) = rule(&json!({
        "hots": ["a"],
        "http": [{"route": [{"weight": "x"}, 7]}, {"timeout": "1s"}],
    }));

    for (path, follows) in [
        ("hosts", true),
        ("http[0].route[0].weight", true),
        ("http[0].route", true),
        ("http[0].route[2].weight", true),
        ("http[1].timeout", false),
        ("gateways", false),
    ] {
        assert_eq!(report.overshadows(&segments_of(path)), follows, "{path}");
    }
}
