//! Gateways with TLS: certificates of their servers, and clients that ask for a name.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, KeyPair, PKCS_RSA_SHA256, RevokedCertParams,
    RsaKeySize, SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::{Authority, Signed};
use crate::port::Port;
use crate::wait::soon;

/// Files of a gateway, by name.
#[derive(Debug)]
pub struct Files(TempDir);

/// One server of a gateway: its hosts, protocol and `tls`, as YAML has them.
#[derive(Debug)]
pub struct Server<'s> {
    /// Its only host.
    pub host: &'s str,
    /// `HTTPS` or `TLS`.
    pub protocol: &'s str,
    /// The fields of its `tls`.
    pub tls: String,
}

// === impl Files ===

impl Files {
    /// An empty folder.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder can be made"))
    }

    /// Writes a file in one step and says where it is.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.0.path().join(name), self.0.path().join("new"));
        fs::write(&new, text).expect("a temporary file can be written");
        fs::rename(&new, &path).expect("a temporary file can be renamed");
        path
    }

    /// Writes a certificate with its key, and says the fields that name them.
    pub fn pair(&self, name: &str, signed: &Signed) -> String {
        let chain = self.write(&format!("{name}-cert.pem"), &signed.chain);
        let key = self.write(&format!("{name}-key.pem"), &signed.key);
        format!(
            "serverCertificate: {}, privateKey: {}",
            chain.display(),
            key.display()
        )
    }

    /// Writes authorities, and says the field that names them.
    pub fn authorities(&self, name: &str, authorities: &[&Authority]) -> String {
        let roots: String = authorities.iter().map(|it| it.root()).collect();
        let path = self.write(&format!("{name}-ca.pem"), &roots);
        format!("caCertificates: {}", path.display())
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::new()
    }
}

/// A gateway `edge` with these servers at one port.
pub fn gateway(port: &Port, servers: &[Server<'_>]) -> String {
    let servers = servers.iter().enumerate().map(|(number, server)| {
        let Server {
            host,
            protocol,
            tls,
        } = server;
        format!(
            "  - hosts: ['{host}']
    port: {{name: tls-{number}, number: {port}, protocol: {protocol}}}
    tls: {{{tls}}}
"
        )
    });
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
{}---
",
        servers.collect::<String>()
    )
}

/// A connection in TLS to `addr` that asks for `name`.
///
/// # Errors
///
/// If there is no handshake.
///
/// # Panics
///
/// If nobody takes the connection.
pub async fn connect_to(
    addr: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = soon("a connection", TcpStream::connect(addr)).await;
    let tcp = tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"));
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    soon("a handshake", connector.connect(name, tcp)).await
}

impl Authority {
    /// What it revoked, in PEM: the certificates with these numbers.
    ///
    /// # Panics
    ///
    /// If it cannot be signed.
    pub fn revocations(&self, numbers: &[u64]) -> String {
        let revoked = numbers.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(self.issuer()).expect("a list");
        list.pem().expect("a list in PEM")
    }

    /// A key of RSA, which takes a while to make.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn rsa_key() -> KeyPair {
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key")
    }
}

/// A client that does the arithmetic of TLS in this way, shows no certificate and believes whatever
/// server.
///
/// # Panics
///
/// If nothing of it is of TLS 1.2 or 1.3.
pub fn client_by(provider: rustls::crypto::CryptoProvider) -> ClientConfig {
    let provider = Arc::new(provider);
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(crate::authority::believing(provider))
        .with_no_client_auth()
}

/// An origin that speaks TLS with this certificate, and sends back what it gets until it is all.
///
/// # Panics
///
/// If it cannot listen, or the certificate does not fit.
pub async fn echo(signed: &Signed) -> SocketAddr {
    let chain = CertificateDer::pem_slice_iter(signed.chain.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let (mut read, mut write) = tokio::io::split(tls);
                if tokio::io::copy(&mut read, &mut write).await.is_ok() {
                    let _ = write.shutdown().await;
                }
            });
        }
    });
    addr
}
