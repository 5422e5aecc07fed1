//! What the product was asked for, with the YAML as it was given; only ports and endpoints differ.

mod security;

use tests::origin::Protocol;
use tests::yaml::Service;
use tests::{Authority, Http1, Origin, Port, Proxy};

const HELLOWORLD: &str = "helloworld.default.svc.cluster.local";
const REVIEWS: &str = "reviews.default.svc.cluster.local";

fn edge_gateway(port: &Port) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {{name: helloworld-gateway}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - hosts: [myapp.demo.com]
    port: {{name: http, number: {port}, protocol: HTTP}}
---
"
    )
}

fn canary(weights: [u32; 2]) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: helloworld}}
spec:
  hosts: [myapp.demo.com]
  gateways: [helloworld-gateway]
  http:
  - match: [{{uri: {{exact: /demo}}}}]
    route:
    - destination: {{host: helloworld, subset: v1}}
      weight: {}
    - destination: {{host: helloworld, subset: v2}}
      weight: {}
---
",
        weights[0], weights[1]
    )
}

/// How often each of two origins was asked by `count` requests for the demo page.
async fn ask(port: &Port, origins: &[Origin; 2], count: usize) -> [usize; 2] {
    let before = [origins[0].requests(), origins[1].requests()];
    let mut client = Http1::connect(port.addr()).await;
    for _ in 0..count {
        assert_eq!(client.get("myapp.demo.com", "/demo").await.status, 200);
    }
    [
        origins[0].requests() - before[0],
        origins[1].requests() - before[1],
    ]
}

#[tokio::test]
async fn case_1_a_service_is_exposed_at_the_edge_under_one_host_and_path() {
    let origin = Origin::named("hello").await;
    let port = Port::reserve();
    let yaml = edge_gateway(&port)
        + &Service::new(HELLOWORLD).at(origin.addr()).to_string()
        + "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: helloworld}
spec:
  hosts: [myapp.demo.com]
  gateways: [helloworld-gateway]
  http:
  - match: [{uri: {exact: /demo}}]
    route: [{destination: {host: helloworld}}]
";
    let _proxy = Proxy::start(&yaml).await;
    let mut client = Http1::connect(port.addr()).await;

    assert_eq!(
        client.get("myapp.demo.com", "/demo").await.brief(),
        (200, "hello")
    );
    assert_eq!(
        client.get("myapp.demo.com:80", "/demo?a=b").await.brief(),
        (200, "hello")
    );
    assert_eq!(client.get("myapp.demo.com", "/demo/").await.status, 404);
    assert_eq!(client.get("myapp.demo.com", "/").await.status, 404);
    assert_eq!(client.get("other.demo.com", "/demo").await.status, 404);
    assert_eq!(origin.requests(), 2, "what is not exposed does not arrive");
}

#[tokio::test]
async fn case_1_a_route_may_depend_on_who_calls() {
    let origins = [
        Origin::named("for service-a").await,
        Origin::named("for others").await,
    ];
    let ports = [Port::reserve(), Port::reserve()];
    let sidecar = |app: &str, port: &Port| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {app}}}
spec:
  workloadSelector: {{labels: {{app: {app}}}}}
  egress:
  - port: {{number: {port}, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']
---
"
        )
    };
    let services = Service::new(HELLOWORLD).at(origins[1].addr()).to_string()
        + &Service::new("special.default.svc.cluster.local")
            .at(origins[0].addr())
            .to_string();
    let yaml = sidecar("service-a", &ports[0])
        + &sidecar("service-b", &ports[1])
        + &services
        + "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: helloworld}
spec:
  hosts: [helloworld]
  http:
  - match: [{sourceLabels: {app: service-a}}]
    route: [{destination: {host: special}}]
  - route: [{destination: {host: helloworld}}]
";
    let _a = Proxy::start_with(&yaml, &["--labels", "app=service-a,version=v1"]).await;
    let _b = Proxy::start_with(&yaml, &["--labels", "app=service-b"]).await;

    let mut from_a = Http1::connect(ports[0].addr()).await;
    let mut from_b = Http1::connect(ports[1].addr()).await;

    assert_eq!(
        from_a.get("helloworld", "/").await.brief(),
        (200, "for service-a")
    );
    assert_eq!(
        from_b.get("helloworld", "/").await.brief(),
        (200, "for others")
    );
    assert_eq!(
        from_b.get(HELLOWORLD, "/").await.brief(),
        (200, "for others")
    );
}

#[tokio::test]
async fn case_2_a_canary_gets_its_share_whatever_the_request() {
    let ours = Authority::new("cluster.local");
    let roots = ours.identity_dir("default", "edge");
    let tls = ours.leaf_named(&[], &[HELLOWORLD]).sign().server(&[]);
    let secured = async |name| Origin::secured(Protocol::Http1, name, tls.clone()).await;
    let origins = [secured("v1").await, secured("v2").await];
    let port = Port::reserve();
    let rule = "apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: helloworld-destination}
spec:
  host: helloworld
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  trafficPolicy:
    tls: {mode: SIMPLE, caCertificates: ROOTS}
    connectionPool: {tcp: {maxConnections: 100}}
---
";
    let file = roots.file("root-cert.pem").display().to_string();
    let rule = rule.replace("ROOTS", &file);
    let service = Service::new(HELLOWORLD)
        .version(origins[0].addr(), "v1")
        .version(origins[1].addr(), "v2");
    let at = |weights| {
        [
            &edge_gateway(&port),
            &canary(weights),
            rule.as_str(),
            &service.to_string(),
        ]
        .concat()
    };
    let proxy = Proxy::start(&at([90, 10])).await;

    let at_10 = ask(&port, &origins, 2_000).await;
    proxy.apply(&at([0, 100])).await;
    let at_100 = ask(&port, &origins, 50).await;

    // Five standard deviations around 200 of 2 000.
    assert!((133..=267).contains(&at_10[1]), "{at_10:?}");
    assert_eq!(at_100, [0, 50]);
}

#[tokio::test]
async fn case_2_a_subset_may_ask_for_several_labels() {
    let origins = [Origin::named("prod").await, Origin::named("staging").await];
    let decoy = Origin::named("decoy").await;
    let port = Port::reserve();
    let labelled = |labels: &str| format!("labels: {{{labels}}}");
    let service = Service::new(HELLOWORLD)
        .endpoint(origins[0].addr(), &labelled("version: v1.5, env: us-prod"))
        .endpoint(
            origins[1].addr(),
            &labelled("version: v2.0-alpha, env: us-staging"),
        )
        .endpoint(decoy.addr(), &labelled("version: v1.5, env: us-staging"));
    let rule = "apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: helloworld-destination}
spec:
  host: helloworld
  subsets:
  - {name: v1, labels: {version: v1.5, env: us-prod}}
  - {name: v2, labels: {version: v2.0-alpha, env: us-staging}}
";
    let yaml = [
        &edge_gateway(&port),
        &canary([95, 5]),
        &service.to_string(),
        rule,
    ]
    .concat();
    let _proxy = Proxy::start(&yaml).await;

    let asked = ask(&port, &origins, 2_000).await;

    // Five standard deviations around 100 of 2 000.
    assert!((51..=149).contains(&asked[1]), "{asked:?}");
    assert_eq!(decoy.requests(), 0, "one label of two is not enough");
}

#[tokio::test]
async fn case_3_requests_are_steered_by_what_they_carry() {
    let origins = [Origin::named("v1").await, Origin::named("v2").await];
    let port = Port::reserve();
    let service = Service::new(REVIEWS)
        .version(origins[0].addr(), "v1")
        .version(origins[1].addr(), "v2");
    let yaml = edge_gateway(&port)
        + &service.to_string()
        + "apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [myapp.demo.com]
  gateways: [helloworld-gateway]
  http:
  - match:
    - headers: {end-user: {exact: jason}}
    - headers: {user-agent: {regex: '.*Firefox/.*'}}
    - headers: {cookie: {regex: '^(.*?; )?(group=testers)(;.*)?$'}}
    - uri: {prefix: /next/}
    - method: {exact: PUT}
    - queryParams: {preview: {exact: 'yes'}}
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
";
    let _proxy = Proxy::start(&yaml).await;
    let mut client = Http1::connect(port.addr()).await;

    for (path, header, version) in [
        ("/", ("end-user", "jason"), "v2"),
        ("/", ("end-user", "Jason"), "v1"),
        ("/", ("end-user", "jasone"), "v1"),
        ("/", ("user-agent", "Mozilla/5.0 Firefox/128.0"), "v2"),
        ("/", ("user-agent", "curl/8"), "v1"),
        ("/", ("cookie", "a=1; group=testers; b=2"), "v2"),
        ("/", ("cookie", "group=testers2"), "v1"),
        ("/next/page", ("x", "y"), "v2"),
        ("/next", ("x", "y"), "v1"),
        ("/?a=1&preview=yes", ("x", "y"), "v2"),
        ("/?preview=no", ("x", "y"), "v1"),
    ] {
        let reply = client.get_with("myapp.demo.com", path, &[header]).await;
        assert_eq!(reply.brief(), (200, version), "{path} {header:?}");
    }
    let put = tests::client::request(
        http::Method::PUT,
        "myapp.demo.com",
        "/",
        &[],
        tests::client::full("x"),
    );
    assert_eq!(client.send(put).await.brief(), (200, "v2"));
}
