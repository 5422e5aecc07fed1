//! Certificates as PEM (RFC 7468).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Longest text with keys or certificates that is read, in bytes: a chain has a few certificates of a
/// few KiB.
pub(crate) const PEM_BYTES_MAX: usize = 256 * 1024;

/// Characters of a line, as RFC 7468 wants it.
const LINE_CHARS: usize = 64;

/// The text of certificates, one after the other.
pub(crate) fn certificates(chain: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in chain {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut body = STANDARD.encode(certificate);
        while !body.is_empty() {
            let rest = body.split_off(body.len().min(LINE_CHARS));
            let _ = writeln!(text, "{body}");
            body = rest;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// The certificates in a text, at least one; `None` if it is too long, has none, or is broken.
pub(crate) fn parse(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    if text.len() > PEM_BYTES_MAX {
        return None;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    chain.ok().filter(|chain| !chain.is_empty())
}
