//! gRPC's own interop suite: client and server of grpc-go with the proxy between them. Each case
//! checks by itself what arrives, and its program fails if that is not right.

use std::net::SocketAddr;

use tests::wait::PATIENCE;
use tests::yaml::{self, Service};
use tests::{Edge, Port, eventually};
use tokio::net::TcpStream;

use crate::process::{self, Running};
use crate::tools;

/// Every case that needs no credentials, no extension of the server and no hours.
const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];
const HOST: &str = "grpc.test";

/// What the client says of `case` at `addr`, or nothing if all is well.
async fn complaint(case: &str, addr: SocketAddr) -> Option<String> {
    let arguments = [
        format!("--server_host={}", addr.ip()),
        format!("--server_port={}", addr.port()),
        format!("--test_case={case}"),
    ];
    let output = process::run(&tools::grpc_interop("client"), &arguments, PATIENCE).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then(|| format!("{case}: {}: {said}", output.status))
}

/// A server that takes connections, which it does at every address.
async fn server() -> (Running, SocketAddr) {
    let port = Port::reserve();
    let arguments = [format!("--port={port}")];
    let server = Running::start(&tools::grpc_interop("server"), &arguments);
    let connects = async || TcpStream::connect(port.addr()).await.is_ok();
    eventually("a gRPC server", connects, |connects| *connects).await;
    (server, port.addr())
}

#[tokio::test]
async fn every_case_of_grpcs_interop_suite_passes_through_the_proxy() {
    let (_server, addr) = server().await;
    let service = Service::new(HOST).protocol("GRPC").at(addr);
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    let edge = Edge::start(&[service.to_string(), yaml::routes("*", &rules)]).await;

    let mut complaints = Vec::new();
    for case in CASES {
        complaints.extend(complaint(case, edge.port.addr()).await);
    }

    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    // The proxy saw gRPC, and not bytes that it let pass.
    let metrics = edge.proxy.metrics().await;
    let grpc = [("request_protocol", "grpc")];
    let requests = metrics.sum("istio_requests_total", &grpc);
    assert!(requests >= CASES.len() as f64, "{requests} requests");
}
