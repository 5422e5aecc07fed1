//! Which clients a gateway lets in by their certificates.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::extensions::GeneralName;

use crate::tls::verify::PeerFault;

/// A SHA-256 hash.
pub(crate) type Hash = [u8; SHA256_OUTPUT_LEN];

/// What a server demands of its clients, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demands {
    pub(crate) presence: Presence,
    /// Where the authorities come from that must have signed.
    pub(crate) authorities: Authorities,
    /// File with what authorities revoked.
    pub(crate) revoked: Option<String>,
    /// Names of which a certificate must bear one; any will do if there are none.
    pub(crate) names: Vec<String>,
    /// Hashes of certificates or of their keys, of which it must have one; any will do if there are
    /// none.
    pub(crate) keys: Vec<Hash>,
    pub(crate) certificates: Vec<Hash>,
    pub(crate) leniency: Leniency,
}

/// Whether a client has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Presence {
    Required,
    Optional,
}

/// Who must have signed a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Authorities {
    /// One of those in this file.
    File(String),
    /// One of those in these secrets; the first that there is counts.
    Secrets(Vec<String>),
    /// One of those that workloads of the mesh are believed for.
    Mesh,
}

/// What becomes of a client that does not meet the demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leniency {
    Refused,
    /// Let in, but not believed.
    LetIn,
}

/// Judges clients by their certificates.
#[derive(Debug)]
pub(crate) struct ClientRules {
    pub(crate) demands: Arc<Demands>,
    /// Checks chain, dates, usage and revocation.
    chains: Arc<dyn ClientCertVerifier>,
}

// === impl ClientRules ===

impl ClientRules {
    pub(crate) fn new(demands: Arc<Demands>, chains: Arc<dyn ClientCertVerifier>) -> Self {
        Self { demands, chains }
    }

    /// Whether a client that showed this chain meets the demands at this time.
    pub(crate) fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.chains.verify_client_cert(leaf, others, now)?;
        self.demands.meets(leaf).map_err(Error::from)
    }
}

impl ClientCertVerifier for ClientRules {
    fn client_auth_mandatory(&self) -> bool {
        self.demands.presence == Presence::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.demands.leniency {
            Leniency::Refused => self.judge(leaf, others, now)?,
            // Judged after the handshake, for whether it is believed.
            Leniency::LetIn => {}
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

// === impl Demands ===

impl Demands {
    /// Whether names and hashes of a certificate are among those that are let in.
    fn meets(&self, leaf: &CertificateDer<'_>) -> Result<(), PeerFault> {
        if self.names.is_empty() && self.keys.is_empty() && self.certificates.is_empty() {
            return Ok(());
        }
        let (_, parsed) =
            x509_parser::parse_x509_certificate(leaf).map_err(|_| PeerFault::Unreadable)?;
        let pinned = self.keys.is_empty() && self.certificates.is_empty()
            || self.keys.contains(&hash(parsed.public_key().raw))
            || self.certificates.contains(&hash(leaf));
        if !pinned {
            return Err(PeerFault::OtherKey);
        }
        if self.names.is_empty() {
            return Ok(());
        }
        let names = parsed.subject_alternative_name();
        let names = names.map_err(|_| PeerFault::Unreadable)?;
        let borne = names.iter().flat_map(|it| &it.value.general_names);
        let known = |name: &GeneralName<'_>| self.names.iter().any(|wanted| is(name, wanted));
        match borne.into_iter().any(known) {
            true => Ok(()),
            false => Err(PeerFault::OtherName),
        }
    }
}

/// Whether a name in a certificate is the one that is written.
fn is(name: &GeneralName<'_>, wanted: &str) -> bool {
    match name {
        GeneralName::DNSName(name) => name.eq_ignore_ascii_case(wanted),
        GeneralName::URI(name) | GeneralName::RFC822Name(name) => *name == wanted,
        GeneralName::IPAddress(bytes) => {
            let wanted = wanted.parse::<std::net::IpAddr>();
            wanted.is_ok_and(|wanted| match wanted {
                std::net::IpAddr::V4(ip) => ip.octets() == *bytes,
                std::net::IpAddr::V6(ip) => ip.octets() == *bytes,
            })
        }
        // Forms that nobody writes down in a list of names.
        _ => false,
    }
}

/// The SHA-256 hash of some bytes.
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests;
