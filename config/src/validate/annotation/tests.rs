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
        ("jwt:sub", "warning: PATH: jwt has no effect yet"),
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
        ("fault-scope", "has no effect yet"),
        (
            "zzz",
            "is not known and has no effect; known are meshproxy.io/sticky-by and \
             meshproxy.io/fault-scope",
        ),
    ] {
        let path = format!("metadata.annotations[\"meshproxy.io/{name}\"]");
        let reports = service(&format!("meshproxy.io/{name}"), "attempt");
        assert_eq!(reports, [format!("warning: {path}: {message}")]);
    }
    assert!(service("example.com/other", "x").is_empty());
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
