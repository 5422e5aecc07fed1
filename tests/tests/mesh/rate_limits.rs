//! How many requests may pass: at a gateway, beside a workload, and where requests are sent.

mod headers;
mod pace;
mod service;
mod stays;

use std::fmt::Display;
use std::net::IpAddr;

use http::Method;
use serde_json::Value;
use tests::client::{full, request};
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Proxy, Reply, eventually};

const HOST: &str = "shop.test";
const PRODUCTPAGE: &str = "productpage.default.svc.cluster.local";
const RATINGS: &str = "ratings.default.svc.cluster.local";

/// A policy for whom `head` says, with `limits` as items of its list.
fn policy(name: &str, head: &str, limits: &str) -> String {
    format!(
        "apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {{name: {name}}}
spec:
  {head}
  limits:
{}
---
",
        limits.trim_matches('\n')
    )
}

/// A gateway before an origin, with limits.
async fn limited(origin: &Origin, policies: &[String]) -> Edge {
    Edge::start_with(&documents(origin, policies), &["--access-log", "json"]).await
}

fn documents(origin: &Origin, policies: &[String]) -> Vec<String> {
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let rules = "
  - match: [{uri: {prefix: /redirected}}]
    redirect: {uri: /}
  - route: [{destination: {host: shop.test}}]
";
    [&[service, yaml::routes(HOST, rules)], policies].concat()
}

/// How many of `count` requests passed; all others must have been refused by a limit.
async fn passed(client: &mut Http1, host: &str, headers: &[(&str, &str)], count: usize) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        let reply = client.get_with(host, "/", headers).await;
        match reply.status.as_u16() {
            200 => passed += 1,
            _ => assert_refused(&reply),
        }
    }
    passed
}

fn assert_refused(reply: &Reply) {
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("x-meshproxy-error"), "rate_limited");
    let wait: u64 = reply.header("retry-after").parse().expect("whole seconds");
    assert!(wait >= 1, "{wait}");
}

/// Waits until as many requests as `count` have been counted with `flag`.
async fn flagged(edge: &Edge, flag: &str, count: f64) {
    let look = async || {
        let metrics = edge.proxy.metrics().await;
        metrics.sum("istio_requests_total", &[("response_flags", flag)])
    };
    eventually(flag, look, |seen| *seen == count).await;
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_and_says_so_everywhere() {
    let origin = Origin::named("shop").await;
    let limit = "  - {name: all, requests: 3, per: 1h}";
    let edge = limited(&origin, &[policy("shop", "selector: {}", limit)]).await;
    let mut client = edge.http1().await;

    assert_eq!(passed(&mut client, HOST, &[], 5).await, 3);
    let refused = client.get(HOST, "/last").await;

    assert_refused(&refused);
    assert_eq!(refused.text(), "rate limited");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1_100..=1_200).contains(&wait), "{wait} of 20 minutes");
    assert_eq!(origin.requests(), 3, "the others did not arrive");
    let line = edge
        .proxy
        .stdout
        .line("/last", |line| line.contains("/last"));
    let line: Value = serde_json::from_str(&line.await).expect("lines are JSON");
    assert_eq!(line["response_flags"], "RL");
    assert_eq!(line["response_code_details"], "rate_limited");
    assert_eq!(line["rate_limit"], "default/shop/all");
    let metrics = edge.proxy.metrics().await;
    let of_limit = [("policy", "default/shop"), ("limit", "all")];
    assert_eq!(metrics.sum("meshproxy_rate_limited_total", &of_limit), 3.0);
    let allowed = metrics.sum("meshproxy_rate_limit_allowed_total", &of_limit);
    assert_eq!(allowed, 3.0);
    flagged(&edge, "RL", 3.0).await;
    let shown = &edge.proxy.admin("/limits").await[0];
    assert_eq!(shown["policy"], "default/shop");
    assert_eq!(
        (&shown["allowed"], &shown["limited"]),
        (&3.into(), &3.into())
    );
    assert_eq!(shown["quota"]["left"], 0);
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_in_its_own_terms() {
    let origin = Origin::named("shop").await;
    let limit = "  - {name: all, requests: 1, per: 1h}";
    let edge = limited(&origin, &[policy("shop", "selector: {}", limit)]).await;
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let call = || request(Method::POST, HOST, "/s.S/M", &headers, full("message"));
    let mut client = edge.http2().await;

    client.send(call()).await;
    let refused = client.send(call()).await;

    assert_eq!(refused.status, 200);
    assert_eq!(refused.header("grpc-status"), "8");
    assert_eq!(refused.header("grpc-message"), "rate limited");
    assert_eq!(refused.header("x-meshproxy-error"), "rate_limited");
}

#[tokio::test]
async fn only_what_matches_counts_and_redirects_count_too() {
    let origin = Origin::named("shop").await;
    let limits = "
  - name: writes
    requests: 1
    per: 1h
    match: [{method: {exact: POST}}, {headers: {x-write: {}, x-by: {prefix: a}}}]
  - name: moved
    requests: 1
    per: 1h
    match: [{uri: {prefix: /redirected}}]
";
    let edge = limited(&origin, &[policy("shop", "selector: {}", limits)]).await;
    let mut client = edge.http1().await;
    let write = [("x-write", "1"), ("x-by", "anna")];

    assert_eq!(passed(&mut client, HOST, &[], 5).await, 5);
    assert_eq!(passed(&mut client, HOST, &write[..1], 5).await, 5);
    assert_eq!(passed(&mut client, HOST, &write, 5).await, 1);
    let post = request(Method::POST, HOST, "/", &[], full("x"));
    assert_refused(&client.send(post).await);
    assert_eq!(client.get(HOST, "/redirected").await.status, 301);
    assert_refused(&client.get(HOST, "/redirected").await);
}

#[tokio::test]
async fn each_combination_of_values_has_a_count_of_its_own() {
    let origin = Origin::named("shop").await;
    let limits = "
  - name: users
    requests: 2
    per: 1h
    key: ['request.headers[x-user]', request.method]
    overrides:
    - {dimensions: {'request.headers[x-user]': vip}, requests: 4, per: 1h}
    - {dimensions: {'request.headers[x-team]': ops}, requests: 3, per: 1h}
";
    let edge = limited(&origin, &[policy("shop", "selector: {}", limits)]).await;
    let mut client = edge.http1().await;

    for (headers, most) in [
        (vec![("x-user", "anna")], 2),
        (vec![("x-user", "otto")], 2),
        (vec![], 2),
        (vec![("x-user", "vip")], 4),
        // In an override users are still told apart.
        (vec![("x-user", "anna"), ("x-team", "ops")], 3),
        (vec![("x-user", "otto"), ("x-team", "ops")], 3),
    ] {
        assert_eq!(
            passed(&mut client, HOST, &headers, 6).await,
            most,
            "{headers:?}"
        );
    }
    let shown = &edge.proxy.admin("/limits").await[0];
    assert_eq!(shown["keysInUse"], 6);
}

#[tokio::test]
async fn an_override_without_a_key_has_one_count() {
    let origin = Origin::named("shop").await;
    let limits = "
  - name: all
    requests: 2
    per: 1h
    overrides: [{dimensions: {'request.headers[x-team]': ops}, requests: 3, per: 1h}]
";
    let edge = limited(&origin, &[policy("shop", "selector: {}", limits)]).await;
    let mut client = edge.http1().await;

    assert_eq!(passed(&mut client, HOST, &[("x-team", "ops")], 5).await, 3);
    assert_eq!(passed(&mut client, HOST, &[("x-team", "dev")], 5).await, 2);
    assert_eq!(passed(&mut client, HOST, &[], 5).await, 0);
}

#[tokio::test]
async fn what_a_later_limit_refuses_has_not_used_up_an_earlier_one() {
    let origin = Origin::named("shop").await;
    let first = policy(
        "first",
        "selector: {}",
        "  - {name: all, requests: 10, per: 1h}",
    );
    let limits = "
  - name: users
    requests: 1
    per: 1h
    key: ['request.headers[x-user]']
";
    let second = policy("second", "selector: {}", limits);
    let edge = limited(&origin, &[first, second]).await;
    let mut client = edge.http1().await;

    assert_eq!(
        passed(&mut client, HOST, &[("x-user", "anna")], 50).await,
        1
    );
    let mut others = 0;
    for user in 0..20 {
        let user = user.to_string();
        others += passed(&mut client, HOST, &[("x-user", &user)], 1).await;
    }

    assert_eq!(others, 9);
    assert_eq!(origin.requests(), 10);
}

/// A sidecar that takes what comes at `port` and hands it to `app`.
fn ingress(port: &Port, app: &Origin) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  ingress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: {}
---
",
        app.addr()
    )
}

/// Who calls from which address of the loopback.
fn callers(endpoints: &[(&str, &str)]) -> String {
    let endpoint = |(address, labels): &(&str, &str)| {
        format!("\n  - {{address: {address}, labels: {{{labels}}}}}")
    };
    let endpoints: String = endpoints.iter().map(endpoint).collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: callers}}
spec:
  hosts: [callers.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:{endpoints}
---
"
    )
}

async fn from(address: impl Display, port: &Port) -> Http1 {
    let address: IpAddr = address.to_string().parse().expect("an address");
    Http1::connect_from(address, port.addr()).await
}

/// The policy of the documentation, with longer spans where a test would race with the refill.
#[tokio::test]
async fn case_5_callers_of_a_workload_have_limits_of_their_own() {
    let app = Origin::named("page").await;
    let port = Port::reserve();
    let limits = "
  - name: all
    requests: 500
    per: 1h
    match: [{uri: {prefix: /}}]
  - name: callers
    requests: 450
    per: 1h
    key: [source.workload, source.version]
    overrides:
    - {dimensions: {source.workload: reviews, source.version: v3}, requests: 1, per: 5m}
    - {dimensions: {source.ip: 127.28.11.20}, requests: 99, per: 1h}
";
    let head = "selector: {matchLabels: {app: productpage}}";
    let yaml = ingress(&port, &app)
        + &callers(&[
            ("127.0.3.1", "app: reviews, version: v3"),
            ("127.0.3.2", "app: reviews, version: v3"),
            ("127.0.2.1", "app: reviews, version: v2"),
        ])
        + &policy("productpage", head, limits);
    let labels = ["--labels", "app=productpage,version=v1"];
    let _proxy = Proxy::start_with(&yaml, &labels).await;

    // Reviews v3 is one caller, from whichever address.
    let mut first = from("127.0.3.1", &port).await;
    let mut second = from("127.0.3.2", &port).await;
    assert_eq!(passed(&mut first, PRODUCTPAGE, &[], 5).await, 1);
    assert_eq!(passed(&mut second, PRODUCTPAGE, &[], 5).await, 0);
    let mut address = from("127.28.11.20", &port).await;
    assert_eq!(passed(&mut address, PRODUCTPAGE, &[], 120).await, 99);
    // Another version has a count of its own, and all together have one.
    let mut other = from("127.0.2.1", &port).await;
    assert_eq!(passed(&mut other, PRODUCTPAGE, &[], 420).await, 400);
    assert_eq!(app.requests(), 500);
}

#[tokio::test]
async fn case_5_calls_to_a_service_are_limited_where_they_are_sent() {
    let origins = [Origin::named("ratings").await, Origin::named("page").await];
    let port = Port::reserve();
    let limits = "
  - name: calls
    requests: 100
    per: 1h
    overrides:
    - {dimensions: {source.workload: reviews, source.version: v3}, requests: 7, per: 1h}
";
    let target = "targetRefs: [{group: networking.istio.io, kind: VirtualService, name: ratings}]";
    let yaml = [
        format!(
            "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']
---
"
        ),
        Service::new(RATINGS).at(origins[0].addr()).to_string(),
        Service::new(PRODUCTPAGE).at(origins[1].addr()).to_string(),
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http: [{route: [{destination: {host: ratings}}]}]
---
"
        .to_owned(),
        policy("ratings", target, limits),
    ]
    .concat();

    for (labels, most) in [
        ("app=reviews,version=v2", 100),
        ("app=reviews,version=v3", 7),
    ] {
        let _proxy = Proxy::start_with(&yaml, &["--labels", labels]).await;
        let mut client = Http1::connect(port.addr()).await;

        // By every name it is one service.
        let short = passed(&mut client, "ratings", &[], 60).await;
        let long = passed(&mut client, RATINGS, &[], 60).await;
        assert_eq!(short + long, most, "{labels}");
        assert_eq!(passed(&mut client, "productpage", &[], 120).await, 120);
    }
}

#[tokio::test]
async fn a_policy_for_other_workloads_or_namespaces_does_not_concern_this_one() {
    let origin = Origin::named("shop").await;
    let limit = "  - {name: all, requests: 1, per: 1h}";
    let other = policy("other", "selector: {matchLabels: {app: other}}", limit);
    let elsewhere = other
        .replace("{name: other}", "{name: elsewhere, namespace: elsewhere}")
        .replace("app: other", "istio: ingressgateway");
    let edge = limited(&origin, &[other, elsewhere]).await;

    assert_eq!(passed(&mut edge.http1().await, HOST, &[], 5).await, 5);
    assert_eq!(edge.proxy.admin("/limits").await, Value::Array(Vec::new()));
}
