//! Lookups over several kinds.

use super::fixture::{mesh, viewer};
use super::*;

fn hosts<'a>(services: impl IntoIterator<Item = &'a Arc<Service>>) -> Vec<&'a str> {
    services
        .into_iter()
        .map(|service| service.host.as_str())
        .collect()
}

fn names(routes: &[Arc<Routes>]) -> Vec<String> {
    routes
        .iter()
        .map(|routes| format!("{}/{}", routes.namespace, routes.name))
        .collect()
}

/// A `ServiceEntry` with an HTTP port for each `namespace/host`.
fn entries(hosts: &[&str]) -> String {
    let entry = |(at, host): (usize, &&str)| {
        let (namespace, host) = host.split_once('/').expect("namespace/host");
        format!(
            "kind: ServiceEntry\nmetadata: {{name: entry-{at}, namespace: {namespace}}}\n\
             spec: {{hosts: ['{host}'], resolution: STATIC, \
             ports: [{{number: 80, name: http, protocol: HTTP}}], \
             endpoints: [{{address: 10.0.0.{at}}}]}}"
        )
    };
    hosts
        .iter()
        .enumerate()
        .map(entry)
        .collect::<Vec<_>>()
        .join("\n---\n")
}

#[test]
fn a_host_is_served_by_its_own_name_before_the_longest_wildcard() {
    let mesh = mesh(&entries(&[
        "a/*.com",
        "a/*.example.com",
        "a/api.example.com",
    ]));
    let viewer = viewer("a", &[]);

    for (host, expected) in [
        ("api.example.com", Some("api.example.com")),
        ("www.example.com", Some("*.example.com")),
        ("other.com", Some("*.com")),
        ("com", None),
    ] {
        let found = mesh
            .service(&viewer, host)
            .map(|service| service.host.as_str());

        assert_eq!(found, expected, "{host}");
    }
}

#[test]
fn what_is_not_exported_is_not_found() {
    let mesh = mesh(
        "kind: ServiceEntry\nmetadata: {name: own, namespace: a}\n\
         spec: {hosts: [own.com], exportTo: ['.'], ports: [{number: 80, name: http}]}\n---\n\
         kind: ServiceEntry\nmetadata: {name: shared, namespace: a}\n\
         spec: {hosts: [shared.com], exportTo: ['b'], ports: [{number: 80, name: http}]}",
    );

    assert_eq!(hosts(mesh.visible_services(&viewer("a", &[]))), ["own.com"]);
    assert_eq!(
        hosts(mesh.visible_services(&viewer("b", &[]))),
        ["shared.com"]
    );
    assert!(mesh.service(&viewer("b", &[]), "own.com").is_none());
}

#[test]
fn a_sidecar_restricts_services_to_its_egress_hosts() {
    let sidecar = "\n---\nkind: Sidecar\nmetadata: {name: default, namespace: a}\n\
                   spec: {egress: [{hosts: ['./*', 'b/two.com', '~/*']}]}";
    let mesh = mesh(&(entries(&["a/one.com", "b/two.com", "b/three.com", "c/four.com"]) + sidecar));

    assert_eq!(
        hosts(mesh.visible_services(&viewer("a", &[]))),
        ["one.com", "two.com"]
    );
    assert_eq!(hosts(mesh.visible_services(&viewer("b", &[]))).len(), 4);
    assert!(mesh.service(&viewer("a", &[]), "three.com").is_none());
    assert!(
        mesh.gateway_service(&viewer("a", &[]), "three.com")
            .is_some()
    );
}

#[test]
fn routes_in_scope_of_a_sidecar_bring_their_destinations_along() {
    let more = "\n---\nkind: Sidecar\nmetadata: {name: default, namespace: a}\n\
                spec: {egress: [{hosts: ['./one.com']}]}\n---\n\
                kind: VirtualService\nmetadata: {name: split, namespace: a}\n\
                spec: {hosts: [one.com], http: [{route: [{destination: {host: two.com}}]}]}\n---\n\
                kind: VirtualService\nmetadata: {name: unseen, namespace: b}\n\
                spec: {hosts: [two.com], http: [{route: [{destination: {host: three.com}}]}]}";
    let mesh = mesh(&(entries(&["a/one.com", "b/two.com", "b/three.com"]) + more));
    let viewer = viewer("a", &[]);

    assert_eq!(hosts(mesh.visible_services(&viewer)), ["one.com"]);
    assert!(mesh.service(&viewer, "two.com").is_some());
    assert!(mesh.service(&viewer, "three.com").is_none());
    assert_eq!(names(&mesh.mesh_routes(&viewer)), ["a/split"]);
}

#[test]
fn an_egress_listener_with_a_port_imports_what_has_the_port() {
    let sidecar = "\n---\nkind: Sidecar\nmetadata: {name: default, namespace: a}\n\
                   spec: {egress: [{port: {number: 80, name: http, protocol: HTTP}, \
                   hosts: ['*/*']}, {port: {number: 81, name: http, protocol: HTTP}, \
                   hosts: ['*/*']}]}";
    let mesh = mesh(&(entries(&["a/one.com"]) + sidecar));
    let viewer = viewer("a", &[]);
    let Spec::Sidecar(sidecar) = &mesh.sidecar(&viewer).expect("sidecar").spec else {
        panic!("no sidecar");
    };

    let imported =
        |at: usize| -> Vec<&str> { hosts(mesh.egress_services(&viewer, &sidecar.egress[at])) };

    assert_eq!(imported(0), ["one.com"]);
    assert_eq!(imported(1), [""; 0]);
    assert_eq!(
        hosts(mesh.visible_services(&viewer)),
        [""; 0],
        "no listener without port"
    );
    assert!(mesh.service(&viewer, "one.com").is_some());
}

#[test]
fn a_sidecar_without_egress_inherits_the_next_wider_one() {
    let sidecars = "\n---\nkind: Sidecar\nmetadata: {name: root, namespace: istio-system}\n\
                    spec: {egress: [{hosts: ['./*']}]}\n---\n\
                    kind: Sidecar\nmetadata: {name: own, namespace: a}\n\
                    spec: {workloadSelector: {labels: {app: x}}}";
    let mesh = mesh(&(entries(&["a/one.com", "b/two.com"]) + sidecars));

    assert_eq!(
        hosts(mesh.visible_services(&viewer("a", &["app=x"]))),
        ["one.com"]
    );
    assert_eq!(hosts(mesh.visible_services(&viewer("b", &[]))), ["two.com"]);
}

#[test]
fn of_services_for_one_host_the_own_namespace_is_imported_and_the_oldest_seen() {
    let entries = entries(&["a/one.com", "b/one.com"]);
    let sidecar = "\n---\nkind: Sidecar\nmetadata: {name: default, namespace: b}\n\
                   spec: {egress: [{hosts: ['*/*']}]}";
    let namespace = |mesh: &Mesh| {
        mesh.service(&viewer("b", &[]), "one.com")
            .map(|service| service.namespace.clone())
    };

    assert_eq!(namespace(&mesh(&entries)).as_deref(), Some("a"));
    assert_eq!(
        namespace(&mesh(&(entries.clone() + sidecar))).as_deref(),
        Some("b")
    );
}

#[test]
fn a_sidecar_for_the_workload_goes_before_the_namespace_and_the_root() {
    let mesh = mesh(
        "kind: Sidecar\nmetadata: {name: root, namespace: istio-system}\nspec: {}\n---\n\
         kind: Sidecar\nmetadata: {name: whole, namespace: a}\nspec: {}\n---\n\
         kind: Sidecar\nmetadata: {name: special, namespace: a}\n\
         spec: {workloadSelector: {labels: {app: x}}}",
    );

    for (viewer, expected) in [
        (viewer("a", &["app=x", "version=v1"]), "special"),
        (viewer("a", &["app=y"]), "whole"),
        (viewer("b", &["app=x"]), "root"),
    ] {
        let found = mesh
            .sidecar(&viewer)
            .map(|sidecar| sidecar.meta.name.as_str());

        assert_eq!(found, Some(expected), "{viewer:?}");
    }
}

#[test]
fn a_proxy_without_labels_opens_every_gateway() {
    let mesh = mesh(
        "kind: Gateway\nmetadata: {name: edge, namespace: a}\nspec: {selector: {istio: edge}}\n---\n\
         kind: Gateway\nmetadata: {name: open, namespace: b}\nspec: {}",
    );
    let names = |labels: &[&str]| -> Vec<String> {
        let viewer = viewer("c", labels);
        mesh.gateways(&viewer)
            .iter()
            .map(|gateway| gateway.meta.name.clone())
            .collect()
    };

    assert_eq!(names(&[]), ["edge", "open"]);
    assert_eq!(names(&["istio=edge"]), ["edge", "open"]);
    assert_eq!(names(&["istio=inner"]), ["open"]);
}

#[test]
fn the_next_generation_shares_routes_that_did_not_change() {
    let text = "kind: VirtualService\nmetadata: {name: root}\n\
                spec: {hosts: [a.com], http: [{delegate: {name: part}}]}\n---\n\
                kind: VirtualService\nmetadata: {name: part}\n\
                spec: {http: [{route: [{destination: {host: a.com}}]}]}\n---\n\
                kind: VirtualService\nmetadata: {name: simple}\n\
                spec: {hosts: [b.com], http: [{route: [{destination: {host: b.com}}]}]}";
    let mut resources = fixture::resources(text);
    let viewer = viewer("default", &[]);
    let first = Mesh::new(&resources, MeshSettings::default());
    let before = first.mesh_routes(&viewer);

    resources[1] = Arc::new(Resource::clone(&resources[1]));
    let after = first.next(&resources).mesh_routes(&viewer);

    assert!(!Arc::ptr_eq(&before[0], &after[0]), "its delegate changed");
    assert!(Arc::ptr_eq(&before[1], &after[1]), "nothing changed");
}

/// A proxy on its own has no Kubernetes services: its files name everything by short names.
#[test]
fn a_service_entry_with_a_short_host_is_met_by_short_references_of_its_namespace() {
    let rules = "\n---\nkind: VirtualService\nmetadata: {name: v, namespace: a}\n\
                 spec: {hosts: [hello], http: [{route: [{destination: {host: hello, subset: v1}}]}]}\
                 \n---\nkind: DestinationRule\nmetadata: {name: d, namespace: a}\n\
                 spec: {host: hello, subsets: [{name: v1, labels: {version: v1}}]}";
    let mesh = mesh(&(entries(&["a/hello", "b/hello"]) + rules));
    let viewer = viewer("a", &[]);

    let routes = mesh.mesh_routes(&viewer);
    let destination = routes[0].destination_hosts().next().expect("a destination");
    let service = mesh.service(&viewer, destination).expect("a service");

    assert_eq!(routes[0].hosts, ["hello.a.svc.cluster.local"]);
    assert_eq!(
        (service.host.as_str(), service.namespace.as_str()),
        ("hello", "a")
    );
    assert_eq!(
        mesh.resolve(&service.host, &service.namespace),
        routes[0].hosts[0],
        "what the service is called by routes"
    );
    for host in [destination, "hello"] {
        let policy = mesh.policy(&viewer, host, Some("a"));
        assert!(policy.subset("v1").is_some(), "{host}");
    }
    assert!(mesh.policy(&viewer, "hello", None).subset("v1").is_some());
    assert!(mesh.any_policy("a", service).subset("v1").is_some());
}

#[test]
fn a_short_host_of_another_namespace_or_none_is_not_met() {
    let mesh = mesh(&entries(&[
        "a/hello",
        "a/*.svc.cluster.local",
        "b/full.com",
    ]));
    let viewer = viewer("b", &[]);
    let found = |host: &str| mesh.service(&viewer, host).map(|it| it.host.as_str());

    assert_eq!(found("hello.a.svc.cluster.local"), Some("hello"));
    assert_eq!(
        found("hello.b.svc.cluster.local"),
        Some("*.svc.cluster.local")
    );
    assert_eq!(found("hello.a"), None);
    assert_eq!(
        found("full.b.svc.cluster.local"),
        Some("*.svc.cluster.local")
    );
    assert!(mesh.has_service("hello.a.svc.cluster.local"));
    assert!(!mesh.has_service("hello.b.svc.cluster.local"));
}

#[test]
fn a_short_host_is_in_the_scope_of_a_sidecar_whose_routes_lead_to_it() {
    let rest = "\n---\nkind: VirtualService\nmetadata: {name: v, namespace: a}\n\
                spec: {hosts: [front.com], http: [{route: [{destination: {host: hello}}]}]}\n---\n\
                kind: Sidecar\nmetadata: {name: default, namespace: a}\n\
                spec: {egress: [{hosts: ['*/front.com']}]}";
    let mesh = mesh(&(entries(&["a/hello", "a/hidden"]) + rest));
    let viewer = viewer("a", &[]);

    for host in ["hello", "hello.a.svc.cluster.local"] {
        assert!(mesh.service(&viewer, host).is_some(), "{host}");
    }
    assert!(mesh.service(&viewer, "hidden").is_none());
}
