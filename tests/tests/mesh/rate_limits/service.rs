//! Limits that a rate-limit service counts for all proxies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tests::origin::{Body, Protocol, body};
use tests::yaml::Service;
use tests::{Edge, Origin, Port};

use super::{HOST, assert_refused, documents, passed};

const LIMITS: &str = "limits.infra.test";
const LIMIT: &str = "
  - name: users
    requests: 2
    per: 1h
    key: ['request.headers[x-user]']
    overrides: [{dimensions: {request.method: PUT}, requests: 1, per: 24h}]
";

/// What was asked, each as it came behind the head of its frame.
type Asked = Arc<Mutex<Vec<Vec<u8>>>>;

/// `RateLimitResponse` with `OK`, and with `OVER_LIMIT` for 7 s and a header `x-limits: told`.
const OK: &[u8] = b"\x08\x01\x12\x02\x08\x01";
const OVER: &[u8] = b"\x08\x02\x12\x06\x08\x02\x22\x02\x08\x07\x1a\x10\x0a\x08x-limits\x12\x04told";

/// A service that lets two requests of each kind pass.
async fn counting(asked: &Asked) -> Origin {
    let asked = Arc::clone(asked);
    let answer = move |request: Request<Incoming>| {
        let asked = Arc::clone(&asked);
        async move {
            assert_eq!(
                request.uri().path(),
                "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
            );
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            let question = request.into_body().collect().await.expect("a question");
            let question = question.to_bytes()[5..].to_vec();
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            let before = asked.iter().filter(|it| **it == question).count();
            asked.push(question);
            grpc(if before < 2 { OK } else { OVER })
        }
    };
    Origin::serving(Protocol::Http2, answer).await
}

/// An answer of gRPC with one message.
fn grpc(message: &'static [u8]) -> Response<Body> {
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

/// Policies that the service at `addr` counts for, each with `more` of its spec, and a local one.
fn policies(addr: std::net::SocketAddr, more: &str) -> [String; 2] {
    let service = Service::new(LIMITS).protocol("GRPC").at(addr).to_string();
    let policy = format!(
        "apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {{name: shop}}
spec:
  scope: SHARED
  service: {{host: {LIMITS}, port: 80, domain: shops{more}}}
  limits:{LIMIT}
---
"
    );
    let local = super::policy(
        "local",
        "selector: {}",
        "  - {name: all, requests: 7, per: 1h}",
    );
    [service + &policy, local]
}

async fn edge(origin: &Origin, policies: &[String]) -> Edge {
    Edge::start(&documents(origin, policies)).await
}

fn counted(questions: &Asked) -> HashMap<Vec<u8>, usize> {
    let mut counted = HashMap::new();
    let questions = questions.lock().unwrap_or_else(PoisonError::into_inner);
    for question in questions.iter() {
        *counted.entry(question.clone()).or_default() += 1;
    }
    counted
}

#[tokio::test]
async fn the_service_decides_and_its_answer_reaches_the_caller() {
    let (origin, asked) = (Origin::named("shop").await, Asked::default());
    let service = counting(&asked).await;
    let edge = edge(&origin, &policies(service.addr(), ", timeout: 5s")).await;
    let mut client = edge.http1().await;

    let anna = [("x-user", "anna")];
    assert_eq!(passed(&mut client, HOST, &anna, 2).await, 2);
    let refused = client.get_with(HOST, "/", &anna).await;
    assert_eq!(passed(&mut client, HOST, &[("x-user", "otto")], 2).await, 2);

    assert_refused(&refused);
    assert_eq!(refused.header("retry-after"), "7");
    assert_eq!(refused.header("x-limits"), "told");
    let metrics = edge.proxy.metrics().await;
    let results = |result| {
        let labels = [("policy", "default/shop"), ("result", result)];
        metrics.sum("meshproxy_rate_limit_service_total", &labels)
    };
    assert_eq!(
        (results("ok"), results("over_limit"), results("failed")),
        (4.0, 1.0, 0.0)
    );
    // What the service refused has not used up the limit of the proxy itself: seven less four.
    let others = [("x-user", "eve")];
    let mut rest = 0;
    for user in ["a", "b", "c", "d", "e"] {
        rest += passed(&mut client, HOST, &[("x-user", user)], 1).await;
    }
    assert_eq!(rest, 3);
    let before = service.requests();
    assert_refused(&client.get_with(HOST, "/", &others).await);
    assert_eq!(
        service.requests(),
        before,
        "what is refused here is not asked"
    );
}

#[tokio::test]
async fn what_is_asked_has_the_limit_the_values_and_the_numbers() {
    let (origin, asked) = (Origin::named("shop").await, Asked::default());
    let service = counting(&asked).await;
    let edge = edge(&origin, &policies(service.addr(), ", timeout: 5s")).await;
    let mut client = edge.http1().await;
    let put = tests::client::request(
        http::Method::PUT,
        HOST,
        "/",
        &[("x-user", "anna")],
        tests::client::empty(),
    );

    client.get_with(HOST, "/", &[("x-user", "anna")]).await;
    client.send(put).await;

    let domain = b"\x0a\x05shops".to_vec();
    let entry = |key: &str, value: &str| {
        let inner = [
            &[0x0a, key.len() as u8][..],
            key.as_bytes(),
            &[0x12, value.len() as u8],
            value.as_bytes(),
        ];
        let inner = inner.concat();
        [vec![0x0a, inner.len() as u8], inner].concat()
    };
    let question = |entries: Vec<Vec<u8>>, limit: &[u8]| {
        let descriptor = [entries.concat(), limit.to_vec()].concat();
        [
            domain.clone(),
            vec![0x12, descriptor.len() as u8],
            descriptor,
        ]
        .concat()
    };
    let own = entry("generic_key", "default/shop/users");
    let user = entry("request.headers[x-user]", "anna");
    let method = entry("request.method", "PUT");
    let expected = [
        (
            question(vec![own.clone(), user.clone()], b"\x12\x04\x08\x02\x10\x03"),
            1,
        ),
        (
            question(vec![own, user, method], b"\x12\x04\x08\x01\x10\x04"),
            1,
        ),
    ];
    assert_eq!(counted(&asked), HashMap::from(expected));
}

#[tokio::test]
async fn without_an_answer_the_declared_mode_decides() {
    let origin = Origin::named("shop").await;
    let gone = Port::reserve();
    let silent = Origin::serving(Protocol::Http2, |_| std::future::pending()).await;
    let confused = Origin::speaking(Protocol::Http2, "not gRPC").await;

    for (addr, what) in [
        (gone.addr(), "nobody listens"),
        (silent.addr(), "nobody answers"),
        (confused.addr(), "the answer is none"),
    ] {
        let open = edge(&origin, &policies(addr, ", timeout: 50ms")).await;
        assert_eq!(
            passed(&mut open.http1().await, HOST, &[], 3).await,
            3,
            "{what}"
        );
        let metrics = open.proxy.metrics().await;
        let failed = [("policy", "default/shop"), ("result", "failed")];
        let failed = metrics.sum("meshproxy_rate_limit_service_total", &failed);
        assert_eq!(failed, 3.0, "{what}");

        let more = ", timeout: 50ms, failureMode: DENY";
        let shut = edge(&origin, &policies(addr, more)).await;
        let reply = shut.http1().await.get(HOST, "/").await;
        assert_eq!(reply.status, 503, "{what}");
        assert_eq!(reply.header("x-meshproxy-error"), "rate_limit_undecided");
        super::flagged(&shut, "RLSE", 1.0).await;
    }
}
