//! What signs, and what is believed: both at one time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authority::{Authority, AuthorityError, Bundle, BundleError, Issued, Key, ServerName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, UnixTime};

/// An authority, and roots one of which is its.
#[derive(Debug)]
pub(crate) struct Trust {
    /// What signs.
    pub(crate) authority: Authority,
    /// What is believed; while a root rotates, both.
    pub(crate) roots: Bundle,
}

/// Why an authority and roots are not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrustError {
    /// A part is missing.
    #[error("has no {0}")]
    Missing(&'static str),
    /// The authority cannot be loaded, or does not sign now.
    #[error("the authority cannot be used")]
    Authority(#[from] AuthorityError),
    /// The roots cannot be used.
    #[error("the roots cannot be used")]
    Roots(#[from] BundleError),
    /// The system gave no randomness.
    #[error("cannot make a key")]
    Key,
    /// Whoever believes these roots does not believe what this authority signs.
    #[error("the authority is below none of the roots: {0}")]
    NotBelow(String),
}

/// How long what is signed to see whether it is believed would be valid.
const PROBE_LIFETIME: Duration = Duration::from_secs(60);

// === impl Trust ===

impl Trust {
    /// What may be used from `now`: it signs, and whoever believes the roots believes what it signs.
    ///
    /// # Errors
    ///
    /// Why it is not to be used.
    pub(crate) fn new(
        authority: Authority,
        roots: Bundle,
        now: SystemTime,
    ) -> Result<Self, TrustError> {
        let key = Key::generate().map_err(|_| TrustError::Key)?;
        let name: ServerName = "probe.invalid"
            .parse()
            .map_err(|_| TrustError::Missing("name"))?;
        let probe = authority.sign_server(&[name], &key, now, PROBE_LIFETIME)?;
        let trust = Self { authority, roots };
        match trust.verifies(probe.chain(), now) {
            Ok(()) => Ok(trust),
            Err(error) => Err(TrustError::NotBelow(error.to_string())),
        }
    }

    /// Whether one of these roots is still believed.
    pub(crate) fn shares_root(&self, roots: &Bundle) -> bool {
        let mut roots = roots.roots().iter();
        roots.any(|root| self.roots.roots().contains(root))
    }

    fn verifies(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), rustls::Error> {
        let none = rustls::Error::NoCertificatesPresented;
        let (leaf, above) = chain.split_first().ok_or(none)?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = UnixTime::since_unix_epoch(since.unwrap_or_default());
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.root_store(),
            above,
            now,
            provider().signature_verification_algorithms.all,
        )
    }

    /// The roots, for verifiers.
    pub(crate) fn root_store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.roots.roots().iter().cloned());
        store
    }

    /// The roots as PEM: for ConfigMaps, files, and the `caBundle` of webhooks.
    pub(crate) fn roots_pem(&self) -> String {
        self.roots.to_pem()
    }

    /// What a workload is answered: its certificate and those above it one by one, and all roots as the
    /// last.
    pub(crate) fn chain(&self, issued: &Issued) -> Vec<String> {
        let mut chain: Vec<String> = issued.chain().iter().map(pem).collect();
        chain.push(self.roots.to_pem());
        chain
    }
}

/// The cryptography that is used for TLS.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// One certificate as PEM (RFC 7468).
fn pem(certificate: &CertificateDer<'_>) -> String {
    /// Characters of a line.
    const LINE_CHARS: usize = 64;
    let body = STANDARD.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    fn root(now: SystemTime) -> Authority {
        Authority::root("test", now, DAY * 30).expect("a root")
    }

    fn bundle(of: &[&Authority]) -> Bundle {
        let mut bundle = Bundle::default();
        for root in of {
            bundle.add(root.certificate()).expect("a root");
        }
        bundle
    }

    #[test]
    fn an_authority_must_be_below_a_root_that_is_believed() {
        let now = SystemTime::now();
        let (own, foreign) = (root(now), root(now));
        let below = own.intermediate("below", now, DAY).expect("below a root");
        let foreign_below = foreign.intermediate("x", now, DAY).expect("below a root");
        let roots = bundle(&[&own]);

        Trust::new(below, roots.clone(), now).expect("it is below");
        let error = Trust::new(foreign_below, roots.clone(), now).expect_err("it is not");
        assert!(matches!(error, TrustError::NotBelow(_)), "{error}");
        let error = Trust::new(own, roots, now + DAY * 31).expect_err("it is over");
        assert_eq!(error, TrustError::Authority(AuthorityError::Expired));
    }

    #[test]
    fn a_control_plane_that_is_away_for_a_day_stops_nobody() {
        let now = SystemTime::now();
        let own = root(now);
        let roots = bundle(&[&own]);
        let trust = Trust::new(own, roots, now).expect("it signs");
        let key = Key::generate().expect("a key");
        let id = config::spiffe::SpiffeId::workload("td", "shop", "web").expect("an identity");
        let lifetime = DAY * 2;
        let issued = trust.authority.sign_workload(&id, &key, now, lifetime);
        let issued = issued.expect("a certificate");

        // It goes away at the worst moment: just before the certificate would have been renewed.
        let away = now + lifetime / 2 - Duration::from_secs(1);
        for hours in 0..=24 {
            let later = away + Duration::from_secs(hours * 3_600);
            assert_eq!(
                trust.verifies(issued.chain(), later),
                Ok(()),
                "{hours} hours"
            );
        }
        trust
            .verifies(issued.chain(), now + lifetime + Duration::from_secs(1))
            .expect_err("it is over in the end");
    }

    #[test]
    fn a_workload_is_answered_its_chain_and_all_roots_as_the_last() {
        let now = SystemTime::now();
        let (own, other) = (root(now), root(now));
        let below = own.intermediate("below", now, DAY).expect("below a root");
        let trust = Trust::new(below, bundle(&[&own, &other]), now).expect("it is below");
        let key = Key::generate().expect("a key");
        let id = config::spiffe::SpiffeId::workload("td", "shop", "web").expect("an identity");
        let issued = trust.authority.sign_workload(&id, &key, now, DAY);
        let issued = issued.expect("a certificate");

        let chain = trust.chain(&issued);

        assert_eq!(chain.len(), 3);
        assert_eq!(chain[..2].concat(), issued.chain_pem());
        assert_eq!(chain[2].matches("BEGIN CERTIFICATE").count(), 2);
    }
}
