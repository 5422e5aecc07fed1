//! Who may in: policies at a gateway, with the real program.

#[path = "../../../proxy/src/inbound/authz/tests/cases.rs"]
mod cases;
mod external;
mod tables;

use http::Method;
use serde_json::Value;
use tests::Edge;
use tests::client::{empty, request};
use tests::yaml;

const HOST: &str = "shop.test";

/// A policy with this spec.
fn policy(name: &str, spec: &str) -> String {
    annotated(name, "{}", spec)
}

fn annotated(name: &str, annotations: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, annotations: {annotations}}}
spec: {spec}
---
"
    )
}

/// Answers everything that is let in.
fn open() -> String {
    yaml::routes("*", "  - directResponse: {status: 200, body: {string: in}}")
}

/// The line of the access log for `path`.
async fn logged(edge: &Edge, path: &str) -> Value {
    let wanted = format!("\"path\":\"{path}\"");
    let line = edge
        .proxy
        .stdout
        .line(path, |line| line.contains(&wanted))
        .await;
    serde_json::from_str(&line).expect("JSON")
}

const DENY_ADMIN: &str = "{action: DENY, rules: [{to: [{operation: {paths: [/never]}}]}, {to: [{operation: {paths: ['/admin*']}}]}]}";

#[tokio::test]
async fn who_is_denied_learns_nothing_and_the_log_names_policy_and_rule() {
    let documents = [open(), policy("shut", DENY_ADMIN)];
    let edge = Edge::start_with(&documents, &["--access-log", "json"]).await;
    let mut client = edge.http1().await;

    let denied = client.get(HOST, "/x/../admin").await;
    let allowed = client.get(HOST, "/public").await;

    assert_eq!(denied.brief(), (403, "RBAC: access denied"));
    assert_eq!(denied.header("content-type"), "text/plain");
    assert_eq!(denied.header("content-length"), "19");
    assert_eq!(denied.header("x-meshproxy-error"), "rbac_access_denied");
    let told = format!("{:?}", denied.headers);
    assert!(
        !told.contains("shut") && !told.contains("default"),
        "{told}"
    );
    assert_eq!(allowed.brief(), (200, "in"));
    let line = logged(&edge, "/x/../admin").await;
    assert_eq!(
        line["response_code_details"],
        "rbac_access_denied_matched_policy[ns[default]-policy[shut]-rule[1]]"
    );
    assert_eq!(line["authorization_policy"], "default/shut[1]");
    assert_eq!(line["response_flags"], "UAEX");
    let labels = [
        ("policy", "default/shut"),
        ("action", "deny"),
        ("result", "denied"),
    ];
    let metrics = edge.proxy.metrics().await;
    assert_eq!(metrics.sum("meshproxy_authorization_total", &labels), 1.0);
    let policies = edge.proxy.admin("/authz").await;
    assert_eq!(policies[0]["policy"], "default/shut");
    assert_eq!(policies[0]["matched"], 1);
}

#[tokio::test]
async fn where_policies_allow_nothing_else_may_in() {
    let documents = [
        open(),
        policy(
            "some",
            "{rules: [{to: [{operation: {methods: [GET], paths: ['/public/*']}}]}]}",
        ),
    ];
    let edge = Edge::start_with(&documents, &["--access-log", "json"]).await;
    let mut client = edge.http1().await;

    let allowed = client.get(HOST, "/public/a").await;
    let denied = client.get(HOST, "/private").await;
    let post = request(Method::POST, HOST, "/public/a", &[], empty());
    let posted = client.send(post).await;
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let called = client.get_with(HOST, "/shop.Cart/Add", &grpc).await;

    assert_eq!(allowed.brief(), (200, "in"));
    assert_eq!(denied.brief(), (403, "RBAC: access denied"));
    assert_eq!(posted.status, 403);
    assert_eq!(called.status, 200);
    assert_eq!(called.header("grpc-status"), "7");
    assert_eq!(called.header("grpc-message"), "RBAC: access denied");
    let line = logged(&edge, "/private").await;
    assert_eq!(
        line["response_code_details"],
        "rbac_access_denied_matched_policy[none]"
    );
    let line = logged(&edge, "/public/a").await;
    assert_eq!(line["authorization_policy"], "default/some[0]");
}

#[tokio::test]
async fn a_policy_that_changes_holds_on_a_connection_that_is_open() {
    let edge = Edge::start(&[open()]).await;
    let mut client = edge.http1().await;
    let mut http2 = edge.http2().await;
    assert_eq!(client.get(HOST, "/admin").await.status, 200);
    assert_eq!(http2.get(HOST, "/admin").await.status, 200);

    edge.apply(&[open(), policy("shut", DENY_ADMIN)]).await;
    let shut = [
        client.get(HOST, "/admin").await,
        http2.get(HOST, "/admin").await,
    ];
    edge.apply(&[open()]).await;
    let again = client.get(HOST, "/admin").await;

    assert!(shut.iter().all(|reply| reply.status == 403), "{shut:?}");
    assert_eq!(again.status, 200);
    assert!(!client.is_closed());
    let metrics = edge.proxy.metrics().await;
    let labels = [("policy", "default/shut")];
    let series = metrics.samples("meshproxy_authorization_total", &labels);
    assert_eq!(series.count(), 0, "a policy that is gone is not shown");
}

#[tokio::test]
async fn policies_that_record_or_are_only_tried_change_nothing_and_are_told() {
    let documents = [
        open(),
        policy(
            "watch",
            "{action: AUDIT, rules: [{to: [{operation: {paths: ['/a*']}}]}]}",
        ),
        annotated("try", "{istio.io/dry-run: 'true'}", DENY_ADMIN),
    ];
    let edge = Edge::start_with(&documents, &["--access-log", "json"]).await;
    let mut client = edge.http1().await;

    let replies = [
        client.get(HOST, "/admin").await,
        client.get(HOST, "/b").await,
    ];

    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "{replies:?}"
    );
    let line = logged(&edge, "/admin").await;
    assert_eq!(line["audit_policies"], "default/watch[0]");
    assert_eq!(line["dry_run"], "would_deny default/try[1]");
    let line = logged(&edge, "/b").await;
    assert_eq!(
        (&line["audit_policies"], &line["dry_run"]),
        (&Value::Null, &Value::Null)
    );
    let metrics = edge.proxy.metrics().await;
    for (policy, result) in [("default/watch", "audited"), ("default/try", "would_deny")] {
        let labels = [("policy", policy), ("result", result)];
        assert_eq!(
            metrics.sum("meshproxy_authorization_total", &labels),
            1.0,
            "{policy}"
        );
    }
}

#[tokio::test]
async fn an_allowed_caller_is_told_which_policy_decided() {
    let allow = "{rules: [{to: [{operation: {paths: [/a]}}]}]}";
    let documents = [open(), policy("some", allow), policy("shut", DENY_ADMIN)];
    let edge = Edge::start_with(&documents, &["--explain-from", "127.0.0.0/8"]).await;
    let mut client = edge.http1().await;
    let asks = [("x-meshproxy-explain", "1")];

    let allowed = client.get_with(HOST, "/a", &asks).await;
    let denied = client.get_with(HOST, "/admin", &asks).await;

    let told = |reply: &tests::Reply| -> Value {
        serde_json::from_str(reply.header("x-meshproxy-explain")).expect("JSON")
    };
    assert_eq!(told(&allowed)["authorization"], "default/some[0]");
    assert_eq!(
        told(&denied)["details"],
        "rbac_access_denied_matched_policy[ns[default]-policy[shut]-rule[1]]"
    );
}

#[tokio::test]
async fn a_policy_with_a_mistake_leaves_the_last_good_one_in_force() {
    let edge = Edge::start(&[open(), policy("shut", DENY_ADMIN)]).await;
    let mut client = edge.http1().await;

    let wrong = policy("shut", "{action: DENY}");
    edge.proxy
        .refuse(&(yaml::gateway(&edge.port) + &open() + &wrong))
        .await;

    assert_eq!(client.get(HOST, "/admin").await.status, 403);
    let policies = edge.proxy.admin("/authz").await;
    assert_eq!(policies[0]["policy"], "default/shut");
}
