//! Folders of certificates on disk, as users find them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::bootstrap::Invocation;
use crate::tls::identity::WorkloadIdentity;

/// Makes what a command line with this folder asks for.
fn dev_certs(folder: &Path, arguments: &[&str]) -> Result<Made, DevCertsError> {
    make(&arguments_of(folder, arguments), SystemTime::now())
}

fn arguments_of(folder: &Path, arguments: &[&str]) -> DevCertsArgs {
    let folder = folder.to_str().expect("a path of text");
    let fixed = ["meshproxy", "dev-certs", "--out", folder];
    match Invocation::parse([&fixed, arguments].concat()) {
        Ok(Invocation::DevCerts(arguments)) => arguments,
        other => panic!("{other:?}"),
    }
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn refusal(folder: &Path, arguments: &[&str]) -> String {
    let error = dev_certs(folder, arguments).expect_err("must be refused");
    error
        .to_string()
        .replace(&format!("{}/", folder.display()), "")
}

#[test]
fn what_is_made_is_taken_as_an_identity() {
    let out = folder();

    dev_certs(
        out.path(),
        &[
            "--identity",
            "default/web",
            "--identity",
            "shop/db.main",
            "--trust-domain",
            "td",
        ],
    )
    .expect("made");

    for (name, id) in [
        ("default.web", "spiffe://td/ns/default/sa/web"),
        ("shop.db.main", "spiffe://td/ns/shop/sa/db.main"),
    ] {
        let identity = WorkloadIdentity::read(&out.path().join(name), &[]).expect("an identity");
        assert_eq!(identity.id.as_str(), id);
        assert_eq!(identity.trust.roots.len(), 1);
    }
}

#[test]
fn only_the_owner_reads_keys() {
    let out = folder();

    dev_certs(out.path(), &["--identity", "a/b", "--gateway", "x.test"]).expect("made");

    for key in ["root-key.pem", "a.b/key.pem", "gateways/x.test/key.pem"] {
        let metadata = fs::metadata(out.path().join(key)).expect("a key");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{key}");
    }
}

#[test]
fn a_second_run_keeps_root_and_keys_and_renews_certificates() {
    let out = folder();
    let files = [
        "root-cert.pem",
        "root-key.pem",
        "a.b/key.pem",
        "a.b/root-cert.pem",
    ];
    let read = |name: &str| fs::read_to_string(out.path().join(name)).expect("a file");
    dev_certs(out.path(), &["--identity", "a/b"]).expect("made");
    let before = files.map(read);
    let chain = read("a.b/cert-chain.pem");

    let made = dev_certs(out.path(), &["--identity", "a/b,c/d"]).expect("made again");

    assert_eq!(files.map(read), before);
    assert_ne!(read("a.b/cert-chain.pem"), chain);
    assert!(made.root.kept);
    let renewed: Vec<bool> = made.identities.iter().map(|it| it.2.renewed).collect();
    assert_eq!(renewed, [true, false]);
}

#[test]
fn a_run_that_broke_off_is_finished_by_the_next() {
    let out = folder();
    dev_certs(out.path(), &["--identity", "a/b"]).expect("made");
    fs::remove_file(out.path().join("a.b/cert-chain.pem")).expect("removed");

    dev_certs(out.path(), &["--identity", "a/b"]).expect("made again");

    WorkloadIdentity::read(&out.path().join("a.b"), &[]).expect("an identity");
}

#[test]
fn what_it_did_not_make_is_left_alone() {
    let (out, other) = (folder(), folder());
    let web = ["--identity", "a/b"];
    dev_certs(out.path(), &web).expect("made");
    dev_certs(other.path(), &web).expect("made");
    let put = |name: &str, text: &str| {
        fs::write(out.path().join(name), text).expect("written");
    };
    let read = |folder: &TempDir, name: &str| {
        fs::read_to_string(folder.path().join(name)).expect("a file")
    };

    for name in ["a.b/cert-chain.pem", "a.b/root-cert.pem"] {
        let (own, foreign) = (read(&out, name), read(&other, name));
        put(name, &foreign);

        let said = refusal(out.path(), &web);

        assert!(
            said.starts_with(&format!("{name}: was not made by dev-certs")),
            "{said}"
        );
        assert_eq!(read(&out, name), foreign);
        put(name, &own);
    }
    let own = read(&out, "root-key.pem");
    put("root-key.pem", &read(&other, "root-key.pem"));
    let said = refusal(out.path(), &web);
    assert_eq!(
        said,
        "root-cert.pem: the key does not belong to the certificate"
    );
    put("root-key.pem", &own);
    let authority = Authority::root("other", SystemTime::now(), ROOT_LIFETIME).expect("a root");
    put("root-cert.pem", &authority.chain_pem());
    put("root-key.pem", &authority.key_pem());
    let said = refusal(out.path(), &web);
    assert!(
        said.starts_with("root-cert.pem: was not made by dev-certs"),
        "{said}"
    );
}

#[test]
fn half_a_root_is_not_replaced() {
    for (gone, left) in [
        ("root-cert.pem", "root-key.pem"),
        ("root-key.pem", "root-cert.pem"),
    ] {
        let out = folder();
        dev_certs(out.path(), &["--identity", "a/b"]).expect("made");
        fs::remove_file(out.path().join(gone)).expect("removed");

        let said = refusal(out.path(), &["--identity", "a/b"]);

        assert!(
            said.starts_with(&format!("{left}: is there without {gone}")),
            "{said}"
        );
    }
}

#[test]
fn roots_that_were_added_by_hand_stay() {
    let (out, other) = (folder(), folder());
    dev_certs(out.path(), &["--identity", "a/b"]).expect("made");
    dev_certs(other.path(), &["--identity", "a/b"]).expect("made");
    let roots = out.path().join("a.b/root-cert.pem");
    let read = |path: &Path| fs::read_to_string(path).expect("a file");
    let both = read(&roots) + &read(&other.path().join("root-cert.pem"));
    fs::write(&roots, &both).expect("written");

    dev_certs(out.path(), &["--identity", "a/b"]).expect("made again");

    assert_eq!(read(&roots), both);
}

#[test]
fn it_says_what_it_made_and_how_to_use_it() {
    let out = folder();
    let made = dev_certs(
        out.path(),
        &["--identity", "a/b", "--gateway", "*.x.test,y.test"],
    );

    let mut text = Vec::new();
    print(&mut text, &made.expect("made")).expect("printed");

    let text = String::from_utf8(text).expect("text");
    let text = text.replace(&out.path().display().to_string(), "DIR");
    for line in [
        "DIR/root-cert.pem",
        "identity  spiffe://cluster.local/ns/a/sa/b: made, until ",
        "gateway   *.x.test, y.test: made, until ",
        "--namespace a --service-account b --identity-dir DIR/a.b ",
        "serverCertificate: DIR/gateways/_.x.test/cert-chain.pem",
        "curl --cacert DIR/root-cert.pem https://www.x.test/",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn command_lines_that_cannot_be_meant_are_usage_errors() {
    for wrong in [
        &["--out", "d"][..],
        &["--identity", "a/b"],
        &["--out", "d", "--identity", "a"],
        &["--out", "d", "--identity", "a/b/c"],
        &["--out", "d", "--identity", "../b"],
        &["--out", "d", "--identity", "a/.."],
        &["--out", "d", "--gateway", "a b"],
        &["--out", "d", "--identity", "a/b", "--days", "0"],
        &["--out", "d", "--identity", "a/b", "--days", "91"],
        &["--out", "d", "--identity", "a/b", "--trust-domain", "A/b"],
    ] {
        let error = Invocation::parse([&["meshproxy", "dev-certs"], wrong].concat());
        assert_eq!(
            error.expect_err("must be a usage error").exit_code(),
            2,
            "{wrong:?}"
        );
    }
}
