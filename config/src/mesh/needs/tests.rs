//! What has a word in traffic to a host.

use super::*;
use crate::mesh::fixture::{mesh, viewer};

const MESH: &str = "
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.1.0.1, ports: [{name: http, port: 80}]}
---
kind: ServiceEntry
metadata: {name: wide}
spec:
  hosts: ['*.example.com']
  addresses: [10.9.0.0/16]
  ports: [{number: 443, name: tls, protocol: TLS}]
---
kind: ServiceEntry
metadata: {name: narrow}
spec:
  hosts: [one.example.com]
  addresses: [10.9.0.7]
  exportTo: [shop]
  ports: [{number: 443, name: tls, protocol: TLS}]
---
kind: VirtualService
metadata: {name: everything}
spec: {hosts: ['*'], http: [{directResponse: {status: 200}}]}
---
kind: VirtualService
metadata: {name: a, namespace: shop}
spec: {hosts: [a], http: [{directResponse: {status: 200}}]}
---
kind: VirtualService
metadata: {name: edge, namespace: shop}
spec: {hosts: [a], gateways: [edge], http: [{directResponse: {status: 200}}]}
---
kind: DestinationRule
metadata: {name: own}
spec: {host: a.shop.svc.cluster.local, workloadSelector: {matchLabels: {app: other}}}
---
kind: DestinationRule
metadata: {name: theirs, namespace: shop}
spec: {host: a}
---
kind: Sidecar
metadata: {name: narrow, namespace: narrow}
spec: {egress: [{hosts: ['shop/*']}]}
";

const A: &str = "a.shop.svc.cluster.local";

fn routes(namespace: &str, host: &str) -> Vec<String> {
    let mesh = mesh(MESH);
    let routes = mesh.host_routes(&viewer(namespace, &[]), host);
    routes.iter().map(|it| it.name.clone()).collect()
}

fn names(services: &[&Arc<Service>]) -> Vec<String> {
    services.iter().map(|it| it.name.clone()).collect()
}

#[test]
fn routes_are_for_a_name_and_for_wildcards_that_cover_it() {
    assert_eq!(routes("default", A), ["a", "everything"]);
    assert_eq!(
        routes("default", "b.shop.svc.cluster.local"),
        ["everything"]
    );
    assert_eq!(routes("narrow", A), ["a"]);
}

#[test]
fn services_are_those_of_a_name_and_of_wildcards_as_far_as_they_are_seen() {
    let mesh = mesh(MESH);
    let of =
        |namespace: &str, host: &str| names(&mesh.host_services(&viewer(namespace, &[]), host));

    assert_eq!(of("default", "one.example.com"), ["wide"]);
    assert_eq!(of("shop", "one.example.com"), ["narrow", "wide"]);
    assert_eq!(of("narrow", A)[0], "a");
    assert!(of("narrow", "one.example.com").is_empty());
}

#[test]
fn hosts_are_found_in_whatever_case_they_are_written() {
    let entry = |name: &str, host: &str| {
        format!(
            "kind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: ['{host}'], \
             ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n---\n"
        )
    };
    let route = "kind: VirtualService\nmetadata: {name: v}\n\
                 spec: {hosts: [Api.example.com], http: [{directResponse: {status: 200}}]}";
    let entries = [
        entry("exact", "API.Example.com"),
        entry("wide", "*.Example.com"),
        entry("short", "Db"),
        entry("lower", "api.example.com"),
    ];
    let mesh = mesh(&(entries.concat() + route));
    let here = viewer("default", &[]);
    let of = |host: &str| {
        let mut names = names(&mesh.host_services(&here, host));
        names.sort();
        names.dedup();
        names
    };

    for host in ["api.example.com", "API.example.com"] {
        assert_eq!(of(host), ["exact", "lower", "wide"]);
        assert_eq!(mesh.host_routes(&here, host)[0].name, "v");
    }
    assert_eq!(of("other.example.com"), ["wide"]);
    assert_eq!(of("db.default.svc.cluster.local"), ["short"]);
    assert_eq!(of("db"), ["short"]);
}

#[test]
fn a_rule_that_selects_others_hides_those_behind_it() {
    let mesh = mesh(MESH);
    let of = |namespace: &str| -> Vec<String> {
        let rules = mesh.host_rules(&viewer(namespace, &["app=web"]), A, "shop");
        rules.iter().map(|it| it.meta.name.clone()).collect()
    };

    assert_eq!(of("default"), ["own"]);
    assert_eq!(of("elsewhere"), ["theirs"]);
}

#[test]
fn an_address_means_all_that_have_it() {
    let mesh = mesh(MESH);
    let at = |namespace: &str, ip: &str| {
        let ip = ip.parse().expect("an address");
        names(&mesh.services_at(&viewer(namespace, &[]), ip))
    };

    assert_eq!(at("default", "10.1.0.1"), ["a"]);
    assert_eq!(at("default", "::ffff:10.1.0.1"), ["a"]);
    assert_eq!(at("shop", "10.9.0.7"), ["narrow", "wide"]);
    assert_eq!(at("default", "10.9.0.7"), ["wide"]);
    assert!(at("narrow", "10.9.0.7").is_empty());
}

#[test]
fn names_are_completed_as_dns_does() {
    let mesh = mesh(MESH);
    for (name, expected) in [
        ("a", "a.shop.svc.cluster.local"),
        ("a.other", "a.other.svc.cluster.local"),
        ("a.other.svc", "a.other.svc.cluster.local"),
    ] {
        let meant = mesh.meant_by(&viewer("shop", &[]), name);

        assert_eq!(meant, [name, expected]);
    }
    assert_eq!(mesh.meant_by(&viewer("shop", &[]), "a.b.c.d"), ["a.b.c.d"]);
}

#[test]
fn whoever_took_an_address_before_is_a_rival() {
    let entry = |number: usize| {
        format!(
            "kind: ServiceEntry\nmetadata: {{name: e{number}}}\nspec: {{hosts: [e{number}.test], \
             resolution: DNS, ports: [{{number: 80, name: tcp, protocol: TCP}}]}}"
        )
    };
    let many: Vec<String> = (0..1_500).map(entry).collect();
    let whole = mesh(&many.join("\n---\n"));
    let here = viewer("default", &[]);
    let pressed = whole
        .services()
        .find(|service| !whole.rivals(&here, service).is_empty())
        .expect("two of so many want the same address");

    let mut part: Vec<String> = Vec::new();
    let mut waiting = vec![pressed];
    while let Some(service) = waiting.pop() {
        part.push(entry(service.name[1..].parse().expect("a number")));
        waiting.extend(whole.rivals(&here, service));
    }
    let alone = mesh(&part[0]);
    let part = mesh(&part.join("\n---\n"));

    let address = |mesh: &Mesh| {
        let mut services = mesh.services();
        let found = services.find(|it| it.host == pressed.host).expect("there");
        mesh.allotted(found)
    };
    assert_eq!(address(&part), address(&whole));
    assert_ne!(address(&alone), address(&whole));
}
