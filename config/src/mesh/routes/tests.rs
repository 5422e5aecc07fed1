//! Names, bindings, delegates and the order of routes.

use crate::mesh::fixture::{mesh, viewer};
use crate::mesh::{Mesh, Routes};
use crate::resource::Spec;

fn virtual_service(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    format!(
        "kind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}"
    )
}

fn in_mesh(mesh: &Mesh, namespace: &str) -> Vec<String> {
    mesh.mesh_routes(&viewer(namespace, &[]))
        .iter()
        .map(|routes| routes.name.clone())
        .collect()
}

/// `name: hosts` of what a server of the gateway `edge/gw` serves.
fn served(yaml: &[String], server_hosts: &str) -> Vec<String> {
    let gateway = format!(
        "kind: Gateway\nmetadata: {{name: gw, namespace: edge}}\n\
         spec: {{servers: [{{hosts: {server_hosts}}}]}}\n---\n"
    );
    let mesh = mesh(&(gateway + &yaml.join("\n---\n")));
    let viewer = viewer("edge", &[]);
    let resource = mesh.gateways(&viewer)[0];
    let Spec::Gateway(gateway) = &resource.spec else {
        panic!("no gateway");
    };
    let line = |routes: &Routes| format!("{}: {}", routes.name, routes.hosts.join(" "));
    let routes = mesh.gateway_routes(&viewer, resource, &gateway.servers[0]);
    routes.iter().map(|routes| line(routes)).collect()
}

#[test]
fn names_are_completed_with_the_namespace_they_were_written_in() {
    let mesh = mesh(&virtual_service(
        "prod/vs",
        "hosts: [a, b.com], gateways: [mesh, gw, other/gw], \
         http: [{match: [{gateways: [gw]}], route: [{destination: {host: a}}], \
         mirror: {host: m}, mirrors: [{destination: {host: n}}]}], \
         tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: t}}]}], \
         tcp: [{route: [{destination: {host: c.prod}}]}]",
    ));

    let routes = mesh.mesh_routes(&viewer("x", &[])).remove(0);

    let full = |name: &str| format!("{name}.prod.svc.cluster.local");
    assert_eq!(routes.hosts, [full("a"), "b.com".to_owned()]);
    assert_eq!(routes.spec.gateways, ["mesh", "prod/gw", "other/gw"]);
    assert_eq!(routes.spec.http[0].matches[0].gateways, ["prod/gw"]);
    let destinations: Vec<&str> = routes.destination_hosts().collect();
    assert_eq!(
        destinations,
        [&full("a"), &full("m"), &full("n"), &full("t"), "c.prod"]
    );
}

#[test]
fn routes_are_for_the_mesh_unless_gateways_say_otherwise() {
    let mesh = mesh(
        &[
            virtual_service("a/none", "hosts: [a.com]"),
            virtual_service("a/named", "hosts: [a.com], gateways: [mesh, gw]"),
            virtual_service("a/only-gateway", "hosts: [a.com], gateways: [gw]"),
            virtual_service("a/private", "hosts: [a.com], exportTo: ['.']"),
            virtual_service("a/delegate", "http: []"),
        ]
        .join("\n---\n"),
    );

    assert_eq!(in_mesh(&mesh, "a"), ["named", "none", "private"]);
    assert_eq!(in_mesh(&mesh, "b"), ["named", "none"]);
}

#[test]
fn the_oldest_goes_first_then_the_name_then_the_namespace() {
    let aged = |name: &str, namespace: &str, created: &str| {
        format!(
            "kind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}, \
             creationTimestamp: '{created}'}}\nspec: {{hosts: [a.com]}}"
        )
    };
    let mesh = mesh(
        &[
            aged("d", "x", "2024-05-01T12:00:00Z"),
            aged("c", "z", "2024-05-01T12:00:00+02:00"),
            aged("b", "y", "2024-05-01T12:00:00Z"),
            aged("b", "x", "2024-05-01T12:00:00Z"),
        ]
        .join("\n---\n"),
    );

    let order: Vec<String> = mesh
        .mesh_routes(&viewer("a", &[]))
        .iter()
        .map(|routes| format!("{}/{}", routes.namespace, routes.name))
        .collect();

    assert_eq!(order, ["z/c", "x/b", "y/b", "x/d"]);
}

#[test]
fn the_hosts_at_a_gateway_are_those_that_both_name() {
    let vs = |hosts: &str| {
        vec![virtual_service(
            "a/vs",
            &format!("hosts: {hosts}, gateways: [edge/gw]"),
        )]
    };
    for (hosts, server_hosts, expected) in [
        ("[a.com]", "['*']", "vs: a.com"),
        ("['*']", "[a.com, b.com]", "vs: a.com b.com"),
        ("['*.com', a.com]", "[a.com]", "vs: a.com"),
        ("[x.a.com, b.com]", "['*.a.com']", "vs: x.a.com"),
        ("['*.a.com']", "['*.com']", "vs: *.a.com"),
        ("[a.com]", "['a/*']", "vs: a.com"),
        ("[a.com]", "['*/a.com']", "vs: a.com"),
        ("[a.com]", "[b.com]", ""),
        ("[a.com]", "['b/*']", ""),
        ("[a.com]", "['./*']", ""),
    ] {
        let found = served(&vs(hosts), server_hosts).join(", ");

        assert_eq!(found, expected, "{hosts} at {server_hosts}");
    }
}

#[test]
fn a_gateway_serves_what_names_it_and_is_exported_to_it() {
    let found = served(
        &[
            virtual_service("edge/short", "hosts: [a.com], gateways: [gw]"),
            virtual_service("a/full", "hosts: [b.com], gateways: [edge/gw]"),
            virtual_service("a/other", "hosts: [c.com], gateways: [gw]"),
            virtual_service(
                "a/private",
                "hosts: [d.com], gateways: [edge/gw], exportTo: ['.']",
            ),
            virtual_service("edge/sidecars", "hosts: [e.com]"),
        ],
        "['*']",
    );

    assert_eq!(found, ["full: b.com", "short: a.com"]);
}

#[test]
fn rules_of_a_delegate_stand_in_place_of_the_rule_that_refers_to_it() {
    let mesh = mesh(
        &[
            virtual_service(
                "a/root",
                "hosts: [a.com], http: [\
                 {name: first, match: [{uri: {prefix: /1}}], delegate: {name: part, namespace: b}}, \
                 {name: hidden, delegate: {name: hidden, namespace: b}}, \
                 {name: missing, delegate: {name: missing}}, \
                 {name: last, route: [{destination: {host: own}}]}]",
            ),
            virtual_service(
                "b/part",
                "http: [{name: x, route: [{destination: {host: own}}]}, \
                 {name: nested, delegate: {name: part}}, \
                 {name: y, match: [{uri: {prefix: /2}}]}]",
            ),
            virtual_service("b/hidden", "exportTo: ['.'], http: [{name: z}]"),
        ]
        .join("\n---\n"),
    );

    let routes = mesh.mesh_routes(&viewer("a", &[])).remove(0);

    let names: Vec<_> = routes
        .spec
        .http
        .iter()
        .filter_map(|rule| rule.name.as_deref())
        .collect();
    assert_eq!(names, ["first-x", "last"]);
    let destinations: Vec<&str> = routes.destination_hosts().collect();
    assert_eq!(
        destinations,
        ["own.b.svc.cluster.local", "own.a.svc.cluster.local"]
    );
    let origin: Vec<&str> = routes
        .origin
        .iter()
        .map(|from| from.meta.name.as_str())
        .collect();
    assert_eq!(origin, ["part", "root"]);
    let sources: Vec<&str> = routes
        .sources
        .iter()
        .map(|from| from.meta.name.as_str())
        .collect();
    assert_eq!(sources, ["root", "part"]);
}
