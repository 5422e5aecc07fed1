//! How gateways end TLS: what their servers say, and what they need for it.

mod material;
mod terms;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use config::mesh::{Mesh, MeshSettings, Viewer};
use config::resource::gateway::Server;
use config::{Finding, Resource, Severity, Spec};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig, SignatureAlgorithm};

use crate::tls::certificates::doubts;
use crate::tls::clients::{Hash, Leniency};
use crate::tls::facts::CertificateFacts;
use crate::tls::gateway::Acceptance;
use crate::tls::identity::WorkloadIdentity;
use crate::tls::mutual;
use crate::tls::words;
use material::{Lack, Material, Sources};
use terms::{Credentials, Inside, Terms};

/// Protocols offered to clients in the order in which we prefer them (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How TLS ends at the servers of gateways, by what they say of it.
#[derive(Debug, Default)]
pub(super) struct Servers {
    made: BTreeMap<Terms, Made>,
}

/// What was made of terms.
#[derive(Debug, Clone)]
struct Made {
    /// Of what the files held.
    digest: Hash,
    acceptance: Arc<Acceptance>,
    /// What they say of themselves.
    facts: Arc<[CertificateFacts]>,
    /// What is shown to clients.
    certified: Vec<Arc<CertifiedKey>>,
    /// What is doubtful about the lists of what is revoked.
    doubts: Vec<String>,
}

/// Shows the certificate that the client can verify, rather one whose key is quick to use.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

/// Why TLS does not end, at a field of a server.
type Refusal = (&'static str, String);

// === impl Servers ===

impl Servers {
    /// Whether both accept by the same objects.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let mut pairs = self.made.iter().zip(&other.made);
        let same = |(a, b): ((&Terms, &Made), (&Terms, &Made))| {
            a.0 == b.0 && Arc::ptr_eq(&a.1.acceptance, &b.1.acceptance)
        };
        self.made.len() == other.made.len() && pairs.all(same)
    }

    /// Reads what the gateways of `viewer` need; what is found wrong belongs to the fields that name
    /// it. What is as `before` stays the same object, and with it the keys of tickets.
    pub(super) fn load(
        mesh: &Mesh,
        viewer: &Viewer,
        identity: Option<&Arc<WorkloadIdentity>>,
        before: Option<&Self>,
    ) -> (Self, Vec<(Arc<Resource>, Finding)>) {
        let mut servers = Self::default();
        let mut findings = Vec::new();
        let sources = Sources {
            mesh,
            viewer,
            identity,
        };
        for gateway in mesh.gateways(viewer) {
            let Spec::Gateway(spec) = &gateway.spec else {
                continue;
            };
            for (position, server) in spec.servers.iter().enumerate() {
                for (severity, (field, message)) in servers.add(server, &sources, before) {
                    let finding = Finding {
                        severity,
                        path: format!("spec.servers[{position}].{field}"),
                        message,
                    };
                    findings.push((Arc::clone(gateway), finding));
                }
            }
        }
        (servers, findings)
    }

    /// The same, of a workload with another identity. What cannot be made for it stays as it was.
    pub(super) fn with_identity(&self, identity: &Arc<WorkloadIdentity>) -> Self {
        let sources = Sources {
            mesh: &Mesh::new(&[], MeshSettings::default()),
            viewer: &Viewer::default(),
            identity: Some(identity),
        };
        let made = self.made.iter().map(|(terms, made)| {
            let again = match terms.credentials {
                Credentials::Workload => Made::new(terms, &sources, Some(self)).ok(),
                Credentials::Files(_) | Credentials::Secrets(_) => None,
            };
            (terms.clone(), again.unwrap_or_else(|| made.clone()))
        });
        Self {
            made: made.collect(),
        }
    }

    /// How TLS ends at `server`; none if it does not, or if something for it is missing.
    pub(super) fn acceptance(&self, server: &Server) -> Option<&Arc<Acceptance>> {
        let terms = Terms::of(server).ok()??;
        self.made.get(&terms).map(|made| &made.acceptance)
    }

    /// What the certificates in use say of themselves, but for the workload's own.
    pub(super) fn facts(&self) -> impl Iterator<Item = &CertificateFacts> {
        self.made.values().flat_map(|made| made.facts.iter())
    }

    fn add(
        &mut self,
        server: &Server,
        sources: &Sources<'_>,
        before: Option<&Self>,
    ) -> Vec<(Severity, Refusal)> {
        let terms = match Terms::of(server) {
            Ok(Some(terms)) => terms,
            Ok(None) => return Vec::new(),
            Err(refusal) => return vec![(Severity::Error, refusal)],
        };
        let mut findings = Vec::new();
        if let Some(demands) = &terms.clients
            && demands.leniency == Leniency::LetIn
        {
            let message = "lets in clients whose certificates cannot be verified; they are not \
                           believed to be anybody";
            let refusal = ("tls.insecureSkipVerify", message.to_owned());
            findings.push((Severity::Warning, refusal));
        }
        if !self.made.contains_key(&terms) {
            match Made::new(&terms, sources, before) {
                Ok(made) => {
                    self.made.insert(terms.clone(), made);
                }
                Err(Lack::Wrong(refusal)) => {
                    findings.push((Severity::Error, refusal));
                    // Where an error does not hold up everything, what was good stays.
                    if let Some(good) = before.and_then(|before| before.made.get(&terms)) {
                        self.made.insert(terms.clone(), good.clone());
                    }
                }
                Err(Lack::Missing(refusal)) => findings.push((Severity::Warning, refusal)),
            }
        }
        if let Some(made) = self.made.get(&terms) {
            let doubts = made.doubts(&terms, server, SystemTime::now()).into_iter();
            findings.extend(doubts.map(|it| (Severity::Warning, it)));
        }
        findings
    }
}

// === impl Made ===

impl Made {
    fn new(terms: &Terms, sources: &Sources<'_>, before: Option<&Servers>) -> Result<Self, Lack> {
        let mut material = Material::read(terms, sources)?;
        let digest = material.digest;
        let facts = std::mem::take(&mut material.facts).into();
        let certified = material.certified.clone();
        let doubts = std::mem::take(&mut material.doubts);
        let same = before.and_then(|before| before.made.get(terms));
        if let Some(same) = same.filter(|made| made.digest == digest) {
            return Ok(Self {
                digest,
                acceptance: Arc::clone(&same.acceptance),
                facts,
                certified,
                doubts,
            });
        }
        let acceptance = acceptance(terms, material);
        let acceptance = acceptance
            .map_err(|it| Lack::Wrong(("tls", format!("cannot be used: {}", words::of(&it)))))?;
        Ok(Self {
            digest,
            acceptance: Arc::new(acceptance),
            facts,
            certified,
            doubts,
        })
    }

    /// What clients of `server` will not believe, and what we will not of them.
    fn doubts(&self, terms: &Terms, server: &Server, now: SystemTime) -> Vec<Refusal> {
        let (field, places): (_, Vec<String>) = match &terms.credentials {
            // The mesh's own, in which names of hosts count for nothing.
            Credentials::Workload => ("", Vec::new()),
            Credentials::Files(pairs) => {
                let field = match pairs.len() {
                    1 => "tls.serverCertificate",
                    _ => "tls.tlsCertificates",
                };
                let places = pairs
                    .iter()
                    .map(|(certificate, _)| format!("{certificate:?}"));
                (field, places.collect())
            }
            Credentials::Secrets(names) => {
                let places = names.iter().map(|name| format!("Secret {name:?}"));
                ("tls.credentialName", places.collect())
            }
        };
        let hosts: Vec<&str> = server.hosts.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        for (certified, place) in self.certified.iter().zip(&places) {
            let Some(leaf) = certified.cert.first() else {
                continue;
            };
            let doubts = [
                doubts::dates(leaf, place, now),
                doubts::names(leaf, place, &hosts),
            ];
            found.extend(doubts.into_iter().flatten().map(|it| (field, it)));
        }
        found.extend(self.doubts.iter().map(|it| ("tls.caCrl", it.clone())));
        found
    }
}

/// What ends TLS by these terms.
///
/// Tickets have keys of their own for each of them, so that a session that began by one cannot go on
/// by another that asks for more.
fn acceptance(terms: &Terms, material: Material) -> Result<Acceptance, Error> {
    let provider = Arc::new(terms.provider());
    let clients = match &terms.clients {
        Some(demands) => material.rules(demands, &provider)?.map(Arc::new),
        None => None,
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&terms.versions.supported())?;
    let builder = match &clients {
        Some(rules) => builder.with_client_cert_verifier(Arc::clone(rules) as _),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates::new(material.certified)));
    config.alpn_protocols = match terms.inside {
        Inside::Http => ALPN.map(<[u8]>::to_vec).to_vec(),
        Inside::Opaque => Vec::new(),
    };
    config.ticketer = mutual::tickets()?;
    // Tickets do, and cost neither memory nor a lock.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // What comes early can be sent again by anybody who saw it (RFC 8446 §8).
    config.max_early_data_size = 0;
    config.ignore_client_order = true;
    Ok(Acceptance {
        config: Arc::new(config),
        clients,
    })
}

// === impl Certificates ===

impl Certificates {
    fn new(mut certified: Vec<Arc<CertifiedKey>>) -> Self {
        certified.sort_by_key(|it| match it.key.algorithm() {
            SignatureAlgorithm::RSA => 1,
            _ => 0,
        });
        Self(certified)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let mut able = self.0.iter();
        let able = able.find(|it| it.key.choose_scheme(schemes).is_some());
        able.or(self.0.first()).cloned()
    }
}

#[cfg(test)]
mod tests;
