//! What is said of a client's certificate to whom its requests go on to: an element of
//! `x-forwarded-client-cert` as Envoy writes it.

use std::fmt::Write as _;

use http::HeaderValue;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::hash::Hash;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use crate::tls::facts::distinguished_name;

/// Longest element, in bytes: a certificate with more to say is told by its hash alone.
const ELEMENT_BYTES_MAX: usize = 4 * 1024;

/// The element of a client: by whom it was let in, the hash of its certificate, and the names in it.
/// None if the certificate cannot be read, which none is that was believed.
pub(crate) fn element(by: Option<&str>, certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    let hash = hash(certificate)?;
    let mut text = String::new();
    if let Some(by) = by {
        field(&mut text, "By", by);
    }
    field(&mut text, "Hash", &hash);
    let short = text.len();
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    quoted(&mut text, "Subject", &distinguished_name(parsed.subject()));
    let names = parsed.subject_alternative_name().ok()?;
    let names = || names.iter().flat_map(|it| &it.value.general_names);
    for name in names() {
        if let GeneralName::URI(uri) = name {
            field(&mut text, "URI", uri);
        }
    }
    for name in names() {
        if let GeneralName::DNSName(host) = name {
            field(&mut text, "DNS", host);
        }
    }
    if text.len() > ELEMENT_BYTES_MAX {
        text.truncate(short);
    }
    HeaderValue::try_from(text).ok()
}

/// The SHA-256 of a certificate in hexadecimal digits.
fn hash(certificate: &CertificateDer<'_>) -> Option<String> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let hash: &dyn Hash = suite.common.hash_provider;
    let mut text = String::new();
    for byte in hash.hash(certificate).as_ref() {
        let written = write!(text, "{byte:02x}");
        debug_assert!(written.is_ok(), "memory takes everything");
    }
    Some(text)
}

/// Adds a field, in quotes if it has a character that would end it.
fn field(text: &mut String, name: &str, value: &str) {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b'"');
    if !value.bytes().all(plain) {
        return quoted(text, name, value);
    }
    begin(text, name);
    text.push_str(value);
}

/// Adds a field in quotes. What is not visible ASCII is left out: it cannot be in a header.
fn quoted(text: &mut String, name: &str, value: &str) {
    begin(text, name);
    text.push('"');
    for char in value.chars() {
        match char {
            '"' | '\\' => text.extend(['\\', char]),
            ' '..='~' => text.push(char),
            _ => {}
        }
    }
    text.push('"');
}

fn begin(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push(';');
    }
    text.push_str(name);
    text.push('=');
}

#[cfg(test)]
mod tests {
    use rcgen::{DistinguishedName, DnType, SanType};

    use super::*;
    use crate::tls::fixture::{Authority, Knob, WORKLOAD};

    const OWN: &str = "spiffe://cluster.local/ns/shop/sa/stock";

    /// The element of a client, its hash as `HASH`.
    fn told(uris: &[&str], knob: Knob) -> String {
        let client = Authority::new().leaf(uris, knob);
        let certificate = &client.cert[0];
        let told = element(Some(OWN), certificate).expect("an element");
        let told = told.to_str().expect("ASCII").to_owned();
        let hash = hash(certificate).expect("a hash");
        assert_eq!(hash.len(), 64);
        told.replace(&hash, "HASH")
    }

    #[test]
    fn a_workload_is_told_as_istio_tells_it() {
        let nameless: Knob = |params| params.distinguished_name = DistinguishedName::new();

        assert_eq!(
            told(&[WORKLOAD], nameless),
            format!("By={OWN};Hash=HASH;Subject=\"\";URI={WORKLOAD}")
        );
    }

    #[test]
    fn other_names_follow_and_what_would_end_a_field_is_in_quotes() {
        let odd: Knob = |params| {
            params.distinguished_name = DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::CommonName, "a\"b;c,d");
            for host in ["a.test", "x;By=me"] {
                let host = host.try_into().expect("ASCII");
                params.subject_alt_names.push(SanType::DnsName(host));
            }
        };

        assert_eq!(
            told(&["a:b,c"], odd),
            format!(
                "By={OWN};Hash=HASH;Subject=\"CN=a\\\\\\\"b\\\\;c\\\\,d\";URI=\"a:b,c\";\
                 DNS=a.test;DNS=\"x;By=me\""
            )
        );
    }

    #[test]
    fn a_certificate_with_very_much_to_say_is_told_by_its_hash() {
        let long: Knob = |params| {
            let name = "a".repeat(ELEMENT_BYTES_MAX);
            params
                .distinguished_name
                .push(DnType::OrganizationName, name);
        };

        assert_eq!(told(&[WORKLOAD], long), format!("By={OWN};Hash=HASH"));
    }
}
