//! Load of full handshakes: clients of mutual TLS that send one request on each connection and never
//! resume a session. The usual load generators show no certificate.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::identity::{Identities, Side};
use crate::load::{Load, Outcome};
use crate::work::{BODY_BYTES, REQUEST_PATH};

/// Connections at once.
const CONNECTIONS: usize = 16;

/// Limit of one connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests for `time` on a thread of its own.
///
/// # Errors
/// When any request fails.
pub(crate) async fn run(load: &Load<'_>, time: Duration) -> Result<Outcome> {
    let connector = TlsConnector::from(Arc::new(client(load.identities)?));
    let (core, port) = (load.core, load.port);
    let (done, outcome) = oneshot::channel();
    let work = move || {
        let mut cores = CpuSet::new();
        cores.set(core);
        let pinned = sched_setaffinity(None, &cores).context("pin the load");
        let run = || {
            let mut builder = Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(LocalOptions::default());
            let runtime = runtime.context("start a runtime")?;
            runtime.block_on(clients(connector, port, time))
        };
        // Fails only if the run was given up.
        let _ = done.send(pinned.and_then(|()| run()));
    };
    thread::Builder::new()
        .name("handshakes".to_owned())
        .spawn(work)
        .context("start a thread")?;
    outcome.await.context("wait for the load")?
}

async fn clients(connector: TlsConnector, port: u16, time: Duration) -> Result<Outcome> {
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let connector = connector.clone();
        clients.spawn_local(async move {
            let mut requests = 0;
            while start.elapsed() < time {
                let request = Box::pin(request(&connector, port));
                tokio::time::timeout(CONNECTION_TIMEOUT, request)
                    .await
                    .context("no answer in time")??;
                requests += 1;
            }
            anyhow::Ok(requests)
        });
    }
    let mut requests = 0;
    while let Some(client) = clients.join_next().await {
        requests += client.context("a client ended")??;
    }
    Ok(Outcome {
        requests: f64::from(requests),
        seconds: start.elapsed().as_secs_f64(),
        p50_p99_us: None,
    })
}

/// A connection with a full handshake, one request on it, and its whole answer.
async fn request(connector: &TlsConnector, port: u16) -> Result<()> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await;
    let tcp = tcp.context("connect")?;
    tcp.set_nodelay(true).context("set TCP_NODELAY")?;
    let name = ServerName::try_from("upstream.example.com").context("name the server")?;
    let stream = connector.connect(name, tcp).await;
    let mut stream = stream.context("shake hands")?;
    let kind = stream.get_ref().1.handshake_kind();
    ensure!(
        kind == Some(HandshakeKind::Full),
        "no full handshake: {kind:?}"
    );
    let head = format!(
        "GET {REQUEST_PATH} HTTP/1.1\r\nhost: upstream.example.com\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.context("send")?;
    let mut answer = Vec::with_capacity(2 * BODY_BYTES);
    stream.read_to_end(&mut answer).await.context("read")?;
    let right = answer.starts_with(b"HTTP/1.1 200 ") && answer.len() > BODY_BYTES;
    ensure!(right, "not the answer of the upstream");
    Ok(())
}

fn client(identities: &Identities) -> Result<ClientConfig> {
    let file = |name| identities.file(Side::Client, name);
    let chain = CertificateDer::pem_file_iter(file("cert-chain.pem"))
        .and_then(Iterator::collect)
        .context("read a chain")?;
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).context("read a key")?;
    let mut provider = aws_lc_rs::default_provider();
    // The one that all proxies take without asking for another.
    provider.kx_groups = vec![X25519];
    let provider = Arc::new(provider);
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .context("choose TLS 1.3")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_client_auth_cert(chain, key);
    let mut config = config.context("use the certificate")?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Takes any certificate: the load should be cheap, and it is the proxies that are measured.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

// === impl AnyServer ===

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
