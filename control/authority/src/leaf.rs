//! Certificates of workloads and servers: what no further certificate hangs below.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use config::spiffe::SpiffeId;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, DnsName};

use crate::pem;
use crate::validity::Validity;

/// Shortest lifetime of a leaf: less is over before it has reached everybody.
pub const LEAF_LIFETIME_MIN: Duration = Duration::from_secs(60);
/// Longest lifetime of a leaf. There are no revocation lists: whoever gets a key has the identity for
/// as long as this at most.
pub const LEAF_LIFETIME_MAX: Duration = Duration::from_secs(90 * 24 * 3_600);

/// A leaf and what peers need to follow it to a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) validity: Validity,
}

/// A name of a server: of DNS, perhaps with `*` as its first label, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName {
    san: SanType,
    text: String,
}

/// A text is no name of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a DNS name, such as shop.example or *.shop.example, or an IP address")]
pub struct ServerNameError;

// === impl Issued ===

impl Issued {
    /// The leaf first, then the authorities above it without the root, which peers must know.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The chain as PEM, for `cert-chain.pem`.
    pub fn chain_pem(&self) -> String {
        pem::certificates(&self.chain)
    }

    /// When the leaf is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

// === impl ServerName ===

impl FromStr for ServerName {
    type Err = ServerNameError;

    fn from_str(text: &str) -> Result<Self, ServerNameError> {
        let lower = text.to_ascii_lowercase();
        let san = match lower.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                let host = lower.strip_prefix("*.").unwrap_or(&lower);
                let wild = host.len() < lower.len();
                let enough = !wild || host.contains('.');
                if !enough || lower.ends_with('.') || DnsName::try_from(host).is_err() {
                    return Err(ServerNameError);
                }
                SanType::DnsName(lower.as_str().try_into().map_err(|_| ServerNameError)?)
            }
        };
        Ok(Self { san, text: lower })
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is written into the certificate of a workload, which is client and server. The identity is
/// its only name (X509-SVID §2), so that there is no subject.
///
/// `None` if the identity cannot be written, which one that parsed can.
pub(crate) fn workload(id: &SpiffeId) -> Option<CertificateParams> {
    let mut params = leaf();
    let uri = id.as_str().try_into().ok()?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params
        .extended_key_usages
        .push(ExtendedKeyUsagePurpose::ClientAuth);
    Some(params)
}

/// What is written into the certificate of a server.
pub(crate) fn server(names: &[ServerName]) -> CertificateParams {
    let mut params = leaf();
    params.subject_alt_names = names.iter().map(|name| name.san.clone()).collect();
    params
}

fn leaf() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_are_of_dns_or_addresses() {
        for text in [
            "localhost",
            "shop.test",
            "*.shop.test",
            "127.0.0.1",
            "::1",
            "SHOP.test",
        ] {
            let name: ServerName = text.parse().expect("a name");

            assert_eq!(name.to_string(), text.to_ascii_lowercase());
        }
        for text in [
            "", "*", "*.", "*.test", "a.*.test", "a b", "a.test.", "a/b", "ü.test", "-a",
        ] {
            assert_eq!(text.parse::<ServerName>(), Err(ServerNameError), "{text}");
        }
    }
}
