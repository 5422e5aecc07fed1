//! Headers: what a rule says, and what a proxy does by itself.

use tests::yaml::{self, Service};
use tests::{Edge, Origin};

const HOST: &str = "shop.test";

async fn edge(origin: &Origin, rules: &str) -> Edge {
    let service = Service::new(HOST).version(origin.addr(), "v1").to_string();
    Edge::start(&[
        service,
        yaml::subsets(HOST, &["v1"]),
        yaml::routes(HOST, rules),
    ])
    .await
}

#[tokio::test]
async fn requests_are_edited_by_the_rule_and_then_by_the_destination() {
    let origin = Origin::named("shop").await;
    let rules = "
  - headers:
      request:
        set: {x-set: rule, x-both: rule}
        add: {x-add: rule}
        remove: [x-gone, x-rule-gone]
    route:
    - destination: {host: shop.test, subset: v1}
      headers:
        request:
          set: {x-both: destination, x-own: destination}
          add: {x-add: destination}
          remove: [x-destination-gone]
";
    let edge = edge(&origin, rules).await;
    let headers = [
        ("x-set", "client"),
        ("x-both", "client"),
        ("x-add", "client"),
        ("x-gone", "1"),
        ("x-rule-gone", "1"),
        ("x-destination-gone", "1"),
        ("x-kept", "1"),
    ];

    edge.http1().await.get_with(HOST, "/", &headers).await;

    let seen = origin.last();
    assert_eq!(seen.header("x-set"), "rule");
    assert_eq!(seen.header("x-own"), "destination");
    assert_eq!(seen.header("x-kept"), "1");
    for gone in ["x-gone", "x-rule-gone", "x-destination-gone"] {
        assert!(!seen.headers.contains_key(gone), "{gone}");
    }
    let values = |name| -> Vec<&str> {
        let all = seen.headers.get_all(name).into_iter();
        all.map(|value| value.to_str().expect("text")).collect()
    };
    let mut added: Vec<&str> = values("x-add")
        .iter()
        .flat_map(|line| line.split(','))
        .collect();
    added.sort_unstable();
    assert_eq!(added, ["client", "destination", "rule"]);
    assert_eq!(values("x-both").len(), 1);
}

#[tokio::test]
async fn answers_are_edited_by_the_rule_and_by_the_destination() {
    let origin = Origin::serving(tests::origin::Protocol::Http1, |_| async {
        let mut answer = tests::origin::text("shop");
        let headers = answer.headers_mut();
        headers.insert("server-version", "7".parse().expect("a value"));
        headers.insert("x-internal", "secret".parse().expect("a value"));
        headers.insert("x-kept", "1".parse().expect("a value"));
        answer
    })
    .await;
    let rules = "
  - headers:
      response:
        set: {server-version: hidden}
        remove: [x-internal]
    route:
    - destination: {host: shop.test, subset: v1}
      headers:
        response:
          add: {x-served-by: v1}
";
    let edge = edge(&origin, rules).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (200, "shop"));
    assert_eq!(reply.header("server-version"), "hidden");
    assert_eq!(reply.header("x-served-by"), "v1");
    assert_eq!(reply.header("x-kept"), "1");
    assert!(!reply.headers.contains_key("x-internal"));
}

#[tokio::test]
async fn the_host_header_can_be_set() {
    let origin = Origin::named("shop").await;
    let rules = "
  - headers: {request: {set: {host: inner.test}}}
    route: [{destination: {host: shop.test}}]
";
    let edge = edge(&origin, rules).await;

    edge.http1().await.get(HOST, "/").await;

    assert_eq!(origin.last().authority, "inner.test");
}

#[tokio::test]
async fn what_concerned_one_connection_is_not_passed_on() {
    let origin = Origin::named("shop").await;
    let edge = edge(&origin, "  - route: [{destination: {host: shop.test}}]").await;
    let headers = [
        ("connection", "keep-alive, x-private"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("x-private", "1"),
        ("x-public", "1"),
    ];

    edge.http1().await.get_with(HOST, "/", &headers).await;

    let seen = origin.last();
    for (name, _) in &headers[..5] {
        assert!(
            !seen.headers.contains_key(*name),
            "{name}: {:?}",
            seen.headers
        );
    }
    assert_eq!(seen.header("x-public"), "1");
}

#[tokio::test]
async fn an_origin_learns_who_asked_and_how() {
    let origin = Origin::named("shop").await;
    let edge = edge(&origin, "  - route: [{destination: {host: shop.test}}]").await;
    let mut client = edge.http1().await;

    client
        .get_with(HOST, "/", &[("x-forwarded-for", "192.0.2.1")])
        .await;
    client
        .get_with(HOST, "/", &[("x-request-id", "my-own")])
        .await;

    let [first, second] = &origin.seen()[..] else {
        panic!("two requests: {:?}", origin.seen())
    };
    assert_eq!(first.header("x-forwarded-for"), "192.0.2.1,127.0.0.1");
    assert_eq!(first.header("x-forwarded-proto"), "http");
    assert_eq!(first.header("x-request-id").len(), 36);
    assert_eq!(second.header("x-request-id"), "my-own");
    assert_eq!(second.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(second.authority, HOST);
}

#[tokio::test]
async fn a_bad_request_does_not_arrive() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let origin = Origin::named("shop").await;
    let edge = edge(&origin, "  - route: [{destination: {host: shop.test}}]").await;

    for request in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: shop.test\r\nhost: shop.test\r\n",
        "GET / HTTP/1.1\r\nhost: shop.test\r\nbad header: x\r\n",
        "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
        "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: x\r\n",
    ] {
        let connected = tokio::net::TcpStream::connect(edge.port.addr()).await;
        let mut tcp = connected.expect("the gateway listens");
        let request = format!("{request}connection: close\r\n\r\n");
        tcp.write_all(request.as_bytes())
            .await
            .expect("a short request is taken");
        let mut answer = String::new();
        let read = tests::soon("an answer", tcp.read_to_string(&mut answer)).await;
        read.expect("an answer in full");

        assert!(
            answer.starts_with("HTTP/1.1 400 "),
            "{request:?}: {answer:?}"
        );
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_rule_may_send_what_came_by_plain_http_to_https() {
    let origin = Origin::named("shop").await;
    let rules = "
  - match: [{headers: {x-forwarded-proto: {exact: http}}}]
    redirect: {scheme: https}
  - route: [{destination: {host: shop.test}}]
";
    let edge = edge(&origin, rules).await;
    let mut client = edge.http1().await;

    let plain = client.get(HOST, "/").await;
    let pretended = client
        .get_with(HOST, "/", &[("x-forwarded-proto", "https")])
        .await;

    assert_eq!(plain.header("location"), "https://shop.test/");
    assert_eq!(pretended.header("location"), "https://shop.test/");
    assert_eq!(origin.requests(), 0);
}
