//! TLS towards upstreams.

use crate::resource::Metadata;
use crate::resource::destination_rule::{ClientTls, ClientTlsMode};
use crate::validate::field::written;
use crate::validate::findings::Findings;

/// What is said at each load of a rule that does not verify servers, and not only at the first one.
pub const UNVERIFIED: &str = "the server is not verified: whoever is on the way to it can read and \
                              change what is sent";
/// Longest name of a host, in bytes (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// Longest part of such a name, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Prefix of credential names that stand for a config map.
const CONFIG_MAP: &str = "configmap://";

/// Checks the field `tls`.
pub(crate) fn check(tls: Option<&ClientTls>, meta: &Metadata, f: &mut Findings) {
    let Some(tls) = tls else {
        return;
    };
    f.field("tls", |f| {
        if let Some(name) = written(tls.credential_name.as_ref()) {
            check_config_map(name, meta, f);
        }
        if let Some(sni) = written(tls.sni.as_ref()).filter(|sni| !is_server_name(sni)) {
            let problem = "is no name that a server can be asked for; no connection is opened, got";
            f.warn_in("sni", format!("{problem} \"{sni}\""));
        }
        match tls.mode.unwrap_or(ClientTlsMode::Disable) {
            ClientTlsMode::Disable => {}
            ClientTlsMode::IstioMutual => warn_ignored(tls, f),
            ClientTlsMode::Simple => check_credentials(tls, ClientTlsMode::Simple, f),
            ClientTlsMode::Mutual => check_credentials(tls, ClientTlsMode::Mutual, f),
        }
    });
}

/// A config map is read in the namespace of the rule only.
fn check_config_map(name: &str, meta: &Metadata, f: &mut Findings) {
    let Some(reference) = name.strip_prefix(CONFIG_MAP) else {
        return;
    };
    let (namespace, map) = match reference.split_once('/') {
        Some((namespace, map)) => (namespace, map),
        None => (meta.namespace.as_str(), reference),
    };
    if map.is_empty() || map.contains('/') || namespace != meta.namespace {
        f.error_in(
            "credentialName",
            format!(
                "must name a config map of namespace \"{}\", got \"{name}\"",
                meta.namespace
            ),
        );
    }
}

/// The fields that hold certificates and keys of files.
fn files(tls: &ClientTls) -> [(&'static str, bool); 4] {
    [
        (
            "clientCertificate",
            written(tls.client_certificate.as_ref()).is_some(),
        ),
        ("privateKey", written(tls.private_key.as_ref()).is_some()),
        (
            "caCertificates",
            written(tls.ca_certificates.as_ref()).is_some(),
        ),
        ("caCrl", written(tls.ca_crl.as_ref()).is_some()),
    ]
}

fn check_credentials(tls: &ClientTls, mode: ClientTlsMode, f: &mut Findings) {
    let has_credential = written(tls.credential_name.as_ref()).is_some();
    if tls.insecure_skip_verify == Some(true) {
        f.warn_in("insecureSkipVerify", UNVERIFIED);
        let simple = mode == ClientTlsMode::Simple;
        for (name, is_set) in [
            (
                "caCertificates",
                written(tls.ca_certificates.as_ref()).is_some(),
            ),
            ("subjectAltNames", !tls.subject_alt_names.is_empty()),
            ("credentialName", simple && has_credential),
        ] {
            if is_set {
                f.error_in(name, "must not be set when insecureSkipVerify is true");
            }
        }
    }
    for (name, is_set) in files(tls) {
        let required =
            mode == ClientTlsMode::Mutual && matches!(name, "clientCertificate" | "privateKey");
        if has_credential && is_set {
            f.error_in(name, "must not be set together with credentialName");
        } else if required && !has_credential && !is_set {
            f.error_in(name, "is required in mode MUTUAL without credentialName");
        }
    }
}

fn warn_ignored(tls: &ClientTls, f: &mut Findings) {
    for (name, is_set) in files(tls) {
        if is_set {
            f.warn_in(
                name,
                "has no effect in mode ISTIO_MUTUAL, which uses the workload's own",
            );
        }
    }
}

/// Whether TLS can ask for a server by this name (RFC 6066 §3): labels of letters, digits, hyphens and
/// underscores, and no address.
fn is_server_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && bytes.all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= HOST_BYTES_MAX
        && name.split('.').all(is_label)
        && !last.bytes().all(|it| it.is_ascii_digit())
}
