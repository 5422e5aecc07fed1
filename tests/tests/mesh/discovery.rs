//! Where endpoints come from, which of them is picked, and what there is when there is none.

use std::net::SocketAddr;

use tests::origin::{Protocol, text};
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Proxy, eventually};

const HOST: &str = "svc.test";
const RULES: &str = "  - route: [{destination: {host: svc.test}}]";
const ROUND_ROBIN: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: svc}
spec:
  host: svc.test
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
---
";

/// The bodies of `count` answers.
async fn answers(client: &mut Http1, host: &str, count: usize) -> Vec<String> {
    let mut answers = Vec::new();
    for _ in 0..count {
        let reply = client.get(host, "/").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        answers.push(reply.text().to_owned());
    }
    answers
}

fn count(answers: &[String], text: &str) -> usize {
    answers.iter().filter(|answer| *answer == text).count()
}

#[tokio::test]
async fn static_endpoints_take_turns_in_order() {
    let origins = [
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    ];
    let service = origins
        .iter()
        .fold(Service::new(HOST), |service, it| service.at(it.addr()));
    let documents = [
        service.to_string(),
        ROUND_ROBIN.to_owned(),
        yaml::routes(HOST, RULES),
    ];
    let edge = Edge::start(&documents).await;

    let answers = answers(&mut edge.http1().await, HOST, 9).await;

    for turn in answers.chunks(3) {
        assert_eq!(turn, &answers[..3], "{answers:?}");
    }
    for name in ["a", "b", "c"] {
        assert_eq!(count(&answers, name), 3);
    }
}

#[tokio::test]
async fn endpoints_get_their_weight_of_a_round() {
    let origins = [Origin::named("light").await, Origin::named("heavy").await];
    let service = Service::new(HOST)
        .endpoint(origins[0].addr(), "weight: 1")
        .endpoint(origins[1].addr(), "weight: 3");
    let documents = [
        service.to_string(),
        ROUND_ROBIN.to_owned(),
        yaml::routes(HOST, RULES),
    ];
    let edge = Edge::start(&documents).await;

    let answers = answers(&mut edge.http1().await, HOST, 40).await;

    assert_eq!(
        (count(&answers, "light"), count(&answers, "heavy")),
        (10, 30)
    );
}

#[tokio::test]
async fn the_default_balance_uses_every_endpoint() {
    let origins = [Origin::named("a").await, Origin::named("b").await];
    let service = Service::new(HOST)
        .at(origins[0].addr())
        .at(origins[1].addr());
    let edge = Edge::start(&[service.to_string(), yaml::routes(HOST, RULES)]).await;

    let answers = answers(&mut edge.http1().await, HOST, 400).await;

    // Six standard deviations.
    assert!(
        (140..=260).contains(&count(&answers, "a")),
        "{}",
        count(&answers, "a")
    );
}

#[tokio::test]
async fn a_busy_endpoint_gets_less() {
    const REQUESTS: usize = 100;

    let busy = Origin::serving(Protocol::Http1, |_| std::future::pending()).await;
    let quick = Origin::named("quick").await;
    let service = Service::new(HOST).at(busy.addr()).at(quick.addr());
    let edge = Edge::start(&[service.to_string(), yaml::routes(HOST, RULES)]).await;

    // One after another, but none waits for its answer.
    let mut asking = tokio::task::JoinSet::new();
    for number in 1..=REQUESTS {
        let mut client = edge.http1().await;
        asking.spawn(async move { client.try_send(tests::client::get(HOST, "/")).await });
        let arrived = async || busy.requests() + quick.requests();
        eventually("an arrival", arrived, |arrived| *arrived == number).await;
    }

    // A quarter of the draws meets the busy one twice; a random choice would send it a half.
    assert!(busy.requests() < REQUESTS * 2 / 5, "{}", busy.requests());
    assert!(busy.requests() > 0);
}

#[tokio::test]
async fn workload_entries_are_selected_by_their_labels() {
    let origins = [Origin::named("vm-1").await, Origin::named("vm-2").await];
    let other = Origin::named("other").await;
    let entry = |name: &str, app: &str, addr: SocketAddr| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, labels: {{app: {app}}}}}
spec:
  address: {}
  labels: {{app: {app}}}
  ports: {{http: {}}}
---
",
            addr.ip(),
            addr.port()
        )
    };
    let service = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: svc}
spec:
  hosts: [svc.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: legacy}}
---
";
    let edge = Edge::start(&[
        service.to_owned(),
        ROUND_ROBIN.to_owned(),
        entry("vm-1", "legacy", origins[0].addr()),
        entry("vm-2", "legacy", origins[1].addr()),
        entry("vm-3", "modern", other.addr()),
        yaml::routes(HOST, RULES),
    ])
    .await;

    let answers = answers(&mut edge.http1().await, HOST, 20).await;

    assert_eq!((count(&answers, "vm-1"), count(&answers, "vm-2")), (10, 10));
}

#[tokio::test]
async fn kubernetes_services_have_the_ready_endpoints_of_their_slices() {
    let origins = [Origin::named("pod-1").await, Origin::named("pod-2").await];
    let unready = Origin::named("unready").await;
    let slice = |name: &str, ready: bool, addr: SocketAddr| {
        format!(
            "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: details}}}}
addressType: IPv4
endpoints: [{{addresses: [{}], conditions: {{ready: {ready}}}}}]
ports: [{{name: http, port: {}, protocol: TCP}}]
---
",
            addr.ip(),
            addr.port()
        )
    };
    let service = "apiVersion: v1
kind: Service
metadata: {name: details}
spec:
  selector: {app: details}
  ports: [{name: http, port: 9080, targetPort: http, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: details}
spec: {host: details, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
---
";
    let edge = Edge::start(&[
        service.to_owned(),
        slice("details-1", true, origins[0].addr()),
        slice("details-2", true, origins[1].addr()),
        slice("details-3", false, unready.addr()),
        yaml::routes(HOST, "  - route: [{destination: {host: details}}]"),
    ])
    .await;

    let answers = answers(&mut edge.http1().await, HOST, 20).await;

    assert_eq!(
        (count(&answers, "pod-1"), count(&answers, "pod-2")),
        (10, 10)
    );
}

#[tokio::test]
async fn names_are_resolved_in_both_families() {
    let first = Origin::named("v4").await;
    let addr = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, first.addr().port()));
    let names = tokio::net::lookup_host("localhost:80").await;
    let both = names.is_ok_and(|mut addrs| addrs.any(|addr| addr.is_ipv6()))
        && tokio::net::TcpListener::bind(addr).await.is_ok();
    // A machine without IPv6 has one family to show.
    let _second = if both {
        Some(Origin::serving_at(addr, Protocol::Http1, |_| async { text("v6") }).await)
    } else {
        None
    };
    let service = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: svc}}
spec:
  hosts: [svc.test]
  resolution: DNS
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: localhost, ports: {{http: {}}}}}]
---
",
        first.addr().port()
    );
    let documents = [service, ROUND_ROBIN.to_owned(), yaml::routes(HOST, RULES)];
    let edge = Edge::start(&documents).await;

    let answers = answers(&mut edge.http1().await, HOST, 10).await;

    let expected = if both { (5, 5) } else { (10, 0) };
    assert_eq!((count(&answers, "v4"), count(&answers, "v6")), expected);
}

#[tokio::test]
async fn endpoints_that_come_and_go_are_used_at_once() {
    let origins = [Origin::named("a").await, Origin::named("b").await];
    let with = |origin: &Origin| {
        let service = Service::new(HOST).at(origin.addr()).to_string();
        [service, yaml::routes(HOST, RULES)]
    };
    let edge = Edge::start(&with(&origins[0])).await;
    let mut client = edge.http1().await;

    assert_eq!(answers(&mut client, HOST, 3).await, ["a", "a", "a"]);
    edge.apply(&with(&origins[1])).await;
    assert_eq!(answers(&mut client, HOST, 3).await, ["b", "b", "b"]);
}

#[tokio::test]
async fn a_service_without_endpoints_is_unavailable() {
    let edge = Edge::start(&[Service::new(HOST).to_string(), yaml::routes(HOST, RULES)]).await;

    let reply = edge.http1().await.get(HOST, "/").await;

    assert_eq!(reply.brief(), (503, "no healthy upstream"));
    assert_eq!(reply.header("x-meshproxy-error"), "no_healthy_upstream");
}

#[tokio::test]
async fn a_subset_or_host_that_is_not_there_is_named_as_the_cause() {
    let origin = Origin::named("a").await;
    let rules = "
  - match: [{uri: {exact: /subset}}]
    route: [{destination: {host: svc.test, subset: v9}}]
  - match: [{uri: {exact: /host}}]
    route: [{destination: {host: nowhere.test}}]
";
    let service = Service::new(HOST).at(origin.addr()).to_string();
    let documents = [
        service,
        yaml::subsets(HOST, &["v1"]),
        yaml::routes(HOST, rules),
    ];
    let edge = Edge::start(&documents).await;
    let mut client = edge.http1().await;

    for path in ["/subset", "/host"] {
        let reply = client.get(HOST, path).await;
        assert_eq!(reply.status, 503, "{path}");
        assert_eq!(
            reply.header("x-meshproxy-error"),
            "cluster_not_found",
            "{path}"
        );
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_host_that_nobody_serves_is_not_found_or_blocked() {
    let port = Port::reserve();
    let sidecar = |mode: &str| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  outboundTrafficPolicy: {{mode: {mode}}}
  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['*/*']
"
        )
    };
    let proxy = Proxy::start(&sidecar("REGISTRY_ONLY")).await;
    let mut client = Http1::connect(port.addr()).await;

    let blocked = client.get("elsewhere.test", "/").await;
    proxy.apply(&sidecar("ALLOW_ANY")).await;
    let unknown = client.get("elsewhere.test", "/").await;

    assert_eq!(blocked.status, 502);
    assert_eq!(blocked.header("x-meshproxy-error"), "host_not_in_registry");
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.header("x-meshproxy-error"), "unknown_host");
}
