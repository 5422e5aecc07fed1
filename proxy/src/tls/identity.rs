//! Who this workload is, how it proves it, and whom it believes: the three files of
//! `--identity-dir`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use config::spiffe::{SpiffeError, SpiffeId};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::tls::facts::{CertificateFacts, Purpose};
use crate::tls::verify::{PeerFault, Trust};
use crate::tls::words;
use crate::tls::{mutual, pem};

/// The chain of the workload's certificate, its own first.
const CHAIN: &str = "cert-chain.pem";
/// Its private key.
const KEY: &str = "key.pem";
/// The authorities whose workloads are believed.
const ROOTS: &str = "root-cert.pem";
/// Most characters of what is no identity that are told.
const TOLD_CHARS_MAX: usize = 256;

/// Who this workload is, how it proves it, and whom it believes.
#[derive(Debug)]
pub struct WorkloadIdentity {
    /// The one identity in its certificate.
    pub(crate) id: SpiffeId,
    /// Chain and key.
    pub(crate) certified: Arc<CertifiedKey>,
    /// Whom it believes.
    pub(crate) trust: Trust,
    /// What its certificates say, that of the workload first, and those of the authorities.
    pub(crate) facts: Vec<CertificateFacts>,
    /// How it lets other workloads in.
    pub(crate) server: Arc<ServerConfig>,
}

/// Why a folder gives no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read, or is not what it should be.
    #[error("{file}: {problem}")]
    File {
        /// Which of the three.
        file: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Chain and key do not fit.
    #[error("{KEY} does not belong to {CHAIN}: {}", words::of(.0))]
    Mismatch(rustls::Error),
    /// They fit, but not what is needed to speak TLS.
    #[error("they cannot be used: {}", words::of(.0))]
    Unusable(rustls::Error),
    /// Nobody who believes the same authorities would believe it.
    #[error("{ROOTS} does not vouch for {CHAIN}: {0}")]
    NotVouched(rustls::Error),
    /// The certificate has none or several, or one that is no SPIFFE identity.
    #[error("{CHAIN}: {0}")]
    Identity(#[from] NameError),
}

/// Why a certificate does not name one workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It has no URI.
    #[error("the certificate names no workload")]
    None,
    /// It has several, which an X.509-SVID must not (X509-SVID §2).
    #[error("the certificate names {0} workloads")]
    Several(usize),
    /// It has one that is no identity.
    #[error("the certificate names {0:?}: it {1}")]
    Malformed(Box<str>, SpiffeError),
}

// === impl WorkloadIdentity ===

impl WorkloadIdentity {
    /// Reads `cert-chain.pem`, `key.pem` and `root-cert.pem` in `folder`. The workloads of `aliases`
    /// are believed like those of the trust domain that the certificate names.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with them.
    pub fn read(folder: &Path, aliases: &[String]) -> Result<Self, IdentityError> {
        let in_file = |file| move |problem| IdentityError::File { file, problem };
        let [chain_file, key_file, roots_file] = Self::files(folder);
        let chain = pem::chain(&chain_file).map_err(in_file(CHAIN))?;
        let key = pem::key(&key_file).map_err(in_file(KEY))?;
        let authorities = pem::chain(&roots_file).map_err(in_file(ROOTS))?;
        let leaf = chain.first().ok_or(NameError::Unreadable)?;
        let id = workload_of(leaf)?;
        let mut facts = Vec::new();
        for certificate in &chain {
            let read = CertificateFacts::read(certificate, Purpose::Identity, &chain_file);
            facts.push(read?);
        }
        for certificate in &authorities {
            let read = CertificateFacts::read(certificate, Purpose::Root, &roots_file);
            facts.push(read.map_err(|error| in_file(ROOTS)(error.to_string()))?);
        }
        let roots = pem::authorities(authorities).map_err(in_file(ROOTS))?;
        let provider = aws_lc_rs::default_provider();
        let certified =
            CertifiedKey::from_der(chain, key, &provider).map_err(IdentityError::Mismatch)?;
        let certified = Arc::new(certified);
        let own = std::iter::once(id.trust_domain());
        let domains = own.chain(aliases.iter().map(String::as_str));
        let trust = Trust {
            domains: domains.map(Box::from).collect(),
            roots: Arc::new(roots),
        };
        let server = mutual::server(&certified, &trust, mutual::VERSIONS);
        Ok(Self {
            server: Arc::new(server.map_err(IdentityError::Unusable)?),
            id,
            certified,
            trust,
            facts,
        })
    }

    /// The files that make an identity.
    pub(crate) fn files(folder: &Path) -> [PathBuf; 3] {
        [CHAIN, KEY, ROOTS].map(|name| folder.join(name))
    }

    /// Whether `other` was made of the same certificates, so that either can stand for the other. The
    /// key belongs to the certificate, and so is the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
            && self.trust.roots.roots == other.trust.roots.roots
            && self.trust.domains == other.trust.domains
    }

    /// Checks that one of its own authorities vouches for its certificate at a time.
    ///
    /// # Errors
    ///
    /// Why none does.
    pub(crate) fn check_vouched(&self, now: SystemTime) -> Result<(), IdentityError> {
        self.check_vouched_by(&self.trust.roots, now)
    }

    /// Checks that one of these authorities vouches for its certificate at a time. What the certificate
    /// is for is not looked at: a workload may only ever be a client.
    ///
    /// # Errors
    ///
    /// Why none does.
    pub(crate) fn check_vouched_by(
        &self,
        roots: &RootCertStore,
        now: SystemTime,
    ) -> Result<(), IdentityError> {
        let Some((leaf, intermediates)) = self.certified.cert.split_first() else {
            return Err(NameError::Unreadable.into());
        };
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let checked = ParsedCertificate::try_from(leaf).and_then(|leaf| {
            verify_server_cert_signed_by_trust_anchor(
                &leaf,
                roots,
                intermediates,
                UnixTime::since_unix_epoch(since.unwrap_or_default()),
                algorithms.all,
            )
        });
        match checked.as_ref().err().and_then(PeerFault::of) {
            Some(PeerFault::WrongUsage) => Ok(()),
            Some(_) | None => checked.map_err(IdentityError::NotVouched),
        }
    }

    /// Whether its certificate is valid at a time.
    pub(crate) fn is_valid_at(&self, now: SystemTime) -> bool {
        self.facts.first().is_some_and(|leaf| leaf.is_valid_at(now))
    }
}

/// The one workload that a certificate names.
///
/// # Errors
///
/// When it names none or several.
pub(crate) fn workload_of(certificate: &CertificateDer<'_>) -> Result<SpiffeId, NameError> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| NameError::Unreadable)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_| NameError::Unreadable)?;
    let names = names.iter().flat_map(|it| &it.value.general_names);
    let uris: Vec<&str> = names
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris[..] {
        [] => Err(NameError::None),
        [uri] => SpiffeId::parse(uri).map_err(|error| {
            let told: String = uri.chars().take(TOLD_CHARS_MAX).collect();
            NameError::Malformed(told.into(), error)
        }),
        _ => Err(NameError::Several(uris.len())),
    }
}
