//! The account of a request on its answer, for those who may know.

mod met;

use serde_json::Value;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Port, Proxy};

const HOST: &str = "reviews.test";
const ASK: (&str, &str) = ("x-meshproxy-explain", "1");

async fn edge(origin: &Origin, arguments: &[&str]) -> Edge {
    let rules = "
  - name: slow
    match: [{uri: {prefix: /slow}}, {uri: {prefix: /v1}}]
    timeout: 20s
    route: [{destination: {host: reviews.test, subset: v1}}]
";
    let documents = [
        Service::new(HOST).version(origin.addr(), "v1").to_string(),
        yaml::subsets(HOST, &["v1"]),
        yaml::routes(HOST, rules),
    ];
    Edge::start_with(&documents, arguments).await
}

fn account(line: &str) -> Value {
    assert!(line.len() <= 4_096 && line.is_ascii(), "{line}");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[tokio::test]
async fn an_allowed_caller_learns_what_became_of_its_request() {
    let origin = Origin::named("v1").await;
    let edge = edge(&origin, &["--explain-from", "127.0.0.0/8"]).await;
    let mut client = edge.http1().await;

    let reply = client.get_with(HOST, "/v1/a", &[ASK]).await;

    let told = account(reply.header("x-meshproxy-explain"));
    assert_eq!(told["virtualService"], "default/reviews-test");
    assert_eq!(
        (&told["rule"], &told["http"], &told["match"]),
        (&"slow".into(), &0.into(), &1.into())
    );
    assert_eq!(told["destination"], "outbound|80|v1|reviews.test");
    assert_eq!(told["destinationRule"], "default/reviews-test");
    assert_eq!(told["endpoint"], origin.addr().to_string());
    assert_eq!(
        (&told["attempts"], &told["status"]),
        (&1.into(), &200.into())
    );
    assert_eq!(told["details"], "via_upstream");
    assert_eq!(told["timeoutMs"], 20_000.0);
    assert!(
        told["elapsedMs"].as_f64().is_some_and(|it| it > 0.0),
        "{told}"
    );
    assert_eq!(
        origin.last().header(ASK.0),
        "1",
        "the next proxy is asked, too"
    );
    let silent = client.get(HOST, "/v1/a").await;
    assert_eq!(silent.header(ASK.0), "", "who does not ask is not told");
}

#[tokio::test]
async fn an_answer_of_the_proxy_itself_is_told_with_its_cause() {
    let origin = Origin::named("v1").await;
    let edge = edge(&origin, &["--explain-from", "127.0.0.1"]).await;
    let mut client = edge.http1().await;

    let reply = client.get_with(HOST, "/none", &[ASK]).await;

    assert_eq!(reply.status, 404);
    let told = account(reply.header(ASK.0));
    assert_eq!(
        (&told["flags"], &told["details"]),
        (&"NR".into(), &"route_not_found".into())
    );
    assert_eq!(told["attempts"], 0);
}

#[tokio::test]
async fn nobody_else_learns_anything_and_the_next_proxy_is_not_asked() {
    let origin = Origin::named("v1").await;
    for arguments in [&[][..], &["--explain-from", "10.0.0.0/8,127.0.0.2"]] {
        let edge = edge(&origin, arguments).await;
        let mut client = edge.http1().await;
        let forged = ("x-forwarded-for", "10.0.0.1");

        let reply = client.get_with(HOST, "/v1/a", &[ASK, forged]).await;

        assert_eq!(reply.status, 200);
        assert_eq!(reply.header(ASK.0), "");
        assert_eq!(origin.last().header(ASK.0), "", "{arguments:?}");
    }
}

#[tokio::test]
async fn each_proxy_on_the_way_adds_a_line() {
    let origin = Origin::named("v1").await;
    let inner = edge(&origin, &["--explain-from", "127.0.0.1"]).await;
    let port = Port::reserve();
    let outer = yaml::gateway(&port)
        + &Service::new(HOST).at(inner.port.addr()).to_string()
        + &yaml::routes(
            HOST,
            "  - name: outer\n    route: [{destination: {host: reviews.test}}]\n",
        );
    let _outer = Proxy::start_with(&outer, &["--explain-from", "127.0.0.1"]).await;
    let mut client = tests::Http1::connect(port.addr()).await;

    let reply = client.get_with(HOST, "/slow", &[ASK]).await;

    let lines = reply.headers.get_all(ASK.0).iter();
    let rules: Vec<Value> = lines
        .map(|line| account(line.to_str().expect("ASCII"))["rule"].clone())
        .collect();
    assert_eq!(
        rules,
        ["slow", "outer"],
        "the nearest to the upstream first"
    );
}
