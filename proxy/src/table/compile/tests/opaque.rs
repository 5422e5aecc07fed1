//! Listeners that nothing is captured for, and connections that are not HTTP.

use super::*;

const SERVICES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example]
  addresses: [10.97.0.1]
  resolution: STATIC
  ports: [{number: 3306, name: mysql, protocol: MYSQL}]
  endpoints: [{address: 10.0.0.7}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.example]
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: b}
spec:
  hosts: [b.example]
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 10.0.0.2}]
";

fn at<'c>(compiled: &'c Compiled, bind: &str) -> &'c Arc<Listener> {
    let mut listeners = compiled.table.listeners.iter();
    let found = listeners.find(|it| it.bind.to_string() == bind);
    found.unwrap_or_else(|| panic!("nobody listens at {bind}"))
}

#[test]
fn an_explicit_listener_carries_tcp_and_tls_by_its_services() {
    let sidecar = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  egress:
  - {port: {number: 3306, protocol: MYSQL, name: mysql}, captureMode: NONE, hosts: ['./*']}
  - {port: {number: 443, protocol: TLS, name: tls}, captureMode: NONE, hosts: ['./*']}
  ingress:
  - {port: {number: 9306, protocol: MYSQL, name: mysql}, defaultEndpoint: '127.0.0.1:3306'}
";
    let compiled = compiled(&[SERVICES, sidecar]);

    let mysql = at(&compiled, "127.0.0.1:3306");
    assert_eq!(mysql.speaks, Speaks::Opaque);
    let way = opaque_way(&compiled, mysql, None, "127.0.0.1");
    assert_eq!(way.as_deref(), Some("outbound|3306||db.example"));
    let tls = at(&compiled, "127.0.0.1:443");
    assert_eq!(tls.speaks, Speaks::Tls);
    for (name, expected) in [
        (Some("a.example"), Some("outbound|443||a.example")),
        (Some("b.example"), Some("outbound|443||b.example")),
        (Some("c.example"), None),
        (None, None),
    ] {
        let way = opaque_way(&compiled, tls, name, "127.0.0.1");
        assert_eq!(way.as_deref(), expected, "{name:?}");
    }
    let ingress = at(&compiled, "0.0.0.0:9306");
    assert_eq!(ingress.speaks, Speaks::Opaque);
    assert_eq!(addrs(&compiled, "inbound|9306||"), ["127.0.0.1:3306"]);
}

#[test]
fn a_gateway_server_of_tcp_goes_by_the_first_rule_for_its_port() {
    let gateway = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - {port: {number: 13306, name: mysql, protocol: TCP}, hosts: ['*']}
  - {port: {number: 27017, name: mongo, protocol: MONGO}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: ['*']
  gateways: [edge]
  tcp:
  - match: [{port: 1}]
    route: [{destination: {host: a.example}}]
  - match: [{port: 13306, destinationSubnets: [10.1.0.0/16]}]
    route: [{destination: {host: b.example}}]
  - match: [{port: 13306}]
    route: [{destination: {host: db.example}}]
";
    let compiled = compiled(&[SERVICES, gateway]);

    let mysql = at(&compiled, "0.0.0.0:13306");
    assert_eq!(
        (mysql.speaks, mysql.direction),
        (Speaks::Opaque, Direction::Gateway)
    );
    let way = |to| opaque_way(&compiled, mysql, None, to);
    assert_eq!(
        way("10.2.0.1").as_deref(),
        Some("outbound|3306||db.example")
    );
    assert_eq!(way("10.1.0.1").as_deref(), Some("outbound|443||b.example"));
    assert!(mysql.looks_at_local_addr(), "networks are in its rules");
    let mongo = at(&compiled, "0.0.0.0:27017");
    assert!(mongo.opaque.is_empty(), "nothing says where it goes");
}

#[test]
fn a_condition_that_cannot_be_understood_is_met_by_nothing() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db.example]
  tcp:
  - match: [{destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: a.example}}]
";
    let loaded = parse("test.yaml", &[SERVICES, rules].join("\n---\n"), "default");
    let spoil = |resource: &Arc<config::Resource>| match &resource.spec {
        config::Spec::VirtualService(service) => {
            let mut service = service.clone();
            service.tcp[0].matches[0].destination_subnets = vec!["10.0.0.0/x".to_owned()];
            Arc::new(config::Resource {
                spec: config::Spec::VirtualService(service),
                ..resource.as_ref().clone()
            })
        }
        _ => Arc::clone(resource),
    };
    let resources: Vec<_> = loaded.resources.iter().map(spoil).collect();
    let compiled = capturing_compiler(&[]).compile(&Mesh::new(&resources, MeshSettings::default()));

    let listener = captured(&compiled, Direction::Outbound, "10.97.0.1:3306");
    let way = opaque_way(&compiled, listener, None, "10.97.0.1");
    assert_eq!(way.as_deref(), Some("outbound|3306||db.example"));
}
