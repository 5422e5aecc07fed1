//! WebSocket: several hundred cases, modelled on the categories of Autobahn's suite, against an echo
//! server, once directly and once through the proxy. A proxy that only carries bytes cannot be told
//! from none: handshake, frames, close codes and the end of the connection must be the same.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tests::Edge;
use tests::yaml::{self, Service};

use crate::process::{self, Running};
use crate::tools;

const HOST: &str = "ws.test";
/// Fewer would mean that the program of the cases broke off.
const CASES_MIN: usize = 700;
/// For all cases, on a machine that has much else to do; alone they take eight seconds.
const SUITE_TIMEOUT: Duration = Duration::from_secs(180);

/// What each case saw, with its name.
async fn transcripts(addr: SocketAddr) -> Vec<Value> {
    let arguments = [
        tools::own("websocket.py").into_os_string(),
        addr.port().to_string().into(),
    ];
    let output = process::run(&tools::python(), &arguments, SUITE_TIMEOUT).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = std::str::from_utf8(&output.stdout).expect("JSON is text");
    let read = |line| serde_json::from_str(line).expect("lines are JSON");
    lines.lines().map(read).collect()
}

#[tokio::test]
async fn websockets_cannot_tell_that_a_proxy_is_between() {
    let server = Running::start(&tools::python(), &[tools::own("echo.py")]);
    let addr = server.announced().await;
    let service = Service::new(HOST).at(addr).to_string();
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    let edge = Edge::start(&[service, yaml::routes(HOST, &rules)]).await;

    let direct = transcripts(addr).await;
    let proxied = transcripts(edge.port.addr()).await;

    assert!(direct.len() >= CASES_MIN, "{} cases", direct.len());
    assert_eq!(direct.len(), proxied.len());
    let both = direct.iter().zip(&proxied);
    let differences: Vec<String> = both
        .filter(|(direct, proxied)| direct != proxied)
        .map(|(direct, proxied)| format!("directly: {direct}\n  proxied:  {proxied}"))
        .collect();
    let share = format!("{} of {} cases differ", differences.len(), direct.len());
    assert!(
        differences.is_empty(),
        "{share}:\n{}",
        differences.join("\n")
    );
}
