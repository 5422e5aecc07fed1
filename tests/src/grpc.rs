//! A client of the control plane: requests of gRPC, and those for certificates in particular.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use control::proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authority::Signed;
use crate::wait::soon;

/// Path of the service of certificates.
const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// Bytes before each message: whether it is compressed, and how long it is.
const PREFIX_BYTES: usize = 5;
/// What is spoken unless a test says otherwise.
const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A connection to a control plane.
#[derive(Debug)]
pub struct Grpc {
    sender: SendRequest<Bytes>,
}

/// How a request ended that has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The code of gRPC.
    pub code: u32,
    /// What it says; percent-encoded.
    pub message: String,
}

/// A request for a certificate, and its key.
#[derive(Debug)]
pub struct Asking {
    /// Signs what is asked for.
    pub key: KeyPair,
    /// The request.
    pub request: IstioCertificateRequest,
}

/// Who connects, and whom he believes.
#[derive(Debug)]
pub struct Caller<'a> {
    /// Roots in PEM.
    pub roots: &'a str,
    /// What the control plane is called.
    pub name: &'a str,
    /// The certificate that is shown.
    pub certificate: Option<&'a Signed>,
    /// Versions of TLS.
    pub versions: &'a [&'static SupportedProtocolVersion],
}

// === impl Caller ===

impl<'a> Caller<'a> {
    /// Who believes these roots and has no certificate.
    pub fn stranger(roots: &'a str) -> Self {
        Self {
            roots,
            name: "localhost",
            certificate: None,
            versions: VERSIONS,
        }
    }

    /// Who shows a certificate.
    pub fn with(roots: &'a str, certificate: &'a Signed) -> Self {
        Self {
            certificate: Some(certificate),
            ..Self::stranger(roots)
        }
    }

    /// Who looks for a control plane of this name.
    pub fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    /// A connection.
    ///
    /// # Errors
    ///
    /// If one of both does not believe the other.
    ///
    /// # Panics
    ///
    /// If nobody takes the connection.
    pub async fn connect(&self, addr: SocketAddr) -> Result<Grpc, Box<dyn std::error::Error>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root?)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)?
            .with_root_certificates(roots);
        let mut config = match self.certificate {
            Some(signed) => {
                let chain = CertificateDer::pem_slice_iter(signed.chain.as_bytes());
                let chain = chain.collect::<Result<_, _>>()?;
                let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes())?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = soon("a connection", TcpStream::connect(addr)).await;
        let tcp = tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"));
        let name = ServerName::try_from(self.name.to_owned())?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        let tls = soon("a handshake", tls).await?;
        Grpc::over(tls).await
    }
}

// === impl Grpc ===

impl Grpc {
    /// A connection without TLS.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn plain(addr: SocketAddr) -> Self {
        let tcp = soon("a connection", TcpStream::connect(addr)).await;
        let grpc = Self::over(tcp.expect("it is taken")).await;
        grpc.expect("HTTP/2")
    }

    async fn over<S>(stream: S) -> Result<Self, Box<dyn std::error::Error>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            soon("a connection of HTTP/2", h2::client::handshake(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// The answer to a request for a certificate, by a token if there is one.
    ///
    /// # Errors
    ///
    /// How it is refused.
    ///
    /// # Panics
    ///
    /// If there is no answer that can be read.
    pub async fn certificate(
        &self,
        token: Option<&str>,
        request: &IstioCertificateRequest,
    ) -> Result<Vec<String>, Refused> {
        let message = self.unary(CREATE_CERTIFICATE, token, request).await?;
        let answer = IstioCertificateResponse::decode(message).expect("an answer");
        Ok(answer.cert_chain)
    }

    /// The first message that answers one message, and all that follows it; empty if there is none.
    ///
    /// # Errors
    ///
    /// How it is refused.
    ///
    /// # Panics
    ///
    /// If there is no answer that can be read.
    pub async fn unary(
        &self,
        path: &str,
        token: Option<&str>,
        message: &impl Message,
    ) -> Result<Bytes, Refused> {
        let answered = soon("an answer", self.exchange(path, token, message)).await;
        let (head, body, trailers) = answered.expect("a connection");
        match status(&trailers).or_else(|| status(&head)) {
            Some(Refused { code: 0, .. }) => Ok(body.slice(PREFIX_BYTES.min(body.len())..)),
            Some(refused) => Err(refused),
            None => panic!("no status in {head:?} or {trailers:?}"),
        }
    }

    async fn exchange(
        &self,
        path: &str,
        token: Option<&str>,
        message: &impl Message,
    ) -> Result<(HeaderMap, Bytes, HeaderMap), h2::Error> {
        let mut request = Request::post(format!("https://control{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(()).expect("a valid request");
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request, false)?;
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.encoded_len()).expect("a short message"));
        message.encode(&mut framed).expect("room");
        stream.send_data(framed.freeze(), true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut whole = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            whole.extend_from_slice(&part);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        Ok((head.headers, whole.freeze(), trailers))
    }
}

// === impl Asking ===

impl Asking {
    /// Asks for a certificate for `uri`; for a lifetime in seconds, or 0 for the usual one.
    ///
    /// # Panics
    ///
    /// If there is no randomness, or the name is not ASCII.
    pub fn new(uri: &str, seconds: i64) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ASCII"))];
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key).expect("a request");
        let request = IstioCertificateRequest {
            csr: csr.pem().expect("text"),
            validity_duration: seconds,
            metadata: None,
        };
        Self { key, request }
    }

    /// What is kept of the answer: all but the roots, which are the last of `chain`.
    pub fn signed(&self, chain: &[String]) -> Signed {
        let (_, own) = chain.split_last().expect("a chain has an end");
        Signed {
            chain: own.concat(),
            key: self.key.serialize_pem(),
        }
    }
}

fn status(headers: &HeaderMap) -> Option<Refused> {
    let code = headers.get("grpc-status")?.to_str().ok()?;
    let message = headers.get("grpc-message");
    let message = message.and_then(|message| message.to_str().ok());
    Some(Refused {
        code: code.parse().ok()?,
        message: message.unwrap_or_default().to_owned(),
    })
}
