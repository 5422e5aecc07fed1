//! What is written, and what is taken of it.

use std::fs;

use rcgen::date_time_ymd;
use tempfile::TempDir;

use super::*;
use crate::telemetry::labels::Identity;
use crate::telemetry::metrics::Metrics;
use crate::tls::fixture::{Authority, WORKLOAD};

/// An identity in use, what it was read from, and what counts looks at it.
struct Scene {
    folder: TempDir,
    authority: Authority,
    own: OwnIdentity,
    results: Results,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let authority = Authority::new();
        authority.write_identity(folder.path(), |_| {});
        let identity = WorkloadIdentity::read(folder.path(), &[]).expect("an identity");
        let metrics = Metrics::new(Identity::default(), 16);
        Self {
            own: OwnIdentity {
                folder: folder.path().to_owned(),
                aliases: Vec::new(),
                current: Arc::new(identity),
                wrong: None,
            },
            folder,
            authority,
            results: metrics.process.tls.identity_reloads.clone(),
        }
    }

    /// Looks; whether there is a new identity, and how many looks were counted as good and as bad.
    fn look(&mut self) -> (bool, u64, u64) {
        let before = Arc::clone(self.own.current());
        let taken = self.own.look(&self.results);
        assert_eq!(taken, !Arc::ptr_eq(&before, self.own.current()));
        (taken, self.results.ok.get(), self.results.failed.get())
    }
}

#[tokio::test]
async fn files_that_say_the_same_stay_the_same_identity() {
    let mut scene = Scene::new();
    let file = scene.folder.path().join("key.pem");
    let text = fs::read(&file).expect("a key");

    fs::write(&file, text).expect("written");

    assert_eq!(scene.look(), (false, 0, 0));
    assert_eq!(scene.own.current().id.as_str(), WORKLOAD);
}

#[tokio::test]
async fn another_certificate_is_taken_and_so_are_other_authorities() {
    let mut scene = Scene::new();

    scene.authority.write_identity(scene.folder.path(), |_| {});
    assert_eq!(scene.look(), (true, 1, 0));

    let roots = scene.folder.path().join("root-cert.pem");
    let more = fs::read_to_string(&roots).expect("roots").repeat(2);
    fs::write(&roots, more).expect("written");
    assert_eq!(scene.look(), (true, 2, 0));
}

#[tokio::test]
async fn what_is_half_written_changes_nothing_and_is_looked_at_again() {
    let mut scene = Scene::new();
    let file = |name| scene.folder.path().join(name);
    let (key, chain) = (file("key.pem"), file("cert-chain.pem"));
    let old_chain = fs::read(&chain).expect("a chain");
    scene.authority.write_identity(scene.folder.path(), |_| {});
    let new_chain = fs::read(&chain).expect("a chain");
    assert_eq!(scene.own.retry_at(), None);

    fs::write(&chain, old_chain).expect("written");
    assert_eq!(scene.look(), (false, 0, 1));
    assert_eq!(scene.look(), (false, 0, 1), "the same is counted once");
    assert!(scene.own.retry_at().is_some());
    fs::remove_file(&key).expect("removed");
    assert_eq!(scene.look(), (false, 0, 2));

    scene.authority.write_identity(scene.folder.path(), |_| {});
    assert_ne!(fs::read(&chain).expect("a chain"), new_chain);
    assert_eq!(scene.look(), (true, 1, 2));
    assert_eq!(scene.own.retry_at(), None);
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_now_does_not_replace_one_that_is() {
    let mut scene = Scene::new();

    scene
        .authority
        .write_identity(scene.folder.path(), |params| {
            params.not_after = date_time_ymd(2001, 1, 1);
        });

    assert_eq!(scene.look(), (false, 0, 1));
}

#[tokio::test]
async fn a_certificate_that_its_own_authorities_do_not_vouch_for_is_not_taken() {
    let mut scene = Scene::new();
    let roots = scene.folder.path().join("root-cert.pem");
    let believed = fs::read(&roots).expect("roots");

    Authority::named("other").write_identity(scene.folder.path(), |_| {});
    fs::write(&roots, believed).expect("written");

    assert_eq!(scene.look(), (false, 0, 1));
}

#[tokio::test]
async fn a_workload_of_another_trust_domain_is_not_taken_but_another_account_is() {
    let mut scene = Scene::new();
    let (folder, authority) = (&scene.folder, &scene.authority);

    authority.write_identity_of(folder.path(), "spiffe://other.test/ns/shop/sa/cart", |_| {});
    assert_eq!(scene.look(), (false, 0, 1));
    assert_eq!(scene.own.current().id.as_str(), WORKLOAD);

    let (folder, authority) = (&scene.folder, &scene.authority);
    authority.write_identity_of(
        folder.path(),
        "spiffe://cluster.local/ns/shop/sa/till",
        |_| {},
    );
    assert_eq!(scene.look(), (true, 1, 1));
}
