//! Ports of which nobody said what is spoken there, between two workloads with a proxy beside each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::origin::Protocol;
use tests::script::{Peer, Script};
use tests::wire::Wire;
use tests::{Authority, Http1, Http2, IdentityDir, Origin, Port, Proxy, eventually};

const HOST: &str = "store.test";
/// What a server of MySQL says first.
const GREETING: &str = "J\0\0\0\n8.0.36\0";

/// A caller and a server that know nothing of their proxies.
struct Pair {
    caller: Proxy,
    server: Proxy,
    /// Where the caller's proxy takes connections.
    port: Port,
    _port: Port,
    _identities: [IdentityDir; 2],
}

// === impl Pair ===

impl Pair {
    /// With the server's application at `app`, and more documents of its proxy.
    async fn start(app: SocketAddr, mode: &str, policies: &str) -> Self {
        let ours = Authority::new("cluster.local");
        let identities = ["server", "caller"].map(|name| ours.identity_dir("default", name));
        let [server_id, caller_id] = identities.each_ref().map(path);
        let (port, far) = (Port::reserve(), Port::reserve());
        let server = ingress(&far, app, mode) + policies;
        let server = Proxy::start_with(&server, &["--identity-dir", &server_id]).await;
        let caller = egress(&port) + &service(&port, far.addr());
        let caller = Proxy::start_with(&caller, &["--identity-dir", &caller_id]).await;
        Self {
            caller,
            server,
            port,
            _port: far,
            _identities: identities,
        }
    }

    async fn connect(&self) -> Wire {
        Wire::connect(self.port.addr()).await
    }
}

fn path(folder: &IdentityDir) -> String {
    folder.path().display().to_string()
}

/// A port of the workload; nobody says what is spoken.
fn ingress(port: &Port, app: SocketAddr, mode: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: server}}
spec:
  ingress:
  - port: {{number: {port}, name: any}}
    bind: 127.0.0.1
    captureMode: NONE
    defaultEndpoint: {app}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: server}}
spec: {{mtls: {{mode: {mode}}}}}
---
"
    )
}

/// Where the caller finds services.
fn egress(port: &Port) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: caller}}
spec:
  egress:
  - port: {{number: {port}, name: any}}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: ['./*']
---
"
    )
}

/// The service of which the caller knows, as one that takes mutual TLS.
fn service(port: &Port, addr: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: store}}
spec:
  hosts: [{HOST}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {port}, name: any}}]
  endpoints:
  - address: {}
    ports: {{any: {}}}
    labels: {{security.istio.io/tlsMode: istio}}
    serviceAccount: server
---
",
        addr.ip(),
        addr.port()
    )
}

/// What was spoken with a destination of the key, as its proxy shows it.
async fn spoken(proxy: &Proxy, key: &str) -> Value {
    let shown = proxy.admin("/destinations").await;
    let all = shown.as_array().expect("a list").iter();
    let mut found = all.filter(|it| it["key"].as_str().is_some_and(|it| it.contains(key)));
    found.next().map_or(Value::Null, |it| it["spoken"].clone())
}

async fn detections(proxy: &Proxy, verdict: &str) -> f64 {
    let metrics = proxy.metrics().await;
    let labels = [("verdict", verdict)];
    metrics.sum("meshproxy_protocol_detections_total", &labels)
}

/// Greets, and repeats what it hears.
async fn greet(mut peer: Peer) {
    peer.say(GREETING).await;
    loop {
        let heard = peer.bytes(1).await;
        if heard.is_empty() {
            return;
        }
        peer.say(&String::from_utf8_lossy(&heard)).await;
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_through_two_proxies_in_mutual_tls() {
    let app = Script::start(greet).await;
    for mode in ["STRICT", "PERMISSIVE"] {
        let pair = Pair::start(app.addr(), mode, "").await;

        let mut client = pair.connect().await;
        assert_eq!(client.until("8.0.36\0").await, GREETING);
        client.say("login\n").await;
        assert_eq!(client.until("\n").await, "login\n");
        client.end().await;
        assert_eq!(client.rest().await, (String::new(), true));

        let expected = json!({"http1": 0, "http2": 0, "tls": 0, "opaque": 0, "serverFirst": 1});
        assert_eq!(spoken(&pair.caller, HOST).await, expected);
        assert_eq!(spoken(&pair.server, "inbound").await, expected);
        for proxy in [&pair.caller, &pair.server] {
            assert_eq!(detections(proxy, "server_first").await, 1.0);
        }
        let metrics = pair.server.metrics().await;
        let labels = [("side", "downstream")];
        let handshakes = metrics.sum("meshproxy_tls_handshakes_total", &labels);
        assert_eq!(handshakes, 1.0, "one connection, and in TLS");
    }
}

#[tokio::test]
async fn http1_is_told_where_nobody_declared_it() {
    let app = Origin::named("app").await;
    let pair = Pair::start(app.addr(), "STRICT", "").await;

    for turn in 0..3 {
        let mut client = Http1::connect(pair.port.addr()).await;
        assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"), "{turn}");
    }

    let spoken = spoken(&pair.caller, HOST).await;
    assert_eq!(
        (&spoken["http1"], &spoken["opaque"]),
        (&json!(3), &json!(0))
    );
}

#[tokio::test]
async fn http2_is_told_where_nobody_declared_it() {
    let app = Origin::speaking(Protocol::Http2, "app").await;
    let pair = Pair::start(app.addr(), "STRICT", "").await;

    let mut client = Http2::connect(pair.port.addr()).await;
    assert_eq!(client.get(HOST, "/").await.brief(), (200, "app"));

    assert_eq!(spoken(&pair.caller, HOST).await["http2"], 1);
}

#[tokio::test]
async fn what_a_client_says_arrives_however_it_is_cut() {
    let app = Script::start(|mut peer| async move {
        let heard = peer.hear(14).await;
        peer.say(&heard).await;
    })
    .await;
    let pair = Pair::start(app.addr(), "STRICT", "").await;

    for cut in [1, 5, 13] {
        let (first, second) = "*1\r\n$4\r\nPING\r\n".split_at(cut);
        let mut client = pair.connect().await;
        client.say(first).await;
        tokio::task::yield_now().await;
        client.say(second).await;
        assert_eq!(client.rest().await, (format!("{first}{second}"), true));
    }
}

#[tokio::test]
async fn who_is_refused_costs_the_server_no_connection() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let app = Script::start(move |peer| {
        counted.fetch_add(1, Ordering::Relaxed);
        greet(peer)
    })
    .await;
    let policy = "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody}
spec:
  action: DENY
  rules: [{from: [{source: {principals: ['*/sa/caller']}}]}]
---
";
    let pair = Pair::start(app.addr(), "STRICT", policy).await;

    let mut client = pair.connect().await;
    client.say("\0hello\n").await;
    let (heard, _) = client.rest().await;

    assert_eq!(heard, "");
    let refused = async || {
        let metrics = pair.server.metrics().await;
        metrics.sum(
            "istio_tcp_connections_closed_total",
            &[("response_flags", "UAEX")],
        )
    };
    eventually("a refusal", refused, |refused| *refused == 1.0).await;
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn clients_that_say_nothing_cost_little_and_hear_their_server_still() {
    const CLIENTS: usize = 500;
    // Two sockets, and what is known of both sides; the system's part is not among it.
    const BYTES_EACH_MAX: u64 = 16 * 1024;
    let app = Script::start(|mut peer| async move {
        if peer.number == CLIENTS {
            peer.say(GREETING).await;
        }
        // Until the client goes.
        peer.bytes(1).await;
    })
    .await;
    let port = Port::reserve();
    let yaml = ingress(&port, app.addr(), "DISABLE");
    let proxy = Proxy::start_with(&yaml, &["--workers", "1"]).await;
    let before = proxy.resident_bytes();

    let mut silent = Vec::new();
    for _ in 0..CLIENTS {
        silent.push(Wire::connect(port.addr()).await);
    }
    let connected = async || {
        let metrics = proxy.metrics().await;
        metrics.sum("meshproxy_upstream_connections_active", &[])
    };
    eventually("early connections", connected, |it| *it == CLIENTS as f64).await;
    let each = proxy.resident_bytes().saturating_sub(before) / CLIENTS as u64;
    let mut client = Wire::connect(port.addr()).await;

    assert_eq!(client.until("8.0.36\0").await, GREETING);
    assert!(each <= BYTES_EACH_MAX, "{each} bytes");
    drop((silent, client));
    eventually("their ends", connected, |it| *it == 0.0).await;
}
