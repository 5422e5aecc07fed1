//! What Kubernetes services and slices come to.

use super::{kubernetes, locality, workload_of_pod};
use crate::mesh::fixture::{mesh, viewer};
use crate::mesh::{Address, Location, Protocol, Resolution};

const SERVICE: &str = "\
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: reviews}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: admin, port: 90, targetPort: admin}
  - {name: dns, port: 53, protocol: UDP}
";
const HOST: &str = "reviews.shop.svc.cluster.local";

#[test]
fn a_service_is_served_by_its_slices() {
    let mesh = mesh(&format!(
        "{SERVICE}---\n\
         kind: EndpointSlice\n\
         metadata:\n  name: reviews-1\n  namespace: shop\n  labels:\n    \
         kubernetes.io/service-name: reviews\n    \
         endpointslice.kubernetes.io/managed-by: x\n    version: v1\n\
         addressType: IPv4\n\
         ports: [{{name: http, port: 8080}}, {{name: admin, port: 9000}}]\n\
         endpoints:\n\
         - {{addresses: [10.0.0.1, 10.0.0.9], zone: z1, \
         targetRef: {{kind: Pod, name: reviews-v1-6d8bc58dd7-ts8kw}}}}\n\
         - {{addresses: [10.0.0.2], conditions: {{ready: false, serving: true}}}}\n---\n\
         kind: EndpointSlice\n\
         metadata: {{name: other, namespace: else, labels: \
         {{kubernetes.io/service-name: reviews}}}}\n\
         addressType: IPv4\nendpoints: [{{addresses: [10.0.0.3]}}]"
    ));
    let service = mesh.service(&viewer("any", &[]), HOST).expect("service");

    let ports: Vec<_> = service
        .ports
        .iter()
        .map(|port| (port.number, port.protocol))
        .collect();
    assert_eq!(ports, [(80, Protocol::Http), (90, Protocol::Auto)]);
    assert_eq!(service.addresses, ["10.96.0.1"]);
    assert_eq!(
        (service.resolution, service.location),
        (Resolution::Static, Location::Inside)
    );
    let [first, second] = &service.endpoints[..] else {
        panic!("two endpoints: {:?}", service.endpoints);
    };
    assert_eq!(first.address, Address::Ip("10.0.0.1".parse().unwrap()));
    assert_eq!(
        first.ports.iter().collect::<Vec<_>>(),
        [(80, 8080), (90, 9000)]
    );
    assert_eq!(first.workload.as_deref(), Some("reviews-v1"));
    assert_eq!(first.locality.as_deref(), Some("/z1"));
    let labels: Vec<_> = first.labels.keys().collect();
    assert_eq!(labels, ["version"]);
    assert!(first.ready && !second.ready);
}

#[test]
fn a_selector_selects_workload_entries_too() {
    let mesh = mesh(&format!(
        "{SERVICE}---\n\
         kind: WorkloadEntry\nmetadata: {{name: vm, namespace: shop}}\n\
         spec: {{address: 10.1.0.1, labels: {{app: reviews}}, ports: {{admin: 9001}}}}"
    ));
    let service = mesh.service(&viewer("any", &[]), HOST).expect("service");

    assert_eq!(service.endpoints[0].workload.as_deref(), Some("vm"));
    assert_eq!(service.endpoints[0].ports.get(80), Some(8080));
    assert_eq!(service.endpoints[0].ports.get(90), Some(9001));
}

#[test]
fn an_external_name_is_resolved_by_dns() {
    let mesh = mesh(
        "kind: Service\nmetadata: {name: db, namespace: shop}\n\
         spec: {type: ExternalName, externalName: db.example.com, ports: [{port: 5432}]}",
    );
    let service = mesh
        .service(&viewer("any", &[]), "db.shop.svc.cluster.local")
        .expect("service");

    assert_eq!(
        (service.resolution, service.location),
        (Resolution::Dns, Location::Outside)
    );
    assert_eq!(
        service.endpoints[0].address,
        Address::Name("db.example.com".to_owned())
    );
    assert_eq!(service.endpoints[0].ports.get(5432), Some(5432));
}

#[test]
fn the_protocol_is_declared_or_follows_from_name_and_number() {
    for (port, expected) in [
        ("port: 80, name: http-web", Protocol::Http),
        ("port: 80, name: grpc", Protocol::Grpc),
        ("port: 80, name: grpc-web-x", Protocol::GrpcWeb),
        ("port: 80, name: grpc-website", Protocol::Grpc),
        ("port: 80, name: http2", Protocol::Http2),
        ("port: 80, name: httpx", Protocol::Auto),
        ("port: 80, name: tcp, appProtocol: http", Protocol::Http),
        (
            "port: 80, name: http, appProtocol: kubernetes.io/h2c",
            Protocol::Http2,
        ),
        (
            "port: 80, name: http, appProtocol: example.com/x",
            Protocol::Auto,
        ),
        ("port: 3306", Protocol::Tcp),
        ("port: 3306, name: http-x", Protocol::Http),
        ("port: 80", Protocol::Auto),
    ] {
        let mesh = mesh(&format!(
            "kind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{{{port}}}]}}"
        ));
        let service = mesh.services().next().expect("service");

        assert_eq!(service.ports[0].protocol, expected, "{port}");
    }
}

#[test]
fn a_service_entry_cannot_take_the_name_of_a_kubernetes_service() {
    let entry = |namespace: &str| {
        format!(
            "---\nkind: ServiceEntry\nmetadata: {{name: more, namespace: {namespace}}}\n\
             spec: {{hosts: [{HOST}], resolution: STATIC, ports: [{{number: 1, name: p}}], \
             endpoints: [{{address: 10.9.9.9}}], subjectAltNames: [san-{namespace}]}}\n"
        )
    };
    let mesh = mesh(&format!("{SERVICE}{}{}", entry("shop"), entry("thief")));

    let service = mesh.service(&viewer("thief", &[]), HOST).expect("service");

    assert_eq!(mesh.services().count(), 1);
    assert_eq!(service.namespace, "shop");
    assert_eq!(service.subject_alt_names, ["san-shop"]);
    assert!(service.endpoints.is_empty());
}

#[test]
fn the_annotation_says_to_whom_a_service_is_exported() {
    let mesh = mesh(
        "kind: Service\nmetadata: {name: a, namespace: shop, \
         annotations: {networking.istio.io/exportTo: '., other'}}\nspec: {clusterIP: None}",
    );
    let host = "a.shop.svc.cluster.local";

    assert!(
        mesh.service(&viewer("shop", &[]), host)
            .is_some_and(|service| service.headless)
    );
    assert!(mesh.service(&viewer("other", &[]), host).is_some());
    assert!(mesh.service(&viewer("third", &[]), host).is_none());
}

#[test]
fn the_workload_of_a_pod_is_what_made_it() {
    for (pod, expected) in [
        ("reviews-v1-6d8bc58dd7-ts8kw", "reviews-v1"),
        ("web-0", "web"),
        ("web-12", "web"),
        ("agent-x7k2p", "agent"),
        ("single", "single"),
        ("my-pod", "my-pod"),
        ("a-hello", "a-hello"),
    ] {
        assert_eq!(workload_of_pod(pod), expected, "{pod}");
    }
}

#[test]
fn a_subzone_is_known_from_the_labels_of_the_node() {
    let topology = [
        ("topology.kubernetes.io/region", "r"),
        ("topology.istio.io/subzone", "s"),
    ];
    let endpoint = kubernetes::SliceEndpoint {
        zone: Some("z".to_owned()),
        deprecated_topology: topology.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..kubernetes::SliceEndpoint::default()
    };

    assert_eq!(locality(&endpoint).as_deref(), Some("r/z/s"));
}
