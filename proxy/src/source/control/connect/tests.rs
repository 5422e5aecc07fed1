use authority::{Authority, Key, Request as Csr, ask};
use config::spiffe::SpiffeId;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn root(now: SystemTime) -> Authority {
    Authority::root("cluster.local", now - DAY, 30 * DAY).expect("a root")
}

fn store(authority: &Authority) -> RootCertStore {
    let chain = pem::chain_in(authority.chain_pem().as_bytes()).expect("PEM");
    pem::authorities(chain).expect("an authority")
}

/// A folder with a token, and with a certificate of `authority`.
fn proofs(authority: &Authority, now: SystemTime) -> tempfile::TempDir {
    let id = SpiffeId::workload("cluster.local", "default", "a").expect("an identity");
    let key = Key::generate().expect("a key");
    let request = ask(&id, &key).expect("a request");
    let request = Csr::from_pem(&request, &id).expect("sound");
    let signed = authority.sign(&request, now, DAY).expect("a certificate");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let texts = [signed.chain_pem(), key.to_pem(), authority.chain_pem()];
    for (path, text) in WorkloadIdentity::files(folder.path()).iter().zip(texts) {
        std::fs::write(path, text).expect("a file");
    }
    std::fs::write(folder.path().join("token"), "secret").expect("a file");
    folder
}

fn connector(proofs: &Path, first: Proof) -> Connector {
    Connector {
        replicas: Vec::new(),
        root: proofs.join("root.pem"),
        token: proofs.join("token"),
        identity: Some(proofs.to_owned()),
        by_token: AtomicBool::new(first == Proof::Token),
    }
}

#[test]
fn a_certificate_of_other_authorities_is_shown_only_where_there_is_no_token() {
    let now = SystemTime::now();
    let (before, after) = (root(now), root(now));
    let proofs = proofs(&before, now);
    let connector = connector(proofs.path(), Proof::Certificate);

    assert!(connector.shown(&store(&before), now).is_some());
    assert!(connector.shown(&store(&after), now).is_none());
    std::fs::remove_file(proofs.path().join("token")).expect("a file");
    assert!(connector.shown(&store(&after), now).is_some());
    assert!(connector.shown(&store(&before), now + 2 * DAY).is_none());
}

#[test]
fn whoever_refuses_one_proof_is_shown_the_other() {
    let now = SystemTime::now();
    let authority = root(now);
    let roots = store(&authority);
    let proofs = proofs(&authority, now);
    let connector = connector(proofs.path(), Proof::Token);
    let refused = || ConnectError::Refused {
        code: UNAUTHENTICATED.to_owned(),
        message: String::new(),
    };
    assert!(
        connector.shown(&roots, now).is_none(),
        "the token comes first"
    );

    connector.failed_with(Proof::Token, &refused());
    assert!(connector.shown(&roots, now).is_some());
    let aborted = ConnectError::Connect(io::ErrorKind::ConnectionReset.into());
    connector.failed_with(Proof::Certificate, &aborted);
    assert!(connector.shown(&roots, now).is_none());
    let other = ConnectError::Status(StatusCode::BAD_GATEWAY);
    connector.failed_with(Proof::Token, &other);
    assert!(connector.shown(&roots, now).is_none(), "another matter");
}

#[test]
fn a_token_is_told_to_nobody_in_clear() {
    let proofs = proofs(&root(SystemTime::now()), SystemTime::now());
    let connector = connector(proofs.path(), Proof::Token);
    let token = |url: &str| {
        let replica: Replica = url.parse().expect("a URL");
        connector.token(&replica).expect("a token")
    };

    assert_eq!(token("http://control"), None);
    let told = token("https://control").expect("a token");
    assert_eq!(told, "Bearer secret");
    assert!(told.is_sensitive());
}

#[test]
fn it_is_seen_that_other_authorities_vouch_for_the_control_plane() {
    let now = SystemTime::now();
    let (before, after) = (root(now), root(now));
    let proofs = proofs(&before, now);
    let connector = connector(proofs.path(), Proof::Token);
    let trust = |authority: &Authority| {
        let file = proofs.path().join("root.pem");
        std::fs::write(file, authority.chain_pem()).expect("a file");
    };

    assert!(connector.is_vouched(now), "nobody says otherwise");
    trust(&before);
    assert!(connector.is_vouched(now));
    trust(&after);
    assert!(!connector.is_vouched(now));
}
