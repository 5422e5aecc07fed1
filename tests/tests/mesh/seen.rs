//! Being seen: access log, metrics and the admin pages.

use rustix::process::Signal;
use serde_json::Value;
use tests::yaml::{self, Service};
use tests::{Edge, Origin, Port, eventually};

const HOST: &str = "reviews.default.svc.cluster.local";
const RULES: &str = "
  - name: main
    match: [{uri: {prefix: /reviews}}]
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /dead}}]
    route: [{destination: {host: dead.test}}]
    retries: {attempts: 0}
  - match: [{uri: {prefix: /empty}}]
    route: [{destination: {host: empty.test}}]
";

/// A proxy with a working, a dead and an empty destination, and the origin.
async fn scene(arguments: &[&str]) -> (Edge, Origin, Port) {
    let origin = Origin::named("stars").await;
    let dead = Port::reserve();
    let documents = [
        Service::new(HOST)
            .endpoint(origin.addr(), "labels: {app: reviews, version: v1}")
            .to_string(),
        Service::new("dead.test").at(dead.addr()).to_string(),
        Service::new("empty.test").to_string(),
        yaml::subsets(HOST, &["v1"]),
        yaml::routes("shop.test", RULES),
    ];
    let edge = Edge::start_with(&documents, arguments).await;
    (edge, origin, dead)
}

/// Sends one request of each kind, each with its own id.
async fn ask_everything(edge: &Edge) {
    let mut client = edge.http1().await;
    for (id, host, path) in [
        ("ok", "shop.test", "/reviews/1?q=1"),
        ("dead", "shop.test", "/dead"),
        ("empty", "shop.test", "/empty"),
        ("no-route", "shop.test", "/nothing"),
        ("no-host", "elsewhere.test", "/"),
    ] {
        let headers = [("x-request-id", id), ("user-agent", "probe \"1\"")];
        client.get_with(host, path, &headers).await;
    }
}

#[tokio::test]
async fn every_request_is_a_line_of_json_that_says_how_it_went() {
    let (edge, origin, dead) = scene(&["--access-log", "json"]).await;

    ask_everything(&edge).await;

    let line = async |id: &str| -> Value {
        let quoted = format!("\"{id}\"");
        let line = edge
            .proxy
            .stdout
            .line(id, |line| line.contains(&quoted))
            .await;
        serde_json::from_str(&line).expect("lines are JSON")
    };
    for (id, code, flags) in [
        ("ok", 200, "-"),
        ("dead", 503, "UF"),
        ("empty", 503, "UH"),
        ("no-route", 404, "NR"),
        ("no-host", 404, "NR"),
    ] {
        let line = line(id).await;
        assert_eq!(line["response_code"], code, "{line}");
        assert_eq!(line["response_flags"], flags, "{line}");
    }
    let ok = line("ok").await;
    assert_eq!(ok["method"], "GET");
    assert_eq!(ok["path"], "/reviews/1?q=1");
    assert_eq!(ok["protocol"], "HTTP/1.1");
    assert_eq!(ok["authority"], "shop.test");
    assert_eq!(ok["user_agent"], "probe \"1\"");
    assert_eq!(ok["bytes_sent"], 5);
    assert_eq!(ok["upstream_host"], origin.addr().to_string());
    assert_eq!(ok["upstream_cluster"], format!("outbound|80|v1|{HOST}"));
    assert_eq!(ok["response_code_details"], "via_upstream");
    assert_eq!(ok["route_name"], "main");
    assert_eq!(ok["downstream_local_address"], edge.port.addr().to_string());
    let dead_line = line("dead").await;
    assert_eq!(dead_line["upstream_host"], dead.addr().to_string());
    let reason = dead_line["upstream_transport_failure_reason"]
        .as_str()
        .unwrap_or_default();
    assert!(reason.contains("refused"), "{dead_line}");
}

#[tokio::test]
async fn every_request_is_a_line_of_text() {
    let (edge, origin, _dead) = scene(&["--access-log", "text"]).await;

    ask_everything(&edge).await;

    let ok = edge
        .proxy
        .stdout
        .line("a line", |line| line.contains("\"ok\""))
        .await;
    assert!(
        ok.contains("\"GET /reviews/1?q=1 HTTP/1.1\" 200 - via_upstream - \"-\" 0 5 "),
        "{ok}"
    );
    let tail = format!("\"shop.test\" \"{}\" outbound|80|v1|{HOST} ", origin.addr());
    assert!(ok.contains(&tail), "{ok}");
    let dead = edge
        .proxy
        .stdout
        .line("a line", |line| line.contains("\"dead\""))
        .await;
    assert!(dead.contains(" 503 UF "), "{dead}");
    let lost = edge
        .proxy
        .stdout
        .line("a line", |line| line.contains("\"no-host\""))
        .await;
    assert!(lost.contains(" 404 NR "), "{lost}");
    assert!(
        !lost.contains("probe \"1\""),
        "quotes of a client are escaped: {lost}"
    );
}

#[tokio::test]
async fn requests_are_counted_with_the_labels_of_istio() {
    let arguments = [
        "--labels",
        "istio=ingressgateway,app=edge,version=v7",
        "--name",
        "edge-1",
    ];
    let (edge, _origin, _dead) = scene(&arguments).await;

    ask_everything(&edge).await;

    let labels = [
        ("reporter", "source"),
        ("source_workload", "edge-1"),
        ("source_app", "edge"),
        ("source_version", "v7"),
        ("destination_service", HOST),
        ("destination_service_name", "reviews"),
        ("destination_service_namespace", "default"),
        ("destination_app", "reviews"),
        ("destination_version", "v1"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("response_flags", "-"),
    ];
    edge.proxy
        .counts("istio_requests_total", &labels, 1.0)
        .await;
    let metrics = edge.proxy.metrics().await;
    assert_eq!(
        metrics.sum("istio_request_duration_milliseconds_count", &labels),
        1.0
    );
    assert_eq!(metrics.sum("istio_response_bytes_sum", &labels), 5.0);
    for (code, flags, requests) in [("503", "UF", 1.0), ("503", "UH", 1.0), ("404", "NR", 2.0)] {
        let labels = [("response_code", code), ("response_flags", flags)];
        assert_eq!(
            metrics.sum("istio_requests_total", &labels),
            requests,
            "{flags}"
        );
    }
    assert_eq!(metrics.sum("meshproxy_config_valid", &[]), 1.0);
    assert_eq!(
        metrics.sum("meshproxy_downstream_connections_total", &[]),
        1.0
    );
    let connects = |result| {
        metrics.sum(
            "meshproxy_upstream_connections_total",
            &[("result", result)],
        )
    };
    assert_eq!((connects("ok"), connects("failed")), (1.0, 1.0));
    assert!(metrics.sum("process_resident_memory_bytes", &[]) > 0.0);
}

#[tokio::test]
async fn the_admin_pages_show_what_is_in_use() {
    let (edge, origin, _dead) = scene(&[]).await;
    edge.http1().await.get("shop.test", "/reviews").await;

    let config = edge.proxy.admin("/config").await;
    assert_eq!(config["valid"], true);
    assert_eq!(config["resources"]["ServiceEntry"], 3);
    let file = edge.proxy.config().display().to_string();
    assert_eq!(config["files"], serde_json::json!([file]));

    let listeners = edge.proxy.admin("/listeners").await;
    assert_eq!(listeners[0]["address"], edge.port.addr().to_string());
    assert_eq!(listeners[0]["direction"], "gateway");

    let routes = edge.proxy.admin("/routes").await;
    let rule = &routes[0]["hosts"][0]["rules"][0];
    assert_eq!(rule["name"], "main");
    assert_eq!(rule["then"]["forward"][0]["subset"], "v1");
    assert!(
        rule["origin"]["source"]
            .as_str()
            .is_some_and(|it| it.starts_with(&file)),
        "{rule}"
    );

    let destinations = edge.proxy.admin("/destinations").await;
    let all = destinations.as_array().expect("a list");
    let reviews = all
        .iter()
        .find(|it| it["subset"] == "v1")
        .expect("the subset is in use");
    assert_eq!(
        reviews["endpoints"][0]["address"],
        origin.addr().to_string()
    );
    assert_eq!(reviews["endpoints"][0]["requests"], 1);
    assert_eq!(reviews["endpoints"][0]["active"], 0);
}

#[tokio::test]
async fn a_hangup_signal_reads_the_configuration_again() {
    let (edge, _origin, _dead) = scene(&[]).await;
    let before = edge.proxy.loaded_at().await;

    edge.proxy.signal(Signal::HUP);

    let loaded = async || edge.proxy.loaded_at().await;
    eventually("a reload", loaded, |now| *now != before).await;
}

#[tokio::test]
async fn what_has_no_effect_yet_is_said_at_the_start() {
    let rules = "
  - retries: {attempts: 1, retryOn: retriable-headers}
    route: [{destination: {host: empty.test}}]
";
    let service = Service::new("empty.test").to_string();

    let edge = Edge::start(&[service, yaml::routes("shop.test", rules)]).await;

    let said = |line: &str| line.contains("http[0].retries") && line.contains("has no effect yet");
    edge.proxy.stderr.line("a warning", said).await;
}

#[tokio::test]
async fn the_log_filter_can_be_changed() {
    let (edge, _origin, _dead) = scene(&[]).await;
    let put = tests::client::request(
        http::Method::PUT,
        "admin",
        "/log?filter=debug",
        &[],
        tests::client::empty(),
    );

    let reply = tests::Http1::connect(edge.proxy.admin_addr())
        .await
        .send(put)
        .await;

    assert_eq!(reply.status, 200);
    edge.proxy
        .stderr
        .line("the change", |line| line.contains("log filter changed"))
        .await;
}

#[tokio::test]
async fn connections_and_exhausted_retries_are_counted() {
    let origin = Origin::named("stars").await;
    let dead = Port::reserve();
    let rules = "
  - match: [{uri: {prefix: /dead}}]
    route: [{destination: {host: dead.test}}]
  - route: [{destination: {host: reviews.test}}]
";
    let edge = Edge::start(&[
        Service::new("reviews.test").at(origin.addr()).to_string(),
        Service::new("dead.test").at(dead.addr()).to_string(),
        yaml::routes("shop.test", rules),
    ])
    .await;
    let mut client = edge.http1().await;

    assert_eq!(client.get("shop.test", "/").await.status, 200);
    assert_eq!(client.get("shop.test", "/dead").await.status, 503);

    let metrics = edge.proxy.metrics().await;
    let count = |name: &str| metrics.sum(&format!("meshproxy_{name}"), &[]);
    assert_eq!(count("upstream_connections_active"), 1.0);
    assert_eq!(count("downstream_connections_active"), 1.0);
    assert_eq!(count("retries_exhausted_total"), 1.0);
    assert!(count("retries_total") >= 1.0);
    drop(client);
    for (gauge, expected) in [
        ("meshproxy_upstream_connections_idle", 1.0),
        ("meshproxy_downstream_connections_active", 0.0),
    ] {
        let value = async || edge.proxy.metrics().await.sum(gauge, &[]);
        eventually(gauge, value, |value| *value == expected).await;
    }
}

#[tokio::test]
async fn names_that_are_resolved_are_counted() {
    let origin = Origin::named("stars").await;
    let service = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews}}
spec:
  hosts: [reviews.test]
  resolution: DNS
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: localhost, ports: {{http: {}}}}}]
---
",
        origin.addr().port()
    );
    let rules = "  - route: [{destination: {host: reviews.test}}]";

    let edge = Edge::start(&[service, yaml::routes("shop.test", rules)]).await;

    let metrics = edge.proxy.metrics().await;
    let resolved = metrics.sum("meshproxy_dns_resolutions_total", &[("result", "ok")]);
    assert!(resolved >= 1.0, "{resolved}");
}
