//! Case 7: who may do what by rules of long ago, and how hosts are spoken to.

use std::fs;

use tempfile::TempDir;
use tests::yaml;
use tests::{Edge, IdentityDir, binary, eventually};

use super::*;

const WEBAPP: &str = "webapp.default.svc.cluster.local";
const LEGACY: &str = "httpbin.legacy.svc.cluster.local";

/// Two services that may be read by services of their namespace whose requests say a version.
const ROLES: &str = "\
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: viewer, namespace: default}
spec:
  rules:
  - services: [webapp.default.svc.cluster.local, frontend.default.svc.cluster.local]
    methods: [GET, HEAD]
    constraints:
    - {key: 'request.headers[version]', values: [v1, v2]}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: bind-viewer, namespace: default}
spec:
  subjects: [{properties: {source.namespace: default}}]
  roleRef: {kind: ServiceRole, name: viewer}
---
apiVersion: v1
kind: Service
metadata: {name: webapp, namespace: default}
spec: {selector: {app: webapp}, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: frontend, namespace: default}
spec: {selector: {app: frontend}, ports: [{port: 80, name: http}]}
---
";

fn rbac_config(spec: &str) -> String {
    format!(
        "apiVersion: rbac.istio.io/v1alpha1
kind: RbacConfig
metadata: {{name: default}}
spec: {spec}
---
"
    )
}

/// What `meshproxy migrate` makes of the roles in a mode of old.
async fn migrated(spec: &str) -> String {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("old.yaml"), rbac_config(spec) + ROLES).expect("written");
    let done = binary::run(&["migrate", &path("old.yaml"), "-o", &path("new.yaml")]).await;
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let new = fs::read_to_string(path("new.yaml")).expect("written");
    assert!(!new.contains("rbac.istio.io"), "{new}");
    new.trim_end().to_owned() + "\n---\n"
}

/// The sidecar of a workload, and what it asks of who calls.
fn sidecar(port: &Port, origin: &Origin, mode: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: beside}}
spec:
  ingress:
  - port: {{number: {port}, protocol: HTTP, name: http}}
    bind: 127.0.0.1
    captureMode: NONE
    defaultEndpoint: {}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: {mode}}}}}
---
",
        origin.addr()
    )
}

fn folder(identity: &IdentityDir) -> String {
    identity.path().display().to_string()
}

/// Everything within the mesh in mutual TLS, but for one host.
const TRANSPORT: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: default, namespace: istio-system}
spec:
  host: '*.local'
  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: httpbin, namespace: istio-system}
spec:
  host: httpbin.legacy.svc.cluster.local
  trafficPolicy: {tls: {mode: DISABLE}}
---
";

/// The proxy of a caller, as `ns/account`, in front of the service at `addr`.
async fn caller(identity: &IdentityDir, host: &str, addr: std::net::SocketAddr) -> Edge {
    let rules =
        format!("  - retries: {{attempts: 0}}\n    route: [{{destination: {{host: {host}}}}}]");
    let documents = [
        Service::new(host).at(addr).to_string(),
        TRANSPORT.to_owned(),
        yaml::routes(host, &rules),
    ];
    Edge::start_with(&documents, &["--identity-dir", &folder(identity)]).await
}

async fn ask(edge: &Edge, method: &str, headers: &[(&str, &str)]) -> u16 {
    let method = method.parse().expect("a method");
    let request = tests::client::request(method, WEBAPP, "/", headers, tests::client::empty());
    edge.http1().await.send(request).await.status.as_u16()
}

#[tokio::test]
async fn case_7_roles_of_long_ago_let_in_whom_they_let_in_then() {
    let ours = Authority::new("cluster.local");
    let (own, near, far) = (
        ours.identity_dir("default", "webapp"),
        ours.identity_dir("default", "shop"),
        ours.identity_dir("lab", "shop"),
    );
    let (origin, port) = (Origin::named("webapp").await, Port::reserve());
    let here = sidecar(&port, &origin, "STRICT");
    let own = folder(&own);
    let arguments = ["--labels", "app=webapp", "--identity-dir", &own];
    let beside = Proxy::start_with(&here, &arguments).await;
    let near = caller(&near, WEBAPP, port.addr()).await;
    let far = caller(&far, WEBAPP, port.addr()).await;
    let v1 = [("version", "v1")];
    let (open, shut) = ([200; 4], [200, 403, 403, 403]);

    for (mode, expected) in [
        ("{mode: 'ON'}", shut),
        ("{mode: 'OFF'}", open),
        (
            "{mode: ON_WITH_INCLUSION, inclusion: {namespaces: [default]}}",
            shut,
        ),
        (
            "{mode: ON_WITH_INCLUSION, inclusion: {namespaces: [lab]}}",
            open,
        ),
        (
            "{mode: ON_WITH_EXCLUSION, exclusion: {namespaces: [lab]}}",
            shut,
        ),
        (
            "{mode: ON_WITH_EXCLUSION, exclusion: {services: [webapp.default.svc.cluster.local]}}",
            open,
        ),
    ] {
        beside.apply(&(here.clone() + &migrated(mode).await)).await;

        let told = [
            ask(&near, "GET", &v1).await,
            ask(&near, "GET", &[("version", "v3")]).await,
            ask(&near, "POST", &v1).await,
            ask(&far, "GET", &v1).await,
        ];

        assert_eq!(told, expected, "{mode}");
    }
    let of_head = ask(&near, "HEAD", &[("version", "v2")]).await;
    assert_eq!(of_head, 200);
}

#[tokio::test]
async fn case_7_hosts_are_spoken_to_as_declared_encrypted_plain_or_not_at_all() {
    let ours = Authority::new("cluster.local");
    let (own, other) = (
        ours.identity_dir("default", "webapp"),
        ours.identity_dir("default", "shop"),
    );
    let own = folder(&own);
    for (host, mode, expected, policy) in [
        (WEBAPP, "STRICT", 200, "mutual_tls"),
        (WEBAPP, "PERMISSIVE", 200, "mutual_tls"),
        (WEBAPP, "DISABLE", 503, ""),
        (LEGACY, "DISABLE", 200, "none"),
        (LEGACY, "PERMISSIVE", 200, "none"),
        (LEGACY, "STRICT", 503, ""),
    ] {
        let (origin, port) = (Origin::named("here").await, Port::reserve());
        let yaml = sidecar(&port, &origin, mode);
        let beside = Proxy::start_with(&yaml, &["--identity-dir", &own]).await;
        let edge = caller(&other, host, port.addr()).await;

        let reply = edge.http1().await.get(host, "/").await;

        assert_eq!(reply.status, expected, "{host} {mode}: {}", reply.text());
        let arrived = usize::from(expected == 200);
        assert_eq!(origin.requests(), arrived, "{host} {mode}");
        if expected == 200 {
            let labels = [
                ("reporter", "destination"),
                ("connection_security_policy", policy),
            ];
            let counted = async || {
                let metrics = beside.metrics().await;
                metrics.sum("istio_requests_total", &labels)
            };
            eventually(policy, counted, |counted| *counted == 1.0).await;
        }
    }
}
