//! Who is not let in, each with the reason in the log and in a counter, and none of their requests
//! at the workload.

use tests::authority::nobody;
use tests::{eventually, soon};

use super::*;

/// A client, and for what reason it is refused.
type Case = (&'static str, Arc<ClientConfig>);

/// Tries each case and holds it against log and counter.
async fn assert_refused(workload: &Workload, cases: Vec<Case>) {
    for (reason, client) in cases {
        let before = workload.failures(reason).await;

        let answer = workload.get_by(client).await;

        assert!(answer.is_err(), "{reason}: {answer:?}");
        let failures = async || workload.failures(reason).await;
        eventually(reason, failures, |now| *now == before + 1.0).await;
        assert_told(workload, reason).await;
    }
    assert_eq!(workload.origin.requests(), 0);
}

/// The log says who was refused and why.
async fn assert_told(workload: &Workload, reason: &str) {
    let field = format!("reason=\"{reason}\"");
    let told = |line: &str| {
        line.contains("INFO")
            && line.contains("handshake refused")
            && line.contains("peer=127.0.0.1:")
            && line.contains("error=\"")
            && line.contains(&field)
    };
    workload.proxy.stderr.line(reason, told).await;
}

fn both(signed: &Signed) -> Arc<ClientConfig> {
    Arc::new(signed.client(&[], &[&TLS13, &TLS12]))
}

#[tokio::test]
async fn certificates_that_are_not_valid_or_from_elsewhere_are_refused() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let (ours, theirs) = (&workload.authority, Authority::new("cluster.local"));
    let leaf = || ours.leaf("default", "shop");
    let cases = vec![
        ("certificate_expired", both(&leaf().expired().sign())),
        (
            "certificate_not_yet_valid",
            both(&leaf().not_yet_valid().sign()),
        ),
        (
            "unknown_authority",
            both(&theirs.leaf("default", "shop").sign()),
        ),
        ("wrong_usage", both(&leaf().for_servers().sign())),
        ("no_certificate", Arc::new(nobody(&[], &[&TLS13]))),
        ("no_certificate", Arc::new(nobody(&[], &[&TLS12]))),
    ];

    assert_refused(&workload, cases).await;

    assert!(is_ok(&workload.get(&workload.caller()).await));
}

#[tokio::test]
async fn certificates_that_do_not_name_one_workload_of_our_trust_domain_are_refused() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let named = |uris: &[&str]| both(&workload.authority.leaf_named(uris, &["cart"]).sign());
    let shop = "spiffe://cluster.local/ns/default/sa/shop";
    let cases = vec![
        (
            "foreign_trust_domain",
            named(&["spiffe://other.local/ns/default/sa/shop"]),
        ),
        ("no_identity", named(&[])),
        (
            "several_identities",
            named(&[shop, "spiffe://cluster.local/ns/default/sa/cart"]),
        ),
        (
            "malformed_identity",
            named(&["https://cluster.local/ns/default/sa/shop"]),
        ),
        (
            "malformed_identity",
            named(&["spiffe://cluster.local/ns/../sa/shop"]),
        ),
    ];

    assert_refused(&workload, cases).await;

    let served = named(&[shop]);
    assert!(is_ok(&workload.get_by(served).await));
}

#[tokio::test]
async fn plain_text_and_old_versions_are_refused_where_mutual_tls_is_asked_for() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;

    let answer = workload.get_plain().await;

    assert!(answer.is_err(), "{answer:?}");
    let plain = async || workload.failures("plain_text").await;
    eventually("a refusal", plain, |failures| *failures == 1.0).await;
    assert_told(&workload, "plain_text").await;

    // TLS 1.1 with one suite and no extensions.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
    let mut tcp = TcpStream::connect(workload.port.addr())
        .await
        .expect("a listener");
    tcp.write_all(&hello).await.expect("room");
    let mut alert = Vec::new();
    let read = soon("an alert", tcp.read_to_end(&mut alert)).await;
    read.expect("an orderly end");
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    let old = async || workload.failures("incompatible").await;
    eventually("a refusal", old, |failures| *failures == 1.0).await;
    assert_told(&workload, "incompatible").await;
    assert_eq!(workload.origin.requests(), 0);
}

#[tokio::test]
async fn trust_domains_that_we_are_told_of_are_believed() {
    let aliases = ["--trust-domain-aliases", "old.local,older.local"];
    let workload = Workload::with_arguments(&policy("default/a", STRICT), &aliases).await;

    for (trust_domain, believed) in [
        ("old.local", true),
        ("older.local", true),
        ("o.local", false),
    ] {
        let uri = format!("spiffe://{trust_domain}/ns/default/sa/shop");
        let caller = workload.authority.leaf_named(&[&uri], &[]).sign();

        assert_eq!(
            is_ok(&workload.get(&caller).await),
            believed,
            "{trust_domain}"
        );
    }
}

#[tokio::test]
async fn a_flood_of_refusals_does_not_fill_the_log() {
    let workload =
        Workload::with_arguments(&policy("default/a", STRICT), &["--workers", "1"]).await;

    for _ in 0..100 {
        let tcp = TcpStream::connect(workload.port.addr()).await;
        let mut tcp = tcp.expect("a listener");
        tcp.write_all(b"GET").await.expect("room");
    }

    let plain = async || workload.failures("plain_text").await;
    eventually("refusals", plain, |failures| *failures == 100.0).await;
    let told = |line: &str| line.contains("left_out=") && !line.contains("left_out=0");
    let some_left_out = async || {
        let tcp = TcpStream::connect(workload.port.addr()).await;
        let mut tcp = tcp.expect("a listener");
        tcp.write_all(b"GET").await.expect("room");
        workload.proxy.stderr.all().iter().any(|line| told(line))
    };
    eventually("a line with the count of the rest", some_left_out, |told| {
        *told
    })
    .await;
}

#[tokio::test]
async fn the_server_proves_who_it_is() {
    let workload = Workload::with(&policy("default/a", STRICT)).await;
    let tls = workload.caller().connect(workload.port.addr(), &[]).await;

    let tls = tls.expect("a handshake");

    let chain = tls.get_ref().1.peer_certificates().expect("a certificate");
    let pem = workload.identity.signed().chain;
    let own = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes());
    let own: rustls::pki_types::CertificateDer<'_> = own.expect("a certificate");
    assert_eq!(chain[0], own);
}
