//! Files of rules: what is wrong with them, where, and what stays the same object.

use std::fs;

use config::load::Loader;
use tempfile::TempDir;

use super::*;

struct Scene {
    folder: TempDir,
    resources: Vec<Arc<Resource>>,
}

/// A self-signed certificate, which can be an authority, and its key.
fn made() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

impl Scene {
    /// A rule with this `tls`, in which `DIR` stands for the folder.
    fn new(tls: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let (certificate, key) = made();
        let scene = Self {
            folder,
            resources: Vec::new(),
        };
        scene.write("cert.pem", &certificate);
        scene.write("key.pem", &key);
        scene.write("other-key.pem", &made().1);
        scene.with(tls)
    }

    fn with(mut self, tls: &str) -> Self {
        let tls = tls.replace("DIR", &self.folder.path().display().to_string());
        let yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a}}\n\
             spec: {{host: a.test, trafficPolicy: {{tls: {{{tls}}}}}}}\n"
        );
        self.write("rule.yaml", &yaml);
        let loaded = Loader::new("default").load(&[self.folder.path().join("rule.yaml")]);
        self.resources = loaded.resources;
        assert_eq!(self.resources.len(), 1, "{:?}", loaded.problems);
        self
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    fn load(&self, before: &Clients) -> (Clients, Vec<String>) {
        let (clients, findings) = Clients::load(&self.resources, before);
        let text = |(_, finding): &(_, Finding)| format!("{}: {}", finding.path, finding.message);
        (clients, findings.iter().map(text).collect())
    }

    fn tls(&self) -> &ClientTls {
        match &self.resources[0].spec {
            Spec::DestinationRule(rule) => {
                let policy = rule.traffic_policy.as_ref().expect("a policy");
                policy.tls.as_ref().expect("its tls")
            }
            other => panic!("no rule: {other:?}"),
        }
    }
}

const MUTUAL: &str = "mode: MUTUAL, clientCertificate: DIR/cert.pem, privateKey: DIR/key.pem, \
                      caCertificates: DIR/cert.pem";

#[test]
fn what_is_wrong_with_a_file_is_said_at_the_field_that_names_it() {
    for (from, to, expected) in [
        ("", "", None),
        (
            "clientCertificate: DIR/cert.pem",
            "clientCertificate: DIR/gone.pem",
            Some("clientCertificate: cannot be read from"),
        ),
        (
            "DIR/key.pem",
            "DIR/other-key.pem",
            Some("privateKey: must belong to the certificate of clientCertificate"),
        ),
        (
            "DIR/key.pem",
            "DIR/cert.pem",
            Some("privateKey: must name a file with a private key"),
        ),
        (
            "caCertificates: DIR/cert.pem",
            "caCertificates: DIR/key.pem",
            Some("caCertificates: must name a file with a certificate"),
        ),
        (
            "caCertificates: DIR/cert.pem",
            "caCertificates: DIR/cert.pem, caCrl: DIR/cert.pem",
            Some("caCrl: must have a revocation list"),
        ),
    ] {
        let scene = Scene::new(&MUTUAL.replacen(from, to, 1));

        let (_, found) = scene.load(&Clients::default());

        match expected {
            None => assert_eq!(found, [""; 0]),
            Some(expected) => {
                let expected = format!("spec.trafficPolicy.tls.{expected}");
                assert_eq!(found.len(), 1, "{found:?}");
                assert!(found[0].starts_with(&expected), "{found:?}");
            }
        }
    }
}

#[test]
fn what_is_shown_and_believed_is_told() {
    let (clients, _) = Scene::new(MUTUAL).load(&Clients::default());

    let told = clients.facts().map(|it| {
        let file = it
            .file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        (it.purpose, file.unwrap_or_default())
    });
    let file = || "cert.pem".to_owned();
    let expected = [(Purpose::Client, file()), (Purpose::Authority, file())];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn no_file_is_read_that_nothing_needs() {
    for tls in [
        "mode: DISABLE, caCertificates: DIR/gone.pem",
        "mode: ISTIO_MUTUAL, caCertificates: DIR/gone.pem",
        "mode: SIMPLE, credentialName: c",
        "mode: SIMPLE, insecureSkipVerify: true",
        "mode: SIMPLE, clientCertificate: DIR/gone.pem, privateKey: DIR/gone.pem, \
         caCertificates: DIR/cert.pem",
    ] {
        let (_, found) = Scene::new(tls).load(&Clients::default());
        assert_eq!(found, [""; 0], "{tls}");
    }
}

#[test]
fn only_what_changed_is_another_object() {
    let scene = Scene::new(MUTUAL);
    let (first, _) = scene.load(&Clients::default());
    let (same, _) = scene.load(&first);
    let tls = scene.tls();
    assert!(first.is_same(&same));

    let (certificate, key) = made();
    scene.write("cert.pem", &certificate);
    scene.write("key.pem", &key);
    let (renewed, found) = scene.load(&same);

    assert_eq!(found, [""; 0]);
    assert!(!renewed.is_same(&same));
    let own = |clients: &Clients| Arc::clone(clients.own(tls).expect("a certificate"));
    let authorities = |clients: &Clients| Arc::clone(clients.authorities(tls).expect("some"));
    assert!(Arc::ptr_eq(&own(&first), &own(&same)));
    assert!(!Arc::ptr_eq(&own(&same), &own(&renewed)));
    assert!(Arc::ptr_eq(&authorities(&first), &authorities(&same)));
    assert!(!Arc::ptr_eq(&authorities(&same), &authorities(&renewed)));
}
