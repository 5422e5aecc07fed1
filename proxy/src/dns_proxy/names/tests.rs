use config::mesh::MeshSettings;
use config::resource::Resource;

use super::*;

/// A service of each kind.
const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: other}
spec: {clusterIPs: [10.96.0.2, 'fd00::2'], ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, ports: [{name: tcp, port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints:
- {addresses: [10.1.0.1], hostname: db-0}
- {addresses: [10.1.0.2], hostname: db-1, conditions: {ready: false}}
ports: [{name: tcp, port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: www.test, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: written, namespace: shop}
spec:
  hosts: [API.written.test]
  addresses: [10.2.0.1/32, 10.3.0.0/16, 'fd00:2::1']
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: allotted, namespace: shop}
spec:
  hosts: [allotted.test]
  resolution: DNS
  ports: [{number: 5432, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: shop}
spec:
  hosts: ['*.wild.test']
  addresses: [10.4.0.1]
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wilder, namespace: shop}
spec:
  hosts: ['*.very.wild.test']
  addresses: [10.4.0.2]
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: range, namespace: shop}
spec:
  hosts: [range.test]
  addresses: [10.5.0.0/16]
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hidden, namespace: other}
spec:
  hosts: [hidden.test]
  exportTo: ['.']
  addresses: [10.6.0.1]
  ports: [{number: 443, name: tls, protocol: TLS}]
";

fn resources(yaml: &str) -> Vec<Arc<Resource>> {
    let loaded = config::load::parse("test.yaml", yaml, "default");
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    loaded.resources
}

fn compile(yaml: &str, families: Families) -> Names {
    let mesh = Mesh::new(&resources(yaml), MeshSettings::default());
    let viewer = Viewer {
        namespace: "shop".to_owned(),
        ..Viewer::default()
    };
    Names::compile(&mesh, &viewer, families)
}

/// The addresses of a name, in the order of answers.
fn found(names: &Names, name: &str) -> Option<Vec<String>> {
    let addresses = names.find(name)?;
    let v4 = addresses.v4.iter().map(ToString::to_string);
    let v6 = addresses.v6.iter().map(ToString::to_string);
    Some(v4.chain(v6).collect())
}

#[test]
fn a_service_is_found_by_every_name_that_resolvers_try() {
    let names = compile(MESH, Families::BOTH);

    for name in [
        "reviews",
        "reviews.shop",
        "reviews.shop.svc",
        "reviews.shop.svc.cluster.local",
        "reviews.shop.svc.cluster.local",
        "reviews.shop.shop.svc.cluster.local",
        "reviews.shop.svc.shop.svc.cluster.local",
        "reviews.shop.svc.svc.cluster.local",
        "reviews.shop.svc.cluster.local.shop.svc.cluster.local",
        "reviews.shop.svc.cluster.local.cluster.local",
    ] {
        let addresses = found(&names, name);
        assert_eq!(addresses, Some(vec!["10.96.0.1".to_owned()]), "{name}");
    }
    for name in [
        "reviews.other",
        "reviews.other.svc",
        "reviews.other.svc.cluster.local",
        "reviews.other.shop.svc.cluster.local",
    ] {
        let addresses = found(&names, name).expect("it is there");
        assert_eq!(addresses, ["10.96.0.2", "fd00::2"], "{name}");
    }
}

#[test]
fn names_of_nobody_are_not_found() {
    let names = compile(MESH, Families::BOTH);

    for name in [
        "",
        "shop",
        "svc.cluster.local",
        "cluster.local",
        "ratings",
        "reviews.nowhere",
        "reviews.nowhere.svc.cluster.local",
        "reviews.shop.svc.cluster.other",
        "xreviews.shop.svc.cluster.local",
        "a.reviews.shop.svc.cluster.local",
        // Known, but not by an address.
        "outside",
        "range.test",
        // Of another namespace, which keeps it for itself.
        "hidden.test",
        &"a.".repeat(200),
    ] {
        assert_eq!(found(&names, name), None, "{name}");
    }
}

#[test]
fn entries_are_found_at_their_addresses_or_those_that_were_allotted() {
    let names = compile(MESH, Families::BOTH);

    let written = found(&names, "api.written.test").expect("it is there");
    assert_eq!(written, ["10.2.0.1", "fd00:2::1"]);
    for name in ["allotted.test", "allotted.test.shop.svc.cluster.local"] {
        let addresses = names.find(name).expect("it is there");
        assert_eq!(addresses.source, Source::Allotted);
        assert_eq!(addresses.v4[0].octets()[..2], [240, 240]);
        assert_eq!(addresses.v6[0].segments()[..3], [0x2001, 2, 0]);
    }
}

#[test]
fn addresses_are_allotted_only_of_families_that_the_host_has() {
    let v6 = Families {
        v4: false,
        v6: true,
    };
    let names = compile(MESH, v6);

    let addresses = names.find("allotted.test").expect("it is there");
    assert!(addresses.v4.is_empty());
    assert_eq!(addresses.v6.len(), 1);
    // What is written stays as it is.
    assert_eq!(found(&names, "reviews"), Some(vec!["10.96.0.1".to_owned()]));
}

#[test]
fn headless_services_are_their_ready_endpoints_and_each_pod_has_its_name() {
    let names = compile(MESH, Families::BOTH);

    assert_eq!(found(&names, "db"), Some(vec!["10.1.0.1".to_owned()]));
    assert_eq!(
        names.find("db").map(|it| it.source),
        Some(Source::Endpoints)
    );
    for (name, address) in [
        ("db-0.db", "10.1.0.1"),
        ("db-0.db.shop.svc.cluster.local", "10.1.0.1"),
        ("db-1.db.shop", "10.1.0.2"),
    ] {
        let addresses = found(&names, name);
        assert_eq!(addresses, Some(vec![address.to_owned()]), "{name}");
    }
    assert_eq!(found(&names, "db-2.db"), None);
}

#[test]
fn the_longest_wildcard_counts_and_none_before_a_name() {
    let exact = "
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: exact, namespace: shop}
spec:
  hosts: [exact.wild.test]
  addresses: [10.4.0.3]
  ports: [{number: 443, name: tls, protocol: TLS}]
";
    let names = compile(&format!("{MESH}{exact}"), Families::BOTH);

    for (name, address) in [
        ("a.wild.test", Some("10.4.0.1")),
        ("a.b.wild.test", Some("10.4.0.1")),
        ("a.wild.test.svc.cluster.local", Some("10.4.0.1")),
        ("very.wild.test", Some("10.4.0.1")),
        ("a.very.wild.test", Some("10.4.0.2")),
        ("exact.wild.test", Some("10.4.0.3")),
        ("wild.test", None),
        (".wild.test", None),
    ] {
        let addresses = address.map(|it| vec![it.to_owned()]);
        assert_eq!(found(&names, name), addresses, "{name}");
    }
}

#[test]
fn a_sidecar_narrows_what_is_found() {
    let sidecar = "
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec: {egress: [{hosts: ['./*']}]}
";
    let names = compile(&format!("{MESH}{sidecar}"), Families::BOTH);

    assert!(names.find("reviews").is_some());
    assert!(names.find("reviews.other").is_none());
}
