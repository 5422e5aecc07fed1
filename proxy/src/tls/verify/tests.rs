//! Each reason for which a peer is not believed, in whole handshakes without a network.

use rcgen::{ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use rustls::sign::CertifiedKey;
use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::tls::fixture::{self, Authority, DOMAIN, Knob, WORKLOAD};
use crate::tls::mutual;

/// More flights than any handshake has.
const FLIGHTS_MAX: usize = 8;

/// Lets two sides shake hands; the error of the one that does not believe the other.
fn shake_hands(
    mut client: ClientConnection,
    mut server: ServerConnection,
) -> (Result<(), Error>, Result<(), Error>) {
    let (mut client_result, mut server_result) = (Ok(()), Ok(()));
    for _ in 0..FLIGHTS_MAX {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("to memory");
        }
        let mut wire = &wire[..];
        while !wire.is_empty() && server_result.is_ok() {
            server.read_tls(&mut wire).expect("from memory");
            server_result = server.process_new_packets().map(|_| ());
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("to memory");
        }
        let mut wire = &wire[..];
        while !wire.is_empty() && client_result.is_ok() {
            client.read_tls(&mut wire).expect("from memory");
            client_result = client.process_new_packets().map(|_| ());
        }
    }
    let done = !client.is_handshaking() && !server.is_handshaking();
    assert!(done || client_result.is_err() || server_result.is_err());
    (client_result, server_result)
}

/// What a server of `ours` says of a client with a certificate.
fn as_client(ours: &Authority, theirs: &Arc<CertifiedKey>) -> Result<(), Error> {
    let own = ours.leaf(&[WORKLOAD], |_| {});
    let trust = ours.trust(&[DOMAIN, "old.local"]);
    let mut results = Vec::new();
    for version in mutual::VERSIONS {
        let server = mutual::server(&own, &trust, &[version]).expect("a server");
        let server = ServerConnection::new(Arc::new(server)).expect("a server");
        let client = fixture::client(theirs, &trust, [], mutual::HTTP1_ALPN).expect("a client");
        let name = ServerName::try_from("any").expect("a name");
        let client = ClientConnection::new(Arc::new(client), name).expect("a client");
        results.push(shake_hands(client, server).1);
    }
    assert_eq!(
        results[0].as_ref().err().and_then(PeerFault::of),
        results[1].as_ref().err().and_then(PeerFault::of),
        "versions differ"
    );
    results.remove(0)
}

/// What a client of `ours` says of a server with a certificate.
fn as_server(ours: &Authority, theirs: &Arc<CertifiedKey>, expected: &[&str]) -> Result<(), Error> {
    let own = ours.leaf(&[WORKLOAD], |_| {});
    let trust = ours.trust(&[DOMAIN, "old.local"]);
    let server = mutual::server(theirs, &trust, mutual::VERSIONS).expect("a server");
    let server = ServerConnection::new(Arc::new(server)).expect("a server");
    let expected = expected.iter().map(|it| Box::from(*it));
    let client = fixture::client(&own, &trust, expected, mutual::HTTP2_ALPN).expect("a client");
    let name = ServerName::try_from("any").expect("a name");
    let client = ClientConnection::new(Arc::new(client), name).expect("a client");
    shake_hands(client, server).0
}

fn reason(result: Result<(), Error>) -> &'static str {
    match result {
        Ok(()) => "believed",
        Err(error) => PeerFault::of(&error).map_or("another fault", |fault| fault.reason()),
    }
}

#[test]
fn a_peer_is_believed_or_not_for_its_reason_on_both_sides() {
    let (ours, foreign) = (Authority::new(), Authority::named("foreign"));
    let expired: Knob = |params| params.not_after = date_time_ymd(2001, 1, 1);
    let early: Knob = |params| params.not_before = date_time_ymd(4000, 1, 1);
    let mail: Knob = |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
    };
    let named: Knob = |params| {
        let name = "shop.test".try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::DnsName(name));
    };
    let ok: Knob = |_| {};
    for (authority, uris, knob, expected) in [
        (&ours, &[WORKLOAD][..], ok, "believed"),
        (&ours, &[WORKLOAD], named, "believed"),
        (&ours, &["spiffe://old.local/ns/a/sa/b"], ok, "believed"),
        (&ours, &[WORKLOAD], expired, "tls_certificate_expired"),
        (&ours, &[WORKLOAD], early, "tls_certificate_not_yet_valid"),
        (&foreign, &[WORKLOAD], ok, "tls_unknown_authority"),
        (&ours, &[WORKLOAD], mail, "tls_wrong_usage"),
        (&ours, &[], ok, "tls_no_identity"),
        (&ours, &[], named, "tls_no_identity"),
        (&ours, &[WORKLOAD, WORKLOAD], ok, "tls_several_identities"),
        (
            &ours,
            &["https://cluster.local/a"],
            ok,
            "tls_malformed_identity",
        ),
        (
            &ours,
            &["spiffe://other.local/ns/shop/sa/cart"],
            ok,
            "tls_foreign_trust_domain",
        ),
        (
            &ours,
            &["spiffe://cluster.local.evil/ns/shop/sa/cart"],
            ok,
            "tls_foreign_trust_domain",
        ),
    ] {
        let peer = authority.leaf(uris, knob);

        assert_eq!(reason(as_client(&ours, &peer)), expected, "client {uris:?}");
        assert_eq!(reason(as_server(&ours, &peer, &[])), expected, "{uris:?}");
    }
    // Authorities of the same name: the key tells them apart.
    let forged = Authority::new().leaf(&[WORKLOAD], ok);
    assert_eq!(reason(as_client(&ours, &forged)), "tls_bad_signature");
    assert_eq!(reason(as_server(&ours, &forged, &[])), "tls_bad_signature");
}

#[test]
fn certificates_for_one_side_only_are_not_taken_on_the_other() {
    let ours = Authority::new();
    let servers_only = ours.leaf(&[WORKLOAD], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });

    assert_eq!(reason(as_client(&ours, &servers_only)), "tls_wrong_usage");
    assert_eq!(reason(as_server(&ours, &servers_only, &[])), "believed");
}

#[test]
fn a_server_must_be_who_is_expected_to_the_letter() {
    let ours = Authority::new();
    let peer = ours.leaf(&[WORKLOAD], |_| {});
    for (expected, verdict) in [
        (
            &["spiffe://cluster.local/ns/shop/sa/other", WORKLOAD][..],
            "believed",
        ),
        (
            &["spiffe://cluster.local/ns/shop/sa/car"],
            "tls_unexpected_identity",
        ),
        (
            &["spiffe://cluster.local/ns/shop/sa/cart2"],
            "tls_unexpected_identity",
        ),
        (
            &["cluster.local/ns/shop/sa/cart"],
            "tls_unexpected_identity",
        ),
        (&["any"], "tls_unexpected_identity"),
    ] {
        assert_eq!(reason(as_server(&ours, &peer, expected)), verdict);
    }
}

#[test]
fn a_client_without_a_certificate_is_not_let_in() {
    let ours = Authority::new();
    let own = ours.leaf(&[WORKLOAD], |_| {});
    let trust = ours.trust(&[DOMAIN]);
    let server = mutual::server(&own, &trust, mutual::VERSIONS).expect("a server");
    let server = ServerConnection::new(Arc::new(server)).expect("a server");
    let mut client = fixture::client(&own, &trust, [], &[]).expect("a client");
    client.client_auth_cert_resolver = Arc::new(Nobody);
    let name = ServerName::try_from("any").expect("a name");
    let client = ClientConnection::new(Arc::new(client), name).expect("a client");

    let (_, result) = shake_hands(client, server);

    assert_eq!(reason(result), "tls_no_certificate");
}

#[test]
fn what_is_told_of_a_malformed_identity_is_short_and_on_one_line() {
    let ours = Authority::new();
    let uri = format!("a:\n{}", "b".repeat(1_000));
    let peer = ours.leaf(&[&uri], |_| {});

    let error = as_client(&ours, &peer).expect_err("no identity");

    let told = PeerFault::of(&error).expect("a fault").to_string();
    assert!(told.len() < 400 && !told.contains('\n'), "{told}");
}

/// Shows no certificate.
#[derive(Debug)]
struct Nobody;

impl rustls::client::ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_list_that_another_signed_leaves_open_who_is_revoked() {
    let error = Error::InvalidCertRevocationList(rustls::CertRevocationListError::BadSignature);

    let fault = PeerFault::of(&error).expect("a fault of the certificate");

    assert_eq!(fault.reason(), "tls_unknown_revocation");
    assert!(
        fault.to_string().contains("signed by its authority"),
        "{fault}"
    );
}
