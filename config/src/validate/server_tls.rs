//! TLS towards clients, in gateways and sidecars.

use std::collections::BTreeSet;

use crate::resource::gateway::{ServerTls, ServerTlsMode, TlsProtocol};
use crate::validate::field::written;
use crate::validate::findings::Findings;

/// Most certificates of one server: one RSA and one ECDSA.
const CERTIFICATES_MAX: usize = 2;

/// Cipher suites that may be named and are spoken.
const CIPHER_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];
/// Those that may be named and are not spoken, as they keep no secret once the key is stolen, or use
/// ciphers that were broken.
const UNSAFE_SUITES: [&str; 9] = [
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// Checks TLS settings by themselves; whether the port may have them is the caller's.
pub(crate) fn check(tls: &ServerTls, f: &mut Findings) {
    check_versions(tls, f);
    check_cipher_suites(&tls.cipher_suites, f);
    let mode = tls.mode.unwrap_or(ServerTlsMode::Passthrough);
    match mode {
        ServerTlsMode::IstioMutual => refuse_credentials(tls, f),
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => warn_ignored(tls, f),
        ServerTlsMode::Simple => {
            check_credentials(tls, mode, f);
            warn_unasked(tls, f);
            if written(tls.ca_crl.as_ref()).is_some()
                && written(tls.credential_name.as_ref()).is_none()
            {
                f.error_in("caCrl", "must not be set in mode SIMPLE");
            }
        }
        ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => check_credentials(tls, mode, f),
    }
}

/// Clients that need not show a certificate are not judged by one.
fn warn_unasked(tls: &ServerTls, f: &mut Findings) {
    let fields = [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        (
            "verifyCertificateSpki",
            !tls.verify_certificate_spki.is_empty(),
        ),
        (
            "verifyCertificateHash",
            !tls.verify_certificate_hash.is_empty(),
        ),
        ("insecureSkipVerify", tls.insecure_skip_verify == Some(true)),
    ];
    for (name, _) in fields.into_iter().filter(|(_, is_set)| *is_set) {
        f.warn_in(name, "has no effect in mode SIMPLE");
    }
}

fn check_versions(tls: &ServerTls, f: &mut Findings) {
    let old = matches!(
        tls.min_protocol_version,
        Some(TlsProtocol::Tlsv1_0 | TlsProtocol::Tlsv1_1)
    );
    if old && tls.cipher_suites.is_empty() {
        f.warn_in(
            "minProtocolVersion",
            "needs cipherSuites that TLS below 1.2 can use",
        );
    }
    if let (Some(min), Some(max)) = (tls.min_protocol_version, tls.max_protocol_version)
        && max != TlsProtocol::TlsAuto
        && min > max
    {
        f.error_in("maxProtocolVersion", "must not be below minProtocolVersion");
    }
}

fn check_cipher_suites(suites: &[String], f: &mut Findings) {
    let mut seen = BTreeSet::new();
    f.each("cipherSuites", suites, |f, suite| {
        if UNSAFE_SUITES.contains(&suite.as_str()) {
            f.warn(format!("is not safe and is ignored, got \"{suite}\""));
        } else if !CIPHER_SUITES.contains(&suite.as_str()) {
            f.warn(format!("is not known and is ignored, got \"{suite}\""));
        } else if !seen.insert(suite) {
            f.warn(format!("is named twice, got \"{suite}\" again"));
        }
    });
}

/// The fields that say which certificate the server shows.
fn own_certificate(tls: &ServerTls) -> [(&'static str, bool); 4] {
    // One half of a pair is no source: it is ignored when there is another one.
    let files = written(tls.server_certificate.as_ref()).and(written(tls.private_key.as_ref()));
    [
        (
            "credentialName",
            written(tls.credential_name.as_ref()).is_some(),
        ),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("serverCertificate", files.is_some()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ]
}

/// The workload's own certificate is used: no other can be given.
fn refuse_credentials(tls: &ServerTls, f: &mut Findings) {
    let fields = [
        (
            "serverCertificate",
            written(tls.server_certificate.as_ref()).is_some(),
        ),
        ("privateKey", written(tls.private_key.as_ref()).is_some()),
        (
            "caCertificates",
            written(tls.ca_certificates.as_ref()).is_some(),
        ),
        (
            "credentialName",
            written(tls.credential_name.as_ref()).is_some(),
        ),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ];
    for (name, _) in fields.into_iter().filter(|(_, is_set)| *is_set) {
        f.error_in(name, "must not be set in mode ISTIO_MUTUAL");
    }
}

fn warn_ignored(tls: &ServerTls, f: &mut Findings) {
    let authorities = [
        (
            "caCertificates",
            written(tls.ca_certificates.as_ref()).is_some(),
        ),
        ("caCrl", written(tls.ca_crl.as_ref()).is_some()),
    ];
    for (name, _) in own_certificate(tls)
        .into_iter()
        .chain(authorities)
        .filter(|(_, set)| *set)
    {
        f.warn_in(name, "has no effect in a mode that passes TLS through");
    }
}

fn check_credentials(tls: &ServerTls, mode: ServerTlsMode, f: &mut Findings) {
    let mut sources = own_certificate(tls)
        .into_iter()
        .filter(|(_, is_set)| *is_set);
    if let (Some((first, _)), Some((second, _))) = (sources.next(), sources.next()) {
        f.error_in(second, format!("must not be set together with {first}"));
        return;
    }
    for (name, count) in [
        ("credentialNames", tls.credential_names.len()),
        ("tlsCertificates", tls.tls_certificates.len()),
    ] {
        if count > CERTIFICATES_MAX {
            f.warn_in(
                name,
                format!("should have at most {CERTIFICATES_MAX} entries, got {count}"),
            );
        }
    }
    let from_secret =
        written(tls.credential_name.as_ref()).is_some() || !tls.credential_names.is_empty();
    if from_secret {
        return;
    }
    if tls.tls_certificates.is_empty() {
        require_pair(
            tls.server_certificate.as_ref(),
            tls.private_key.as_ref(),
            mode,
            f,
        );
    }
    f.each(
        "tlsCertificates",
        &tls.tls_certificates,
        |f, certificate| {
            let key = certificate.private_key.as_ref();
            require_pair(certificate.server_certificate.as_ref(), key, mode, f);
        },
    );
    let has_authorities = written(tls.ca_certificates.as_ref()).is_some()
        || written(tls.ca_cert_credential_name.as_ref()).is_some()
        || tls
            .tls_certificates
            .iter()
            .any(|c| written(c.ca_certificates.as_ref()).is_some());
    if mode != ServerTlsMode::Simple && !has_authorities {
        f.error_in(
            "caCertificates",
            format!("is required in mode {}", name(mode)),
        );
    }
}

fn require_pair(
    certificate: Option<&String>,
    key: Option<&String>,
    mode: ServerTlsMode,
    f: &mut Findings,
) {
    for (field, text) in [("serverCertificate", certificate), ("privateKey", key)] {
        if written(text).is_none() {
            f.error_in(field, format!("is required in mode {}", name(mode)));
        }
    }
}

/// The mode as it is written.
pub(crate) fn name(mode: ServerTlsMode) -> &'static str {
    match mode {
        ServerTlsMode::Passthrough => "PASSTHROUGH",
        ServerTlsMode::Simple => "SIMPLE",
        ServerTlsMode::Mutual => "MUTUAL",
        ServerTlsMode::AutoPassthrough => "AUTO_PASSTHROUGH",
        ServerTlsMode::IstioMutual => "ISTIO_MUTUAL",
        ServerTlsMode::OptionalMutual => "OPTIONAL_MUTUAL",
    }
}
