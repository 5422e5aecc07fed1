//! Files that are right and wrong.

use config::load::Loader;
use config::mesh::MeshSettings;
use rcgen::CertifiedKey;
use tempfile::TempDir;

use super::*;
use crate::tls::facts::Purpose;

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
    found_again(folder, tls, "", None)
}

/// The same with other resources, and after a load before.
fn found_again(
    folder: &TempDir,
    tls: &str,
    others: &str,
    before: Option<&Servers>,
) -> (Servers, Vec<String>) {
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
    let yaml = format!("{yaml}---\n{others}");
    std::fs::write(&path, yaml).expect("written");
    let loaded = Loader::new("default").load(&[path]);
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    let mesh = Mesh::new(&loaded.resources, MeshSettings::default());
    let viewer = Viewer {
        namespace: "default".to_owned(),
        ..Viewer::default()
    };
    let (certificates, findings) = Servers::load(&mesh, &viewer, None, before);
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
    assert_eq!(certificates.made.len(), 1);
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
        assert!(certificates.made.is_empty());
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
        assert_eq!(certificates.made.is_empty(), error.is_some());
        let is_it = |error: &str| findings[0].contains(error);
        assert!(error.is_none_or(is_it), "{findings:?}");
    }
}

#[test]
fn what_is_missing_and_may_come_is_a_warning() {
    let folder = folder();
    for (tls, field) in [
        ("{mode: SIMPLE, credentialName: shop}", "tls.credentialName"),
        ("{mode: MUTUAL, credentialName: shop}", "tls.credentialName"),
        ("{mode: ISTIO_MUTUAL}", "tls.mode"),
    ] {
        let (certificates, findings) = found(&folder, tls);
        assert!(certificates.made.is_empty(), "{tls}");
        assert_eq!(findings.len(), 1, "{findings:?}");
        let expected = format!("Warning spec.servers[0].{field}: ");
        assert!(findings[0].starts_with(&expected), "{findings:?}");
        assert!(
            findings[0].ends_with("the server stays shut"),
            "{findings:?}"
        );
    }
}

#[test]
fn a_field_that_judges_clients_must_be_well_formed() {
    let folder = folder();
    let files = "mode: MUTUAL, serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem";
    for (field, error) in [
        (
            "caCertificates: DIR/none.pem",
            "tls.caCertificates: cannot be read",
        ),
        (
            "caCertificates: DIR/cert.pem, caCrl: DIR/cert.pem",
            "tls.caCrl: must have a revocation",
        ),
        (
            "caCertificates: DIR/cert.pem, verifyCertificateSpki: [AAAA]",
            "tls.verifyCertificateSpki: must be SHA-256 hashes in Base64, got \"AAAA\"",
        ),
        (
            "caCertificates: DIR/cert.pem, verifyCertificateHash: ['0a:0b']",
            "tls.verifyCertificateHash: must be SHA-256 hashes in hexadecimal digits",
        ),
    ] {
        let (certificates, findings) = found(&folder, &format!("{{{files}, {field}}}"));
        assert!(certificates.made.is_empty(), "{field}");
        let expected = format!("Error spec.servers[0].{error}");
        assert!(findings[0].starts_with(&expected), "{findings:?}");
    }
}

#[test]
fn whoever_lets_in_everybody_is_warned_of_it() {
    let folder = folder();
    let tls = "{mode: MUTUAL, serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem, \
               caCertificates: DIR/cert.pem, insecureSkipVerify: true}";

    let (certificates, findings) = found(&folder, tls);

    assert_eq!(certificates.made.len(), 1);
    let expected = "Warning spec.servers[0].tls.insecureSkipVerify: lets in clients";
    assert!(findings[0].starts_with(expected), "{findings:?}");
}

#[test]
fn suites_that_are_named_are_spoken_and_no_others() {
    let folder = folder();
    let files = "mode: SIMPLE, serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem";
    let with = |suites: &str| found(&folder, &format!("{{{files}, cipherSuites: {suites}}}"));
    let spoken = |servers: &Servers| {
        let made = servers.made.values().next().expect("a server");
        let suites = made
            .acceptance
            .config
            .crypto_provider()
            .cipher_suites
            .iter();
        suites.filter(|suite| suite.tls13().is_none()).count()
    };

    let (servers, findings) = with("[ECDHE-RSA-AES128-GCM-SHA256, AES128-SHA]");
    assert_eq!(findings, [""; 0]);
    assert_eq!(spoken(&servers), 1);
    assert_eq!(spoken(&with("[]").0), 6);
    let (servers, findings) = with("[AES128-SHA]");
    assert!(servers.made.is_empty());
    let expected = "Error spec.servers[0].tls.cipherSuites: must name at least one safe suite";
    assert!(findings[0].starts_with(expected), "{findings:?}");
}

/// A secret with these entries, each from a file of the folder.
fn secret(folder: &TempDir, name: &str, entries: &[(&str, &str)]) -> String {
    let entries = entries.iter().map(|(entry, file)| {
        let text = std::fs::read(folder.path().join(file)).expect("a file");
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        format!("  {entry}: {text}\n")
    });
    let entries: String = entries.collect();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\n\
         data:\n{entries}---\n"
    )
}

#[test]
fn certificates_may_come_from_secrets_of_both_forms() {
    let folder = folder();
    let (tls, generic) = (("tls.crt", "tls.key"), ("cert", "key"));
    for (certificate, key) in [tls, generic] {
        let entries = [
            (certificate, "cert.pem"),
            (key, "key.pem"),
            ("ca.crt", "cert.pem"),
        ];
        let secrets = secret(&folder, "shop", &entries);
        for tls in [
            "{mode: SIMPLE, credentialName: shop}",
            "{mode: MUTUAL, credentialName: kubernetes://shop}",
            "{mode: MUTUAL, credentialNames: [shop]}",
        ] {
            let (certificates, findings) = found_again(&folder, tls, &secrets, None);
            assert_eq!(findings, [""; 0], "{tls}");
            assert_eq!(certificates.made.len(), 1, "{tls}");
        }
    }
}

#[test]
fn a_secret_with_authorities_alone_comes_first() {
    let folder = folder();
    let own = [
        ("cert", "cert.pem"),
        ("key", "key.pem"),
        ("cacert", "empty.pem"),
    ];
    let apart = [("cacert", "cert.pem")];
    let secrets = secret(&folder, "shop", &own) + &secret(&folder, "shop-cacert", &apart);

    let tls = "{mode: MUTUAL, credentialName: shop}";
    let (certificates, findings) = found_again(&folder, tls, &secrets, None);

    assert_eq!(findings, [""; 0]);
    assert_eq!(certificates.made.len(), 1);
    let told = certificates.facts().map(|it| {
        let place = it.file.display().to_string();
        (it.purpose, place, it.names.join(" "))
    });
    let name = || "DNS:shop.test".to_owned();
    let expected = [
        (Purpose::Gateway, "Secret default/shop".to_owned(), name()),
        (
            Purpose::Authority,
            "Secret default/shop-cacert".to_owned(),
            name(),
        ),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_wrong_in_a_secret_is_said_without_its_content() {
    let folder = folder();
    let wrong = [("tls.crt", "cert.pem"), ("tls.key", "other.pem")];
    let secrets = secret(&folder, "shop", &wrong);

    let tls = "{mode: SIMPLE, credentialName: shop}";
    let (_, findings) = found_again(&folder, tls, &secrets, None);

    let expected = "Error spec.servers[0].tls.credentialName: tls.key of Secret \"shop\" must \
                    belong to tls.crt";
    assert_eq!(findings, [expected]);
}

#[test]
fn what_did_not_change_stays_the_same_object() {
    let folder = folder();
    let tls = "{mode: SIMPLE, serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem}";
    let acceptance = |servers: &Servers| {
        let made = servers.made.values().next().expect("a server");
        Arc::clone(&made.acceptance)
    };
    let (first, _) = found(&folder, tls);

    let (second, _) = found_again(&folder, tls, "", Some(&first));
    assert!(Arc::ptr_eq(&acceptance(&first), &acceptance(&second)));

    let other = rcgen::generate_simple_self_signed(["shop.test".to_owned()]).expect("made");
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("cert.pem", other.cert.pem());
    write("key.pem", other.signing_key.serialize_pem());
    let (third, _) = found_again(&folder, tls, "", Some(&second));
    assert!(!Arc::ptr_eq(&acceptance(&second), &acceptance(&third)));
}

#[test]
fn what_clients_will_not_believe_is_told_at_its_field() {
    let folder = folder();
    let write = |name: &str, text: String| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    let made = |host: &str, until: i32| {
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        write("cert.pem", certificate.pem());
        write("key.pem", key.serialize_pem());
    };
    let tls = "{mode: SIMPLE, serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem}";

    for (host, until, told) in [
        ("shop.test", 2001, "expired on "),
        (
            "other.test",
            2999,
            "is for other.test, and not for shop.test",
        ),
    ] {
        made(host, until);
        let (servers, findings) = found(&folder, tls);
        assert_eq!(servers.made.len(), 1, "it is used all the same");
        let [finding] = &findings[..] else {
            panic!("one finding: {findings:?}");
        };
        assert!(finding.starts_with("Warning spec.servers[0].tls.serverCertificate: names "));
        assert!(finding.contains("DIR/cert.pem"), "{finding}");
        assert!(finding.contains(told), "{finding}");
    }
}

#[test]
fn a_list_that_cannot_be_relied_upon_is_told_at_its_field() {
    let folder = folder();
    let authority = || {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem(), rcgen::Issuer::new(params, key))
    };
    let list = |issuer: &rcgen::Issuer<'_, rcgen::KeyPair>, until: i32| {
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2000, 1, 1),
            next_update: rcgen::date_time_ymd(until, 1, 1),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = params.signed_by(issuer).expect("a list");
        list.pem().expect("a list in PEM")
    };
    // Both have the same name.
    let ((own, issuer), (_, other)) = (authority(), authority());
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("written");
    };
    write("ca.pem", &own);
    let tls = "{mode: MUTUAL, serverCertificate: DIR/cert.pem, privateKey: DIR/key.pem, \
               caCertificates: DIR/ca.pem, caCrl: DIR/crl.pem}";

    for (text, told) in [
        (list(&issuer, 2999), None),
        (list(&issuer, 2001), Some("was in force until")),
        (list(&other, 2999), Some("signed by none of caCertificates")),
    ] {
        write("crl.pem", &text);
        let (_, findings) = found(&folder, tls);
        match (told, &findings[..]) {
            (None, []) => {}
            (Some(told), [finding]) => {
                assert!(finding.starts_with("Warning spec.servers[0].tls.caCrl: "));
                assert!(finding.contains(told), "{finding}");
            }
            _ => panic!("{told:?}: {findings:?}"),
        }
    }
}
