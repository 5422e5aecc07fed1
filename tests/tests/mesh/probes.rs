//! Probes of the application that kubelet makes through the proxy.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tests::origin::{Body, Protocol, body, text};
use tests::{Authority, Edge, Http1, Origin, Script, client, eventually};

const READY: &str = "/app-health/app/readyz";

/// A proxy that was told what the probes of its pod are.
async fn start(probes: &Value) -> Edge {
    Edge::start_with(&[], &["--app-probes", &probes.to_string()]).await
}

/// A proxy with one probe.
async fn with_one(probe: Value) -> Edge {
    start(&json!({READY: probe})).await
}

fn http_get(addr: SocketAddr, path: &str) -> Value {
    json!({"httpGet": {"port": addr.port(), "path": path}})
}

/// An application that takes connections, and then does nothing.
async fn silent() -> Script {
    Script::start(|peer| async move {
        let _open = peer;
        std::future::pending().await
    })
    .await
}

/// The status of a probe, and what else it says.
async fn probe(edge: &Edge, path: &str) -> (u16, String) {
    let mut kubelet = Http1::connect(edge.proxy.health_addr()).await;
    let reply = kubelet.get("pod:15020", path).await;
    (reply.status.as_u16(), reply.text().to_owned())
}

fn with_status(status: u16) -> Response<Body> {
    let mut response = text("internals of the application");
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

fn redirect(location: String) -> Response<Body> {
    let mut response = with_status(302);
    let location = HeaderValue::try_from(location).expect("a header");
    response.headers_mut().insert("location", location);
    response
}

#[tokio::test]
async fn the_application_is_asked_as_kubelet_would_and_its_status_alone_comes_back() {
    let application = Origin::serving(Protocol::Http1, |request| async move {
        let status = request.uri().path().trim_start_matches('/').parse();
        with_status(status.expect("a status"))
    })
    .await;
    let port = application.addr().port();
    let get = |path: &str| {
        json!({"httpGet": {"port": port, "path": path, "httpHeaders": [
            {"name": "Host", "value": "app.test"}, {"name": "X-Probe", "value": "yes"}]}})
    };
    let edge = start(&json!({
        "/app-health/app/livez": get("/200?deep=1"),
        READY: get("/503"),
        "/app-health/app/startupz": {"httpGet": {"port": port, "path": "/404"}},
        "/app-lifecycle/app/prestopz": get("/204"),
    }))
    .await;
    let mut kubelet = Http1::connect(edge.proxy.health_addr()).await;

    let headers = [("user-agent", "kube-probe/1.33"), ("cookie", "secret")];
    let live = client::request(
        http::Method::GET,
        "10.0.0.1:15020",
        "/app-health/app/livez",
        &headers,
        client::empty(),
    );
    assert_eq!(kubelet.send(live).await.status, 200);

    let seen = application.last();
    assert_eq!(seen.target, "/200?deep=1");
    assert_eq!(seen.authority, "app.test");
    assert_eq!(seen.headers["x-probe"], "yes");
    assert_eq!(seen.headers["user-agent"], "kube-probe/1.33");
    assert!(!seen.headers.contains_key("cookie"));
    for (path, expected) in [
        (READY, 503),
        ("/app-health/app/startupz", 404),
        ("/app-lifecycle/app/prestopz", 204),
    ] {
        let (status, said) = probe(&edge, path).await;
        assert_eq!(status, expected, "{path}");
        assert!(!said.contains("internals"), "{said}");
    }
    assert_eq!(application.seen()[2].authority, format!("127.0.0.1:{port}"));
}

#[tokio::test]
async fn only_what_was_declared_can_be_asked() {
    let application = Origin::named("application").await;
    let edge = with_one(http_get(application.addr(), "/")).await;
    let mut stranger = Http1::connect(edge.proxy.health_addr()).await;

    for path in [
        "/app-health/app/livez",
        "/app-health/other/readyz",
        "/app-health/app/readyz/",
        "/app-health/app/../app/readyz",
        "/app-health/",
        "/",
    ] {
        assert_eq!(probe(&edge, path).await.0, 404, "{path}");
    }
    let post = client::request(http::Method::POST, "pod", READY, &[], client::empty());
    assert_eq!(stranger.send(post).await.status, 404);

    assert_eq!(application.connections(), 0);
}

#[tokio::test]
async fn an_application_behind_tls_is_believed_whatever_its_certificate_says() {
    let authority = Authority::new("of.nobody");
    let signed = authority
        .leaf_named(&[], &["some.other.name"])
        .expired()
        .sign();
    let tls = signed.server(&["http/1.1"]);
    let application = Origin::secured(Protocol::Http1, "application", tls).await;
    let port = application.addr().port();
    let edge = with_one(json!({"httpGet": {"port": port, "scheme": "HTTPS"}})).await;

    assert_eq!(probe(&edge, READY).await.0, 200);
    assert_eq!(application.requests(), 1);
}

#[tokio::test]
async fn redirects_are_followed_within_the_application_and_nowhere_else() {
    let other = Origin::named("other").await;
    let other_port = other.addr().port();
    let application = Origin::serving(Protocol::Http1, move |request| async move {
        match request.uri().path() {
            "/relative" => redirect("/ok".to_owned()),
            "/port" => redirect(format!("http://127.0.0.1:{other_port}/")),
            "/elsewhere" => redirect(format!("http://localhost:{other_port}/elsewhere")),
            "/loop" => redirect("/loop".to_owned()),
            _ => text("ok"),
        }
    })
    .await;
    let at = |path| http_get(application.addr(), path);
    let edge = start(&json!({
        "/app-health/relative/readyz": at("/relative"),
        "/app-health/port/readyz": at("/port"),
        "/app-health/elsewhere/readyz": at("/elsewhere"),
        "/app-health/loop/readyz": at("/loop"),
    }))
    .await;

    assert_eq!(probe(&edge, "/app-health/relative/readyz").await.0, 200);
    assert_eq!(application.last().target, "/ok");
    assert_eq!(probe(&edge, "/app-health/port/readyz").await.0, 200);
    assert_eq!(other.requests(), 1);
    assert_eq!(probe(&edge, "/app-health/elsewhere/readyz").await.0, 302);
    assert_eq!(other.requests(), 1);
    let before = application.requests();
    assert_eq!(probe(&edge, "/app-health/loop/readyz").await.0, 502);
    assert_eq!(application.requests() - before, 11);
}

#[tokio::test]
async fn a_port_that_takes_connections_is_all_that_a_probe_by_tcp_asks() {
    let application = silent().await;
    let gone = silent().await;
    let tcp = |addr: SocketAddr| json!({"tcpSocket": {"port": addr.port()}});
    let probes = json!({
        READY: tcp(application.addr()),
        "/app-health/app/livez": tcp(gone.addr()),
    });
    let edge = start(&probes).await;
    drop(gone);

    assert_eq!(probe(&edge, READY).await.0, 200);
    let live = async || probe(&edge, "/app-health/app/livez").await.0;
    eventually("nobody there", live, |status| *status == 502).await;
}

#[tokio::test]
async fn a_server_of_grpc_says_by_itself_whether_it_serves() {
    let application = Origin::serving(Protocol::Http2, |request| async move {
        let body_bytes = request
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let serving = if body_bytes.ends_with(b"ready") { 1 } else { 2 };
        let message = Bytes::from(vec![0, 0, 0, 0, 2, 0x08, serving]);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let framed = Full::new(message).with_trailers(async move { Some(Ok(trailers)) });
        Response::new(body(framed))
    })
    .await;
    let grpc =
        |service: &str| json!({"grpc": {"port": application.addr().port(), "service": service}});
    let probes = json!({READY: grpc("ready"), "/app-health/app/livez": grpc("other")});
    let edge = start(&probes).await;

    assert_eq!(probe(&edge, READY).await.0, 200);
    assert_eq!(application.last().target, "/grpc.health.v1.Health/Check");
    assert_eq!(probe(&edge, "/app-health/app/livez").await.0, 503);
}

#[tokio::test]
async fn applications_that_do_not_answer_rightly_fail_within_their_time() {
    let hanging = silent().await;
    let closing = Script::start(|peer| async move { drop(peer) }).await;
    let babbling = Script::start(|mut peer| async move {
        peer.request().await;
        peer.say("what?\r\n\r\n").await;
    })
    .await;
    let long = Script::start(|mut peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\n\r\n").await;
        // Far more than a probe takes.
        peer.say(&"x".repeat(1 << 20)).await;
    })
    .await;
    let probes = json!({
        "/app-health/hanging/readyz": http_get(hanging.addr(), "/"),
        "/app-health/closing/readyz": http_get(closing.addr(), "/"),
        "/app-health/babbling/readyz": http_get(babbling.addr(), "/"),
        "/app-health/long/readyz": http_get(long.addr(), "/"),
    });
    let edge = start(&probes).await;

    for (name, expected) in [
        ("hanging", 504),
        ("closing", 502),
        ("babbling", 502),
        ("long", 200),
    ] {
        let (status, _) = probe(&edge, &format!("/app-health/{name}/readyz")).await;
        assert_eq!(status, expected, "{name}");
    }
    let metrics = edge.proxy.metrics().await;
    let of = |result| metrics.sum("meshproxy_app_probes_total", &[("result", result)]);
    assert_eq!((of("passed"), of("failed")), (1.0, 3.0));
}

#[tokio::test]
async fn probes_that_hang_do_not_hold_up_the_health_of_the_proxy() {
    let hanging = silent().await;
    let mut probe = http_get(hanging.addr(), "/");
    probe["timeoutSeconds"] = json!(60);
    let edge = with_one(probe).await;
    let mut hung = Vec::new();

    // One more than may be under way; which of them is refused does not matter.
    for _ in 0..33 {
        let mut kubelet = Http1::connect(edge.proxy.health_addr()).await;
        hung.push(tokio::spawn(async move {
            kubelet.try_send(client::get("pod", READY)).await
        }));
    }
    let refused = async || {
        let metrics = edge.proxy.metrics().await;
        metrics.sum("meshproxy_app_probes_total", &[("result", "refused")])
    };

    eventually("a probe too many", refused, |count| *count == 1.0).await;
    assert_eq!(edge.proxy.ready().await, 200);
    for hung in hung {
        hung.abort();
    }
}
