use serde_json::{Value, json};

use crate::validate::tests::{assert_reports, reports, resource};

fn limit(more: Value) -> Value {
    let mut limit = json!({"name": "all", "requests": 5, "per": "1s"});
    let own = limit.as_object_mut().expect("an object");
    own.extend(more.as_object().expect("an object").clone());
    json!({"limits": [limit]})
}

#[test]
fn the_policy_that_the_documentation_shows_is_valid() {
    let shown = json!({
        "selector": {"matchLabels": {"app": "productpage"}},
        "limits": [{
            "name": "all",
            "requests": 500,
            "per": "1s",
            "burst": 500,
            "match": [{"uri": {"prefix": "/"}}],
            "key": ["source.workload", "source.version"],
            "overrides": [
                {
                    "dimensions": {"source.workload": "reviews", "source.version": "v3"},
                    "requests": 1,
                    "per": "5s",
                },
                {"dimensions": {"source.ip": "10.28.11.20"}, "requests": 99, "per": "1s"},
            ],
        }],
        "scope": "LOCAL",
    });

    assert_reports("RateLimitPolicy", &[(shown, &[])]);
}

#[test]
fn a_policy_is_for_workloads_or_for_rules() {
    let targets = json!([
        {"group": "networking.istio.io", "kind": "VirtualService", "name": "a"},
        {"group": "", "kind": "Gateway", "name": "a"},
        {"group": "networking.istio.io", "kind": "VirtualService"},
    ]);
    let mut policy = limit(json!({}));
    policy["selector"] = json!({"matchLabels": {"a b": "c"}});
    policy["targetRefs"] = targets;

    assert_reports(
        "RateLimitPolicy",
        &[(
            policy,
            &[
                "spec.selector.matchLabels: must have keys of the form [DNS-NAME/]NAME with at most \
                 63 letters, digits, '-', '_' and '.', got \"a b\"",
                "spec.targetRefs: must not be set together with selector",
                "spec.targetRefs[1].group: must be networking.istio.io, got \"\"",
                "spec.targetRefs[1].kind: must be VirtualService, got \"Gateway\"",
                "spec.targetRefs[1].name: must not be named twice",
                "spec.targetRefs[2].name: is required",
            ],
        )],
    );
}

#[test]
fn limits_need_names_and_numbers_that_can_be_kept() {
    let twice = json!({"limits": [
        {"name": "a", "requests": 1, "per": "1s"},
        {"name": "a", "requests": 1, "per": "1s"},
    ]});
    assert_reports(
        "RateLimitPolicy",
        &[
            (json!({}), &["spec.limits: must have at least one limit"]),
            (
                json!({"limits": [{}]}),
                &[
                    "spec.limits[0].name: must be a DNS label (letters, digits and inner hyphens), \
                     got \"\"",
                    "spec.limits[0].requests: is required",
                    "spec.limits[0].per: is required",
                ],
            ),
            (
                twice,
                &["spec.limits[1].name: must be unique, got \"a\" again"],
            ),
            (
                limit(json!({"requests": 0, "burst": 0, "per": "500us"})),
                &[
                    "spec.limits[0].requests: must be at least 1, got 0",
                    "spec.limits[0].burst: must be at least 1, got 0",
                    "spec.limits[0].per: must be at least 1ms, got 500000ns",
                ],
            ),
            (
                limit(json!({"requests": 10_001, "per": "1ms"})),
                &["spec.limits[0].requests: must be at most 10000 in 1ms, got 10001 in 1ms"],
            ),
            (
                limit(json!({"per": "8761h"})),
                &["spec.limits[0].per: must be at most 8760h, got 31539600s"],
            ),
        ],
    );
}

#[test]
fn dimensions_are_those_that_there_are() {
    assert_reports(
        "RateLimitPolicy",
        &[
            (limit(json!({"key": ["request.headers[x-user]"]})), &[]),
            (
                limit(json!({"key": ["source.ip", "source.ip", "request.headers[]"]})),
                &[
                    "spec.limits[0].key[1]: must not be named twice, got \"source.ip\"",
                    "spec.limits[0].key[2]: must be a header name (letters, digits, '-' and '_'), \
                     got \"\"",
                ],
            ),
            (
                limit(json!({"key": ["source.workloads"]})),
                &[
                    "spec.limits[0].key[0]: unknown dimension \"source.workloads\", did you mean \
                     source.workload? Legal are source.workload, source.version, source.namespace, \
                     source.principal, source.ip, destination.host, request.method, request.path \
                     and request.headers[NAME]",
                ],
            ),
            (
                limit(json!({"overrides": [
                    {"dimensions": {"source.ip": "10.0.0.0/8"}, "requests": 1, "per": "1s"},
                    {"dimensions": {"source.ip": "10.0.0.0/8"}, "requests": 1, "per": "1s"},
                    {"requests": 1},
                ]})),
                &[
                    "spec.limits[0].overrides[0].dimensions[\"source.ip\"]: must be an IP address, \
                     got \"10.0.0.0/8\"",
                    "spec.limits[0].overrides[1].dimensions[\"source.ip\"]: must be an IP address, \
                     got \"10.0.0.0/8\"",
                    "spec.limits[0].overrides[1].dimensions: must not be those of an earlier \
                     override, which is the one that counts",
                    "spec.limits[0].overrides[2].per: is required",
                    "spec.limits[0].overrides[2].dimensions: must have at least one dimension",
                ],
            ),
        ],
    );
}

#[test]
fn conditions_are_those_of_a_rule_without_what_only_a_rule_has() {
    assert_reports(
        "RateLimitPolicy",
        &[(
            limit(json!({"match": [
                {"uri": {"regex": "("}},
                {"name": "a", "gateways": ["b"], "statPrefix": "c"},
            ]})),
            &[
                "spec.limits[0].match[0].uri.regex: must be a regular expression in RE2 syntax, got \
                 \"(\": unclosed group",
                "spec.limits[0].match[1].name: must not be set in a limit",
                "spec.limits[0].match[1].gateways: must not be set in a limit",
                "spec.limits[0].match[1].statPrefix: must not be set in a limit",
            ],
        )],
    );
}

#[test]
fn a_shared_limit_needs_a_service_and_a_span_that_it_knows() {
    let shared = |service: Value, more: Value| {
        let mut policy = limit(more);
        policy["scope"] = json!("SHARED");
        policy["service"] = service;
        reports(&resource("RateLimitPolicy", &policy))
    };

    assert_eq!(
        shared(json!({"host": "limits.infra", "port": 8081}), json!({})),
        [""; 0]
    );
    assert_eq!(
        shared(json!(null), json!({"per": "5s", "burst": 9})),
        [
            "spec.service: is required with scope SHARED",
            "spec.limits[0].burst: must not be set with scope SHARED: the service counts whole spans",
            "spec.limits[0].per: must be 1s, 1m, 1h or 24h with scope SHARED, got 5s",
        ]
    );
    assert_eq!(
        shared(json!({"port": 0, "timeout": "11s"}), json!({})),
        [
            "spec.service.host: is required",
            "spec.service.port: must be a port number from 1 to 65535, got 0",
            "spec.service.timeout: must be at most 10s, got 11s",
        ]
    );
    let mut local = limit(json!({}));
    local["service"] = json!({"host": "a", "port": 1});
    assert_eq!(
        reports(&resource("RateLimitPolicy", &local)),
        ["spec.service: must not be set without scope SHARED"]
    );
}

#[test]
fn an_override_that_no_request_can_meet_is_a_warning_and_a_span_of_zero_one_error() {
    let over = |name: &str, value: &str| {
        limit(json!({"overrides": [
            {"dimensions": {name: value}, "requests": 1, "per": "1s"},
        ]}))
    };
    let warned = |name: &str, value: &str, reason: &str| {
        assert_eq!(
            reports(&resource("RateLimitPolicy", &over(name, value))),
            [format!(
                "warning: spec.limits[0].overrides[0].dimensions[{name:?}]: never matches: {reason}, \
                 got {value:?}"
            )]
        );
    };

    warned("request.method", "post", "methods are upper case");
    warned("request.path", "/a?b", "the path has no query");
    let mut routed = over("destination.host", "ratings");
    assert_reports("RateLimitPolicy", &[(routed.clone(), &[])]);
    routed["targetRefs"] =
        json!([{"group": "networking.istio.io", "kind": "VirtualService", "name": "a"}]);
    assert_reports(
        "RateLimitPolicy",
        &[(
            routed,
            &[
                "warning: spec.limits[0].overrides[0].dimensions[\"destination.host\"]: should be a \
                 host in full, got \"ratings\"",
            ],
        )],
    );
    assert_reports(
        "RateLimitPolicy",
        &[(
            limit(json!({"per": "0s"})),
            &["spec.limits[0].per: must be at least 1ms, got 0s"],
        )],
    );
}
