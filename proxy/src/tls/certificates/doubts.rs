//! What is doubtful about files that can be used all the same: the other side will not believe what
//! they say, and an operator should hear of it from us first.

use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;

/// Most names of a certificate that are told.
const TOLD_NAMES_MAX: usize = 8;

/// Whether a certificate in `place` is in force at a time; the words follow the field that names it.
pub(super) fn dates(leaf: &CertificateDer<'_>, place: &str, now: SystemTime) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let (validity, now) = (parsed.validity(), time(now)?);
    if now > validity.not_after {
        return Some(format!(
            "names {place}, whose certificate expired on {}: nobody will believe it",
            validity.not_after
        ));
    }
    (now < validity.not_before).then(|| {
        format!(
            "names {place}, whose certificate is not valid before {}: nobody will believe it",
            validity.not_before
        )
    })
}

/// Whether a certificate in `place` bears the name of any of a server's `hosts`.
pub(super) fn names(leaf: &CertificateDer<'_>, place: &str, hosts: &[&str]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let extension = parsed.subject_alternative_name().ok()?;
    let borne = extension.iter().flat_map(|it| &it.value.general_names);
    let borne: Vec<String> = borne.filter_map(|it| host_of(it)).collect();
    let serves = |host: &&str| borne.iter().any(|name| covers(name, bare(host)));
    if hosts.iter().any(serves) {
        return None;
    }
    let hosts = hosts.join(", ");
    Some(match borne.len() {
        0 => format!("names {place}, whose certificate bears no name of a host, as of {hosts}"),
        number => {
            let told = borne[..number.min(TOLD_NAMES_MAX)].join(", ");
            format!("names {place}, whose certificate is for {told}, and not for {hosts}")
        }
    })
}

/// Whether lists of what is revoked in `place` can be relied upon at a time, given who may have signed
/// them. With any that cannot be, clients are refused.
pub(super) fn lists(
    lists: &[CertificateRevocationListDer<'_>],
    authorities: &[CertificateDer<'_>],
    place: &str,
    now: SystemTime,
) -> Vec<String> {
    let Some(now) = time(now) else {
        return Vec::new();
    };
    let parse = |it| CertificateRevocationList::from_der(it).ok();
    let parsed = lists.iter().map(AsRef::as_ref).filter_map(parse);
    let mut doubts = Vec::new();
    for (_, list) in parsed {
        if let Some(next) = list.next_update().filter(|next| now > *next) {
            doubts.push(format!(
                "names {place}, whose list was in force until {next}: who is revoked is not known, \
                 and nobody of its authority is let in"
            ));
        }
        if !authorities.iter().any(|it| has_signed(it, &list)) {
            doubts.push(format!(
                "names {place}, whose list ({}) is signed by none of caCertificates: who is revoked \
                 is not known",
                list.issuer()
            ));
        }
    }
    doubts
}

/// Whether the key of an authority signed a list.
fn has_signed(authority: &CertificateDer<'_>, list: &CertificateRevocationList<'_>) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority) else {
        return false;
    };
    if authority.subject().as_raw() != list.issuer().as_raw() {
        return false;
    }
    let key = &authority.public_key().subject_public_key.data;
    let signed = list.tbs_cert_list.as_ref();
    let signature = &list.signature_value.data;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let mut algorithms = algorithms.all.iter();
    algorithms.any(|it| it.verify_signature(key, signed, signature).is_ok())
}

/// The name of a host among the names of a certificate, in lower case.
fn host_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::from([*a, *b, *c, *d]).to_string()),
            bytes => {
                let bytes: [u8; 16] = bytes.try_into().ok()?;
                Some(std::net::Ipv6Addr::from(bytes).to_string())
            }
        },
        // Names by which no host is asked for.
        _ => None,
    }
}

/// A host of a server without the namespace in front of it.
fn bare(host: &str) -> &str {
    host.rsplit_once('/').map_or(host, |(_, host)| host)
}

/// Whether a certificate for `name` serves `host`, or one of those that its wildcard stands for.
fn covers(name: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    if host == "*" || name == host {
        return true;
    }
    if let Some(domain) = host.strip_prefix('*') {
        return name.ends_with(domain);
    }
    let parent = host.split_once('.').map(|(_, parent)| parent);
    name.strip_prefix("*.").is_some_and(|it| Some(it) == parent)
}

fn time(now: SystemTime) -> Option<ASN1Time> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    ASN1Time::from_timestamp(i64::try_from(now.as_secs()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2025, 1, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").into()
    }

    #[test]
    fn a_certificate_that_is_not_in_force_is_told_with_its_date() {
        let leaf = certificate(&["a.test"]);
        let at = |years: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(years * 31_557_600);

        let early = dates(&leaf, "f.pem", at(53)).expect("too early");
        assert!(early.contains("f.pem") && early.contains("2024"), "{early}");
        assert_eq!(
            dates(&leaf, "f.pem", at(54) + Duration::from_secs(86_400)),
            None
        );
        let late = dates(&leaf, "f.pem", at(56)).expect("too late");
        assert!(
            late.contains("expired on") && late.contains("2025"),
            "{late}"
        );
    }

    #[test]
    fn a_certificate_that_is_for_none_of_the_hosts_is_told() {
        for (borne, hosts, fits) in [
            (&["a.test"][..], &["a.test"][..], true),
            (&["a.test"], &["b.test", "ns/A.test"], true),
            (&["*.test"], &["a.test"], true),
            (&["*.test"], &["b.a.test"], false),
            (&["x.a.test"], &["*.a.test"], true),
            (&["a.test"], &["*"], true),
            (&["a.test", "b.test"], &["c.test"], false),
            (&["10.0.0.1"], &["10.0.0.1"], true),
            (&[], &["c.test"], false),
        ] {
            let told = names(&certificate(borne), "f.pem", hosts);
            assert_eq!(told.is_none(), fits, "{borne:?} {hosts:?} {told:?}");
        }
    }
}
