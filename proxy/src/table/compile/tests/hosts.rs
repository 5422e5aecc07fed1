//! Whose hosts and endpoints a route leads to, and which name leads to it.

use super::*;
use crate::table::route::Action;
use crate::table::split::DestinationByPort;

#[test]
fn an_endpoint_gets_no_traffic_of_ports_that_it_does_not_serve() {
    let entry = |name: &str, port: u16, address: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [api.example.com]
  resolution: STATIC
  ports: [{{number: {port}, name: {name}, protocol: HTTP}}]
  endpoints: [{{address: {address}}}]
"
        )
    };
    let (plain, admin) = (
        entry("plain", 80, "10.0.0.1"),
        entry("admin", 81, "10.0.0.2"),
    );

    let compiled = compiled(&[&plain, &admin]);

    assert_eq!(
        addrs(&compiled, "outbound|80||api.example.com"),
        ["10.0.0.1:80"]
    );
    assert_eq!(
        addrs(&compiled, "outbound|81||api.example.com"),
        ["10.0.0.2:81"]
    );
}

#[test]
fn a_name_that_is_written_comes_before_the_short_form_of_another() {
    let rule = |name: &str, host: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{host}]
  http: [{{name: {name}, directResponse: {{status: 200}}}}]
"
        )
    };
    // Many pairs: no order of a hash table can get all of them right by chance.
    let documents: Vec<String> = (0..40)
        .flat_map(|at| {
            let (short, full) = (format!("r{at}.default"), format!("r{at}"));
            [
                rule(&format!("full{at}"), &full),
                rule(&format!("short{at}"), &short),
            ]
        })
        .collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();

    let compiled = compiled(&documents);

    for at in 0..40 {
        let name = format!("r{at}.default");
        assert_eq!(&*host(only_listener(&compiled), &name).name, name);
    }
}

#[test]
fn the_scope_of_a_sidecar_decides_for_the_mesh_and_not_for_gateways() {
    let entry = |namespace: &str, address: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: {namespace}}}
spec:
  hosts: [api.example.com]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: {address}}}]
"
        )
    };
    let resources = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  egress:
  - {port: {number: 5555, protocol: HTTP, name: any}, captureMode: NONE, hosts: ['b/*']}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: b}
spec:
  hosts: [api.example.com]
  gateways: [default/gw, mesh]
  http: [{route: [{destination: {host: api.example.com}}]}]
";
    let compiled = compiled(&[&entry("a", "10.0.0.1"), &entry("b", "10.0.0.2"), resources]);

    let leads_to = |port: u16| -> Vec<String> {
        let listeners = &compiled.table.listeners;
        let listener = listeners.iter().find(|it| match &it.bind {
            Bind::Tcp(addr) => addr.port() == port,
            Bind::Unix(_) => false,
        });
        let host = host(listener.expect("a listener"), "api.example.com");
        let rule = host.rules.iter().next().expect("a rule");
        let Action::Forward(split) = &rule.route.action else {
            panic!("not forwarded");
        };
        let DestinationByPort::Fixed(id) = split.targets()[0].destination else {
            panic!("no destination");
        };
        let destination = compiled.destinations.get(id).expect("a destination");
        let members = destination.members().iter();
        members
            .map(|member| member.endpoint.addr.to_string())
            .collect()
    };
    assert_eq!(leads_to(8080), ["10.0.0.1:80"], "the gateway's");
    assert_eq!(leads_to(5555), ["10.0.0.2:80"], "the mesh's");
}

#[test]
fn match_blocks_for_other_callers_are_kept_apart_with_what_they_ask_for() {
    let routes = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: canary
    match:
    - {sourceLabels: {app: web}, uri: {prefix: /a}}
    - {uri: {prefix: /b}}
    - {sourceNamespace: elsewhere}
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{gateways: [edge]}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
";
    let compiled = compiled(&[REVIEWS, SUBSETS, routes]);
    let host = host(
        only_listener(&compiled),
        "reviews.default.svc.cluster.local",
    );

    let kept: Vec<(u32, u32)> = host
        .rules
        .iter()
        .map(|rule| (rule.number, rule.block))
        .collect();
    assert_eq!(kept, [(1, 1), (4, 0)]);
    let told: Vec<(u32, &str, u32, u32, String)> = host
        .elsewhere
        .iter()
        .map(|it| {
            let wants = it.wants.to_string();
            (it.number, &*it.name, it.position, it.block, wants)
        })
        .collect();
    let told: Vec<(u32, &str, u32, u32, &str)> = told
        .iter()
        .map(|(number, name, position, block, wants)| {
            (*number, *name, *position, *block, wants.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            (0, "canary", 0, 0, "caller's label app is web"),
            (2, "canary", 0, 2, "caller's namespace is elsewhere"),
            (3, "default", 1, 0, "gateway is default/edge"),
        ]
    );
}

#[test]
fn a_wildcard_for_services_stands_for_no_other_host() {
    let wide = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wide}
spec:
  hosts: ['*.svc.cluster.local']
  http: [{directResponse: {status: 200}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: own}
spec:
  hosts: ['*.default.svc.cluster.local']
  http: [{directResponse: {status: 201}}]
";

    let compiled = compiled(&[wide]);

    let hosts = &only_listener(&compiled).hosts;
    assert!(hosts.find("example.com").is_none());
    assert!(hosts.find("reviews.default.svc").is_some());
    assert!(hosts.find("reviews.default").is_some());
}
