use crate::validate::tests::{reports, resource};

fn annotated(kind: &str, spec: &serde_json::Value, name: &str, value: &str) -> Vec<String> {
    let mut resource = resource(kind, spec);
    resource
        .meta
        .annotations
        .insert(name.to_owned(), value.to_owned());
    reports(&resource)
}

fn service(name: &str, value: &str) -> Vec<String> {
    let rules = serde_json::json!([{"route": [{"destination": {"host": "a"}}]}]);
    annotated(
        "VirtualService",
        &serde_json::json!({"hosts": ["a"], "http": rules}),
        name,
        value,
    )
}

#[test]
fn sticky_by_names_a_property_of_the_request() {
    let path = "metadata.annotations[\"meshproxy.io/sticky-by\"]";
    for value in [
        "header:x-user",
        "cookie:sid",
        "cookie:sid;ttl=1h",
        "cookie:s; ttl=0s",
        "source-ip",
    ] {
        assert!(
            service("meshproxy.io/sticky-by", value).is_empty(),
            "{value}"
        );
    }
    let forms =
        "PATH: must be header:NAME, cookie:NAME[;ttl=DURATION], source-ip or jwt:CLAIM, got";
    for (value, message) in [
        (
            "jwt:sub",
            "warning: PATH: jwt has no effect on requests of workloads, only at gateways",
        ),
        ("header:", &format!("{forms} \"header:\"")),
        ("ip", &format!("{forms} \"ip\"")),
        (
            "cookie:sid;ttl=5",
            "PATH: ttl must be a duration such as \"1.5s\", \"100ms\" or \"1h\", got \"5\"",
        ),
        (
            "cookie:sid;path=/",
            "PATH: must have only ttl=DURATION after \";\", got \"path=/\"",
        ),
        (
            "cookie:a b",
            "PATH: must name a cookie after \"cookie:\", got \"a b\"",
        ),
    ] {
        assert_eq!(
            service("meshproxy.io/sticky-by", value),
            [message.replace("PATH", path)]
        );
    }
}

#[test]
fn unknown_annotations_of_ours_suggest_the_nearest() {
    for (name, message) in [
        (
            "stickyby",
            "is not known and has no effect; did you mean meshproxy.io/sticky-by?",
        ),
        (
            "fault-scop",
            "is not known and has no effect; did you mean meshproxy.io/fault-scope?",
        ),
        (
            "zzz",
            "is not known and has no effect; known are meshproxy.io/sticky-by, \
             meshproxy.io/fault-scope, meshproxy.io/fault-reset, meshproxy.io/fault-slow-body, \
             meshproxy.io/outlier-success-rate, meshproxy.io/health-check",
        ),
    ] {
        let path = format!("metadata.annotations[\"meshproxy.io/{name}\"]");
        let reports = service(&format!("meshproxy.io/{name}"), "attempt");
        assert_eq!(reports, [format!("warning: {path}: {message}")]);
    }
    assert!(service("example.com/other", "x").is_empty());
}

#[test]
fn faults_by_annotation_say_how_much_and_where() {
    let spec = serde_json::json!({"hosts": ["a"], "http": [
        {"name": "buy", "route": [{"destination": {"host": "a"}}]},
    ]});
    for (name, value, messages) in [
        ("fault-scope", "attempt", &[][..]),
        ("fault-scope", "request", &[]),
        (
            "fault-scope",
            "try",
            &["must be request or attempt, got \"try\""],
        ),
        ("fault-reset", "10%", &[]),
        ("fault-reset", "0.0001%; rules=buy", &[]),
        (
            "fault-reset",
            "1%; rules=sell",
            &["must name rules of http, got \"sell\""],
        ),
        (
            "fault-reset",
            "x",
            &["must begin with a share such as \"10%\" or \"0.5%\", got \"x\""],
        ),
        ("fault-slow-body", "10%; rate=1KiB/s", &[]),
        (
            "fault-slow-body",
            "10%",
            &["must have a rate, such as \"10%; rate=1KiB/s\""],
        ),
    ] {
        let name = format!("meshproxy.io/{name}");

        let reports = annotated("VirtualService", &spec, &name, value);

        let path = format!("metadata.annotations[{name:?}]");
        let expected: Vec<String> = messages.iter().map(|it| format!("{path}: {it}")).collect();
        assert_eq!(reports, expected, "{value}");
    }
}

#[test]
fn rules_of_delegates_are_not_looked_for() {
    let spec = serde_json::json!({"hosts": ["a"], "http": [{"delegate": {"name": "b"}}]});

    let reports = annotated(
        "VirtualService",
        &spec,
        "meshproxy.io/fault-reset",
        "1%; rules=x",
    );

    assert!(reports.is_empty(), "{reports:?}");
}

#[test]
fn reserved_annotations_are_refused() {
    for (name, message) in [
        (
            "internal.istio.io/parents",
            "is reserved for the control plane; remove it",
        ),
        (
            "internal.istio.io/webhook-always-reject",
            "asks for the resource to be refused; remove it",
        ),
        (
            "istio.io/dry-run",
            "is not supported on a VirtualService; remove it",
        ),
    ] {
        assert_eq!(
            service(name, "true"),
            [format!("metadata.annotations[{name:?}]: {message}")]
        );
    }
}

#[test]
fn stickiness_is_for_virtual_services_only() {
    let spec = serde_json::json!({"host": "a"});

    let reports = annotated(
        "DestinationRule",
        &spec,
        "meshproxy.io/sticky-by",
        "source-ip",
    );

    let path = "metadata.annotations[\"meshproxy.io/sticky-by\"]";
    let message = "has no effect on a DestinationRule, only on a VirtualService";
    assert_eq!(reports, [format!("warning: {path}: {message}")]);
}

#[test]
fn how_endpoints_are_judged_is_for_destination_rules_only() {
    let outlier = serde_json::json!({"host": "a", "trafficPolicy": {"outlierDetection": {}}});
    let plain = serde_json::json!({"host": "a"});
    let rate = "meshproxy.io/outlier-success-rate";
    let check = "meshproxy.io/health-check";
    let at = |name: &str, message: &str| [format!("metadata.annotations[{name:?}]: {message}")];
    let warned = |name, message| at(name, message).map(|report| format!("warning: {report}"));

    assert!(annotated("DestinationRule", &outlier, rate, "hosts=3").is_empty());
    assert!(annotated("DestinationRule", &plain, check, "http:/healthz").is_empty());
    assert_eq!(
        annotated("DestinationRule", &plain, rate, "hosts=3"),
        warned(rate, "has no effect without outlierDetection")
    );
    assert_eq!(
        annotated("DestinationRule", &outlier, rate, "hosts=1"),
        at(rate, "hosts must be from 2 to 10000, got \"1\"")
    );
    assert_eq!(
        annotated("DestinationRule", &plain, check, "tcp;port=0"),
        at(check, "port must be from 1 to 65535, got \"0\"")
    );
    for (name, value) in [(rate, "hosts=3"), (check, "tcp")] {
        assert_eq!(
            service(name, value),
            warned(
                name,
                "has no effect on a VirtualService, only on a DestinationRule"
            )
        );
    }
}
