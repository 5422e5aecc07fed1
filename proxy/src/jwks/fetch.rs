//! Fetching the keys of an issuer over HTTP/1.1, in TLS with the system's authorities where the URL
//! says so. Nothing here trusts what the issuer sends: it is bounded in size, and redirects are not
//! followed, which would lead to whom nobody named.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::json;
use config::jwks::KeySetError;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Origin;
use crate::inbound::jwt::keys::Keys;

/// Largest answer that is read, in bytes: a key has a few KiB with its certificates.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Where issuers say of themselves where their keys are (OpenID Connect Discovery §4).
const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Who asks.
const USER_AGENT: &str = concat!("meshproxy/", env!("CARGO_PKG_VERSION"));

/// Why there are no newer keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("not a URL that can be asked: {0}")]
    Url(String),
    #[error("connect to {host}")]
    Connect { host: String, source: io::Error },
    #[error("not a name that a certificate can have: {host}")]
    Name {
        host: String,
        source: InvalidDnsNameError,
    },
    #[error("find the system's authorities")]
    Authorities,
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("exchange")]
    Exchange(#[from] hyper::Error),
    #[error("build the request")]
    Request(#[from] http::Error),
    #[error("redirected, which is not followed")]
    Redirected,
    #[error("answered with status {0}")]
    Status(StatusCode),
    #[error("read the answer of at most {ANSWER_BYTES_MAX} bytes")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the issuer does not say where its keys are (jwks_uri)")]
    Discovery,
    /// As it must be refused (OpenID Connect Discovery §4.3).
    #[error("what answered says that it is another issuer")]
    OtherIssuer,
    #[error("the answer is no key set")]
    Keys(#[source] KeySetError),
}

/// Fetches the keys, and says where from; the caller limits the time.
pub(super) async fn keys(origin: &Origin) -> Result<(Keys, Box<str>), FetchError> {
    let uri = match &origin.uri {
        Some(uri) => uri.clone(),
        None => discover(&origin.issuer).await?.into(),
    };
    let answer = get(&uri).await?;
    let keys = Keys::parse(&answer).map_err(FetchError::Keys)?;
    Ok((keys, uri))
}

/// Asks an issuer where its keys are.
async fn discover(issuer: &str) -> Result<String, FetchError> {
    let url = format!("{}{DISCOVERY}", issuer.strip_suffix('/').unwrap_or(issuer));
    let answer = get(&url).await?;
    let document = json::parse(&answer).map_err(|_| FetchError::Discovery)?;
    if document["issuer"].as_str() != Some(issuer) {
        return Err(FetchError::OtherIssuer);
    }
    let found = document["jwks_uri"].as_str().ok_or(FetchError::Discovery)?;
    // Who is asked in TLS is not believed that plain text will do.
    let is_secure = |url: &str| url.starts_with("https://");
    match is_secure(found) || !is_secure(&url) {
        true => Ok(found.to_owned()),
        false => Err(FetchError::Discovery),
    }
}

async fn get(url: &str) -> Result<Bytes, FetchError> {
    let wrong = || FetchError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let (secure, port) = match (uri.scheme_str(), uri.port_u16()) {
        (Some("http"), port) => (false, port.unwrap_or(80)),
        (Some("https"), port) => (true, port.unwrap_or(443)),
        (Some(_) | None, _) => return Err(wrong()),
    };
    let failed = |source| FetchError::Connect {
        host: host.to_owned(),
        source,
    };
    let tcp = TcpStream::connect((bare, port)).await.map_err(failed)?;
    if !secure {
        return exchange(tcp, &uri).await;
    }
    let stream = shake_hands(tcp, bare, authorities().await?).await?;
    exchange(stream, &uri).await
}

/// The authorities that the system trusts at this moment.
async fn authorities() -> Result<RootCertStore, FetchError> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.map_err(|_| FetchError::Authorities)?.certs);
    match roots.is_empty() {
        true => Err(FetchError::Authorities),
        false => Ok(roots),
    }
}

/// TLS with `host`, whose certificate one of the authorities must vouch for.
async fn shake_hands(
    tcp: TcpStream,
    host: &str,
    roots: RootCertStore,
) -> Result<TlsStream<TcpStream>, FetchError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|source| FetchError::Name {
        host: host.to_owned(),
        source,
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let shaken = connector.connect(name, tcp).await;
    shaken.map_err(|source| FetchError::Connect {
        host: host.to_owned(),
        source,
    })
}

async fn exchange<I>(io: I, uri: &Uri) -> Result<Bytes, FetchError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    // Ends with the sender and the body.
    tokio::spawn(connection);
    let target = uri.path_and_query().map_or("/", |it| it.as_str());
    let authority = uri.authority().map_or("", |it| it.as_str());
    let request = Request::get(target)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    match answer.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(FetchError::Redirected),
        status => return Err(FetchError::Status(status)),
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await.map_err(FetchError::Answer)?;
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests;
