//! From YAML to the table: which listeners, which hosts, and what stays the same object.

mod admission;
mod beside;
mod capture;
mod channels;
mod generations;
mod hosts;
mod inbound;
mod limits;
mod localities;
mod mirrors;
mod opaque;

use super::*;
use std::net::Ipv4Addr;

use config::load::parse;
use config::mesh::MeshSettings;

use crate::table::host::VirtualHost;
use crate::table::opaque::ConnectionView;
use crate::table::route::Action;
use crate::table::{Bind, Direction, Listener, PortRule, Speaks, UnknownHost};
use crate::telemetry::labels::Identity;
use crate::upstream::destination::{Destination, Protocol};
use crate::upstream::endpoint::EndpointAddr;

const REVIEWS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}, {number: 9090, name: grpc, protocol: GRPC}]
  endpoints:
  - {address: 10.0.0.1, labels: {app: reviews, version: v1}}
  - {address: 10.0.0.2, labels: {app: reviews, version: v2}}
";

const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 3s}}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

fn perspective() -> Perspective {
    Perspective {
        viewer: Viewer {
            namespace: "default".into(),
            ..Viewer::default()
        },
        identity: Identity::unknown(),
        cluster: "Kubernetes".into(),
        locality: None,
        bind: Ipv4Addr::UNSPECIFIED.into(),
        principal: "unknown".into(),
        captures: false,
    }
}

fn compiler() -> Compiler {
    Compiler::new(perspective(), Metrics::new(Identity::unknown(), 100))
}

fn mesh(documents: &[&str]) -> Mesh {
    let loaded = parse("test.yaml", &documents.join("\n---\n"), "default");
    assert!(!loaded.has_errors(), "{:#?}", loaded.problems);
    Mesh::new(&loaded.resources, MeshSettings::default())
}

fn compiled(documents: &[&str]) -> Compiled {
    compiler().compile(&mesh(documents))
}

/// What a proxy compiles that takes captured traffic, beside a workload with these labels.
fn capturing(labels: &[(&str, &str)], documents: &[&str]) -> Compiled {
    capturing_compiler(labels).compile(&mesh(documents))
}

fn capturing_compiler(labels: &[(&str, &str)]) -> Compiler {
    let mut perspective = perspective();
    perspective.captures = true;
    let labels = labels.iter();
    perspective.viewer.labels = labels
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Compiler::new(perspective, Metrics::new(Identity::unknown(), 100))
}

/// The listener that a captured connection to `addr` meets.
fn captured<'c>(compiled: &'c Compiled, direction: Direction, addr: &str) -> &'c Arc<Listener> {
    let mut listeners = compiled.table.listeners.iter();
    let taking = listeners.find(|it| it.captured.is_some() && it.direction == direction);
    let captured = taking.and_then(|it| it.captured.as_ref());
    let captured = captured.expect("a listener that takes captured connections");
    captured.find(addr.parse().expect("an address"))
}

/// Where a connection goes that is not HTTP, by the key of its destination.
fn opaque_way(
    compiled: &Compiled,
    listener: &Listener,
    server_name: Option<&str>,
    to: &str,
) -> Option<String> {
    let route = listener.opaque.find(ConnectionView {
        server_name,
        destination: to.parse().ok(),
        source: None,
    })?;
    let target = route.split.choose(None, 0)?;
    let id = target.destination.at(route.port)?;
    let destination = compiled.destinations.get(id)?;
    Some(destination.key.to_string())
}

/// Where a request for `host` goes, by the key of its destination.
fn http_way(compiled: &Compiled, listener: &Listener, host: &str) -> Option<String> {
    let PortRule::Listener(port) = listener.port_rule else {
        panic!("{} stands for no port", listener.name);
    };
    let host = listener.hosts.find(host)?;
    let rule = host.rules.iter().next()?;
    let Action::Forward(split) = &rule.route.action else {
        return None;
    };
    let id = split.choose(None, 0)?.destination.at(port)?;
    Some(compiled.destinations.get(id)?.key.to_string())
}

fn refreshed(compiler: &mut Compiler) -> Compiled {
    let (table, destinations) = compiler.refresh();
    Compiled {
        table,
        destinations,
        names: BTreeSet::new(),
    }
}

fn only_listener(compiled: &Compiled) -> &Listener {
    assert_eq!(compiled.table.listeners.len(), 1);
    &compiled.table.listeners[0]
}

fn host(listener: &Listener, name: &str) -> Arc<VirtualHost> {
    Arc::clone(
        listener
            .hosts
            .find(name)
            .unwrap_or_else(|| panic!("no host {name}")),
    )
}

fn keys(compiled: &Compiled) -> Vec<String> {
    let mut keys: Vec<String> = compiled
        .destinations
        .iter()
        .map(|it| it.key.to_string())
        .collect();
    keys.sort();
    keys
}

fn addrs(compiled: &Compiled, key: &str) -> Vec<String> {
    let found = compiled
        .destinations
        .iter()
        .find(|it| it.key.to_string() == key);
    let found = found.unwrap_or_else(|| panic!("no destination {key}"));
    found
        .members()
        .iter()
        .map(|member| member.endpoint.addr.to_string())
        .collect()
}

#[test]
fn without_gateway_and_sidecar_there_is_an_outbound_listener() {
    let compiled = compiled(&[REVIEWS]);

    let listener = only_listener(&compiled);
    assert_eq!(listener.bind.to_string(), "127.0.0.1:15001");
    assert_eq!(listener.direction, Direction::Outbound);
    assert_eq!(listener.port_rule, PortRule::Authority);
    let full = host(listener, "reviews.default.svc.cluster.local");
    for name in ["reviews", "reviews.default", "reviews.default.svc"] {
        assert!(Arc::ptr_eq(&host(listener, name), &full), "{name}");
    }
    assert!(listener.hosts.find("ratings").is_none());
    assert_eq!(
        keys(&compiled),
        [
            "outbound|9080||reviews.default.svc.cluster.local",
            "outbound|9090||reviews.default.svc.cluster.local"
        ]
    );
}

#[test]
fn subsets_select_endpoints_and_policies_apply() {
    let routes = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - {destination: {host: reviews, subset: v2, port: {number: 9080}}, weight: 1}
    - {destination: {host: reviews, subset: v3, port: {number: 9080}}, weight: 1}
";
    let compiled = compiled(&[REVIEWS, SUBSETS, routes]);

    let key = "outbound|9080|v2|reviews.default.svc.cluster.local";
    assert_eq!(keys(&compiled), [key], "an unknown subset leads nowhere");
    assert_eq!(addrs(&compiled, key), ["10.0.0.2:9080"]);
    let v2 = compiled.destinations.iter().next().expect("one");
    assert_eq!(v2.policy.connect_timeout.as_secs(), 3);
    assert_eq!(v2.policy.protocol, Protocol::Http1);
}

#[test]
fn a_declared_protocol_decides_what_is_spoken_upstream() {
    let compiled = compiled(&[REVIEWS]);

    let grpc = compiled
        .destinations
        .iter()
        .find(|it| it.key.port == 9090)
        .expect("the port");
    assert_eq!(grpc.policy.protocol, Protocol::Http2);
}

#[test]
fn a_gateway_listens_for_its_hosts_alone() {
    let gateway = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: [a.example.com]}
";
    let routes = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example.com, b.example.com]
  gateways: [gw]
  http: [{route: [{destination: {host: reviews, port: {number: 9080}}}]}]
";
    let compiled = compiled(&[REVIEWS, gateway, routes]);

    let listener = only_listener(&compiled);
    assert_eq!(listener.bind, Bind::Tcp(([0, 0, 0, 0], 8080).into()));
    assert_eq!(listener.direction, Direction::Gateway);
    assert!(listener.hosts.find("a.example.com").is_some());
    assert!(
        listener.hosts.find("b.example.com").is_none(),
        "not within the server's hosts"
    );
    assert!(listener.hosts.find("reviews").is_none());
}

#[test]
fn a_sidecar_has_explicit_listeners_both_ways() {
    let sidecar = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  ingress:
  - {port: {number: 9080, protocol: HTTP, name: http}, bind: 127.0.0.1, defaultEndpoint: '127.0.0.1:7070'}
  egress:
  - {port: {number: 9080, protocol: HTTP, name: out}, bind: 127.0.0.9, captureMode: NONE, hosts: ['./*']}
  - {port: {number: 5555, protocol: HTTP, name: any}, captureMode: NONE, hosts: ['./*']}
";
    let compiled = compiled(&[REVIEWS, sidecar]);

    let listeners = &compiled.table.listeners;
    let seen: Vec<_> = listeners
        .iter()
        .map(|it| {
            (
                it.bind.to_string(),
                it.direction,
                it.port_rule,
                it.unknown_host,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (
                "127.0.0.1:5555".into(),
                Direction::Outbound,
                PortRule::Authority,
                UnknownHost::BadGateway
            ),
            (
                "127.0.0.1:9080".into(),
                Direction::Inbound,
                PortRule::Listener(9080),
                UnknownHost::NotFound
            ),
            (
                "127.0.0.9:9080".into(),
                Direction::Outbound,
                PortRule::Listener(9080),
                UnknownHost::BadGateway
            ),
        ]
    );
    assert_eq!(addrs(&compiled, "inbound|9080||"), ["127.0.0.1:7070"]);
}

#[test]
fn what_did_not_change_stays_the_same_object() {
    let details = REVIEWS
        .replace("reviews", "details")
        .replace("10.0.0", "10.0.1");
    let routes = |weight: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: details}}
spec:
  hosts: [details]
  http: [{{timeout: {weight}s, route: [{{destination: {{host: details, port: {{number: 9080}}}}}}]}}]
"
        )
    };
    let (before, after) = (routes("1"), routes("2"));
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("a.yaml", REVIEWS);
    write("b.yaml", &details);
    write("c.yaml", &before);
    let paths = [folder.path().to_path_buf()];
    let mut loader = config::Loader::new("default");
    let mut compiler = compiler();
    let mesh = Mesh::new(&loader.load(&paths).resources, MeshSettings::default());
    let first = compiler.compile(&mesh);

    write("c.yaml", &after);
    let second = compiler.compile(&mesh.next(&loader.load(&paths).resources));

    let (old, new) = (only_listener(&first), only_listener(&second));
    assert!(Arc::ptr_eq(&host(old, "reviews"), &host(new, "reviews")));
    assert!(!Arc::ptr_eq(&host(old, "details"), &host(new, "details")));
    for (old, new) in first.destinations.iter().zip(second.destinations.iter()) {
        assert_eq!(old.key, new.key, "numbers stay");
        for (old, new) in old.members().iter().zip(new.members()) {
            assert!(
                Arc::ptr_eq(&old.endpoint, &new.endpoint),
                "live state stays"
            );
        }
    }
}

#[test]
fn endpoints_that_stay_keep_their_live_state_when_others_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |text: &str| {
        std::fs::write(folder.path().join("a.yaml"), text).expect("written");
    };
    write(REVIEWS);
    let paths = [folder.path().to_path_buf()];
    let mut loader = config::Loader::new("default");
    let mut compiler = compiler();
    let mesh = Mesh::new(&loader.load(&paths).resources, MeshSettings::default());
    let first = compiler.compile(&mesh);

    write(&REVIEWS.replace("10.0.0.2", "10.0.0.3"));
    let second = compiler.compile(&mesh.next(&loader.load(&paths).resources));

    let endpoints = |compiled: &Compiled| -> Vec<(EndpointAddr, u64)> {
        let all = compiled
            .destinations
            .iter()
            .flat_map(|it| it.members().to_vec());
        all.map(|member| (member.endpoint.addr.clone(), member.endpoint.id))
            .collect()
    };
    let (old, new) = (endpoints(&first), endpoints(&second));
    let kept: Vec<_> = new
        .iter()
        .filter(|endpoint| old.contains(endpoint))
        .collect();
    assert_eq!(kept.len(), 2, "one address on two ports stays: {new:?}");
    assert_eq!(new.len(), 4);
}

#[test]
fn names_are_resolved_and_followed() {
    let external = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: external}
spec:
  hosts: [api.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints: [{address: one.example.com}, {address: two.example.com}]
";
    let mut compiler = compiler();
    let compiled = compiler.compile(&mesh(&[external]));
    let names: Vec<&str> = compiled.names.iter().map(|name| &**name).collect();
    assert_eq!(names, ["one.example.com", "two.example.com"]);
    let key = "outbound|80||api.example.com";
    assert!(addrs(&compiled, key).is_empty());

    let v6 = "2001:db8::1".parse().expect("an address");
    compiler.resolved("one.example.com", &[[192, 0, 2, 1].into(), v6]);
    let compiled = refreshed(&mut compiler);
    assert_eq!(
        addrs(&compiled, key),
        ["192.0.2.1:8080", "[2001:db8::1]:8080"]
    );

    compiler.resolved("one.example.com", &[v6]);
    let compiled = refreshed(&mut compiler);
    assert_eq!(addrs(&compiled, key), ["[2001:db8::1]:8080"]);
}

#[test]
fn numbers_of_what_is_gone_are_used_again() {
    let other = REVIEWS.replace("reviews", "ratings");
    let mut compiler = compiler();

    let mut compiled = compiler.compile(&mesh(&[REVIEWS]));
    for _ in 0..5 {
        compiler.compile(&mesh(&[&other]));
        compiled = compiler.compile(&mesh(&[REVIEWS]));
    }

    // New numbers are given before those of the generation before are free.
    assert!(compiled.destinations.0.len() <= 4);
    assert_eq!(compiled.destinations.iter().count(), 2);
}

#[test]
fn callers_are_matched_when_compiling() {
    let routes = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{sourceLabels: {app: other}}]
    name: others
    route: [{destination: {host: reviews, port: {number: 9080}}}]
  - match: [{sourceNamespace: default, uri: {prefix: /x}}]
    name: ours
    route: [{destination: {host: reviews, port: {number: 9080}}}]
";
    let compiled = compiled(&[REVIEWS, routes]);

    let reviews = host(only_listener(&compiled), "reviews");
    let names: Vec<&str> = reviews.rules.iter().map(|rule| &*rule.route.name).collect();
    assert_eq!(names, ["ours"]);
}

#[test]
fn a_name_of_a_match_block_is_for_that_block_alone() {
    let routes = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: rule
    match: [{uri: {exact: /a}}, {name: b, uri: {exact: /b}}, {uri: {exact: /c}}, {name: d, uri: {exact: /d}}]
    route: [{destination: {host: reviews, port: {number: 9080}}}]
";
    let compiled = compiled(&[REVIEWS, routes]);

    let reviews = host(only_listener(&compiled), "reviews");
    let names: Vec<&str> = reviews.rules.iter().map(|rule| &*rule.route.name).collect();
    assert_eq!(names[..4], ["rule", "rule.b", "rule", "rule.d"]);
}
