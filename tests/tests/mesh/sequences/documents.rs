//! Documents at random, of few names, hosts and values, so that everything meets everything.

mod routing;

use std::net::SocketAddr;

use config::load::parse;
use fastrand::Rng;

/// Namespaces that documents are in; the last is the one whose policies are everybody's.
const NAMESPACES: [&str; 3] = ["default", "shop", "istio-system"];
/// Hosts as resources write them.
const WRITTEN: [&str; 11] = [
    "a",
    "b",
    "a.default.svc.cluster.local",
    "b.shop.svc.cluster.local",
    "c.shop.svc.cluster.local",
    "one.example.com",
    "two.example.com",
    "Mixed.Example.com",
    "*.example.com",
    "*.Example.com",
    "*.svc.cluster.local",
];
/// How many of them, the first ones, are one host each.
const SINGLE: usize = 8;
/// What the name of a policy of limits has behind that of its target.
pub(super) const LIMITS: &str = "-limits";
/// How often one is made again that turned out to be no good.
const TRIES_MAX: usize = 100;
/// What a document may be. What stands here more than once it is more often.
const KINDS: [fn(&mut Rng, &Backends) -> Document; 16] = [
    service,
    slice,
    slice,
    entry,
    entry,
    workload,
    routing::routes,
    routing::routes,
    routing::routes,
    routing::delegate,
    routing::rule,
    routing::rule,
    policy,
    mutual,
    limits,
    settings,
];

/// A document, and which one it is: another of the same kind, namespace and name takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) text: String,
}

/// Where services are: an address for each of two versions.
pub(super) type Backends = [SocketAddr; 2];

/// A document that is good.
pub(super) fn document(rng: &mut Rng, backends: &Backends) -> Document {
    for _ in 0..TRIES_MAX {
        let document = one_of(rng, &KINDS)(rng, backends);
        if !parse("mesh.yaml", &document.text, "default").has_errors() {
            return document;
        }
    }
    panic!("no good document in {TRIES_MAX}");
}

/// One of several.
pub(super) fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

// === impl Document ===

impl Document {
    /// One of these lines after its metadata, which may say more than a name.
    pub(super) fn new(
        (kind, namespace, name): (&'static str, &str, String),
        metadata: &str,
        lines: &str,
    ) -> Self {
        let group = match kind {
            "AuthorizationPolicy" | "PeerAuthentication" => "security.istio.io/v1",
            "Service" | "ConfigMap" => "v1",
            "EndpointSlice" => "discovery.k8s.io/v1",
            "RateLimitPolicy" => "policy.meshproxy.io/v1alpha1",
            _ => "networking.istio.io/v1",
        };
        let text = format!(
            "apiVersion: {group}\nkind: {kind}\n\
             metadata: {{name: {name}, namespace: {namespace}{metadata}}}\n{lines}\n"
        );
        Self {
            kind,
            namespace: namespace.to_owned(),
            name,
            text,
        }
    }

    /// The same under another name.
    pub(super) fn renamed(&self, name: &str) -> Self {
        let before = format!("name: {}, namespace", self.name);
        let now = format!("name: {name}, namespace");
        Self {
            name: name.to_owned(),
            text: self.text.replacen(&before, &now, 1),
            ..self.clone()
        }
    }

    /// Whether another one would take its place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let id = |it: &Self| (it.kind, it.namespace.clone(), it.name.clone());
        id(self) == id(other)
    }
}

fn namespace(rng: &mut Rng) -> &'static str {
    one_of(rng, &NAMESPACES)
}

/// A time of creation, or none: who is older wins.
fn created(rng: &mut Rng) -> String {
    match rng.u8(0..4) {
        0 => String::new(),
        second => format!(", creationTimestamp: '2024-01-01T00:00:0{second}Z'"),
    }
}

fn export(rng: &mut Rng) -> &'static str {
    one_of(rng, &["[]", "['*']", "['.']", "[shop]", "[default]"])
}

/// Some hosts, in quotes and with commas.
fn hosts(rng: &mut Rng, of: &[&str]) -> String {
    let hosts: Vec<String> = (0..rng.usize(1..3))
        .map(|_| format!("'{}'", one_of(rng, of)))
        .collect();
    hosts.join(", ")
}

fn service(rng: &mut Rng, _: &Backends) -> Document {
    let name = one_of(rng, &["a", "b", "c"]);
    let ip = one_of(rng, &["10.1.0.1", "10.1.0.2", "10.1.0.3", "None"]);
    let more = one_of(rng, &["", ", {name: tcp, port: 9000}"]);
    let head = ("Service", one_of(rng, &NAMESPACES[..2]), name.to_owned());
    let lines = format!(
        "spec: {{clusterIP: {ip}, selector: {{app: {name}}}, ports: [{{name: http, port: 80}}{more}]}}"
    );
    Document::new(head, "", &lines)
}

/// Endpoints of a service, of one version.
fn slice(rng: &mut Rng, backends: &Backends) -> Document {
    let name = one_of(rng, &["a", "b", "c"]);
    let version = rng.usize(0..2);
    let ready = one_of(rng, &["true", "true", "false"]);
    let namespace = one_of(rng, &NAMESPACES[..2]);
    let head = ("EndpointSlice", namespace, format!("{name}-{version}"));
    let metadata = format!(", labels: {{kubernetes.io/service-name: {name}}}");
    let lines = format!(
        "addressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints:\n\
         - {{addresses: [127.0.0.1], conditions: {{ready: {ready}}}, \
         labels: {{app: {name}, version: v{}}}}}",
        backends[version].port(),
        version + 1
    );
    Document::new(head, &metadata, &lines)
}

fn entry(rng: &mut Rng, backends: &Backends) -> Document {
    let first = |version: &str, at: usize| {
        let port = backends[at].port();
        format!("{{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{version: {version}}}}}")
    };
    let rest = match rng.u8(0..4) {
        0 => format!("resolution: STATIC, endpoints: [{}]", first("v1", 0)),
        1 => format!(
            "resolution: STATIC, endpoints: [{}, {}]",
            first("v1", 0),
            first("v2", 1)
        ),
        2 => "resolution: STATIC, workloadSelector: {labels: {app: db}}".to_owned(),
        _ => format!(
            "resolution: STATIC, addresses: [10.9.0.{}], endpoints: [{}]",
            rng.u8(1..4),
            first("v2", 1)
        ),
    };
    let head = ("ServiceEntry", namespace(rng), format!("e{}", rng.u8(0..6)));
    let (created, hosts, export) = (created(rng), hosts(rng, &WRITTEN[..10]), export(rng));
    let lines = format!(
        "spec: {{hosts: [{hosts}], exportTo: {export}, \
         ports: [{{number: 80, name: http, protocol: HTTP}}], {rest}}}"
    );
    Document::new(head, &created, &lines)
}

fn workload(rng: &mut Rng, backends: &Backends) -> Document {
    let version = rng.usize(0..2);
    let head = (
        "WorkloadEntry",
        namespace(rng),
        format!("w{}", rng.u8(0..3)),
    );
    let lines = format!(
        "spec: {{address: 127.0.0.1, ports: {{http: {}}}, labels: {{app: {}, version: v{}}}, weight: {}}}",
        backends[version].port(),
        one_of(rng, &["db", "db", "a"]),
        version + 1,
        rng.u8(1..4)
    );
    Document::new(head, "", &lines)
}

fn policy(rng: &mut Rng, _: &Backends) -> Document {
    let action = one_of(rng, &["ALLOW", "DENY", "DENY"]);
    let rule = one_of(
        rng,
        &[
            "{to: [{operation: {paths: ['/x*']}}]}",
            "{to: [{operation: {notPaths: ['/x*']}}]}",
            "{when: [{key: 'request.headers[x-user]', values: [beta]}]}",
            "{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}",
        ],
    );
    let selector = one_of(
        rng,
        &[
            "",
            "selector: {matchLabels: {app: web}}, ",
            "selector: {matchLabels: {app: edge}}, ",
        ],
    );
    let head = (
        "AuthorizationPolicy",
        namespace(rng),
        format!("p{}", rng.u8(0..3)),
    );
    let lines = format!("spec: {{{selector}action: {action}, rules: [{rule}]}}");
    Document::new(head, "", &lines)
}

fn mutual(rng: &mut Rng, _: &Backends) -> Document {
    let mode = one_of(rng, &["STRICT", "PERMISSIVE", "DISABLE"]);
    let head = ("PeerAuthentication", namespace(rng), "default".to_owned());
    let created = created(rng);
    Document::new(head, &created, &format!("spec: {{mtls: {{mode: {mode}}}}}"))
}

/// Limits that no test reaches, so that they tell of nothing but themselves; their names say of what they
/// are.
fn limits(rng: &mut Rng, _: &Backends) -> Document {
    let target = format!("v{}", rng.u8(0..5));
    let name = format!("{target}{LIMITS}");
    let head = ("RateLimitPolicy", namespace(rng), name);
    let requests = rng.u32(1_000_000..1_000_003);
    let key = one_of(rng, &["", ", key: ['request.headers[x-user]']"]);
    let lines = format!(
        "spec: {{targetRefs: [{{group: networking.istio.io, kind: VirtualService, name: {target}}}], \
         limits: [{{name: many, requests: {requests}, per: 1h{key}}}]}}"
    );
    Document::new(head, "", &lines)
}

/// Settings of the whole mesh. Hosts that nobody has are refused by all of them.
pub(super) fn settings(rng: &mut Rng, _: &Backends) -> Document {
    let root = one_of(rng, &["istio-system", "istio-system", "shop"]);
    let head = ("ConfigMap", "istio-system", "istio".to_owned());
    let lines = format!(
        "data:\n  mesh: |\n    outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}\n    \
         rootNamespace: {root}\n    \
         defaultConfig: {{gatewayTopology: {{numTrustedProxies: {}}}}}",
        rng.u8(0..3)
    );
    Document::new(head, "", &lines)
}
