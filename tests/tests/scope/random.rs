//! Meshes at random, of few names, so that everything meets everything.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Hosts as resources write them.
const WRITTEN: [&str; 12] = [
    "a",
    "b",
    "a.default.svc.cluster.local",
    "b.shop.svc.cluster.local",
    "c.shop.svc.cluster.local",
    "one.example.com",
    "two.example.com",
    "One.Example.com",
    "*.example.com",
    "*.Example.com",
    "*.svc.cluster.local",
    "*",
];

fn namespace() -> impl Strategy<Value = &'static str> {
    select(vec!["default", "shop", "istio-system"])
}

fn export() -> impl Strategy<Value = &'static str> {
    select(vec!["[]", "['*']", "['.']", "[shop]", "[default]"])
}

/// A host that is one thing.
fn single() -> impl Strategy<Value = &'static str> {
    select(WRITTEN[..8].to_vec())
}

fn written() -> impl Strategy<Value = &'static str> {
    select(WRITTEN.to_vec())
}

fn created() -> impl Strategy<Value = String> {
    (0..3_u32).prop_map(|second| format!("\"2024-01-01T00:00:0{second}Z\""))
}

fn head(kind: &str, name: &str, namespace: &str, created: &str) -> String {
    let group = match kind {
        "PeerAuthentication" => "security.istio.io/v1",
        "Service" => "v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        _ => "networking.istio.io/v1",
    };
    format!(
        "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}, \
         creationTimestamp: {created}}}\n"
    )
}

/// Kubernetes services with their slices.
fn service() -> impl Strategy<Value = Vec<String>> {
    let name = select(vec!["a", "b", "c"]);
    let port = select(vec!["{name: http, port: 80}", "{name: tcp, port: 9000}"]);
    let ip = select(vec!["10.1.0.1", "10.1.0.2", "10.1.0.3", "None"]);
    (name, select(vec!["default", "shop"]), port, ip, 1..4_u8).prop_map(
        |(name, namespace, port, ip, last)| {
            let service = format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                 spec: {{clusterIP: {ip}, selector: {{app: {name}}}, ports: [{port}]}}"
            );
            let target = port.replace("port: 80", "port: 8080");
            let slice = format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{name: {name}-1, namespace: {namespace}, \
                 labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
                 ports: [{target}]\nendpoints:\n\
                 - {{addresses: [10.0.0.{last}], labels: {{app: {name}, version: v1, \
                 security.istio.io/tlsMode: istio}}}}\n\
                 - {{addresses: [10.0.1.{last}], labels: {{app: {name}, version: v2}}}}"
            );
            vec![service, slice]
        },
    )
}

fn route() -> impl Strategy<Value = String> {
    let destination = (single(), select(vec!["", ", subset: v1", ", subset: v2"]))
        .prop_map(|(host, subset)| format!("{{host: {host}{subset}, port: {{number: 80}}}}"));
    let opaque = single().prop_map(|host| {
        format!("  tcp:\n  - route: [{{destination: {{host: {host}, port: {{number: 9000}}}}}}]\n")
    });
    let http = (vec(destination, 1..3), any::<bool>(), any::<bool>()).prop_map(
        |(mut destinations, mirrored, conditional)| {
            let last = destinations.pop().unwrap_or_default();
            let mut rule = format!("  http:\n  - route: [{{destination: {last}}}]\n");
            if let Some(first) = destinations.first().filter(|_| mirrored) {
                rule += &format!("    mirror: {first}\n");
            }
            if conditional {
                rule += "    match: [{uri: {prefix: /x}}]\n  - delegate: {name: part}\n";
            }
            rule
        },
    );
    let gateways = select(vec![
        "",
        "  gateways: [shop/edge]\n",
        "  gateways: [mesh, shop/edge]\n",
    ]);
    let rules = prop_oneof![3 => http, 1 => opaque];
    let names = (0..6_u8, namespace(), created());
    (names, vec(written(), 1..3), gateways, export(), rules).prop_map(
        |((number, namespace, created), hosts, gateways, export, rules)| {
            let head = head("VirtualService", &format!("v{number}"), namespace, &created);
            let hosts: Vec<String> = hosts.iter().map(|it| format!("'{it}'")).collect();
            let hosts = hosts.join(", ");
            format!("{head}spec:\n  hosts: [{hosts}]\n  exportTo: {export}\n{gateways}{rules}")
        },
    )
}

fn delegate() -> impl Strategy<Value = String> {
    (namespace(), created(), single()).prop_map(|(namespace, created, host)| {
        let head = head("VirtualService", "part", namespace, &created);
        format!("{head}spec: {{http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}")
    })
}

fn rule() -> impl Strategy<Value = String> {
    let selector = select(vec!["", ", workloadSelector: {matchLabels: {app: web}}"]);
    let other = select(vec!["", ", workloadSelector: {matchLabels: {app: other}}"]);
    let policy = select(vec!["{}", "{loadBalancer: {simple: RANDOM}}"]);
    let names = (0..6_u8, namespace(), created());
    (
        names,
        written(),
        export(),
        prop_oneof![selector, other],
        policy,
    )
        .prop_map(
            |((number, namespace, created), host, export, selector, policy)| {
                let head = head(
                    "DestinationRule",
                    &format!("r{number}"),
                    namespace,
                    &created,
                );
                format!(
                    "{head}spec: {{host: '{host}', exportTo: {export}, trafficPolicy: {policy}, \
                 subsets: [{{name: v{}, labels: {{version: v1}}}}]{selector}}}",
                    number % 2 + 1
                )
            },
        )
}

fn entry() -> impl Strategy<Value = String> {
    let port = select(vec![
        "{number: 80, name: http, protocol: HTTP}",
        "{number: 9000, name: tcp, protocol: TCP}",
        "{number: 443, name: tls, protocol: TLS}",
    ]);
    let rest = select(vec![
        "resolution: STATIC, endpoints: [{address: 10.7.0.1}]",
        "resolution: STATIC, addresses: [10.9.0.0/24], endpoints: [{address: 10.7.0.2}]",
        "resolution: STATIC, workloadSelector: {labels: {app: db}}",
        "resolution: NONE",
        "resolution: NONE, addresses: [10.9.0.7]",
    ]);
    let names = (0..6_u8, namespace(), created());
    (
        names,
        vec(select(WRITTEN[..11].to_vec()), 1..3),
        export(),
        port,
        rest,
    )
        .prop_map(
            |((number, namespace, created), hosts, export, port, rest)| {
                let head = head("ServiceEntry", &format!("e{number}"), namespace, &created);
                let hosts: Vec<String> = hosts.iter().map(|it| format!("'{it}'")).collect();
                let hosts = hosts.join(", ");
                format!(
                    "{head}spec: {{hosts: [{hosts}], exportTo: {export}, ports: [{port}], {rest}}}"
                )
            },
        )
}

fn workload() -> impl Strategy<Value = String> {
    (0..3_u8, namespace(), created()).prop_map(|(number, namespace, created)| {
        let head = head("WorkloadEntry", &format!("w{number}"), namespace, &created);
        format!("{head}spec: {{address: 10.8.0.{number}, labels: {{app: db, version: v1}}}}")
    })
}

fn peer_authentication() -> impl Strategy<Value = String> {
    (namespace(), created(), select(vec!["STRICT", "DISABLE"])).prop_map(
        |(namespace, created, mode)| {
            let head = head("PeerAuthentication", "default", namespace, &created);
            format!("{head}spec: {{mtls: {{mode: {mode}}}}}")
        },
    )
}

fn sidecar() -> impl Strategy<Value = String> {
    let hosts = select(vec![
        "'*/*'",
        "'./*'",
        "'./*', 'shop/*'",
        "'*/*.example.com'",
        "'*/a.default.svc.cluster.local'",
    ]);
    (namespace(), created(), hosts).prop_map(|(namespace, created, hosts)| {
        let head = head("Sidecar", "default", namespace, &created);
        format!("{head}spec: {{egress: [{{hosts: [{hosts}]}}]}}")
    })
}

fn gateway() -> impl Strategy<Value = String> {
    let hosts = select(vec!["'*'", "'./*'", "'*.example.com'", "'default/*'"]);
    (created(), hosts).prop_map(|(created, hosts)| {
        let head = head("Gateway", "edge", "shop", &created);
        format!(
            "{head}spec:\n  selector: {{app: edge}}\n  servers: \
             [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{hosts}]}}]"
        )
    })
}

/// Documents of a mesh; of two with one name the last counts.
pub(crate) fn mesh() -> impl Strategy<Value = Vec<String>> {
    let many = |one: BoxedStrategy<String>, most: usize| vec(one, 0..most);
    let services = vec(service(), 0..5).prop_map(|it| it.concat());
    (
        services,
        many(route().boxed(), 7),
        many(rule().boxed(), 6),
        many(entry().boxed(), 6),
        many(
            prop_oneof![workload(), peer_authentication(), delegate()].boxed(),
            5,
        ),
        many(sidecar().boxed(), 2),
        many(gateway().boxed(), 2),
    )
        .prop_map(
            |(services, routes, rules, entries, others, sidecars, gateways)| {
                [services, routes, rules, entries, others, sidecars, gateways].concat()
            },
        )
}
