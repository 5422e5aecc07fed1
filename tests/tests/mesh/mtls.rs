//! Mutual TLS at the ports of a workload.

mod load;
mod policies;
mod refused;
mod rotation;

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use tests::authority::{self, Signed};
use tests::{Authority, IdentityDir, Origin, Port, Proxy, soon};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A workload with a proxy beside it, both of them in `default`, with `app=cart`.
struct Workload {
    proxy: Proxy,
    port: Port,
    origin: Origin,
    authority: Authority,
    identity: IdentityDir,
    /// Its `Sidecar`.
    sidecar: String,
}

impl Workload {
    /// One with these policies.
    async fn with(policies: &str) -> Self {
        Self::with_arguments(policies, &[]).await
    }

    async fn with_arguments(policies: &str, arguments: &[&str]) -> Self {
        let authority = Authority::new("cluster.local");
        let identity = authority.identity_dir("default", "cart");
        let (port, origin) = (Port::reserve(), Origin::named("cart").await);
        let sidecar = sidecar(&[&port], &origin);
        let folder = identity.path().display().to_string();
        let mut all = vec!["--labels", "app=cart", "--identity-dir", &folder];
        all.extend(["--service-account", "cart"]);
        all.extend(arguments);
        let proxy = Proxy::start_with(&(sidecar.clone() + policies), &all).await;
        Self {
            proxy,
            port,
            origin,
            authority,
            identity,
            sidecar,
        }
    }

    /// Replaces its policies.
    async fn apply(&self, policies: &str) {
        self.proxy.apply(&(self.sidecar.clone() + policies)).await;
    }

    /// A certificate of another workload, `shop`.
    fn caller(&self) -> Signed {
        self.authority.leaf("default", "shop").sign()
    }

    /// `GET /` in TLS by a client that shows a certificate.
    async fn get(&self, caller: &Signed) -> io::Result<String> {
        self.get_by(Arc::new(caller.client(&[], &[&TLS13, &TLS12])))
            .await
    }

    async fn get_by(&self, client: Arc<ClientConfig>) -> io::Result<String> {
        let tls = authority::connect(self.port.addr(), client).await?;
        exchange(tls, "").await
    }

    /// `GET /` in plain text.
    async fn get_plain(&self) -> io::Result<String> {
        exchange(TcpStream::connect(self.port.addr()).await?, "").await
    }

    /// Handshakes of clients that failed for a reason.
    async fn failures(&self, reason: &str) -> f64 {
        let metrics = self.proxy.metrics().await;
        let labels = [("side", "downstream"), ("reason", reason)];
        metrics.sum("meshproxy_tls_handshake_failures_total", &labels)
    }

    async fn handshakes(&self, kind: &str) -> f64 {
        let metrics = self.proxy.metrics().await;
        let labels = [("side", "downstream"), ("kind", kind)];
        metrics.sum("meshproxy_tls_handshakes_total", &labels)
    }
}

/// A `Sidecar` that takes requests for the workload at `ports`.
fn sidecar(ports: &[&Port], origin: &Origin) -> String {
    let listeners: String = ports
        .iter()
        .map(|port| {
            format!(
                "  - port: {{number: {port}, name: http-{port}, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:{}
",
                origin.addr().port()
            )
        })
        .collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec:
  ingress:
{listeners}---
"
    )
}

/// A `PeerAuthentication` of `NAMESPACE/NAME` with a spec.
fn policy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    format!(
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{spec}}}
---
"
    )
}

const STRICT: &str = "mtls: {mode: STRICT}";
const PERMISSIVE: &str = "mtls: {mode: PERMISSIVE}";
const DISABLE: &str = "mtls: {mode: DISABLE}";
const CART: &str = "selector: {matchLabels: {app: cart}}";

/// The whole answer to a `GET /` with more `headers`, each with its line end; an error if there is
/// none.
async fn exchange(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    headers: &str,
) -> io::Result<String> {
    let request = format!("GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n{headers}\r\n");
    io.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    soon("an answer", io.read_to_end(&mut answer)).await?;
    match answer.is_empty() {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(String::from_utf8(answer).expect("text")),
    }
}

fn is_ok(answer: &io::Result<String>) -> bool {
    answer
        .as_ref()
        .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.ends_with("cart"))
}

fn der(signed: &Signed) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(signed.chain.as_bytes()).expect("a certificate")
}

/// The certificate that the workload shows now.
async fn shown(workload: &Workload) -> CertificateDer<'static> {
    let tls = workload.caller().connect(workload.port.addr(), &[]).await;
    let tls = tls.expect("a handshake");
    let chain = tls.get_ref().1.peer_certificates().expect("a certificate");
    chain[0].clone().into_owned()
}
