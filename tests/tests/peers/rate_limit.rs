//! A rate-limit service of grpc-go with Envoy's own messages: it understands what the proxy asks, and
//! the proxy what it answers.

use serde_json::{Value, json};
use tests::yaml::{self, Service};
use tests::{Edge, Origin};

use crate::process::Running;
use crate::tools;

const HOST: &str = "shop.test";
const POLICY: &str = "apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: shop}
spec:
  scope: SHARED
  service: {host: limits.test, port: 80, timeout: 10s, failureMode: DENY}
  limits:
  - name: users
    requests: 300
    per: 1m
    key: ['request.headers[x-user]', request.path]
    overrides: [{dimensions: {'request.headers[x-team]': ops}, requests: 2, per: 1h}]
  - name: all
    requests: 1000
    per: 24h
---
";

#[tokio::test]
async fn a_service_of_others_decides_by_the_numbers_of_the_policy() {
    let server = Running::start::<&str>(&tools::rate_limit_service(), &[]);
    let addr = server.announced().await;
    let origin = Origin::named("shop").await;
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    let edge = Edge::start(&[
        Service::new("limits.test")
            .protocol("GRPC")
            .at(addr)
            .to_string(),
        Service::new(HOST).at(origin.addr()).to_string(),
        yaml::routes(HOST, &rules),
        POLICY.to_owned(),
    ])
    .await;
    let mut client = edge.http1().await;
    let user = ("x-user", "j\u{f6}rg");

    let plain = client.get_with(HOST, "/a?b", &[user]).await;
    let mut of_team = Vec::new();
    for _ in 0..3 {
        let reply = client
            .get_with(HOST, "/a", &[user, ("x-team", "ops")])
            .await;
        of_team.push(reply);
    }

    assert_eq!(plain.brief(), (200, "shop"));
    let statuses: Vec<u16> = of_team.iter().map(|it| it.status.as_u16()).collect();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(of_team[2].header("retry-after"), "42");
    assert_eq!(of_team[2].header("x-ratelimit-by"), "grpc-go");
    let asked = |text: &'static str| server.stdout.line(text, move |line| line.contains(text));
    let asked: Value = serde_json::from_str(&asked("\"asked\"").await).expect("JSON");
    let entry = |key: &str, value: &str| json!({"key": key, "value": value});
    let expected = json!({
        "domain": "meshproxy",
        "descriptors": [
            {
                "entries": [
                    entry("generic_key", "default/shop/users"),
                    entry("request.headers[x-user]", "j\u{f6}rg"),
                    entry("request.path", "/a"),
                ],
                "limit": {"requestsPerUnit": 300, "unit": "MINUTE"},
            },
            {
                "entries": [entry("generic_key", "default/shop/all")],
                "limit": {"requestsPerUnit": 1000, "unit": "DAY"},
            },
        ],
    });
    assert_eq!(asked["asked"], expected);
}
