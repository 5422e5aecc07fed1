//! A connection to a control plane: HTTP/2, in TLS that its authority must vouch for, and the calls of
//! gRPC on it. Nothing here trusts that it answers: every wait has a limit.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{error::Elapsed, timeout};
use tokio_rustls::TlsConnector;

use super::Settings;
use super::replicas::{Replica, Target};
use crate::tls::identity::WorkloadIdentity;
use crate::tls::pem;

/// Longest wait for a connection, its handshake in TLS and its beginning of HTTP/2, each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for addresses of a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the head of an answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time of silence after which the other side is asked whether it is there, and for its answer.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Largest token, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 64;
/// Messages that may wait to be sent.
const MESSAGES_MAX: usize = 64;
/// Flow-control window of the stream, in bytes: what may be on its way while we compile.
const WINDOW_BYTES: u32 = 1 << 20;
/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Most characters of what a control plane says of a failure that are told.
const TOLD_CHARS_MAX: usize = 512;
const WORKED: &str = "0";
/// Status of gRPC of whoever does not believe who we are.
const UNAUTHENTICATED: &str = "16";

/// How control planes are reached.
#[derive(Debug)]
pub(super) struct Connector {
    replicas: Vec<Replica>,
    root: PathBuf,
    token: PathBuf,
    /// Folder of the identity that is shown to them, if there is one.
    identity: Option<PathBuf>,
    /// Whether the certificate is left at home where there is a token.
    by_token: AtomicBool,
}

/// What proves first who we are, where there is both. Whoever refuses one is shown the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Certificate,
    Token,
}

/// A connection; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    send: SendRequest<Messages>,
    replica: Replica,
    driver: AbortHandle,
    /// What proves who we are on it.
    proof: Proof,
}

/// Why there is no connection, or no answer on it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0} has no address")]
    Address(String),
    #[error("resolve {host}")]
    Resolve { host: String, source: io::Error },
    #[error("no answer in time")]
    Timeout(#[from] Elapsed),
    #[error("connect")]
    Connect(#[source] io::Error),
    #[error("--control-root {}", .0)]
    Root(String),
    #[error("the name {0} can be in no certificate")]
    Name(String),
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("speak HTTP/2")]
    Http(#[from] hyper::Error),
    #[error("build the request")]
    Request(#[from] http::Error),
    #[error("{file}: {problem}")]
    Token { file: String, problem: String },
    #[error("answered with status {0}")]
    Status(StatusCode),
    #[error("refused: {message} (gRPC status {code})")]
    Refused { code: String, message: String },
}

/// The sending side of a call: messages as they come.
#[derive(Debug)]
pub(super) struct Messages(mpsc::Receiver<Bytes>);

// === impl Connector ===

impl Connector {
    pub(super) fn new(settings: &Settings, identity: Option<PathBuf>, first: Proof) -> Self {
        Self {
            replicas: settings.replicas.clone(),
            root: settings.root.clone(),
            token: settings.token.clone(),
            identity,
            by_token: AtomicBool::new(first == Proof::Token),
        }
    }

    /// All control planes by the addresses that their names have now.
    ///
    /// # Errors
    ///
    /// If there is none, the last reason why.
    pub(super) async fn targets(&self) -> Result<Vec<Target>, ConnectError> {
        let mut targets = Vec::new();
        let mut failed = None;
        for replica in &self.replicas {
            let name = (replica.host.as_str(), replica.port);
            match timeout(RESOLVE_TIMEOUT, lookup_host(name)).await {
                Ok(Ok(addresses)) => {
                    targets.extend(addresses.take(ADDRESSES_MAX).map(|addr| Target {
                        replica: replica.clone(),
                        addr,
                    }));
                }
                Ok(Err(source)) => {
                    failed = Some(ConnectError::Resolve {
                        host: replica.host.clone(),
                        source,
                    });
                }
                Err(elapsed) => failed = Some(elapsed.into()),
            }
        }
        match (targets.is_empty(), failed) {
            (false, _) => Ok(targets),
            (true, Some(error)) => Err(error),
            (true, None) => Err(ConnectError::Address("the control plane".to_owned())),
        }
    }

    /// A connection to one of them.
    pub(super) async fn connect(&self, target: &Target) -> Result<Connection, ConnectError> {
        let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect(target.addr)).await?;
        let tcp = tcp.map_err(ConnectError::Connect)?;
        tcp.set_nodelay(true).map_err(ConnectError::Connect)?;
        if !target.replica.secure {
            return begin(tcp, &target.replica, Proof::Token).await;
        }
        let host = &target.replica.host;
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| ConnectError::Name(host.clone()))?;
        let (config, proof) = self.tls()?;
        let tls = TlsConnector::from(Arc::new(config));
        let stream = timeout(CONNECT_TIMEOUT, tls.connect(name, tcp)).await?;
        let stream = stream.map_err(ConnectError::Connect);
        let begun = match stream {
            Ok(stream) => begin(stream, &target.replica, proof).await,
            Err(error) => Err(error),
        };
        begun.inspect_err(|error| self.failed_with(proof, error))
    }

    /// TLS with what the files say now: authorities rotate, and so does our own certificate. Says what
    /// proves who we are in it.
    fn tls(&self) -> Result<(ClientConfig, Proof), ConnectError> {
        let roots = pem::chain(&self.root).and_then(pem::authorities);
        let roots = roots.map_err(ConnectError::Root)?;
        let own = self.shown(&roots, SystemTime::now());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let (mut config, proof) = match own {
            Some(own) => {
                let own = SingleCertAndKey::from(Arc::clone(&own.certified));
                let config = config.with_client_cert_resolver(Arc::new(own));
                (config, Proof::Certificate)
            }
            None => (config.with_no_client_auth(), Proof::Token),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok((config, proof))
    }

    /// The certificate that is shown to whom these authorities vouch for. One that they do not vouch for
    /// has the whole connection refused, so that where there is a token it comes without.
    fn shown(&self, roots: &RootCertStore, now: SystemTime) -> Option<WorkloadIdentity> {
        let folder = self.identity.as_ref()?;
        // One that cannot be used now is as none.
        let own = WorkloadIdentity::read(folder, &[]).ok()?;
        let has_token = self.token.exists();
        let is_left = self.by_token.load(Ordering::Relaxed) && has_token;
        let is_vouched = !has_token || own.check_vouched_by(roots, now).is_ok();
        (own.is_valid_at(now) && is_vouched && !is_left).then_some(own)
    }

    /// Whether the authorities of the control plane vouch for the certificate now; not known is as if they
    /// did.
    pub(super) fn is_vouched(&self, now: SystemTime) -> bool {
        let own = self.identity.as_ref();
        let own = own.and_then(|folder| WorkloadIdentity::read(folder, &[]).ok());
        let roots = pem::chain(&self.root).and_then(pem::authorities);
        match (own, roots) {
            (Some(own), Ok(roots)) => own.check_vouched_by(&roots, now).is_ok(),
            (None, _) | (_, Err(_)) => true,
        }
    }

    /// Has the other proof shown the next time, if this one may be why it failed.
    fn failed_with(&self, proof: Proof, error: &ConnectError) {
        if error.may_be_of_proof() {
            let by_token = proof == Proof::Certificate;
            self.by_token.store(by_token, Ordering::Relaxed);
        }
    }

    /// What proves who we are beside a certificate; none if there is no such file, or if everybody on the
    /// way could read it.
    fn token(&self, replica: &Replica) -> Result<Option<HeaderValue>, ConnectError> {
        if !replica.secure {
            return Ok(None);
        }
        let wrong = |problem: String| ConnectError::Token {
            file: self.token.display().to_string(),
            problem,
        };
        let Some(token) = read(&self.token).map_err(|error| wrong(error.to_string()))? else {
            return Ok(None);
        };
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| wrong("is no token".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Begins a call that sends these messages; what comes back is still to be read.
    pub(super) async fn call(
        &self,
        connection: &mut Connection,
        path: &str,
        messages: Messages,
    ) -> Result<Incoming, ConnectError> {
        let called = self.begin_call(connection, path, messages).await;
        called.inspect_err(|error| self.failed_with(connection.proof, error))
    }

    async fn begin_call(
        &self,
        connection: &mut Connection,
        path: &str,
        messages: Messages,
    ) -> Result<Incoming, ConnectError> {
        let scheme = if connection.replica.secure {
            "https"
        } else {
            "http"
        };
        let authority = connection.replica.authority();
        let mut request = Request::post(format!("{scheme}://{authority}{path}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, concat!("meshproxy/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = self.token(&connection.replica)? {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(messages)?;
        let response = timeout(HEAD_TIMEOUT, connection.send.send_request(request)).await??;
        if response.status() != StatusCode::OK {
            return Err(ConnectError::Status(response.status()));
        }
        refusal(response.headers())?;
        Ok(response.into_body())
    }
}

/// A small file; none if it does not exist.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

async fn begin<I>(io: I, replica: &Replica, proof: Proof) -> Result<Connection, ConnectError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .keep_alive_while_idle(true);
    let (send, driver) = timeout(CONNECT_TIMEOUT, builder.handshake(TokioIo::new(io))).await??;
    let driver = tokio::spawn(async move {
        if let Err(error) = driver.await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "connection to the control plane ended");
        }
    });
    Ok(Connection {
        send,
        replica: replica.clone(),
        driver: driver.abort_handle(),
        proof,
    })
}

/// Whether headers or trailers of an answer refuse the call.
///
/// # Errors
///
/// If they do, what they say.
pub(super) fn refusal(headers: &HeaderMap) -> Result<(), ConnectError> {
    let text = |name| {
        let value = headers.get(name);
        let value = value.map(|value| String::from_utf8_lossy(value.as_bytes()));
        value.map(|value| value.chars().take(TOLD_CHARS_MAX).collect::<String>())
    };
    match text("grpc-status") {
        None => Ok(()),
        Some(code) if code == WORKED => Ok(()),
        Some(code) => Err(ConnectError::Refused {
            code,
            message: text("grpc-message").unwrap_or_default(),
        }),
    }
}

// === impl ConnectError ===

impl ConnectError {
    /// Whether it may be that who we are was not believed. A server that does not take a certificate ends
    /// the connection, by TLS 1.3 after the client has begun to speak.
    fn may_be_of_proof(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Http(_) => true,
            Self::Refused { code, .. } => code == UNAUTHENTICATED,
            Self::Address(_)
            | Self::Resolve { .. }
            | Self::Timeout(_)
            | Self::Root(_)
            | Self::Name(_)
            | Self::Tls(_)
            | Self::Request(_)
            | Self::Token { .. }
            | Self::Status(_) => false,
        }
    }
}

// === impl Connection ===

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

// === impl Messages ===

impl Messages {
    /// Messages, and where they are put. The end of that is theirs.
    pub(super) fn channel() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        (sender, Self(messages))
    }
}

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.get_mut().0.poll_recv(cx);
        next.map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

#[cfg(test)]
mod tests;
