//! Hosts and addresses that a proxy asks for.

use super::*;

const BOOKS: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {clusterIP: 10.1.0.1, selector: {app: reviews}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {clusterIP: 10.1.0.2, selector: {app: ratings}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: details}
spec: {clusterIP: 10.1.0.3, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews, reviews.example.com]
  http:
  - route: [{destination: {host: reviews}}]
    mirror: {host: ratings}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings}
spec:
  hosts: [ratings]
  http: [{delegate: {name: part}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part}
spec: {http: [{route: [{destination: {host: ratings}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: everyone, namespace: istio-system}
spec: {host: '*.default.svc.cluster.local'}
---
apiVersion: policy.meshproxy.io/v1alpha1
kind: RateLimitPolicy
metadata: {name: part}
spec:
  targetRefs: [{group: networking.istio.io, kind: VirtualService, name: part}]
  limits: [{name: all, requests: 1, per: 1s}]
";

#[test]
fn a_host_brings_along_everything_to_the_end() {
    let web = proxy("default", &["app=web"]);

    assert_eq!(
        needed(BOOKS, &web, &["host:reviews"]),
        [
            "DestinationRule/istio-system/everyone",
            "DestinationRule/reviews",
            "RateLimitPolicy/part",
            "Service/ratings",
            "Service/reviews",
            "VirtualService/part",
            "VirtualService/ratings",
            "VirtualService/reviews",
        ]
    );
    assert_eq!(
        needed(BOOKS, &web, &["host:details"]),
        ["DestinationRule/istio-system/everyone", "Service/details"]
    );
    assert!(needed(BOOKS, &web, &[]).is_empty());
}

#[test]
fn a_host_is_meant_by_every_form_that_requests_have() {
    let web = proxy("default", &["app=web"]);
    for host in [
        "details",
        "details.default",
        "details.default.svc",
        "details.default.svc.cluster.local",
        "10.1.0.3",
    ] {
        assert!(found(BOOKS, &web, &format!("host:{host}")), "{host}");
    }
    for host in ["details.other", "details.com", "nobody", "10.1.0.9"] {
        assert!(!found(BOOKS, &web, &format!("host:{host}")), "{host}");
    }
    let elsewhere = proxy("other", &["app=web"]);
    assert!(!found(BOOKS, &elsewhere, "host:details"));
    assert!(found(BOOKS, &elsewhere, "host:details.default"));
}

const WORLD: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com, '*.cdn.example.com']
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cdn}
spec:
  hosts: ['*.example.com']
  http: [{route: [{destination: {host: api.example.com}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  addresses: [10.9.0.0/24]
  resolution: STATIC
  ports: [{number: 3306, name: mysql, protocol: MYSQL}]
  workloadSelector: {labels: {app: db}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db-1}
spec: {address: 10.8.0.1, labels: {app: db}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: other}
spec: {address: 10.8.0.2, labels: {app: other}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: queue}
spec:
  hosts: [queue.other.org]
  resolution: DNS
  ports: [{number: 5672, name: amqp, protocol: TCP}]
";

#[test]
fn a_wildcard_that_covers_a_host_is_found_and_what_it_leads_to() {
    let web = proxy("default", &["app=web"]);

    let names = needed(WORLD, &web, &["host:a.cdn.example.com"]);

    assert_eq!(names, ["ServiceEntry/api", "VirtualService/cdn"]);
    assert!(!found(WORLD, &web, "host:example.net"));
}

#[test]
fn an_address_is_that_of_whoever_has_it_or_is_allotted_it() {
    let web = proxy("default", &["app=web"]);

    let db = [
        "ServiceEntry/db",
        "VirtualService/cdn",
        "WorkloadEntry/db-1",
    ];
    let names = needed(WORLD, &web, &["address:10.9.0.77:3306"]);
    assert!(
        db.iter().all(|name| names.contains(&(*name).to_owned())),
        "{names:?}"
    );
    assert!(!names.contains(&"WorkloadEntry/other".to_owned()));

    let generation = generation(WORLD);
    let mut services = generation.mesh.services();
    let queue = services
        .find(|it| it.host == "queue.other.org")
        .expect("there");
    let allotted = generation.mesh.allotted(queue).expect("needs one").v4;
    let by_address = needed(WORLD, &web, &[&format!("address:{allotted}:5672")]);
    assert_eq!(by_address, ["ServiceEntry/queue"]);
    // Nothing but the port says that it may be meant.
    let by_port = needed(WORLD, &web, &["address:192.0.2.1:5672"]);
    assert_eq!(by_port, ["ServiceEntry/queue"]);
    assert!(!found(WORLD, &web, "address:192.0.2.1:5673"));
}

const HEADLESS: &str = "
apiVersion: v1
kind: Service
metadata: {name: nodes}
spec: {clusterIP: None, ports: [{name: tcp, port: 9042}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: nodes-1, labels: {kubernetes.io/service-name: nodes}}
addressType: IPv4
ports: [{name: tcp, port: 9042}]
endpoints: [{addresses: [10.0.0.5], hostname: nodes-0}]
";

#[test]
fn the_address_of_an_endpoint_leads_to_its_services() {
    let web = proxy("default", &["app=web"]);

    assert_eq!(
        needed(HEADLESS, &web, &["address:10.0.0.5:9042"]),
        ["Service/nodes"]
    );
    assert_eq!(
        needed(
            HEADLESS,
            &web,
            &["host:nodes-0.nodes.default.svc.cluster.local"]
        ),
        ["Service/nodes"]
    );
    let generation = generation(HEADLESS);
    let demanded = demand("address:10.0.0.6:9042");
    let scope = scope(&generation, &web, [&demanded]);
    assert!(!scope.found[&demanded]);
    let ip = "10.0.0.6".parse().expect("an address");
    assert!(scope.depends_on.contains(&Touched::Address(ip)));
}

#[test]
fn what_is_not_exported_or_not_imported_is_not_found() {
    let hidden = BOOKS.replace(
        "metadata: {name: details}",
        "metadata: {name: details, annotations: {networking.istio.io/exportTo: .}}",
    );
    assert!(found(
        &hidden,
        &proxy("default", &[]),
        "host:details.default"
    ));
    assert!(!found(
        &hidden,
        &proxy("other", &[]),
        "host:details.default"
    ));

    let restricted = format!(
        "{BOOKS}---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: shop}}
spec: {{egress: [{{hosts: ['default/reviews.default.svc.cluster.local']}}]}}
"
    );
    let shop = proxy("shop", &["app=web"]);
    assert!(!found(&restricted, &shop, "host:details.default"));
    assert!(!found(&restricted, &shop, "address:10.1.0.3:80"));
    // The mirror is reached although it is not imported.
    let names = needed(&restricted, &shop, &["host:reviews.default"]);
    let expected = [
        "Service/ratings",
        "Sidecar/shop/default",
        "VirtualService/reviews",
    ];
    assert!(
        expected.iter().all(|it| names.contains(&(*it).to_owned())),
        "{names:?}"
    );
    assert!(
        !names.contains(&"VirtualService/ratings".to_owned()),
        "{names:?}"
    );
}

#[test]
fn a_host_is_found_in_whatever_case_it_is_written() {
    let entry = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec: {hosts: [API.Example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api}
spec: {hosts: [Api.example.com], http: [{route: [{destination: {host: API.Example.com}}]}]}
";
    let web = proxy("default", &["app=web"]);

    assert!(found(entry, &web, "host:API.example.com"));
    let needed = needed(entry, &web, &["host:api.example.com"]);
    assert_eq!(needed, ["ServiceEntry/api", "VirtualService/api"]);
}

#[test]
fn any_number_of_services_may_have_one_address() {
    let entry = |number| {
        format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: e{number}}}
spec: {{hosts: [e{number}.test], addresses: [240.240.0.1], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: DNS}}
"
        )
    };
    let entries: Vec<String> = (0..1_000).map(entry).collect();
    let generation = generation(&entries.join("---\n"));
    let web = proxy("default", &["app=web"]);
    let asked = demand("host:e0.test");
    // Indexes are made when they are first asked for, whoever asks.
    scope(&generation, &web, []);

    // Of a thread's memory it needs no more than for one.
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let found = small.spawn(move || scope(&generation, &web, [&asked]).resources.len());

    let found = found.expect("a thread").join().expect("no panic");
    assert_eq!(found, 1_000);
}

#[test]
fn an_entry_brings_along_the_service_whose_name_it_cannot_take_though_that_is_out_of_scope() {
    let mesh = |annotations: &str| {
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: reviews{annotations}}}
spec: {{clusterIP: 10.1.0.1, selector: {{app: reviews}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: both, namespace: shop}}
spec:
  hosts: [one.example.com, reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: shop}}
spec: {{egress: [{{hosts: ['./*']}}]}}
"
        )
    };
    let web = proxy("shop", &["app=web"]);
    let demands = ["host:one.example.com"];
    let entry = "ServiceEntry/shop/both";
    let sidecar = "Sidecar/shop/default";

    let with_service = ["Service/reviews", entry, sidecar];
    assert_eq!(needed(&mesh(""), &web, &demands), with_service);
    let hidden = mesh(", annotations: {networking.istio.io/exportTo: .}");
    assert_eq!(needed(&hidden, &web, &demands), [entry, sidecar]);
}

#[test]
fn an_address_that_a_wildcard_takes_by_its_port_brings_along_whatever_may_take_it_from_there() {
    let entry = |name: &str, port: u16, protocol: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{{name}}}
spec:
  hosts: ['*.Example.com']
  resolution: STATIC
  ports: [{{number: {port}, name: a, protocol: {protocol}}}]
---
"
        )
    };
    let routes = |host: &str, name: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{host}], tcp: [{{route: [{{destination: {{host: '*.Example.com'}}}}]}}]}}
---
"
        )
    };
    let mesh = [
        entry("name: opaque", 9000, "TCP"),
        entry("name: other, namespace: shop", 80, "HTTP"),
        routes("one.example.com", "covered"),
        routes("example.org", "elsewhere"),
    ];
    let web = proxy("default", &["app=web"]);

    let needed = needed(&mesh.concat(), &web, &["address:192.0.2.1:9000"]);

    let expected = [
        "ServiceEntry/opaque",
        "ServiceEntry/shop/other",
        "VirtualService/covered",
    ];
    assert_eq!(needed, expected);
}
