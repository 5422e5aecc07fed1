//! What captured connections from the workload meet.

use super::*;

use Direction::Outbound;

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: anything, port: 7000}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: anything, port: 7000}]
endpoints: [{addresses: [10.0.0.1]}]
";

const DB: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example]
  addresses: [10.97.0.1, 2001:db8::1, 10.98.0.0/16]
  resolution: STATIC
  ports: [{number: 3306, name: mysql, protocol: MYSQL}, {number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 10.0.0.7, labels: {version: v1}}, {address: 10.0.0.8, labels: {version: v2}}]
";

const KAFKA: &str = "
apiVersion: v1
kind: Service
metadata: {name: kafka}
spec: {clusterIP: None, ports: [{name: tcp, port: 9092}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kafka-1, labels: {kubernetes.io/service-name: kafka}}
addressType: IPv4
ports: [{name: tcp, port: 9092}]
endpoints: [{addresses: [10.0.1.1]}, {addresses: [10.0.1.2]}]
";

/// Without addresses: nothing but port and names tells them apart.
const OUTSIDE: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example]
  resolution: DNS
  ports: [{number: 443, name: https, protocol: HTTPS}, {number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide}
spec:
  hosts: ['*.wide.example']
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: queue}
spec:
  hosts: [queue.example]
  resolution: STATIC
  ports: [{number: 5672, name: tcp, protocol: TCP}]
  endpoints: [{address: 10.0.0.9}]
";

const REGISTRY_ONLY: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ['*/*']}]}
";

fn all(more: &[&str]) -> Compiled {
    let documents = [WEB, DB, KAFKA, OUTSIDE];
    capturing(
        &[],
        &documents
            .into_iter()
            .chain(more.iter().copied())
            .collect::<Vec<_>>(),
    )
}

#[test]
fn http_goes_by_its_host_whatever_the_address() {
    let compiled = all(&[]);

    for addr in ["10.96.0.1:80", "93.184.216.34:80", "[2001:db8::9]:80"] {
        let listener = captured(&compiled, Outbound, addr);
        for host in [
            "web",
            "web.default",
            "web.default.svc.cluster.local",
            "10.96.0.1",
        ] {
            assert_eq!(
                http_way(&compiled, listener, host).as_deref(),
                Some("outbound|80||web.default.svc.cluster.local"),
                "{addr} {host}"
            );
        }
        let unknown = http_way(&compiled, listener, "unknown.example");
        assert_eq!(unknown.as_deref(), Some("PassthroughCluster"), "{addr}");
        // TCP alone is no host of the port.
        let db = http_way(&compiled, listener, "db.example");
        assert_eq!(db.as_deref(), Some("PassthroughCluster"), "{addr}");
    }
}

#[test]
fn what_is_declared_counts_at_the_addresses_of_the_service_and_nowhere_else() {
    let compiled = all(&[]);

    let declared = captured(&compiled, Outbound, "10.96.0.1:80");
    let other = captured(&compiled, Outbound, "93.184.216.34:80");
    assert_eq!(declared.speaks, Speaks::Http);
    assert_eq!(other.speaks, Speaks::Unknown);
    let way = opaque_way(&compiled, other, None, "93.184.216.34");
    assert_eq!(way.as_deref(), Some("PassthroughCluster"));
}

#[test]
fn tcp_goes_by_the_address_of_its_service() {
    let compiled = all(&[]);

    for to in ["10.97.0.1", "2001:db8::1", "10.98.3.4"] {
        let addr = std::net::SocketAddr::new(to.parse().expect("an address"), 3306);
        let listener = captured(&compiled, Outbound, &addr.to_string());
        assert_eq!(listener.speaks, Speaks::Opaque, "{to}");
        assert_eq!(
            opaque_way(&compiled, listener, None, to).as_deref(),
            Some("outbound|3306||db.example"),
            "{to}"
        );
    }
    let elsewhere = captured(&compiled, Outbound, "10.99.0.1:3306");
    assert_eq!(elsewhere.name, "outbound passthrough");
}

#[test]
fn callers_of_a_headless_service_choose_its_endpoint() {
    let compiled = all(&[]);

    let listener = captured(&compiled, Outbound, "10.0.1.2:9092");
    let way = opaque_way(&compiled, listener, None, "10.0.1.2");
    assert_eq!(
        way.as_deref(),
        Some("outbound|9092||kafka.default.svc.cluster.local")
    );
    let mut destinations = compiled.destinations.iter();
    let kafka = destinations.find(|it| it.key.port == 9092).expect("kafka");
    let chosen = kafka
        .reached("10.0.1.2:9092".parse().ok())
        .expect("an endpoint");
    assert_eq!(
        chosen.members()[0].endpoint.addr.to_string(),
        "10.0.1.2:9092"
    );
    assert_eq!(chosen.members().len(), 1);
}

#[test]
fn an_undeclared_port_takes_http_and_anything_else_at_its_address() {
    let compiled = all(&[]);

    let own = captured(&compiled, Outbound, "10.96.0.1:7000");
    let expected = Some("outbound|7000||web.default.svc.cluster.local");
    assert_eq!(own.speaks, Speaks::Unknown);
    assert_eq!(http_way(&compiled, own, "whatever").as_deref(), expected);
    assert_eq!(opaque_way(&compiled, own, None, "").as_deref(), expected);

    let other = captured(&compiled, Outbound, "10.0.0.1:7000");
    assert_eq!(other.speaks, Speaks::Unknown);
    assert_eq!(http_way(&compiled, other, "web").as_deref(), expected);
    let way = opaque_way(&compiled, other, None, "");
    assert_eq!(way.as_deref(), Some("PassthroughCluster"));
}

#[test]
fn without_addresses_names_in_tls_tell_services_apart() {
    let compiled = all(&[]);

    let listener = captured(&compiled, Outbound, "93.184.216.34:443");
    assert_eq!(listener.speaks, Speaks::Tls);
    for (name, expected) in [
        (Some("api.example"), "outbound|443||api.example"),
        (Some("a.wide.example"), "outbound|443||*.wide.example"),
        (Some("other.example"), "PassthroughCluster"),
        (Some(""), "PassthroughCluster"),
        (None, "PassthroughCluster"),
    ] {
        let way = opaque_way(&compiled, listener, name, "93.184.216.34");
        assert_eq!(way.as_deref(), Some(expected), "{name:?}");
    }
}

#[test]
fn tcp_without_addresses_has_its_port() {
    let compiled = all(&[]);

    let listener = captured(&compiled, Outbound, "93.184.216.34:5672");
    assert_eq!(listener.speaks, Speaks::Opaque);
    let way = opaque_way(&compiled, listener, None, "93.184.216.34");
    assert_eq!(way.as_deref(), Some("outbound|5672||queue.example"));
}

#[test]
fn what_nobody_knows_passes_unless_only_the_registry_may_be_reached() {
    let open = all(&[]);
    let closed = all(&[REGISTRY_ONLY]);

    let rest = captured(&open, Outbound, "1.2.3.4:5");
    let way = opaque_way(&open, rest, None, "1.2.3.4");
    assert_eq!(way.as_deref(), Some("PassthroughCluster"));
    assert!(rest.hosts.find("anything").is_some());

    let rest = captured(&closed, Outbound, "1.2.3.4:5");
    assert_eq!(rest.speaks, Speaks::Opaque);
    let way = opaque_way(&closed, rest, None, "1.2.3.4");
    assert_eq!(way.as_deref(), Some("BlackHoleCluster"));
    let port = captured(&closed, Outbound, "1.2.3.4:80");
    assert_eq!(port.speaks, Speaks::Http);
    assert_eq!(port.unknown_host, UnknownHost::BadGateway);
    assert!(port.hosts.find("unknown.example").is_none());
    let tls = captured(&closed, Outbound, "1.2.3.4:443");
    let way = opaque_way(&closed, tls, Some("other.example"), "1.2.3.4");
    assert_eq!(way.as_deref(), Some("BlackHoleCluster"));
    let nowhere = closed.destinations.iter().find(|it| it.key.port == 0);
    let nowhere = nowhere.expect("the black hole");
    assert!(nowhere.members().is_empty() && nowhere.originals.is_none());
}

#[test]
fn resolution_none_and_passthrough_go_where_the_caller_wanted() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec: {host: db.example, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}
";
    let compiled = all(&[rule]);

    for (host, to) in [
        ("db.example", "10.97.0.1:3306"),
        ("*.wide.example", "8.8.8.8:443"),
    ] {
        let mut destinations = compiled.destinations.iter();
        let found = destinations.find(|it| &*it.key.host == host);
        let reached = found.expect(host).reached(to.parse().ok());
        let reached = reached.expect("an address");
        assert_eq!(reached.members()[0].endpoint.addr.to_string(), to);
        assert_eq!(reached.key.host.as_ref(), host);
    }
}

#[test]
fn rules_for_connections_are_those_of_their_service_and_port() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec:
  host: db.example
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db.example]
  tcp:
  - match: [{port: 3307}]
    route: [{destination: {host: kafka}}]
  - match: [{sourceLabels: {app: other}}]
    route: [{destination: {host: kafka}}]
  - match: [{destinationSubnets: [10.98.1.0/24]}]
    route: [{destination: {host: db.example, subset: v2}}]
  - route: [{destination: {host: db.example, subset: v1}}]
  - route: [{destination: {host: kafka}}]
  tls:
  - match: [{sniHosts: [db.example], destinationSubnets: [2001:db8::/32]}]
    route: [{destination: {host: db.example, subset: v2}}]
  - match: [{sniHosts: [db.example]}]
    route: [{destination: {host: db.example, subset: v1}}]
";
    let compiled = all(&[rules]);

    let mysql = captured(&compiled, Outbound, "10.98.1.1:3306");
    for (to, expected) in [
        ("10.98.1.1", "outbound|3306|v2|db.example"),
        ("10.98.2.1", "outbound|3306|v1|db.example"),
    ] {
        let way = opaque_way(&compiled, mysql, None, to);
        assert_eq!(way.as_deref(), Some(expected), "{to}");
    }
    let tls = captured(&compiled, Outbound, "10.97.0.1:443");
    assert_eq!(tls.speaks, Speaks::Tls);
    for (name, to, expected) in [
        (
            Some("db.example"),
            "2001:db8::1",
            "outbound|443|v2|db.example",
        ),
        (
            Some("db.example"),
            "10.97.0.1",
            "outbound|443|v1|db.example",
        ),
        (
            Some("other.example"),
            "10.97.0.1",
            "outbound|443||db.example",
        ),
        (None, "10.97.0.1", "outbound|443||db.example"),
    ] {
        let way = opaque_way(&compiled, tls, name, to);
        assert_eq!(way.as_deref(), Some(expected), "{name:?} {to}");
    }
}

#[test]
fn weights_of_connections_are_those_of_their_rule() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide}
spec:
  hosts: ['*.wide.example']
  tls:
  - match: [{port: 443, sniHosts: [a.wide.example]}]
    route:
    - {destination: {host: api.example, port: {number: 443}}, weight: 25}
    - {destination: {host: db.example, port: {number: 443}}, weight: 75}
";
    let compiled = all(&[rules]);

    let listener = captured(&compiled, Outbound, "93.184.216.34:443");
    let find = |name| {
        let found = listener.opaque.find(ConnectionView {
            server_name: Some(name),
            destination: None,
            source: None,
        });
        found.expect("a route")
    };
    let split = &find("a.wide.example").split;
    let shares: Vec<f64> = split.targets().iter().map(|it| split.share(it)).collect();
    assert_eq!(shares, [0.25, 0.75]);
    assert!(
        find("b.wide.example").origin.is_none(),
        "the service itself"
    );
}

#[test]
fn a_sidecar_narrows_what_is_reached_and_names_ports_and_addresses() {
    let sidecar = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  egress:
  - {port: {number: 80, protocol: HTTP, name: http}, hosts: [./api.example]}
  - {port: {number: 3306, protocol: TCP, name: tcp}, bind: 127.1.2.3, hosts: [./db.example]}
  - {port: {number: 9999, protocol: HTTP, name: own}, captureMode: NONE, hosts: [./api.example]}
  - {hosts: [./kafka.default.svc.cluster.local, ./web.default.svc.cluster.local]}
";
    let compiled = all(&[sidecar]);

    let http = captured(&compiled, Outbound, "1.2.3.4:80");
    let way = http_way(&compiled, http, "api.example");
    assert_eq!(way.as_deref(), Some("outbound|80||api.example"));
    let claimed = http_way(&compiled, http, "web");
    assert_eq!(
        claimed.as_deref(),
        Some("PassthroughCluster"),
        "the port is another listener's"
    );
    let bound = captured(&compiled, Outbound, "127.1.2.3:3306");
    let way = opaque_way(&compiled, bound, None, "127.1.2.3");
    assert_eq!(way.as_deref(), Some("outbound|3306||db.example"));
    assert_eq!(
        captured(&compiled, Outbound, "10.97.0.1:3306").name,
        "outbound passthrough"
    );
    assert_eq!(
        captured(&compiled, Outbound, "1.2.3.4:443").name,
        "outbound passthrough"
    );
    let kafka = captured(&compiled, Outbound, "10.0.1.1:9092");
    assert_eq!(kafka.speaks, Speaks::Opaque);
    let binds = compiled
        .table
        .listeners
        .iter()
        .map(|it| it.bind.to_string());
    let binds: Vec<String> = binds.collect();
    assert_eq!(binds, ["127.0.0.1:9999", "[::]:15001", "[::]:15006"]);
}

#[test]
fn the_port_that_takes_captured_connections_leads_nowhere() {
    let compiled = all(&[]);

    for (direction, port) in [(Outbound, 15_001), (Direction::Inbound, 15_006)] {
        let listener = captured(&compiled, direction, &format!("10.0.0.1:{port}"));
        let way = opaque_way(&compiled, listener, None, "10.0.0.1");
        assert_eq!(way.as_deref(), Some("BlackHoleCluster"), "{port}");
    }
}

#[test]
fn of_two_services_at_one_address_the_first_has_it() {
    let entry = |name: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  addresses: [10.50.0.1]
  resolution: STATIC
  ports: [{{number: 9000, name: tcp, protocol: TCP}}]
  endpoints: [{{address: 10.0.0.1}}]
"
        )
    };
    let compiled = capturing(&[], &[&entry("b"), &entry("a")]);

    let listener = captured(&compiled, Outbound, "10.50.0.1:9000");
    let way = opaque_way(&compiled, listener, None, "10.50.0.1");
    assert_eq!(way.as_deref(), Some("outbound|9000||a.example"));
}

#[test]
fn what_did_not_change_is_the_same_listener() {
    let mut compiler = capturing_compiler(&[]);
    let before = mesh(&[WEB, DB, KAFKA, OUTSIDE]);
    let first = compiler.compile(&before);
    let mut resources: Vec<_> = config::load::parse(
        "a.yaml",
        &[WEB, DB, KAFKA, OUTSIDE].join("\n---\n"),
        "default",
    )
    .resources;
    let first = {
        drop(first);
        compiler.compile(&Mesh::new(&resources, MeshSettings::default()))
    };
    let more = config::load::parse(
        "b.yaml",
        &DB.replace("db.example", "db2.example")
            .replace("name: db}", "name: db2}")
            .replace("10.97", "10.77")
            .replace("10.98", "10.78")
            .replace("2001:db8::1", "2001:db8::2"),
        "default",
    );
    resources.extend(more.resources);

    let second = compiler.compile(&Mesh::new(&resources, MeshSettings::default()));

    for same in [
        "10.97.0.1:3306",
        "10.98.0.1:443",
        "10.0.1.1:9092",
        "10.96.0.1:7000",
        "1.1.1.1:80",
        "1.1.1.1:443",
        "10.96.0.1:80",
    ] {
        let (a, b) = (
            captured(&first, Outbound, same),
            captured(&second, Outbound, same),
        );
        assert!(Arc::ptr_eq(a, b), "{same}");
    }
    let way = |compiled| {
        let listener = captured(compiled, Outbound, "10.77.0.1:3306");
        opaque_way(compiled, listener, None, "10.77.0.1")
    };
    assert_eq!(way(&first).as_deref(), Some("PassthroughCluster"));
    assert_eq!(way(&second).as_deref(), Some("outbound|3306||db2.example"));
}

#[test]
fn thousands_of_services_share_what_they_can() {
    const SERVICES: usize = 2_000;
    let service = |at: usize| {
        let (high, low) = (at / 250, at % 250);
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: s{at}}}
spec: {{clusterIP: 10.{}.{}.{low}, ports: [{{name: http, port: 80}}, {{name: tcp, port: 9000}}]}}
",
            high / 250 + 100,
            high % 250
        )
    };
    let documents: Vec<String> = (0..SERVICES).map(service).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();

    let compiled = capturing(&[], &documents);

    // One listener per address of TCP, and two for the port with HTTP.
    // Each way takes connections, has what nobody knows, and the own port that leads nowhere.
    assert_eq!(compiled.table.everywhere().count(), SERVICES + 2 + 2 * 3);
    assert_eq!(compiled.destinations.iter().count(), 2 * SERVICES + 3);
}
