//! Authorizers of others: of grpc-go with Envoy's own messages, and of Python by HTTP.

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};
use tests::client::{full, request};
use tests::yaml::{self, Service};
use tests::{Edge, Origin};

use crate::process::Running;
use crate::tools;

const HOST: &str = "shop.test";

async fn edge(origin: &Origin, authorizer: SocketAddr, protocol: &str, provider: &str) -> Edge {
    let rules = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
    let mesh = format!(
        "apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {{name: mesh}}
spec: {{meshConfig: {{extensionProviders: [{{name: judge, {provider}}}]}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: ask}}
spec: {{action: CUSTOM, provider: {{name: judge}}, rules: [{{}}]}}
---
"
    );
    Edge::start(&[
        Service::new("authz.test")
            .protocol(protocol)
            .at(authorizer)
            .to_string(),
        Service::new(HOST).at(origin.addr()).to_string(),
        yaml::routes(HOST, &rules),
        mesh,
    ])
    .await
}

async fn asked(server: &Running) -> Value {
    let line = server
        .stdout
        .line("asked", |line| line.contains("\"asked\""))
        .await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    line["asked"].clone()
}

#[tokio::test]
async fn an_authorizer_of_others_understands_what_it_is_asked_by_grpc() {
    let server = Running::start::<&str>(&tools::authorizer(), &[]);
    let origin = Origin::named("shop").await;
    let provider = "envoyExtAuthzGrpc: {service: authz.test, port: 80, timeout: 10s, \
                    includeRequestBodyInCheck: {maxRequestBytes: 100}}";
    let edge = edge(&origin, server.announced().await, "GRPC", provider).await;
    let mut client = edge.http1().await;
    let headers = [
        ("x-key", "right"),
        ("x-user", "forged"),
        ("x-request-id", "7"),
    ];

    let post = request(Method::POST, HOST, "/a/../b?c=d", &headers, full("hello"));
    let allowed = client.send(post).await;
    let seen = origin.last();
    let denied = client.get(HOST, "/").await;

    assert_eq!(allowed.brief(), (200, "shop"));
    assert_eq!(allowed.header("x-judged-by"), "grpc-go");
    assert_eq!((seen.header("x-user"), seen.header("x-key")), ("ada", ""));
    assert_eq!(denied.brief(), (402, "pay first"));
    assert_eq!(denied.header("x-why"), "no key");
    let asked = asked(&server).await;
    let attributes = &asked["attributes"];
    let http = &attributes["request"]["http"];
    let source = &attributes["source"]["address"]["socketAddress"];
    assert_eq!(source["address"], "127.0.0.1");
    assert_eq!(http["method"], "POST");
    assert_eq!(http["path"], "/b?c=d");
    assert_eq!(http["host"], HOST);
    assert_eq!(http["id"], "7");
    assert_eq!(http["body"], "hello");
    assert_eq!(http["headers"]["x-user"], "forged");
    assert_eq!(http["headers"][":path"], "/b?c=d");
    assert_eq!(http["protocol"], "HTTP/1.1");
}

#[tokio::test]
async fn an_authorizer_of_others_understands_what_it_is_asked_by_http() {
    let program = tools::own("authorizer.py");
    let server = Running::start(&tools::python(), &[&program]);
    let origin = Origin::named("shop").await;
    let provider = "envoyExtAuthzHttp: {service: authz.test, port: 80, timeout: 10s, \
                    pathPrefix: /check, includeRequestHeadersInCheck: [x-key], \
                    headersToUpstreamOnAllow: [x-user], \
                    includeRequestBodyInCheck: {maxRequestBytes: 100}}";
    let edge = edge(&origin, server.announced().await, "HTTP", provider).await;
    let mut client = edge.http1().await;

    let key = [("x-key", "right")];
    let post = request(Method::POST, HOST, "/a?b", &key, full("hello"));
    let allowed = client.send(post).await;
    let seen = origin.last();
    let denied = client.get(HOST, "/").await;

    assert_eq!(allowed.brief(), (200, "shop"));
    assert_eq!(seen.header("x-user"), "ada");
    assert_eq!(denied.brief(), (402, "pay first"));
    let expected = json!({"method": "POST", "path": "/check/a?b", "host": HOST, "body": "hello"});
    assert_eq!(asked(&server).await, expected);
}
