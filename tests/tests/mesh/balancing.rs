//! Which endpoint gets a request: affinity and localities.

mod affinity;
mod failover;
mod localities;

use std::collections::BTreeMap;

use tests::yaml::{self, Service};
use tests::{Edge, Origin};

const HOST: &str = "shop.test";
const NAMES: [&str; 11] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];

/// Origins named by their position, from `0`.
async fn origins(count: usize) -> Vec<Origin> {
    let mut origins = Vec::new();
    for name in &NAMES[..count] {
        origins.push(Origin::named(name).await);
    }
    origins
}

/// One service at these endpoints, each with further fields, under a policy.
fn documents(endpoints: &[(&Origin, &str)], policy: &str) -> [String; 3] {
    let service = endpoints
        .iter()
        .fold(Service::new(HOST), |service, (origin, more)| {
            service.endpoint(origin.addr(), more)
        });
    let rule = format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop}}
spec:
  host: {HOST}
  trafficPolicy: {policy}
---
"
    );
    let routes = yaml::routes(
        HOST,
        &format!("  - route: [{{destination: {{host: {HOST}}}}}]"),
    );
    [service.to_string(), rule, routes]
}

/// Of so many requests how many each origin answered.
async fn counts(edge: &Edge, requests: usize) -> BTreeMap<String, usize> {
    let mut client = edge.http1().await;
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        let reply = client.get(HOST, "/").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        *counts.entry(reply.text().to_owned()).or_default() += 1;
    }
    counts
}
