//! Certificates and authorities that are replaced again and again while requests go from proxy to
//! proxy: not one of them is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tests::authority::{Authority, IdentityDir};
use tests::yaml::{self, Service};
use tests::{Edge, Http1, Origin, Port, Proxy, eventually};
use tokio::task::JoinSet;

const HOST: &str = "cart.test";
/// New certificates for both proxies.
const ROTATIONS: u32 = 200;
/// New authorities, spread over them.
const ROOT_ROTATIONS: u32 = 5;
/// Clients that send one request after the other.
const CLIENTS: usize = 4;

/// Connections are short, so that handshakes go on all the time.
const CALLED: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart}
spec:
  host: cart.test
  trafficPolicy:
    tls: {mode: ISTIO_MUTUAL}
    connectionPool: {http: {maxRequestsPerConnection: 5}}
---
";

/// Two proxies, one behind the other, and what they prove themselves with.
struct Hop {
    edge: Edge,
    server: Proxy,
    identities: [IdentityDir; 2],
}

#[tokio::test]
async fn no_request_is_lost_over_200_certificates_and_5_authorities() {
    let mut authority = Authority::new("cluster.local");
    let origin = Origin::named("cart").await;
    let hop = Hop::start(&authority, &origin).await;
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = hop.edge.http1().await;
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let reply = client.get(HOST, "/").await;
                assert_eq!(reply.brief(), (200, "cart"), "{:?}", reply.headers);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    let mut before = 0;
    for rotation in 1..=ROTATIONS {
        hop.replace(&authority, &[&authority]).await;
        if rotation % (ROTATIONS / ROOT_ROTATIONS) == 0 {
            authority = hop.replace_root(&authority).await;
        }
        // Requests flow between any two rotations.
        let flows = async || served.load(Ordering::Relaxed);
        before = eventually("a request", flows, |now| *now > before).await;
    }

    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.expect("every request was answered");
    }
    let labels = [("side", "downstream")];
    let metrics = hop.server.metrics().await;
    let shaken = metrics.sum("meshproxy_tls_handshakes_total", &labels);
    assert!(shaken > f64::from(ROTATIONS), "{shaken} handshakes");
    for proxy in [&hop.server, &hop.edge.proxy] {
        let failed = proxy.metrics().await;
        assert_eq!(
            failed.sum("meshproxy_tls_handshake_failures_total", &[]),
            0.0
        );
    }
}

/// The number of a workload's own certificate among those that `/certs` shows.
fn serial(shown: &Value) -> String {
    let shown = shown.as_array().into_iter().flatten();
    let own = shown.filter(|it| it["purpose"] == "identity");
    own.map(|it| it["serial"].to_string()).collect()
}

// === impl Hop ===

impl Hop {
    async fn start(authority: &Authority, origin: &Origin) -> Self {
        let client = authority.identity_dir("default", "shop");
        let server = authority.identity_dir("default", "cart");
        let port = Port::reserve();
        let documents = format!(
            "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: cart}}
spec:
  ingress:
  - port: {{number: {port}, protocol: HTTP, name: http}}
    bind: 127.0.0.1
    defaultEndpoint: {}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict}}
spec: {{mtls: {{mode: STRICT}}}}
",
            origin.addr()
        );
        let folder = server.path().display().to_string();
        let proxy = Proxy::start_with(&documents, &["--identity-dir", &folder]).await;
        let rule = format!("  - route: [{{destination: {{host: {HOST}}}}}]");
        let service = Service::new(HOST).endpoint(port.addr(), "serviceAccount: cart");
        let documents = [
            service.to_string(),
            yaml::routes(HOST, &rule),
            CALLED.to_owned(),
        ];
        let folder = client.path().display().to_string();
        let edge = Edge::start_with(&documents, &["--identity-dir", &folder]).await;
        let mut first = Http1::connect(edge.port.addr()).await;
        assert_eq!(first.get(HOST, "/").await.brief(), (200, "cart"));
        Self {
            edge,
            server: proxy,
            identities: [client, server],
        }
    }

    /// Gives both proxies new certificates by `authority`, and waits until they use them: the
    /// certificate is written last.
    async fn replace(&self, authority: &Authority, roots: &[&Authority]) {
        let before = self.serials().await;
        for (folder, account) in self.identities.iter().zip(["shop", "cart"]) {
            folder.replace(&authority.leaf("default", account).sign(), roots);
        }
        let serials = async || self.serials().await;
        let are_new = |now: &[String; 2]| now[0] != before[0] && now[1] != before[1];
        eventually("new certificates", serials, are_new).await;
    }

    /// Numbers of the certificates in use.
    async fn serials(&self) -> [String; 2] {
        [
            serial(&self.edge.proxy.admin("/certs").await),
            serial(&self.server.admin("/certs").await),
        ]
    }

    /// Replaces the authority: first it is believed beside the old one, then it signs, then the old
    /// one is forgotten.
    async fn replace_root(&self, old: &Authority) -> Authority {
        let new = Authority::new("cluster.local");
        self.replace(old, &[old, &new]).await;
        self.replace(&new, &[old, &new]).await;
        self.replace(&new, &[&new]).await;
        new
    }
}
