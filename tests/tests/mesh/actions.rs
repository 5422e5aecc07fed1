//! What a rule does with a request: rewrites, answers of its own, delegates.

use tests::yaml::{self, Service};
use tests::{Edge, Origin};

const HOST: &str = "shop.test";

/// A proxy with `rules` for a host that one origin serves.
async fn edge(origin: &Origin, rules: &str) -> Edge {
    let service = Service::new(HOST).at(origin.addr()).to_string();
    Edge::start(&[service, yaml::routes(HOST, rules)]).await
}

#[tokio::test]
async fn a_rewritten_uri_takes_the_place_of_what_matched() {
    let origin = Origin::named("shop").await;
    let rules = "
  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /new/}
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {exact: /whole}}]
    rewrite: {uri: /other/place}
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {prefix: /strip}}]
    rewrite: {uri: /}
    route: [{destination: {host: shop.test}}]
  - match: [{uri: {prefix: /item/}}]
    rewrite:
      uriRegexRewrite: {match: '/item/([0-9]+)/(.*)', rewrite: '/v2/\\2/\\1'}
    route: [{destination: {host: shop.test}}]
";
    let edge = edge(&origin, rules).await;
    let mut client = edge.http1().await;

    for (asked, arrived) in [
        ("/old/a/b?q=/old/", "/new/a/b?q=/old/"),
        ("/whole?x=1", "/other/place?x=1"),
        ("/item/42/details?full", "/v2/details/42?full"),
        ("/item/none", "/item/none"),
    ] {
        assert_eq!(client.get(HOST, asked).await.status, 200, "{asked}");
        assert_eq!(origin.last().target, arrived, "{asked}");
    }
    client.get(HOST, "/old/a").await;
    assert_eq!(origin.last().header("x-envoy-original-path"), "/old/a");
}

#[tokio::test]
async fn a_rewritten_authority_reaches_the_origin() {
    let origin = Origin::named("shop").await;
    let rules = "
  - rewrite: {authority: inner.shop.test}
    route: [{destination: {host: shop.test}}]
";
    let edge = edge(&origin, rules).await;

    edge.http1().await.get(HOST, "/").await;

    assert_eq!(origin.last().authority, "inner.shop.test");
    assert_eq!(origin.last().header("x-envoy-original-host"), HOST);
}

#[tokio::test]
async fn a_direct_response_needs_no_origin() {
    let origin = Origin::named("shop").await;
    let rules = "
  - match: [{uri: {exact: /text}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - match: [{uri: {exact: /bytes}}]
    directResponse: {status: 200, body: {bytes: aGVsbG8=}}
  - match: [{uri: {exact: /empty}}]
    directResponse: {status: 503}
    headers: {response: {set: {retry-after: '5'}}}
";
    let edge = edge(&origin, rules).await;
    let mut client = edge.http1().await;

    assert_eq!(
        client.get(HOST, "/text").await.brief(),
        (418, "short and stout")
    );
    assert_eq!(client.get(HOST, "/bytes").await.brief(), (200, "hello"));
    let empty = client.get(HOST, "/empty").await;
    assert_eq!(empty.brief(), (503, ""));
    assert_eq!(empty.header("retry-after"), "5");
    assert_eq!(client.get(HOST, "/nothing").await.status, 404);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_direct_response_reads_the_body_of_its_request_away() {
    let origin = Origin::named("shop").await;
    let rules = "
  - directResponse: {status: 200, body: {string: thanks}}
";
    let edge = edge(&origin, rules).await;
    let mut client = edge.http1().await;

    for _ in 0..3 {
        let body = tests::client::full(vec![b'x'; 10_000]);
        let post = tests::client::request(http::Method::POST, HOST, "/", &[], body);
        assert_eq!(client.send(post).await.brief(), (200, "thanks"));
    }
}

#[tokio::test]
async fn a_delegate_s_rules_stand_in_the_place_of_the_rule_that_names_it() {
    let origins = [Origin::named("details").await, Origin::named("shop").await];
    let root = "
  - match: [{uri: {prefix: /details}}]
    delegate: {name: details, namespace: default}
  - route: [{destination: {host: shop.test}}]
";
    let delegate = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details, namespace: default}
spec:
  http:
  - match: [{uri: {prefix: /details/hidden}}]
    directResponse: {status: 403}
  - match: [{uri: {prefix: /elsewhere}}]
    directResponse: {status: 500}
  - route: [{destination: {host: details.test}}]
---
";
    let edge = Edge::start(&[
        Service::new("details.test")
            .at(origins[0].addr())
            .to_string(),
        Service::new(HOST).at(origins[1].addr()).to_string(),
        yaml::routes(HOST, root),
        delegate.to_owned(),
    ])
    .await;
    let mut client = edge.http1().await;

    assert_eq!(
        client.get(HOST, "/details/1").await.brief(),
        (200, "details")
    );
    assert_eq!(client.get(HOST, "/details/hidden/1").await.status, 403);
    assert_eq!(client.get(HOST, "/elsewhere").await.brief(), (200, "shop"));
}

#[tokio::test]
async fn the_first_rule_that_matches_wins() {
    let origin = Origin::named("shop").await;
    let rules = "
  - match: [{uri: {prefix: /a}, headers: {x-kind: {exact: b}}}]
    directResponse: {status: 201}
  - match: [{uri: {prefix: /a}, withoutHeaders: {x-kind: {}}}]
    directResponse: {status: 202}
  - match: [{uri: {exact: /A/b}, ignoreUriCase: true}]
    directResponse: {status: 203}
  - match: [{uri: {regex: '/a/[0-9]+'}}]
    directResponse: {status: 204}
  - match: [{uri: {prefix: /a}}]
    directResponse: {status: 205}
";
    let edge = edge(&origin, rules).await;
    let mut client = edge.http1().await;

    for (path, kind, status) in [
        ("/a/b", Some("b"), 201),
        ("/a/b", None, 202),
        ("/a/B", Some("c"), 203),
        ("/a/12", Some("c"), 204),
        ("/a/12/", Some("c"), 205),
        ("/b", Some("b"), 404),
    ] {
        let headers: Vec<_> = kind.map(|kind| ("x-kind", kind)).into_iter().collect();
        let reply = client.get_with(HOST, path, &headers).await;
        assert_eq!(reply.status, status, "{path} {kind:?}");
    }
}
