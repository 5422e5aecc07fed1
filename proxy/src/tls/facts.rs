//! What certificates say of themselves, for people and for metrics.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

use crate::tls::identity::NameError;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// What it is there for.
    pub purpose: Purpose,
    /// Where it was read from: a file, or `Secret NAMESPACE/NAME`.
    pub file: PathBuf,
    /// Whom it is for, as RFC 4514 writes it; may be empty.
    pub subject: String,
    /// Its names, each with its type in front: `URI:spiffe://…`, `DNS:…`.
    pub names: Vec<String>,
    /// Its number in hexadecimal digits.
    pub serial: String,
    /// Since when it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

/// What a certificate is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Proves who the workload is, or belongs to the chain that does.
    Identity,
    /// An authority whose workloads are believed.
    Root,
    /// Proves to clients from outside whose host a gateway serves.
    Gateway,
    /// Proves to upstreams who we are, as a rule of destinations asks.
    Client,
    /// An authority that a gateway or a rule of destinations believes.
    Authority,
}

// === impl CertificateFacts ===

impl CertificateFacts {
    /// What `certificate`, which was read from `file`, says of itself.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn read(
        certificate: &CertificateDer<'_>,
        purpose: Purpose,
        file: &Path,
    ) -> Result<Self, NameError> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| NameError::Unreadable)?;
        let time = |at: x509_parser::time::ASN1Time| SystemTime::from(at.to_datetime());
        Ok(Self {
            purpose,
            file: file.to_owned(),
            subject: distinguished_name(parsed.subject()),
            names: names(&parsed)?,
            serial: parsed
                .raw_serial()
                .iter()
                .fold(String::new(), |text, byte| text + &format!("{byte:02x}")),
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
        })
    }

    /// The same of all `certificates` that can be read. One that cannot is not in use: whoever takes it
    /// in tells of it.
    pub(crate) fn of_all<'c>(
        certificates: impl IntoIterator<Item = &'c CertificateDer<'static>>,
        purpose: Purpose,
        file: &Path,
    ) -> Vec<Self> {
        let read = |it| Self::read(it, purpose, file).ok();
        certificates.into_iter().filter_map(read).collect()
    }

    /// Whether it is valid at a time.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Seconds from a time until it expires; negative once it has.
    pub fn seconds_left(&self, now: SystemTime) -> i64 {
        let seconds = |span: std::time::Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match self.not_after.duration_since(now) {
            Ok(left) => seconds(left),
            Err(past) => -seconds(past.duration()),
        }
    }
}

/// Names by which a certificate may be known, in its order.
fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, NameError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| NameError::Unreadable)?;
    let names = names.iter().flat_map(|it| &it.value.general_names);
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(format!("URI:{uri}")),
        GeneralName::DNSName(host) => Some(format!("DNS:{host}")),
        GeneralName::RFC822Name(mail) => Some(format!("email:{mail}")),
        GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| format!("IP:{ip}")),
        // Nothing that anyone is known by here.
        _ => None,
    };
    Ok(names.filter_map(text).collect())
}

fn ip(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

/// A name as RFC 4514 §2 writes it: the last part first, each with the short name of its type.
pub(crate) fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (at, part) in parts.into_iter().rev().enumerate() {
        for (nth, attribute) in part.iter().enumerate() {
            match (at, nth) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                (_, _) => text.push('+'),
            }
            match short_name(&attribute.attr_type().to_id_string()) {
                Some(short) => text.push_str(short),
                None => text.push_str(&attribute.attr_type().to_id_string()),
            }
            text.push('=');
            escape(attribute.as_str().unwrap_or("?"), &mut text);
        }
    }
    text
}

/// Short names of types (RFC 4514 §3 and RFC 4519).
fn short_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// Escapes what would end or change a part (RFC 4514 §2.4), and whatever is not visible ASCII, byte
/// by byte.
fn escape(value: &str, text: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let at_edge = at == 0 || at == last;
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' ' if at_edge => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let written = write!(text, "\\{byte:02X}");
                debug_assert!(written.is_ok(), "memory takes everything");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn facts(knob: impl FnOnce(&mut CertificateParams)) -> CertificateFacts {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 2);
        params.serial_number = Some(vec![0x0a, 0xff].into());
        knob(&mut params);
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        CertificateFacts::read(made.der(), Purpose::Identity, Path::new("a.pem")).expect("read")
    }

    #[test]
    fn a_certificate_tells_names_number_and_times() {
        let found = facts(|params| {
            params.subject_alt_names = vec![
                SanType::URI("spiffe://td/a".try_into().expect("ASCII")),
                SanType::DnsName("a.test".try_into().expect("ASCII")),
                SanType::IpAddress([10, 0, 0, 1].into()),
            ];
        });

        assert_eq!(
            found.names,
            ["URI:spiffe://td/a", "DNS:a.test", "IP:10.0.0.1"]
        );
        assert_eq!(found.serial, "0aff");
        assert_eq!(found.subject, "");
        let day = Duration::from_secs(86_400);
        assert_eq!(found.not_after, found.not_before + day);
        assert!(found.is_valid_at(found.not_before) && found.is_valid_at(found.not_after));
        assert!(!found.is_valid_at(found.not_after + day));
        assert_eq!(found.seconds_left(found.not_before), 86_400);
        assert_eq!(found.seconds_left(found.not_after + day), -86_400);
    }

    #[test]
    fn a_subject_is_written_last_part_first_with_what_is_odd_escaped() {
        let found = facts(|params| {
            params
                .distinguished_name
                .push(DnType::OrganizationName, " Shop, \"Inc\"");
            params.distinguished_name.push(DnType::CommonName, "#a\nü");
        });

        assert_eq!(
            found.subject,
            "CN=\\#a\\0A\\C3\\BC,O=\\ Shop\\, \\\"Inc\\\""
        );
    }
}
