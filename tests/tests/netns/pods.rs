//! Two pods that call each other through their sidecars.

use std::net::IpAddr;

use tests::netns::{Cable, Families, Host, Network, Sidecar};
use tests::{Authority, IdentityDir};

/// The name of the server's service.
pub(crate) const SERVICE: &str = "server.test";

/// Ports of the service, by name and protocol: the programs behind them know no others.
pub(crate) const PORTS: [(u16, &str, &str); 9] = [
    (80, "http", "HTTP"),
    (81, "http2", "HTTP2"),
    (443, "tls", "TLS"),
    (22, "tcp-ssh", "TCP"),
    (3306, "tcp-mariadb", "TCP"),
    (5432, "tcp-postgres", "TCP"),
    (6379, "tcp-redis", "TCP"),
    (8765, "http-chat", "HTTP"),
    (10_000, "grpc", "GRPC"),
];

/// A client and a server, each with a sidecar that captures everything, and mutual TLS between them.
pub(crate) struct Pods {
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) client_sidecar: Sidecar,
    pub(crate) server_sidecar: Sidecar,
    pub(crate) authority: Authority,
    pub(crate) families: Families,
    /// The cable to the server, if that is far away.
    cable: Option<Cable>,
    _identities: [IdentityDir; 2],
    // Last: what runs in it ends first.
    pub(crate) network: Network,
}

// === impl Pods ===

impl Pods {
    /// Two pods, with more documents for both.
    pub(crate) async fn with(families: Families, documents: &str) -> Self {
        let network = Network::new(families);
        let server = network.host("server");
        Self::around(network, server, None, families, documents).await
    }

    /// The same over IPv4, with a cable to the server that can be made worse.
    pub(crate) async fn apart(documents: &str) -> Self {
        let network = Network::new(Families::V4);
        let (server, cable) = network.distant_host("server");
        Self::around(network, server, Some(cable), Families::V4, documents).await
    }

    async fn around(
        network: Network,
        server: Host,
        cable: Option<Cable>,
        families: Families,
        documents: &str,
    ) -> Self {
        let client = network.host("client");
        let addrs = families.service_addrs(10);
        client.resolves(&[(SERVICE, &addrs)]);
        server.resolves(&[(SERVICE, &addrs)]);
        let authority = Authority::new("cluster.local");
        let identities = ["client", "server"].map(|name| authority.identity_dir("default", name));
        let yaml = service(&addrs, &server) + STRICT + documents;
        let client_sidecar = Sidecar::capturing(&client, &yaml, Some(&identities[0])).await;
        let server_sidecar = Sidecar::capturing(&server, &yaml, Some(&identities[1])).await;
        Self {
            client,
            server,
            client_sidecar,
            server_sidecar,
            authority,
            families,
            cable,
            _identities: identities,
            network,
        }
    }

    /// The same without more documents.
    pub(crate) async fn new(families: Families) -> Self {
        Self::with(families, "").await
    }

    /// The cable to the server.
    pub(crate) fn cable(&self) -> &Cable {
        self.cable.as_ref().expect("the server is far away")
    }

    /// Connections that the server's sidecar took in mutual TLS: it takes no others.
    pub(crate) async fn taken_in_mutual_tls(&self) -> f64 {
        let metrics = self.server_sidecar.metrics().await;
        metrics.sum("meshproxy_tls_handshakes_total", &[("side", "downstream")])
    }

    /// What both sidecars said, to explain a failure.
    pub(crate) fn logs(&self) -> String {
        let (client, server) = (&self.client_sidecar, &self.server_sidecar);
        format!("client:\n{}\nserver:\n{}", client.log(), server.log())
    }
}

/// Nobody calls without a certificate.
pub(crate) const STRICT: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
---
";

/// The server's service at addresses of its own.
pub(crate) fn service(addrs: &[IpAddr], server: &Host) -> String {
    let quoted = addrs.iter().map(|addr| format!("'{addr}'"));
    let ports: String = PORTS
        .iter()
        .map(|(port, name, protocol)| {
            format!("  - {{number: {port}, name: {name}, protocol: {protocol}}}\n")
        })
        .collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: server}}
spec:
  hosts: [{SERVICE}]
  addresses: [{}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
{ports}  endpoints:
  - address: '{}'
    labels: {{app: server, security.istio.io/tlsMode: istio}}
    serviceAccount: server
---
",
        quoted.collect::<Vec<_>>().join(", "),
        server.addr()
    )
}
