//! Files that are right and wrong.

use config::load::Loader;
use rcgen::CertifiedKey;
use tempfile::TempDir;

use super::*;

/// A folder with a certificate and its key, and another key.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let made = |name: &str| -> CertifiedKey<rcgen::KeyPair> {
        rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate")
    };
    let (own, other) = (made("shop.test"), made("other.test"));
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("cert.pem", own.cert.pem());
    write("key.pem", own.signing_key.serialize_pem());
    write("other.pem", other.signing_key.serialize_pem());
    write("empty.pem", String::new());
    folder
}

/// The findings for a server with this `tls`, where `DIR` is the folder.
fn found(folder: &TempDir, tls: &str) -> (Servers, Vec<String>) {
    let dir = folder.path().display().to_string();
    let yaml = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  servers:
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: ['shop.test']
    tls: TLS
";
    let path = folder.path().join("edge.yaml");
    let yaml = yaml.replace("TLS\n", &format!("{}\n", tls.replace("DIR", &dir)));
    std::fs::write(&path, yaml).expect("written");
    let loaded = Loader::new("default").load(&[path]);
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    let (certificates, findings) = Servers::load(&loaded.resources);
    let findings = findings.into_iter().map(|(_, finding)| {
        let message = finding.message.replace(&dir, "DIR");
        format!("{:?} {}: {message}", finding.severity, finding.path)
    });
    (certificates, findings.collect())
}

#[test]
fn a_certificate_and_its_key_are_taken() {
    let folder = folder();
    let tls = "{mode: SIMPLE, serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem}";
    let (certificates, findings) = found(&folder, tls);
    assert_eq!(findings, [""; 0]);
    assert_eq!(certificates.configs.len(), 1);
}

#[test]
fn what_does_not_fit_is_an_error_at_its_field() {
    let folder = folder();
    for (certificate, key, error) in [
        (
            "none.pem",
            "key.pem",
            "tls.serverCertificate: cannot be read from \"DIR/none.pem\": No such",
        ),
        (
            "cert.pem",
            "none.pem",
            "tls.privateKey: cannot be read from \"DIR/none.pem\": No such",
        ),
        (
            "empty.pem",
            "key.pem",
            "tls.serverCertificate: must name a file with a certificate",
        ),
        (
            "cert.pem",
            "empty.pem",
            "tls.privateKey: must name a file with a private key",
        ),
        (
            "cert.pem",
            "cert.pem",
            "tls.privateKey: must name a file with a private key",
        ),
        (
            "cert.pem",
            "other.pem",
            "tls.privateKey: must belong to the certificate",
        ),
        (
            "",
            "key.pem",
            "tls.serverCertificate: cannot be read from \"DIR/\": it is no file",
        ),
    ] {
        let tls = format!(
            "{{mode: SIMPLE, serverCertificate: DIR/{certificate}, privateKey: DIR/{key}}}"
        );
        let (certificates, findings) = found(&folder, &tls);
        let expected = format!("Error spec.servers[0].{error}");
        assert!(findings[0].starts_with(&expected), "{findings:?}");
        assert!(certificates.configs.is_empty());
    }
}

#[test]
fn versions_that_are_not_spoken_are_refused() {
    let folder = folder();
    let files = "serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem";
    for (version, error) in [
        (
            "maxProtocolVersion: TLSV1_1",
            Some("tls.maxProtocolVersion: must be TLSV1_2 or TLSV1_3"),
        ),
        ("minProtocolVersion: TLSV1_3", None),
        ("maxProtocolVersion: TLSV1_2", None),
    ] {
        let (certificates, findings) =
            found(&folder, &format!("{{mode: SIMPLE, {files}, {version}}}"));
        assert_eq!(findings.is_empty(), error.is_none(), "{findings:?}");
        assert_eq!(certificates.configs.is_empty(), error.is_some());
        let is_it = |error: &str| findings[0].contains(error);
        assert!(error.is_none_or(is_it), "{findings:?}");
    }
}

#[test]
fn a_server_that_demands_more_than_we_check_stays_shut() {
    let folder = folder();
    let files = "serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem";
    let mutual = format!("{{mode: MUTUAL, {files}, caCertificates: DIR/cert.pem}}");
    let optional = mutual.replace("MUTUAL", "OPTIONAL_MUTUAL");
    let secret = "{mode: SIMPLE, credentialName: shop}".to_owned();
    for tls in [mutual, optional, secret, "{mode: ISTIO_MUTUAL}".to_owned()] {
        let (certificates, _) = found(&folder, &tls);
        assert!(certificates.configs.is_empty(), "{tls}");
    }
}
