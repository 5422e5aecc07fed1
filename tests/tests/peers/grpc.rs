//! gRPC's own interop suite: client and server of grpc-go with the proxy between them. Each case
//! checks by itself what arrives, and its program fails if that is not right.

use std::cell::RefCell;
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

/// Ports that are tried before the suite gives up.
const PORTS_MAX: usize = 10;

/// A server that takes connections. It listens at every address of the machine, so that a port which
/// is free at ours may be taken at another: then it ends at once, and the next port is tried.
async fn server() -> (Running, SocketAddr) {
    for _ in 0..PORTS_MAX {
        let port = Port::reserve();
        let arguments = [format!("--port={port}")];
        let server = Running::start(&tools::grpc_interop("server"), &arguments);
        let server = RefCell::new(server);
        let (watched, addr) = (&server, port.addr());
        let state = || async move {
            let connects = TcpStream::connect(addr).await.is_ok();
            (connects, watched.borrow_mut().has_ended())
        };
        let settled = |(connects, ended): &(bool, bool)| *connects || *ended;
        let (connects, _) = eventually("a gRPC server", state, settled).await;
        if connects {
            return (server.into_inner(), addr);
        }
    }
    panic!("no gRPC server at any of {PORTS_MAX} ports");
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
