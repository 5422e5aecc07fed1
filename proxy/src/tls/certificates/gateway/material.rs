//! What the servers of gateways need to end TLS, from files, secrets and the workload's identity.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use config::mesh::{Mesh, Viewer};
use config::resource::secret::Secret;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore};

use super::Refusal;
use super::terms::{Credentials, Terms};
use crate::tls::certificates::doubts;
use crate::tls::clients::{Authorities, ClientRules, Demands, Hash};
use crate::tls::facts::{CertificateFacts, Purpose};
use crate::tls::identity::WorkloadIdentity;
use crate::tls::pem;
use crate::tls::verify::ClientVerifier;
use crate::tls::words;

/// Largest number of certificates of one server: one for each kind of key.
const CERTIFICATES_MAX: usize = 8;

/// Where it comes from.
pub(super) struct Sources<'s> {
    pub(super) mesh: &'s Mesh,
    /// The gateway's workload, in whose namespace secrets are.
    pub(super) viewer: &'s Viewer,
    pub(super) identity: Option<&'s Arc<WorkloadIdentity>>,
}

/// What ends TLS by some terms.
pub(super) struct Material {
    pub(super) certified: Vec<Arc<CertifiedKey>>,
    /// Certificates of authorities, and what they revoked.
    clients: Option<Believed>,
    /// What is said of what was read, but for the workload's own.
    pub(super) facts: Vec<CertificateFacts>,
    /// What is doubtful about what authorities revoked.
    pub(super) doubts: Vec<String>,
    /// Of everything that was read: equal material has equal ones.
    pub(super) digest: Hash,
}

/// Whom clients are believed for.
enum Believed {
    Authorities(RootCertStore, Vec<CertificateRevocationListDer<'static>>),
    Mesh(Arc<WorkloadIdentity>),
}

/// Why there is none.
pub(super) enum Lack {
    /// Something is wrong: the configuration cannot be used.
    Wrong(Refusal),
    /// Something is not there, and may come: the server stays shut.
    Missing(Refusal),
}

/// Reads the material of one server.
struct Reader<'r, 's> {
    sources: &'r Sources<'s>,
    read: Context,
    facts: Vec<CertificateFacts>,
    doubts: Vec<String>,
}

// === impl Material ===

impl Material {
    /// Reads what `terms` ask for.
    pub(super) fn read(terms: &Terms, sources: &Sources<'_>) -> Result<Self, Lack> {
        let mut reader = Reader {
            sources,
            read: Context::new(&SHA256),
            facts: Vec::new(),
            doubts: Vec::new(),
        };
        let certified = reader.certified(&terms.credentials)?;
        let clients = match &terms.clients {
            Some(demands) => Some(reader.believed(demands)?),
            None => None,
        };
        let mut digest = Hash::default();
        digest.copy_from_slice(reader.read.finish().as_ref());
        Ok(Self {
            certified,
            clients,
            facts: reader.facts,
            doubts: reader.doubts,
            digest,
        })
    }

    /// What judges clients by `demands`.
    pub(super) fn rules(
        &self,
        demands: &Arc<Demands>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<ClientRules>, Error> {
        let chains: Arc<dyn ClientCertVerifier> = match &self.clients {
            None => return Ok(None),
            Some(Believed::Mesh(identity)) => {
                Arc::new(ClientVerifier::new(&identity.trust, provider)?)
            }
            Some(Believed::Authorities(roots, revoked)) => {
                let roots = Arc::new(roots.clone());
                let builder =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
                let builder = match revoked.is_empty() {
                    true => builder,
                    // A list that is out of date may lack what was revoked since.
                    false => builder
                        .with_crls(revoked.iter().cloned())
                        .enforce_revocation_expiration(),
                };
                builder
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?
            }
        };
        Ok(Some(ClientRules::new(Arc::clone(demands), chains)))
    }
}

// === impl Reader ===

impl<'s> Reader<'_, 's> {
    fn certified(&mut self, credentials: &Credentials) -> Result<Vec<Arc<CertifiedKey>>, Lack> {
        match credentials {
            Credentials::Workload => {
                let identity = self.identity()?;
                for certificate in &identity.certified.cert {
                    self.note(certificate);
                }
                Ok(vec![Arc::clone(&identity.certified)])
            }
            Credentials::Files(pairs) => {
                let pairs = pairs.iter().take(CERTIFICATES_MAX).enumerate();
                let several = pairs.len() > 1;
                pairs
                    .map(|(at, pair)| self.certified_by_files(pair, several.then_some(at)))
                    .collect()
            }
            Credentials::Secrets(names) => {
                let names = names.iter().take(CERTIFICATES_MAX);
                names.map(|name| self.certified_by_secret(name)).collect()
            }
        }
    }

    fn certified_by_files(
        &mut self,
        (certificate, key): &(String, String),
        at: Option<usize>,
    ) -> Result<Arc<CertifiedKey>, Lack> {
        // Fields of a list are named by where they stand, which the caller of findings cannot know.
        let (certificate_at, key_at) = match at {
            None => ("tls.serverCertificate", "tls.privateKey"),
            Some(0) => (
                "tls.tlsCertificates[0].serverCertificate",
                "tls.tlsCertificates[0].privateKey",
            ),
            Some(1) => (
                "tls.tlsCertificates[1].serverCertificate",
                "tls.tlsCertificates[1].privateKey",
            ),
            Some(_) => ("tls.tlsCertificates", "tls.tlsCertificates"),
        };
        let chain =
            pem::chain(Path::new(certificate)).map_err(|it| Lack::Wrong((certificate_at, it)))?;
        let key = pem::key(Path::new(key)).map_err(|it| Lack::Wrong((key_at, it)))?;
        self.tell(&chain, Purpose::Gateway, Path::new(certificate));
        self.pair(chain, key).map_err(|error| {
            Lack::Wrong(match error {
                Error::InconsistentKeys(_) => (
                    key_at,
                    "must belong to the certificate of serverCertificate".to_owned(),
                ),
                error => (
                    certificate_at,
                    format!("cannot be used: {}", words::of(&error)),
                ),
            })
        })
    }

    fn certified_by_secret(&mut self, name: &str) -> Result<Arc<CertifiedKey>, Lack> {
        const FIELD: &str = "tls.credentialName";
        let secret = self.secret(name).ok_or_else(|| self.no_secret(name))?;
        let wrong = |entry: &str, problem: &str| {
            Lack::Wrong((FIELD, format!("{entry} of Secret \"{name}\" {problem}")))
        };
        let (certificate, key) = match secret.entry("tls.crt") {
            Ok(Some(_)) => ("tls.crt", "tls.key"),
            Ok(None) | Err(_) => ("cert", "key"),
        };
        let chain = entry(secret, certificate).map_err(|it| wrong(certificate, it))?;
        let chain = pem::chain_in(&chain).map_err(|it| wrong(certificate, &it))?;
        let pem = entry(secret, key).map_err(|it| wrong(key, it))?;
        let private = pem::key_in(&pem).map_err(|_| wrong(key, "must be a private key in PEM"))?;
        if chain.is_empty() {
            return Err(wrong(certificate, "must have a certificate"));
        }
        self.tell(&chain, Purpose::Gateway, &self.place_of(name));
        self.pair(chain, private).map_err(|error| match error {
            Error::InconsistentKeys(_) => wrong(key, &format!("must belong to {certificate}")),
            error => wrong(
                certificate,
                &format!("cannot be used: {}", words::of(&error)),
            ),
        })
    }

    /// Chain and key, if they belong together.
    fn pair(
        &mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<CertifiedKey>, Error> {
        for certificate in &chain {
            self.note(certificate);
        }
        self.note(key.secret_der());
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map(Arc::new)
    }

    fn believed(&mut self, demands: &Demands) -> Result<Believed, Lack> {
        let (roots, place, field) = match &demands.authorities {
            Authorities::Mesh => {
                let identity = self.identity()?;
                for root in &identity.trust.roots.roots {
                    self.note(&root.subject);
                    self.note(&root.subject_public_key_info);
                }
                return Ok(Believed::Mesh(identity));
            }
            Authorities::File(file) => {
                let roots = pem::chain(Path::new(file));
                (roots, PathBuf::from(file), "tls.caCertificates")
            }
            Authorities::Secrets(names) => {
                let (roots, name) = self.authorities_by_secret(names)?;
                (roots, self.place_of(name), "tls.caCertCredentialName")
            }
        };
        let chain = roots.map_err(|problem| Lack::Wrong((field, problem)))?;
        self.tell(&chain, Purpose::Authority, &place);
        for certificate in &chain {
            self.note(certificate);
        }
        let signers = chain.clone();
        let roots = pem::authorities(chain).map_err(|problem| Lack::Wrong((field, problem)))?;
        let revoked = match &demands.revoked {
            None => Vec::new(),
            Some(file) => {
                let lists = pem::file(Path::new(file)).and_then(|pem| pem::revocations_in(&pem));
                lists.map_err(|problem| Lack::Wrong(("tls.caCrl", problem)))?
            }
        };
        for list in &revoked {
            self.note(list);
        }
        if let Some(file) = &demands.revoked {
            let place = format!("{file:?}");
            self.doubts = doubts::lists(&revoked, &signers, &place, SystemTime::now());
        }
        Ok(Believed::Authorities(roots, revoked))
    }

    /// The certificates of authorities in the first of these secrets that has any, and its name.
    fn authorities_by_secret<'n>(
        &self,
        names: &'n [String],
    ) -> Result<(Result<Vec<CertificateDer<'static>>, String>, &'n str), Lack> {
        for name in names {
            let Some(secret) = self.secret(name) else {
                continue;
            };
            for place in ["ca.crt", "cacert"] {
                let Ok(Some(pem)) = secret.entry(place) else {
                    continue;
                };
                let chain = pem::chain_in(&pem);
                let chain = chain.map_err(|it| format!("{place} of Secret \"{name}\" {it}"));
                return Ok((chain, name));
            }
        }
        let first = names.first().map_or("", String::as_str);
        Err(Lack::Missing((
            "tls.caCertCredentialName",
            format!("no Secret \"{first}\" has authorities; the server stays shut"),
        )))
    }

    fn identity(&self) -> Result<Arc<WorkloadIdentity>, Lack> {
        let message = "needs the identity of the workload (--identity-dir); the server stays shut";
        let missing = || Lack::Missing(("tls.mode", message.to_owned()));
        self.sources.identity.cloned().ok_or_else(missing)
    }

    fn secret(&self, name: &str) -> Option<&'s Secret> {
        let (mesh, viewer) = (self.sources.mesh, self.sources.viewer);
        mesh.secret(&viewer.namespace, name)
    }

    fn no_secret(&self, name: &str) -> Lack {
        let namespace = &self.sources.viewer.namespace;
        Lack::Missing((
            "tls.credentialName",
            format!("no Secret \"{name}\" in namespace {namespace}; the server stays shut"),
        ))
    }

    /// What a secret is called where its certificates are told of.
    fn place_of(&self, name: &str) -> PathBuf {
        let namespace = &self.sources.viewer.namespace;
        PathBuf::from(format!("Secret {namespace}/{name}"))
    }

    /// Notes what certificates say of themselves.
    fn tell(&mut self, chain: &[CertificateDer<'static>], purpose: Purpose, place: &Path) {
        let facts = CertificateFacts::of_all(chain, purpose, place);
        self.facts.extend(facts);
    }

    /// Notes something that was read.
    fn note(&mut self, bytes: &[u8]) {
        self.read.update(&bytes.len().to_le_bytes());
        self.read.update(bytes);
    }
}

/// An entry that has to be there.
fn entry(secret: &Secret, name: &str) -> Result<Vec<u8>, &'static str> {
    secret.entry(name)?.ok_or("is missing")
}
