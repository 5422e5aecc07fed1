//! Authorities that sign certificates of workloads, right ones and wrong ones, and what a workload
//! keeps in its `--identity-dir`.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wait::soon;

/// An authority of a trust domain.
#[derive(Debug)]
pub struct Authority {
    trust_domain: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate that is about to be signed, and what is odd about it.
#[derive(Debug)]
#[must_use = "sign it"]
pub struct Leaf<'a> {
    authority: &'a Authority,
    params: CertificateParams,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The chain, in PEM.
    pub chain: String,
    /// The key, in PEM.
    pub key: String,
}

/// A folder for `--identity-dir`.
#[derive(Debug)]
pub struct IdentityDir {
    folder: TempDir,
}

// === impl Authority ===

impl Authority {
    /// A new one, which nobody believes yet.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn new(trust_domain: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let name = format!(
            "authority of {trust_domain}, key {:?}",
            &key.public_key_raw()[..4]
        );
        params.distinguished_name.push(DnType::CommonName, name);
        Self {
            trust_domain: trust_domain.to_owned(),
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
        }
    }

    /// What signs.
    pub(crate) fn issuer(&self) -> &CertifiedIssuer<'static, KeyPair> {
        &self.issuer
    }

    /// Its own certificate in PEM.
    pub fn root(&self) -> String {
        self.issuer.pem()
    }

    /// Its key in PEM.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A list that takes back the certificate with this number, in PEM.
    ///
    /// # Panics
    ///
    /// If it cannot be signed.
    pub fn revoking(&self, number: u64) -> String {
        let revoked = RevokedCertParams {
            serial_number: number.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        list.pem().expect("text")
    }

    /// A certificate for a workload.
    pub fn leaf(&self, namespace: &str, service_account: &str) -> Leaf<'_> {
        let uri = self.identity(namespace, service_account);
        self.leaf_named(&[&uri], &[])
    }

    /// The identity of a workload.
    pub fn identity(&self, namespace: &str, service_account: &str) -> String {
        let trust_domain = &self.trust_domain;
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}")
    }

    /// A certificate with these names and no others.
    ///
    /// # Panics
    ///
    /// If one is not ASCII.
    pub fn leaf_named(&self, uris: &[&str], hosts: &[&str]) -> Leaf<'_> {
        let ascii = |text: &&str| (*text).try_into().expect("a name in ASCII");
        let uris = uris.iter().map(|uri| SanType::URI(ascii(uri)));
        let hosts = hosts.iter().map(|host| SanType::DnsName(ascii(host)));
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.chain(hosts).collect();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        Leaf {
            authority: self,
            params,
        }
    }

    /// What a workload keeps that believes this authority.
    pub fn identity_dir(&self, namespace: &str, service_account: &str) -> IdentityDir {
        let signed = self.leaf(namespace, service_account).sign();
        IdentityDir::new(&signed, &[self])
    }
}

// === impl Leaf ===

impl Leaf<'_> {
    /// With this number, by which it can be taken back.
    pub fn number(mut self, number: u64) -> Self {
        self.params.serial_number = Some(number.into());
        self
    }

    /// It was valid once.
    pub fn expired(mut self) -> Self {
        self.params.not_after = date_time_ymd(2001, 1, 1);
        self
    }

    /// It will be valid once.
    pub fn not_yet_valid(mut self) -> Self {
        self.params.not_before = date_time_ymd(4000, 1, 1);
        self
    }

    /// It is valid for so much longer, to the second.
    pub fn expires_in(mut self, left: Duration) -> Self {
        self.params.not_after = (SystemTime::now() + left).into();
        self
    }

    /// It is for servers only.
    pub fn for_servers(mut self) -> Self {
        self.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }

    /// It has this serial number, by which it can be revoked.
    pub fn numbered(mut self, number: u64) -> Self {
        self.params.serial_number = Some(number.into());
        self
    }

    /// Signs it, for a new key.
    ///
    /// # Panics
    ///
    /// If it cannot be signed.
    pub fn sign(self) -> Signed {
        self.sign_for(&KeyPair::generate().expect("a key"))
    }

    /// Signs it for a key.
    ///
    /// # Panics
    ///
    /// If it cannot be signed.
    pub fn sign_for(self, key: &KeyPair) -> Signed {
        let signed = self.params.signed_by(key, &self.authority.issuer);
        Signed {
            chain: signed.expect("a certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}

// === impl Signed ===

impl Signed {
    /// A connection in TLS to `addr` that shows this certificate, asks for no name that anyone
    /// serves, and believes whatever server.
    ///
    /// A server that refuses the certificate may do so after the handshake, as far as a client of
    /// TLS 1.3 can tell: then the first read fails.
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
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.client(protocols, &[&TLS13, &TLS12]);
        connect(addr, Arc::new(config)).await
    }

    /// What [`connect`](Self::connect) goes by.
    ///
    /// # Panics
    ///
    /// If the certificate and the key do not fit.
    pub fn client(
        &self,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let mut config = anyone(versions)
            .with_client_auth_cert(chain, key)
            .expect("they fit");
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        config
    }
}

/// A client that shows no certificate and believes whatever server.
pub fn nobody(protocols: &[&str], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut config = anyone(versions).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    config
}

/// A connection in TLS to `addr`.
///
/// # Errors
///
/// If there is no handshake.
///
/// # Panics
///
/// If nobody takes the connection.
pub async fn connect(
    addr: SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = soon("a connection", TcpStream::connect(addr)).await;
    let tcp = tcp.unwrap_or_else(|error| panic!("connect to {addr}: {error}"));
    let name = ServerName::try_from("anyone.test").expect("a name");
    let connector = TlsConnector::from(config);
    soon("a handshake", connector.connect(name, tcp)).await
}

/// Believes whatever server.
pub(crate) fn believing(provider: Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Anyone(provider))
}

fn anyone(
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
}

// === impl IdentityDir ===

impl IdentityDir {
    /// A folder with a certificate, its key, and the authorities that are believed.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn new(signed: &Signed, roots: &[&Authority]) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let made = Self { folder };
        made.replace(signed, roots);
        made
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces all three, each as a whole.
    ///
    /// # Panics
    ///
    /// If they cannot be written.
    pub fn replace(&self, signed: &Signed, roots: &[&Authority]) {
        let roots: String = roots.iter().map(|root| root.root()).collect();
        self.write("root-cert.pem", &roots);
        self.write("key.pem", &signed.key);
        self.write("cert-chain.pem", &signed.chain);
    }

    /// Replaces one as a whole.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let beside = self.file(&format!(".{name}.new"));
        fs::write(&beside, text).expect("a temporary file can be written");
        fs::rename(&beside, self.file(name)).expect("a temporary file can be renamed");
    }

    /// What it holds, for a client.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    pub fn signed(&self) -> Signed {
        let read = |name| fs::read_to_string(self.file(name)).expect("a file of the folder");
        Signed {
            chain: read("cert-chain.pem"),
            key: read("key.pem"),
        }
    }
}

/// Believes whatever server.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

// === impl Anyone ===

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
