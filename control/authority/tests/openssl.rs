//! What OpenSSL makes is checked by us, and what we make is judged by OpenSSL at its strictest.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use authority::{Authority, Key, Request, RequestError};
use config::spiffe::SpiffeId;
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const NAME: &str = "subjectAltName=URI:spiffe://cluster.local/ns/default/sa/reviews";

fn id() -> SpiffeId {
    SpiffeId::workload("cluster.local", "default", "reviews").expect("an identity")
}

/// Runs `openssl` in a folder: whether it ended well, and what it printed.
fn openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A request that `openssl req` makes with these arguments for a new key.
fn request(key: &[&str], arguments: &[&str]) -> String {
    let folder = TempDir::new().expect("a folder");
    let made = [&["genpkey", "-out", "key.pem"], key].concat();
    let (done, said) = openssl(folder.path(), &made);
    assert!(done, "{said}");
    let fixed = ["req", "-new", "-key", "key.pem", "-out", "csr.pem"];
    let (done, said) = openssl(folder.path(), &[&fixed, arguments].concat());
    assert!(done, "{said}");
    fs::read_to_string(folder.path().join("csr.pem")).expect("a request")
}

const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

#[test]
fn requests_of_openssl_are_signed_and_the_chains_pass_its_strict_check() {
    let now = SystemTime::now();
    let root = Authority::root("root", now, DAY * 30).expect("a root");
    let intermediate = root
        .intermediate("intermediate", now, DAY * 10)
        .expect("below a root");
    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("written");
    };
    write("root.pem", &root.chain_pem());

    for key in [
        &P256[..],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        &["-algorithm", "ED25519"],
    ] {
        let csr = request(key, &["-subj", "/", "-addext", NAME]);
        let request = Request::from_pem(&csr, &id()).expect("a sound request");

        for authority in [&root, &intermediate] {
            let issued = authority.sign(&request, now, DAY).expect("signed");
            write("chain.pem", &issued.chain_pem());

            for purpose in ["sslserver", "sslclient"] {
                let verify = [
                    "verify",
                    "-x509_strict",
                    "-purpose",
                    purpose,
                    "-CAfile",
                    "root.pem",
                ];
                let files = ["-untrusted", "chain.pem", "chain.pem"];
                let (taken, said) = openssl(folder.path(), &[&verify[..], &files].concat());
                assert!(taken, "{key:?}: {said}");
            }
        }
    }
}

#[test]
fn certificates_of_servers_pass_the_strict_check_for_their_names() {
    let now = SystemTime::now();
    let root = Authority::root("root", now, DAY * 30).expect("a root");
    let key = Key::generate().expect("a key");
    let names = ["shop.test", "*.shop.test"].map(|name| name.parse().expect("a name"));
    let issued = root.sign_server(&names, &key, now, DAY).expect("signed");
    let folder = TempDir::new().expect("a folder");
    for (name, text) in [
        ("root.pem", root.chain_pem()),
        ("chain.pem", issued.chain_pem()),
    ] {
        fs::write(folder.path().join(name), text).expect("written");
    }

    for (host, expected) in [
        ("shop.test", true),
        ("a.shop.test", true),
        ("b.test", false),
    ] {
        let verify = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-CAfile",
            "root.pem",
        ];
        let name = ["-verify_hostname", host, "chain.pem"];
        let (taken, said) = openssl(folder.path(), &[&verify[..], &name].concat());
        assert_eq!(taken, expected, "{host}: {said}");
    }
}

#[test]
fn requests_of_openssl_that_break_a_rule_are_refused_for_it() {
    let with = |arguments: &[&str]| request(&P256, &[&["-addext", NAME], arguments].concat());
    let of_key = |key: &[&str]| request(key, &["-subj", "/", "-addext", NAME]);
    let two = "subjectAltName=DNS:a,URI:spiffe://cluster.local/ns/default/sa/reviews";

    for (csr, error) in [
        (with(&["-subj", "/CN=reviews"]), RequestError::Subject),
        (
            with(&["-subj", "/", "-addext", "basicConstraints=critical,CA:TRUE"]),
            RequestError::Extension,
        ),
        (
            with(&["-subj", "/", "-addext", "keyUsage=keyCertSign"]),
            RequestError::Extension,
        ),
        (
            request(&P256, &["-subj", "/", "-addext", two]),
            RequestError::Names,
        ),
        (
            with(&["-subj", "/", "-sha1"]),
            RequestError::SignatureAlgorithm,
        ),
        (
            of_key(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]),
            RequestError::Key,
        ),
        (
            of_key(&[
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:secp256k1",
            ]),
            RequestError::Key,
        ),
        (
            of_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
            RequestError::Key,
        ),
        (of_key(&["-algorithm", "ED448"]), RequestError::Key),
    ] {
        assert_eq!(Request::from_pem(&csr, &id()).err(), Some(error));
    }
}
