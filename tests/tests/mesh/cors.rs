//! Requests of pages from elsewhere.

use http::Method;
use tests::client::{empty, request};
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Reply};

const HOST: &str = "api.test";
const RULES: &str = "
  - corsPolicy:
      allowOrigins: [{exact: 'https://page.test'}, {regex: 'https://[a-z]+\\.pages\\.test'}]
      allowMethods: [GET, POST]
      allowHeaders: [x-token, content-type]
      exposeHeaders: [x-total]
      maxAge: 10m
      allowCredentials: true
    route: [{destination: {host: api.test}}]
";

/// What the proxy answers, and how many requests arrived at the origin.
async fn asked(method: Method, headers: &[(&str, &str)]) -> (Reply, usize) {
    let origin = Origin::named("api").await;
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let edge = Edge::start(&[service, yaml::routes(HOST, RULES)]).await;
    let asked = request(method, HOST, "/", headers, empty());
    (edge.http1().await.send(asked).await, origin.requests())
}

#[tokio::test]
async fn a_preflight_of_an_allowed_page_is_answered_by_the_proxy() {
    let preflight = [
        ("origin", "https://page.test"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-token"),
    ];

    let (reply, arrived) = asked(Method::OPTIONS, &preflight).await;

    assert_eq!((reply.status.as_u16(), arrived), (200, 0));
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "https://page.test"
    );
    assert_eq!(reply.header("access-control-allow-methods"), "GET,POST");
    assert_eq!(
        reply.header("access-control-allow-headers"),
        "x-token,content-type"
    );
    assert_eq!(reply.header("access-control-max-age"), "600");
    assert_eq!(reply.header("access-control-allow-credentials"), "true");
}

#[tokio::test]
async fn an_answer_to_an_allowed_page_is_marked() {
    let (reply, arrived) = asked(Method::GET, &[("origin", "https://my.pages.test")]).await;

    assert_eq!((reply.brief(), arrived), ((200, "api"), 1));
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "https://my.pages.test"
    );
    assert_eq!(reply.header("access-control-expose-headers"), "x-total");
}

#[tokio::test]
async fn an_answer_to_any_other_page_is_not_marked() {
    let (reply, arrived) = asked(Method::GET, &[("origin", "https://evil.test")]).await;

    assert_eq!((reply.brief(), arrived), ((200, "api"), 1));
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn options_without_a_page_are_for_the_origin() {
    let (reply, arrived) = asked(Method::OPTIONS, &[]).await;

    assert_eq!((reply.brief(), arrived), ((200, "api"), 1));
}
