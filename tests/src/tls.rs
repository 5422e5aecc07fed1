//! Certificates, and clients that speak TLS.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wait::soon;

/// A certificate that signs itself, and its key, in files.
#[derive(Debug)]
pub struct Certificate {
    folder: TempDir,
    der: CertificateDer<'static>,
}

// === impl Certificate ===

impl Certificate {
    /// A new one for these names.
    ///
    /// # Panics
    ///
    /// If it cannot be made or written.
    pub fn of(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("valid names");
        let folder = TempDir::new().expect("a temporary folder can be made");
        let write = |name: &str, text: String| {
            fs::write(folder.path().join(name), text).expect("a temporary file can be written");
        };
        write("cert.pem", made.cert.pem());
        write("key.pem", made.signing_key.serialize_pem());
        let der = made.cert.der().clone();
        Self { folder, der }
    }

    /// The file of the certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The file of the key.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// The fields of a `tls` in YAML that name the files.
    pub fn fields(&self) -> String {
        let text = |path: &Path| path.display().to_string();
        format!(
            "mode: SIMPLE, serverCertificate: {}, privateKey: {}",
            text(&self.file()),
            text(&self.key_file())
        )
    }

    /// A connection in TLS to `addr` that asks for `name`, trusts this certificate only, and offers
    /// these protocols and versions.
    ///
    /// # Errors
    ///
    /// If there is no handshake.
    ///
    /// # Panics
    ///
    /// If nobody takes the connection.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        name: &str,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a valid certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let protocols = protocols.iter().map(|it| it.as_bytes().to_vec());
        config.alpn_protocols = protocols.collect();
        let tcp = soon("a connection", TcpStream::connect(addr)).await;
        let tcp = tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"));
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        soon("a handshake", connector.connect(name, tcp)).await
    }
}
