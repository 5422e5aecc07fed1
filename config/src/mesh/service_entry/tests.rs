//! What `ServiceEntry` and `WorkloadEntry` come to.

use crate::mesh::fixture::mesh;
use crate::mesh::{Endpoint, Location, Mesh, Protocol, Resolution, Service};

fn entry(spec: &str) -> String {
    format!("kind: ServiceEntry\nmetadata: {{name: entry}}\nspec: {{{spec}}}")
}

fn only(mesh: &Mesh) -> &Service {
    let services: Vec<_> = mesh.services().collect();
    assert_eq!(services.len(), 1, "{services:?}");
    services[0]
}

/// `address service=target …` of each endpoint.
fn targets(service: &Service) -> Vec<String> {
    let line = |endpoint: &Endpoint| {
        let ports: Vec<String> = endpoint
            .ports
            .iter()
            .map(|(port, target)| format!(" {port}={target}"))
            .collect();
        format!("{:?}{}", endpoint.address, ports.concat())
    };
    service.endpoints.iter().map(line).collect()
}

#[test]
fn an_endpoint_takes_its_own_port_then_the_target_port_then_the_number() {
    let mesh = mesh(&entry(
        "hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}, \
         {number: 90, name: other, targetPort: 9090}, {number: 53, name: udp, protocol: UDP}], \
         endpoints: [{address: 10.0.0.1, ports: {http: 8080}}, {address: 10.0.0.2}, \
         {address: 'unix:///run/a.sock'}, {network: elsewhere}]",
    ));

    let service = only(&mesh);

    assert_eq!(
        targets(service),
        [
            "Ip(10.0.0.1) 80=8080 90=9090",
            "Ip(10.0.0.2) 80=80 90=9090",
            "Unix(\"/run/a.sock\") 80=80 90=9090",
        ]
    );
    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| (port.number, port.protocol))
        .collect();
    assert_eq!(ports, [(80, Protocol::Http), (90, Protocol::Auto)]);
    assert_eq!(service.location, Location::Outside);
}

#[test]
fn resolution_says_where_addresses_come_from() {
    for (spec, resolution, endpoints) in [
        ("hosts: [a.com]", Resolution::OriginalDestination, vec![]),
        (
            "hosts: [a.com], resolution: STATIC",
            Resolution::Static,
            vec![],
        ),
        (
            "hosts: [a.com], resolution: DNS",
            Resolution::Dns,
            vec!["Name(\"a.com\") 80=80"],
        ),
        (
            "hosts: [a.com], resolution: DNS, endpoints: [{address: b.com}]",
            Resolution::Dns,
            vec!["Name(\"b.com\") 80=80"],
        ),
        (
            "hosts: [a.com], resolution: DNS_ROUND_ROBIN",
            Resolution::DnsRoundRobin,
            vec!["Name(\"a.com\") 80=80"],
        ),
        (
            "hosts: ['*.a.com'], resolution: DYNAMIC_DNS",
            Resolution::DynamicDns,
            vec![],
        ),
    ] {
        let mesh = mesh(&entry(&format!(
            "{spec}, ports: [{{number: 80, name: http}}]"
        )));

        assert_eq!(only(&mesh).resolution, resolution, "{spec}");
        assert_eq!(targets(only(&mesh)), endpoints, "{spec}");
    }
}

#[test]
fn what_an_endpoint_is_comes_from_its_fields_and_labels() {
    let mesh = mesh(&entry(
        "hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http}], endpoints: [\
         {address: 10.0.0.1, weight: 0, serviceAccount: sa, network: n, \
         labels: {app: x, istio-locality: region.zone}}, \
         {address: 10.0.0.2, weight: 7, locality: r/z/s}]",
    ));

    let [first, second] = &only(&mesh).endpoints[..] else {
        panic!("two endpoints");
    };

    assert_eq!((first.weight, second.weight), (1, 7));
    assert_eq!(first.locality.as_deref(), Some("region/zone"));
    assert_eq!(second.locality.as_deref(), Some("r/z/s"));
    assert_eq!(first.workload.as_deref(), Some("x"));
    assert_eq!(first.service_account.as_deref(), Some("sa"));
    assert_eq!(first.network.as_deref(), Some("n"));
    assert!(first.ready && second.ready);
}

#[test]
fn a_selector_selects_workload_entries_of_its_namespace() {
    let workload = |name: &str, namespace: &str, labels: &str| {
        format!(
            "\n---\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: {namespace}, \
             labels: {{tier: a}}}}\n\
             spec: {{address: 10.0.0.1, labels: {labels}, ports: {{http: 81}}}}"
        )
    };
    let text = entry(
        "hosts: [a.com], resolution: STATIC, ports: [{number: 80, name: http}], \
         workloadSelector: {labels: {app: x, tier: a}}",
    ) + &workload("in", "default", "{app: x, tier: b}")
        + &workload("other-app", "default", "{app: y}")
        + &workload("other-namespace", "elsewhere", "{app: x}");
    let mesh = mesh(&text);

    let service = only(&mesh);

    assert_eq!(targets(service), ["Ip(10.0.0.1) 80=81"]);
    assert_eq!(service.endpoints[0].workload.as_deref(), Some("in"));
    assert_eq!(
        service.endpoints[0].labels["tier"], "a",
        "labels of the resource go first"
    );
    assert_eq!(service.sources.len(), 2);
}

#[test]
fn entries_for_one_host_in_one_namespace_are_one_service() {
    let one = |name: &str, namespace: &str, port: u16, address: &str| {
        format!(
            "kind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{hosts: [a.com], resolution: STATIC, \
             ports: [{{number: {port}, name: p{port}}}], endpoints: [{{address: {address}}}]}}"
        )
    };
    let mesh = mesh(
        &[
            one("a", "x", 80, "10.0.0.1"),
            one("b", "x", 90, "10.0.0.1"),
            one("c", "x", 80, "10.0.0.2"),
            one("d", "y", 80, "10.0.0.3"),
        ]
        .join("\n---\n"),
    );

    let services: Vec<_> = mesh.services().collect();

    assert_eq!(services.len(), 2);
    assert_eq!(
        targets(services[0]),
        ["Ip(10.0.0.1) 80=80 90=90", "Ip(10.0.0.2) 80=80"]
    );
    assert_eq!(services[0].ports.len(), 2);
    assert_eq!(services[0].sources.len(), 3);
    assert_eq!(targets(services[1]), ["Ip(10.0.0.3) 80=80"]);
}
