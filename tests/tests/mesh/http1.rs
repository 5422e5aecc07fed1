//! HTTP/1 as bytes: what is kept, what is refused, and how connections go on and end.

mod bodies;
mod ends;
mod interim;
mod pace;
mod refusals;
mod spelling;
mod switching;

use std::net::SocketAddr;

use tests::Edge;
use tests::yaml::{self, Service};

const HOST: &str = "app.test";
const RULES: &str = "  - route: [{destination: {host: app.test}}]";

/// A gateway before one origin, with a log of requests.
async fn edge(addr: SocketAddr, arguments: &[&str]) -> Edge {
    with_rules(addr, RULES, arguments).await
}

async fn with_rules(addr: SocketAddr, rules: &str, arguments: &[&str]) -> Edge {
    let documents = [
        Service::new(HOST).at(addr).to_string(),
        yaml::routes(HOST, rules),
    ];
    let all: Vec<&str> = ["--access-log", "json"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    Edge::start_with(&documents, &all).await
}

/// The first line of the access log.
async fn logged(edge: &Edge) -> serde_json::Value {
    logged_after(edge, 0).await
}

/// The line of the access log after `before` others.
async fn logged_after(edge: &Edge, before: usize) -> serde_json::Value {
    let stdout = &edge.proxy.stdout;
    let line = stdout
        .nth(before, "a line", |line| line.starts_with('{'))
        .await;
    serde_json::from_str(&line).expect("lines are JSON")
}
