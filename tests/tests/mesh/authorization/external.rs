//! Authorizers: who may in is decided elsewhere.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tests::client::{empty, full, request};
use tests::origin::{Body, Protocol, body, text};
use tests::yaml::{self, Service};
use tests::{Edge, Origin};

use super::{HOST, policy};

const AUTHORIZER: &str = "authz.infra.test";
const ASKS: &str = "{action: CUSTOM, provider: {name: judge}, \
                    rules: [{to: [{operation: {notPaths: [/open]}}]}]}";

/// Asks the authorizer at `addr` about all that goes to the shop but `/open`.
fn documents(origin: &Origin, addr: SocketAddr, protocol: &str, provider: &str) -> Vec<String> {
    let mesh = format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    extensionProviders:
    - name: judge
      {provider}
---
"
    );
    vec![
        Service::new(AUTHORIZER)
            .protocol(protocol)
            .at(addr)
            .to_string(),
        Service::new(HOST).at(origin.addr()).to_string(),
        yaml::routes(HOST, "  - route: [{destination: {host: shop.test}}]"),
        mesh,
        policy("ask", ASKS),
    ]
}

fn http(more: &str) -> String {
    format!("envoyExtAuthzHttp: {{service: {AUTHORIZER}, port: 80, timeout: 10s{more}}}")
}

/// Lets in who has the key, and says what it was asked in a header.
async fn judging() -> Origin {
    let answer = |request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let asked = format!("{} {} {}", head.method, head.uri, bytes.len());
        let known = head.headers.get("x-key").is_some_and(|key| key == "right");
        let mut response = text(if known { "" } else { "go away" });
        if !known {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        let headers = response.headers_mut();
        headers.insert("x-asked", HeaderValue::try_from(asked).expect("a value"));
        headers.insert("x-user", HeaderValue::from_static("ada"));
        headers.insert("x-secret", HeaderValue::from_static("s"));
        headers.insert("www-authenticate", HeaderValue::from_static("Key"));
        response
    };
    Origin::serving(Protocol::Http1, answer).await
}

#[tokio::test]
async fn an_authorizer_that_speaks_http_decides_and_changes_headers() {
    let (origin, judge) = (Origin::named("shop").await, judging().await);
    let provider = http(
        ", pathPrefix: /check, includeRequestHeadersInCheck: [x-k*], \
         headersToUpstreamOnAllow: [x-user, x-asked], headersToDownstreamOnAllow: [x-asked], \
         headersToDownstreamOnDeny: [x-asked]",
    );
    let edge = Edge::start(&documents(&origin, judge.addr(), "HTTP", &provider)).await;
    let mut client = edge.http1().await;

    let key = [
        ("x-key", "right"),
        ("x-user", "forged"),
        ("x_user", "forged"),
        ("x-other", "1"),
        ("authorization", "Basic eDp5"),
    ];
    let allowed = client.get_with(HOST, "/a?b=c", &key).await;
    let seen = origin.last();
    let asked = judge.last();
    let denied = client.get(HOST, "/a").await;
    let unasked = client.get(HOST, "/open").await;

    assert_eq!(allowed.brief(), (200, "shop"));
    assert_eq!(allowed.header("x-asked"), "GET /check/a?b=c 0");
    assert_eq!(allowed.header("x-secret"), "");
    assert_eq!((seen.header("x-user"), seen.header("x_user")), ("ada", ""));
    assert_eq!(seen.header("authorization"), "Basic eDp5");
    assert_eq!(asked.header("authorization"), "Basic eDp5");
    assert_eq!(asked.header("x-key"), "right");
    assert_eq!(asked.header("x-other"), "", "only what is named is told");
    assert_eq!(asked.header("host"), HOST);
    assert_eq!(denied.brief(), (401, "go away"));
    assert_eq!(denied.header("www-authenticate"), "Key");
    assert_eq!(denied.header("x-asked"), "GET /check/a 0");
    assert_eq!(denied.header("x-secret"), "");
    assert_eq!(denied.header("x-meshproxy-error"), "ext_authz_denied");
    assert_eq!(unasked.brief(), (200, "shop"));
    assert_eq!((judge.requests(), origin.requests()), (2, 2));
}

#[tokio::test]
async fn without_an_answer_a_request_is_refused_unless_the_provider_fails_open() {
    let origin = Origin::named("shop").await;
    let broken = Origin::serving(Protocol::Http1, |_| async {
        let mut response = text("");
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    })
    .await;
    for (more, expected) in [
        ("", (403, "ext_authz_error")),
        (", statusOnError: '503'", (503, "ext_authz_error")),
        (
            ", failOpen: true, headersToUpstreamOnAllow: [x-user]",
            (200, ""),
        ),
    ] {
        let edge = Edge::start(&documents(&origin, broken.addr(), "HTTP", &http(more))).await;

        let forged = [("x-user", "forged"), ("X_User", "forged")];
        let reply = edge.http1().await.get_with(HOST, "/a", &forged).await;

        let told = (reply.status.as_u16(), reply.header("x-meshproxy-error"));
        assert_eq!(told, expected, "{more}");
        if expected.0 == 200 {
            let seen = origin.last();
            let users = [seen.header("x-user"), seen.header("x_user")];
            assert_eq!(users, ["", ""], "nobody but the authorizer says who it is");
        }
        let metrics = edge.proxy.metrics().await;
        let labels = [("provider", "judge"), ("result", "failed")];
        assert_eq!(
            metrics.sum("meshproxy_authorizer_total", &labels),
            1.0,
            "{more}"
        );
    }
}

#[tokio::test]
async fn a_provider_that_nobody_wrote_refuses_what_its_policy_matches() {
    let (origin, judge) = (Origin::named("shop").await, judging().await);
    let mut documents = documents(&origin, judge.addr(), "HTTP", &http(", failOpen: true"));
    documents[4] = documents[4].replace("name: judge", "name: nobody");
    let edge = Edge::start(&documents).await;
    let mut client = edge.http1().await;

    let refused = client.get(HOST, "/a").await;
    let open = client.get(HOST, "/open").await;

    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("x-meshproxy-error"), "ext_authz_error");
    assert_eq!(open.status, 200);
}

#[tokio::test]
async fn a_body_that_goes_along_still_reaches_the_upstream() {
    let echo = |request: Request<Incoming>| async move {
        let sent = request.into_body().collect().await.expect("a body");
        text(sent.to_bytes())
    };
    let origin = Origin::serving(Protocol::Http1, echo).await;
    let judge = judging().await;
    let of = |partial: bool| {
        http(&format!(
            ", includeRequestHeadersInCheck: [x-key], headersToDownstreamOnAllow: [x-asked], \
             includeRequestBodyInCheck: {{maxRequestBytes: 8, allowPartialMessage: {partial}}}"
        ))
    };
    let post =
        |bytes: &'static str| request(Method::POST, HOST, "/a", &[("x-key", "right")], full(bytes));
    let edge = Edge::start(&documents(&origin, judge.addr(), "HTTP", &of(true))).await;
    let mut client = edge.http1().await;

    let short = client.send(post("12345")).await;
    let long = client.send(post("0123456789")).await;
    edge.apply(&documents(&origin, judge.addr(), "HTTP", &of(false)))
        .await;
    let too_long = edge.http1().await.send(post("0123456789")).await;

    assert_eq!(short.header("x-asked"), "POST /a 5");
    assert_eq!(short.text(), "12345");
    assert_eq!(long.header("x-asked"), "POST /a 8");
    assert_eq!(long.text(), "0123456789");
    assert_eq!(too_long.status, 413);
    assert_eq!(origin.requests(), 2);
}

/// An answer of gRPC with one message.
fn grpc(message: &[u8]) -> Response<Body> {
    let mut frame = vec![0, 0, 0, 0, message.len() as u8];
    frame.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let framed = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(body(framed));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

/// `CheckResponse` that allows and sets `x-user: ada`, and one that denies with 402 and a body.
const ALLOWED: &[u8] = b"\x0a\x00\x1a\x11\x12\x0f\x0a\x0d\x0a\x06x-user\x12\x03ada";
const DENIED: &[u8] = b"\x0a\x02\x08\x07\x12\x09\x0a\x03\x08\x92\x03\x1a\x02no";

async fn checking(request: Request<Incoming>) -> Response<Body> {
    assert_eq!(
        request.uri().path(),
        "/envoy.service.auth.v3.Authorization/Check"
    );
    let question = request.into_body().collect().await.expect("a question");
    let question = question.to_bytes();
    let has = |text: &[u8]| question.windows(text.len()).any(|it| it == text);
    assert!(has(b"/a?b=c") && has(b"shop.test") && has(b"127.0.0.1"));
    grpc(if has(b"right") { ALLOWED } else { DENIED })
}

#[tokio::test]
async fn an_authorizer_that_speaks_grpc_decides() {
    let origin = Origin::named("shop").await;
    let judge = Origin::serving(Protocol::Http2, checking).await;
    let provider =
        format!("envoyExtAuthzGrpc: {{service: infra/{AUTHORIZER}, port: 80, timeout: 10s}}");
    let edge = Edge::start(&documents(&origin, judge.addr(), "GRPC", &provider)).await;
    let mut client = edge.http1().await;

    let allowed = client.get_with(HOST, "/a?b=c", &[("x-key", "right")]).await;
    let seen = origin.last();
    let denied = client.get(HOST, "/a?b=c").await;
    let caller = [("content-type", "application/grpc"), ("te", "trailers")];
    let called = client
        .send(request(Method::POST, HOST, "/a?b=c", &caller, empty()))
        .await;

    assert_eq!(allowed.brief(), (200, "shop"));
    assert_eq!(seen.header("x-user"), "ada");
    assert_eq!(denied.brief(), (402, "no"));
    assert_eq!(denied.header("x-meshproxy-error"), "ext_authz_denied");
    assert_eq!(called.status, 200);
    assert_ne!(called.header("grpc-status"), "0");
    assert_eq!(origin.requests(), 1);
}
