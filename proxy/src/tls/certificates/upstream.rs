//! What rules name of files for TLS towards upstreams.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use config::resource::destination_rule::{ClientTls, ClientTlsMode, TrafficPolicy};
use config::{Finding, Resource, Severity, Spec};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::sign::CertifiedKey;

use crate::tls::certificates::doubts;
use crate::tls::client::{Authorities, AuthorityError};
use crate::tls::facts::{CertificateFacts, Purpose};
use crate::tls::pem;
use crate::tls::words;

/// What stands for the system's authorities, as if none were named.
const SYSTEM: &str = "system";

/// Certificates of our own and authorities, by the files that rules name.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    own: BTreeMap<OwnFiles, Arc<CertifiedKey>>,
    authorities: BTreeMap<AuthorityFiles, Arc<Authorities>>,
}

/// Files of a certificate of our own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct OwnFiles {
    certificate: Box<str>,
    key: Box<str>,
}

/// Files of authorities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct AuthorityFiles {
    /// None stands for the system's.
    certificates: Option<Box<str>>,
    revoked: Option<Box<str>>,
}

/// Why something cannot be used, at a field of `tls`.
type Refusal = (Severity, &'static str, String);

/// Loads what is new and takes over what is not.
struct Loading<'b> {
    before: &'b Clients,
    now: Clients,
    findings: Vec<(Arc<Resource>, Finding)>,
}

// === impl Clients ===

impl Clients {
    /// Reads the files of `rules`; what is found wrong belongs to the fields that name them. What
    /// `before` has of the same content is taken over as the same object.
    pub(super) fn load<'r>(
        rules: impl IntoIterator<Item = &'r Arc<Resource>>,
        before: &Self,
    ) -> (Self, Vec<(Arc<Resource>, Finding)>) {
        let mut loading = Loading {
            before,
            now: Self::default(),
            findings: Vec::new(),
        };
        for rule in rules {
            let Spec::DestinationRule(spec) = &rule.spec else {
                continue;
            };
            if let Some(policy) = &spec.traffic_policy {
                loading.policy(rule, "spec.trafficPolicy", policy);
            }
            for (position, subset) in spec.subsets.iter().enumerate() {
                if let Some(policy) = &subset.traffic_policy {
                    let path = format!("spec.subsets[{position}].trafficPolicy");
                    loading.policy(rule, &path, policy);
                }
            }
        }
        (loading.now, loading.findings)
    }

    /// The certificate of our own that a rule names.
    pub(crate) fn own(&self, tls: &ClientTls) -> Option<&Arc<CertifiedKey>> {
        self.own.get(&OwnFiles::of(tls)?)
    }

    /// The authorities that a rule names, or the system's.
    pub(crate) fn authorities(&self, tls: &ClientTls) -> Option<&Arc<Authorities>> {
        self.authorities.get(&AuthorityFiles::of(tls))
    }

    /// What the certificates say of themselves, but for the system's authorities.
    pub(super) fn facts(&self) -> impl Iterator<Item = CertificateFacts> {
        let own = self.own.iter().flat_map(|(files, own)| {
            let place = Path::new(&*files.certificate);
            CertificateFacts::of_all(&own.cert, Purpose::Client, place)
        });
        let authorities = self.authorities.iter().flat_map(|(files, authorities)| {
            let place = files.certificates.as_deref().unwrap_or(SYSTEM);
            let certificates = authorities.certificates();
            CertificateFacts::of_all(certificates, Purpose::Authority, Path::new(place))
        });
        own.chain(authorities)
    }

    /// Whether everything is the same object as in `other`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        fn same<K: PartialEq, T>(a: &BTreeMap<K, Arc<T>>, b: &BTreeMap<K, Arc<T>>) -> bool {
            let mut pairs = a.iter().zip(b);
            a.len() == b.len() && pairs.all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
        }
        same(&self.own, &other.own) && same(&self.authorities, &other.authorities)
    }
}

// === impl Loading ===

impl Loading<'_> {
    fn policy(&mut self, rule: &Arc<Resource>, path: &str, policy: &TrafficPolicy) {
        if let Some(tls) = &policy.tls {
            self.tls(rule, &format!("{path}.tls"), tls);
        }
        for (position, port) in policy.port_level_settings.iter().enumerate() {
            if let Some(tls) = &port.tls {
                let path = format!("{path}.portLevelSettings[{position}].tls");
                self.tls(rule, &path, tls);
            }
        }
    }

    fn tls(&mut self, rule: &Arc<Resource>, path: &str, tls: &ClientTls) {
        let mode = tls.mode.unwrap_or(ClientTlsMode::Disable);
        let (shows, verifies) = match mode {
            ClientTlsMode::Disable | ClientTlsMode::IstioMutual => (false, false),
            ClientTlsMode::Simple => (false, true),
            ClientTlsMode::Mutual => (true, true),
        };
        if written(tls.credential_name.as_ref()).is_some() {
            return;
        }
        let verifies = verifies && tls.insecure_skip_verify != Some(true);
        let own = OwnFiles::of(tls).filter(|_| shows).map(|it| self.own(it));
        let authorities = verifies.then(|| self.authorities(AuthorityFiles::of(tls)));
        let refusals = [own, authorities].into_iter().flatten();
        let refusals = refusals
            .filter_map(Result::err)
            .chain(self.doubts(tls, shows, verifies));
        let refusals: Vec<Refusal> = refusals.collect();
        for (severity, field, message) in refusals {
            let finding = Finding {
                severity,
                path: format!("{path}.{field}"),
                message,
            };
            self.findings.push((Arc::clone(rule), finding));
        }
    }

    /// What servers will not believe of what a rule names, and what we will not of them.
    fn doubts(&self, tls: &ClientTls, shows: bool, verifies: bool) -> Vec<Refusal> {
        let now = SystemTime::now();
        let mut found = Vec::new();
        if let Some(files) = OwnFiles::of(tls).filter(|_| shows)
            && let Some(own) = self.now.own.get(&files)
            && let Some(leaf) = own.cert.first()
            && let Some(doubt) = doubts::dates(leaf, &format!("{:?}", files.certificate), now)
        {
            found.push((Severity::Warning, "clientCertificate", doubt));
        }
        let files = AuthorityFiles::of(tls);
        if verifies
            && let (Some(_), Some(revoked)) = (&files.certificates, &files.revoked)
            && let Some(authorities) = self.now.authorities.get(&files)
        {
            let (certificates, lists) = authorities.written();
            let doubts = doubts::lists(lists, certificates, &format!("{revoked:?}"), now);
            found.extend(
                doubts
                    .into_iter()
                    .map(|it| (Severity::Warning, "caCrl", it)),
            );
        }
        found
    }

    fn own(&mut self, files: OwnFiles) -> Result<(), Refusal> {
        if self.now.own.contains_key(&files) {
            return Ok(());
        }
        let error = |field: &'static str| move |it: String| (Severity::Error, field, it);
        let certificate = "clientCertificate";
        let chain = pem::chain(Path::new(&*files.certificate)).map_err(error(certificate))?;
        let key = pem::key(Path::new(&*files.key)).map_err(error("privateKey"))?;
        let provider = aws_lc_rs::default_provider();
        let read = CertifiedKey::from_der(chain, key, &provider).map_err(|it| match it {
            rustls::Error::InconsistentKeys(_) => {
                let message = "must belong to the certificate of clientCertificate";
                error("privateKey")(message.to_owned())
            }
            it => error(certificate)(format!("cannot be used: {}", words::of(&it))),
        })?;
        let before = self.before.own.get(&files);
        // A certificate has one key: if it is the same, so is the key.
        let kept = match before.filter(|before| before.cert == read.cert) {
            Some(before) => Arc::clone(before),
            None => Arc::new(read),
        };
        self.now.own.insert(files, kept);
        Ok(())
    }

    fn authorities(&mut self, files: AuthorityFiles) -> Result<(), Refusal> {
        if self.now.authorities.contains_key(&files) {
            return Ok(());
        }
        let before = self.before.authorities.get(&files);
        let kept = match &files.certificates {
            Some(certificates) => read(certificates, files.revoked.as_deref(), before),
            None => system(files.revoked.as_deref(), before),
        };
        // Where an error does not hold up everything, what was good stays.
        let (kept, result) = match kept {
            Ok(kept) => (Some(kept), Ok(())),
            Err(refusal) => (before.cloned(), Err(refusal)),
        };
        if let Some(kept) = kept {
            self.now.authorities.insert(files, kept);
        }
        result
    }
}

/// Authorities from files, or those of `before` if they are made of the same.
fn read(
    certificates: &str,
    revoked: Option<&str>,
    before: Option<&Arc<Authorities>>,
) -> Result<Arc<Authorities>, Refusal> {
    let chain = pem::chain(Path::new(certificates));
    let chain = chain.map_err(|it| (Severity::Error, "caCertificates", it))?;
    let lists = revocations(revoked)?;
    match before.filter(|before| before.is_made_of(&chain, &lists)) {
        Some(before) => Ok(Arc::clone(before)),
        None => made(Authorities::new(chain, lists)),
    }
}

/// The authorities of the system, which are read once and not with each change of a file. Without any
/// the rule is not wrong, and what it is for stays shut.
fn system(
    revoked: Option<&str>,
    before: Option<&Arc<Authorities>>,
) -> Result<Arc<Authorities>, Refusal> {
    let lists = revocations(revoked)?;
    if let Some(before) = before.filter(|before| before.is_made_of(&[], &lists)) {
        return Ok(Arc::clone(before));
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let message = "the system has no authorities, and caCertificates names none: no connection \
                       is opened";
        return Err((Severity::Warning, "mode", message.to_owned()));
    }
    made(Authorities::of_system(found.certs, lists))
}

fn revocations(file: Option<&str>) -> Result<Vec<CertificateRevocationListDer<'static>>, Refusal> {
    let lists = file.map_or(Ok(Vec::new()), |it| pem::revocations(Path::new(it)));
    lists.map_err(|it| (Severity::Error, "caCrl", it))
}

fn made(made: Result<Authorities, AuthorityError>) -> Result<Arc<Authorities>, Refusal> {
    made.map(Arc::new).map_err(|error| match error {
        AuthorityError::Certificate(error) => (
            Severity::Error,
            "caCertificates",
            format!(
                "must have certificates of authorities: {}",
                words::of(&error)
            ),
        ),
        AuthorityError::List(error) => {
            let message = format!(
                "must have lists that can be used: {}",
                words::of_chain(&error)
            );
            (Severity::Error, "caCrl", message)
        }
    })
}

// === impl OwnFiles ===

impl OwnFiles {
    fn of(tls: &ClientTls) -> Option<Self> {
        Some(Self {
            certificate: written(tls.client_certificate.as_ref())?.into(),
            key: written(tls.private_key.as_ref())?.into(),
        })
    }
}

// === impl AuthorityFiles ===

impl AuthorityFiles {
    fn of(tls: &ClientTls) -> Self {
        let certificates = written(tls.ca_certificates.as_ref());
        Self {
            certificates: certificates.filter(|it| *it != SYSTEM).map(Box::from),
            revoked: written(tls.ca_crl.as_ref()).map(Box::from),
        }
    }
}

fn written(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
