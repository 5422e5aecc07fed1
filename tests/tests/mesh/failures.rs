//! Upstreams that die, hang, cut and close: what is hidden from clients, what cannot be, and how each
//! cause is told from the others.

mod causes;
mod http2;
mod lifetime;
mod load;

use std::net::SocketAddr;

use serde_json::Value;
use tests::Edge;
use tests::yaml::{self, Service};

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";

/// A `DestinationRule` of the host with `pool` as its `connectionPool`.
fn connection_pool(pool: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: {HOST}
  trafficPolicy: {{connectionPool: {pool}}}
---
"
    )
}

/// A proxy with one worker, so that requests find the connections of those before them.
async fn edge(endpoints: &[SocketAddr], protocol: &str, pool: &str) -> Edge {
    let service = Service::new(HOST).protocol(protocol);
    let service = endpoints
        .iter()
        .fold(service, |service, addr| service.at(*addr));
    let mut documents = vec![service.to_string(), yaml::routes(HOST, RULES)];
    if !pool.is_empty() {
        documents.push(connection_pool(pool));
    }
    start(&documents).await
}

async fn start(documents: &[String]) -> Edge {
    Edge::start_with(documents, &["--workers", "1", "--access-log", "json"]).await
}

/// The line of the access log of the request with this `x-request-id`.
async fn logged(edge: &Edge, id: &str) -> Value {
    let quoted = format!("\"{id}\"");
    let stdout = &edge.proxy.stdout;
    let line = stdout.line(id, |line| line.contains(&quoted)).await;
    serde_json::from_str(&line).expect("lines are JSON")
}

/// Flags and details of that line.
async fn cause(edge: &Edge, id: &str) -> (String, String) {
    let line = logged(edge, id).await;
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    (text("response_flags"), text("response_code_details"))
}
